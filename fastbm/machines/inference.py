"""Inference in general machines: units summed out exactly, or their mean-field probabilities.

Units that are not given fall into *components*, which have no couplings between them: the states of each are enumerated by
itself, and units without couplings to others that are not given are summed out in closed form.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastbm.device import home_of, namespace, to_device
from fastbm.machines.boltzmann import Boltzmann, bias_of, graph_of, matrix_of, n_units
from fastbm.units import bernoulli

MOST_UNITS = 20
"""Units of a component whose states are enumerated."""
LOW_UNITS = 12
"""Units whose states are looked at together, in one array."""
NUMBERS_AT_ONCE = 2**22


class MeanField(NamedTuple):
    """Mean-field probabilities (n_rows, n_units), how many updates they took, and the largest change of the last one."""

    means: Any
    n_updates: int
    change: float


def components(machine: Boltzmann, free: np.ndarray) -> list[np.ndarray]:
    """Return the components that `free` units, (n_units,) bool on the host, fall into, as arrays of units, the largest last."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = graph_of(machine)
    both = free[graph.first] & free[graph.second]
    ends = (graph.first[both], graph.second[both])
    joined = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(graph.n_units, graph.n_units)).tocsr()
    units = np.flatnonzero(free)
    labels = connected_components(joined, directed=False)[1][units]
    by_label = units[np.argsort(labels, kind="stable")]
    parts = np.split(by_label, np.cumsum(np.bincount(labels, minlength=1))[:-1]) if len(units) else []
    return sorted((part for part in parts if len(part)), key=len)


def largest_component(machine: Boltzmann, free: np.ndarray) -> int:
    """Return the number of units of the largest component of `free` units."""
    return max(map(len, components(machine, free)), default=0)


def summed_out(machine: Boltzmann, rows, free: np.ndarray, beta=1.0):
    """Return log Σ exp(-β energy) over the states of `free` units, (n_rows,), and their means, (n_rows, n_units), exactly.

    `rows` (n_rows, n_units) float64 hold the values of the other units, and 0 where units are free; `free` (n_units,) bool is
    on the host; `beta` a number or (n_rows,). Means of given units are their values. Cost: 2 ** size for each row and
    component.
    """
    xp, home = namespace(rows), home_of(rows)
    machine = Boltzmann(*(to_device(array, home) for array in machine))
    couplings, bias = matrix_of(machine, np.float64), bias_of(machine).astype(np.float64)
    beta = xp.zeros(rows.shape[0], dtype=np.float64) + beta
    fields = rows @ couplings
    total = beta * (0.5 * (fields * rows).sum(axis=1) + rows @ bias)
    logits, means = beta[:, None] * (fields + bias), rows.copy()
    parts = components(machine, free)
    alone = np.array([part[0] for part in parts if len(part) == 1], np.int64)
    if alone.size:
        units = to_device(alone, home)
        total = total + bernoulli.log_partition(logits[:, units]).sum(axis=1)
        means[:, units] = bernoulli.mean(logits[:, units])
    for part in parts[alone.size :]:
        if len(part) > MOST_UNITS:
            raise ValueError(f"{len(part)} units hang together; the states of at most {MOST_UNITS} can be enumerated")
        units = to_device(part, home)
        within = couplings[units][:, units]
        within = within.toarray() if hasattr(within, "toarray") else within
        for begin in range(0, rows.shape[0], max(1, NUMBERS_AT_ONCE >> min(len(part), LOW_UNITS))):
            some = slice(begin, begin + max(1, NUMBERS_AT_ONCE >> min(len(part), LOW_UNITS)))
            logs, of_units = _enumerated(within, logits[some][:, units], beta[some])
            total[some] += logs
            means[some, units] = of_units
    return total, means


