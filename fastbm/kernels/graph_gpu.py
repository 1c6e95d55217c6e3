"""Block Gibbs sweeps on a sparse graph on the GPU: one launch for each block of each sweep."""

import numpy as np

from fastbm.kernels.cuda_gpu import launch, on_device


def graph_gibbs(
    states, indptr, indices, data, bias, beta, free, starts, sizes, numbers, tables, *, exponent, key, first_chain, start, stop
):  # fmt: skip
    n_chains, n_words = states.shape
    blocks = [tuple(map(int, block)) for block in zip(starts, sizes, numbers, strict=True)]
    for sweep in range(start, stop):
        for begin, size, number in blocks:
            words_here = -(-size // 64)
            launch(
                "graph", "draw_block", 16 * n_chains * words_here, states, indptr, indices, data, bias, beta, free,
                on_device(exponent), *key, np.uint32(first_chain), np.uint32(sweep), np.uint32(number), n_chains, n_words,
                begin // 64, words_here, *beta.shape, (sweep - start) % beta.shape[1], free.shape[0], bytes_a_thread=1,
            )  # fmt: skip
