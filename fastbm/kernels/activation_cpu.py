"""Biases and activations after a product, and their gradients."""

import numpy as np
from numba import float32, njit

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import ONE, SMALLEST_LOGIT, exp_negative
from fastbm.kernels.networks import ACTIVATIONS
from fastbm.kernels.threads_cpu import share_out

COLUMNS = 256
"""Columns that are summed over the rows at a time."""
COSTS = dict(zip(ACTIVATIONS, (0.1, 0.6, 0.6, 0.1, 0.1), strict=True))
"""Rough nanoseconds for each unit of a row."""
ZERO, TWO = np.float32(0), np.float32(2)
RELU, LEAKY_RELU, TANH, SIGMOID = (ACTIVATIONS.index(name) for name in ("relu", "leaky_relu", "tanh", "sigmoid"))


def activate(y, bias, *, activation, slope):
    cost = COSTS[activation] * y.shape[1]
    share_out(run_activate, y.shape[0], cost, y, bias, ACTIVATIONS.index(activation), np.float32(slope))


def activate_backward(gradient, y, bias_gradient, *, activation, slope):
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


@kernel
def run_activate_backward(first, last, gradient, y, bias_gradient, kind, slope):
    sums = np.empty(COLUMNS, np.float32)
    for block in range(first, last):
        begin, end = COLUMNS * block, min(COLUMNS * block + COLUMNS, y.shape[1])
        sums[:] = ZERO
        for row in range(y.shape[0]):
            line = gradient[row, begin:end]
            multiply_by_slope(line, y[row, begin:end], kind, slope)
            for unit in range(line.size):
                sums[unit] += line[unit]
        if bias_gradient.size:
            bias_gradient[begin:end] = sums[: end - begin]


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
