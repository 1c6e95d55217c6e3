"""The first pass of a learning update, over rows of states: a sweep of the chains, and the hidden means of data and chains."""

import numpy as np
from numba import float32, int32, njit, uint64

from fastbm.kernels import simd_cpu
from fastbm.kernels.bits_cpu import count_ones, lowest_one
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.cost_cpu import makes_tables, tables_pay
from fastbm.kernels.draw_cpu import draw, fill_random_words, store_states, write_logits, write_means
from fastbm.kernels.lookup_cpu import LARGEST_SLAB, draw_layer
from fastbm.kernels.rough_cpu import write_bounds
from fastbm.kernels.slab_cpu import leave, new_slab, spread, turn
from fastbm.kernels.sums_cpu import add_rows_4, add_rows_8
from fastbm.kernels.tables_cpu import NOT_LIVE, UNITS_A_WORD, build_live
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, COST_OF_A_DRAW, share_out, worth


def phases(
    rows, visible, hidden, means, to_hidden, to_visible, visible_bias, hidden_bias, visible_free, hidden_free, tables,
    *, exponent, key, update,
):  # fmt: skip
    n_rows, n_chains, n_hidden, size = rows.shape[0], visible.shape[0], to_visible.shape[0], to_hidden.size
    live = NOT_LIVE
    if makes_tables(n_chains, n_hidden, simd_cpu.LEVEL) and (
        tables.get("one way", True) or tables_pay(count_on(hidden) / (n_chains * n_hidden), n_hidden)
    ):  # with tables, whoever sweeps but once an update need not have the couplings to the visible units
        live = tables["live"] = tables.get("live") or build_live(to_hidden, n_hidden)
    else:
        tables.pop("live", None)
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
def count_on(states):
    """The number of units that are on, in all rows."""
    total = uint64(0)
    for row in range(states.shape[0]):
        for word in range(states.shape[1]):
            total += count_ones(states[row, word])
    return total


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
                held = visible[begin:end] & ~visible_free[0]
                look_up_visible(
                    begin, end, visible, hidden, to_visible.shape[0], to_hidden, visible_bias, coarse, starts, steps, scale,
                    key0, key1, update,
                )  # fmt: skip
                visible[begin:end] = visible[begin:end] & visible_free[0] | held
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
