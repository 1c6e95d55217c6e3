"""Softmax groups, on the GPU: a block draws the class of one chain."""

import cupy
import numpy as np

from fastbm.kernels.cuda_gpu import THREADS, launch, on_device


def draw_softmax(
    states, given, couplings, bias, beta, loose, *, layer, first, n_classes, exponent, key, first_chain, update
):  # fmt: skip
    n_chains, n_words = states.shape
    given = [*given, cupy.empty((1, 0), cupy.uint64)][:2]
    couplings = [*couplings, cupy.empty((1, 0), cupy.int32)][:2]
    launch(
        "softmax", "draw_softmax", THREADS * n_chains, states, *given, *couplings, bias, beta, loose, on_device(exponent), *key,
        np.uint32(first_chain), np.uint32(update >> 1), np.uint32(layer ^ 1), first, n_classes, n_chains, n_words,
        given[0].shape[1], given[1].shape[1], beta.size, loose.size, bytes_a_thread=-(-4 * n_classes // THREADS),
    )  # fmt: skip
