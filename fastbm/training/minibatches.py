"""Minibatches: rows of the data as the learning rules take them, packed where they are binary."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastbm import chain


def slices(n_rows: int, batch_size: int) -> Iterator[slice]:
    """Yield the slices of consecutive minibatches; they differ in size by at most one, and none is larger than asked."""
    n_batches = -(-n_rows // batch_size)
    for index in range(n_batches):
        yield slice(index * n_rows // n_batches, (index + 1) * n_rows // n_batches)


def prepare(rows) -> np.ndarray:
    """Return rows, dense or sparse, of shape (n, n_units) as packed states where all are 0 or 1, else as dense float32."""
    if hasattr(rows, "toarray"):
        rows = rows.toarray()
    on = rows != 0
    if (rows == on).all():
        return chain.pack(on)
    return np.ascontiguousarray(rows, np.float32)
