"""Couplings rounded to integers, in both orientations, on the GPU; the exponent is found, and stays, there."""

import cupy

from fastbm import chain
from fastbm.kernels.cuda_gpu import THREADS, launch, on_device

CANDIDATES = 3
"""Exponents that are tried: as many as in rounding.cu."""
NOT_FINITE = -2
"""What stands for the exponent where weights are not finite; other negative numbers say that they are too large."""


def round_couplings(weights, to_hidden, to_visible, *, guess):
    """See the contract; the exponent is an array of one number, negative where `check_exponent` would raise.

    A guess does not help, but when it is the last exponent, as an array, and negative, it stays.
    """
    (n_visible, n_hidden), kind = weights.shape, "float" if weights.dtype == cupy.float32 else "double"
    n_units, sizes = n_visible + n_hidden, weights.shape
    sums, roundings = cupy.empty(n_units, cupy.float64), cupy.empty((CANDIDATES, n_units), cupy.int64)
    exponent, previous = cupy.empty(1, cupy.int32), on_device(0 if guess is None else guess)
    launch("rounding", f"sums_{kind}", n_units, weights, sums, *sizes)
    launch("rounding", "first_exponent", THREADS, sums, previous, exponent, n_units, max(sizes), bytes_a_thread=8)
    roundings.fill(0)
    launch("rounding", f"roundings_{kind}", n_units, weights, exponent, roundings, *sizes)
    launch("rounding", "settle_exponent", THREADS, roundings, exponent, n_units, bytes_a_thread=4)
    widths = to_hidden.shape[1], to_visible.shape[1]
    launch("rounding", f"round_{kind}", weights.size, weights, exponent, to_hidden, to_visible, *sizes, *widths)
    return exponent


def check_exponent(exponent, weights):
    value = int(exponent[0])
    if value == NOT_FINITE:
        chain.check_finite(float("nan"))
    if value < 0:
        magnitudes = cupy.abs(weights.astype(cupy.float64))
        raise chain.too_large(float(cupy.maximum(magnitudes.sum(axis=0).max(), magnitudes.sum(axis=1).max())))
