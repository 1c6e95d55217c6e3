"""Batch normalisation on the GPU: a thread for each unit."""

from fastbm.kernels.cuda_gpu import launch
from fastbm.kernels.networks import ACTIVATIONS


def batch_norm(x, gain, offset, normal, inverse, y, *, epsilon, activation, slope):
    launch(
        "networks", "batch_norm", inverse.size, x, gain, offset, normal, inverse, y, *x.shape, len(inverse),
        ACTIVATIONS.index(activation), float(epsilon), float(slope),
    )  # fmt: skip


def batch_norm_backward(gradient, y, normal, inverse, gain, gain_gradient, offset_gradient, *, activation, slope):
    wanted = gain_gradient.size > 0
    sums = (gain_gradient, offset_gradient) if wanted else (gradient, gradient)
    launch(
        "networks", "batch_norm_backward", y.shape[1], gradient, y, normal, inverse, gain, *sums, *y.shape, len(inverse),
        int(wanted), ACTIVATIONS.index(activation), float(slope),
    )  # fmt: skip
