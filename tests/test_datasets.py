"""The embedded digits, the idx format, and binary rows."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from fastbm import datasets


def idx(array, code=0x08):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, n_images in (("train", 12), ("t10k", 5)):
        images, labels = rng.integers(0, 256, (n_images, 4, 3), np.uint8), np.arange(n_images, dtype=np.uint8)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


def test_digits():
    X, y = datasets.load_digits()
    assert X.shape == (1797, 64)
    assert X.dtype == np.float32
    assert (X.min(), X.max()) == (0, 1)
    assert np.bincount(y).min() > 170


def test_folder_with_plain_and_compressed_files(folder):
    X_train, y_train, X_test, y_test = datasets.load_mnist(folder)
    assert X_train.shape == (12, 12)
    assert X_test.shape == (5, 12)
    assert X_train.dtype == np.float32
    assert X_train.max() <= 1
    np.testing.assert_array_equal(y_train, np.arange(12))
    np.testing.assert_array_equal(y_test, np.arange(5))


def test_mnist(data_folder):
    X_train, y_train, X_test, _ = datasets.load_mnist(data_folder / "mnist")
    assert X_train.shape == (60_000, 784)
    assert X_test.shape == (10_000, 784)
    assert X_train.mean() * 255 == pytest.approx(33.3184, abs=1e-3)
    np.testing.assert_array_equal(np.bincount(y_train), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])


@pytest.mark.parametrize(("code", "dtype"), [(0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_other_types(tmp_path, code, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    (tmp_path / "file").write_bytes(idx(array, code))
    loaded = datasets.load_idx(tmp_path / "file")
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype.isnative


GOOD = idx(np.zeros((2, 3), np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an idx file"),
        (b"\0\0", "is not an idx file"),
        (b"hello", "is not an idx file"),
        (b"\0\0\x08\0", "is not an idx file"),
        (b"\0\0\x07\x01" + bytes(8), "is not an idx file"),
        (GOOD[:9], "is not an idx file"),
        (GOOD[:-1], r"has 17 bytes where its header, of shape \(2, 3\), asks for 18"),
        (GOOD + b"x", "has 19 bytes"),
        (gzip.compress(GOOD)[:-4], "is damaged"),
        (b"\x1f\x8b" + bytes(50), "is damaged"),
        (gzip.compress(GOOD)[:12] + b"\xff\xff\xff" + gzip.compress(GOOD)[15:], "is damaged"),
    ],
)
def test_files_that_are_not(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        datasets.load_idx(tmp_path / "file")


def test_missing_file_and_labels_that_do_not_fit(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(4, np.uint8))))
    with pytest.raises(ValueError, match=r"images of shape \(5, 4, 3\) with labels of shape \(4,\)"):
        datasets.load_mnist(folder)
    (folder / "train-images-idx3-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        datasets.load_mnist(folder)


def test_a_threshold_that_is_none():
    with pytest.raises(ValueError, match="threshold must be a number or None, got 'half'"):
        datasets.binarise(np.zeros((2, 3)), threshold="half")


def test_binarise():
    X = np.array([[0.0, 0.5, 0.51, 1.0]])
    np.testing.assert_array_equal(datasets.binarise(X), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(datasets.binarise(X, threshold=0.2), [[0, 1, 1, 1]])
    assert datasets.binarise(X.astype(np.float32)).dtype == np.float32
    drawn = datasets.binarise(np.tile(X, (20_000, 1)), threshold=None, random_state=0)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(axis=0), X[0], atol=5 * 0.5 / np.sqrt(20_000))
    np.testing.assert_array_equal(drawn, datasets.binarise(np.tile(X, (20_000, 1)), threshold=None, random_state=0))
