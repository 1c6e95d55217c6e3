"""One block update in halves, on the GPU: logits and means, then a draw."""

import numpy as np

from fastbm.kernels.cuda_gpu import launch, on_device


def infer(states, couplings, bias, beta, logits, means, *, exponent):
    n_rows, n_words = states.shape
    width = bias.size
    launch(
        "infer", "infer", n_rows * (width // 4), states, couplings, bias, beta, logits, means, on_device(exponent), n_rows,
        n_words, width, beta.size, means.shape[1],
    )  # fmt: skip


def draw(states, logits, free, *, key, first_chain, update):
    n_rows, n_words = states.shape
    sweep, block = divmod(update, 2)
    launch(
        "infer", "draw", 16 * n_rows * n_words, states, logits, free, *key, np.uint32(first_chain), np.uint32(sweep),
        np.uint32(block), n_rows, n_words, free.shape[0], bytes_a_thread=1,
    )  # fmt: skip
