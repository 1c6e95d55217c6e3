"""Maxout units: the largest of some pieces, and which it was."""

import numpy as np

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.threads_cpu import share_out

COST_OF_A_PIECE = 0.2
"""Rough nanoseconds for each piece of a unit."""
COLUMNS = 64
ZERO = np.float32(0)


def maxout(x, y, chosen):
    share_out(run_maxout, y.shape[0], COST_OF_A_PIECE * x.shape[1], x, y, chosen)


def maxout_backward(gradient, chosen, out, bias_gradient):
    n_blocks, n_pieces = -(-gradient.shape[1] // COLUMNS), out.shape[1] // gradient.shape[1]
    cost = COST_OF_A_PIECE * out.shape[0] * COLUMNS * n_pieces
    share_out(run_maxout_backward, n_blocks, cost, gradient, chosen, out, bias_gradient, n_pieces)


@kernel
def run_maxout(first, last, x, y, chosen):
    n_units = y.shape[1]
    for row in range(first, last):
        best, which = y[row], chosen[row]
        best[:], which[:] = x[row, :n_units], 0
        for piece in range(1, x.shape[1] // n_units):
            line, number = x[row, piece * n_units : (piece + 1) * n_units], np.uint8(piece)
            for unit in range(n_units):
                larger = line[unit] > best[unit]
                which[unit] = number if larger else which[unit]
                best[unit] = line[unit] if larger else best[unit]


@kernel
def run_maxout_backward(first, last, gradient, chosen, out, bias_gradient, n_pieces):
    n_units, sums = gradient.shape[1], np.empty(COLUMNS, np.float32)
    for block in range(first, last):
        begin, end = COLUMNS * block, min(COLUMNS * block + COLUMNS, n_units)
        for piece in range(n_pieces):
            number, at = np.uint8(piece), piece * n_units
            sums[:] = ZERO
            for row in range(gradient.shape[0]):
                given, which, line = gradient[row, begin:end], chosen[row, begin:end], out[row, at + begin : at + end]
                for unit in range(given.size):
                    line[unit] = given[unit] if which[unit] == number else ZERO
                for unit in range(given.size):
                    sums[unit] += line[unit]
            if bias_gradient.size:
                bias_gradient[at + begin : at + end] = sums[: end - begin]
