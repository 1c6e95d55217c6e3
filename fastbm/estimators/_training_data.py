"""Training data as minibatches: an array, a file mapped to memory, or any iterable of batches.

Nothing of the size of the data is copied: rows of other dtypes are converted minibatch by minibatch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain as chained
from typing import Any

import numpy as np

from fastbm.chain import Purpose
from fastbm.device import home_of, to_device
from fastbm.estimators import _validation
from fastbm.training import minibatches


class Rows:
    """Rows of an array or a sparse matrix, checked once; `weights`, 1 on the average, are what they count, None when alike.

    `labels` are numbers of classes, one a row; None where there are none.
    """

    labels: Any = None
    n_labels = 0
    scaling: Any = None  # for the estimator: what it takes away from rows, and divides them by

    def __init__(self, estimator, X, sample_weight=None, *, reset: bool):
        X = _validation.check_rows(estimator, X, reset=reset, training=True)
        self.weights = None if sample_weight is None else _validation.check_weights(sample_weight, X.shape[0])
        self.kept: Any = None  # numbers of the rows that make up the minibatches, in their order; None when all do
        if self.weights is not None and not self.weights.all():
            self.kept = np.flatnonzero(self.weights)
        self.X, self.n_features, self.home = X, X.shape[1], home_of(X)
        self.dtype, self.binary, self.range = _validation.float_of(X), None, None

    @property
    def sample(self):
        """Data, of which the device can be told."""
        return self.X

    def move(self, home: str) -> None:
        """Take all rows to a device, once; those of a file and sparse ones go minibatch by minibatch.

        On a GPU they are looked at as a whole, so that no minibatch has to be waited for.
        """
        if type(self.X) is np.ndarray or self.home != "cpu":
            self.X = to_device(self.X, home)
            if home != "cpu":
                self.binary, self.range = bool(((self.X == 0) | (self.X == 1)).all()), extent(self.X)

    def label(self, numbers, n_labels: int) -> None:
        """Give each row the number of its class; ValueError when there are more or fewer."""
        if len(numbers) != self.X.shape[0]:
            raise ValueError(f"y has {len(numbers)} labels for the n_samples={self.X.shape[0]} rows of X")
        self.labels, self.n_labels = numbers, n_labels

    def shuffle(self, seed: int, number: int) -> None:
        """Put the rows that are not held out in an order of their own for pass number `number`."""
        rows = np.arange(self.X.shape[0]) if self.kept is None else np.sort(self.kept)
        entropy = np.random.SeedSequence(seed, spawn_key=(int(Purpose.SHUFFLING), number))
        self.kept = np.random.default_rng(entropy).permutation(rows)

    def hold_out(self, fraction: float, most: int, seed: int):
        """Keep a fraction of the rows, drawn at random, out of the minibatches; return up to `most`, and their labels."""
        rows = np.arange(self.X.shape[0]) if self.kept is None else self.kept
        n_out = max(1, round(fraction * len(rows)))
        if n_out >= len(rows):
            raise ValueError(f"validation_fraction={fraction} leaves nothing of n_samples={len(rows)} to train on")
        entropy = np.random.SeedSequence(seed, spawn_key=(int(Purpose.HOLDING_OUT),))
        order = np.random.default_rng(entropy).permutation(len(rows))
        self.kept = np.sort(rows[order[n_out:]])
        if self.weights is not None:
            self.weights /= self.weights[self.kept].mean()
        return self._rows(rows[order[: min(n_out, most)]])

    def minibatches(self, size: int) -> Iterator[tuple[Any, Any, Any, float]]:
        """Yield each minibatch, its labels and weights, and the fraction of the pass that is done before it."""
        n_rows = self.X.shape[0] if self.kept is None else len(self.kept)
        for index, part in enumerate(minibatches.slices(n_rows, size)):
            numbers: Any = part if self.kept is None else self.kept[part]
            weights = None if self.weights is None else self.weights[numbers]
            yield *self._rows(numbers), weights, index / self.count(size)

    def _rows(self, numbers) -> tuple[Any, Any]:
        """Return rows, given a slice or their numbers, and their labels."""
        labels = None if self.labels is None else self.labels[numbers]
        return self.X[numbers if isinstance(numbers, slice) else to_device(numbers, home_of(self.X))], labels

    def count(self, size: int) -> int:
        """Return the number of minibatches of a pass."""
        return -(-(self.X.shape[0] if self.kept is None else len(self.kept)) // size)

    def extent(self, rows) -> tuple[float, float]:
        """Return the smallest and the largest value."""
        return self.range or extent(self.X)

    def some(self, n: int):
        """Return up to `n` rows from everywhere, and their labels."""
        if self.kept is not None:
            return self._rows(np.sort(self.kept)[:: max(1, len(self.kept) // n)][:n])
        step = max(1, self.X.shape[0] // n)
        return self._rows(slice(0, n * step, step))


class Batches:
    """Batches that an iterable gives, each checked when its turn comes; larger ones are cut into minibatches."""

    weights: Any = None
    scaling: Any = None
    n_labels = 0

    def __init__(self, estimator, batches, sample_weight=None, *, reset: bool):
        if sample_weight is not None:
            raise ValueError("sample_weight needs X as rows, but X is an iterable of batches")
        self.estimator, self.batches, self.passes = estimator, batches, 0
        iterator = iter(batches)
        first = next(iterator, None)
        if first is None:
            raise ValueError("X is an iterable of batches, but it gave none")
        self.first = check_batch(estimator, first, 0, reset=reset)
        self.n_features, self.dtype, self.home = self.first.shape[1], _validation.float_of(self.first), home_of(self.first)
        self.binary, self.range = None, None
        self.once = iterator is batches
        self.rest = chained([first], iterator)

    def hold_out(self, fraction: float, most: int, seed: int):
        """Raise ValueError: batches come and go."""
        raise ValueError("early_stopping needs X as rows, of which some can be held out, but X is an iterable of batches")

    def label(self, numbers, n_labels: int) -> None:
        """Raise ValueError: labels need all rows."""
        raise ValueError(
            "X must be rows, with a label in y for each; it is an iterable of batches: call partial_fit(rows, labels) for each"
        )

    def shuffle(self, seed: int, number: int) -> None:
        """Do nothing: batches come as they come."""

    def minibatches(self, size: int) -> Iterator[tuple[Any, None, None, float]]:
        """Yield each minibatch, None for its labels and weights, and 0: how many are to come is not known."""
        if self.passes and self.once:
            raise ValueError(
                "X is an iterator, which gives its batches once, but fit makes more than one pass; "
                "use n_iter=1, or an object that can be iterated over again, such as a list of batches"
            )
        for number, batch in enumerate(self.batches if self.passes else self.rest):
            rows = check_batch(self.estimator, batch, number, reset=False)
            for part in minibatches.slices(rows.shape[0], size):
                yield rows[part], None, None, 0.0
        self.passes += 1

    @property
    def sample(self):
        """Data, of which the device can be told."""
        return self.first

    def move(self, home: str) -> None:
        """Do nothing: batches go to the device one by one."""

    def count(self, size: int) -> None:
        """Return None: the number of minibatches is not known."""

    def extent(self, rows) -> tuple[float, float]:
        """Return the smallest and the largest value of a minibatch, which is all that is known."""
        return extent(rows)

    def some(self, n: int):
        """Return up to `n` rows of the first batch, and None for their labels."""
        return self.first[:n], None


def check_batch(estimator, batch, number: int, *, reset: bool):
    """Return a batch as checked rows; ValueError when it is no matrix, as a pair of rows and labels is not."""
    shape = getattr(batch, "shape", None)
    if isinstance(batch, tuple | dict) or (shape is not None and len(shape) != 2):
        got = f"a {type(batch).__name__} of {len(batch)}" if shape is None else f"an array of shape {tuple(shape)}"
        raise ValueError(
            f"X is an iterable of batches, each of shape (n, n_features), but batch {number} is {got}; "
            "give rows alone, without labels, such as (rows for rows, labels in loader)"
        )
    return _validation.check_rows(estimator, batch, reset=reset, training=True)


def extent(rows) -> tuple[float, float]:
    """Return the smallest and the largest value of rows."""
    values = rows.data if hasattr(rows, "toarray") else rows
    return float(values.min()), float(values.max())


def warn_outside(data: Rows | Batches, rows, grey: bool) -> bool:
    """Warn when values of a minibatch, which is `grey`, do not lie between 0 and 1; return whether that was said."""
    low, high = (data.range or extent(rows)) if grey else (0, 1)
    if low >= 0 and high <= 1:
        return False
    return _validation.warn_outside_unit_interval(*data.extent(rows))


def of(estimator, X, sample_weight=None, *, reset: bool) -> Rows | Batches:
    """Return the training data that `X` is; ValueError when it is none. `reset` lets the estimator note the features."""
    return (Batches if is_batches(X) else Rows)(estimator, X, sample_weight, reset=reset)


def each(estimator, batches) -> Iterator[Any]:
    """Yield batches as checked rows, for an estimator that is fitted."""
    for number, batch in enumerate(batches):
        yield check_batch(estimator, batch, number, reset=False)


def is_batches(X) -> bool:
    """Whether `X` is an iterable of batches rather than rows: a list of matrices, or what iterates and is no array."""
    if isinstance(X, list | tuple):
        return len(X) > 0 and len(getattr(X[0], "shape", ())) == 2
    array_like = any(hasattr(X, name) for name in ("shape", "__array__", "__array_interface__", "__dataframe__"))
    return isinstance(X, Iterable) and not array_like and not isinstance(X, str | bytes | dict | set)
