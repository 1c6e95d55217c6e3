"""The two passes of a learning update: over rows of states, which gives means; over couplings, which takes a step.

Between them lies all that an update needs; each touches what it needs once, a few rows at a time, which stay in the cache.
"""

import numpy as np
from numba import float32, int32, int64, njit, uint32, uint64

from fastbm.kernels import rounding_cpu, simd_cpu
from fastbm.kernels.bits_cpu import lowest_one
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.cost_cpu import makes_tables
from fastbm.kernels.draw_cpu import draw, fill_random_words, store_states, write_logits, write_means
from fastbm.kernels.lookup_cpu import LARGEST_SLAB, draw_layer
from fastbm.kernels.rough_cpu import write_bounds
from fastbm.kernels.rounding_cpu import TILE, is_right, largest_sum, round_one, sums_of, transpose_tile
from fastbm.kernels.simd_cpu import add_multiples_4, add_multiples_16, add_rows_4, add_rows_8
from fastbm.kernels.slab_cpu import leave, new_slab, spread, turn
from fastbm.kernels.tables_cpu import UNITS_A_WORD, Live, build_live, coarsen
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, COST_OF_A_DRAW, share_out, worth

NOT_LIVE = Live(np.empty((0, 0), np.int16), np.empty((0, 0), np.uint16), np.empty(0))

COLUMNS, MEANS = 64, 104
"""Columns and rows of the means that are read for sixteen visible units at a time: they fit into the first cache."""
FEW_MEANS = 32
"""So few rows fit into it four times as wide."""
COST_OF_A_STEP = 0.5
"""Nanoseconds to change a coupling, to round it and to write it twice."""


def phases(
    rows, visible, hidden, means, to_hidden, to_visible, visible_bias, hidden_bias, visible_free, hidden_free, tables,
    *, exponent, key, update,
):  # fmt: skip
    n_rows, n_chains, size = rows.shape[0], visible.shape[0], to_hidden.size
    live = NOT_LIVE
    if "live" in tables or makes_tables(n_chains, to_visible.shape[0], simd_cpu.LEVEL):
        live = tables["live"] = tables.get("live") or build_live(to_hidden, to_visible.shape[0])
    of_a_row = COST_OF_A_COUPLING * size
    of_a_chain = 2 * of_a_row + COST_OF_A_DRAW * (visible_bias.size + hidden_bias.size)
    cost = n_rows * of_a_row + n_chains * of_a_chain
    n_parts = min(worth(cost), n_chains)
    n_items = n_parts + min(2 * n_parts, n_rows)
    share_out(
        run_phases, n_items, cost / n_items, n_items, n_parts, rows, visible, hidden, means, to_hidden, to_visible,
        visible_bias, hidden_bias, visible_free, hidden_free, *live, np.float32(2.0**-exponent), key[0], key[1], update, run=1,
    )  # fmt: skip


@kernel
def run_phases(
    first, last, n_items, n_parts, rows, visible, hidden, means, to_hidden, to_visible, visible_bias, hidden_bias,
    visible_free, hidden_free, coarse, starts, steps, scale, key0, key1, update,
):  # fmt: skip
    """Do some items: a part of the chains the first and the last ones, where threads begin; a part of the rows the others."""
    n_rows, n_chains, n_row_items = rows.shape[0], visible.shape[0], n_items - n_parts
    for item in range(first, last):
        if 0 < item <= n_row_items:
            begin, end = n_rows * (item - 1) // n_row_items, n_rows * item // n_row_items
            infer_rows(rows[begin:end], means[begin:end], to_hidden, hidden_bias, scale)
        else:
            part = max(item - n_row_items, 0)
            begin, end = n_chains * part // n_parts, n_chains * (part + 1) // n_parts
            if coarse.size:
                look_up_visible(
                    begin, end, visible, hidden, to_visible.shape[0], to_hidden, visible_bias, coarse, starts, steps, scale,
                    key0, key1, update,
                )  # fmt: skip
            else:
                draw_units(
                    begin, end, visible, hidden, to_visible, visible_bias, visible_free[0], means[:0], scale,
                    key0, key1, update, 1,
                )  # fmt: skip
            draw_units(
                begin, end, hidden, visible, to_hidden, hidden_bias, hidden_free[0], means[n_rows:], scale,
                key0, key1, update + 1, 0,
            )  # fmt: skip


@njit
def infer_rows(rows, means, couplings, bias, scale):
    """Write the probabilities of units given rows of states."""
    inputs, logits = np.empty(bias.size, np.int32), np.empty(bias.size, np.float32)
    listed = np.empty(64 * rows.shape[1], np.uint32)
    for row in range(rows.shape[0]):
        sum_rows(inputs, couplings, rows[row], listed)
        write_logits(logits, inputs, bias, scale, float32(1))
        write_means(means[row, : bias.size], logits)


