"""Hidden units given rows of real numbers, on the GPU: a product of cuBLAS."""

import cupy

from fastbm.kernels.cuda_gpu import launch


def grey_infer(rows, weights, bias, logits, means):
    n_rows, n_units, width = rows.shape[0], weights.shape[1], bias.size
    logits = logits[:n_rows]
    logits[:, :n_units] = cupy.matmul(rows, weights)
    logits[:, n_units:width] = 0.0
    logits[:, :width] += bias
    launch("infer", "means_of", n_rows * width, logits, means, n_rows, width, logits.shape[1], means.shape[1])
