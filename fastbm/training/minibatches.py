"""Minibatches: rows of the data as the learning rules take them, packed where they are binary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbm import chain, kernels
from fastbm.device import home_of, namespace, to_device
from fastbm.machines.rows import Rows


def slices(n_rows: int, batch_size: int) -> Iterator[slice]:
    """Yield the slices of consecutive minibatches; they differ in size by at most one, and none is larger than asked."""
    n_batches = -(-n_rows // batch_size)
    for index in range(n_batches):
        yield slice(index * n_rows // n_batches, (index + 1) * n_rows // n_batches)


def space(n_rows: int, n_units: int, xp: Any = np) -> Rows:
    """Return arrays that `prepare` can use again and again for minibatches of up to `n_rows` rows."""
    return Rows(xp.empty((n_rows, chain.padded(n_units) // chain.WORD), np.uint64), xp.empty((n_rows, n_units), np.float32))


def prepare(rows, into: Rows | None = None, binary: bool | None = None, labels=None) -> Rows:
    """Return rows, dense or sparse, of shape (n, n_units) as packed states where all are 0 or 1, else as float32.

    `binary` says which, where it is known: then nothing waits for the GPU.
    `into` is overwritten: space for at least as many rows, of which the minibatch is a view, where they are to live. With
    `labels`, the number of each row's class, (n,) integers, `into` has more units: the first of them behind those of the rows
    are labels, of which one is on.
    """
    n_rows, n_units = rows.shape
    if hasattr(rows, "toarray"):
        rows = rows.toarray()
    into = space(n_rows, n_units, namespace(rows)) if into is None else into
    rows = to_device(rows, home_of(into.states))
    if rows.dtype not in (np.float32, np.float64) or not rows.flags.c_contiguous:
        rows = namespace(rows).ascontiguousarray(rows, np.float32 if rows.dtype == np.float32 else np.float64)
    packed = binary is not False and kernels.pack(rows, into.states[:n_rows])
    is_packed = packed if binary is None else binary
    into = Rows(into.states[:n_rows], into.grey[:0]) if is_packed else Rows(into.states[:0], into.grey[:n_rows])
    if not is_packed:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinity
            into.grey[:, :n_units] = rows
    if labels is not None:
        put_labels(into, n_units, to_device(labels, home_of(into.states)))
    return into


def put_labels(rows: Rows, n_units: int, labels) -> None:
    """Put the label of each row on, behind its `n_units` first units, and the others off, which packed ones are already."""
    numbers = namespace(labels).arange(len(rows))
    units = n_units + labels.astype(np.int64)
    if len(rows.grey):
        rows.grey[:, n_units:] = 0.0
        rows.grey[numbers, units] = 1.0
    else:
        bits = namespace(labels).ones_like(units, dtype=np.uint64) << (units % chain.WORD).astype(np.uint64)
        rows.states[numbers, units // chain.WORD] |= bits
