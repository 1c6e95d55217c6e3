"""Estimates of log Z from the logarithms of weights, all in log space and float64, with standard errors."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

HALVINGS = 200
"""Halvings of the interval that holds the root; float64 has nothing left to halve much earlier."""


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    stderr: float


def log_sum_exp(x) -> float:
    """Return log Σ exp(x) without overflow; -inf for no numbers, or for zeros only."""
    largest = float(np.max(x, initial=-math.inf))
    return largest if math.isinf(largest) else largest + math.log(float(np.exp(x - largest).sum()))


def log_mean_exp(x, clusters=None) -> Estimate:
    """Return log (1/n) Σ exp(x), and its standard error by the delta method.

    The standard error of the mean of e^x, of numbers in the same cluster taken together, divided by the mean.
    """
    mean = log_sum_exp(x) - math.log(len(x))
    return Estimate(mean, math.sqrt(_variance(np.exp(x - mean) - 1.0, clusters)))


def _variance(deviations, clusters=None) -> float:
    """Return the variance of a mean of numbers that deviate from it by these; those of a cluster may depend on each other.

    Infinite for one number, or one cluster, of which nothing can be known.
    """
    n = len(deviations)
    sums = deviations if clusters is None else np.bincount(clusters, deviations, minlength=int(clusters.max()) + 1)
    n_clusters = n if clusters is None else len(np.unique(clusters))
    return float((sums**2).sum()) / n**2 * n_clusters / (n_clusters - 1) if n_clusters > 1 else math.inf


def effective_number(log_weights) -> float:
    """Return (Σ w)² / Σ w², how many chains of equal weights would do as well."""
    return math.exp(2.0 * log_sum_exp(log_weights) - log_sum_exp(2.0 * log_weights))


def bennett(forward, reverse, ancestors=None) -> Estimate:
    """Return log Z_1 / Z_0 by Bennett's acceptance ratio [1]_, from log weights of forward and of reverse chains.

    It is the c that solves Σ_i 1 / (1 + e^(m - w_i + c)) = Σ_j 1 / (1 + e^(w_j - m - c)), m = log n_forward / n_reverse, with
    sums over forward and over reverse chains. The standard error is the asymptotic one, by the delta method. Where reverse
    chain j began at the end of forward chain ancestors[j], all of a family are taken together: they depend on each other.

    References
    ----------
    .. [1] Bennett, "Efficient estimation of free energy differences from Monte Carlo data", J. Comput. Phys. 22, 1976.
    """
    shift = math.log(len(forward) / len(reverse))

    def logs(c):
        return -np.logaddexp(0.0, shift - forward + c), -np.logaddexp(0.0, reverse - shift - c)

    low, high = min(forward.min(), reverse.min()) - 50.0, max(forward.max(), reverse.max()) + 50.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        of_forward, of_reverse = map(log_sum_exp, logs(middle))
        low, high = (middle, high) if of_forward > of_reverse else (low, middle)
    value = float(0.5 * (low + high))
    of_forward, of_reverse = (np.exp(x - (log_sum_exp(x) - math.log(len(x)))) - 1.0 for x in logs(value))
    terms = np.concatenate([of_forward / len(forward), -of_reverse / len(reverse)])
    families = np.arange(len(terms))
    if ancestors is not None:
        families[len(forward) :] = ancestors
    return Estimate(value, math.sqrt(_variance(terms * len(terms), families)))


def resample(log_weights, n: int, uniform: float) -> np.ndarray:
    """Return `n` row numbers, each drawn in proportion to its weight, by one uniform number and equal steps [1]_.

    References
    ----------
    .. [1] Kitagawa, "Monte Carlo filter and smoother for non-Gaussian nonlinear state space models", JCGS 5, 1996.
    """
    shares = np.cumsum(np.exp(log_weights - log_sum_exp(log_weights)))
    return np.minimum(np.searchsorted(shares, (np.arange(n) + uniform) / n * shares[-1]), len(shares) - 1)
