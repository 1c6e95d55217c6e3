"""Mean field on the GPU: products of all rows in work, each followed by a launch; rows that are done are left out in time."""

import cupy
import numpy as np

from fastbm.kernels import formulas, products_gpu
from fastbm.kernels.cuda_gpu import THREADS, launch

UPDATES_BETWEEN = 4
"""Updates after which the host asks how many rows are not done yet."""
WORTH_LEAVING_OUT = 0.25
"""The part of the rows that must be done for the others to be gathered."""


def mean_field(given, weights, biases, means, n_updates, change, *, tolerance, max_updates, damping, patience):
    if given.dtype != cupy.float32:
        formulas.mean_field(
            given, weights, biases, means, n_updates, change, tolerance=tolerance, max_updates=max_updates, damping=damping,
            patience=patience,
        )  # fmt: skip
        return
    n_rows, index = len(given), None
    n_updates.fill(0)
    change.fill(np.inf)
    work = [given, n_updates, change, *map(cupy.ascontiguousarray, means)]
    work += [cupy.zeros(n_rows, cupy.float32), cupy.full(n_rows, np.inf, cupy.float32)]  # kept, nearest
    work += [cupy.zeros(n_rows, cupy.int32), cupy.full(n_rows, 1, cupy.int32)]  # since, active
    for update in range(max_updates if n_rows else 0):
        _update(work, weights, biases, tolerance, damping, patience)
        if update % UPDATES_BETWEEN < UPDATES_BETWEEN - 1 and update + 1 < max_updates:
            continue
        active = work[-1]
        n_active = int(active.sum())
        if n_active == 0:
            break
        if n_active <= (1 - WORTH_LEAVING_OUT) * len(active):
            _scatter(work, index, means, n_updates, change)
            left = cupy.flatnonzero(active)
            index, work = left if index is None else index[left], [cupy.ascontiguousarray(each[left]) for each in work]
    _scatter(work, index, means, n_updates, change)


def _update(work, weights, biases, tolerance, damping, patience) -> None:
    """Update all layers of all rows in work."""
    given, n_updates, change, *means, kept, nearest, since, active = work
    n_rows, largest = len(given), cupy.zeros(len(given), cupy.float32)
    for layer, own in enumerate(means):
        logits = cupy.empty(own.shape, cupy.float32)
        logits[...] = given if layer == 0 else biases[layer - 1]
        if layer > 0:
            _add(means[layer - 1], weights[layer - 1], logits)
        if layer < len(weights):
            _add(means[layer + 1], weights[layer].T, logits)
        launch(
            "mean_field", "relax", n_rows * THREADS, logits, own, kept, active, largest, *own.shape, bytes_a_thread=4
        )  # fmt: skip
    launch(
        "mean_field", "settle", n_rows, largest, kept, nearest, since, active, n_updates, change, n_rows, float(tolerance),
        float(damping), int(patience),
    )  # fmt: skip


def _add(left, right, out) -> None:
    if right.flags.c_contiguous:
        products_gpu.multiply(left, right, out, add=True)
    else:
        products_gpu.multiply(left, cupy.ascontiguousarray(right.T), out, transposed_right=True, add=True)


def _scatter(work, index, means, n_updates, change) -> None:
    """Bring what rows in work have come to back to where it belongs."""
    _, *found = work[: 3 + len(means)]
    for target, values in zip((n_updates, change, *means), found, strict=True):
        if target is not values:
            target[... if index is None else index] = values
