"""The first pass of a learning update, on the GPU: a sweep of the chains, and the hidden means of data and chains.

By sums of couplings it takes two launches; by products on tensor cores, with the limbs that `ascend` rewrites, five.
"""

import cupy
import numpy as np

from fastbm.kernels import gibbs_gpu, limbs_gpu, products_gpu
from fastbm.kernels.cuda_gpu import constant, launch, on_device

ROWS_WORTH_A_PRODUCT = 512
"""Rows and chains from which on products are taken to be faster than sums: a guess, see docs/performance.md."""


def phases(
    rows, visible, hidden, means, to_hidden, to_visible, visible_bias, hidden_bias, visible_free, hidden_free, tables,
    *, exponent, key, update,
):  # fmt: skip
    exponent, n_rows, n_chains = on_device(exponent), rows.shape[0], visible.shape[0]
    row_means, chain_means = means[:n_rows], means[n_rows : n_rows + n_chains]
    biases, free = (visible_bias, hidden_bias), (visible_free, hidden_free)
    if not by_products(rows, visible, hidden):
        gibbs_gpu.sweep(
            (visible, hidden), (to_hidden,), (to_visible,), biases, constant(1.0, "float32"), free,
            exponent=exponent, key=key, first_chain=0, start=update, stop=update + 1,
        )  # fmt: skip
        launch(
            "phases", "infer_and_draw", (n_rows + n_chains) * (hidden_bias.size // 4), rows, visible, hidden, row_means,
            chain_means, to_hidden, hidden_bias, hidden_free, exponent, *_counters(key, 0, update + 1), n_rows, n_chains,
            visible.shape[1], hidden.shape[1], means.shape[1], bytes_a_thread=1,
        )  # fmt: skip
        return
    limbs = limbs_gpu.of(tables, (visible, hidden), (to_hidden,), (to_visible,))
    for begin in range(0, max(n_rows, n_chains), limbs_gpu.CHAINS_AT_A_TIME):
        some = slice(begin, begin + limbs_gpu.CHAINS_AT_A_TIME)
        _multiply_and_draw(
            rows[some], visible[some], hidden[some], row_means[some], chain_means[some], limbs, biases, free, exponent, key,
            begin, update,
        )  # fmt: skip


def by_products(rows, visible, hidden) -> bool:
    """Return whether there are rows and chains enough for products, and units few enough for exact ones."""
    many = rows.shape[0] + visible.shape[0] >= ROWS_WORTH_A_PRODUCT
    return many and 64 * max(visible.shape[1], hidden.shape[1]) <= limbs_gpu.MOST_SOURCES


def _counters(key, first_chain: int, update: int):
    """Return what a random word is drawn by, as kernels take it: key, first chain, sweep and block."""
    return (*key, np.uint32(first_chain), np.uint32(update >> 1), np.uint32(update & 1))


def _multiply_and_draw(
    rows, visible, hidden, row_means, chain_means, limbs, biases, free, exponent, key, first_chain, update
):  # fmt: skip
    (n_rows, n_words), n_chains = rows.shape, len(visible)
    (visible_bias, hidden_bias), ((up,), (down,)) = biases, limbs
    halves = cupy.empty((n_rows + n_chains, 64 * n_words), cupy.float16)
    hidden_halves = cupy.empty((n_chains, 64 * hidden.shape[1]), cupy.float16)
    launch(
        "phases", "expand_both", 16 * (rows.size + hidden.size), rows, hidden, halves.view(cupy.uint64),
        hidden_halves.view(cupy.uint64), n_rows, n_chains, n_words, hidden.shape[1],
    )  # fmt: skip
    if n_chains:
        sums = cupy.empty((n_chains, limbs_gpu.N_LIMBS * visible_bias.size), cupy.float32)
        products_gpu.multiply(hidden_halves, down, sums)
        limbs_gpu.draw_units(
            visible, halves[n_rows:], sums, visible_bias, constant(1.0, "float32"), free[0], exponent,
            *_counters(key, first_chain, update),
        )  # fmt: skip
    sums = cupy.empty((n_rows + n_chains, limbs_gpu.N_LIMBS * hidden_bias.size), cupy.float32)
    products_gpu.multiply(halves, up, sums)
    means_width = (row_means if n_rows else chain_means).shape[1]
    launch(
        "phases", "join_and_draw", (n_rows + n_chains) * (hidden_bias.size // 4), hidden, row_means, chain_means, sums,
        hidden_bias, free[1], exponent, *_counters(key, first_chain, update + 1), n_rows, n_chains, hidden.shape[1],
        means_width, bytes_a_thread=1,
    )  # fmt: skip
