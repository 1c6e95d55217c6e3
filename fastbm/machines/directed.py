"""A directed layer of binary units: p(y_j = 1 | x) = σ(b_j + Σ_i x_i w_ij), independently, given the units x it leads from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.device import aligned_zeros, home_of, namespace
from fastbm.machines import rbm
from fastbm.units import bernoulli


class Layer(NamedTuple):
    """Parameters: weights (n_from, n_to), bias (n_to,)."""

    weights: np.ndarray
    bias: np.ndarray


class RoundedLayer(NamedTuple):
    """A layer that states are drawn by: its couplings rounded to integers, its bias in float32, both padded to whole words."""

    layer: Layer
    couplings: np.ndarray
    bias: np.ndarray
    exponent: Any  # an int; on the GPU an array of one number


def logits(layer: Layer, x):
    """Return b + x W, the logits of the units that the layer leads to, shape (n_samples, n_to)."""
    return x @ layer.weights + layer.bias


def log_likelihood(layer: Layer, x, y):
    """Return log p(y | x) of each row, shape (n_samples,): Σ_j y_j l_j - log(1 + e^(l_j)), with logits l."""
    given = logits(layer, x)
    return namespace(given).sum(y * given - bernoulli.log_partition(given), axis=1)


def rounded(layer: Layer) -> RoundedLayer:
    """Round a layer for sampling; ValueError when its weights are too large or not finite."""
    (n_from, n_to), xp = layer.weights.shape, namespace(layer.weights)
    couplings = aligned_zeros((n_from, chain.padded(n_to)), np.int32, xp)
    bias = aligned_zeros(couplings.shape[1:], np.float32, xp)
    exponent = kernels.round_couplings(xp.ascontiguousarray(layer.weights), couplings, one_way(xp), guess=None)
    bias[:n_to] = layer.bias
    exact = RoundedLayer(layer, couplings, bias, exponent)
    check(exact)
    return exact


def one_way(xp):
    """Return the kernels' `to_visible` of a layer that is directed: none."""
    return xp.empty((0, 0), np.int32)


def check(exact: RoundedLayer) -> None:
    """Raise ValueError when weights are too large or not finite, or biases are not finite; this waits for the GPU."""
    kernels.check_exponent(exact.exponent, exact.layer.weights)
    chain.check_finite(float(abs(exact.layer.bias).max()))


def infer(exact: RoundedLayer, rows):
    """Return logits and means given a minibatch of rows, packed or grey, both (n, padded(n_to)): see `rbm.infer_units`."""
    return rbm.infer_units(exact.layer.weights, *exact[1:], rows)


def draw(exact: RoundedLayer, rows, *, key, update: int, first_chain: int = 0):
    """Return packed states drawn given a minibatch of rows, as block update number `update` of the stream `key`."""
    given, _ = infer(exact, rows)
    states = namespace(given).zeros((len(rows), given.shape[1] // chain.WORD), np.uint64)
    free = rbm.all_free(exact.layer.bias.size, home_of(given))
    kernels.draw(states, given, free, key=key, first_chain=first_chain, update=update)
    return states
