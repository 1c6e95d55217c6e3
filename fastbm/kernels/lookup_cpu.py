"""Block Gibbs sweeps of many chains by table lookup: coarse first, exact on doubt.

One instruction looks up, for 16 or 32 chains at once, what a group of units adds to the input of another (``tables_cpu``).
The sums are coarse, but how far they can be off is known: draws that are nearer to their threshold than that are made again
from the exact integers. So the states are those of ``fastbm.chain``, bit for bit.
"""

import numpy as np
from numba import float32, int32, int64, njit, uint16, uint32, uint64

from fastbm.kernels.bits_cpu import lowest_one
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import is_on, philox
from fastbm.kernels.rough_cpu import draw_roughly, write_bounds
from fastbm.kernels.simd_cpu import UNITS_AT_ONCE, look_up_1, look_up_2, look_up_4, sum_of_units_on
from fastbm.kernels.slab_cpu import enter, hold, leave, new_slab, release, turn
from fastbm.kernels.tables_cpu import UNITS_A_WORD, n_words
from fastbm.kernels.threads_cpu import n_threads, share_out

LARGEST_SLAB, SMALLEST_SLAB = 512, 32
"""Chains in a slab: the more of them, the fewer times tables are read from memory; all of them stay in the second cache."""


def run(layers, up, down, biases, beta, free, tables, *, cost, scale, key, first_chain, start, stop):
    """Run block updates `start` … `stop` - 1: arguments as of the gibbs kernel, and what ``tables_cpu.build`` returned."""
    n_chains = layers[0].shape[0]
    of_a_thread = -(-n_chains // n_threads())
    slab = min(LARGEST_SLAB, -(-of_a_thread // SMALLEST_SLAB) * SMALLEST_SLAB)
    below, above = (up[0], *down), (*up, down[-1])  # of the lowest and the highest layer never looked at
    share_out(
        run_slab, n_chains, cost, layers, below, above, biases, beta, free, *tables, places(up, down), scale, key[0], key[1],
        first_chain, start, stop, run=slab,
    )  # fmt: skip


def places(up, down) -> np.ndarray:
    """Return, a row a layer: its units, its first row of words, and where what it looks at begins, changes layer, and ends.

    The words of even layers lie one behind the other, and so do those of odd ones: what a layer looks at is one run of rows,
    first those of the layer below, then those of the layer above.
    """
    sizes = [up[0].shape[0], *(couplings.shape[0] for couplings in down)]
    rows = []
    for layer, size in enumerate(sizes):
        at = sum(map(n_words, sizes[layer % 2 : layer : 2]))
        lowest = sum(map(n_words, sizes[1 - layer % 2 : max(layer - 1, 0) : 2]))
        middle = lowest + (n_words(sizes[layer - 1]) if layer > 0 else 0)
        end = middle + (n_words(sizes[layer + 1]) if layer + 1 < len(sizes) else 0)
        rows.append((size, at, lowest, middle, end))
    return np.array(rows)


@kernel
def run_slab(
    first, last, layers, below, above, biases, beta, free, tables, starts, steps, places, scale, key0, key1, first_chain,
    start, stop,
):  # fmt: skip
    n_rows, n_entries = (5, 5) if tables[0].itemsize == 1 else (1, 3)
    slab = new_slab(beta[np.arange(first, last) % beta.size], places, n_rows)
    bounds = np.empty((len(layers), 3, places[:, 0].max()), np.float32)
    for layer in range(len(layers)):
        enter(slab, layers[layer], free[layer], layer, places[layer], first)
        n_added = n_entries * (places[layer, 4] - places[layer, 2])
        write_bounds(
            bounds[layer], places[layer, 0], biases[layer], steps[layer], starts[layer], n_added, slab.largest_beta, scale
        )
    for update in range(start, stop):
        odd = 1 - (update & 1)
        turn(slab.by_chain, slab.indices, slab.states[1 - odd])
        for layer in range(odd, len(layers), 2):
            words = slice(places[layer, 1], places[layer, 1] + -(-places[layer, 0] // UNITS_A_WORD))
            states, unclamped = slab.states[odd, words], slab.free[odd, words]
            hold(slab.held, states, unclamped)
            draw_layer(
                states, slab, bounds[layer], biases[layer], tables[layer], starts[layer], below[layer], above[layer],
                places[layer], scale, first_chain + first, update >> 1, layer ^ 1, key0, key1,
            )  # fmt: skip
            if slab.clamped[layer]:
                release(slab.held, states, unclamped)
    for layer in range(len(layers)):
        leave(slab, layers[layer], layer, places[layer], first)


@njit
def draw_layer(
    states, slab, bounds, bias, tables, starts, below, above, place, scale, first_chain, sweep, block, key0, key1
):  # fmt: skip
    """Draw all units of a layer in every chain; `states` are all off, `bounds` what ``rough_cpu.write_bounds`` wrote."""
    lowest, middle, end = place[2], place[3], place[4]
    sums, words, doubtful, by_chain, betas = slab.sums, slab.words, slab.doubtful, slab.by_chain, slab.betas
    indices = slab.indices[slab.indices.shape[0] // slab.states.shape[1] * lowest :]
    for unit in range(place[0]):
        q = unit % UNITS_AT_ONCE
        if q == 0:
            write_words(words, unit >> 2, first_chain, sweep, block, key0, key1)
            write_sums(sums, tables, starts, unit, indices, end - lowest)
        bit, on = uint16(1 << (unit % UNITS_A_WORD)), states[unit // UNITS_A_WORD]
        step, shift, margin = bounds[0, unit], bounds[1, unit], bounds[2, unit]
        if draw_roughly(on, doubtful, tables, sums, words, q, betas, step, shift, margin, bit) == uint32(0):
            continue
        for k in range(doubtful.size):
            doubts = uint64(doubtful[k])
            while doubts != uint64(0):
                c = 32 * k + int64(lowest_one(doubts))
                doubts &= doubts - uint64(1)
                if c < slab.n_chains:
                    total = sum_of_units_on(below, unit, by_chain, c, lowest, middle)
                    total += sum_of_units_on(above, unit, by_chain, c, middle, end)
                    logit = float32(int32(total)) * (betas[c] * scale) + betas[c] * bias[unit]
                    on[c] = (on[c] & ~bit) | uint16(bit & uint16(-int32(is_on(logit, words[q, c]))))


@njit
def write_words(words, counter, first_chain, sweep, block, key0, key1):
    """Write the random words of four units of every chain."""
    for c in range(words.shape[1]):
        words[0, c], words[1, c], words[2, c], words[3, c] = philox(counter, first_chain + c, sweep, block, key0, key1)


@njit
def write_sums(sums, tables, starts, unit, indices, n_sources):
    """Look up the coarse inputs of four units of every chain, part by part."""
    n_parts, width = starts.shape[1], sums.shape[1]
    lanes, rows = (16, 5) if tables.itemsize == 1 else (32, 1)
    for part in range(n_parts):
        begin, end = rows * (n_sources * part // n_parts), rows * (n_sources * (part + 1) // n_parts)
        chain = 0
        if lanes == 32:  # AVX2 has registers for half as many vectors
            while chain + 4 * lanes <= width:
                look_up_4(sums, tables, starts, unit, part, indices, begin, end, chain)
                chain += 4 * lanes
        while chain + 2 * lanes <= width:
            look_up_2(sums, tables, starts, unit, part, indices, begin, end, chain)
            chain += 2 * lanes
        while chain < width:
            look_up_1(sums, tables, starts, unit, part, indices, begin, end, chain)
            chain += lanes
