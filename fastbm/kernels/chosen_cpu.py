"""Gradients through maxout units: of the pieces of a unit one alone has any, so that sums of rows are less than products."""

import numpy as np
from numba import njit

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.sums_cpu import fuse_multiples_1, fuse_multiples_4, fuse_multiples_16
from fastbm.kernels.threads_cpu import share_out

UNITS = 16
"""Units whose rows are listed at a time."""
COST_OF_A_TERM = 0.04
"""Rough nanoseconds for each input of a gradient that is not 0."""
ZERO = np.float32(0)


def chosen_weights(x, gradient, chosen, out, bias_gradient):
    n_pieces, n_blocks = out.shape[0] // gradient.shape[1], -(-gradient.shape[1] // UNITS)
    cost = COST_OF_A_TERM * UNITS * x.shape[0] * x.shape[1]
    share_out(run_chosen_weights, n_blocks, cost, x, gradient, chosen, out, bias_gradient, n_pieces)


def chosen_inputs(gradient, chosen, weights, out):
    share_out(
        run_chosen_inputs, out.shape[0], COST_OF_A_TERM * gradient.shape[1] * out.shape[1], gradient, chosen, weights, out
    )


@kernel
def run_chosen_weights(first, last, x, gradient, chosen, out, bias_gradient, n_pieces):
    (n_rows, n_inputs), n_units, flat = x.shape, gradient.shape[1], out.reshape(-1)
    listed, factors = np.empty((UNITS * n_pieces, n_rows), np.uint32), np.empty((UNITS * n_pieces, n_rows), np.float32)
    counts = np.empty(UNITS * n_pieces, np.int64)
    for block in range(first, last):
        begin, n_here = UNITS * block, min(UNITS, n_units - UNITS * block)
        counts[:] = 0
        for row in range(n_rows):
            for unit in range(n_here):
                value, line = gradient[row, begin + unit], unit * n_pieces + int(chosen[row, begin + unit])
                listed[line, counts[line]], factors[line, counts[line]] = row, value
                counts[line] += value != ZERO
        for unit in range(n_here):
            for piece in range(n_pieces):
                line, target = unit * n_pieces + piece, piece * n_units + begin + unit
                bias_gradient[target] = factors[line, : counts[line]].sum()
                add_chosen(flat, target * n_inputs, x, listed, line, counts[line], factors)


@njit
def add_chosen(sums, at, rows, listed, line, count, factors):
    """sums[at + k] = Σ_i factors[line, i] rows[listed[line, i], k], a whole row."""
    width = rows.shape[1]
    sums[at : at + width] = ZERO
    column = 0
    while column + 256 <= width:
        fuse_multiples_16(sums, at + column, rows, listed, line, 0, count, column, factors)
        column += 256
    add_narrow(sums, at, rows, listed, line, count, factors, column)


@njit
def add_narrow(sums, at, rows, listed, line, count, factors, column):
    """Add what is left of a row from a column on."""
    width = rows.shape[1]
    while column + 64 <= width:
        fuse_multiples_4(sums, at + column, rows, listed, line, 0, count, column, factors)
        column += 64
    while column + 16 <= width:
        fuse_multiples_1(sums, at + column, rows, listed, line, 0, count, column, factors)
        column += 16
    for k in range(count if column < width else 0):
        row, factor = rows[listed[line, k]], factors[line, k]
        for rest in range(column, width):
            sums[at + rest] += factor * row[rest]


@kernel
def run_chosen_inputs(first, last, gradient, chosen, weights, out):
    n_units, n_inputs, flat = gradient.shape[1], out.shape[1], out.reshape(-1)
    listed, factors = np.empty((last - first, n_units), np.uint32), np.empty((last - first, n_units), np.float32)
    counts = np.zeros(last - first, np.int64)
    for row in range(last - first):
        for unit in range(n_units):
            value, count = gradient[first + row, unit], counts[row]
            listed[row, count], factors[row, count] = int(chosen[first + row, unit]) * n_units + unit, value
            counts[row] += value != ZERO
    flat[first * n_inputs : last * n_inputs] = ZERO
    whole = n_inputs // 64 * 64
    for column in range(0, whole, 64):  # of the weights, which stay in the cache for all rows
        for row in range(last - first):
            fuse_multiples_4(flat, (first + row) * n_inputs + column, weights, listed, row, 0, counts[row], column, factors)
    for row in range(last - first):
        add_narrow(flat, (first + row) * n_inputs, weights, listed, row, counts[row], factors, whole)
