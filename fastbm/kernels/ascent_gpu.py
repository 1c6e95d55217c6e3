"""The second pass of a learning update, on the GPU: products of cuBLAS, then a step, and the rounding."""

import cupy

from fastbm.kernels import rounding_gpu
from fastbm.kernels.packing_gpu import unpack


def ascend(
    weights, velocity, to_hidden, to_visible, visible_gradient, hidden_gradient, visible_offset, hidden_offset, rows, grey,
    visible, means, factors, tables, *, exponent, learning_rate, momentum, l1, l2, offset_rate, both,
):  # fmt: skip
    n_visible, n_hidden = weights.shape
    data = grey if len(grey) else unpack(rows, n_visible, cupy.float32)
    data_means, chain_means = means[: len(data), :n_hidden], means[len(data) :, :n_hidden]
    chains = unpack(visible, n_visible, cupy.float32)
    of_data, of_chains = factors[: len(data)], factors[len(data) :]
    data, chains = data * of_data[:, None], chains * of_chains[:, None]
    gradient = cupy.matmul(data.T, data_means) + cupy.matmul(chains.T, chain_means)
    visible_mean, hidden_mean = data.sum(axis=0), cupy.matmul(of_data, data_means)
    visible_gradient[:] = visible_mean + chains.sum(axis=0)
    hidden_gradient[:] = hidden_mean + cupy.matmul(of_chains, chain_means)
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
