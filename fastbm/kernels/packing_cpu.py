"""Rows of numbers as packed states."""

import numpy as np
from numba import float32, njit, uint8, uint64

from fastbm import chain
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import gather_bits
from fastbm.kernels.threads_cpu import share_out

COST_OF_PACKING = 0.3
"""Nanoseconds a number."""


def pack(rows, out):
    binary = np.ones(rows.shape[0], np.bool_)
    share_out(run_pack, rows.shape[0], COST_OF_PACKING * rows.shape[1], rows, out, binary)
    return bool(binary.all())


def unpack(states, n_units, dtype):
    return chain.unpack(states, n_units, dtype)


def subtract_means(states, means, *, n_units):
    share_out(run_subtract_means, means.shape[0], COST_OF_PACKING * n_units, states, means, n_units)


@kernel
def run_subtract_means(first, last, states, means, n_units):
    for row in range(first, last):
        for word in range(states.shape[1]):
            bits, begin = states[row, word], 64 * word
            for unit in range(min(64, n_units - begin)):
                state = float32((bits >> uint64(unit)) & uint64(1))
                means[row, begin + unit] = state - means[row, begin + unit]


@kernel
def run_pack(first, last, rows, out, binary):
    on = np.zeros(64 * out.shape[1], np.uint8)
    octets = on.view(np.uint64)
    for row in range(first, last):
        binary[row] = compare(on, rows[row])
        for word in range(out.shape[1]):
            out[row, word] = gather_bits(octets, word)


@njit
def compare(on, numbers):
    """Note which numbers are not 0; return whether the others are all 1."""
    others = 0
    for unit in range(numbers.size):
        on[unit] = uint8(numbers[unit] != 0)
        others += (numbers[unit] != 0) & (numbers[unit] != 1)
    return others == 0
