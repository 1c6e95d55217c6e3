"""Inverse temperatures to anneal by: given, uniform, or adapted to the machine by a pilot run."""

from __future__ import annotations

import numpy as np

from fastbm.device import namespace, to_host
from fastbm.evaluation import annealing

SMALLEST_BETA = 1e-6
"""The smallest β above 0: at smaller ones the biases of the base, over β, leave float32."""
PILOT_CHAINS = 64
FLOOR = 0.2
"""Part of the βs that are spread evenly, whatever the pilot run found."""


def check_betas(betas) -> np.ndarray:
    """Return inverse temperatures as float64 that float32 holds exactly; ValueError unless they increase from 0 to 1."""
    values = np.asarray(betas, np.float64)
    rounded = values.astype(np.float32).astype(np.float64)
    fine = values.ndim == 1 and len(values) > 1 and values[0] == 0.0 and values[-1] == 1.0
    if not fine or not (np.diff(rounded) > 0).all() or rounded[1] < SMALLEST_BETA:
        raise ValueError(
            f"betas must increase from 0 to 1, distinctly in float32, the second at least {SMALLEST_BETA:g}; got {betas!r}"
        )
    return rounded


def uniform(n_betas: int) -> np.ndarray:
    """Return `n_betas` equal steps of β, from 0 to 1."""
    return check_betas(np.linspace(0.0, 1.0, n_betas))


def pilot(path, n_betas: int, *, key):
    """Anneal a few chains by coarse steps; return their states, the βs and the increments (n_betas - 1, n_chains)."""
    betas = uniform(n_betas)
    increments = namespace(path.base).zeros((n_betas - 1, PILOT_CHAINS))
    states, _ = annealing.forward(path, betas, 0, PILOT_CHAINS, key=key, increments=increments)
    return states, betas, to_host(increments)


def adapted(betas, increments, n_betas: int) -> np.ndarray:
    """Return `n_betas` βs whose steps would add equally to the variance of the log weights, judged from a pilot run.

    A step adds the covariance of its increment with the whole log weight: the variance of the increment, and more where chains
    follow β slowly and its neighbours are like it. What an interval of β adds falls as 1 / its steps, so that steps are
    spread in proportion to √(covariance / Δβ); for chains that follow at once that is the equal length of [1]_. A part `FLOOR`
    of the steps is spread evenly.

    References
    ----------
    .. [1] Gelman & Meng, "Simulating normalizing constants", Statistical Science 13, 1998.
    """
    steps = np.diff(betas)
    totals = increments.sum(axis=0)
    covariances = (increments - increments.mean(axis=1, keepdims=True)) @ (totals - totals.mean()) / (len(totals) - 1)
    speeds = np.sqrt(np.maximum(_smoothed(covariances / steps), 0.0))
    mean = (speeds * steps).sum()
    if not mean > 0.0:
        return uniform(n_betas)
    lengths = np.concatenate([[0.0], np.cumsum(steps * ((1 - FLOOR) * speeds / mean + FLOOR))])
    values = np.interp(np.linspace(0.0, lengths[-1], n_betas), lengths, betas)
    values[0], values[-1] = 0.0, 1.0
    return _distinct(values)


def _smoothed(x) -> np.ndarray:
    """Return means over a tenth of the numbers around each; sixty-four chains know a covariance no better."""
    width = len(x) // 20 * 2 + 1
    ends = np.pad(x, width // 2, mode="edge")
    return np.convolve(ends, np.full(width, 1 / width), mode="valid")


def _distinct(values) -> np.ndarray:
    """Leave out βs that float32 cannot tell apart."""
    values = values.astype(np.float32).astype(np.float64)
    kept = np.unique(values[(values == 0.0) | (values >= SMALLEST_BETA)])
    return check_betas(kept)
