"""Tables of partial sums, by which the input of a unit is looked up instead of summed.

Units of a layer are taken fifteen to a word, and a word is cut into groups of five (AVX-512) or three (AVX2). For each unit
that draws and each group that it looks at, a table holds the sum of the couplings for every state of the group, in steps so
large that the sum over a part of the words fits into 16 bits: a coarse input, with a bound on how far it can be off.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import float32, int16, int32, int64, njit, uint8, uint16

from fastbm import chain
from fastbm.device import aligned_zeros
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.simd_cpu import UNITS_AT_ONCE
from fastbm.kernels.threads_cpu import share_out

UNITS_A_WORD = 15
WORDS_A_PART = 24
"""Words whose sums go into one 16-bit number: the fewer, the finer the steps."""
LARGEST_ERROR = 0.52
"""Steps by which a table's entry may be off: a half, and the rounding of float32."""
COST_OF_A_MADE_BYTE = 0.25
"""Nanoseconds to make a byte of a table."""
COST_OF_COARSENING = 0.2
"""Nanoseconds to make a coupling coarse."""


def n_words(n_units: int) -> int:
    """Return how many words of fifteen units a layer takes."""
    return -(-n_units // UNITS_A_WORD)


def table_bytes(sizes, level: str) -> int:
    """Return how much memory the tables of a machine with layers of these sizes take."""
    a_word = 3 * 32 * 2 if level == "avx512" else 5 * 16
    return sum(a_word * (n_words(below) * above + n_words(above) * below) for below, above in pairwise(sizes))


def build(up, down, level: str):
    """Return (tables, starts, steps), each with one array a layer.

    `tables` (n_units, n_rows, groups, entries): uint16 (…, 3, 32) with a row for each word that the units look at, or uint8
    (…, 1, 16) with five rows a word; `starts` (n_units, n_parts) uint16, what the sums over a part begin at so that none falls
    below 0; `steps` (n_units,) float64, the size of a table's steps in rounded couplings. n_units is padded to a multiple of 4.
    """
    made = [_of_layer(layer, up, down, level) for layer in range(len(up) + 1)]
    return tuple(zip(*made, strict=True))


def _of_layer(layer, up, down, level):
    sources = ([down[layer - 1]] if layer > 0 else []) + ([up[layer]] if layer < len(up) else [])
    sizes = ([up[layer - 1].shape[0]] if layer > 0 else []) + ([down[layer].shape[0]] if layer < len(up) else [])
    n_units, width = sources[0].shape[0], sum(map(n_words, sizes))
    padded = -(-n_units // UNITS_AT_ONCE) * UNITS_AT_ONCE
    shape, dtype = ((padded, width, 3, 32), np.uint16) if level == "avx512" else ((padded, 5 * width, 1, 16), np.uint8)
    tables, steps = aligned_zeros(shape, dtype), np.ones(padded)
    starts = np.zeros((padded, -(-width // WORDS_A_PART)), np.uint16)
    cost = COST_OF_A_MADE_BYTE * tables.nbytes / padded
    fill = run_fill_uint16 if level == "avx512" else run_fill_uint8
    share_out(fill, n_units, cost, sources[0], sizes[0], sources[-1], sum(sizes[1:]), tables, starts, steps)
    return tables, starts, steps


@kernel
def run_fill_uint16(first, last, below, n_below, above, n_above, tables, starts, steps):
    couplings, sums = np.zeros(15 * tables.shape[1], np.int32), np.empty(32, np.int32)
    for unit in range(first, last):
        gather(couplings, below[unit], n_below, above[unit], n_above)
        steps[unit] = choose_steps(couplings, starts[unit], tables.shape[1], 3)
        inverse = float32(1.0 / steps[unit])
        for word in range(tables.shape[1]):
            for group in range(3):
                add_up(sums, couplings[15 * word + 5 * group :], 5)
                table = tables[unit, word, group]
                for entry in range(32):
                    table[entry] = uint16(int32(np.rint(float32(sums[entry]) * inverse)))


@kernel
def run_fill_uint8(first, last, below, n_below, above, n_above, tables, starts, steps):
    couplings, sums = np.zeros(3 * tables.shape[1], np.int32), np.empty(8, np.int32)
    for unit in range(first, last):
        gather(couplings, below[unit], n_below, above[unit], n_above)
        steps[unit] = choose_steps(couplings, starts[unit], tables.shape[1] // 5, 5)
        inverse = float32(1.0 / steps[unit])
        for group in range(tables.shape[1]):
            add_up(sums, couplings[3 * group :], 3)
            table = tables[unit, group, 0]
            for entry in range(8):
                value = uint16(int32(np.rint(float32(sums[entry]) * inverse)))
                table[entry], table[8 + entry] = uint8(value), uint8(value >> 8)


@njit
def gather(couplings, below, n_below, above, n_above):
    """Lay a unit's couplings to the layers below and above one behind the other, each padded to whole words."""
    for k in range(n_below):
        couplings[k] = below[k]
    begin = -(-n_below // 15) * 15
    for k in range(n_above):
        couplings[begin + k] = above[k]


@njit
def choose_steps(couplings, starts, n_words, n_entries):
    """Set what the sums of each part begin at; return the smallest step with which all of them fit into 16 bits.

    Each word adds `n_entries` numbers, each of which is off by up to a step.
    """
    n_parts, negative, largest = starts.size, np.empty(starts.size), int64(0)
    margin = n_entries * -(-n_words // n_parts) + 1
    for part in range(n_parts):
        total, signed = add_part(couplings, part, n_parts, n_words)
        largest, negative[part] = max(largest, total), (total - signed) // 2
    step = max(float(largest) / (65533 - 2 * margin), 1.0)
    for part in range(n_parts):
        starts[part] = uint16(int64(negative[part] / step) + 1 + margin)
    return step


@njit
def add_part(couplings, part, n_parts, n_words):
    """Return the sum of the magnitudes of a part's couplings, and the sum of the couplings."""
    total, signed = int64(0), int64(0)
    begin, end = 15 * (n_words * part // n_parts), 15 * (n_words * (part + 1) // n_parts)
    some = couplings[begin:end]
    for k in range(some.size):
        total += int64(abs(some[k]))
        signed += int64(some[k])
    return total, signed


@njit
def add_up(sums, couplings, n_units):
    """Write the sum of couplings for each of the 2**n_units states of a group."""
    sums[0] = int32(0)
    for k in range(n_units):
        for state in range(1 << k):
            sums[(1 << k) + state] = sums[state] + couplings[k]


class Live(NamedTuple):
    """Coarse couplings, of which tables are made anew at each use; for couplings that change at every update."""

    coarse: np.ndarray  # (n_units, at least 15 a word) int16
    starts: np.ndarray
    steps: np.ndarray


NOT_LIVE = Live(np.empty((0, 0), np.int16), np.empty((0, 0), np.uint16), np.empty(0))
"""None of them, for kernels that then sum couplings instead."""


def build_live(couplings, n_sources: int) -> Live:
    """Return the coarse couplings of units that look at the `n_sources` units of one layer."""
    padded = -(-couplings.shape[0] // UNITS_AT_ONCE) * UNITS_AT_ONCE
    coarse = aligned_zeros((padded, chain.padded(UNITS_A_WORD * n_words(n_sources) + 1)), np.int16)  # read in sixteens
    live = Live(coarse, np.zeros((padded, 1), np.uint16), np.ones(padded))
    cost = COST_OF_COARSENING * couplings.shape[1]
    share_out(run_coarsen, couplings.shape[0], cost, couplings, *live)
    return live


@kernel
def run_coarsen(first, last, couplings, coarse, starts, steps):
    for unit in range(first, last):
        steps[unit] = coarsen(couplings[unit], coarse[unit], starts[unit])


@njit
def coarsen(couplings, coarse, starts):
    """Write the coarse couplings of a unit; return the size of their steps."""
    step = choose_steps(couplings, starts, coarse.size // 15 + 1, 15)  # one part: to sum parts would take longer than it saves
    inverse = float32(1.0 / step)
    for k in range(min(coarse.size, couplings.size)):
        coarse[k] = int16(int32(np.rint(float32(couplings[k]) * inverse)))
    return step
