"""Thresholds: where the units of a block have few inputs between them, each draw is one comparison of integers.

For a given logit the draw is monotone in the uniform number that the random word stands for, so there is a number below which
the unit is on: it is found by bisection with the draw itself, and is exact.
"""

from typing import NamedTuple

import numpy as np
from numba import float32, int32, int64, njit, uint32

from fastbm.kernels.draw_cpu import is_on

MOST_LEVELS = 16
"""Inputs of a block up to which thresholds are looked up; a comparison and a choice each."""
MOST_NEIGHBOURS, MOST_KINDS = 12, 4
"""Neighbours of a unit, and different sets of couplings of the units of a block, that inputs are listed for."""


class Levels(NamedTuple):
    """The inputs that the units of each block can have, (blocks, MOST_LEVELS) int32, and how many, 0 for too many."""

    inputs: np.ndarray
    counts: np.ndarray


def levels_of(indptr, data, starts, sizes) -> Levels:
    """Return the inputs that are possible in each block, whatever the states."""
    levels = Levels(np.zeros((starts.size, MOST_LEVELS), np.int32), np.zeros(starts.size, np.int32))
    for block in range(starts.size):
        levels.counts[block] = list_inputs(levels.inputs[block], indptr, data, starts[block], starts[block] + sizes[block])
    return levels


@njit
def list_inputs(inputs, indptr, data, first, last):
    """List the sums of the couplings of the slots `first` … `last` - 1; return how many there are, or 0 for too many."""
    kinds, n_kinds, n_inputs = np.zeros((MOST_KINDS, MOST_NEIGHBOURS), np.int32), 0, 0
    own = np.zeros(MOST_NEIGHBOURS, np.int32)
    for slot in range(first, last):
        degree = indptr[slot + 1] - indptr[slot]
        if degree > MOST_NEIGHBOURS:
            return 0
        own[:] = 0
        for k in range(degree):
            insert(own, k, data[indptr[slot] + k])
        if is_known(kinds, n_kinds, own):
            continue
        if n_kinds == MOST_KINDS:
            return 0
        kinds[n_kinds] = own
        n_kinds += 1
        n_inputs = add_sums(inputs, n_inputs, own)
        if n_inputs == 0:
            return 0
    return n_inputs


@njit
def insert(own, count, coupling):
    """Insert a coupling into the first `count` of a list, which are in order."""
    k = count
    while k > 0 and own[k - 1] > coupling:
        own[k] = own[k - 1]
        k -= 1
    own[k] = coupling


@njit
def is_known(kinds, n_kinds, own):
    for kind in range(n_kinds):
        same = True
        for k in range(own.size):
            same &= kinds[kind, k] == own[k]
        if same:
            return True
    return False


@njit
def add_sums(inputs, n_inputs, couplings):
    """Add the sums of every choice of the couplings to a list; return its length, or 0 where it gets too long."""
    sums, n_sums = np.zeros(MOST_LEVELS, np.int32), 1
    for coupling in couplings:
        if coupling != 0:
            for k in range(n_sums):
                n_sums = note(sums, n_sums, sums[k] + coupling)
                if n_sums == 0:
                    return 0
    for k in range(n_sums):
        n_inputs = note(inputs, n_inputs, sums[k])
        if n_inputs == 0:
            return 0
    return n_inputs


@njit
def note(numbers, count, number):
    """Add a number to a list unless it is there; return its length, or 0 where it has no room."""
    for k in range(count):
        if numbers[k] == number:
            return count
    if count == numbers.size:
        return 0
    numbers[count] = int32(number)
    return count + 1


@njit
def find_alike(counts, bias, starts, sizes):
    """Return the counts of inputs again, but 0 for blocks in which biases differ."""
    alike = counts.copy()
    for block in range(starts.size):
        if counts[block]:
            begin = starts[block]
            differ = False
            for slot in range(begin + 1, begin + sizes[block]):
                differ |= bias[slot] != bias[begin]
            if differ:
                alike[block] = 0
    return alike


@njit
def write_thresholds(thresholds, inputs, counts, bias, starts, scale, beta):
    """Write the threshold of each input of each block."""
    for block in range(starts.size):
        for k in range(counts[block]):
            logit = float32(inputs[block, k]) * scale + beta * bias[starts[block]]
            thresholds[block, k] = threshold_of(logit)


@njit
def threshold_of(logit):
    """Return the number, in steps of 2**-31, below which the uniform number of a unit that is on lies: 0 … 2**31."""
    likely = uint32(is_on(logit, uint32(0x7FFFFFFF)))  # as one half nearly is below
    low, high = int64(0), int64(2**30)
    while low < high:
        middle = (low + high) // 2
        if is_on(logit, uint32(likely << uint32(31)) | uint32(2 * middle + 1)) != likely:
            low = middle + 1
        else:
            high = middle
    return uint32(2**31 - low) if likely else uint32(low)
