"""Mean field on the GPU: products of all rows in work, each followed by a launch; rows that are done are left out in time."""

import cupy
import numpy as np

from fastbm.kernels import COARSE_BITS, COARSE_PATIENCE, formulas, products_gpu
from fastbm.kernels.cuda_gpu import THREADS, launch

UPDATES_BETWEEN = 4
"""Updates after which the host asks how many rows are not done yet."""
WORTH_LEAVING_OUT = 0.25
"""The part of the rows that must be done for the others to be gathered."""


def mean_field(
    given, weights, biases, means, n_updates, change, *, tolerance, max_updates, damping, patience, fine_updates=2
):  # fmt: skip
    if given.dtype != cupy.float32:
        formulas.mean_field(
            given, weights, biases, means, n_updates, change, tolerance=tolerance, max_updates=max_updates, damping=damping,
            patience=patience,
        )  # fmt: skip
        return
    n_updates.fill(0)
    change.fill(np.inf)
    exponent = formulas.coarse_exponent(weights) if max_updates > fine_updates and len(given) else -1
    if exponent >= 0:
        coarse = [_rounded(array, 2.0**exponent) for array in weights]
        _iterate(
            given, coarse, biases, means, n_updates, change, formulas.coarse_tolerance(tolerance), max_updates - fine_updates,
            0.0, COARSE_PATIENCE, True,
        )  # fmt: skip
    _iterate(given, weights, biases, means, n_updates, change, tolerance, max_updates, damping, patience, False)


def _iterate(given, weights, biases, means, n_updates, change, tolerance, max_updates, damping, patience, coarse) -> None:
    """Update rows until they are done; coarse, with means that are rounded, too."""
    n_rows, index = len(given), None
    work = [given, n_updates, change, *map(cupy.ascontiguousarray, means)]
    work += [cupy.zeros(n_rows, cupy.float32), cupy.full(n_rows, np.inf, cupy.float32)]  # kept, nearest
    work += [cupy.zeros(n_rows, cupy.int32), cupy.full(n_rows, 1, cupy.int32)]  # since, active
    how = float(tolerance), int(max_updates), float(damping), int(patience), int(coarse)
    for update in range(max_updates if n_rows else 0):
        _update(work, weights, biases, how)
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


def _update(work, weights, biases, how) -> None:
    """Update all layers of all rows in work."""
    given, n_updates, change, *means, kept, nearest, since, active = work
    n_rows, largest, coarse = len(given), cupy.zeros(len(given), cupy.float32), how[-1]
    scale = 2.0**COARSE_BITS if coarse else 0.0
    seen = [_rounded(each, scale) for each in means] if coarse else means
    for layer, own in enumerate(means):
        logits = cupy.empty(own.shape, cupy.float32)
        logits[...] = given if layer == 0 else biases[layer - 1]
        if layer > 0:
            _add(seen[layer - 1], weights[layer - 1], logits)
        if layer < len(weights):
            _add(seen[layer + 1], weights[layer].T, logits)
        launch(
            "mean_field", "relax", n_rows * THREADS, logits, own, kept, active, largest, seen[layer], *own.shape, scale,
            bytes_a_thread=4,
        )  # fmt: skip
    launch(
        "mean_field", "settle", n_rows, largest, kept, nearest, since, active, n_updates, change, n_rows, *how,
    )  # fmt: skip


def _rounded(array, scale):
    """Return numbers in steps of 1 / scale, as they lie in memory."""
    array = array if array.flags.c_contiguous or array.T.flags.c_contiguous else cupy.ascontiguousarray(array)
    lying = array if array.flags.c_contiguous else array.T
    out = cupy.empty(lying.shape, cupy.float32)
    launch("mean_field", "round_to", lying.size, lying, out, lying.size, scale)
    return out if lying is array else out.T


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
