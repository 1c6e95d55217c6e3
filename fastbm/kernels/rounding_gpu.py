"""Couplings rounded to integers, in both orientations, on the GPU; the exponent is found, and stays, there."""

import cupy

from fastbm import chain
from fastbm.kernels import formulas
from fastbm.kernels.cuda_gpu import constant, launch, on_device

TILE, TILE_THREADS, ROWS_OF_NOTES = 64, 256, 18
"""As in tile.cuh."""
TILE_BYTES = TILE * (TILE + 1) * 4 // TILE_THREADS
"""Shared memory for a tile of float32 or int32, in bytes a thread."""
SETTLERS = 1024
"""Threads of the block that settles the exponent."""
NOT_FINITE = -2
"""What stands for the exponent where weights are not finite; other negative numbers say that they are too large."""


def round_couplings(weights, to_hidden, to_visible, *, guess):
    """See the contract; the exponent is an array of one number, negative where `check_exponent` would raise.

    A guess that is the last exponent, as an array, and negative, stays.
    """
    exponent = settled(weights, guess)
    round_at(exponent, weights, to_hidden, to_visible)
    return exponent


def settled(weights, guess):
    """Return the exponent of couplings, as an array of one number."""
    kind, exponent, notes = _kind_of(weights), cupy.empty(1, cupy.int32), empty_notes(weights)
    launch(
        "rounding", f"note_{kind}", tile_threads(weights), weights, notes, *weights.shape, threads=TILE_THREADS,
        bytes_a_thread=TILE_BYTES * weights.itemsize // 4,
    )  # fmt: skip
    previous = on_device(chain.LARGEST_EXPONENT if guess is None else guess)
    launch("rounding", "settle", SETTLERS, notes, previous, exponent, *weights.shape, threads=SETTLERS, bytes_a_thread=4)
    return exponent


def round_layers(weights, up, down, *, guess):
    """The exponent is that of the layers folded into two sides."""
    folded = formulas.fold(weights)
    exponent = settled(folded, guess)
    for array, above, below in zip(weights, up, down, strict=True):
        if array.flags.c_contiguous:
            round_at(exponent, array, above, below)
        else:
            round_at(exponent, array.T, below, above)
    return exponent


def empty_notes(weights):
    """Return the array for what is noted of all tiles: see tile.cuh."""
    (n_visible, n_hidden), (rows, columns) = weights.shape, _tiles(weights)
    return cupy.empty((ROWS_OF_NOTES, rows * n_hidden + columns * n_visible), cupy.uint32)


def round_at(exponent, weights, to_hidden, to_visible, limbs=None):
    """Write the couplings rounded at an exponent, and, where given, their `limbs`, to the hidden and to the visible units."""
    written = [each.view(cupy.uint16) for each in limbs] if limbs else [constant(0, "uint16")] * 2
    launch(
        "rounding", f"round_{_kind_of(weights)}", tile_threads(weights), weights, exponent, to_hidden, to_visible, *written,
        *weights.shape, to_hidden.shape[1], to_visible.shape[1], int(limbs is not None), threads=TILE_THREADS,
        bytes_a_thread=TILE_BYTES,
    )  # fmt: skip


def tile_threads(weights) -> int:
    """Return the number of threads of all tiles."""
    rows, columns = _tiles(weights)
    return TILE_THREADS * rows * columns


def _tiles(weights):
    return tuple(-(-size // TILE) for size in weights.shape)


def _kind_of(weights) -> str:
    """Return what the kernels of these weights are called after."""
    return "float" if weights.dtype == cupy.float32 else "double"


def check_exponent(exponent, weights):
    value = int(exponent[0])
    if value == NOT_FINITE:
        chain.check_finite(float("nan"))
    if value < 0:
        magnitudes = cupy.abs(weights.astype(cupy.float64))
        raise chain.too_large(float(cupy.maximum(magnitudes.sum(axis=0).max(), magnitudes.sum(axis=1).max())))
