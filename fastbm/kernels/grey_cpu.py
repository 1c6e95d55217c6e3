"""Rows of real numbers, mostly zero in practice: sums in a fixed order, which no number of threads can change.

A matrix product of BLAS rounds differently with its number of threads, and its threads and ours would wait for each other.
"""

import numpy as np
from numba import float32, njit

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import write_means
from fastbm.kernels.simd_cpu import add_multiples_4, add_multiples_16
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, share_out


def grey_infer(rows, weights, bias, logits, means):
    cost = 4 * COST_OF_A_COUPLING * weights.size
    share_out(run_grey_infer, rows.shape[0], cost, rows, weights, bias, logits, means)


@kernel
def run_grey_infer(first, last, rows, weights, bias, logits, means):
    listed, factors = np.empty((1, rows.shape[1]), np.uint32), np.empty((1, rows.shape[1]), np.float32)
    for row in range(first, last):
        count = list_numbers(listed[0], factors[0], rows[row])
        sums = logits[row, : bias.size]
        sums[:] = float32(0)
        add_multiples(sums, weights, listed, factors, count)
        for unit in range(bias.size):
            sums[unit] += bias[unit]
        write_means(means[row, : bias.size], sums)


@njit
def list_numbers(listed, factors, numbers):
    """List the numbers that are not 0, and where they stand; return how many."""
    count = 0
    for k in range(numbers.size):
        listed[count], factors[count] = k, numbers[k]
        count += numbers[k] != float32(0)
    return count


@njit
def add_multiples(sums, weights, listed, factors, count):
    """sums += Σ_k factors[k] · weights[listed[k]], in the order of k."""
    n_columns, column = weights.shape[1], 0
    while column + 256 <= n_columns:
        add_multiples_16(sums, column, weights, listed, 0, 0, count, column, factors)
        column += 256
    while column + 64 <= n_columns:
        add_multiples_4(sums, column, weights, listed, 0, 0, count, column, factors)
        column += 64
    if column < n_columns:
        for k in range(count):
            some, factor = weights[listed[0, k], column:], factors[0, k]
            for j in range(some.size):
                sums[column + j] += factor * some[j]
