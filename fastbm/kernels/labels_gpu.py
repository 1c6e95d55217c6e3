"""Block Gibbs sweeps of a restricted machine with labels, on the GPU: one update at a time."""

from fastbm.kernels import gibbs_gpu, softmax_gpu
from fastbm.kernels.labels import update_by_update


def gibbs_with_labels(
    layers, up, down, biases, beta, free, loose, tables, *, n_labels, exponent, key, first_chain, start, stop
):  # fmt: skip
    update_by_update(
        gibbs_gpu.gibbs, softmax_gpu.draw_softmax, layers, up, down, biases, beta, free, loose, tables, n_labels=n_labels,
        exponent=exponent, key=key, first_chain=first_chain, start=start, stop=stop,
    )  # fmt: skip
