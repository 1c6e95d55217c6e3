"""Couplings rounded to integers, in both orientations, on the GPU."""

import cupy

from fastbm import chain
from fastbm.kernels.cuda_gpu import launch


def round_couplings(weights, to_hidden, to_visible, *, guess):
    def round_at(exponent):
        return _round(weights, to_hidden, to_visible, exponent)

    return chain.settle_exponent(round_at, lambda: _largest_input(weights), weights.shape, guess)


def _round(weights, to_hidden, to_visible, exponent) -> int:
    """Round at one exponent; return the largest sum of absolute couplings of a unit."""
    n_visible, n_hidden = weights.shape
    sums = cupy.zeros(n_visible + n_hidden, cupy.uint64)
    name = "round_float" if weights.dtype == cupy.float32 else "round_double"
    launch(
        "rounding", name, weights.size, weights, to_hidden, to_visible, sums, weights.dtype.type(2.0**exponent), n_visible,
        n_hidden, to_hidden.shape[1], to_visible.shape[1],
    )  # fmt: skip
    return int(sums.max())


def _largest_input(weights) -> float:
    magnitudes = cupy.abs(weights.astype(cupy.float64))
    return float(cupy.maximum(magnitudes.sum(axis=0).max(), magnitudes.sum(axis=1).max()))
