"""Formulas over NumPy's or CuPy's arrays, for what kernels are not written for."""

from __future__ import annotations

import math

from fastbm.device import namespace
from fastbm.kernels import COARSE_BITS


def product(a, b, out, *, transpose_a=False, transpose_b=False, accumulate=False, bias=None, activation="identity", slope=0.2):
    """As the kernel of this name, for any dtype, in any order of the terms."""
    total = namespace(out).matmul(a.T if transpose_a else a, b.T if transpose_b else b)
    if accumulate:
        total = total + out
    if bias is not None:
        total = total + bias[: total.shape[1]]
    out[...] = activate(total, activation, slope)


def activate(x, activation: str, slope: float):
    """Return what an activation of ``kernels.ACTIVATIONS`` makes of numbers."""
    xp = namespace(x)
    if activation == "sigmoid":
        e = xp.exp(-xp.abs(x))
        return xp.where(x > 0, xp.ones_like(e), e) / (1 + e)
    if activation == "tanh":
        return xp.tanh(x)
    if activation == "identity":
        return x
    return xp.where(x > 0, x, (slope if activation == "leaky_relu" else 0.0) * x)


def fold(weights):
    """Return the couplings between even and odd layers of a chain as one matrix: blocks (even, odd), zeros elsewhere.

    `weights` is a tuple of arrays (n_k, n_(k+1)), one for each two layers.
    """
    xp, sizes = namespace(weights[0]), [weights[0].shape[0], *(array.shape[1] for array in weights)]
    begins = [sum(sizes[layer % 2 : layer : 2]) for layer in range(len(sizes))]
    folded = xp.zeros((sum(sizes[::2]), sum(sizes[1::2])), dtype=weights[0].dtype)
    for layer, array in enumerate(weights):
        even, odd = (begins[layer + 1], begins[layer]) if layer % 2 else (begins[layer], begins[layer + 1])
        block = array.T if layer % 2 else array
        folded[even : even + block.shape[0], odd : odd + block.shape[1]] = block
    return folded


def coarse_exponent(weights) -> int:
    """Return the largest q, at most 24, with which sums of couplings times 2**q, rounded, and of coarse means fit in 32 bits.

    And each such coupling in 16; -1 where there is none, or nothing to be rounded.
    """
    if not weights:
        return -1
    xp = namespace(weights[0])
    sizes = [xp.abs(array) for array in weights]
    below, above = ([xp.sum(each, axis=axis) for each in sizes] for axis in (1, 0))
    sums = [below[0], *(one + other for one, other in zip(above[:-1], below[1:], strict=True)), above[-1]]
    room = 2.0 ** (31 - COARSE_BITS) - max(each.shape[0] for each in sums) - 1  # rounding adds 1 at most for two neighbours
    most = float(xp.max(xp.stack([xp.max(each) / room for each in sums] + [xp.max(each) / (2**15 - 1) for each in sizes])))
    return exponent_below(most)


def coarse_tolerance(tolerance: float) -> float:
    """Return the change of a coarse update after which finer ones follow: the next change will be a good deal smaller.

    Where the updates are counted, by a tolerance below 0, no change is small enough.
    """
    return max(8 * tolerance, 1e-4) if tolerance >= 0 else -1.0


def exponent_below(most: float) -> int:
    """Return the largest q, at most 24, for which `most` times 2**q is below 1; -1 where that is negative, or there is none."""
    return max(-1, min(24, -math.frexp(most)[1])) if math.isfinite(most) and most > 0 else -1


def mean_field(given, weights, biases, means, n_updates, change, *, tolerance, max_updates, damping, patience):
    """As the kernel of this name, for any dtype; rows that are done are computed, but not changed, until all are."""
    xp = namespace(given)
    zeros = xp.zeros(given.shape[0], dtype=given.dtype)
    active, kept, nearest, since = zeros == 0, zeros, zeros + float("inf"), zeros
    n_updates[...] = 0
    change[...] = float("inf")
    for _ in range(max_updates):
        largest = zeros
        part = xp.where(active, 1.0 - kept, zeros)
        for layer, own in enumerate(means):
            x = given if layer == 0 else means[layer - 1] @ weights[layer - 1] + biases[layer - 1]
            if layer < len(weights):
                x = x + means[layer + 1] @ weights[layer].T
            e = xp.exp(-xp.abs(x))
            step = xp.where(x >= 0, xp.ones_like(e), e) / (1.0 + e) - own
            largest = xp.maximum(largest, xp.max(xp.abs(step), axis=1))
            own[...] = own + part[:, None] * step
        n_updates[...] = n_updates + xp.where(active, xp.ones_like(n_updates), xp.zeros_like(n_updates))
        since = xp.where(largest < nearest, zeros, since + 1.0)
        nearest = xp.minimum(nearest, largest)
        kept = xp.where(since >= patience, zeros + damping, kept)
        change[...] = xp.where(active, xp.asarray(largest, dtype=change.dtype), change)
        active = active & (largest > tolerance)
        if not xp.any(active):
            return
