"""Products of matrices, and a layer with bias and activation, beside NumPy's and PyTorch's on as many threads."""

from __future__ import annotations

import numpy as np
import pytest

from fastbm import kernels
from fastbm.commands import peers

SHAPES = [
    (100, 784, 500),
    (100, 500, 1000),
    (1000, 784, 500),
    (128, 1024, 1024),
    (64, 4096, 512),
    (784, 100, 500),
    (100, 128, 128),
    (100, 2, 128),
]
"""Rows, terms and columns."""
shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
transposes = pytest.mark.parametrize("transposed", ["", "a", "b"], ids=lambda name: f"transpose_{name}" if name else "plain")


@pytest.fixture
def arrays(shape, transposed, quick):
    """The two matrices, as they lie in memory, a bias, and where the result goes."""
    n_rows, n_terms, n_columns = (min(n, 20) for n in shape) if quick else shape
    rng = np.random.default_rng(0)
    a = rng.random((n_terms, n_rows) if transposed == "a" else (n_rows, n_terms), np.float32)
    b = rng.random((n_columns, n_terms) if transposed == "b" else (n_terms, n_columns), np.float32)
    return a, b, rng.random(n_columns, np.float32), np.empty((n_rows, n_columns), np.float32)


@pytest.fixture
def group(benchmark, shape, transposed):
    def group(what):
        benchmark.group = "-".join([what, "x".join(map(str, shape)), *([f"transpose_{transposed}"] if transposed else [])])

    return group


def turned(a, b, transposed):
    return a.T if transposed == "a" else a, b.T if transposed == "b" else b


def agrees(out, arrays, transposed):
    a, b = turned(*arrays[:2], transposed)
    return np.allclose(out, a.astype(np.float64) @ b, rtol=1e-5)


@shapes
@transposes
def test_product(benchmark, group, arrays, transposed):
    group("product")
    a, b, _, out = arrays
    benchmark(kernels.product, a, b, out, transpose_a=transposed == "a", transpose_b=transposed == "b")
    assert agrees(out, arrays, transposed)


@shapes
@transposes
def test_product_numpy(benchmark, group, arrays, transposed):
    group("product")
    peers.share_blas_threads()
    a, b, _, out = arrays
    benchmark(np.matmul, *turned(a, b, transposed), out=out)
    assert agrees(out, arrays, transposed)


@shapes
@transposes
def test_product_torch(benchmark, group, arrays, transposed):
    group("product")
    torch = pytest.importorskip("torch")
    torch.set_num_threads(kernels.n_threads())
    a, b, out = (torch.from_numpy(array) for array in (*arrays[:2], arrays[3]))
    benchmark(torch.mm, *turned(a, b, transposed), out=out)
    assert agrees(arrays[3], arrays, transposed)


# ---------------------------------------------------------------------------------------------------------- a layer


@pytest.mark.parametrize("transposed", [""], ids=["plain"])
@shapes
def test_layer(benchmark, group, arrays, transposed):
    group("sigmoid-layer")
    a, b, bias, out = arrays
    benchmark(kernels.product, a, b, out, bias=bias, activation="sigmoid")
    assert (out > 0.5).all()


@pytest.mark.parametrize("transposed", [""], ids=["plain"])
@shapes
def test_layer_numpy(benchmark, group, arrays, transposed):
    group("sigmoid-layer")
    peers.share_blas_threads()
    a, b, bias, out = arrays

    def layer():
        np.matmul(a, b, out=out)
        np.subtract(-bias, out, out=out)
        np.exp(out, out=out)
        np.add(out, 1, out=out)
        np.divide(1, out, out=out)

    benchmark(layer)
    assert (out > 0.5).all()


@pytest.mark.parametrize("transposed", [""], ids=["plain"])
@shapes
def test_layer_torch(benchmark, group, arrays, transposed):
    group("sigmoid-layer")
    torch = pytest.importorskip("torch")
    torch.set_num_threads(kernels.n_threads())
    a, b, bias, out = map(torch.from_numpy, arrays)
    benchmark(lambda: torch.addmm(bias, a, b, out=out).sigmoid_())
    assert (arrays[3] > 0.5).all()
