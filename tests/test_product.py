"""Products of matrices equal their naive twin bit for bit, on every level and for any number of threads."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest

from fastbm import chain, kernels
from fastbm.kernels import formulas, product_cpu, simd_cpu, threads_cpu, tile_cpu

FOLDER = Path(__file__).parent
SIZES = [(1, 1, 1), (1, 33, 17), (15, 17, 33), (33, 300, 100), (14, 16, 32), (100, 2, 128), (3, 0, 5), (0, 3, 4), (4, 3, 0),
         (200, 64, 1), (40, 300, 3), (5, 7, 4), (5, 0, 2)]  # fmt: skip
"""Rows, terms and columns."""
CASES = [(ta, tb, more) for ta in (False, True) for tb in (False, True) for more in (False, True)]


@pytest.fixture(params=simd_cpu.LEVELS)
def level(request, monkeypatch):
    """Every level that this processor has."""
    if request.param not in simd_cpu.levels_here():
        pytest.skip(f"{request.param}: this processor has only {', '.join(simd_cpu.levels_here())}")
    monkeypatch.setattr(simd_cpu, "LEVEL", request.param)
    return request.param


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def stored(matrix, transposed):
    """The matrix, or its transpose, with its numbers side by side."""
    return np.ascontiguousarray(matrix.T if transposed else matrix)


def run(left, right, transpose_a=False, transpose_b=False, start=None, **options):
    """Call the kernel; `out` is a slice of columns whose neighbours must stay."""
    wide = np.full((left.shape[0], right.shape[1] + 7), np.nan, np.float32)
    out = wide[:, 3:-4]
    if start is not None:
        out[:] = start
    kernels.product(
        stored(left, transpose_a), stored(right, transpose_b), out, transpose_a=transpose_a, transpose_b=transpose_b,
        accumulate=start is not None, **options,
    )  # fmt: skip
    assert np.isnan(wide[:, :3]).all()
    assert np.isnan(wide[:, -4:]).all()
    return np.array(out)


class TestSums:
    @pytest.mark.parametrize("size", SIZES)
    def test_equal_the_naive_twin(self, size, level, n_threads):
        left, right, start = random(*size[:2]), random(*size[1:], seed=1), random(size[0], size[2], seed=2)
        expected = {more: naive.product(left, right, start if more else 0.0) for more in (False, True)}
        for transpose_a, transpose_b, more in CASES:
            got = run(left, right, transpose_a, transpose_b, start if more else None)
            np.testing.assert_array_equal(got, expected[more])

    @pytest.mark.parametrize("size", [(100, 784, 500), (1000, 300, 40), (700, 100, 65), (40, 600, 1000)])
    def test_large_ones_agree_with_float64_and_with_themselves(self, size):
        """Without forcing: the parts that the cost of the work calls for; and a few rows, and columns, alone."""
        left, right = random(*size[:2]), random(*size[1:], seed=1)
        results = []
        for n_threads in (1, 2):
            with threads_cpu.limited_to(n_threads):
                results += [run(left, right, transpose_a, transpose_b) for transpose_a, transpose_b, more in CASES if not more]
        rows, columns = slice(3, 20), slice(1, 34)
        alone = run(left[rows], right[:, columns])
        magnitude = np.abs(left).astype(np.float64) @ np.abs(right)
        assert (np.abs(results[0] - left.astype(np.float64) @ right) <= 1e-6 * magnitude).all()
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])
        np.testing.assert_array_equal(alone, results[0][rows, columns])

    def test_rows_at_any_distance(self, level):
        a, b, out = random(30, 40), random(50, 60), np.zeros((30, 90), np.float32)
        a.flags.writeable = b.flags.writeable = False
        left, right = a[::-2, 5:25], b[10:50:2, ::1][:, 3:40]
        kernels.product(left, right, out[::2, 1:38])
        np.testing.assert_array_equal(out[::2, 1:38], naive.product(left, right))
        assert not out[1::2].any()
        assert not out[:, 38:].any()
        repeated = np.broadcast_to(a[:1], (30, 40))
        kernels.product(repeated, a, out[:, :30], transpose_b=True)
        assert (out[:, :30] == out[0, :30]).all()

    def test_in_float64(self):
        left, right, start = (random(*shape).astype(np.float64) for shape in ((5, 7), (7, 4), (5, 4)))
        for transpose_a, transpose_b, more in CASES:
            out = start.copy()
            kernels.product(
                stored(left, transpose_a), stored(right, transpose_b), out, transpose_a=transpose_a, transpose_b=transpose_b,
                accumulate=more, bias=start[0], activation="tanh",
            )  # fmt: skip
            np.testing.assert_allclose(out, np.tanh(left @ right + more * start + start[0]), rtol=1e-14)


def expected_of(activation, x, slope):
    """What an activation makes of float64 numbers."""
    return {
        "identity": x, "sigmoid": 1 / (1 + np.exp(-x)), "tanh": np.tanh(x), "relu": np.maximum(x, 0),
        "leaky_relu": np.where(x > 0, x, slope * x),
    }[activation]  # fmt: skip


class TestActivations:
    @pytest.mark.parametrize("activation", kernels.ACTIVATIONS)
    def test_of_sums_with_a_bias(self, activation, level, n_threads):
        """All that the activation is given is known exactly, so that it is what is tested."""
        left, right, bias = random(33, 17), random(17, 65, seed=1), random(80, seed=2)
        x = run(left, right, bias=bias).astype(np.float64)
        got = run(left, right, bias=bias, activation=activation, slope=0.3)
        np.testing.assert_allclose(got, expected_of(activation, x, 0.3), rtol=1e-6)
        np.testing.assert_array_equal(x, (run(left, right) + bias[:65]).astype(np.float64))
        exact = naive.product(left, right) + bias[:65]
        np.testing.assert_allclose(formulas.activate(exact.astype(np.float64), activation, 0.3), got, rtol=1e-6)
        if activation == "sigmoid":
            np.testing.assert_array_equal(got, chain.mean(exact))

    @pytest.mark.parametrize("activation", kernels.ACTIVATIONS)
    def test_of_numbers_of_any_size(self, activation):
        x = np.float32([*np.linspace(-12, 12, 4001), *np.logspace(-30, 30, 500), *-np.logspace(-30, 30, 500), 0.625, -0.625])
        with np.errstate(over="ignore"):
            expected = expected_of(activation, x.astype(np.float64), np.float64(np.float32(0.2)))
        got = run(x[:, None], np.ones((1, 1), np.float32), activation=activation)[:, 0]
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-37)

    @pytest.mark.parametrize("activation", kernels.ACTIVATIONS)
    @pytest.mark.parametrize("n_columns", [1, 3, 4])
    def test_a_few_columns_are_those_of_many(self, n_columns, activation, level, n_threads):
        """Rows and columns change places then."""
        left, right, bias, start = random(700, 300), random(300, 40, seed=1), random(40, seed=2), random(700, 40, seed=3)
        for transpose_a, transpose_b, more in CASES:
            how = {"bias": bias, "activation": activation, "transpose_a": transpose_a, "transpose_b": transpose_b}
            whole = run(left, right, start=start if more else None, **how)
            got = run(left, right[:, :n_columns], start=start[:, :n_columns] if more else None, **how)
            np.testing.assert_array_equal(got, whole[:, :n_columns])

    def test_two_products_in_one_activation(self, level, n_threads):
        """The input of a layer between two others."""
        below, above, up, down, bias = random(33, 40), random(33, 20), random(40, 65), random(65, 20), random(65)
        first = run(below, up)
        got = run(above, down.T, transpose_b=True, start=first, bias=bias, activation="sigmoid")
        x = naive.product(above, down.T, naive.product(below, up)) + bias
        np.testing.assert_array_equal(got, chain.mean(x))


class TestBadInput:
    BAD = [
        ({"a": np.zeros((2, 3))}, "a must be a float32 matrix"),
        ({"b": np.zeros((3, 8), np.float32)[:, ::2]}, "b must be a float32 matrix, the numbers of each row side by side"),
        ({"out": np.zeros(4, np.float32)}, "out must be a float32 matrix"),
        ({"a": np.zeros((2, 4), np.float32)}, r"a, \(2, 4\), b, \(3, 4\), and out, \(2, 4\), are not the shapes of a product"),
        ({"transpose_b": True}, "not the shapes of a product"),
        ({"bias": np.zeros(3, np.float32)}, "bias must be 4 float32 numbers"),
        ({"bias": np.zeros(4)}, "bias must be 4 float32 numbers"),
        ({"activation": "softplus"}, "activation must be one of .*softplus"),
    ]

    @pytest.mark.parametrize(("changed", "message"), BAD)
    def test_is_refused(self, changed, message):
        given = {name: np.zeros(shape, np.float32) for name, shape in (("a", (2, 3)), ("b", (3, 4)), ("out", (2, 4)))}
        with pytest.raises(ValueError, match=message):
            kernels.product(**given | changed)

    def test_what_cannot_be_written_is_refused(self):
        out = np.zeros((2, 4), np.float32)
        out.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            kernels.product(np.zeros((2, 3), np.float32), np.zeros((3, 4), np.float32), out)


@pytest.mark.parametrize("n_threads", [1, 2, 5, 64])
@pytest.mark.parametrize(("n_rows", "n_columns"), [(1, 1), (1, 5000), (5000, 1), (100, 500), (1000, 500), (337, 9)])
def test_parts(n_rows, n_columns, n_threads):
    """Rows and columns suffice for all parts, and there are enough for all threads wherever there are tiles for them."""
    for tile in tile_cpu.TILES.values():
        row_parts, column_parts = product_cpu.parts_of(n_rows, n_columns, tile, n_threads)
        assert row_parts <= n_rows
        assert column_parts <= -(-n_columns // tile.width)
        assert row_parts * product_cpu.ROWS >= n_rows
        tiles = -(-n_rows // tile.height), -(-n_columns // tile.width)
        assert n_threads == 1 or row_parts * column_parts >= min(n_threads, max(tiles))


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="only x86 processors may lack fused multiply-adds")
def test_without_fused_multiply_adds():
    """The same tests of sums on a processor that rounds each product."""
    tests = ["test_product.py::TestSums", "test_kernels.py::test_grey_kernels_equal_the_naive_sums"]
    environment = os.environ | {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}
    script = "from fastbm.kernels import llvm_cpu; assert not llvm_cpu.is_fused(); import pytest, sys; sys.exit(pytest.main())"
    command = [sys.executable, "-c", script, "-q", "-p", "no:cacheprovider", *(str(FOLDER / test) for test in tests)]
    done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.gpu
@pytest.mark.parametrize("activation", kernels.ACTIVATIONS)
@pytest.mark.parametrize("size", [(1, 1, 1), (33, 17, 65), (3, 0, 5), (0, 3, 4)])
def test_the_gpu_agrees(gpu, size, activation):
    left, right, start, bias = random(*size[:2]), random(*size[1:], seed=1), random(size[0], size[2], seed=2), random(99)
    magnitude = np.abs(left) @ np.abs(right) + np.abs(start) + 1
    for transpose_a, transpose_b, more in CASES:
        for added in (None, bias):
            arrays = stored(left, transpose_a), stored(right, transpose_b)
            named = {"transpose_a": transpose_a, "transpose_b": transpose_b, "accumulate": more, "activation": activation}
            out, wide = start.copy(), gpu.zeros((size[0], size[2] + 3), gpu.float32)
            wide[:, :-3] = gpu.asarray(start)
            kernels.product(*arrays, out, bias=added, **named)
            on_device = [gpu.asarray(array) for array in arrays]
            kernels.product(*on_device, wide[:, :-3], bias=None if added is None else gpu.asarray(added), **named)
            got = wide.get()
            assert (np.abs(got[:, :-3] - out) <= 1e-5 * magnitude).all()
            assert not got[:, -3:].any()


@pytest.mark.gpu
def test_the_gpu_takes_float64_too(gpu):
    left, right = random(5, 7).astype(np.float64), random(7, 4).astype(np.float64)
    out = gpu.zeros((5, 4), gpu.float64)
    kernels.product(gpu.asarray(left), gpu.asarray(right), out, activation="sigmoid")
    np.testing.assert_allclose(out.get(), 1 / (1 + np.exp(-(left @ right))), rtol=1e-14)
