"""Rows of real numbers: sums in a fixed order, which no number of threads can change.

A matrix product of BLAS rounds differently with its number of threads, and its threads and ours would wait for each other. Rows
of which many numbers are 0, as those of most images, skip them; others are multiplied a few rows at a time. Both ways add the
same terms in the same order, so which is taken changes no bit.
"""

import numpy as np
from numba import float32, int32, int64, njit

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import write_means
from fastbm.kernels.sums_cpu import (
    ROWS_AT_ONCE,
    add_multiples_1,
    add_multiples_4,
    add_multiples_16,
    add_products_1,
    add_products_4,
)
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, share_out, worth

RUNS_A_THREAD = 2
"""Runs of rows for each thread: few, because every run reads all the weights."""
DENSE = 0.4
"""The part of the numbers that are not 0 from which on it takes less time to multiply with them all."""


def grey_infer(rows, weights, bias, logits, means):
    n_rows, cost = rows.shape[0], 4 * COST_OF_A_COUPLING * weights.size
    threads = worth(n_rows * cost)
    run = None if threads == 1 else -(-n_rows // (RUNS_A_THREAD * threads * ROWS_AT_ONCE)) * ROWS_AT_ONCE
    share_out(run_grey_infer, n_rows, cost, rows, weights, bias, logits, means, run=run)


@kernel
def run_grey_infer(first, last, rows, weights, bias, logits, means):
    listed, factors = np.empty((1, rows.shape[1]), np.uint32), np.empty((1, rows.shape[1]), np.float32)
    rest = last_columns(weights)
    n_blocks = (last - first) // ROWS_AT_ONCE
    dense = np.empty(n_blocks, np.bool_)
    for block in range(n_blocks):
        begin = first + ROWS_AT_ONCE * block
        dense[block] = is_dense(rows[begin : begin + ROWS_AT_ONCE])
    logits[first:last, : bias.size] = float32(0)
    add_all_products(logits, rows, first, weights, rest, dense)
    for row in range(first, last):
        block = (row - first) // ROWS_AT_ONCE
        sums = logits[row, : bias.size]
        if block >= n_blocks or not dense[block]:
            count = list_numbers(listed[0], factors[0], rows[row])
            add_multiples(sums, weights, rest, listed, factors, count)
        for unit in range(bias.size):
            sums[unit] += bias[unit]
        write_means(means[row, : bias.size], sums)


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
def is_dense(rows):
    count = int64(0)
    for row in range(rows.shape[0]):
        some = int32(0)
        for k in range(rows.shape[1]):
            some += int32(rows[row, k] != float32(0))
        count += some
    return count > DENSE * rows.size


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
        add_multiples_16(sums, column, weights, listed, 0, 0, count, column, factors)
        column += 256
    while column + 64 <= n_columns:
        add_multiples_4(sums, column, weights, listed, 0, 0, count, column, factors)
        column += 64
    while column + 16 <= n_columns:
        add_multiples_1(sums, column, weights, listed, 0, 0, count, column, factors)
        column += 16
    if column < n_columns:
        add_multiples_1(sums, column, rest, listed, 0, 0, count, 0, factors)


@njit
def add_all_products(sums, rows, first, weights, rest, dense):
    """sums[row] += Σ_k rows[row, k] · weights[k], in the order of k, for the rows of dense blocks."""
    n_columns = weights.shape[1]
    for column in range(0, n_columns, 64):  # of weights, which stay in the second cache for all rows
        for block in range(dense.size):
            row = first + ROWS_AT_ONCE * block
            if not dense[block]:
                continue
            if column + 64 <= n_columns:
                add_products_4(sums, column, rows, row, weights, column)
                continue
            at = column
            while at + 16 <= n_columns:
                add_products_1(sums, at, rows, row, weights, at)
                at += 16
            if at < n_columns:
                add_products_1(sums, at, rows, row, rest, 0)
