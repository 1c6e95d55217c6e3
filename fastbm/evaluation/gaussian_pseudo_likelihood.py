"""Pseudo-likelihood of Gaussian units: each one's density given all the others, normalised by a short sum."""

from __future__ import annotations

import math

import numpy as np

from fastbm.device import namespace
from fastbm.evaluation.pseudo_likelihood import ROWS_AT_A_TIME, hidden_change
from fastbm.machines.gaussian_rbm import GaussianRBM, hidden_bias_at
from fastbm.machines.rbm import RBM

MARGIN = 7.0
"""Deviations beyond the outermost means at which the sum begins and ends: 1e-11 of a normal distribution lie beyond."""


def gaussian_pseudo_likelihood(machine: GaussianRBM, v):
    """Return Σ_i log p(v_i | all other v), logarithms of densities, in nats, shape (n_samples,).

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
        part = slice(start, start + ROWS_AT_A_TIME)
        x = (xp.asarray(v[part], np.float64) - machine.visible_bias) / machine.sigma
        total[part] = xp.sum(-_log_normaliser(standard, x) - xp.log(machine.sigma), axis=1)
    return total


def _log_normaliser(standard: RBM, x):
    """Return log ∫ exp(F(x) - F(x with x_i = t)) dt of each row and unit i, F being the free energy of standard units."""
    xp, weights = namespace(x), standard.weights
    first = xp.sum(xp.minimum(weights, 0), axis=1) - MARGIN
    last = xp.sum(xp.maximum(weights, 0), axis=1) + MARGIN
    largest = terms = None
    total = xp.zeros(x.shape)
    for step in range(math.ceil(float((last - first).max())) + 1):
        point = xp.minimum(first + step, last + 1)  # narrower ranges wait where nothing is left
        changes = xp.ascontiguousarray(point - x)
        terms = hidden_change(standard, x, changes) - 0.5 * (point**2 - x**2)
        terms = xp.where(first + step > last + 1, -np.inf, terms)
        before, largest = largest, terms if largest is None else xp.maximum(largest, terms)
        total = xp.exp(terms - largest) + (0 if before is None else total * xp.exp(before - largest))
    return largest + xp.log(total)
