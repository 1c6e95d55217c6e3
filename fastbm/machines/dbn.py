"""The deep belief network: directed layers of binary units under a restricted Boltzmann machine [1]_.

p(v, h¹, …, h^L) = p(v | h¹) p(h¹ | h²) … p(h^(L-2) | h^(L-1)) p(h^(L-1), h^L). *Generative* layers lead down, from h^(l+1) to
h^l; the posterior of the hidden units is not known in closed form, and *recognition* layers, which lead up, approximate it:
q(h | v) = q(h¹ | v) q(h² | h¹) … With labels, the last visible units of the top machine are a softmax group.

References
----------
.. [1] Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", Neural Computation 18, 2006.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.device import home_of, namespace
from fastbm.machines import directed, labels, rbm
from fastbm.machines.directed import Layer, RoundedLayer
from fastbm.machines.rbm import RBM, RoundedRBM
from fastbm.machines.rows import Rows, of_states
from fastbm.units import bernoulli


class DBN(NamedTuple):
    """Parameters: `recognition` layers from the visible one up, `generative` ones in the same order, and the `top` machine.

    ``recognition[l]`` leads from layer l to layer l + 1, ``generative[l]`` from layer l + 1 to layer l; layer 0 is visible.
    """

    recognition: tuple[Layer, ...]
    generative: tuple[Layer, ...]
    top: RBM


class RoundedDBN(NamedTuple):
    """The network that is sampled."""

    recognition: tuple[RoundedLayer, ...]
    generative: tuple[RoundedLayer, ...]
    top: RoundedRBM


def untied(machines: Sequence[RBM]) -> DBN:
    """Return the network of restricted machines that were trained one on the other, the weights of all but the last untied."""
    xp = namespace(machines[-1].weights)
    recognition = tuple(Layer(xp.array(machine.weights), xp.array(machine.hidden_bias)) for machine in machines[:-1])
    generative = tuple(
        Layer(xp.ascontiguousarray(machine.weights.T), xp.array(machine.visible_bias)) for machine in machines[:-1]
    )
    return DBN(recognition, generative, RBM(*map(xp.array, machines[-1])))


def rounded(machine: DBN) -> RoundedDBN:
    """Round a network for sampling; ValueError when its weights are too large or not finite."""
    up, down = (tuple(directed.rounded(layer) for layer in layers) for layers in machine[:2])
    return RoundedDBN(up, down, rbm.rounded(machine.top))


# ----------------------------------------------------------------------------------------------------------- drawn passes


def ascend(layers: Sequence[RoundedLayer], rows: Rows, *, keys, update: int, first_chain: int = 0) -> list[Rows]:
    """Draw each layer given the one below it; return the rows of all layers, those given first."""
    passed = [rows]
    for layer, key in zip(layers, keys, strict=True):
        states = directed.draw(layer, passed[-1], key=key, update=update, first_chain=first_chain)
        passed.append(of_states(states))
    return passed


def descend(
    layers: Sequence[RoundedLayer], states, *, keys, update: int, first_chain: int = 0, grey: bool = False
) -> list[Rows]:
    """Draw each layer given the one above it; return the rows of all layers, the visible one first, the packed `states` last.

    With `grey`, the visible units are their means.
    """
    passed = [of_states(states)]
    for level in reversed(range(len(layers))):
        if level == 0 and grey:
            passed.append(_means(layers[level], passed[-1]))
            continue
        drawn = directed.draw(layers[level], passed[-1], key=keys[level], update=update, first_chain=first_chain)
        passed.append(of_states(drawn))
    return passed[::-1]


def _means(layer: RoundedLayer, rows: Rows) -> Rows:
    n_units = layer.layer.bias.size
    means = directed.infer(layer, rows)[1][:, :n_units]
    words = chain.padded(n_units) // chain.WORD
    return Rows(namespace(means).empty((0, words), np.uint64), namespace(means).ascontiguousarray(means))


def without_labels(states, n_units: int):
    """Return packed states of the first `n_units` units alone."""
    words = chain.padded(n_units) // chain.WORD
    return namespace(states).ascontiguousarray(states[:, :words]) & rbm.all_free(n_units, home_of(states))


# ----------------------------------------------------------------------------------------------------------- mean passes


def upward_means(machine: DBN, v):
    """Return the means of each hidden layer below the top one, each given the means of the layer below it."""
    means = []
    for layer in machine.recognition:
        v = bernoulli.mean(directed.logits(layer, v))
        means.append(v)
    return means


def downward_means(machine: DBN, h):
    """Return the means of the visible units given states or means of the layer under the top, each layer's by those above."""
    for layer in reversed(machine.generative):
        h = bernoulli.mean(directed.logits(layer, h))
    return h


# ------------------------------------------------------------------------------------------------------------- bound


def log_weights(machine: DBN, exact: RoundedDBN, v, rows: Rows, n_labels: int = 0, *, keys, update: int, first_chain: int = 0):
    """Return log p*(v, h) - log q(h | v) of each row, with h¹ … h^(L-1) drawn from q, and h^L and labels summed out; float64.

    p* = p Z of the top machine. Its mean is a lower bound of log p(v) + log Z. `rows` are `v` as layers take them.
    """
    in_float64 = moved(machine, lambda array: namespace(array).asarray(array, dtype=np.float64))
    passed, drawn = [v], ascend(exact.recognition, rows, keys=keys, update=update, first_chain=first_chain)
    for rows_of_layer, layer in zip(drawn[1:], machine.recognition, strict=True):
        passed.append(kernels.unpack(rows_of_layer.states, layer.bias.size, np.float64))
    top = in_float64.top
    out = -(labels.free_energy(top, passed[-1], n_labels) if n_labels else rbm.free_energy(top, passed[-1]))
    for level, (up, down) in enumerate(zip(in_float64.recognition, in_float64.generative, strict=True)):
        below, above = passed[level : level + 2]
        out = out + directed.log_likelihood(down, above, below) - directed.log_likelihood(up, below, above)
    return out


def moved(machine: DBN, take) -> DBN:
    """Return a network of the same layers whose arrays are ``take(array)``."""

    def of(parameters):
        return type(parameters)(*map(take, parameters))

    return DBN(tuple(map(of, machine.recognition)), tuple(map(of, machine.generative)), of(machine.top))
