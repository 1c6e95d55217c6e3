"""Maxout units on the GPU."""

from fastbm.kernels.cuda_gpu import launch


def maxout(x, y, chosen):
    launch("networks", "maxout", y.size, x, y, chosen, *y.shape, x.shape[1] // y.shape[1])


def maxout_backward(gradient, chosen, out, bias_gradient):
    wanted, n_pieces = bias_gradient.size > 0, out.shape[1] // gradient.shape[1]
    sums = bias_gradient if wanted else out
    launch(
        "networks", "maxout_backward", out.shape[1], gradient, chosen, out, sums, *gradient.shape, n_pieces, int(wanted)
    )  # fmt: skip
