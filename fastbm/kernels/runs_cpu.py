"""Sweeps of graphs with an order, such as lattices: the neighbours of consecutive units are runs of consecutive units.

Of 64 units, the states of the first, second … neighbours are then one word each, cut out of the words of all states, or a few
such cuts; each is the mask of the addition of a row of couplings. Nothing is looked up unit by unit.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import float32, int64, njit, uint32, uint64

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import philox
from fastbm.kernels.lanes_cpu import draw_below, draw_word, sum_runs
from fastbm.kernels.levels_cpu import MOST_LEVELS, Levels, find_alike, write_thresholds
from fastbm.kernels.threads_cpu import share_out

AT_ONCE = 8
"""Words whose random words are made at once: enough that the loop of the counters is vectorised."""
RECENT = 16
"""Rows of couplings that a new one is compared with."""


class Runs(NamedTuple):
    """The neighbours of words of units, as runs."""

    starts: np.ndarray  # (words + 1,) int64: where the runs of a word begin
    offsets: np.ndarray  # (runs,) int64: where to cut out 64 states, in bits, from 64 before the first slot on
    masks: np.ndarray  # (runs,) uint64: those of them that are neighbours
    rows: np.ndarray  # (runs,) uint32: their row of couplings
    couplings: np.ndarray  # (rows, 64) int32


def runs_of(indptr, indices, data, most: int) -> Runs | None:
    """Return the runs of a graph, or None where there are more than `most`."""
    n_runs = count_runs(indptr, indices)
    if n_runs > most:
        return None
    runs = Runs(
        np.zeros(indptr.size // 64 + 1, np.int64), np.empty(n_runs, np.int64), np.empty(n_runs, np.uint64),
        np.empty(n_runs, np.uint32), np.empty((n_runs, 64), np.int32),
    )  # fmt: skip
    n_rows = write_runs(*runs, indptr, indices, data)
    return runs._replace(couplings=runs.couplings[:n_rows].copy())


@kernel
def count_runs(indptr, indices):
    """Return the number of runs."""
    n_runs = 0
    for word in range(indptr.size // 64):
        for kind in range(largest_degree(indptr, word)):
            last = int64(-2)
            for slot in range(64 * word, 64 * word + 64):
                at = indptr[slot] + kind
                there = at < indptr[slot + 1]
                n_runs += there and indices[at] != last + 1
                last = int64(indices[at]) if there else int64(-2)
    return n_runs


@njit
def largest_degree(indptr, word):
    largest = 0
    for slot in range(64 * word, 64 * word + 64):
        largest = max(largest, indptr[slot + 1] - indptr[slot])
    return largest


@kernel
def write_runs(starts, offsets, masks, rows, couplings, indptr, indices, data):
    """Write the runs; return the number of rows of couplings."""
    n_runs, n_rows, row = 0, 0, np.empty(64, np.int32)
    for word in range(indptr.size // 64):
        for kind in range(largest_degree(indptr, word)):
            first, last = n_runs, int64(-2)
            for lane in range(64):
                at = indptr[64 * word + lane] + kind
                if at >= indptr[64 * word + lane + 1]:
                    last = int64(-2)
                    continue
                if indices[at] != last + 1:
                    offsets[n_runs], masks[n_runs] = int64(indices[at]) + 64 - lane, uint64(0)
                    n_runs += 1
                masks[n_runs - 1] |= uint64(1) << uint64(lane)
                last = int64(indices[at])
            write_row(row, indptr, data, word, kind)
            place = place_of(couplings, n_rows, row)
            rows[first:n_runs] = place
            n_rows = max(n_rows, place + 1)
        starts[word + 1] = n_runs
    return n_rows


@njit
def write_row(row, indptr, data, word, kind):
    """Write the couplings to neighbours of a kind; units without get a neighbour's, so that rows are more often alike."""
    coupling = data[0]
    for reading in range(2):
        for lane in range(64):
            at = indptr[64 * word + lane] + kind
            if at < indptr[64 * word + lane + 1]:
                coupling = data[at]
                if reading == 0:
                    break
            row[lane] = coupling


@njit
def place_of(rows, n_rows, row):
    """Return where a row is among the last ones; else it is added."""
    for place in range(n_rows - 1, max(n_rows - RECENT, 0) - 1, -1):
        same = True
        for lane in range(64):
            same &= rows[place, lane] == row[lane]
        if same:
            return place
    rows[n_rows] = row
    return n_rows


def run(cost, states, *arguments):
    """Run all sweeps, each thread those of some chains; arguments as of `run_chains`, `cost` that of a chain."""
    share_out(run_chains, len(states), cost, states, *arguments)


