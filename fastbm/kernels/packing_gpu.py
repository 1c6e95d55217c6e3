"""Rows of numbers as packed states, and back, on the GPU."""

import cupy

from fastbm.kernels.cuda_gpu import launch


class Answer:
    """Whether all numbers that were packed are 0 or 1; asked for, it waits for the GPU."""

    def __init__(self, others):
        self._others = others

    def __bool__(self):
        return not self._others.any()


def pack(rows, out):
    n_rows, n_words = out.shape
    others = cupy.empty((n_rows, 16 * n_words), cupy.uint8)
    name = "pack_float" if rows.dtype == cupy.float32 else "pack_double"
    launch("packing", name, others.size, rows, out, others, n_rows, rows.shape[1], n_words, bytes_a_thread=1)
    return Answer(others)


def unpack(states, n_units, dtype):
    n_rows, n_words = states.shape
    out = cupy.empty((n_rows, n_units), cupy.float32)
    launch("packing", "unpack", n_rows * n_units, states, out, n_rows, n_units, n_words)
    return out.astype(dtype, copy=False)


def subtract_means(states, means, *, n_units):
    n_rows, n_words = states.shape
    launch("packing", "subtract_means", n_rows * n_units, states, means, n_rows, n_units, n_words, means.shape[1])
