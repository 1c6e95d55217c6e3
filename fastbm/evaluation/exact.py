"""log Z exactly: the states of one side are enumerated, the smaller one's where both are binary, the other side summed out."""

from __future__ import annotations

import math
from functools import singledispatch

import numpy as np

from fastbm import kernels
from fastbm.device import namespace
from fastbm.evaluation.given import unsupported
from fastbm.evaluation.pseudo_likelihood import LARGEST_LOG_FACTOR, LARGEST_LOG_PRODUCT
from fastbm.machines import gaussian_rbm
from fastbm.machines.gaussian_rbm import GaussianRBM
from fastbm.machines.rbm import RBM
from fastbm.units import bernoulli

MOST_UNITS = 25
"""Units whose states are enumerated: 2**25 is 34 million."""
LOW_UNITS = 8
"""Units whose states are enumerated by the kernel, for each state of the others."""
STATES_AT_ONCE = 512


@singledispatch
def exact_log_partition(machine) -> float:
    """Return log Z in float64, exact but for rounding; ValueError when the machine is too large to be enumerated."""
    raise unsupported(machine, "log_partition")


@singledispatch
def n_enumerated(machine) -> int:
    """Return the number of units whose states `exact_log_partition` would enumerate."""
    raise unsupported(machine, "log_partition")


@n_enumerated.register
def _(machine: RBM) -> int:
    return min(machine.weights.shape)


@n_enumerated.register
def _(machine: GaussianRBM) -> int:
    return machine.weights.shape[1]


@exact_log_partition.register
def _(machine: GaussianRBM) -> float:
    """Visible units are integrated out, see ``gaussian_rbm.log_partition``."""
    _check_size(machine.weights.shape[1], "hidden units")
    return gaussian_rbm.log_partition(machine)


@exact_log_partition.register
def _(machine: RBM) -> float:
    """log Σ_s exp(b·s + Σ_i log(1 + exp(a_i + Σ_j w_ij s_j))), s the states of the smaller side.

    The smaller side's units are split in high and low ones: with x_i the input from the high ones, and y_i that from the low
    ones, log(1 + e^(x + y)) - log(1 + e^x) is log(q + p e^y), p = σ(x) and q = 1 - p, of which products are taken.
    """
    xp = namespace(machine.weights)
    weights, large_bias, small_bias = (xp.asarray(array, dtype=np.float64) for array in machine)
    if weights.shape[0] < weights.shape[1]:
        weights, large_bias, small_bias = weights.T, small_bias, large_bias
    n_small = small_bias.size
    _check_size(n_small, "the smaller side")
    largest = np.cumsum(np.asarray(_host(xp.abs(weights).max(axis=0))))
    n_low = min(LOW_UNITS, n_small, int((largest <= LARGEST_LOG_FACTOR).sum()))
    low = xp.asarray(states_of(0, 2**n_low, n_low))
    inputs, low_terms = low @ weights[:, :n_low].T, low @ small_bias[:n_low]
    factors = xp.ascontiguousarray(xp.exp(inputs).T)
    stride = int(min(LARGEST_LOG_PRODUCT / max(float(xp.abs(inputs).max()), 1e-9), weights.shape[0]))
    parts, n_high = [], n_small - n_low
    for begin in range(0, 2**n_high, STATES_AT_ONCE):
        high = xp.asarray(states_of(begin, min(begin + STATES_AT_ONCE, 2**n_high), n_high))
        logits = high @ weights[:, n_low:].T + large_bias
        terms = xp.empty((high.shape[0], low.shape[0]))
        off, on = bernoulli.mean(-logits), bernoulli.mean(logits)
        kernels.flip_ratios(xp.zeros(terms.shape, dtype=bool), off, on, factors, terms, stride=stride)
        terms = terms + (bernoulli.log_partition(logits).sum(axis=1) + high @ small_bias[n_low:])[:, None] + low_terms
        largest_term = float(terms.max())
        parts.append(largest_term + math.log(float(xp.exp(terms - largest_term).sum())))
    top = max(parts)
    return top + math.log(math.fsum(math.exp(part - top) for part in parts))


def _check_size(n_units: int, what: str) -> None:
    if n_units > MOST_UNITS:
        raise ValueError(
            f"the exact log partition enumerates the states of {what}, of at most {MOST_UNITS} units; "
            f"this machine has {n_units}: use method='ais'"
        )


def states_of(begin: int, end: int, n_units: int) -> np.ndarray:
    """Return states number `begin` … `end` - 1 of `n_units` units, unit i the bit i of the number, as float64."""
    return ((np.arange(begin, end)[:, None] >> np.arange(n_units)) & 1).astype(np.float64)


def _host(array):
    return array.get() if hasattr(array, "get") else array
