"""Binary units, 0 or 1: p(1) is the logistic function of the logit x."""

from __future__ import annotations

from fastbm.device import namespace


def mean(x):
    """Return 1 / (1 + exp(-x)), the probability that a unit is on; full relative precision in both tails, never overflows."""
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, e) / (1 + e)


def log_partition(x):
    """Return log(1 + exp(x)), the logarithm of the sum over both states."""
    xp = namespace(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))
