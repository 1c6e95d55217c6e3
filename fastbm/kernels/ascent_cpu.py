"""The second pass of a learning update, over couplings: sum the gradient, take a step and round, all of it in the cache."""

import numpy as np
from numba import float32, int32, int64, njit, uint32, uint64

from fastbm import chain
from fastbm.kernels import rounding_cpu
from fastbm.kernels.bits_cpu import lowest_one
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.grey_cpu import is_dense
from fastbm.kernels.product_cpu import multiply
from fastbm.kernels.rounding_cpu import TILE, largest_sum, round_one, sums_of, transpose_tile
from fastbm.kernels.sums_cpu import add_multiples_4, add_multiples_16
from fastbm.kernels.tables_cpu import NOT_LIVE, coarsen
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, share_out

COLUMNS, MEANS = 64, 104
"""Columns and rows of the means that are read for thirty-two visible units at a time: they fit into the first cache."""
FEW_MEANS = 32
"""So few rows fit into it four times as wide."""
DENSE = 0.25
"""The part of the numbers of grey rows that are not 0 from which on it takes less time to multiply with them all."""
COST_OF_A_STEP = 0.5
"""Nanoseconds to change a coupling, to round it and to write it twice."""


def ascend(
    weights, velocity, to_hidden, to_visible, visible_gradient, hidden_gradient, visible_offset, hidden_offset, rows, grey,
    visible, means, factors, tables, *, exponent, learning_rate, momentum, l1, l2, offset_rate, both,
):  # fmt: skip
    live = tables.get("live", NOT_LIVE)
    tables.clear()
    row_sums, column_sums = sums_of(weights.shape)
    pulls = np.empty((len(column_sums), hidden_offset.size), np.float32)
    numbers = [np.float32(value) for value in (2.0**exponent, learning_rate, momentum, l1, l2, offset_rate)]
    begun = np.empty((0, 0), np.float32)
    if multiplies(grey, means):
        begun = gradient_of(grey, means, factors, weights.shape)
    run_hidden_gradient(hidden_gradient, hidden_offset, means, factors, rows.shape[0] + grey.shape[0], numbers[-1])
    cost = TILE * weights.shape[1] * (COST_OF_A_STEP + COST_OF_A_COUPLING * means.shape[0])
    share_out(
        run_ascend, len(column_sums), cost, weights, velocity, to_hidden, to_visible, visible_gradient, hidden_gradient,
        visible_offset, hidden_offset, rows, grey, visible, means, factors, begun, *live, row_sums, column_sums, pulls,
        *numbers, both or live is NOT_LIVE,
    )  # fmt: skip
    if hidden_offset.size:
        pull_down(hidden_gradient, pulls)
    if not to_hidden.size:
        return exponent
    if chain.is_right(exponent, largest_sum(row_sums, column_sums), weights.shape):
        tables["one way"] = live is not NOT_LIVE and not both
        if live is not NOT_LIVE:
            tables["live"] = live
        return exponent
    return rounding_cpu.round_couplings(weights, to_hidden, to_visible, guess=None)


def multiplies(grey, means) -> bool:
    """Return whether to multiply grey rows with their means, rather than to list those of their numbers that are not 0."""
    return len(grey) > 0 and len(means) > FEW_MEANS and is_dense(grey, DENSE)


def gradient_of(grey, means, factors, shape):
    """Return what grey data add to the gradient of weights of this shape."""
    gradient, terms = np.empty(shape, np.float32), grey * factors[: len(grey), None]
    multiply(terms, means[: len(grey), : shape[1]], gradient, gradient, None, 0, 0.0, 1, 0, 0)
    return gradient


@kernel
def run_hidden_gradient(hidden_gradient, hidden_offset, means, factors, n_data, offset_rate):
    """The mean of the means of the data, which the offset moves to, less that of the chains."""
    hidden_gradient[:] = float32(0)
    for row in range(means.shape[0]):
        factor = factors[row]
        for unit in range(hidden_gradient.size):
            hidden_gradient[unit] += factor * means[row, unit]
        if row == n_data - 1:
            for unit in range(hidden_offset.size):
                hidden_offset[unit] += offset_rate * (hidden_gradient[unit] - hidden_offset[unit])