def _enumerated(within, logits, beta):
    """Return log Σ_s exp(β s W s / 2 + x s), and the means of s; `within` W (k, k), `logits` x (n_rows, k)."""
    xp, (n_rows, k) = namespace(logits), logits.shape
    n_low = min(k, LOW_UNITS)
    low = xp.asarray(states_of(n_low))
    top, total, means = xp.full(n_rows, -math.inf), xp.zeros(n_rows), xp.zeros((n_rows, k))
    states = xp.zeros((low.shape[0], k))
    states[:, :n_low] = low
    for high in states_of(k - n_low):
        states[:, n_low:] = xp.asarray(high)
        terms = beta[:, None] * (0.5 * ((states @ within) * states).sum(axis=1)) + logits @ states.T
        highest = xp.maximum(top, terms.max(axis=1))
        weights, shrunk = xp.exp(terms - highest[:, None]), xp.exp(top - highest)
        total = total * shrunk + weights.sum(axis=1)
        means = means * shrunk[:, None] + weights @ states
        top = highest
    return top + xp.log(total), means / total[:, None]


def states_of(k: int) -> np.ndarray:
    """Return all states of k units, (2**k, k) float64; unit i is bit i of a state's number."""
    return ((np.arange(2**k)[:, None] >> np.arange(k)) & 1).astype(np.float64)


def mean_field(machine: Boltzmann, rows, free, beta=1.0, *, damping=0.5, tol=1e-6, max_updates=1000) -> MeanField:
    """Return mean-field probabilities of free units given the others.

    μ ← d μ + (1 - d) σ(β (b + W μ)) for all free units at once, d being the damping, until no μ changes by more than `tol`, or
    `max_updates` times. They begin at what the given units alone say. `rows` (n_rows, n_units) hold values where they are not
    `free`, (n_rows or 1, n_units) bool; `beta` is a number or (n_rows,).
    """
    xp = namespace(rows)
    couplings, bias = matrix_of(machine, rows.dtype), bias_of(machine).astype(rows.dtype)
    beta = (xp.zeros(rows.shape[0], dtype=rows.dtype) + beta)[:, None]
    means = xp.where(free, 0.0, rows)
    means = xp.where(free, bernoulli.mean(beta * (means @ couplings + bias)), means)
    n_updates, change = 0, math.inf
    while n_updates < max_updates and change > tol:
        new = damping * means + (1 - damping) * bernoulli.mean(beta * (means @ couplings + bias))
        new = xp.where(free, new, means)
        change, means, n_updates = float(abs(new - means).max()), new, n_updates + 1
    return MeanField(means.astype(rows.dtype, copy=False), n_updates, change)


def hidden_means(machine: Boltzmann, v, *, damping=0.5, tol=1e-6, max_updates=1000):
    """Return p(h = 1 | v), (n_rows, n_hidden): exactly where components of the hidden units are small, else by mean field."""
    xp, n_visible = namespace(v), machine.visible_bias.size
    hidden = np.arange(n_units(machine)) >= n_visible
    rows = xp.concatenate([v, xp.zeros((v.shape[0], int(hidden.sum())), dtype=v.dtype)], axis=1)
    if is_enumerable(machine, hidden, LOW_UNITS):
        return summed_out(machine, rows.astype(np.float64), hidden)[1][:, n_visible:]
    free = to_device(hidden[None, :], home_of(v))
    return mean_field(machine, rows, free, damping=damping, tol=tol, max_updates=max_updates).means[:, n_visible:]


def is_enumerable(machine: Boltzmann, free: np.ndarray, most: int = MOST_UNITS) -> bool:
    """Whether `free` units fall into components of at most `most` units."""
    return largest_component(machine, free) <= most


def free_energy(machine: Boltzmann, v):
    """Return -log Σ_h exp(-energy(v, h)), (n_rows,), float64; ValueError where too many hidden units hang together."""
    xp = namespace(v)
    hidden = np.arange(n_units(machine)) >= machine.visible_bias.size
    rows = xp.zeros((v.shape[0], len(hidden)), dtype=np.float64)
    rows[:, : v.shape[1]] = v
    return -summed_out(machine, rows, hidden)[0]
