"""Hidden units given rows of real numbers, on the GPU: a product of cuBLAS."""

import cupy

from fastbm.kernels import products_gpu
from fastbm.kernels.cuda_gpu import launch


def grey_infer(rows, weights, bias, logits, means):
    n_rows, n_units = len(rows), weights.shape[1]
    if n_rows == 0:
        return
    inputs = cupy.empty((n_rows, n_units), cupy.float32)
    products_gpu.multiply(rows, weights, inputs)
    launch(
        "infer", "grey_means", n_rows * bias.size, inputs, bias, logits, means, n_rows, n_units, bias.size, logits.shape[1],
        means.shape[1],
    )  # fmt: skip
