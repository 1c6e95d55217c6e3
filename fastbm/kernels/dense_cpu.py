"""Block Gibbs sweeps with a matrix of couplings: inputs are kept, and follow the units that flip; 64 units at a time.

Of these, sixteen are drawn at once, as if none flipped. Those up to the first that does flip are right; its row is added to the
64 inputs, and the others are drawn again. The rest of its row, with those of the others that flipped, is added to the other
inputs afterwards. Chains take turns after every 64 units, so that the 64 rows stay in the cache for all of them.
"""

import numpy as np
from numba import float32, int32, njit, uint32, uint64

from fastbm.device import aligned_zeros
from fastbm.kernels.bits_cpu import lowest_one
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.cost_cpu import COST_OF_A_FLIP, FLIPPING
from fastbm.kernels.draw_cpu import philox
from fastbm.kernels.lanes_cpu import LANES, add_listed, draw_sixteen
from fastbm.kernels.limits_cpu import compare_sixteen, write_limits
from fastbm.kernels.threads_cpu import n_threads, share_out

COST_OF_A_UNIT = 8.0
"""Rough nanoseconds to draw a unit, without what its flips cost."""
MOST_CHAINS = 128
"""Chains that take turns; their inputs should stay in the cache."""


def dense_gibbs(
    states, couplings, bias, beta, free, starts, sizes, numbers, tables, *, exponent, key, first_chain, start, stop
):  # fmt: skip
    n_units = len(couplings)
    cost = (stop - start) * n_units * (COST_OF_A_UNIT + FLIPPING * COST_OF_A_FLIP * n_units)
    positions = np.arange(n_units) - np.repeat(starts, sizes)
    counters, blocks = np.zeros(bias.size, np.uint32), np.zeros(bias.size, np.uint32)
    counters[:n_units], blocks[:n_units] = positions, np.repeat(numbers, sizes)
    run = min(MOST_CHAINS, max(1, -(-len(states) // n_threads())))
    if "tiles" not in tables:
        tables["tiles"] = tiles_of(couplings)
    share_out(
        run_chains, len(states), cost, states, tables["tiles"], bias, beta, free, counters, blocks,
        np.float32(2.0**-exponent), key[0], key[1], first_chain, start, stop, run=run,
    )  # fmt: skip


def tiles_of(couplings):
    """Return the couplings as squares of 64 by 64, (words, words, 64, 64), each in one piece."""
    n_words = couplings.shape[1] // 64
    tiles = aligned_zeros((n_words, n_words, 64, 64), np.int32)
    for word in range(n_words):
        some = couplings[64 * word : 64 * word + 64]
        tiles[word, :, : len(some)] = some.reshape(len(some), n_words, 64).transpose(1, 0, 2)
    return tiles


@kernel
def run_chains(
    first, last, states, tiles, bias, beta, free, positions, blocks, scale, key0, key1, first_chain, start, stop
):  # fmt: skip
    n_chains, n_words = last - first, states.shape[1]
    listed, counts = np.empty((n_chains, 64), np.uint32), np.empty((n_chains, 2), np.int64)
    inputs = inputs_of(states[first:last], tiles, listed, counts)
    near, words = np.empty(64, np.int32), np.empty(64, np.uint32)
    logits, limits, shifts = np.empty(64, np.float32), np.empty(64, np.float32), np.empty(64, np.float32)
    lonely = np.ones(n_words, np.bool_)
    for unit in range(positions.size):
        lonely[unit >> 6] &= positions[unit] == 0
    for sweep in range(start, stop):
        for word in range(n_words):
            begin = 64 * word
            square = tiles[word, word]
            for c in range(n_chains):
                row = first + c
                beta_now = beta[row % beta.shape[0], (sweep - start) % beta.shape[1]]
                write_words(words, positions, blocks, lonely[word], begin, first_chain + row, sweep, key0, key1)
                write_limits(limits, words)
                for lane in range(64):
                    near[lane], shifts[lane] = inputs[c, begin + lane], beta_now * bias[begin + lane]
                before, unclamped = states[row, word], free[row % free.shape[0], word]
                after = draw_in_turn(near, logits, words, limits, shifts, square, before, unclamped, scale * beta_now)
                states[row, word] = after
                counts[c, 0] = list_ones(listed[c], 0, after & ~before)
                counts[c, 1] = list_ones(listed[c], counts[c, 0], before & ~after)
            add_to_all(inputs, tiles[word], listed, counts)


@njit
def inputs_of(states, tiles, listed, counts):
    """Return the inputs of all units in some chains."""
    inputs = np.zeros((len(states), 64 * states.shape[1]), np.int32)
    for word in range(states.shape[1]):
        for c in range(len(states)):
            counts[c] = list_ones(listed[c], 0, states[c, word])
        add_to_all(inputs, tiles[word], listed, counts)
    return inputs


@njit
def add_to_all(inputs, tiles, listed, counts):
    """Add the rows listed for each chain, of 64 units, to its inputs: the first counts[c, 0]; the others are taken away."""
    for column in range(len(tiles)):
        tile = tiles[column]  # which stays in the first cache
        for c in range(len(inputs)):
            add_listed(inputs, c, tile, listed, counts[c, 0], counts[c, 1], 64 * column)


@njit
def list_ones(listed, count, bits):
    """List the bits that are set, from place `count` on; return how many are listed then."""
    while bits != uint64(0):
        listed[count] = lowest_one(bits)
        count += 1
        bits &= bits - uint64(1)
    return count


@njit
def write_words(words, positions, blocks, lonely, first, chain, sweep, key0, key1):
    """Write the random words of 64 units, each of a counter of its own; `lonely` ones are each the first of a block."""
    if lonely:
        for lane in range(64):
            words[lane] = philox(0, chain, sweep, blocks[first + lane], key0, key1)[0]
        return
    for lane in range(64):
        position = positions[first + lane]
        a, b, c, d = philox(position >> uint32(2), chain, sweep, blocks[first + lane], key0, key1)
        odd, high = position & uint32(1), position & uint32(2)
        low_word, high_word = (b if odd else a), (d if odd else c)
        words[lane] = high_word if high else low_word


@njit
def draw_in_turn(near, logits, words, limits, shifts, square, state, free, scale):
    """Draw 64 units one after the other, given their inputs, which follow; return their states."""
    for part in range(0, 64, LANES):
        left = (uint64(0xFFFF) << uint64(part)) & free
        while left != uint64(0):
            found = uint64(compare_sixteen(near, shifts, limits, scale, part))
            if ((found >> uint64(16)) << uint64(part)) & left:
                for lane in range(part, part + LANES):
                    logits[lane] = float32(near[lane]) * scale + shifts[lane]
                found = uint64(draw_sixteen(logits, words, part))
            flips = (((found & uint64(0xFFFF)) << uint64(part)) ^ state) & left
            if flips == uint64(0):
                break
            unit = lowest_one(flips)
            left &= ~uint64(1) << unit
            off = -int32((state >> unit) & uint64(1))
            state ^= uint64(1) << unit
            for lane in range(64):
                near[lane] += (square[unit, lane] ^ off) - off
    return state
