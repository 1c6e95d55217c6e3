"""Real units, on the GPU: normal numbers by the transform of Box and Muller."""

import numpy as np

from fastbm.kernels.cuda_gpu import launch


def draw_normal(values, means, beta, free, *, key, first_chain, update):
    (n_rows, n_units), n_groups = values.shape, -(-values.shape[1] // 4)
    sweep, block = divmod(update, 2)
    launch(
        "normal", "draw_normal", n_rows * n_groups, values, means, beta, free, *key, np.uint32(first_chain), np.uint32(sweep),
        np.uint32(block), n_rows, n_units, means.shape[1], beta.size, free.shape[0],
    )  # fmt: skip
