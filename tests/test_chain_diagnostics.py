"""Diagnostics of chains against processes whose answers are known, and against ArviZ where it is installed; traces."""

from __future__ import annotations

import math
import sys
import warnings
from importlib.util import find_spec

import naive
import numpy as np
import pytest

from fastbm import BernoulliRBM
from fastbm.evaluation import autocorrelation_time, effective_sample_size, split_rhat, to_arviz, trace
from fastbm.machines.rbm import RBM


def autoregressive(rho, n_chains=8, n_draws=20_000, seed=0):
    """x_t = ρ x_t-1 + noise, from its stationary distribution: ρ(t) = ρ^t, τ = (1 + ρ) / (1 - ρ)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_chains, n_draws))
    draws = np.empty_like(noise)
    draws[:, 0] = noise[:, 0] / math.sqrt(1 - rho**2)
    for t in range(1, n_draws):
        draws[:, t] = rho * draws[:, t - 1] + noise[:, t]
    return draws


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.4])
def test_the_times_of_an_autoregressive_process(rho):
    draws, tau = autoregressive(rho), (1 + rho) / (1 - rho)
    window, n = max(5 * tau, 5), draws.size
    tolerance = 4 * math.sqrt(2 * (2 * window + 1) / n) + math.exp(-5)  # Madras & Sokal's error, and the tail that is cut
    assert autocorrelation_time(draws) == pytest.approx(tau, rel=tolerance)
    assert effective_sample_size(draws) == pytest.approx(n / tau, rel=2 * tolerance)


def test_chains_that_agree_and_chains_that_do_not():
    draws = autoregressive(0.3, 4, 2000)
    assert 0.99 < split_rhat(draws) < 1.01
    assert split_rhat(draws + np.arange(4)[:, None]) > 1.3
    assert split_rhat(draws * np.array([1, 1, 1, 5])[:, None]) > 1.1  # folding sees what the means do not
    assert split_rhat(draws + np.linspace(0, 5, 2000)) > 1.3  # splitting sees a drift that all chains share
    assert effective_sample_size(draws + 10 * np.arange(4)[:, None]) < 20


def test_ranks_do_without_moments():
    """Cauchy draws have no variance; R-hat of their ranks is that of independent draws."""
    draws = np.random.default_rng(0).standard_cauchy((4, 1000))
    assert 0.99 < split_rhat(draws) < 1.01


def test_one_chain_and_an_odd_number_of_draws():
    draws = np.random.default_rng(0).normal(size=1001)
    assert effective_sample_size(draws) == pytest.approx(1001, rel=0.2)
    assert split_rhat(draws) == pytest.approx(1, abs=0.02)
    assert split_rhat(draws[None]) == split_rhat(draws)


def test_what_never_changes_has_no_time():
    for diagnostic in (autocorrelation_time, effective_sample_size, split_rhat):
        assert math.isnan(diagnostic(np.ones((3, 50))))
    assert split_rhat(np.repeat([[0.0], [1.0]], 50, axis=1)) == math.inf


@pytest.mark.parametrize("draws", [np.zeros((2, 3)), np.full((2, 9), np.nan), np.zeros((2, 2, 9)), np.zeros((0, 9))])
@pytest.mark.parametrize("diagnostic", [autocorrelation_time, effective_sample_size, split_rhat])
def test_bad_draws(diagnostic, draws):
    with pytest.raises(ValueError, match="draws must be finite numbers"):
        diagnostic(draws)


def test_draws_that_are_no_numbers():
    with pytest.raises(ValueError, match=r"draws must be numbers of shape \(n_chains, n_draws\), got 'x'"):
        split_rhat("x")


# -------------------------------------------------------------------------------------------------------------- traces


@pytest.fixture
def small():
    rng = np.random.default_rng(3)
    return RBM(rng.normal(size=(8, 4)), rng.normal(size=8) * 0.5, rng.normal(size=4) * 0.5)


def test_means_of_traces_are_those_of_enumeration(small):
    v, _, log_p = naive.joint(*small)
    p = np.exp(log_p)
    minus_energy = log_p + naive.log_partition(*small)
    free_energy = -np.log(np.exp(minus_energy).sum(axis=1))
    settings = {"n_chains": 64, "n_steps": 2000, "random_state": 0}
    for observable, expected in (
        ("energy", -(p * minus_energy).sum()),
        ("free_energy", p.sum(axis=1) @ free_energy),
        (lambda rows: rows @ np.arange(8.0), p.sum(axis=1) @ v @ np.arange(8.0)),
    ):
        draws = trace(small, observable, **settings)[:, 100:]
        stderr = draws.std() / math.sqrt(effective_sample_size(draws))
        assert draws.shape == (64, 1900)
        assert abs(draws.mean() - expected) < 4 * stderr
        assert split_rhat(draws) < 1.01


def test_traces_repeat_and_chains_do_not_depend_on_their_number(small):
    one = trace(small, n_chains=5, n_steps=20, random_state=1)
    np.testing.assert_array_equal(one, trace(small, n_chains=5, n_steps=20, random_state=1))
    np.testing.assert_array_equal(one[:2], trace(small, n_chains=2, n_steps=20, random_state=1))
    np.testing.assert_array_equal(one[:, 2::3], trace(small, n_chains=5, n_steps=20, thin=3, random_state=1))
    assert (one != trace(small, n_chains=5, n_steps=20, random_state=2)).any()


def test_traces_start_where_they_are_told():
    """Units so strongly biased that they keep what they have, and a machine that was trained."""
    frozen = RBM(np.full((4, 1), 100.0), np.full(4, -50.0), np.full(1, -200.0))
    for row in (np.zeros((1, 4)), np.ones((1, 4))):
        draws = trace(frozen, lambda rows: rows.sum(axis=1), init=row, n_chains=3, n_steps=5, random_state=0)
        np.testing.assert_array_equal(draws, row.sum())
    X = (np.random.default_rng(0).random((50, 4)) < 0.5).astype(float)
    assert trace(BernoulliRBM(3, n_iter=1, random_state=0).fit(X), init="chains", n_steps=5).shape == (4, 5)
    with pytest.raises(ValueError, match="'chains' where an estimator was trained"):
        trace(frozen, init="chains")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observable": "heat"}, "observable must be a function of rows or one of energy, free_energy"),
        ({"observable": np.sum}, "observable must return a number for each of 4 rows"),
        ({"n_steps": 0}, "n_steps must be an integer of at least 1"),
        ({"thin": 0}, "thin must be an integer of at least 1"),
        ({"n_chains": 1.0}, "n_chains must be an integer of at least 1"),
    ],
)
def test_bad_traces(small, settings, message):
    with pytest.raises(ValueError, match=message):
        trace(small, **settings)


@pytest.mark.gpu
def test_traces_on_the_gpu(small, gpu):
    there = RBM(*map(gpu.asarray, small))
    for observable in ("energy", "free_energy"):
        expected = trace(small, observable, n_steps=6, random_state=0)
        np.testing.assert_allclose(trace(there, observable, n_steps=6, random_state=0), expected, rtol=1e-6)


# --------------------------------------------------------------------------------------------------------------- ArviZ

needs_arviz = pytest.mark.skipif(find_spec("arviz") is None, reason="no ArviZ: pip install arviz")


@pytest.fixture
def arviz():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of a future release
        return pytest.importorskip("arviz")


@needs_arviz
def test_arviz_takes_draws(arviz):
    draws = autoregressive(0.5, 4, 500)
    data = to_arviz({"energy": draws, "other": draws**2})
    np.testing.assert_array_equal(data["posterior"]["energy"].values, draws)
    np.testing.assert_array_equal(to_arviz(draws)["posterior"]["observable"].values, draws)


@needs_arviz
@pytest.mark.parametrize(("rho", "n_draws"), [(-0.5, 101), (0.0, 101), (0.5, 500), (0.9, 2001)])
def test_arviz_agrees(arviz, rho, n_draws):
    """On chains that are long enough: where correlations stay positive to the last, it leaves out some of them."""
    draws = autoregressive(rho, 4, n_draws)
    data = to_arviz(draws)
    assert split_rhat(draws) == pytest.approx(float(arviz.rhat(data)["observable"]), rel=1e-6)
    assert effective_sample_size(draws) == pytest.approx(float(arviz.ess(data)["observable"]), rel=1e-6)


def test_without_arviz_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match="pip install arviz"):
        to_arviz(np.zeros((2, 9)))
