"""Gaussian units, real numbers: p(x) is normal with the logit m as its mean, and variance 1 / β."""

from __future__ import annotations

import math


def mean(m):
    """Return the mean given the logit: itself."""
    return m


def log_partition(m, beta: float = 1.0):
    """Return log ∫ exp(-β (x²/2 - m x)) dx = β m²/2 + log √(2π/β), the logarithm of the integral over all values."""
    return 0.5 * beta * m**2 + 0.5 * math.log(2 * math.pi / beta)
