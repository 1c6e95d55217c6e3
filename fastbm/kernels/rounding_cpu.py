"""Couplings rounded to integers, in both orientations, padded: ``fastbm.chain.round_couplings`` in one pass."""

from itertools import pairwise

import numpy as np
from numba import int32, int64, njit, uint32

from fastbm import chain
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.sums_cpu import transpose_16
from fastbm.kernels.threads_cpu import share_out

TILE = 32
"""Visible units in a tile: two lines of the cache of the couplings to the visible units."""
LIMIT = np.float32(chain.INPUT_LIMIT)
COST_OF_ROUNDING = 0.5
"""Nanoseconds to round a coupling and to write it twice."""


def round_couplings(weights, to_hidden, to_visible, *, guess):
    def round_at(exponent):
        return _round(weights, to_hidden, to_visible, exponent)

    return chain.settle_exponent(round_at, lambda: run_largest_input(weights), weights.shape, guess)


def round_layers(weights, up, down, *, guess):
    if len(weights) == 1 and weights[0].flags.c_contiguous:
        return round_couplings(weights[0], up[0], down[0], guess=guess)
    contiguous = [each.flags.c_contiguous for each in weights]
    parts = [
        (array, above, below) if plain else (array.T, below, above)
        for array, above, below, plain in zip(weights, up, down, contiguous, strict=True)
    ]

    def by_layer(sums):
        """The largest total of a unit, from the sums of (rows, columns) of each part."""
        sums = [pair if plain else pair[::-1] for pair, plain in zip(sums, contiguous, strict=True)]
        totals = [sums[0][0], *(a[1] + b[0] for a, b in pairwise(sums)), sums[-1][1]]
        return np.max([total.max() for total in totals])  # and not Python's, which passes over NaN

    def round_at(exponent):
        return int(by_layer([_sums_at(*part, exponent) for part in parts]))

    def largest():
        with np.errstate(over="ignore", invalid="ignore"):
            magnitudes = [abs(array.astype(np.float64)) for array, *_ in parts]
            return float(by_layer([(each.sum(axis=1), each.sum(axis=0)) for each in magnitudes]))

    n_units = [len(weights[0]), *(array.shape[1] for array in weights)]
    return chain.settle_exponent(round_at, largest, (sum(n_units[::2]), sum(n_units[1::2])), guess)


def check_exponent(exponent, weights):
    """Do nothing: `round_couplings` has raised where there was something to say."""


def sums_of(shape):
    """Return where to note sums of magnitudes: of rows, and of columns in each tile of rows."""
    return np.zeros(shape[0], np.int64), np.empty((-(-shape[0] // TILE), shape[1]), np.uint32)


def _round(weights, to_hidden, to_visible, exponent) -> int:
    """Round at one exponent; return the largest sum of absolute couplings, or more where a coupling alone is too large."""
    return largest_sum(*_round_and_sum(weights, to_hidden, to_visible, exponent))


def _round_and_sum(weights, to_hidden, to_visible, exponent):
    rows, columns = sums_of(weights.shape)
    scale = weights.dtype.type(2.0**exponent)
    cost = COST_OF_ROUNDING * TILE * weights.shape[1]
    share_out(run_round, len(columns), cost, weights, to_hidden, to_visible, rows, columns, scale)
    return rows, columns


def _sums_at(weights, to_hidden, to_visible, exponent):
    rows, columns = _round_and_sum(weights, to_hidden, to_visible, exponent)
    return rows, columns.sum(axis=0, dtype=np.int64)


@kernel
def largest_sum(rows, columns):
    """The largest sum of magnitudes of a row or a column."""
    totals = np.zeros(columns.shape[1], np.int64)
    for tile in range(columns.shape[0]):
        for column in range(totals.size):
            totals[column] += int64(columns[tile, column])
    return max(rows.max(), totals.max())


@kernel
def run_round(first, last, weights, to_hidden, to_visible, rows, columns, scale):
    for tile in range(first, last):
        columns[tile] = 0
        for row in range(TILE * tile, min(TILE * tile + TILE, weights.shape[0])):
            rows[row] = round_row(weights[row], to_hidden[row], columns[tile], scale)
        transpose_tile(tile, to_hidden, to_visible)


@njit
def round_row(weights, rounded, columns, scale):
    """Round a row; add each magnitude to its column's, and return their sum. Sixteen magnitudes fit into a uint32."""
    total = int64(0)
    for column in range(weights.size):
        whole = round_one(weights[column] * scale)
        rounded[column] = whole
        columns[column] += uint32(abs(whole))
        total += abs(whole)
    return total


@njit(forceinline=True)
def round_one(value):
    """Round a number; one that does not fit, NaN too, becomes one whose sum is sure to be too large."""
    value = np.rint(value)
    return int32(value) if abs(value) < LIMIT else int32(LIMIT)


@njit
def transpose_tile(tile, to_hidden, to_visible):
    """Write the couplings of a tile's visible units in the other orientation too, by squares of sixteen, if it is wanted."""
    n_hidden = to_visible.shape[0]  # 0 where it is not wanted
    for begin in range(TILE * tile, min(TILE * tile + TILE, to_hidden.shape[0]), 16):
        end = min(begin + 16, to_hidden.shape[0])
        whole = n_hidden // 16 * 16 if end - begin == 16 else 0
        for column in range(0, whole, 16):
            transpose_16(to_hidden, begin, column, to_visible)
        for column in range(whole, n_hidden):
            for row in range(begin, end):
                to_visible[column, row] = to_hidden[row, column]


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
