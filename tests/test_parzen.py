"""Parzen windows: against the definition, row after row, and against exact densities."""

from __future__ import annotations

import numpy as np
import pytest

from fastbm import evaluation
from fastbm.evaluation import parzen

rng = np.random.default_rng(0)
SAMPLES, ROWS = rng.random((37, 5)), rng.random((213, 5))


def definition(samples, row, sigma):
    """log mean_s N(row; s, σ² I), density by density."""
    densities = [
        np.prod([np.exp(-((x - m) ** 2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi)) for x, m in zip(row, s, strict=True)])
        for s in samples
    ]
    return np.log(np.mean(densities))


def test_the_definition():
    got = evaluation.parzen_log_likelihood(SAMPLES, ROWS, 0.3)
    np.testing.assert_allclose(got, [definition(SAMPLES, row, 0.3) for row in ROWS], rtol=1e-10)
    several = evaluation.parzen_log_likelihood(SAMPLES, ROWS, [0.1, 0.3])
    assert several.shape == (2, 213)
    np.testing.assert_array_equal(several[1], got)


def test_far_rows_and_small_windows_do_not_underflow():
    got = evaluation.parzen_log_likelihood(np.zeros((2, 784)), np.full((1, 784), 10.0), 0.1)
    np.testing.assert_allclose(got, 784 * (-(10.0**2) / (2 * 0.1**2) - np.log(0.1 * np.sqrt(2 * np.pi))), rtol=1e-12)


def test_the_window_is_chosen_on_validation_rows():
    score = evaluation.parzen_score(SAMPLES, ROWS[:100], ROWS[100:])
    means = [evaluation.parzen_log_likelihood(SAMPLES, ROWS[100:], sigma).mean() for sigma in parzen.SIGMAS]
    assert score.sigma == parzen.SIGMAS[np.argmax(means)]
    values = evaluation.parzen_log_likelihood(SAMPLES, ROWS[:100], score.sigma)
    assert score == pytest.approx((values.mean(), values.std() / 10, score.sigma), rel=1e-12)
    np.testing.assert_allclose(parzen.SIGMAS[[0, -1]], [0.1, 1.0])
    assert evaluation.parzen_score(SAMPLES, ROWS[:100], ROWS[100:], [0.7, 0.9]).sigma in (0.7, 0.9)


def test_it_approaches_an_exact_density():
    """Samples of a normal distribution, smoothed: the density of the wider one, within four standard errors of the mean."""
    samples, x, sigma = rng.normal(size=(20_000, 1)), np.zeros((1, 1)), 0.2
    exact = 1 / np.sqrt(2 * np.pi * (1 + sigma**2))
    kernels = np.exp(-(samples**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    error = 4 * kernels.std() / np.sqrt(len(samples)) / exact
    assert abs(evaluation.parzen_log_likelihood(samples, x, sigma)[0] - np.log(exact)) < error


@pytest.mark.parametrize(
    ("samples", "rows", "sigma", "message"),
    [
        (SAMPLES[:, :4], ROWS, 0.1, "X has 5 features, but samples have 4"),
        (SAMPLES[:0], ROWS, 0.1, "samples must be finite numbers of shape"),
        (SAMPLES, ROWS[0], 0.1, "X must be finite numbers of shape"),
        (SAMPLES, ROWS * np.nan, 0.1, "X must be finite numbers"),
        (SAMPLES, ROWS, 0.0, "sigma must be a finite number above 0"),
        (SAMPLES, ROWS, [], "sigma must be a finite number above 0"),
    ],
)
def test_bad_input(samples, rows, sigma, message):
    with pytest.raises(ValueError, match=message):
        evaluation.parzen_log_likelihood(samples, rows, sigma)
