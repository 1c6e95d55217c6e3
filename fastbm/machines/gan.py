"""Generative adversarial networks: a generator that turns latents into rows, a discriminator that tells them from data [1]_.

References
----------
.. [1] Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville & Bengio, "Generative adversarial nets", NIPS 2014.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastbm.kernels import networks
from fastbm.nn.activations import is_compiled
from fastbm.nn.batch_norm import BatchNorm
from fastbm.nn.dense import Dense
from fastbm.nn.dropout import Dropout
from fastbm.nn.maxout import Maxout
from fastbm.nn.network import Network

PRIORS = ("uniform", "normal")
"""What latents are drawn from, each by itself: uniformly between -1 and 1, or a standard normal distribution."""


class GAN(NamedTuple):
    """A generator, (n, latent_dim) to (n, n_features), and a discriminator, whose outputs are logits (n, 1)."""

    generator: Network
    discriminator: Network


class Hidden(NamedTuple):
    """What hidden layers are made of; `dropout` follows each of them, at that rate, where it is not 0."""

    activation: str = "relu"
    slope: float = 0.2
    batch_norm: bool = False
    dropout: float = 0.0
    n_pieces: int = 5

    def layer(self, n_inputs: int, n_outputs: int, first: bool = False) -> list[Any]:
        """Return a hidden layer; the `first` one of a network that looks at rows has no batch normalisation."""
        if self.activation == "maxout":
            layers: list[Any] = [Maxout(n_inputs, n_outputs, self.n_pieces)]
        elif self.batch_norm and not first:
            layers = [Dense(n_inputs, n_outputs, has_bias=False), BatchNorm(n_outputs, self.activation, self.slope)]
        else:
            layers = [Dense(n_inputs, n_outputs, self.activation, self.slope)]
        return layers + [Dropout(n_outputs, self.dropout)] * (self.dropout > 0)


def perceptron(sizes, hidden: Hidden, output: str, *, looks: bool, spreads: bool = False) -> list[Any]:
    """Return the layers between these sizes; `looks` says that rows of data, not latents, go in.

    `spreads` says that what comes out has mean 0 and variance 1 before the last activation, by batch normalisation.
    """
    layers: list[Any] = []
    for number, (n_inputs, n_outputs) in enumerate(pairwise(sizes[:-1])):
        layers += hidden.layer(n_inputs, n_outputs, first=looks and number == 0)
    if spreads:
        return [*layers, Dense(sizes[-2], sizes[-1], has_bias=False), BatchNorm(sizes[-1], output, is_scaled=False)]
    return [*layers, Dense(sizes[-2], sizes[-1], output)]


def draw_latent(z, prior: str, *, key, first_row: int = 0, update: int = 0, block: int = 0) -> None:
    """Fill `z` (n, latent_dim) with latents, as ``kernels.networks.draw_latent`` draws them."""
    counters = {"normal": prior == "normal", "key": key, "first_row": first_row, "update": update, "block": block}
    if is_compiled(z):
        networks.draw_latent(z, **counters)
    else:
        drawn = np.empty(z.shape, np.float32)
        networks.draw_latent(drawn, **counters)
        z[...] = drawn
