"""The kernel of mean field agrees with its naive twin, at every level, for any number of threads, and on the GPU."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np
import pytest

from fastbm import kernels
from fastbm.kernels import couplings_cpu, formulas, mean_field_cpu, simd_cpu

SIZES = [(1,), (5, 3), (33, 65), (17, 32, 9), (1, 1, 1, 1), (64, 70)]
HOW = {"tolerance": 1e-4, "max_updates": 60, "damping": 0.5, "patience": 1}


@pytest.fixture(params=simd_cpu.LEVELS)
def level(request, monkeypatch):
    """Every level that this processor has."""
    if request.param not in simd_cpu.levels_here():
        pytest.skip(f"{request.param}: this processor has only {', '.join(simd_cpu.levels_here())}")
    monkeypatch.setattr(simd_cpu, "LEVEL", request.param)
    return request.param


class Case:
    """Arguments of the kernel: rows that converge at different speeds, weights that lie either way round."""

    def __init__(self, sizes, n_rows, dtype: type = np.float32, scale=0.4):
        rng = np.random.default_rng([n_rows, *sizes])
        self.given = (rng.normal(size=(n_rows, sizes[0])) * np.logspace(-2, 1.5, n_rows)[:, None]).astype(dtype)
        weights = [(scale * rng.normal(size=size)).astype(dtype) for size in pairwise(sizes)]
        self.weights = tuple(array.T.copy().T if layer % 2 else array for layer, array in enumerate(weights))
        self.biases = tuple(rng.normal(size=size).astype(dtype) for size in sizes[1:])
        self.start = tuple(rng.random((n_rows, size)).astype(dtype) for size in sizes)

    def run(self, put=lambda value: value, rows=slice(None), **how):
        means = tuple(put(each[rows].copy()) for each in self.start)
        n_updates, change = put(np.full(len(self.given), -1, np.int32)[rows]), put(np.zeros(len(self.given), np.float32)[rows])
        weights, biases = (tuple(map(put, arrays)) for arrays in (self.weights, self.biases))
        kernels.mean_field(put(self.given[rows]), weights, biases, means, n_updates, change, **(HOW | how))
        return *means, n_updates, change

    def expected(self, **how):
        rows = zip(self.given, *self.start, strict=True)
        found = [naive.mean_field(given, self.weights, self.biases, start, **(HOW | how)) for given, *start in rows]
        means = zip(*(each[0] for each in found), strict=True)
        return *map(np.array, means), *(np.array([each[k] for each in found]) for k in (1, 2))


STEP = 2.0**-kernels.COARSE_BITS / 4
"""How far a mean moves when a coarse one beside it is rounded the other way, at a coupling of 1."""
FINE: dict = {"fine_updates": 1000}
"""No update is coarse."""


def check(got, expected, change=1e-5):
    """Means agree within rounding, which updates may end one earlier or later by."""
    for one, two in zip(got[:-2], expected[:-2], strict=True):
        np.testing.assert_allclose(one, two, atol=3e-4)
    assert (abs(got[-2] - expected[-2]) <= 1).all()
    assert (got[-2] == expected[-2]).mean() > 0.8
    same = got[-2] == expected[-2]
    np.testing.assert_allclose(got[-1][same], expected[-1][same], atol=change)


@pytest.mark.parametrize("n_rows", [1, 9, 130])
@pytest.mark.parametrize("sizes", SIZES)
def test_agrees_with_the_naive_twin(sizes, n_rows, level, n_threads):
    case = Case(sizes, n_rows)
    check(case.run(**FINE), case.expected(**FINE))
    check(case.run(), case.expected(), change=STEP)


@pytest.mark.parametrize("sizes", [(5, 3), (17, 32, 9)])
def test_in_float64(sizes):
    case = Case(sizes, 9, np.float64)
    for got, expected in zip(case.run(), case.expected(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_row_is_the_same_alone_and_among_others(level, n_threads):
    case = Case((33, 65, 17), 200)
    together = case.run()
    assert len(set(together[-2])) > 3
    for rows in (slice(0, 1), slice(77, 81), slice(100, 200)):
        for one, two in zip(case.run(rows=rows), together, strict=True):
            np.testing.assert_array_equal(one, two[rows])


@pytest.mark.parametrize("max_updates", [1, 2, 5])
def test_the_cap(max_updates):
    case = Case((33, 65), 30)
    got = case.run(max_updates=max_updates, tolerance=0.0)
    np.testing.assert_array_equal(got[-2], max_updates)
    check(got, case.expected(max_updates=max_updates, tolerance=0.0))


def test_means_in_slices_of_columns_and_no_rows():
    case = Case((33, 65), 20)
    expected, wide = case.run(), [np.full((20, each.shape[1] + 5), 7.0, np.float32) for each in case.start]
    case.start = tuple(each.copy() for each in case.start)
    means = tuple(each[:, 2:-3] for each in wide)
    for target, start in zip(means, case.start, strict=True):
        target[:] = start
    n_updates, change = np.zeros(20, np.int32), np.zeros(20, np.float32)
    kernels.mean_field(case.given, case.weights, case.biases, means, n_updates, change, **HOW)
    for got, other in zip((*means, n_updates, change), expected, strict=True):
        np.testing.assert_array_equal(got, other)
    assert all((each[:, :2] == 7).all() and (each[:, -3:] == 7).all() for each in wide)
    case.run(rows=slice(0, 0))


def test_what_does_not_come_nearer_is_damped():
    """From there a row's first update goes further than its second would: the twin is damped, and so is the kernel."""
    case = Case((40, 40), 64, scale=2.0)
    how = FINE | {"max_updates": 7, "tolerance": 0.0}
    got, plain = case.run(**how), case.run(**how, damping=0.0)
    assert (abs(got[0] - plain[0]).max(axis=1) > 1e-3).any()
    distance = abs(got[0] - case.expected(**how)[0]).max(axis=1)
    assert (distance < 1e-3).mean() > 0.9


