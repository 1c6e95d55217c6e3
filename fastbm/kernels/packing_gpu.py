"""Rows of numbers as packed states, and back, on the GPU."""

import cupy

from fastbm.kernels.cuda_gpu import launch


def pack(rows, out):
    n_rows, n_words = out.shape
    binary = cupy.ones(1, cupy.int32)
    name = "pack_float" if rows.dtype == cupy.float32 else "pack_double"
    launch("packing", name, n_rows * n_words, rows, out, binary, n_rows, rows.shape[1], n_words)
    return binary[0] != 0


def unpack(states, n_units, dtype):
    n_rows, n_words = states.shape
    out = cupy.empty((n_rows, n_units), cupy.float32)
    launch("packing", "unpack", n_rows * n_units, states, out, n_rows, n_units, n_words)
    return out.astype(dtype, copy=False)
