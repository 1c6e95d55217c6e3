"""Sweeps of any sparse graph, a chain at a time: inputs are kept, and follow the units that flip.

Integer sums may be updated for ever without error. A thread owns a run of chains for all their sweeps, so nothing waits.
"""

from typing import NamedTuple

import numpy as np
from numba import int32, int64, njit, uint32, uint64

from fastbm.kernels.bits_cpu import count_ones, lowest_one
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.lanes_cpu import draw_word
from fastbm.kernels.runs_cpu import AT_ONCE, write_logits, write_random
from fastbm.kernels.threads_cpu import share_out

LOW, HALF = uint64(0xFFFFFFFF), uint64(32)


class Entries(NamedTuple):
    """Couplings slot by slot, each in one number: the neighbour in the low half, the coupling in the high one.

    Each slot has a multiple of four, of which the last may be couplings of 0.
    """

    starts: np.ndarray  # (slots + 1,) int64
    numbers: np.ndarray  # (entries,) uint64


def entries_of(indptr, indices, data) -> Entries:
    """Return the couplings of a graph in compressed rows."""
    starts = np.concatenate([[0], np.cumsum(-(-np.diff(indptr.astype(np.int64)) // 4) * 4)])
    entries = Entries(starts, np.empty(starts[-1], np.uint64))
    write_entries(entries.numbers, starts, indptr, indices, data)
    return entries


@kernel
def write_entries(numbers, starts, indptr, indices, data):
    for slot in range(starts.size - 1):
        degree = indptr[slot + 1] - indptr[slot]
        for k in range(starts[slot + 1] - starts[slot]):
            at = indptr[slot] + min(k, degree - 1)
            coupling = uint64(uint32(data[at])) if k < degree else uint64(0)
            numbers[starts[slot] + k] = (coupling << uint64(32)) | uint64(indices[at])


def run(cost, states, entries, bias, beta, free, starts, sizes, numbers, *numbered):
    """Run all sweeps, `cost` that of a chain; return the part of the units that flipped in a sweep, the first left out."""
    flips, (start, stop) = np.zeros(len(states), np.int64), numbered[-2:]
    share_out(run_flips, len(states), cost, states, *entries, bias, beta, free, starts, sizes, numbers, flips, *numbered)
    return flips.mean() / max((stop - start - 1) * int(sizes.sum()), 1)


@kernel
def run_flips(
    first, last, states, heads, entries, bias, beta, free, starts, sizes, numbers, flips, scale, key0, key1, first_chain, start,
    stop,
):  # fmt: skip
    """Run all sweeps of the chains `first` … `last` - 1, and write how many units of each flipped after the first sweep."""
    inputs, random, logits = np.empty(bias.size, np.int32), np.empty(64 * AT_ONCE, np.uint32), np.empty(64, np.float32)
    for row in range(first, last):
        state, free_row = states[row], free[row % free.shape[0]]
        inputs[:] = int32(0)
        for word in range(state.size):
            follow_flips(inputs, state[word], uint64(0), 64 * word, heads, entries)
        count = 0
        for sweep in range(start, stop):
            beta_now = beta[row % beta.shape[0], (sweep - start) % beta.shape[1]]
            scale_now = beta_now * scale
            for block in range(starts.size):
                begin, n_words = int64(starts[block]) >> 6, (int64(sizes[block]) + 63) >> 6
                for k in range(n_words):
                    word, at = begin + k, k & (AT_ONCE - 1)
                    if at == 0:
                        n_groups = 16 * min(AT_ONCE, n_words - k)
                        write_random(random, n_groups, 16 * k, first_chain + row, sweep, numbers[block], key0, key1)
                    # slices, because indices that may wrap around keep the loop from being vectorised
                    write_logits(logits, inputs[64 * word :][:64], bias, 64 * word, scale_now, beta_now)
                    before = state[word]
                    changed = (draw_word(logits, random, 0, 64 * at) ^ before) & free_row[word]
                    follow_flips(inputs, changed, before, 64 * word, heads, entries)
                    state[word] = before ^ changed
                    count += int64(count_ones(changed)) if sweep > start else 0
        flips[row] = count


@njit
def follow_flips(inputs, changed, before, first, heads, entries):
    """Bring the inputs up to date after the units that have `changed` of a word, whose states were `before`."""
    add_couplings(inputs, changed & ~before, first, heads, entries, False)  # one after the other: no signs to be looked at
    add_couplings(inputs, changed & before, first, heads, entries, True)


@njit(forceinline=True)
def add_couplings(inputs, units, first, heads, entries, less):
    """Add to the inputs, or take away, the couplings of the units of a word that are set in `units`."""
    while units != uint64(0):
        slot = uint64(first) + lowest_one(units)  # indices without a sign, which are not wrapped around, take half the time
        units &= units - uint64(1)
        entry, end = uint64(heads[slot]), uint64(heads[slot + uint64(1)])
        while entry < end:
            a, b = entries[entry], entries[entry + uint64(1)]
            c, d = entries[entry + uint64(2)], entries[entry + uint64(3)]
            if less:
                inputs[a & LOW] -= int32(a >> HALF)
                inputs[b & LOW] -= int32(b >> HALF)
                inputs[c & LOW] -= int32(c >> HALF)
                inputs[d & LOW] -= int32(d >> HALF)
            else:
                inputs[a & LOW] += int32(a >> HALF)
                inputs[b & LOW] += int32(b >> HALF)
                inputs[c & LOW] += int32(c >> HALF)
                inputs[d & LOW] += int32(d >> HALF)
            entry += uint64(4)
