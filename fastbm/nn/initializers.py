"""How weights begin: by a normal distribution of a given deviation, or one that goes by the size of a layer."""

from __future__ import annotations

import math

import numpy as np

NAMES = ("glorot", "he")


def fill(weights: np.ndarray, rng: np.random.Generator, initial: str | float) -> None:
    """Fill weights (n_inputs, n_outputs), or, of convolutions, (rows, columns, channels, maps), with random numbers.

    "glorot": uniform between ±√(6 / (n_inputs + n_outputs)) [1]_; "he": normal of variance 2 / n_inputs [2]_; a number: normal
    of that deviation.

    References
    ----------
    .. [1] Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    .. [2] He, Zhang, Ren & Sun, "Delving deep into rectifiers", ICCV 2015.
    """
    n_inputs, n_outputs = math.prod(weights.shape[:-1]), weights.shape[-1]
    if initial == "glorot":
        limit = math.sqrt(6 / (n_inputs + n_outputs))
        weights[...] = rng.uniform(-limit, limit, weights.shape)
    else:
        weights[...] = rng.normal(0.0, math.sqrt(2 / n_inputs) if initial == "he" else float(initial), weights.shape)
