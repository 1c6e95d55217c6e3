"""Bidirectional GANs: an encoder beside the generator, and a discriminator of pairs (row, latent) [1]_.

L(D, E, G) = E_x[log D(x, E(x))] + E_z[log(1 - D(G(z), z))]; D ascends, E and G descend.

References
----------
.. [1] Donahue, Krähenbühl & Darrell, "Adversarial feature learning", ICLR 2017.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastbm.machines.gan import Hidden, perceptron
from fastbm.nn.join import Join
from fastbm.nn.network import Network


class BiGAN(NamedTuple):
    """Generator and encoder, rows to latents, and a discriminator of rows, at whose second layer latents join."""

    generator: Network
    encoder: Network
    discriminator: Network


def joint_perceptron(n_features: int, latent_dim: int, layer_sizes, hidden: Hidden) -> list[Any]:
    """Return the layers of a discriminator of pairs: the first sees the row alone, the second its units and the latent."""
    first = hidden.layer(n_features, layer_sizes[0], first=True)
    rest = perceptron((layer_sizes[0] + latent_dim, *layer_sizes[1:], 1), hidden, "identity", looks=False)
    return [*first, Join(layer_sizes[0], latent_dim), *rest]
