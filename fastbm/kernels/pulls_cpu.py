"""Sweeps of any sparse graph, a chain at a time: the states of the neighbours of 64 units are picked out of all states at once.

A byte permutation, vpermi2b, looks 64 bytes up in 128. The bytes with the states of the k-th neighbours of 64 units are found
by as many as there are *stretches* of 1,024 states that these lie in. Neighbours are in ascending order, so that the k-th ones
lie together, more or less: in 3 of 6 stretches on a random graph of 5,000 units of degree 12. Nothing is kept from one unit to
the next: the cost is that of all neighbours, whether they flip or not, but sixteen are added at a time.
"""

from typing import NamedTuple

import numpy as np
from numba import float32, int64, njit, uint8, uint64

from fastbm.device import aligned_zeros
from fastbm.kernels import simd_cpu
from fastbm.kernels.bits_cpu import count_ones
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.lanes_cpu import draw_below, draw_word, sum_picked
from fastbm.kernels.levels_cpu import MOST_LEVELS, find_alike, write_thresholds
from fastbm.kernels.runs_cpu import AT_ONCE, largest_degree, new_scratch, write_logits, write_random
from fastbm.kernels.threads_cpu import share_out

STRETCH = 16
"""Words of a stretch: those of two vectors of 64 bytes."""


class Picks(NamedTuple):
    """Where the states of neighbours are: row k of a word of units is for its units' k-th neighbours, a lane for each unit."""

    starts: np.ndarray  # (words + 1,) int64: the first row of each word
    octets: np.ndarray  # (rows, 64) uint8: the byte of a stretch
    bits: np.ndarray  # (rows, 64) uint8: the bit of the byte, 0 in lanes without such a neighbour
    couplings: np.ndarray  # (rows, 64) int32
    pieces: np.ndarray  # (rows + 1,) int64: the first piece of each row
    begins: np.ndarray  # (pieces,) int64: the first word of the stretch
    masks: np.ndarray  # (pieces,) uint64: the lanes whose neighbours lie in it


def is_possible() -> bool:
    """Return whether this processor can, and FASTBM_SIMD does not forbid it."""
    return simd_cpu.LEVEL == "avx512" and simd_cpu.permutes_bytes()


