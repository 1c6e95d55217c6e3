"""Images as rows: checks of their shape, and their grey levels between 0 and 1."""

from __future__ import annotations

import math
from itertools import chain as chained
from typing import Any

import numpy as np

from fastbm.device import adopt, on_gpu

EXPECTED = "images of shape (n, height, width) or (n, height, width, n_channels)"


def rows_of(images, name: str = "X") -> tuple[Any, tuple[int, ...]]:
    """Return images as rows, a view where that can be had, and the shape of one; ValueError when they are none."""
    images = adopt(images)
    if not on_gpu(images):
        try:
            images = np.asarray(images)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be {EXPECTED}, got {type(images).__name__}") from error
    if images.ndim not in (3, 4) or 0 in images.shape or images.dtype.kind not in "buif":
        raise ValueError(f"{name} must be {EXPECTED}, of real numbers, got {images.dtype} of shape {images.shape}")
    shape = tuple(int(size) for size in images.shape[1:])
    return images.reshape(len(images), -1), shape


def is_batches(X) -> bool:
    """Whether `X` is an iterable of batches of images: a list of arrays of four axes, or what iterates and is no array."""
    if isinstance(X, list | tuple):
        return len(X) > 0 and len(getattr(X[0], "shape", ())) == 4
    array_like = any(hasattr(X, name) for name in ("shape", "__array__", "__array_interface__"))
    return hasattr(X, "__iter__") and not array_like and not isinstance(X, str | bytes | dict | set)


def batches_of(X) -> tuple[Any, tuple[int, ...]]:
    """Return an iterable of batches of images as one of rows, which gives as many passes, and the shape of an image."""
    iterator = iter(X)
    first = next(iterator, None)
    if first is None:
        raise ValueError("X is an iterable of batches, but it gave none")
    shape = rows_of(first, "batch 0 of X")[1]
    if iterator is X:
        return _flat(chained([first], iterator), shape), shape
    return _Batches(X, shape), shape


class _Batches:
    """Batches as rows, again and again."""

    def __init__(self, batches, image_shape):
        self.batches, self.image_shape = batches, image_shape

    def __iter__(self):
        return _flat(self.batches, self.image_shape)


def _flat(batches, shape):
    for number, batch in enumerate(batches):
        rows, own = rows_of(batch, f"batch {number} of X")
        if own != shape:
            raise ValueError(f"batch {number} of X has images of shape {own}, those before it {shape}")
        yield rows


def levels(rows):
    """Return rows as grey levels: bytes are divided by 255, other numbers are as they are."""
    return rows.astype(np.float32) / np.float32(255) if rows.dtype == np.uint8 else rows


def channels(shape) -> tuple[int, int, int]:
    """Return the shape of an image as (height, width, n_channels)."""
    height, width, *n_channels = shape
    return height, width, n_channels[0] if n_channels else 1


def check_shape(shape, n_features: int) -> tuple[int, ...]:
    """Return the shape of an image out of a file; ValueError when it is none, or not of that size."""
    found = tuple(shape)
    if len(found) not in (2, 3) or not all(type(size) is int and size > 0 for size in found) or math.prod(found) != n_features:
        raise ValueError(f"image_shape_ is {shape!r}, which are not {n_features} numbers")
    return found
