"""What flipping each unit does to the hidden sums, on the GPU."""

import cupy

from fastbm.kernels.cuda_gpu import launch


def flip_ratios(rows, off, on, factors, out, *, stride):
    n_rows, n_visible = rows.shape
    rows = rows.astype(cupy.uint8)
    launch("pseudo_likelihood", "flip_ratios", rows.size, rows, off, on, factors, out, n_rows, n_visible, off.shape[1], stride)


def grey_flip_ratios(changes, off, on, weights, out, *, stride):
    n_rows, n_visible = changes.shape
    launch(
        "pseudo_likelihood", "grey_flip_ratios", changes.size, changes, off, on, weights, out, n_rows, n_visible, off.shape[1],
        stride,
    )  # fmt: skip
