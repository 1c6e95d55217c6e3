"""The second pass of a learning update, on the GPU: products of cuBLAS, then a step, and the rounding."""

import cupy

from fastbm.kernels import rounding_gpu
from fastbm.kernels.packing_gpu import unpack


def ascend(
    weights, velocity, to_hidden, to_visible, visible_gradient, hidden_gradient, visible_offset, hidden_offset, rows, grey,
    visible, means, tables, *, exponent, learning_rate, momentum, l1, l2, offset_rate, both,
):  # fmt: skip
    n_visible, n_hidden = weights.shape
    data = grey if len(grey) else unpack(rows, n_visible, cupy.float32)
    data_means, chain_means = means[: len(data), :n_hidden], means[len(data) :, :n_hidden]
    chains = unpack(visible, n_visible, cupy.float32)
    gradient = cupy.matmul(data.T, data_means) / len(data) - cupy.matmul(chains.T, chain_means) / len(chains)
    visible_mean, hidden_mean = data.mean(axis=0), data_means.mean(axis=0)
    visible_gradient[:] = visible_mean - chains.mean(axis=0)
    hidden_gradient[:] = hidden_mean - chain_means.mean(axis=0)
    if hidden_offset.size:
        visible_offset += offset_rate * (visible_mean - visible_offset)
        hidden_offset += offset_rate * (hidden_mean - hidden_offset)
        gradient -= visible_offset[:, None] * hidden_gradient + visible_gradient[:, None] * hidden_offset
        visible_gradient -= cupy.matmul(gradient, hidden_offset)
        hidden_gradient -= cupy.matmul(visible_offset, gradient)
    if l2:
        gradient -= l2 * weights
    if l1:
        gradient -= l1 * cupy.sign(weights)
    step = learning_rate * gradient
    if velocity.size:
        velocity *= momentum
        velocity += step
        step = velocity
    weights += step
    tables.clear()
    return rounding_gpu.round_couplings(weights, to_hidden, to_visible, guess=exponent)
