"""Rows of real numbers: sums in a fixed order, which no number of threads can change.

Rows of which many numbers are 0, as those of most images, skip them; others are multiplied as matrices. Both ways add the same
terms in the same order, so which is taken changes no bit.
"""

import numpy as np
from numba import float32, int32, int64, njit

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import write_means
from fastbm.kernels.product_cpu import SIGMOID, multiply
from fastbm.kernels.sums_cpu import fuse_multiples_1, fuse_multiples_4, fuse_multiples_16
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, share_out, worth

RUNS_A_THREAD = 2
"""Runs of rows for each thread: few, because every run reads all the weights."""
DENSE = 0.33
"""The part of the numbers that are not 0 from which on it takes less time to multiply with them all."""


def grey_infer(rows, weights, bias, logits, means):
    n_rows = rows.shape[0]
    if is_dense(rows, DENSE):
        sums, values = logits[:n_rows, : bias.size], means[:n_rows, : bias.size]
        multiply(rows, weights, sums, values, bias, SIGMOID, 0.0, 0, 0, 0)
        return
    cost = 4 * COST_OF_A_COUPLING * weights.size
    threads = worth(n_rows * cost)
    run = None if threads == 1 else -(-n_rows // (RUNS_A_THREAD * threads))
    share_out(run_grey_infer, n_rows, cost, rows, weights, bias, logits, means, run=run)


@kernel
def is_dense(rows, share):
    """Whether more than this share of the numbers are not 0."""
    count = int64(0)
    for row in range(rows.shape[0]):
        some = int32(0)
        for k in range(rows.shape[1]):
            some += int32(rows[row, k] != float32(0))
        count += some
    return count > share * rows.size


@kernel
def run_grey_infer(first, last, rows, weights, bias, logits, means):
    listed, factors = np.empty((1, rows.shape[1]), np.uint32), np.empty((1, rows.shape[1]), np.float32)
    rest, sums = last_columns(weights), np.empty(bias.size, np.float32)
    for row in range(first, last):
        sums[:] = float32(0)
        count = list_numbers(listed[0], factors[0], rows[row])
        add_multiples(sums, weights, rest, listed, factors, count)
        for unit in range(bias.size):
            sums[unit] += bias[unit]
        logits[row, : bias.size] = sums
        write_means(means[row, : bias.size], sums)  # not of logits, which they may be written over: that is no vector loop


@njit
def last_columns(weights):
    """Return the columns that are left of a multiple of 16, with zeros behind them."""
    n_rows, n_columns = weights.shape
    whole = n_columns // 16 * 16
    rest = np.zeros((n_rows, 16), np.float32)
    for row in range(n_rows):
        for k in range(n_columns - whole):
            rest[row, k] = weights[row, whole + k]
    return rest


@njit
def list_numbers(listed, factors, numbers):
    """List the numbers that are not 0, and where they stand; return how many."""
    count = 0
    for k in range(numbers.size):
        listed[count], factors[count] = k, numbers[k]
        count += numbers[k] != float32(0)
    return count


@njit
def add_multiples(sums, weights, rest, listed, factors, count):
    """sums += Σ_k factors[k] · weights[listed[k]], in the order of k."""
    n_columns, column = weights.shape[1], 0
    while column + 256 <= n_columns:
        fuse_multiples_16(sums, column, weights, listed, 0, 0, count, column, factors)
        column += 256
    while column + 64 <= n_columns:
        fuse_multiples_4(sums, column, weights, listed, 0, 0, count, column, factors)
        column += 64
    while column + 16 <= n_columns:
        fuse_multiples_1(sums, column, weights, listed, 0, 0, count, column, factors)
        column += 16
    if column < n_columns:
        fuse_multiples_1(sums, column, rest, listed, 0, 0, count, 0, factors)