@kernel
def run_ascend(
    first, last, weights, velocity, to_hidden, to_visible, visible_gradient, hidden_gradient, visible_offset, hidden_offset,
    rows, grey, visible, means, of_means, begun, coarse, starts, steps, row_sums, column_sums, pulls, scale, learning_rate,
    momentum, l1, l2, offset_rate, both,
):  # fmt: skip
    n_visible, n_hidden = weights.shape
    listed, factors = np.empty((TILE, means.shape[0]), np.uint32), np.empty((TILE, means.shape[0]), np.float32)
    counts, done = np.empty(TILE, np.int64), np.zeros(TILE, np.int64)
    bounds = np.zeros((TILE, -(-means.shape[0] // MEANS) + 1), np.int64)
    width, wide = -(-n_hidden // COLUMNS) * COLUMNS, 0
    if means.shape[0] <= FEW_MEANS:
        wide = width // (4 * COLUMNS) * 4 * COLUMNS
    gradient = np.empty(TILE * width, np.float32)
    for tile in range(first, last):
        begin, n_units = TILE * tile, min(TILE, n_visible - TILE * tile)
        counts[:], column_sums[tile] = 0, 0
        list_rows(listed, factors, counts, rows, begin, n_units, 0, of_means)
        list_grey(listed, factors, counts, grey, begin, n_units, of_means)
        if visible_offset.size:
            for unit in range(n_units):
                mean = factors[unit, : counts[unit]].sum()
                visible_offset[begin + unit] += offset_rate * (mean - visible_offset[begin + unit])
        gradient[:] = float32(0)
        if begun.size:
            for unit in range(n_units):
                done[unit] = counts[unit]
                for k in range(n_hidden):
                    gradient[unit * width + k] = begun[begin + unit, k]
        list_rows(listed, factors, counts, visible, begin, n_units, means.shape[0] - visible.shape[0], of_means)
        for unit in range(n_units):
            visible_gradient[begin + unit] = factors[unit, : counts[unit]].sum()
        find_bounds(bounds, listed, done, counts)
        for column in range(0, wide, 4 * COLUMNS):
            for unit in range(n_units):
                add_multiples_16(
                    gradient, unit * width + column, means, listed, unit, done[unit], counts[unit], column, factors
                )
        for column in range(wide, width, COLUMNS):
            for some in range(bounds.shape[1] - 1):  # of the means, which stay in the first cache for all units
                for unit in range(n_units):
                    begin_mean, end_mean = bounds[unit, some], bounds[unit, some + 1]
                    at = unit * width + column
                    add_multiples_4(gradient, at, means, listed, unit, begin_mean, end_mean, column, factors)
        if visible_offset.size:
            center(
                gradient, width, begin, n_units, visible_offset, hidden_gradient, visible_gradient, hidden_offset, pulls[tile]
            )
        for unit in range(n_units):
            row, ascent = begin + unit, gradient[unit * width : unit * width + n_hidden]
            if l1 != float32(0) or l2 != float32(0):
                decay(ascent, weights[row], l1, l2)
            if to_hidden.size == 0:
                if velocity.size:
                    add_to_velocity(velocity[row], ascent, learning_rate, momentum)
                    move(weights[row], velocity[row], float32(1))
                else:
                    move(weights[row], ascent, learning_rate)
            elif velocity.size:
                add_to_velocity(velocity[row], ascent, learning_rate, momentum)
                row_sums[row] = step(weights[row], velocity[row], float32(1), to_hidden[row], column_sums[tile], scale)
            else:
                row_sums[row] = step(weights[row], ascent, learning_rate, to_hidden[row], column_sums[tile], scale)
            if coarse.size and to_hidden.size:
                steps[row] = coarsen(to_hidden[row], coarse[row], starts[row])
        if both and to_hidden.size:
            transpose_tile(tile, to_hidden, to_visible)


@njit
def center(gradient, width, begin, n_units, visible_offset, hidden_gradient, visible_gradient, hidden_offset, pull):
    """Centre the gradients of a tile's weights and of its units' biases, and sum how it pulls at the hidden biases."""
    blocks = gradient.reshape(-1, width // COLUMNS, COLUMNS)
    lanes, offsets = np.empty(COLUMNS, np.float32), np.zeros((width // COLUMNS, COLUMNS), np.float32)
    offsets.reshape(-1)[: hidden_offset.size] = hidden_offset
    pull[:] = float32(0)
    for unit in range(n_units):
        offset, slope = visible_offset[begin + unit], visible_gradient[begin + unit]
        ascent = gradient[unit * width : (unit + 1) * width]
        for k in range(pull.size):
            ascent[k] -= offset * hidden_gradient[k] + slope * hidden_offset[k]
            pull[k] += offset * ascent[k]
        ascent[pull.size :] = float32(0)
        lanes[:] = float32(0)
        for block in range(offsets.shape[0]):
            for k in range(COLUMNS):
                lanes[k] += blocks[unit, block, k] * offsets[block, k]
        half = COLUMNS // 2
        while half > 0:
            for k in range(half):
                lanes[k] += lanes[half + k]
            half //= 2
        visible_gradient[begin + unit] = slope - lanes[0]


@kernel
def pull_down(hidden_gradient, pulls):
    for tile in range(pulls.shape[0]):
        for unit in range(hidden_gradient.size):
            hidden_gradient[unit] -= pulls[tile, unit]


@njit
def find_bounds(bounds, listed, done, counts):
    """Find where in what is left of each unit's list every next MEANS rows of means begin, and where the list ends."""
    for unit in range(counts.size):
        k = done[unit]
        for some in range(bounds.shape[1]):
            while k < counts[unit] and listed[unit, k] < MEANS * some:
                k += 1
            bounds[unit, some] = k


@njit
def list_rows(listed, factors, counts, states, begin, n_units, first_mean, of_means):
    """List, for each unit of a tile, the rows of packed states in which it is on, and the factors of their means."""
    word, shift = begin // 64, uint64(begin % 64)
    mask = (uint64(1) << uint64(n_units)) - uint64(1)
    for row in range(states.shape[0]):
        bits = (states[row, word] >> shift) & mask
        while bits != uint64(0):
            unit = lowest_one(bits)
            listed[unit, counts[unit]] = first_mean + row
            factors[unit, counts[unit]] = of_means[first_mean + row]
            counts[unit] += 1
            bits &= bits - uint64(1)


@njit
def list_grey(listed, factors, counts, grey, begin, n_units, of_means):
    """As `list_rows`, for rows of real numbers, which the factors are multiplied by."""
    for row in range(grey.shape[0]):
        for unit in range(n_units):
            value = grey[row, begin + unit]
            listed[unit, counts[unit]] = row
            factors[unit, counts[unit]] = value * of_means[row]
            counts[unit] += value != float32(0)


@njit
def decay(gradient, weights, l1, l2):
    """Take the gradient of l1 Σ|w| + l2/2 Σw² away."""
    for k in range(weights.size):
        w = weights[k]
        sign = float32(int32(w > float32(0)) - int32(w < float32(0)))
        gradient[k] -= l2 * w + l1 * sign


@njit
def step(weights, ascent, size, rounded, columns, scale):
    """Take a step up, and round what comes of it: see ``rounding_cpu.round_row``."""
    total = int64(0)
    for k in range(weights.size):
        weight = weights[k] + size * ascent[k]
        weights[k] = weight
        rounded[k] = round_one(weight * scale)
    for k in range(weights.size):  # by itself: with a sum in 64 bits the loop above has shorter vectors, or none
        whole = abs(rounded[k])
        columns[k] += uint32(whole)
        total += whole
    return total


@njit
def move(weights, ascent, size):
    """As `step`, without rounding."""
    for k in range(weights.size):
        weights[k] += size * ascent[k]


@njit
def add_to_velocity(velocity, gradient, learning_rate, momentum):
    for k in range(velocity.size):
        velocity[k] = momentum * velocity[k] + learning_rate * gradient[k]