def test_the_exponent_of_coarse_couplings():
    for sizes, scale in (((5, 3), 1e-9), ((33, 65), 0.1), ((17, 32, 9), 40.0), ((300, 200), 3.0), ((64, 70), 1e30)):
        weights = Case(sizes, 1, scale=scale).weights
        assert couplings_cpu.coarse_exponent(weights) == formulas.coarse_exponent(weights) == naive.coarse_exponent(weights)
    for wild in (np.inf, np.nan):
        weights = (np.array([[0.5, wild], [1.0, 1.0]], np.float32),)
        assert couplings_cpu.coarse_exponent(weights) == formulas.coarse_exponent(weights) == -1
    assert couplings_cpu.coarse_exponent(()) == formulas.coarse_exponent(()) == -1
    zeros = (np.zeros((3, 4), np.float32),)
    assert couplings_cpu.coarse_exponent(zeros) == formulas.coarse_exponent(zeros) == naive.coarse_exponent(zeros) == -1


@pytest.mark.parametrize("coupling", [0.2499, 0.25, -0.4, 1.0, 1.9999])
def test_coarse_sums_are_exact_at_their_largest(coupling, level):
    """All couplings and all means are as large as can be: one bit more, and a sum would not fit."""
    case = Case((33, 700), 3)
    case.weights, case.biases = (np.full((33, 700), coupling, np.float32),), (np.full(700, 9 - 33 * coupling, np.float32),)
    case.given = np.random.default_rng(0).normal(size=(3, 33)).astype(np.float32) + 9 - 700 * np.float32(coupling)
    case.start = tuple(np.ones_like(each) for each in case.start)
    how: dict = {"max_updates": 3, "tolerance": 0.0}
    check(case.run(**how), case.expected(**how), change=STEP)
    total = 700 * abs(coupling) * 2.0 ** naive.coarse_exponent(case.weights)
    assert total < 2.0**20 <= 4 * total


@pytest.mark.parametrize("scale", [1e6, 1e30, np.inf])
def test_couplings_too_large_to_be_coarse(scale, level):
    case = Case((33, 17), 5)
    case.weights = (case.weights[0] * np.float32(scale),)
    with np.errstate(all="ignore"):
        for one, two in zip(case.run(), case.run(**FINE), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.gpu
@pytest.mark.parametrize("n_rows", [1, 20])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_gpu_agrees(gpu, sizes, n_rows):
    case = Case(sizes, n_rows)
    for how, change in ((FINE, 1e-5), ({}, STEP)):
        got = [each.get() for each in case.run(lambda value: gpu.asarray(value), **how)]
        check(got, case.expected(**how), change)


@pytest.mark.gpu
def test_the_gpu_takes_float64_too(gpu):
    case = Case((17, 9), 9, np.float64)
    for got, expected in zip(case.run(lambda value: gpu.asarray(value)), case.expected(), strict=True):
        np.testing.assert_allclose(got.get(), expected, rtol=1e-6)


def test_rows_are_cut_into_runs_that_all_threads_share(monkeypatch):
    runs = []
    monkeypatch.setattr(mean_field_cpu, "share_out", lambda kernel, n, cost, *rest, run=None: runs.append((n, run)))
    monkeypatch.setattr(mean_field_cpu, "n_threads", lambda: 2)
    monkeypatch.setattr(mean_field_cpu, "worth", lambda cost: 2)
    for n_rows, expected in ((100, 50), (1000, 125), (1, 1)):
        Case((500, 1000), n_rows).run()
        assert runs[-1] == (n_rows, expected)
