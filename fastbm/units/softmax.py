"""Softmax groups: of n_classes units one is on, unit k with p(k) proportional to exp(x_k). Groups are the last axis."""

from __future__ import annotations

from fastbm.device import namespace


def mean(x):
    """Return exp(x_k) / Σ_l exp(x_l), the probability of each class; never overflows."""
    xp = namespace(x)
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def log_partition(x):
    """Return log Σ_k exp(x_k), the logarithm of the sum over classes, without the last axis."""
    xp = namespace(x)
    largest = xp.max(x, axis=-1, keepdims=True)
    return xp.log(xp.sum(xp.exp(x - largest), axis=-1)) + largest[..., 0]