@njit
def draw_units(begin, end, states, given, couplings, bias, free, means, scale, key0, key1, update, block):
    """Draw units of some chains given the other side; write their probabilities where there are `means`."""
    inputs, logits = np.empty(bias.size, np.int32), np.empty(bias.size, np.float32)
    words, on, listed = np.empty(bias.size, np.uint32), np.empty(bias.size, np.uint8), np.empty(64 * given.shape[1], np.uint32)
    for row in range(begin, end):
        sum_rows(inputs, couplings, given[row], listed)
        write_logits(logits, inputs, bias, scale, float32(1))
        if means.size:
            write_means(means[row, : bias.size], logits)
        fill_random_words(words, row, update >> 1, block, key0, key1)
        draw(on, logits, words)
        store_states(states[row], free, on)


@njit
def look_up_visible(begin, end, visible, hidden, n_hidden, to_hidden, bias, coarse, starts, steps, scale, key0, key1, update):
    """Draw the visible units of some chains by looking their inputs up in tables that are made on the way."""
    n_visible, end_visible, end_hidden = to_hidden.shape[0], -(-to_hidden.shape[0] // 15), -(-n_hidden // 15)
    places = np.array([[n_visible, 0, 0, 0, end_hidden], [n_hidden, 0, 0, end_visible, end_visible]])
    bounds = np.empty((3, n_visible), np.float32)
    write_bounds(bounds, n_visible, bias, steps, starts, UNITS_A_WORD * end_hidden, 1.0, scale)
    for first in range(begin, end, LARGEST_SLAB):
        last = min(first + LARGEST_SLAB, end)
        slab = new_slab(np.ones(last - first, np.float32), places, 1)
        spread(slab.states[1], hidden, first, last - first, n_hidden, 0)
        turn(slab.by_chain, slab.indices, slab.states[1])
        states = slab.states[0, :end_visible]
        draw_layer(
            states,
            slab,
            bounds,
            bias,
            coarse,
            starts,
            to_hidden,
            to_hidden,
            places[0],
            scale,
            first,
            update >> 1,
            1,
            key0,
            key1,
        )
        leave(slab, visible, 0, places[0], first)


@njit
def sum_rows(inputs, couplings, state, listed):
    """Write the inputs that come from the units on in `state`; their size is a multiple of 64."""
    count = list_units(listed, state)
    inputs[:] = int32(0)
    whole = inputs.size // 128 * 128
    for column in range(0, whole, 128):
        add_rows_8(inputs, column, couplings, listed, 0, count, column)
    if whole < inputs.size:
        add_rows_4(inputs, whole, couplings, listed, 0, count, whole)


@njit
def list_units(listed, state):
    """List the units that are on; return how many."""
    count = 0
    for word in range(state.size):
        bits = state[word]
        while bits != uint64(0):
            listed[count] = 64 * word + lowest_one(bits)
            count += 1
            bits &= bits - uint64(1)
    return count


def ascend(
    weights, velocity, to_hidden, to_visible, visible_gradient, hidden_gradient, rows, grey, visible, means, tables,
    *, exponent, learning_rate, momentum, l1, l2, both,
):  # fmt: skip
    live = tables.get("live", NOT_LIVE)
    tables.clear()
    row_sums, column_sums = sums_of(weights.shape)
    numbers = [np.float32(value) for value in (2.0**exponent, learning_rate, momentum, l1, l2)]
    run_hidden_gradient(hidden_gradient, means, rows.shape[0] + grey.shape[0])
    cost = TILE * weights.shape[1] * (COST_OF_A_STEP + COST_OF_A_COUPLING * means.shape[0])
    share_out(
        run_ascend, len(column_sums), cost, weights, velocity, to_hidden, to_visible, visible_gradient, rows, grey, visible,
        means, *live, row_sums, column_sums, *numbers, both or live is NOT_LIVE,
    )  # fmt: skip
    if is_right(exponent, largest_sum(row_sums, column_sums), weights.shape):
        if live is not NOT_LIVE:
            tables |= {"live": live, "one way": not both}
        return exponent
    return rounding_cpu.round_couplings(weights, to_hidden, to_visible, guess=None)


@kernel
def run_hidden_gradient(hidden_gradient, means, n_data):
    """The mean of the means of the data, less that of the chains."""
    hidden_gradient[:] = float32(0)
    for row in range(means.shape[0]):
        factor = float32(1 / n_data) if row < n_data else float32(-1 / (means.shape[0] - n_data))
        for unit in range(hidden_gradient.size):
            hidden_gradient[unit] += factor * means[row, unit]


@kernel
def run_ascend(
    first, last, weights, velocity, to_hidden, to_visible, visible_gradient, rows, grey, visible, means, coarse, starts, steps,
    row_sums, column_sums, scale, learning_rate, momentum, l1, l2, both,
):  # fmt: skip
    n_visible, n_hidden = weights.shape
    listed, factors = np.empty((TILE, means.shape[0]), np.uint32), np.empty((TILE, means.shape[0]), np.float32)
    counts, bounds = np.empty(TILE, np.int64), np.zeros((TILE, -(-means.shape[0] // MEANS) + 1), np.int64)
    width, wide = -(-n_hidden // COLUMNS) * COLUMNS, 0
    if means.shape[0] <= FEW_MEANS:
        wide = width // (4 * COLUMNS) * 4 * COLUMNS
    gradient = np.empty(TILE * width, np.float32)
    for tile in range(first, last):
        begin, n_units = TILE * tile, min(TILE, n_visible - TILE * tile)
        counts[:], column_sums[tile] = 0, 0
        list_rows(listed, factors, counts, rows, begin, n_units, 0, float32(1 / max(rows.shape[0], 1)))
        list_grey(listed, factors, counts, grey, begin, n_units, float32(1 / max(grey.shape[0], 1)))
        list_rows(
            listed, factors, counts, visible, begin, n_units, means.shape[0] - visible.shape[0], float32(-1 / visible.shape[0])
        )
        for unit in range(n_units):
            visible_gradient[begin + unit] = factors[unit, : counts[unit]].sum()
        find_bounds(bounds, listed, counts)
        gradient[:] = float32(0)
        for column in range(0, wide, 4 * COLUMNS):
            for unit in range(n_units):
                add_multiples_16(gradient, unit * width + column, means, listed, unit, 0, counts[unit], column, factors)
        for column in range(wide, width, COLUMNS):
            for some in range(bounds.shape[1] - 1):  # of the means, which stay in the first cache for all units
                for unit in range(n_units):
                    begin_mean, end_mean = bounds[unit, some], bounds[unit, some + 1]
                    at = unit * width + column
                    add_multiples_4(gradient, at, means, listed, unit, begin_mean, end_mean, column, factors)
        for unit in range(n_units):
            row, ascent = begin + unit, gradient[unit * width : unit * width + n_hidden]
            if l1 != float32(0) or l2 != float32(0):
                decay(ascent, weights[row], l1, l2)
            if velocity.size:
                add_to_velocity(velocity[row], ascent, learning_rate, momentum)
                row_sums[row] = step(weights[row], velocity[row], float32(1), to_hidden[row], column_sums[tile], scale)
            else:
                row_sums[row] = step(weights[row], ascent, learning_rate, to_hidden[row], column_sums[tile], scale)
            if coarse.size:
                steps[row] = coarsen(to_hidden[row], coarse[row], starts[row])
        if both:
            transpose_tile(tile, to_hidden, to_visible)


@njit
def find_bounds(bounds, listed, counts):
    """Find where in each unit's list every next MEANS rows of means begin, and where the list ends."""
    for unit in range(counts.size):
        k = 0
        for some in range(bounds.shape[1]):
            while k < counts[unit] and listed[unit, k] < MEANS * some:
                k += 1
            bounds[unit, some] = k


@njit
def list_rows(listed, factors, counts, states, begin, n_units, first_mean, factor):
    """List, for each unit of a tile, the rows of packed states in which it is on, and the factor of their means."""
    word, shift = begin // 64, uint64(begin % 64)
    mask = (uint64(1) << uint64(n_units)) - uint64(1)
    for row in range(states.shape[0]):
        bits = (states[row, word] >> shift) & mask
        while bits != uint64(0):
            unit = lowest_one(bits)
            listed[unit, counts[unit]] = first_mean + row
            factors[unit, counts[unit]] = factor
            counts[unit] += 1
            bits &= bits - uint64(1)


@njit
def list_grey(listed, factors, counts, grey, begin, n_units, factor):
    """As `list_rows`, for rows of real numbers, which the factors are multiplied by."""
    for row in range(grey.shape[0]):
        for unit in range(n_units):
            value = grey[row, begin + unit]
            listed[unit, counts[unit]] = row
            factors[unit, counts[unit]] = value * factor
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
        whole = round_one(weight * scale)
        rounded[k] = whole
        columns[k] += uint32(abs(whole))
        total += abs(whole)
    return total


@njit
def add_to_velocity(velocity, gradient, learning_rate, momentum):
    for k in range(velocity.size):
        velocity[k] = momentum * velocity[k] + learning_rate * gradient[k]
