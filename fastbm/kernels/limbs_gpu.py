"""Inputs of a layer by exact matrix products on tensor cores.

Couplings are split into three limbs of 11 bits, which half-precision numbers hold exactly, and so do they the states 0 and 1;
sums of limbs stay below 2**24, where float32 is exact. One product gives the sums of all three limbs, one kernel joins them and
draws: two launches for each layer next to the one that is drawn, less one.
"""

import cupy
import numpy as np

from fastbm.kernels import products_gpu
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
    launch("limbs", "split", couplings.size, couplings, limbs.view(cupy.uint16), n_from, width)
    return limbs


def of(tables, layers, up, down):
    """Return the limbs of couplings, up and down, as `tables` keeps them, or has from now on."""
    if "limbs" not in tables:
        tables["limbs"] = (
            tuple(split(between, layers[k].shape[1]) for k, between in enumerate(up)),
            tuple(split(between, layers[k + 1].shape[1]) for k, between in enumerate(down)),
        )
    return tables["limbs"]


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
        launch("limbs", "expand", half.size // 4, states, half.view(cupy.uint64), n_chains, states.shape[1])
    sums = [cupy.empty((n_chains, N_LIMBS * bias.size), cupy.float32) for bias in biases]
    for update in range(start, stop):
        for layer in range(1 - update % 2, len(layers), 2):
            if layer > 0:
                products_gpu.multiply(halves[layer - 1], up[layer - 1], sums[layer])
            if layer + 1 < len(layers):
                products_gpu.multiply(halves[layer + 1], down[layer], sums[layer], add=layer > 0)
            draw_units(
                layers[layer], halves[layer], sums[layer], biases[layer], beta, free[layer], exponent, *key,
                np.uint32(first_chain & 0xFFFFFFFF), np.uint32(update >> 1), np.uint32(layer ^ 1),
            )  # fmt: skip


def draw_units(states, halves, sums, bias, beta, free, exponent, *counters) -> None:
    """Draw packed states, and write them as halves, from their sums of limbs; `counters` are key, first chain, sweep, block."""
    n_chains, n_words = states.shape
    launch(
        "limbs", "draw_from_limbs", 16 * n_chains * n_words, states, halves.view(cupy.uint64), sums, bias, beta, free, exponent,
        *counters, n_chains, n_words, beta.size, free.shape[0], bytes_a_thread=1,
    )  # fmt: skip
