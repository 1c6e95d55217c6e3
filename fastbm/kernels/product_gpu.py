"""Matrix products on the GPU: one of cuBLAS, and a launch for bias and activation."""

import cupy

from fastbm.kernels import ACTIVATIONS, formulas, products_gpu
from fastbm.kernels.cuda_gpu import constant, launch


def product(a, b, out, *, transpose_a=False, transpose_b=False, accumulate=False, bias=None, activation="identity", slope=0.2):
    if out.dtype != cupy.float32:
        formulas.product(
            a, b, out, transpose_a=transpose_a, transpose_b=transpose_b, accumulate=accumulate, bias=bias,
            activation=activation, slope=slope,
        )  # fmt: skip
        return
    a, b, sums = (cupy.ascontiguousarray(array) for array in (a, b, out))
    if 0 not in (*a.shape, *b.shape):
        products_gpu.multiply(a, b, sums, transposed=transpose_a, transposed_right=transpose_b, add=accumulate)
    elif not accumulate:
        sums.fill(0.0)
    if bias is not None or activation != "identity":
        added = constant(0.0, "float32") if bias is None else bias
        slope = float(slope if activation == "leaky_relu" else 0.0)
        n_added = 0 if bias is None else out.shape[1]
        launch("product", "finish", sums.size, sums, added, *out.shape, n_added, ACTIVATIONS.index(activation), slope)
    if sums is not out:
        out[...] = sums
