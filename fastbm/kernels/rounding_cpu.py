"""Couplings rounded to integers, in both orientations, padded: ``fastbm.chain.round_couplings`` at memory speed."""

import numpy as np
from numba import int32, int64, njit

from fastbm import chain
from fastbm.kernels.threads_cpu import share_out


def round_couplings(weights):
    n_visible, n_hidden = weights.shape
    to_hidden = np.empty((n_visible, chain.padded(n_hidden)), np.int32)
    to_visible = np.empty((n_hidden, chain.padded(n_visible)), np.int32)
    sums = np.empty(n_visible + n_hidden, np.int64)
    largest = run_largest_input(weights)
    chain.check_finite(largest)
    exponent = chain.first_exponent(largest, max(weights.shape))
    while exponent >= chain.SMALLEST_EXPONENT:
        scale = weights.dtype.type(2.0**exponent)
        share_out(run_round, n_visible, 0.3 * n_hidden, weights, to_hidden, sums, scale)
        share_out(run_transpose, n_hidden, 0.5 * n_visible, to_hidden, to_visible, sums[n_visible:])
        if sums.max() < chain.INPUT_LIMIT:
            return to_hidden, to_visible, exponent
        exponent -= 1
    raise chain.too_large(largest)


@njit(nogil=True, cache=True)
def run_largest_input(weights):
    """The largest sum of absolute couplings of a unit; NaN or infinity when a coupling is."""
    n_rows, n_columns = weights.shape
    columns = np.zeros(n_columns)
    largest = 0.0
    for row in range(n_rows):
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        for column in range(n_columns):
            columns[column] += abs(weights[row, column])
        for column in range(0, n_columns - 3, 4):
            a += abs(weights[row, column])
            b += abs(weights[row, column + 1])
            c += abs(weights[row, column + 2])
            d += abs(weights[row, column + 3])
        for column in range(n_columns - n_columns % 4, n_columns):
            a += abs(weights[row, column])
        largest = max(largest, (a + b) + (c + d))
    total = 0.0
    for column in range(n_columns):
        largest = max(largest, columns[column])
        total += columns[column]
    return largest if np.isfinite(total) else total


@njit(nogil=True, cache=True)
def run_round(first, last, weights, to_hidden, sums, scale):
    n_columns = weights.shape[1]
    for row in range(first, last):
        for column in range(n_columns):
            to_hidden[row, column] = int32(np.rint(weights[row, column] * scale))
        for column in range(n_columns, to_hidden.shape[1]):
            to_hidden[row, column] = int32(0)
        total = int64(0)
        for column in range(n_columns):
            total += int64(abs(to_hidden[row, column]))
        sums[row] = total


@njit(nogil=True, cache=True)
def run_transpose(first, last, to_hidden, to_visible, sums):
    n_rows = to_hidden.shape[0]
    for block in range(first, last, 16):  # sixteen columns at a time: whole cache lines are read
        end = min(block + 16, last)
        for row in range(n_rows):
            for column in range(block, end):
                to_visible[column, row] = to_hidden[row, column]
    for column in range(first, last):
        for row in range(n_rows, to_visible.shape[1]):
            to_visible[column, row] = int32(0)
        total = int64(0)
        for row in range(n_rows):
            total += int64(abs(to_visible[column, row]))
        sums[column] = total
