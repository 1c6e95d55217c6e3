"""Sums over rows of states times values: a thread owns a run of units, and adds the rows in their order."""

import numpy as np
from numba import float32, njit, uint64

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, share_out


def statistics(states, values, out, totals, *, weight):
    cost = COST_OF_A_COUPLING * states.shape[0] * values.shape[1]
    share_out(run_statistics, out.shape[0], cost, states, values, out, totals, np.float32(weight))


@kernel
def run_statistics(first, last, states, values, out, totals, weight):
    width = out.shape[1]
    sums, rows = np.empty(width, np.float32), np.empty(states.shape[0], np.int64)
    for unit in range(first, last):
        count = list_rows(rows, states, unit)
        for column in range(width):
            sums[column] = float32(0)
        done = 0
        while done + 4 <= count:
            a, b, c, d = values[rows[done]], values[rows[done + 1]], values[rows[done + 2]], values[rows[done + 3]]
            for column in range(width):
                sums[column] = (((sums[column] + a[column]) + b[column]) + c[column]) + d[column]
            done += 4
        while done < count:
            a = values[rows[done]]
            for column in range(width):
                sums[column] += a[column]
            done += 1
        for column in range(width):
            out[unit, column] += weight * sums[column]
        totals[unit] += weight * float32(count)


@njit
def list_rows(rows, states, unit):
    """List the rows in which the unit is on; return how many."""
    word, bit = unit // 64, uint64(unit % 64)
    count = 0
    for row in range(states.shape[0]):
        rows[count] = row
        count += (states[row, word] >> bit) & uint64(1)
    return count