def picks_of(indptr, indices, data, n_rows: int, n_pieces: int) -> Picks:
    """Return the picks of a graph, given what `count_picks` says."""
    lanes = [aligned_zeros((n_rows, 64), kind) for kind in (np.uint8, np.uint8, np.int32)]  # a vector is a line of the cache
    pieces = np.empty(n_pieces, np.int64), np.empty(n_pieces, np.uint64)
    picks = Picks(np.zeros(indptr.size // 64 + 1, np.int64), *lanes, np.zeros(n_rows + 1, np.int64), *pieces)
    write_picks(*picks, indptr, indices, data)
    return picks


@kernel
def count_picks(indptr, indices):
    """Return how many rows and pieces there are."""
    seen, n_rows, n_pieces = np.full(indptr.size // (64 * STRETCH) + 1, -1, np.int64), 0, 0
    for word in range(indptr.size // 64):
        for k in range(largest_degree(indptr, word)):
            for slot in range(64 * word, 64 * word + 64):
                at = indptr[slot] + k
                if at < indptr[slot + 1] and seen[indices[at] // (64 * STRETCH)] != n_rows:
                    seen[indices[at] // (64 * STRETCH)] = n_rows
                    n_pieces += 1
            n_rows += 1
    return n_rows, n_pieces


@kernel
def write_picks(starts, octets, bits, couplings, pieces, begins, masks, indptr, indices, data):
    """Write the picks, into zeros but for begins and masks."""
    piece_of, row, piece = np.full(indptr.size // (64 * STRETCH) + 1, -1, np.int64), 0, 0
    for word in range(indptr.size // 64):
        for k in range(largest_degree(indptr, word)):
            first = piece
            for lane in range(64):
                at = indptr[64 * word + lane] + k
                if at >= indptr[64 * word + lane + 1]:
                    continue
                slot = int64(indices[at])
                stretch = slot // (64 * STRETCH)
                if piece_of[stretch] < first:
                    piece_of[stretch], begins[piece], masks[piece] = piece, STRETCH * stretch, uint64(0)
                    piece += 1
                masks[piece_of[stretch]] |= uint64(1) << uint64(lane)
                octets[row, lane], bits[row, lane] = slot // 8 % (8 * STRETCH), uint8(1 << slot % 8)
                couplings[row, lane] = data[at]
            row += 1
            pieces[row] = piece
        starts[word + 1] = row


def run(cost, states, picks: Picks, levels, bias, beta, free, starts, sizes, numbers, *numbered):
    """Run all sweeps, `cost` that of a chain; return the part of the units that flipped in a sweep, the first left out."""
    flips, (start, stop) = np.zeros(len(states), np.int64), numbered[-2:]
    share_out(run_pulls, len(states), cost, states, picks, levels, bias, beta, free, starts, sizes, numbers, flips, *numbered)
    return flips.mean() / max((stop - start - 1) * int(sizes.sum()), 1)


@kernel
def run_pulls(
    first, last, states, picks, levels, bias, beta, free, starts, sizes, numbers, flips, scale, key0, key1, first_chain, start,
    stop,
):  # fmt: skip
    """Run all sweeps of the chains `first` … `last` - 1, and write how many units of each flipped after the first sweep."""
    n_words = states.shape[1]
    words, scratch = np.zeros((n_words + STRETCH - 1) // STRETCH * STRETCH, np.uint64), new_scratch()
    counts = find_alike(levels.counts, bias, starts, sizes)
    thresholds = np.zeros((starts.size, MOST_LEVELS), np.uint32)
    for row in range(first, last):
        words[:n_words], count, before = states[row], 0, float32(-1.0)
        for sweep in range(start, stop):
            beta_now = beta[row % beta.shape[0], (sweep - start) % beta.shape[1]]
            if beta_now != before:
                write_thresholds(thresholds, levels.inputs, counts, bias, starts, beta_now * scale, beta_now)
                before = beta_now
            for block in range(starts.size):
                flipped = draw_words(
                    -(-sizes[block] // 64), words, scratch, picks, levels.inputs[block], thresholds[block], counts[block], bias,
                    free[row % free.shape[0]], starts[block] // 64, numbers[block], scale, beta_now, first_chain + row, sweep,
                    key0, key1,
                )  # fmt: skip
                count += flipped if sweep > start else 0
        states[row], flips[row] = words[:n_words], count


@njit(forceinline=True)  # a call, with all these arrays, takes a twentieth of the time
def draw_words(
    n_words, words, scratch, picks, inputs, thresholds, n_inputs, bias, free, begin, number, scale, beta, chain, sweep, key0,
    key1,
):  # fmt: skip
    """Draw a block that begins at word `begin`; return how many of its units flipped."""
    random, sums, logits = scratch
    starts, octets, bits, couplings, pieces, begins, masks = picks
    here, free, bias, starts, flipped = words[begin:][:n_words], free[begin:], bias[64 * begin :], starts[begin:], 0
    for word in range(n_words):
        at = word & (AT_ONCE - 1)
        if at == 0:
            write_random(random, 16 * min(AT_ONCE, n_words - word), 16 * word, chain, sweep, number, key0, key1)
        sum_picked(sums, words, octets, bits, couplings, pieces, begins, masks, starts[word], starts[word + 1])
        if n_inputs > 0:
            on = draw_below(sums, random, 64 * at, inputs, thresholds, n_inputs)
        else:
            write_logits(logits, sums, bias, 64 * word, beta * scale, beta)
            on = draw_word(logits, random, 0, 64 * at)
        changed = (on ^ here[word]) & free[word]
        here[word] ^= changed
        flipped += int64(count_ones(changed))
    return flipped
