"""Biases and activations after a product, and their gradients, on the GPU."""

from fastbm.kernels.cuda_gpu import constant, launch
from fastbm.kernels.networks import ACTIVATIONS


def activate(y, bias, *, activation, slope):
    has_bias = bias.size > 0
    bias = bias if has_bias else constant(0.0, "float32")
    launch("networks", "activate", y.size, y, bias, *y.shape, int(has_bias), ACTIVATIONS.index(activation), float(slope))


def activate_backward(gradient, y, bias_gradient, *, activation, slope):
    wanted = bias_gradient.size > 0
    sums = bias_gradient if wanted else gradient
    launch(
        "networks", "activate_backward", y.shape[1], gradient, y, sums, *y.shape, int(wanted), ACTIVATIONS.index(activation),
        float(slope),
    )  # fmt: skip
