"""Biases and activations after a product, and their gradients, on the GPU."""

from fastbm.kernels.chunks_gpu import chunks_of, empty_parts, launch_chunks
from fastbm.kernels.cuda_gpu import constant, launch
from fastbm.kernels.networks import ACTIVATIONS


def activate(y, bias, *, activation, slope):
    has_bias = bias.size > 0
    bias = bias if has_bias else constant(0.0, "float32")
    launch("networks", "activate", y.size, y, bias, *y.shape, int(has_bias), ACTIVATIONS.index(activation), float(slope))


def activate_backward(gradient, y, bias_gradient, *, activation, slope):
    chunks = chunks_of(*y.shape)
    totals, nothing = empty_parts(y.shape, 1, chunks)
    launch_chunks(
        "slope_sums", (gradient, y, y, totals, nothing), y.shape, 1, chunks, 0, ACTIVATIONS.index(activation), float(slope)
    )
    if bias_gradient.size:
        launch("moments", "add_chunks", y.shape[1], totals, bias_gradient, y.shape[1], chunks.n_chunks)
