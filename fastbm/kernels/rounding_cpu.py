"""Couplings rounded to integers, in both orientations, padded: ``fastbm.chain.round_couplings`` in one pass."""

import numpy as np
from numba import int32, int64, njit

from fastbm import chain
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.threads_cpu import share_out

TILE = 16
"""Visible units in a tile: a cache line of the couplings to the visible units."""


def round_couplings(weights, to_hidden, to_visible, *, guess):
    if guess is not None:
        largest = _round(weights, to_hidden, to_visible, guess)
        # at the next exponent each coupling is at least twice as large, less one
        is_largest = guess == chain.LARGEST_EXPONENT or 2 * largest - max(weights.shape) >= chain.INPUT_LIMIT
        if largest < chain.INPUT_LIMIT and is_largest:
            return guess
    bound = run_largest_input(weights)
    chain.check_finite(bound)
    exponent = chain.first_exponent(bound, max(weights.shape))
    while exponent >= chain.SMALLEST_EXPONENT:
        if _round(weights, to_hidden, to_visible, exponent) < chain.INPUT_LIMIT:
            return exponent
        exponent -= 1
    raise chain.too_large(bound)


def _round(weights, to_hidden, to_visible, exponent) -> int:
    """Round at one exponent; return the largest sum of absolute couplings, or more where a coupling alone is too large."""
    n_visible, n_hidden = weights.shape
    n_tiles = -(-n_visible // TILE)
    rows, columns = np.zeros(n_visible, np.int64), np.zeros((n_tiles, n_hidden), np.int64)
    scale = weights.dtype.type(2.0**exponent)
    share_out(run_round, n_tiles, 1.0 * TILE * n_hidden, weights, to_hidden, to_visible, rows, columns, scale)
    return int(max(rows.max(), columns.sum(axis=0).max()))


@kernel
def run_round(first, last, weights, to_hidden, to_visible, rows, columns, scale):
    for tile in range(first, last):
        begin, end = TILE * tile, min(TILE * tile + TILE, weights.shape[0])
        for row in range(begin, end):
            round_row(weights[row], to_hidden[row], scale)
            rows[row] = add_magnitudes(to_hidden[row], columns[tile])
        if end - begin == TILE:
            transpose(to_hidden, to_visible, begin, TILE, weights.shape[1])  # a constant number of rows is faster
        else:
            transpose(to_hidden, to_visible, begin, end - begin, weights.shape[1])


@njit
def round_row(weights, rounded, scale):
    """Round; a value that does not fit, NaN too, becomes one whose sum is sure to be too large."""
    limit = weights.dtype.type(chain.INPUT_LIMIT)
    for column in range(weights.size):
        value = np.rint(weights[column] * scale)
        rounded[column] = int32(value) if abs(value) < limit else int32(chain.INPUT_LIMIT)


@njit
def add_magnitudes(rounded, columns):
    """Return the sum of magnitudes of a row, and add each to its column's."""
    total = int64(0)
    for column in range(columns.size):
        total += int64(abs(int64(rounded[column])))
    for column in range(columns.size):
        columns[column] += int64(abs(int64(rounded[column])))
    return total


@njit
def transpose(to_hidden, to_visible, begin, n_rows, n_columns):
    for column in range(n_columns):
        for row in range(n_rows):
            to_visible[column, begin + row] = to_hidden[begin + row, column]


@kernel
def run_largest_input(weights):
    """The largest sum of absolute couplings of a unit, roughly; NaN or infinity when a coupling is."""
    n_rows, n_columns = weights.shape
    columns = np.zeros(n_columns)
    largest = 0.0
    for row in range(n_rows):
        total = 0.0
        for column in range(n_columns):
            magnitude = float(abs(weights[row, column]))
            columns[column] += magnitude
            total += magnitude
        largest = max(largest, total)
    total = 0.0
    for column in range(n_columns):
        largest = max(largest, columns[column])
        total += columns[column]
    return largest if np.isfinite(total) else total
