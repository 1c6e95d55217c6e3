"""A slab of chains, laid out for table lookup: words of fifteen units, [word][chain], even and odd layers apart."""

from typing import NamedTuple

import numpy as np
from numba import njit, uint16, uint64

from fastbm.kernels.simd_cpu import UNITS_AT_ONCE


class Slab(NamedTuple):
    """Scratch of one thread; `states` and `free` are (2, words, chains), `by_chain` is the side looked at, (chains, words)."""

    n_chains: int  # those of the padding not counted
    states: np.ndarray
    free: np.ndarray  # 1 where a unit is not clamped; set for layers that have a clamped unit
    clamped: np.ndarray  # (layers,) whether a layer has one
    held: np.ndarray  # clamped units while the others are drawn
    by_chain: np.ndarray
    indices: np.ndarray  # (rows of tables, chains) what tables are indexed with
    betas: np.ndarray
    largest_beta: float
    sums: np.ndarray
    words: np.ndarray
    doubtful: np.ndarray  # a bit a chain


@njit
def new_slab(beta, places, n_rows):
    """Return a slab of beta.size chains; a word is `n_rows` indices, one with AVX-512, five with AVX2."""
    n_chains = beta.size
    width = -(-n_chains // 32) * 32
    betas = np.zeros(width, np.float32)
    betas[:n_chains] = beta
    height = max(places[:, 4].max(), places[0, 4])
    four = (UNITS_AT_ONCE, width)
    return Slab(
        n_chains, np.zeros((2, height, width), np.uint16), np.zeros((2, height, width), np.uint16),
        np.zeros(len(places), np.bool_), np.empty((height, width), np.uint16), np.empty((width, height), np.uint16),
        np.empty((n_rows * height, width + 32), np.uint16), betas, float(beta.max()), np.empty(four, np.int32),
        np.empty(four, np.uint32), np.empty(width // 32, np.uint32),
    )  # fmt: skip


@njit
def enter(slab, layer_states, layer_free, layer, place, first):
    """Take a layer's packed states over, and which units are free where one is clamped."""
    n_units, at = place[0], place[1]
    spread(slab.states[layer & 1], layer_states, first, slab.n_chains, n_units, at)
    for row in range(min(slab.n_chains, layer_free.shape[0])):
        for word in range(layer_free.shape[1]):
            every = ~uint64(0) >> uint64(max(0, 64 * (word + 1) - n_units))
            slab.clamped[layer] |= layer_free[(first + row) % layer_free.shape[0], word] & every != every
    if slab.clamped[layer]:
        spread(slab.free[layer & 1], layer_free, first, slab.n_chains, n_units, at)


@njit
def spread(words, packed, first, n_chains, n_units, at):
    """Write packed rows, used again in turn when there are fewer, as words of fifteen units from row `at` on."""
    for c in range(n_chains):
        row = packed[(first + c) % packed.shape[0]]
        for w in range(-(-n_units // 15)):
            word, bit = (15 * w) >> 6, uint64((15 * w) & 63)
            bits = row[word] >> bit
            if bit > uint64(49) and word + 1 < row.size:
                bits |= row[word + 1] << (uint64(64) - bit)
            words[at + w, c] = uint16(bits & uint64(0x7FFF))


@njit
def leave(slab, layer_states, layer, place, first):
    """Write a layer's states back as packed rows."""
    n_units, at = place[0], place[1]
    for c in range(slab.n_chains):
        row = layer_states[first + c]
        for word in range(row.size):
            row[word] = uint64(0)
        for w in range(-(-n_units // 15)):
            word, bit = (15 * w) >> 6, uint64((15 * w) & 63)
            bits = uint64(slab.states[layer & 1, at + w, c])
            row[word] |= bits << bit
            if bit > uint64(49) and word + 1 < row.size:
                row[word + 1] |= bits >> (uint64(64) - bit)


@njit
def turn(by_chain, indices, words):
    """Prepare one side to be looked at: its words by chain, for exact sums, and as indices of tables."""
    height, width = words.shape
    for block in range(0, width, 32):  # whose rows stay in the first cache
        for w in range(height):
            for c in range(block, block + 32):
                by_chain[c, w] = words[w, c]
    n_rows = indices.shape[0] // height
    for w in range(height):
        if n_rows == 1:
            indices[w, :width] = words[w]
        else:  # three units in each byte, and 8 more in the high one: see simd_cpu._vpshufb
            for row in range(n_rows):
                for c in range(width):
                    three = (words[w, c] >> uint16(3 * row)) & uint16(7)
                    indices[n_rows * w + row, c] = three * uint16(0x0101) + uint16(0x0800)


@njit
def hold(held, states, free):
    """Put the clamped units of a layer aside, and all its units off."""
    for w in range(states.shape[0]):
        for c in range(states.shape[1]):
            held[w, c] = states[w, c] & ~free[w, c]
            states[w, c] = uint16(0)


@njit
def release(held, states, free):
    """Give clamped units their states back."""
    for w in range(states.shape[0]):
        for c in range(states.shape[1]):
            states[w, c] = (states[w, c] & free[w, c]) | held[w, c]
