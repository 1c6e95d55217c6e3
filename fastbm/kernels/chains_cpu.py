"""Sweeps of any sparse graph, 64 chains at a time: a word holds the states of one unit in all of them.

An addition under a mask adds a coupling in the sixteen chains of a vector in which the neighbour is on. A thread owns its
chains for all their sweeps, so nothing waits.
"""

import numpy as np
from numba import float32, int64, njit, uint64

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import philox
from fastbm.kernels.lanes_cpu import draw_below, draw_word, sum_neighbours
from fastbm.kernels.levels_cpu import MOST_LEVELS, find_alike, write_thresholds
from fastbm.kernels.threads_cpu import n_threads, share_out

SLAB = 64
"""Chains of a slab: those of a word."""


def run(cost, states, *arguments):
    """Run all sweeps, each thread those of some chains; arguments as of `run_slab`, `cost` that of a chain."""
    share_out(run_slab, len(states), cost, states, *arguments, run=min(SLAB, -(-len(states) // n_threads())))


@kernel
def run_slab(
    first, last, states, indptr, indices, data, levels, bias, beta, free, starts, sizes, numbers, scale, key0, key1,
    first_chain, start, stop,
):  # fmt: skip
    """Run all sweeps of the chains `first` … `last` - 1, at most 64."""
    words, clamped = np.empty(bias.size, np.uint64), np.zeros(0, np.uint64)
    turn(words, states, first, last)
    if has_clamped(free, first, last, starts, sizes):
        clamped = np.empty(bias.size, np.uint64)
        turn(clamped, free, first, last)
    betas, chain_number = np.zeros(SLAB, np.float32), first_chain + first
    counts = find_alike(levels.counts, bias, starts, sizes) if beta.shape[0] == 1 else np.zeros(starts.size, np.int32)
    thresholds, before = np.zeros((starts.size, MOST_LEVELS), np.uint32), float32(-1.0)
    for sweep in range(start, stop):
        for row in range(first, last):
            betas[row - first] = beta[row % beta.shape[0], (sweep - start) % beta.shape[1]]
        if betas[0] != before or sweep == start:
            write_thresholds(thresholds, levels.inputs, counts, bias, starts, betas[0] * scale, betas[0])
            before = betas[0]
        for block in range(starts.size):
            draw_block(
                words, clamped, indptr, indices, data, levels.inputs[block], thresholds[block], counts[block], bias, betas,
                int64(starts[block]), int64(sizes[block]), numbers[block], scale, key0, key1, chain_number, sweep,
            )  # fmt: skip
    turn_back(states, words, first, last)


@njit
def has_clamped(free, first, last, starts, sizes):
    """Return whether a unit is clamped in one of the chains."""
    for row in range(first, min(last, first + free.shape[0])):
        for block in range(starts.size):
            for word in range((int64(sizes[block]) + 63) // 64):
                every = ~uint64(0) >> uint64(max(0, 64 * (word + 1) - int64(sizes[block])))
                if free[row % free.shape[0], int64(starts[block]) // 64 + word] & every != every:
                    return True
    return False


@njit
def draw_block(
    words, free, indptr, indices, data, inputs, thresholds, n_inputs, bias, betas, begin, size, number, scale, key0, key1,
    first_chain, sweep,
):  # fmt: skip
    """Draw the units of a block in all chains of a slab."""
    random, sums, logits = np.empty(4 * SLAB, np.uint32), np.empty(SLAB, np.int32), np.empty(SLAB, np.float32)
    lines = random.reshape(4, SLAB)
    first, second, third, fourth = lines[0], lines[1], lines[2], lines[3]
    for position in range(size):
        slot, q = begin + position, position & 3
        if q == 0:
            for c in range(SLAB):
                first[c], second[c], third[c], fourth[c] = philox(position >> 2, first_chain + c, sweep, number, key0, key1)
        sum_neighbours(sums, words, indices, data, indptr[slot], indptr[slot + 1])
        if n_inputs > 0:
            on = draw_below(sums, random, SLAB * q, inputs, thresholds, n_inputs)
        else:
            own = bias[slot]
            for c in range(SLAB):
                logits[c] = float32(sums[c]) * (betas[c] * scale) + betas[c] * own
            on = draw_word(logits, random, 0, SLAB * q)
        if free.size:
            on = (on & free[slot]) | (words[slot] & ~free[slot])
        words[slot] = on


@njit
def turn(words, rows, first, last):
    """Write the bits of packed rows, used in turn, as a word for each slot, whose bit c is of row first + c."""
    square = np.zeros(SLAB, np.uint64)
    for word in range(rows.shape[1]):
        square[:] = uint64(0)
        for row in range(first, last):
            square[row - first] = rows[row % rows.shape[0], word]
        transpose(square)
        words[64 * word : 64 * word + 64] = square


@njit
def turn_back(rows, words, first, last):
    """Write packed rows again from a word for each slot."""
    square = np.empty(SLAB, np.uint64)
    for word in range(rows.shape[1]):
        square[:] = words[64 * word : 64 * word + 64]
        transpose(square)
        for row in range(first, last):
            rows[row, word] = square[row - first]


@njit
def transpose(square):
    """Exchange rows and columns of 64 words of 64 bits: halves of halves, see H. S. Warren, Hacker's Delight, section 7-3."""
    width, mask = 32, uint64(0x00000000FFFFFFFF)
    while width:
        shift = uint64(width)
        for k in range(64):
            if k & width == 0:
                low, high = square[k], square[k + width]
                moved = ((low >> shift) ^ high) & mask
                square[k + width] = high ^ moved
                square[k] = low ^ (moved << shift)
        width >>= 1
        mask ^= mask << uint64(width)