def run_by_words(
    cost, states, runs: Runs, levels: Levels, bias, beta, free, starts, sizes, numbers, scale, key0, key1, first_chain, start,
    stop,
):  # fmt: skip
    """Run all sweeps of a few chains, one after the other, and share each block out; `cost` is that of a sweep."""
    words: Any = np.zeros(states.shape[1] + 2, np.uint64)
    counts = find_alike(levels.counts, bias, starts, sizes)
    thresholds = np.zeros((starts.size, MOST_LEVELS), np.uint32)
    for row in range(len(states)):
        words[1:-1], before = states[row], None
        for sweep in range(start, stop):
            beta_now = beta[row % beta.shape[0], (sweep - start) % beta.shape[1]]
            if beta_now != before:
                write_thresholds(thresholds, levels.inputs, counts, bias, starts, beta_now * scale, beta_now)
                before = beta_now
            for block in range(starts.size):
                n_words = -(-int(sizes[block]) // 64)
                share_out(
                    run_words, n_words, cost / states.shape[1], words, runs, levels.inputs[block], thresholds[block],
                    int(counts[block]), bias, free[row % len(free)], int(starts[block]) // 64, numbers[block], scale,
                    beta_now, first_chain + row, sweep, key0, key1,
                )  # fmt: skip
        states[row] = words[1:-1]


@njit
def new_scratch():
    """Return what a thread needs: random words, sums, logits."""
    return np.empty(64 * AT_ONCE, np.uint32), np.empty(64, np.int32), np.empty(64, np.float32)


@kernel
def run_chains(
    first, last, states, runs, levels, bias, beta, free, starts, sizes, numbers, scale, key0, key1, first_chain, start, stop
):  # fmt: skip
    """Run all sweeps of the chains `first` … `last` - 1."""
    n_words = states.shape[1]
    words, scratch = np.zeros(n_words + 2, np.uint64), new_scratch()
    counts = find_alike(levels.counts, bias, starts, sizes)
    thresholds = np.zeros((starts.size, MOST_LEVELS), np.uint32)
    for row in range(first, last):
        words[1 : n_words + 1] = states[row]
        before = float32(-1.0)
        for sweep in range(start, stop):
            beta_now = beta[row % beta.shape[0], (sweep - start) % beta.shape[1]]
            if beta_now != before or sweep == start:
                write_thresholds(thresholds, levels.inputs, counts, bias, starts, beta_now * scale, beta_now)
                before = beta_now
            for block in range(starts.size):
                draw_words(
                    0, -(-sizes[block] // 64), words, scratch, runs, levels.inputs[block], thresholds[block], counts[block],
                    bias, free[row % free.shape[0]], starts[block] // 64, numbers[block], scale, beta_now,
                    first_chain + row, sweep, key0, key1,
                )  # fmt: skip
        states[row] = words[1 : n_words + 1]


@kernel
def run_words(
    first, last, words, runs, inputs, thresholds, n_inputs, bias, free, begin, number, scale, beta, chain, sweep, key0, key1
):  # fmt: skip
    """Draw the words `first` … `last` - 1 of one block of one chain."""
    draw_words(
        first, last, words, new_scratch(), runs, inputs, thresholds, n_inputs, bias, free, begin, number, scale, beta, chain,
        sweep, key0, key1,
    )  # fmt: skip


@njit
def draw_words(
    first, last, words, scratch, runs, inputs, thresholds, n_inputs, bias, free, begin, number, scale, beta, chain, sweep,
    key0, key1,
):  # fmt: skip
    """Draw some words of a block that begins at word `begin`; `words` are those of all units, between two of zeros."""
    random, sums, logits = scratch
    starts, offsets, masks, rows, couplings = runs
    first_word, starts = begin + first, starts[begin + first : begin + last + 1]
    here, free, bias = words[first_word + 1 : begin + last + 1], free[first_word : begin + last], bias[64 * first_word :]
    for word in range(last - first):
        at = word & (AT_ONCE - 1)
        if at == 0:
            write_random(random, 16 * min(AT_ONCE, last - first - word), 16 * (first + word), chain, sweep, number, key0, key1)
        sum_runs(sums, words, offsets, masks, rows, couplings, starts[word], starts[word + 1])
        if n_inputs > 0:
            on = draw_below(sums, random, 64 * at, inputs, thresholds, n_inputs)
        else:
            write_logits(logits, sums, bias, 64 * word, beta * scale, beta)
            on = draw_word(logits, random, 0, 64 * at)
        here[word] = (on & free[word]) | (here[word] & ~free[word])


@njit
def write_random(random, n_groups, counter, chain, sweep, number, key0, key1):
    """Write the random words of `n_groups` counters."""
    for group in range(n_groups):
        a, b, c, d = philox(counter + group, chain, sweep, number, key0, key1)
        random[4 * group] = a
        random[4 * group + 1] = b
        random[4 * group + 2] = c
        random[4 * group + 3] = d


@njit(forceinline=True)
def write_logits(logits, sums, bias, at, scale, beta):
    for lane in range(64):
        logits[lane] = float32(sums[lane]) * scale + beta * bias[uint32(at + lane)]
