"""Batch normalisation on the GPU: moments of chunks of rows, then of all, then each number by itself."""

import cupy

from fastbm.kernels.chunks_gpu import chunks_of, empty_parts, launch_chunks
from fastbm.kernels.cuda_gpu import launch
from fastbm.kernels.networks import ACTIVATIONS


def batch_norm(x, gain, offset, normal, inverse, y, *, epsilon, activation, slope):
    n_groups, mean = len(inverse), cupy.empty(inverse.shape, dtype=cupy.float32)
    chunks = chunks_of(len(x) // n_groups, x.shape[1])
    parts = empty_parts(x.shape, n_groups, chunks)
    launch_chunks("moments", (x, *parts), x.shape, n_groups, chunks)
    launch(
        "moments", "settle_moments", inverse.size, *parts, mean, inverse, *x.shape, n_groups, chunks.n_chunks, chunks.size,
        float(epsilon),
    )  # fmt: skip
    launch(
        "moments", "normalise", x.size, x, gain, offset, mean, inverse, normal, y, *x.shape, n_groups,
        ACTIVATIONS.index(activation), float(slope),
    )  # fmt: skip


def batch_norm_backward(gradient, y, normal, inverse, gain, gain_gradient, offset_gradient, *, activation, slope):
    n_groups, chunks, wanted = len(inverse), chunks_of(len(y) // len(inverse), y.shape[1]), gain_gradient.size > 0
    parts, means = empty_parts(y.shape, n_groups, chunks), [cupy.empty(inverse.shape, dtype=cupy.float32) for _ in range(2)]
    launch_chunks(
        "slope_sums", (gradient, y, normal, *parts), y.shape, n_groups, chunks, 1, ACTIVATIONS.index(activation), float(slope)
    )
    sums = (gain_gradient, offset_gradient) if wanted else means
    launch(
        "moments", "settle_sums", y.shape[1], *parts, *means, *sums, *y.shape, n_groups, chunks.n_chunks, int(wanted)
    )  # fmt: skip
    launch("moments", "take_means_away", y.size, gradient, normal, inverse, gain, *means, *y.shape, n_groups)
