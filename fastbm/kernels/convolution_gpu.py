"""Convolutions on the GPU: windows as rows, a product of cuBLAS, and, for the transposed one, sums of rows."""

import cupy

from fastbm.kernels.activation_gpu import activate
from fastbm.kernels.cuda_gpu import launch
from fastbm.kernels.product_gpu import product


def convolve(images, weights, bias, maps, *, stride, padding, activation, slope):
    rows, n_maps = windows(images, maps, weights, stride, padding), maps.shape[3]
    product(
        rows, weights.reshape(-1, n_maps), maps.reshape(-1, n_maps), bias=bias if bias.size else None, activation=activation,
        slope=slope,
    )  # fmt: skip


def deconvolve(maps, weights, bias, images, *, stride, padding, activation, slope):
    n_maps, n_channels = weights.shape[3], images.shape[3]
    products = cupy.empty((maps.size // n_maps, weights.size // n_maps), dtype=cupy.float32)
    product(maps.reshape(-1, n_maps), weights.reshape(-1, n_maps), products, transpose_b=True)
    launch(
        "convolution", "fold", images.size, products, images, *images.shape, *maps.shape[1:3], *weights.shape[:2], stride,
        padding,
    )  # fmt: skip
    if bias.size or activation != "identity":
        activate(images.reshape(-1, n_channels), bias, activation=activation, slope=slope)


def convolution_weights(images, maps, out, *, stride, padding):
    rows, n_maps = windows(images, maps, out, stride, padding), maps.shape[3]
    product(rows, maps.reshape(-1, n_maps), out.reshape(-1, n_maps), transpose_a=True)


def windows(images, maps, weights, stride, padding):
    """Return the window of each pixel of the maps as a row."""
    n_pixels, n_maps = maps.size // weights.shape[3], weights.shape[3]
    rows = cupy.empty((n_pixels, weights.size // n_maps), dtype=cupy.float32)
    launch(
        "convolution", "windows", rows.size, images, rows, *images.shape, *maps.shape[1:3], *weights.shape[:2], stride, padding
    )  # fmt: skip
    return rows
