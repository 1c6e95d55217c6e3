"""What flipping each unit does to the hidden sums: a product for every unit instead of a sum of logarithms."""

import math

import numpy as np
from numba import float32

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import exp_negative
from fastbm.kernels.threads_cpu import share_out

TILE = 16
"""Rows that share each factor that was read."""


def flip_ratios(rows, off, on, factors, out, *, stride):
    share_out(run_flip_ratios, rows.shape[0], 0.3 * factors.size, rows, off, on, factors, out, stride)


@kernel
def run_flip_ratios(first, last, rows, off, on, factors, out, stride):
    n_visible, n_hidden = rows.shape[1], factors.shape[0]
    product = np.empty((TILE, n_visible))
    for tile in range(first, last, TILE):
        n_rows = min(TILE, last - tile)
        for row in range(n_rows):
            for unit in range(n_visible):
                product[row, unit] = 1.0
                out[tile + row, unit] = 0.0
        for hidden in range(n_hidden):
            for row in range(n_rows):
                p, q = on[tile + row, hidden], off[tile + row, hidden]
                for unit in range(n_visible):
                    state = rows[tile + row, unit]
                    product[row, unit] *= (p if state else q) + (q if state else p) * factors[hidden, unit]
            if (hidden + 1) % stride == 0 or hidden + 1 == n_hidden:
                for row in range(n_rows):
                    for unit in range(n_visible):
                        out[tile + row, unit] += math.log(product[row, unit])
                        product[row, unit] = 1.0


def grey_flip_ratios(changes, off, on, weights, out, *, stride):
    share_out(run_grey_flip_ratios, changes.shape[0], 2.0 * weights.size, changes, off, on, weights, out, stride)


@kernel
def run_grey_flip_ratios(first, last, changes, off, on, weights, out, stride):
    n_hidden, n_visible = weights.shape
    product = np.empty(n_visible)
    for row in range(first, last):
        for unit in range(n_visible):
            product[unit] = 1.0
            out[row, unit] = 0.0
        for hidden in range(n_hidden):
            p, q = on[row, hidden], off[row, hidden]
            for unit in range(n_visible):
                change = changes[row, unit] * weights[hidden, unit]
                e = exp_negative(-abs(float32(change)))
                down = change <= 0.0
                product[unit] *= (q if down else p) + (p if down else q) * e
                out[row, unit] += max(change, 0.0)
            if (hidden + 1) % stride == 0 or hidden + 1 == n_hidden:
                for unit in range(n_visible):
                    out[row, unit] += math.log(product[unit])
                    product[unit] = 1.0
