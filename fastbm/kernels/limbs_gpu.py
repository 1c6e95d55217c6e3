"""Inputs of a layer by exact matrix products on tensor cores.

Couplings are split into three limbs of 11 bits, which half-precision numbers hold exactly, and so do they the states 0 and 1;
sums of limbs stay below 2**24, where float32 is exact. One product gives the sums of all three limbs, one kernel joins them and
draws: two launches for each layer next to the one that is drawn, less one.
"""

import cupy
import numpy as np
from cupy_backends.cuda.libs import cublas

from fastbm.kernels.cuda_gpu import launch

BASE, N_LIMBS = 2048, 3
MOST_SOURCES = 2**24 // (BASE // 2) - 1
"""Units that a product can sum limbs of exactly."""
CHAINS_AT_A_TIME = 4096
"""Chains whose sums of limbs stay in the second cache, with a thousand units in a layer."""


def split(couplings, n_words: int):
    """Return the limbs of int32 `couplings` (n_from, width), the lowest first: float16, shape (64 n_words, 3 width)."""
    n_from, width = couplings.shape
    limbs = cupy.zeros((64 * n_words, N_LIMBS * width), cupy.float16)
    rest = couplings
    for k in range(N_LIMBS):
        limb = ((rest + BASE // 2) & (BASE - 1)) - BASE // 2
        limbs[:n_from, k * width : (k + 1) * width] = limb.astype(cupy.float16)
        rest = (rest - limb) >> 11
    return limbs


def run(layers, up, down, biases, beta, free, *, exponent, key, first_chain, start, stop):
    """Run block updates: arguments as of the gibbs kernel, but `up` and `down` are what `split` made of the couplings."""
    n_chains = layers[0].shape[0]
    for begin in range(0, n_chains, CHAINS_AT_A_TIME):
        some = slice(begin, min(begin + CHAINS_AT_A_TIME, n_chains))
        rows = tuple(states[some] for states in layers)
        _run_some(
            rows, up, down, biases, _part(beta, some), tuple(_part(units, some) for units in free), exponent, key,
            first_chain + begin, start, stop,
        )  # fmt: skip


def _part(array, rows):
    return array if array.shape[0] == 1 else array[rows]


def _run_some(layers, up, down, biases, beta, free, exponent, key, first_chain, start, stop):
    n_chains = layers[0].shape[0]
    halves = [cupy.empty((n_chains, 64 * states.shape[1]), cupy.float16) for states in layers]
    for states, half in zip(layers, halves, strict=True):
        launch("limbs", "expand", half.size, states, half.view(cupy.uint16), n_chains, states.shape[1])
    sums = [cupy.empty((n_chains, N_LIMBS * bias.size), cupy.float32) for bias in biases]
    for update in range(start, stop):
        for layer in range(1 - update % 2, len(layers), 2):
            if layer > 0:
                _multiply(halves[layer - 1], up[layer - 1], sums[layer], add=False)
            if layer + 1 < len(layers):
                _multiply(halves[layer + 1], down[layer], sums[layer], add=layer > 0)
            n_words = layers[layer].shape[1]
            launch(
                "limbs", "draw_from_limbs", 16 * n_chains * n_words, layers[layer], halves[layer].view(cupy.uint16),
                sums[layer], biases[layer], beta, free[layer], exponent, *key, np.uint32(first_chain & 0xFFFFFFFF),
                np.uint32(update >> 1), np.uint32(layer ^ 1), n_chains, n_words, beta.size, free[layer].shape[0],
                bytes_a_thread=1,
            )  # fmt: skip


def _multiply(states, limbs, sums, *, add: bool) -> None:
    """sums ← states @ limbs, or that added: float16 into float32, rows that lie one behind the other."""
    (n_rows, n_inner), n_columns = states.shape, limbs.shape[1]
    one, kept = np.ones(1, np.float32), np.full(1, add, np.float32)
    handle = cupy.cuda.device.get_cublas_handle()
    cublas.setPointerMode(handle, cublas.CUBLAS_POINTER_MODE_HOST)
    cublas.gemmEx(  # of the transposes, because cuBLAS counts by columns
        handle, cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_N, n_columns, n_rows, n_inner, one.ctypes.data,
        limbs.data.ptr, cupy.cuda.runtime.CUDA_R_16F, n_columns, states.data.ptr, cupy.cuda.runtime.CUDA_R_16F, n_inner,
        kept.ctypes.data, sums.data.ptr, cupy.cuda.runtime.CUDA_R_32F, n_columns, cublas.CUBLAS_COMPUTE_32F,
        cublas.CUBLAS_GEMM_DEFAULT,
    )  # fmt: skip
