"""Batch normalisation and the activation behind it, some columns at a time, and its gradients."""

import numpy as np
from numba import njit

from fastbm.kernels import batch_norm_tall_cpu
from fastbm.kernels.activation_cpu import apply, multiply_by_slope
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.networks import ACTIVATIONS
from fastbm.kernels.threads_cpu import share_out

COLUMNS = 128
"""Columns that are normalised at a time: with some hundred rows they stay in the cache."""
COST_OF_A_UNIT = 0.8
"""Rough nanoseconds for each unit of a row."""
ZERO, ONE = np.float32(0), np.float32(1)


def batch_norm(x, gain, offset, normal, inverse, y, *, epsilon, activation, slope):
    kind, slope = ACTIVATIONS.index(activation), np.float32(slope)
    if x.shape[0] > batch_norm_tall_cpu.TALL * inverse.shape[0]:
        batch_norm_tall_cpu.normalise(x, gain, offset, normal, inverse, y, epsilon, kind, slope)
        return
    share_out(
        run_batch_norm, -(-x.shape[1] // COLUMNS), COST_OF_A_UNIT * COLUMNS * x.shape[0], x, gain, offset, normal, inverse, y,
        np.float32(epsilon), kind, slope,
    )  # fmt: skip


def batch_norm_backward(gradient, y, normal, inverse, gain, gain_gradient, offset_gradient, *, activation, slope):
    kind, slope = ACTIVATIONS.index(activation), np.float32(slope)
    if y.shape[0] > batch_norm_tall_cpu.TALL * inverse.shape[0]:
        batch_norm_tall_cpu.normalise_backward(
            gradient, y, normal, inverse, gain, gain_gradient, offset_gradient, kind, slope
        )  # fmt: skip
        return
    share_out(
        run_batch_norm_backward, -(-y.shape[1] // COLUMNS), COST_OF_A_UNIT * COLUMNS * y.shape[0], gradient, y, normal, inverse,
        gain, gain_gradient, offset_gradient, kind, slope,
    )  # fmt: skip


@kernel
def run_batch_norm(first, last, x, gain, offset, normal, inverse, y, epsilon, kind, slope):
    n_rows, mean, scale = x.shape[0] // inverse.shape[0], np.empty(COLUMNS, np.float32), np.empty(COLUMNS, np.float32)
    for block in range(first, last):
        begin, end = COLUMNS * block, min(COLUMNS * block + COLUMNS, x.shape[1])
        for group in range(inverse.shape[0]):
            rows = slice(group * n_rows, (group + 1) * n_rows)
            find_moments(x[rows, begin:end], mean, scale, epsilon)
            inverse[group, begin:end] = scale[: end - begin]
            for row in range(group * n_rows, (group + 1) * n_rows):
                source, target, out = x[row, begin:end], normal[row, begin:end], y[row, begin:end]
                for unit in range(end - begin):
                    target[unit] = (source[unit] - mean[unit]) * scale[unit]
                for unit in range(end - begin):
                    out[unit] = target[unit] * gain[begin + unit] + offset[begin + unit]
                apply(out, kind, slope)


@njit(error_model="numpy")
def find_moments(x, mean, scale, epsilon):
    """Find the means of columns, and the inverse of their deviations."""
    share = ONE / np.float32(x.shape[0])
    mean[:], scale[:] = ZERO, ZERO
    for row in range(x.shape[0]):
        for unit in range(x.shape[1]):
            mean[unit] += x[row, unit]
    for unit in range(x.shape[1]):
        mean[unit] *= share
    for row in range(x.shape[0]):
        for unit in range(x.shape[1]):
            apart = x[row, unit] - mean[unit]
            scale[unit] += apart * apart
    for unit in range(x.shape[1]):
        scale[unit] = ONE / np.sqrt(scale[unit] * share + epsilon)


@kernel
def run_batch_norm_backward(
    first, last, gradient, y, normal, inverse, gain, gain_gradient, offset_gradient, kind, slope
):  # fmt: skip
    n_rows, sums, products = y.shape[0] // inverse.shape[0], np.empty(COLUMNS, np.float32), np.empty(COLUMNS, np.float32)
    share = ONE / np.float32(n_rows)
    for block in range(first, last):
        begin, end = COLUMNS * block, min(COLUMNS * block + COLUMNS, y.shape[1])
        for group in range(inverse.shape[0]):
            sums[:], products[:] = ZERO, ZERO
            for row in range(group * n_rows, (group + 1) * n_rows):
                line, standard = gradient[row, begin:end], normal[row, begin:end]
                multiply_by_slope(line, y[row, begin:end], kind, slope)
                for unit in range(end - begin):
                    sums[unit] += line[unit]
                for unit in range(end - begin):
                    products[unit] += line[unit] * standard[unit]
            for unit in range(end - begin):
                if gain_gradient.size:
                    before = group > 0
                    gain_gradient[begin + unit] = (gain_gradient[begin + unit] if before else ZERO) + products[unit]
                    offset_gradient[begin + unit] = (offset_gradient[begin + unit] if before else ZERO) + sums[unit]
                sums[unit] *= share
                products[unit] *= share
            for row in range(group * n_rows, (group + 1) * n_rows):
                line, standard = gradient[row, begin:end], normal[row, begin:end]
                for unit in range(end - begin):
                    scale = gain[begin + unit] * inverse[group, begin + unit]
                    line[unit] = scale * (line[unit] - sums[unit] - standard[unit] * products[unit])
