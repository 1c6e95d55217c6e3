"""Batch normalisation of many rows of few units, the pixels of images by channels: a chunk of rows at a time, in the cache.

Chunks are of a fixed size, each has moments of its own, and these are put together in their order: results do not depend on
how many threads there are.
"""

from functools import lru_cache

import numpy as np

from fastbm.kernels.activation_cpu import apply, multiply_by_slope
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.threads_cpu import share_out

TALL = 256
"""Rows from which on they are shared out, instead of columns."""
CHUNK = 8192
"""Numbers of a chunk, about."""
COST_OF_A_NUMBER = 0.4
"""Rough nanoseconds for each number in each of two passes."""
ZERO, ONE = np.float32(0), np.float32(1)


@lru_cache(256)
def cuts_of(n_rows: int, n_units: int, n_groups: int) -> np.ndarray:
    """Return (group, first row, last row) of each chunk, as many in each group."""
    size, rows = max(CHUNK // n_units, 16), n_rows // n_groups
    return np.array(
        [
            (group, group * rows + begin, group * rows + min(begin + size, rows))
            for group in range(n_groups) for begin in range(0, rows, size)
        ],
        np.int64,
    )  # fmt: skip


def normalise(x, gain, offset, normal, inverse, y, epsilon, kind, slope):
    (n_rows, n_units), (n_groups, _) = x.shape, inverse.shape
    cuts, cost = cuts_of(n_rows, n_units, n_groups), COST_OF_A_NUMBER * min(CHUNK, x.size)
    means, squares = (np.empty((len(cuts), n_units), np.float32) for _ in range(2))
    share_out(run_moments, len(cuts), cost, x, cuts, means, squares)
    counts, shape = np.diff(cuts[:, 1:]).reshape(n_groups, -1, 1), (n_groups, -1, n_units)
    parts, total = means.reshape(shape).astype(np.float64), n_rows // n_groups
    mean = (counts * parts).sum(axis=1) / total
    apart = (squares.reshape(shape) + counts * (parts - mean[:, None, :]) ** 2).sum(axis=1) / total
    mean, inverse[...] = mean.astype(np.float32), 1 / np.sqrt(apart + epsilon)
    share_out(run_normalise, len(cuts), cost, x, gain, offset, normal, y, cuts, mean, inverse, kind, slope)


def normalise_backward(gradient, y, normal, inverse, gain, gain_gradient, offset_gradient, kind, slope):
    (n_rows, n_units), (n_groups, _) = y.shape, inverse.shape
    cuts, cost = cuts_of(n_rows, n_units, n_groups), COST_OF_A_NUMBER * min(CHUNK, y.size)
    sums, products = (np.empty((len(cuts), n_units), np.float32) for _ in range(2))
    share_out(run_sums, len(cuts), cost, gradient, y, normal, cuts, sums, products, kind, slope)
    totals = np.stack([part.reshape(n_groups, -1, n_units).sum(axis=1, dtype=np.float64) for part in (sums, products)])
    if gain_gradient.size:
        offset_gradient[:], gain_gradient[:] = totals.sum(axis=1)
    means = (totals / (n_rows // n_groups)).astype(np.float32)
    share_out(run_apart, len(cuts), cost, gradient, normal, cuts, means, gain * inverse)


@kernel
def run_moments(first, last, x, cuts, means, squares):
    """Write mean and sum of squares around it of each chunk."""
    n_units = x.shape[1]
    for chunk in range(first, last):
        begin, end, mean, square = cuts[chunk, 1], cuts[chunk, 2], means[chunk], squares[chunk]
        share = ONE / np.float32(end - begin)
        mean[:], square[:] = ZERO, ZERO
        for row in range(begin, end):
            for unit in range(n_units):
                mean[unit] += x[row, unit]
        for unit in range(n_units):
            mean[unit] *= share
        for row in range(begin, end):
            for unit in range(n_units):
                apart = x[row, unit] - mean[unit]
                square[unit] += apart * apart


@kernel
def run_normalise(first, last, x, gain, offset, normal, y, cuts, means, inverse, kind, slope):
    n_units, flat = x.shape[1], y.reshape(-1)
    for chunk in range(first, last):
        begin, end, mean, scale = cuts[chunk, 1], cuts[chunk, 2], means[cuts[chunk, 0]], inverse[cuts[chunk, 0]]
        for row in range(begin, end):
            for unit in range(n_units):
                normal[row, unit] = (x[row, unit] - mean[unit]) * scale[unit]
            for unit in range(n_units):
                y[row, unit] = normal[row, unit] * gain[unit] + offset[unit]
        apply(flat[begin * n_units : end * n_units], kind, slope)


@kernel
def run_sums(first, last, gradient, y, normal, cuts, sums, products, kind, slope):
    """Go through the activation, and write the sums of gradients, and of their products with the normalised rows."""
    n_units, flat, outputs = y.shape[1], gradient.reshape(-1), y.reshape(-1)
    for chunk in range(first, last):
        begin, end, total, product = cuts[chunk, 1], cuts[chunk, 2], sums[chunk], products[chunk]
        multiply_by_slope(flat[begin * n_units : end * n_units], outputs[begin * n_units : end * n_units], kind, slope)
        total[:], product[:] = ZERO, ZERO
        for row in range(begin, end):
            for unit in range(n_units):
                total[unit] += gradient[row, unit]
            for unit in range(n_units):
                product[unit] += gradient[row, unit] * normal[row, unit]


@kernel
def run_apart(first, last, gradient, normal, cuts, means, scales):
    n_units = gradient.shape[1]
    for chunk in range(first, last):
        group = cuts[chunk, 0]
        mean, product, scale = means[0, group], means[1, group], scales[group]
        for row in range(cuts[chunk, 1], cuts[chunk, 2]):
            for unit in range(n_units):
                gradient[row, unit] = scale[unit] * (gradient[row, unit] - mean[unit] - normal[row, unit] * product[unit])
