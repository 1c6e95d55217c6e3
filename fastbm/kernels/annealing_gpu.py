"""What a step of annealing adds to the logarithms of chains' weights, on the GPU: thirty-two threads for each row."""

import numpy as np

from fastbm.kernels.cuda_gpu import launch, on_device

THREADS_A_ROW = 32


def add_log_ratios(states, couplings, bias, offset, out, *, exponent, before, after):
    n_rows, n_words = states.shape
    launch(
        "annealing", "add_log_ratios", THREADS_A_ROW * n_rows, states, couplings, bias, offset, out, on_device(exponent),
        np.float64(before), np.float64(after), n_rows, n_words, bias.size, offset.size, bytes_a_thread=8,
    )  # fmt: skip
