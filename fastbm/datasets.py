"""Small and standard data: the embedded digits, files in MNIST's idx format, and making grey levels binary."""

from __future__ import annotations

import gzip
import zlib
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits as load_sklearn_digits
from sklearn.utils import check_array

from fastbm.chain import Purpose

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def load_digits():
    """Return the 1,797 handwritten digits of 8×8 pixels that come with scikit-learn.

    Returns
    -------
    X : ndarray of shape (1797, 64), float32
        Grey levels between 0 (paper) and 1 (ink).
    y : ndarray of shape (1797,)
        The digits, 0 to 9.
    """
    X, y = load_sklearn_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


def load_idx(path):
    """Return the array in a file of MNIST's idx format, plain or compressed with gzip.

    Parameters
    ----------
    path : str or path-like
        When there is no such file, the same name with ``.gz`` added is tried.

    Returns
    -------
    array : ndarray
        Of the shape and dtype that the file names.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file is not of the idx format, or its length does not fit its header.
    """
    path = Path(path)
    if not path.exists():
        if not path.with_name(path.name + ".gz").exists():
            raise FileNotFoundError(f"there is no file {path}, nor {path.name}.gz beside it")
        path = path.with_name(path.name + ".gz")
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    return _parse_idx(path, content)


def _parse_idx(path, content):
    n_dimensions = content[3] if len(content) > 3 else 0
    end = 4 + 4 * n_dimensions
    if n_dimensions == 0 or len(content) < end or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise ValueError(f"{path} is not an idx file: it begins with {content[:4]!r}")
    shape = tuple(int(size) for size in np.frombuffer(content[4:end], ">u4"))
    dtype = np.dtype(IDX_TYPES[content[2]])
    expected = end + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise ValueError(f"{path} has {len(content)} bytes where its header, of shape {shape}, asks for {expected}")
    return np.frombuffer(content, dtype, offset=end).reshape(shape).astype(dtype.newbyteorder("="))


def load_mnist(folder):
    """Return the images and labels of a folder with the four files of MNIST, Fashion-MNIST or the like.

    Parameters
    ----------
    folder : str or path-like
        Holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, each plain
        or with ``.gz`` added.

    Returns
    -------
    X_train, y_train, X_test, y_test : ndarray
        Images as rows of float32 between 0 and 1; labels as they are.

    Raises
    ------
    FileNotFoundError
        When a file is missing.
    ValueError
        When a file is not of the idx format.
    """
    arrays = [load_idx(Path(folder) / name) for name in MNIST_FILES]
    for images, labels in (arrays[:2], arrays[2:]):
        if images.ndim != 3 or images.shape[0] != labels.shape[0]:
            raise ValueError(f"{folder} holds images of shape {images.shape} with labels of shape {labels.shape}")
    X_train, y_train, X_test, y_test = arrays
    return _grey(X_train), y_train, _grey(X_test), y_test


def _grey(images):
    largest = np.iinfo(images.dtype).max if images.dtype.kind == "u" else 1
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(largest)


def binarise(X, *, threshold=0.5, random_state=None):
    """Return rows of 0 and 1 made of grey levels.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Grey levels between 0 and 1.
    threshold : float or None, default=0.5
        Levels above it become 1. None draws each value, with its level as the probability of 1.
    random_state : int or None, default=None
        Seed of the draw.

    Returns
    -------
    X_binary : ndarray of shape (n_samples, n_features)
        Of the floating dtype of `X`, or float64.

    Raises
    ------
    ValueError
        When `X` is not an array of finite rows, or has values that are not between 0 and 1, or `threshold` is no number.
    """
    floats: Any = (np.float64, np.float32)
    if threshold is not None and not isinstance(threshold, Real):
        raise ValueError(f"threshold must be a number or None, got {threshold!r}")
    X = check_array(X, dtype=floats, input_name="X")
    if X.min() < -1e-6 or X.max() > 1 + 1e-6:
        advice = "; divide images of bytes by 255" if X.min() >= 0 and 1 < X.max() <= 255 else ""
        raise ValueError(f"X must hold grey levels between 0 and 1, got values between {X.min():g} and {X.max():g}{advice}")
    if threshold is not None:
        return (threshold < X).astype(X.dtype)
    seed = np.random.SeedSequence(random_state, spawn_key=(int(Purpose.BINARISATION),))
    return (np.random.default_rng(seed).random(X.shape, np.float32) < X).astype(X.dtype)
