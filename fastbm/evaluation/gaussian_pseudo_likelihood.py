"""Pseudo-likelihood of Gaussian units: each one's density given all the others, normalised by a short sum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastbm.device import home_of, namespace, to_device, to_host
from fastbm.evaluation.pseudo_likelihood import ROWS_AT_A_TIME, hidden_change
from fastbm.machines.gaussian_rbm import GaussianRBM, hidden_bias_at
from fastbm.machines.rbm import RBM, hidden_logits
from fastbm.units import bernoulli

MARGIN = 7.0
"""Deviations beyond the outermost means at which the sum begins and ends: 1e-11 of a normal distribution lie beyond."""

MOST_POINTS = 300
"""Points that are summed over one by one; where weights ask for more, those that matter are looked for."""
COARSE = 64
"""Intervals that the search begins with."""
NEGLIGIBLE = 40.0
"""Intervals are left out when they hold less than exp(-40) of the largest."""


def gaussian_pseudo_likelihood(machine: GaussianRBM, v):
    """Return Σ_i log p(v_i | all other v), logarithms of densities, in nats, shape (n_samples,).

    `v` is an array or a sparse matrix of shape (n_samples, n_visible).
    Given the others, x_i = (v_i - a_i) / σ_i is a mixture of normal distributions of variance 1, whose means lie between the
    sums of its negative and of its positive weights. So its normaliser, an integral of exp(-free energy), is the sum at points
    a distance of 1 apart to a relative 2 exp(-2π²) = 5e-9 [1]_, however large the weights are.

    References
    ----------
    .. [1] Trefethen & Weideman, "The exponentially convergent trapezoidal rule", SIAM Review 56, 2014.
    """
    xp = namespace(machine.weights)
    machine = GaussianRBM(*(xp.asarray(array, np.float64) for array in machine))
    standard = RBM(machine.weights, machine.visible_bias, hidden_bias_at(machine, machine.visible_bias))
    total = xp.empty(v.shape[0])
    for start in range(0, v.shape[0], ROWS_AT_A_TIME):
        part = v[start : start + ROWS_AT_A_TIME]
        rows = xp.asarray(part.toarray() if hasattr(part, "toarray") else part, np.float64)
        x = (rows - machine.visible_bias) / machine.sigma
        total[start : start + ROWS_AT_A_TIME] = xp.sum(-_log_normaliser(standard, x) - xp.log(machine.sigma), axis=1)
    return total


def _log_normaliser(standard: RBM, x):
    """Return log ∫ exp(F(x) - F(x with x_i = t)) dt of each row and unit i, F being the free energy of standard units."""
    xp, weights = namespace(x), standard.weights
    first = xp.sum(xp.minimum(weights, 0), axis=1) - MARGIN
    last = xp.sum(xp.maximum(weights, 0), axis=1) + MARGIN
    wide = to_host(last - first) > MOST_POINTS
    if wide.any():
        arrays: Any = [to_host(array) for array in (weights, x, hidden_logits(standard, x), first, last)]
        of_wide = _of_wide_units(*arrays, units=np.flatnonzero(wide))
        last = xp.where(to_device(wide, home_of(x)), first, last)
    largest = total = None
    for step in range(math.ceil(float((last - first).max())) + 1):
        point = xp.minimum(first + step, last + 1)  # narrower ranges wait where nothing is left
        terms = hidden_change(standard, x, xp.ascontiguousarray(point - x)) - 0.5 * (point**2 - x**2)
        terms = xp.where(first + step > last + 1, -np.inf, terms)
        before, largest = largest, terms if largest is None else xp.maximum(largest, terms)
        total = xp.exp(terms - largest) + (0 if before is None else total * xp.exp(before - largest))
    out = largest + xp.log(total)
    if wide.any():
        out[:, to_device(np.flatnonzero(wide), home_of(x))] = to_device(of_wide, home_of(x))
    return out


def _of_wide_units(weights, x, logits, first, last, *, units):
    """Return the same for units with so large weights that most points are in vain: intervals are halved while they matter.

    The hidden part of -F is convex in x_i, so that between the ends of an interval it lies below its chord: that bounds what an
    interval may hold.
    """
    out = np.empty((len(x), len(units)))
    for (row, column), _ in np.ndenumerate(out):
        unit = units[column]

        def hidden(t, row=row, unit=unit):
            changed = logits[row] + (t[:, None] - x[row, unit]) * weights[unit]
            return bernoulli.log_partition(changed).sum(axis=1)

        out[row, column] = _log_integral(hidden, np.linspace(first[unit], last[unit], COARSE + 1))
        out[row, column] += 0.5 * x[row, unit] ** 2 - bernoulli.log_partition(logits[row]).sum()
    return out


def _log_integral(hidden, t):
    """Return log ∫ exp(hidden(t) - t²/2) dt, `hidden` being convex, over the range of evenly spaced points `t`."""
    ends, values = np.stack([t[:-1], t[1:]]), hidden(t)
    heights = np.stack([values[:-1], values[1:]])
    while True:
        width = ends[1] - ends[0]
        slopes = (heights[1] - heights[0]) / width
        at = np.clip(slopes, *ends)
        bounds = heights[0] + slopes * (at - ends[0]) - 0.5 * at**2
        terms = heights - 0.5 * ends**2
        matter = bounds > terms.max() - NEGLIGIBLE
        if width[0] <= 1:
            return np.logaddexp.reduce(terms, axis=None) + math.log(width[0] / 2)
        ends, heights = ends[:, matter], heights[:, matter]
        middle = ends.mean(axis=0)
        value = hidden(middle)
        ends = np.concatenate([[ends[0], middle], [middle, ends[1]]], axis=1)
        heights = np.concatenate([[heights[0], value], [value, heights[1]]], axis=1)
