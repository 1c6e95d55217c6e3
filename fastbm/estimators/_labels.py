"""Labels that users give, as numbers of classes, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from fastbm.device import adopt, to_device, to_host

LARGEST_ITEM = 8
"""Bytes of a floating label that JSON can hold."""
SHOWN = 5
"""Labels that an error message names, at the most."""


def check(y, name: str = "y") -> np.ndarray:
    """Return labels as an array of shape (n_samples,) on the host; ValueError when they are none."""
    y = to_host(adopt(y))
    if y is None:
        raise ValueError(f"a classifier requires {name} to be passed, but the target {name} is None")
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "O" and any(label is None for label in y):
        raise ValueError(f"Input {name} contains None where a label was expected.")
    assert_all_finite(y, input_name=name)
    check_classification_targets(y)
    return y


def classes_of(y: np.ndarray, name: str = "y") -> np.ndarray:
    """Return the distinct labels in order; ValueError when there is but one."""
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"{name} must have labels of at least 2 classes, got {len(classes)} class: {classes.tolist()}")
    return classes


def classes_given(classes, n_classes: int) -> np.ndarray:
    """Return the labels that a user names, or numbers when None; ValueError unless they are `n_classes`, in order."""
    classes = np.arange(n_classes) if classes is None else check(classes, "classes")
    if len(classes) != n_classes or not np.array_equal(classes_of(classes, "classes"), classes):
        raise ValueError(f"classes must be {n_classes} different labels in order, got {_some(classes.tolist())}")
    return classes


def encode(y: np.ndarray, classes: np.ndarray, name: str = "y") -> np.ndarray:
    """Return the number of each label's class, int64; ValueError when a label is none of the classes."""
    numbers = {label: number for number, label in enumerate(classes.tolist())}
    found = np.array([numbers.get(label, -1) for label in y.tolist()], np.int64)
    if (found < 0).any():
        unknown = list(dict.fromkeys(label for label in y.tolist() if label not in numbers))
        raise ValueError(f"{name} has unknown labels {_some(unknown)}; the classes are {_some(classes.tolist())}")
    return found


def numbered(y: np.ndarray, classes=None, known: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each label's class, and the classes: those `known` from an earlier fit, those given, or `y`'s.

    ValueError when `classes` are not those that are known.
    """
    if classes is not None:
        classes = classes_of(check(classes, "classes"), "classes")
        if known is not None and classes.tolist() != known.tolist():
            raise ValueError(f"classes={classes.tolist()} are not those of the first call, {known.tolist()}")
    elif known is not None:
        classes = known
    else:
        classes = classes_of(y)
    return encode(y, classes), classes


def encode_for_samples(y, classes: np.ndarray, n_samples: int) -> np.ndarray:
    """Return the number of the class of each sample, (n_samples,) int64, given one label for all or one for each."""
    y = to_host(adopt(y))
    labels = np.asarray(y, object) if isinstance(y, list | tuple) else np.asarray(y)
    if labels.shape not in ((), (n_samples,)):
        raise ValueError(f"y must be None, a label, or labels of shape ({n_samples},), one for each sample, got {labels.shape}")
    return np.broadcast_to(encode(labels.reshape(-1), classes), (n_samples,))


def decode(numbers, classes: np.ndarray, home: str = "cpu"):
    """Return labels given the numbers of their classes; they live at `home` where they are numbers, else on the host."""
    if home == "cpu" or classes.dtype.kind not in "biuf":
        return classes[to_host(numbers)]
    return to_device(classes, home)[to_device(numbers, home)]


def to_header(classes: np.ndarray) -> dict[str, Any]:
    """Return classes as what JSON has."""
    if classes.dtype.kind not in "UObiuf" or (classes.dtype.itemsize > LARGEST_ITEM and classes.dtype.kind == "f"):
        raise ValueError(f"a file cannot hold labels of dtype {classes.dtype}; use strings or numbers")
    return {"classes": {"dtype": classes.dtype.str, "values": classes.tolist()}}


def from_header(header) -> np.ndarray:
    """Return the classes that `to_header` wrote; ValueError when they are none."""
    dtype, values = np.dtype(header["classes"]["dtype"]), header["classes"]["values"]
    kind = str if dtype.kind in "UO" else bool if dtype.kind == "b" else int if dtype.kind in "iu" else float
    if dtype.kind not in "UObiuf" or not all(isinstance(value, kind) for value in values):
        raise ValueError(f"classes of dtype {dtype} with values {_some(values)}")
    classes = np.array(values, dtype)
    if classes.tolist() != values or not np.array_equal(np.unique(classes), classes):
        raise ValueError(f"classes {_some(values)} are not different, or not in order")
    return classes


def _some(labels: list) -> str:
    return "[" + ", ".join(map(repr, labels[:SHOWN])) + (", …]" if len(labels) > SHOWN else "]")
