"""Rows of real numbers, mostly zero in practice: sums in a fixed order, which no number of threads can change.

A matrix product of BLAS rounds differently with its number of threads, and its threads and ours would wait for each other.
"""

import numpy as np
from numba import float32, njit

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import write_means
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, share_out


def grey_infer(rows, weights, bias, logits, means):
    cost = 4 * COST_OF_A_COUPLING * weights.size
    share_out(run_grey_infer, rows.shape[0], cost, rows, weights, bias, logits, means)


@kernel
def run_grey_infer(first, last, rows, weights, bias, logits, means):
    units = np.empty(rows.shape[1], np.int64)
    for row in range(first, last):
        sums = logits[row, : bias.size]
        for unit in range(bias.size):
            sums[unit] = float32(0)
        add_multiples(sums[: weights.shape[1]], rows[row], weights, units)
        for unit in range(bias.size):
            sums[unit] += bias[unit]
        write_means(means[row, : bias.size], sums)


@njit
def add_multiples(sums, factors, vectors, listed):
    """sums += Σ_k factors[k] · vectors[k], in the order of k, zero factors left out; `listed` is scratch for indices."""
    count = 0
    for k in range(factors.size):
        listed[count] = k
        count += factors[k] != float32(0)
    done = 0
    while done + 4 <= count:
        a, b, c, d = listed[done], listed[done + 1], listed[done + 2], listed[done + 3]
        fa, fb, fc, fd = factors[a], factors[b], factors[c], factors[d]
        va, vb, vc, vd = vectors[a], vectors[b], vectors[c], vectors[d]
        for j in range(sums.size):
            sums[j] = (((sums[j] + fa * va[j]) + fb * vb[j]) + fc * vc[j]) + fd * vd[j]
        done += 4
    while done < count:
        a = listed[done]
        fa, va = factors[a], vectors[a]
        for j in range(sums.size):
            sums[j] += fa * va[j]
        done += 1
