"""Pseudo-likelihood: how well each unit is predicted from all the others; cheap, exact, deterministic."""

from __future__ import annotations

import numpy as np

from fastbm import kernels
from fastbm.device import namespace
from fastbm.machines.rbm import RBM, hidden_logits
from fastbm.units import bernoulli

LARGEST_LOG_PRODUCT = 600.0
"""Natural logarithm of the largest product that the kernel may form; float64 overflows at 709."""
LARGEST_LOG_FACTOR = 80.0
ROWS_AT_A_TIME = 1024


def pseudo_likelihood(machine: RBM, v) -> np.ndarray:
    """Return Σ_i log p(v_i | all other v) in nats, shape (n_samples,).

    `v` is an array or a sparse matrix of shape (n_samples, n_visible). Exact over all visible units [1]_. Values between 0
    and 1 are treated as scikit-learn treats them: the flip of v_i is 1 - v_i.

    References
    ----------
    .. [1] Besag, "Statistical analysis of non-lattice data", The Statistician 24, 1975.
    """
    xp = namespace(machine.weights)
    machine = RBM(*(xp.asarray(array, np.float64) for array in machine))
    total = xp.empty(v.shape[0])
    for start in range(0, v.shape[0], ROWS_AT_A_TIME):
        part = v[start : start + ROWS_AT_A_TIME]
        rows = xp.ascontiguousarray(part.toarray() if hasattr(part, "toarray") else part, np.float64)
        changes = 1 - 2 * rows
        after_minus_before = -changes * machine.visible_bias - hidden_change(machine, rows, changes)
        total[start : start + ROWS_AT_A_TIME] = -bernoulli.log_partition(-after_minus_before).sum(axis=1)
    return total


def hidden_change(machine, rows, changes):
    """Change of Σ_j log(1 + exp(hidden logit j)) when visible unit i changes, for each row and i."""
    xp, logits = namespace(rows), hidden_logits(machine, rows)
    largest = float(xp.abs(machine.weights).max() * xp.abs(changes).max())
    if largest > LARGEST_LOG_FACTOR:
        return _one_unit_at_a_time(machine, logits, changes)
    out = xp.empty(rows.shape)
    stride = int(min(LARGEST_LOG_PRODUCT / max(largest, 1e-9), logits.shape[1]))
    on, off = bernoulli.mean(logits), bernoulli.mean(-logits)
    weights = xp.ascontiguousarray(machine.weights.T)
    if bool((xp.abs(changes) == 1).all()):
        kernels.flip_ratios(rows != 0, off, on, xp.exp(weights), out, stride=stride)
        return out - rows * machine.weights.sum(axis=1)
    kernels.grey_flip_ratios(changes, off, on, weights, out, stride=stride)
    return out


def _one_unit_at_a_time(machine, logits, changes):
    """The same where a product could overflow: the plain formula, slower."""
    before = bernoulli.log_partition(logits).sum(axis=1)
    out = namespace(changes).empty(changes.shape)
    for unit in range(changes.shape[1]):
        flipped = logits + changes[:, unit, None] * machine.weights[unit]
        out[:, unit] = bernoulli.log_partition(flipped).sum(axis=1) - before
    return out
