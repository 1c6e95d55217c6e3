"""The kernel of annealed weights against its naive twin: odd sizes, threads, wild inputs, and on the GPU or its stand-in."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from fastbm import chain, kernels
from fastbm.kernels import annealing_cpu

SIZES = [(1, 1), (33, 17), (65, 130), (1, 33), (64, 64), (200, 129), (3, 1100)]
STEPS = [(0.0, 1.0), (0.25, 0.2505), (0.999, 1.0), (0.0, 0.0)]


def arguments(size, n_rows, scale=1.0, seed=0):
    """States, couplings, bias, offset and a start of `out`, and the exponent."""
    rng = np.random.default_rng(seed)
    couplings, exponent = chain.round_couplings(rng.normal(size=size) * scale)
    bias = naive.pad((rng.normal(size=size[1]) * scale).astype(np.float32))
    states = chain.pack(rng.random((n_rows, size[0])) < 0.4)
    return (states, naive.pad(couplings), bias, rng.normal(size=size[0]) * scale, rng.normal(size=n_rows)), exponent


def expected(given, **numbers):
    out = given[-1].copy()
    naive.add_log_ratios(*given[:-1], out, **numbers)
    return out


def tolerance(given, exponent):
    """Eight units of the last place of a sum of everything that can be added."""
    _, couplings, bias, offset, out = given
    inputs = np.ldexp(np.abs(couplings).sum(dtype=np.float64), -exponent) + np.abs(bias).sum() + len(bias)
    return 8 * np.finfo(np.float64).eps * (inputs + np.abs(offset).sum() + np.abs(out).max())


@pytest.mark.parametrize(("before", "after"), STEPS)
@pytest.mark.parametrize("n_rows", [1, 17])
@pytest.mark.parametrize("size", SIZES)
def test_equals_the_naive_twin(size, n_rows, before, after, n_threads):
    given, exponent = arguments(size, n_rows)
    numbers = {"exponent": exponent, "before": before, "after": after}
    out = given[-1].copy()
    kernels.add_log_ratios(*given[:-1], out, **numbers)
    np.testing.assert_allclose(out, expected(given, **numbers), rtol=0, atol=tolerance(given, exponent))


@pytest.mark.parametrize("scale", [0.0, 1e-6, 30.0, 1000.0])
def test_wild_weights(scale):
    """No overflow, and no jump where the exponential is cut."""
    given, exponent = arguments((40, 70), 9, scale)
    numbers = {"exponent": exponent, "before": 0.3, "after": 0.9}
    out = given[-1].copy()
    kernels.add_log_ratios(*given[:-1], out, **numbers)
    np.testing.assert_allclose(out, expected(given, **numbers), rtol=0, atol=tolerance(given, exponent))


def test_rows_do_not_depend_on_each_other(always_threads):
    given, exponent = arguments((100, 50), 23)
    numbers = {"exponent": exponent, "before": 0.1, "after": 0.7}
    together, alone = given[-1].copy(), given[-1].copy()
    kernels.add_log_ratios(*given[:-1], together, **numbers)
    for row in range(23):
        kernels.add_log_ratios(given[0][row : row + 1], *given[1:4], alone[row : row + 1], **numbers)
    np.testing.assert_array_equal(alone, together)


def test_a_layer_of_more_units_than_a_product_has_factors():
    """1 + e^0 = 2 for each unit: the products have to be cut, or they overflow."""
    n_hidden = 64 * 520
    couplings = np.zeros((1, n_hidden), np.int32)
    out = np.zeros(1)
    kernels.add_log_ratios(
        chain.pack(np.ones((1, 1))), couplings, np.full(n_hidden, 1e-3, np.float32), np.zeros(1), out, exponent=8, before=0.0,
        after=1.0,
    )  # fmt: skip
    x = float(np.float32(1e-3))
    np.testing.assert_allclose(out, n_hidden * (np.logaddexp(0, x) - np.log(2)), rtol=1e-11)


def test_the_exponential_is_accurate_and_has_no_jump():
    x = np.concatenate([-np.logspace(-12, np.log10(700), 2000), [0.0, -700.0]])
    got = np.array([annealing_cpu.exp_negative(each) for each in x])
    np.testing.assert_allclose(got, np.exp(x), rtol=4e-15)


@pytest.mark.gpu
@pytest.mark.parametrize("size", SIZES)
def test_the_gpu_agrees(gpu, size):
    given, exponent = arguments(size, 17)
    for before, after in STEPS:
        numbers = {"exponent": exponent, "before": before, "after": after}
        out = gpu.asarray(given[-1])
        kernels.add_log_ratios(*map(gpu.asarray, given[:-1]), out, **numbers)
        np.testing.assert_allclose(out.get(), expected(given, **numbers), rtol=0, atol=tolerance(given, exponent))
