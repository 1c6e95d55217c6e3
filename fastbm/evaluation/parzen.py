"""Log-likelihood by a Parzen window over samples: the protocol of [1]_, for models whose likelihood is out of reach.

p(x) = mean over samples s of a normal density N(x; s, σ² I); σ is the one of a few that is best on rows of their own. It says
little in many dimensions [2]_: compare it with what training images, taken for samples, get.

References
----------
.. [1] Goodfellow et al., "Generative adversarial nets", NIPS 2014; Breuleux, Bengio & Vincent, "Quickly generating
   representative samples from an RBM-derived process", Neural Computation 23, 2011.
.. [2] Theis, van den Oord & Bethge, "A note on the evaluation of generative models", ICLR 2016.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastbm.device import to_host

SIGMAS = np.logspace(-1.0, 0.0, 10)
"""The window sizes that [1]_ tries."""
CHUNK = 100
"""Rows whose distances to all samples are held at a time."""


class ParzenScore(NamedTuple):
    """Mean log-likelihood of test rows by a Parzen window.

    Parameters
    ----------
    mean : float
        In nats.
    stderr : float
        Its standard error.
    sigma : float
        The window that was chosen.
    """

    mean: float
    stderr: float
    sigma: float


def parzen_log_likelihood(samples, X, sigma):
    """Return log mean_s N(x; s, σ² I) of each row, in nats; all in float64, some rows at a time.

    Parameters
    ----------
    samples : array-like of shape (n_samples, n_features)
        What a model draws.
    X : array-like of shape (n_rows, n_features)
    sigma : float or array-like of shape (n_sigmas,)
        Deviation of the window, or several.

    Returns
    -------
    log_likelihood : ndarray of shape (n_rows,) or (n_sigmas, n_rows)

    Raises
    ------
    ValueError
        When shapes do not match, or a deviation is not above 0.
    """
    samples, X = _rows(samples, "samples"), _rows(X, "X")
    sigmas = np.asarray(sigma, float)
    if samples.shape[1] != X.shape[1]:
        raise ValueError(f"X has {X.shape[1]} features, but samples have {samples.shape[1]}")
    if sigmas.ndim > 1 or sigmas.size == 0 or not (np.isfinite(sigmas).all() and (sigmas > 0).all()):
        raise ValueError(f"sigma must be a finite number above 0, or some of them, got {sigma!r}")
    center = samples.mean(axis=0)  # distances lose less to rounding around it
    samples, X = samples - center, X - center
    squares, out = (samples * samples).sum(axis=1), np.empty((sigmas.size, len(X)))
    for begin in range(0, len(X), CHUNK):
        rows = X[begin : begin + CHUNK]
        distances = rows @ samples.T
        distances *= -2.0
        distances += squares
        distances += (rows * rows).sum(axis=1)[:, None]
        nearest = distances.min(axis=1)
        distances -= nearest[:, None]
        for number, size in enumerate(sigmas.reshape(-1)):
            sums = np.exp(distances * (-0.5 / size**2)).sum(axis=1)
            out[number, begin : begin + CHUNK] = np.log(sums) - 0.5 * nearest / size**2
    constants = math.log(len(samples)) + X.shape[1] * np.log(sigmas.reshape(-1, 1) * math.sqrt(2 * math.pi))
    return (out - constants).reshape(*sigmas.shape, len(X))


def parzen_score(samples, X, validation, sigmas=None):
    """Return the mean log-likelihood of test rows, with the window that is best on validation rows [1]_.

    Parameters
    ----------
    samples : array-like of shape (n_samples, n_features)
        What a model draws; 10,000 in [1]_.
    X : array-like of shape (n_rows, n_features)
        Test rows.
    validation : array-like of shape (n_validation, n_features)
        Rows that the window is chosen by, which must be none of the others; 1,000 in [1]_.
    sigmas : array-like of shape (n_sigmas,), default=None
        Windows to choose from; None is ten from 0.1 to 1, evenly spaced in their logarithms, as in [1]_.

    Returns
    -------
    score : ParzenScore
        `mean`, `stderr` and `sigma`.

    Raises
    ------
    ValueError
        As by `parzen_log_likelihood`.

    References
    ----------
    .. [1] Goodfellow et al., "Generative adversarial nets", NIPS 2014.
    """
    sigma = choose_sigma(samples, validation, sigmas)
    values = parzen_log_likelihood(samples, X, sigma)
    return ParzenScore(float(values.mean()), float(values.std() / math.sqrt(len(values))), sigma)


def choose_sigma(samples, validation, sigmas=None) -> float:
    """Return the window for which the mean log-likelihood of validation rows is largest."""
    sigmas = np.asarray(SIGMAS if sigmas is None else sigmas, float).reshape(-1)
    return float(sigmas[parzen_log_likelihood(samples, validation, sigmas).mean(axis=1).argmax()])


def _rows(values, name: str) -> np.ndarray:
    rows = np.asarray(to_host(values), float)
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] == 0 or not np.isfinite(rows).all():
        raise ValueError(f"{name} must be finite numbers of shape (n, n_features), got an array of shape {rows.shape}")
    return rows
