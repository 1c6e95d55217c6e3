"""Biases and activations after a product, and their gradients."""

import numpy as np
from numba import float32, njit

from fastbm.kernels.bends_cpu import bend_back
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import ONE, SMALLEST_LOGIT, exp_negative
from fastbm.kernels.networks import ACTIVATIONS
from fastbm.kernels.threads_cpu import share_out

COLUMNS = 256
"""Columns that are summed over the rows at a time."""
TALL, CHUNK = 1024, 8192
"""Rows from which on they are shared out, instead of columns, and about how many numbers at a time."""
COSTS = dict(zip(ACTIVATIONS, (0.1, 0.6, 0.6, 0.1, 0.1), strict=True))
"""Rough nanoseconds for each unit of a row."""
ZERO, TWO = np.float32(0), np.float32(2)
RELU, LEAKY_RELU, TANH, SIGMOID = (ACTIVATIONS.index(name) for name in ("relu", "leaky_relu", "tanh", "sigmoid"))


def activate(y, bias, *, activation, slope):
    cost = COSTS[activation] * y.shape[1]
    share_out(run_activate, y.shape[0], cost, y, bias, ACTIVATIONS.index(activation), np.float32(slope))


def activate_backward(gradient, y, bias_gradient, *, activation, slope):
    if y.shape[0] > TALL:
        tall_backward(gradient, y, bias_gradient, ACTIVATIONS.index(activation), np.float32(slope))
        return
    cost = 0.2 * y.shape[0] * COLUMNS
    share_out(
        run_activate_backward, -(-y.shape[1] // COLUMNS), cost, gradient, y, bias_gradient, ACTIVATIONS.index(activation),
        np.float32(slope),
    )  # fmt: skip


@kernel
def run_activate(first, last, y, bias, kind, slope):
    for row in range(first, last):
        line = y[row]
        if bias.size:
            for unit in range(line.size):
                line[unit] += bias[unit]
        apply(line, kind, slope)


@njit(error_model="numpy")
def apply(line, kind, slope):
    """Apply an activation to a row of units, in place."""
    if kind == RELU:
        for unit in range(line.size):
            line[unit] = ZERO if line[unit] < ZERO else line[unit]
    elif kind == LEAKY_RELU:
        for unit in range(line.size):
            line[unit] = slope * line[unit] if line[unit] < ZERO else line[unit]
    elif kind == TANH:
        for unit in range(line.size):
            x = line[unit]
            e = exp_negative(max(-TWO * abs(x), SMALLEST_LOGIT))
            size = (ONE - e) / (ONE + e)
            line[unit] = (size if x > ZERO else -size) + (x - x)
    elif kind == SIGMOID:
        for unit in range(line.size):
            x = line[unit]
            e = exp_negative(max(-abs(x), SMALLEST_LOGIT))
            line[unit] = (ONE if x > ZERO else e) / (ONE + e) + (x - x)


def tall_backward(gradient, y, bias_gradient, kind, slope):
    """As `activate_backward`, of many rows, chunks of which have sums of their own: pixels of images, by channels."""
    (n_rows, n_units), cost = y.shape, 0.2 * min(CHUNK, y.size)
    n_chunks = -(-n_rows // max(CHUNK // n_units, 16))
    sums = np.empty((n_chunks, n_units if bias_gradient.size else 0), np.float32)
    share_out(run_chunks_backward, n_chunks, cost, gradient, y, sums, kind, slope)
    if bias_gradient.size:
        bias_gradient[:] = sums.sum(axis=0, dtype=np.float64)


@kernel
def run_chunks_backward(first, last, gradient, y, sums, kind, slope):
    n_rows, n_units, size = y.shape[0], y.shape[1], max(CHUNK // y.shape[1], 16)
    given, outputs = gradient.reshape(-1), y.reshape(-1)
    for chunk in range(first, last):
        begin, end, total = chunk * size, min((chunk + 1) * size, n_rows), sums[chunk]
        multiply_by_slope(given[begin * n_units : end * n_units], outputs[begin * n_units : end * n_units], kind, slope)
        total[:] = ZERO
        for row in range(begin, end if total.size else begin):
            for unit in range(n_units):
                total[unit] += gradient[row, unit]


@kernel
def run_activate_backward(first, last, gradient, y, bias_gradient, kind, slope):
    begin, end = COLUMNS * first, min(COLUMNS * last, y.shape[1])
    at, width = 4 * begin, y.shape[1]
    sums = bias_gradient.ctypes.data + at if bias_gradient.size else 0
    bend_back(gradient.ctypes.data + at, width, y.ctypes.data + at, width, sums, y.shape[0], end - begin, kind, slope)


@njit
def multiply_by_slope(gradient, y, kind, slope):
    """Multiply gradients of a row by f', given the outputs."""
    if kind == RELU:
        for unit in range(y.size):
            gradient[unit] = gradient[unit] if y[unit] > ZERO else ZERO
    elif kind == LEAKY_RELU:
        for unit in range(y.size):
            gradient[unit] *= float32(1) if y[unit] > ZERO else slope
    elif kind == TANH:
        for unit in range(y.size):
            gradient[unit] *= ONE - y[unit] * y[unit]
    elif kind == SIGMOID:
        for unit in range(y.size):
            gradient[unit] *= y[unit] * (ONE - y[unit])
