"""The second pass of a learning update, on the GPU, in five launches: terms, their product, the step, its end, the rounding.

Sums over tiles of weights are added in the order of the tiles, and those over rows by the one product, in float32: of binary
data on tensor cores, without rounding before the sum, because states are 0 or 1 and a float32 number is three of bfloat16.
"""

import cupy

from fastbm.kernels import products_gpu, rounding_gpu
from fastbm.kernels.cuda_gpu import THREADS, constant, launch, on_device
from fastbm.kernels.packing_gpu import unpack
from fastbm.kernels.rounding_gpu import SETTLERS, TILE_BYTES, TILE_THREADS

N_LIMBS = 3
"""Numbers of bfloat16 that a float32 is cut into."""
CENTERED_BYTES = 2 * TILE_BYTES + 4
"""Shared memory, in bytes a thread, for two tiles, and four numbers for every two threads."""


def ascend(
    weights, velocity, to_hidden, to_visible, visible_gradient, hidden_gradient, visible_offset, hidden_offset, rows, grey,
    visible, means, factors, tables, *, exponent, learning_rate, momentum, l1, l2, offset_rate, both,
):  # fmt: skip
    product, n_limbs = _product(weights.shape, rows, grey, visible, means, factors)
    centered, none, settled = int(hidden_offset.size > 0), constant(0.0, "float32"), cupy.empty(1, cupy.int32)
    notes = rounding_gpu.empty_notes(weights)
    pulls = cupy.empty(notes.shape[1], cupy.float32) if centered else none
    offsets = (visible_offset, hidden_offset) if centered else (none, none)
    sizes = (*weights.shape, n_limbs, product.shape[1] // n_limbs)
    launch(
        "ascent", "step", rounding_gpu.tile_threads(weights), weights, velocity if velocity.size else none, product, *offsets,
        notes, pulls, *sizes, int(velocity.size > 0), centered, *map(float, (learning_rate, momentum, l1, l2, offset_rate)),
        threads=TILE_THREADS, bytes_a_thread=CENTERED_BYTES if centered else TILE_BYTES,
    )  # fmt: skip
    launch(
        "ascent", "finish", SETTLERS * (1 + -(-sum(weights.shape) // SETTLERS)), notes, on_device(exponent), settled, product,
        pulls, visible_gradient, hidden_gradient, *offsets, *sizes, centered, float(offset_rate), threads=SETTLERS,
        bytes_a_thread=4,
    )  # fmt: skip
    if not to_hidden.size:
        return exponent
    limbs = tables.get("limbs")
    tables.clear()
    rounding_gpu.round_at(settled, weights, to_hidden, to_visible, limbs and [one for (one,) in limbs])
    if limbs:
        tables["limbs"] = limbs
    return settled


def has_bfloat16() -> bool:
    """Return whether the GPU multiplies numbers of bfloat16; older ones take binary data in float32."""
    return int(cupy.cuda.Device().compute_capability) >= 80


def _product(shape, rows, grey, visible, means, factors):
    """Return statesᵀ @ (factors · means), with the columns behind them that ascent.cu describes, and the number of limbs."""
    (n_visible, n_hidden), n_words = shape, visible.shape[1]
    states_width, width = (-(-(n + 2) // 8) * 8 for n in shape)  # tensor cores want rows that begin at 16 bytes
    if len(rows) and not has_bfloat16():
        rows, grey = rows[:0], unpack(rows, n_visible, cupy.float32)
    n_rows, n_chains, binary = len(rows) + len(grey), len(visible), len(grey) == 0
    name, dtype, n_limbs = ("states", cupy.uint16, N_LIMBS) if binary else ("grey", cupy.float32, 1)
    states, terms = (cupy.empty((n_rows + n_chains, n), dtype) for n in (states_width, n_limbs * width))
    launch(
        "ascent", f"terms_of_{name}", (n_rows + n_chains) * THREADS, rows if binary else grey, visible, means, factors, states,
        terms, n_rows, n_visible, n_hidden, n_words, means.shape[1], states_width, width,
    )  # fmt: skip
    product = cupy.empty((states_width, n_limbs * width), cupy.float32)
    products_gpu.multiply(states, terms, product, transposed=True)
    return product, n_limbs
