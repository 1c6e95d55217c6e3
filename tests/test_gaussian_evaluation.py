"""Evaluation of Gaussian units: log Z by annealing against enumeration, densities in the units of the data, traces."""

from __future__ import annotations

import math
import pickle

import joblib
import naive
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_iris
from test_gaussian_machine import grid, mixture_cdf, toy
from test_log_partition import MOST_MISSES, misses

from fastbm import GaussianRBM, chain
from fastbm.chain import Purpose
from fastbm.estimators import _likelihood
from fastbm.evaluation import (
    annealing,
    beta_schedule,
    effective_sample_size,
    free_energy_gap,
    log_likelihood,
    log_partition,
    pseudo_log_likelihood,
    split_rhat,
    trace,
)
from fastbm.evaluation.gaussian_path import gaussian_path
from fastbm.evaluation.partition import anneal
from fastbm.evaluation.paths import annealed
from fastbm.machines import gaussian_rbm
from fastbm.machines.gaussian_rbm import GaussianRBM as Machine

KEY = chain.stream_key(0, Purpose.ANNEALING)
SETTINGS = {
    "standardize": True, "learn_sigma": True, "learning_rate": 0.05, "momentum": 0.5, "batch_size": 50, "n_chains": 100,
    "n_iter": 300, "learning_rate_schedule": "linear", "random_state": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def iris():
    return load_iris().data


@pytest.fixture(scope="module")
def trained(iris):
    """A machine that knows the irises, whose deviations are about half of the data's."""
    return GaussianRBM(12, **SETTINGS).fit(iris)


def pair(n_visible, n_hidden=4, **settings):
    """A standardised estimator of few features, on scales of their own."""
    X = np.random.default_rng(0).gamma(2.0, size=(80, n_visible)) * np.geomspace(0.01, 30, n_visible) - 5
    settings = {"standardize": True, "learn_sigma": True, "n_iter": 20, "random_state": 0} | settings
    return GaussianRBM(n_hidden, **settings).fit(X), X


# -------------------------------------------------------------------------------------------------------------- log Z


def test_exact_is_quadrature():
    machine = toy()
    points, area = grid(machine)
    exact = naive.log_sum_exp(-gaussian_rbm.free_energy(machine, points)) + math.log(area)
    found = log_partition(machine)
    assert found.method == "exact"
    assert found.log_z == pytest.approx(exact, abs=1e-9)


def test_it_is_the_hidden_units_that_are_enumerated():
    assert log_partition(toy(30, 3)).method == "exact"
    free = Machine(np.zeros((3, 21)), np.zeros(3), np.zeros(21), np.ones(3))
    assert log_partition(free, n_chains=2, n_betas=20, random_state=0).method == "ais"
    with pytest.raises(ValueError, match="of hidden units, of at most 25 units; this machine has 26: use method='ais'"):
        log_partition(toy(2, 26), "exact")


@pytest.mark.parametrize("size", [(3, 4), (2, 6)])
def test_small_machines(size):
    machine = toy(*size)
    missed = misses(machine, log_partition(machine).log_z, range(20), n_chains=64, n_betas=150)
    assert max(missed.values()) <= 1  # 0.06 of twenty are expected


@pytest.mark.parametrize("settings", [{}, {"init": "chains", "X": "data"}, {"betas": "uniform"}])
def test_a_trained_machine(trained, iris, settings):
    settings = settings | ({"X": iris} if "X" in settings else {})
    missed = misses(trained, log_partition(trained).log_z, range(20), n_chains=64, n_betas=300, **settings)
    assert max(missed.values()) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(3, 4), (2, 6), (5, 10)])
def test_small_machines_in_a_hundred_seeds(size):
    machine = toy(*size)
    missed = misses(machine, log_partition(machine).log_z, range(100), n_chains=100, n_betas=300)
    assert max(missed.values()) <= MOST_MISSES, missed


@pytest.mark.slow
@pytest.mark.parametrize("init", [None, "chains"])
@pytest.mark.parametrize("n_hidden", [8, 12])
def test_trained_machines_in_a_hundred_seeds(iris, n_hidden, init):
    machine = GaussianRBM(n_hidden, **SETTINGS).fit(iris)
    missed = misses(machine, log_partition(machine).log_z, range(100), n_chains=100, n_betas=1000, init=init)
    assert max(missed.values()) <= MOST_MISSES, missed


def test_the_bracket_holds(trained, iris):
    found = log_partition(trained, "ais", n_chains=64, n_betas=500, X=iris, random_state=0)
    assert found.lower <= log_partition(trained).log_z <= found.upper
    assert 0 < found.stderr < 0.1
    assert 32 < found.effective_sample_size <= 64


def test_far_from_0():
    """Data a hundred thousand deviations from 0, where (a / σ) W is no number for float32."""
    machine = toy(3, 4)
    far = machine._replace(
        visible_bias=machine.visible_bias + 1e5,
        hidden_bias=machine.hidden_bias - (1e5 / machine.sigma) @ machine.weights,
    )
    found, expected = (anneal(each, n_chains=32, n_betas=60, random_state=0) for each in (far, machine))
    np.testing.assert_allclose(np.hstack(found), np.hstack(expected), atol=1e-3)


# --------------------------------------------------------------------------------------------------------------- path


@pytest.fixture
def center():
    return np.array([0.9, 0.2, 0.5])


def test_log_ratios_are_those_of_the_documented_path(center):
    machine = toy()
    path = gaussian_path(machine, center)
    shift = machine.weights @ center
    origin = machine.visible_bias + machine.sigma * shift
    rows = origin + machine.sigma * np.float32(np.random.default_rng(0).normal(size=(30, 2)) * 3)
    x = (rows - origin) / machine.sigma

    def log_p(beta):
        inputs = x @ machine.weights + machine.hidden_bias + (origin / machine.sigma) @ machine.weights
        return -0.5 * (x**2).sum(axis=1) - beta * x @ shift + np.logaddexp(0, beta * inputs).sum(axis=1)

    states, out = path.enter(rows), np.zeros(30)
    path.add_log_ratios(out, states, 0.25, 0.75)
    np.testing.assert_allclose(out, log_p(0.75) - log_p(0.25), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(path.rows(states), rows, rtol=1e-6)
    np.testing.assert_allclose(path.free_energy(states), 0.5 * (shift**2).sum() - log_p(1.0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(path.free_energy(states), gaussian_rbm.free_energy(machine, rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("centered", [False, True])
def test_the_base_and_all_log_ratios_make_log_z(centered, center):
    """log Z = log Z_0 + log E_0[p*_1 / p*_0], the mean by quadrature over the base's normal numbers."""
    machine = toy()
    path = gaussian_path(machine, center if centered else None)
    points, area = grid(machine)
    states = path.enter(points)
    ratios, x = np.zeros(len(points)), states.visible.astype(np.float64)
    path.add_log_ratios(ratios, states, 0.0, 1.0)
    log_base_density = -0.5 * (x**2).sum(axis=1) - math.log(2 * math.pi)
    mean = naive.log_sum_exp(log_base_density + ratios) + math.log(area / machine.sigma.prod())
    assert path.log_base() + mean == pytest.approx(log_partition(machine).log_z, abs=1e-5)


def test_energies_of_joint_states(center):
    machine = toy(scale=0.5)
    path = gaussian_path(machine, center)
    states = path.start(20, key=KEY, first_chain=0)
    states = path.sweep(states, 1.0, 1, key=KEY, first_chain=0)
    h = chain.unpack(states.hidden, 3, float)
    assert h.any(axis=0).all()
    expected = gaussian_rbm.energy(machine, path.rows(states), h)
    np.testing.assert_allclose(path.energy(states), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_a_sweep_leaves_its_distribution_as_it_is(beta, center):
    """20,000 chains drawn exactly from p_β, one sweep: total variation of the hidden states within 4 Monte-Carlo floors."""
    machine, beta, n = toy(scale=1.0), float(np.float32(beta)), 20_000
    path, h = gaussian_path(machine, center), naive.all_states(3)
    means = beta * (h - center) @ machine.weights.T
    c = machine.hidden_bias + (path.exact.origin / machine.sigma) @ machine.weights
    log_p = beta * h @ c + 0.5 * (means**2).sum(axis=1)
    p = np.exp(log_p - naive.log_sum_exp(log_p))
    rng = np.random.default_rng(0)
    x = means[rng.choice(8, n, p=p)] + rng.normal(size=(n, 2))
    states = path.sweep(path.enter(path.base + machine.sigma * x), beta, 1, key=KEY, first_chain=0)
    numbers = chain.unpack(states.hidden, 3, np.int64) @ [1, 2, 4]
    order = (h @ [1, 2, 4]).astype(int)
    frequency = (np.bincount(numbers, minlength=8) / n)[order]
    floor = 0.5 * np.sqrt(2 / np.pi * p * (1 - p) / n).sum()
    assert 0.5 * np.abs(frequency - p).sum() < 4 * floor
    error = np.sqrt((p @ means**2 - (p @ means) ** 2 + 1) / n)
    assert (np.abs(states.visible.mean(axis=0) - p @ means) < 4.5 * error).all()


def test_the_base_is_normal_numbers(center):
    machine, n = toy(), 20_000
    path = gaussian_path(machine, center)
    v = path.rows(path.start(n, key=KEY, first_chain=0))
    np.testing.assert_allclose(path.base, machine.visible_bias + machine.sigma * (machine.weights @ center), rtol=1e-12)
    free = Machine(np.zeros((2, 1)), path.base, np.zeros(1), machine.sigma)
    for unit in range(2):  # √n times Kolmogorov's statistic exceeds 1.95 with probability 0.001
        some = np.sort(v[:, unit])[::100]
        cdf = np.array([mixture_cdf(free, unit, t) for t in some])
        assert np.abs(cdf - np.arange(n)[::100] / n).max() * math.sqrt(n) < 1.95 + 100 / math.sqrt(n)


def test_the_base_is_centred_at_what_the_rows_turn_on():
    machine = toy(4, 3)
    rows = machine.visible_bias + np.random.default_rng(0).normal(size=(50, 4))
    path = annealed(machine, rows)
    hidden = 1 / (1 + np.exp(-gaussian_rbm.hidden_logits(machine, rows)))
    np.testing.assert_allclose(path.shift, machine.weights @ hidden.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert (annealed(machine).shift == 0).all()


def test_machines_without_couplings_are_exact_at_any_seed():
    machine = Machine(np.zeros((33, 3)), np.linspace(-50, 50, 33), np.zeros(3), np.geomspace(0.01, 100, 33))
    path = annealed(machine)
    _, weights = annealing.forward(path, beta_schedule.uniform(20), 0, 8, key=KEY)
    np.testing.assert_array_equal(weights, 0.0)
    assert path.log_base() == pytest.approx(log_partition(machine).log_z, rel=1e-12)


# ------------------------------------------------------------------------------------------------------------ workers


QUICK = {"n_chains": 70, "n_betas": 60, "random_state": 3}


@pytest.fixture(scope="module")
def reference(trained):
    return anneal(trained, **QUICK)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(trained, reference, n_jobs):
    assert anneal(trained, n_jobs=n_jobs, **QUICK) == reference


def test_processes_change_nothing(trained, reference):
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert anneal(trained, **QUICK) == reference


def test_groups_change_nothing(trained, reference, monkeypatch, n_threads):
    monkeypatch.setattr(annealing, "LARGEST_GROUP", 32)
    assert anneal(trained, **QUICK) == reference


@pytest.mark.parametrize("size", [(20, 30), (3, 70)])
def test_a_chain_does_not_depend_on_how_many_there_are(size):
    path, betas = annealed(toy(*size, scale=0.3)), beta_schedule.uniform(30)
    _, all_of_them = annealing.forward(path, betas, 0, 50, key=KEY)
    for first, last in ((17, 20), (49, 50)):
        _, some = annealing.forward(path, betas, first, last, key=KEY)
        np.testing.assert_array_equal(some, all_of_them[first:last])


def test_a_path_goes_to_another_process_without_its_tables(center):
    path = gaussian_path(toy(), center)
    path.exact.tables["large"] = np.zeros(1000)
    back = pickle.loads(pickle.dumps(path))
    assert back.exact.tables == {}
    assert back.exact.to_visible.ctypes.data % 64 == 0
    np.testing.assert_array_equal(back.shift, path.shift)
    for name in ("to_hidden", "to_visible", "visible_bias", "hidden_bias", "exponent", "weights", "origin", "sigma"):
        np.testing.assert_array_equal(getattr(back.exact, name), getattr(path.exact, name))


# ------------------------------------------------------------------------------------------------- units of the data


def test_rows_are_in_the_units_of_the_data(trained, iris):
    """To the estimator rows are irises, to its machine standardised ones; the same chains come of both."""
    rows, machine = (iris - trained.mean_) / trained.scale_, trained._machine()
    settings = {"n_chains": 4, "n_betas": 20, "random_state": 0}
    assert anneal(trained, X=iris, init=iris, **settings) == anneal(machine, X=rows, init=rows, **settings)
    assert anneal(trained, X=csr_matrix(iris), init="ends", **settings) == anneal(machine, X=rows, init="ends", **settings)


def test_training_chains_are_rows_of_the_machine(trained, iris):
    rows, machine = trained._chain_rows(), trained._machine()
    settings = {"n_chains": 4, "n_betas": 20, "random_state": 0}
    assert rows.shape == (100, 4)
    assert anneal(trained, init="chains", **settings) == anneal(machine, X=rows, init=rows, **settings)
    again = rows * trained.scale_ + trained.mean_
    error = iris.std(axis=0) * math.sqrt(1 / 100 + 1 / 150)  # of both means, were the chains independent and as the data
    assert (np.abs(again.mean(axis=0) - iris.mean(axis=0)) < 4.5 * error).all()


@pytest.mark.parametrize("algorithm", ["pcd", "pt"])
def test_chains_of_every_training(algorithm):
    estimator, _ = pair(3, algorithm=algorithm, n_chains=20, centered=False, betas=4)
    found = log_partition(estimator, "ais", n_chains=32, n_betas=100, init="chains", random_state=0)
    assert abs(found.log_z - log_partition(estimator).log_z) < 4 * found.stderr
    assert estimator._chain_rows().shape == (20, 3)


def test_a_standardised_density_of_one_feature_integrates_to_one():
    estimator, X = pair(1)
    points = np.linspace(X.min() - 12 * X.std(), X.max() + 12 * X.std(), 40_001)[:, None]
    step = float(points[1, 0] - points[0, 0])
    for log_p in (estimator.log_likelihood(points), log_likelihood(estimator, points)):
        assert np.exp(log_p).sum() * step == pytest.approx(1, abs=1e-6)
    some = points[::400]
    np.testing.assert_allclose(estimator.pseudo_log_likelihood(some), estimator.log_likelihood(some), rtol=1e-6)


def test_a_standardised_density_of_two_features_integrates_to_one():
    estimator, _ = pair(2)
    points, area = grid(estimator._machine())
    points, area = points * estimator.scale_ + estimator.mean_, area * estimator.scale_.prod()
    for log_p in (estimator.log_likelihood(points), log_likelihood(estimator, points)):
        assert np.exp(log_p).sum() * area == pytest.approx(1, abs=1e-6)


def test_methods_are_functions(trained, iris):
    log_z = log_partition(trained)
    expected = -trained.free_energy(iris) - log_z.log_z
    for got in (
        trained.log_likelihood(iris), trained.log_likelihood(iris, log_z), log_likelihood(trained, iris, log_z.log_z),
        log_likelihood(trained, csr_matrix(iris)), trained.log_likelihood(csr_matrix(iris)),
    ):  # fmt: skip
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    scores = trained.score_samples(iris)
    for got in (
        trained.pseudo_log_likelihood(iris), pseudo_log_likelihood(trained, iris),
        pseudo_log_likelihood(trained, csr_matrix(iris)),
    ):  # fmt: skip
        np.testing.assert_allclose(got, scores, rtol=1e-6)
    gap = expected[:100].mean() - expected[100:].mean()
    assert trained.free_energy_gap(iris[:100], iris[100:]) == pytest.approx(gap, rel=1e-5)
    assert free_energy_gap(trained, iris[:100], iris[100:]) == pytest.approx(gap, rel=1e-5)


def test_a_machine_takes_rows_as_they_are():
    machine = toy()
    v = machine.visible_bias + np.random.default_rng(0).normal(size=(6, 2))
    expected = -gaussian_rbm.free_energy(machine, v) - gaussian_rbm.log_partition(machine)
    np.testing.assert_allclose(log_likelihood(machine, v), expected, rtol=1e-12)
    np.testing.assert_allclose(log_likelihood(machine, csr_matrix(v)), expected, rtol=1e-12)
    narrow = Machine(*(array.astype(np.float32) for array in machine))
    assert log_likelihood(narrow, v.astype(np.float32)).dtype == np.float64
    estimator = GaussianRBM.from_weights(*machine[:3], sigma=machine.sigma)
    np.testing.assert_allclose(estimator.log_likelihood(v), expected, rtol=1e-12)
    np.testing.assert_allclose(pseudo_log_likelihood(machine, csr_matrix(v)), estimator.score_samples(v), rtol=1e-12)


def test_log_z_is_remembered_until_sigma_changes(iris, monkeypatch):
    calls, estimator = [], GaussianRBM(4, n_iter=2, random_state=0).fit(iris)
    original = _likelihood.log_partition
    monkeypatch.setattr(_likelihood, "log_partition", lambda *rest, **named: (calls.append(1), original(*rest, **named))[1])
    for expected in (1, 1, 2):
        if expected == 2:
            estimator.sigma_ *= 0.5  # in place
        found = estimator.log_likelihood(iris)
        np.testing.assert_allclose(found, log_likelihood(estimator, iris), rtol=1e-12)
        assert len(calls) == expected


# -------------------------------------------------------------------------------------------------------------- traces


def test_means_of_traces_are_those_of_enumeration():
    machine = toy(scale=1.0)
    h, (points, _) = naive.all_states(3), grid(machine)
    free_energies = gaussian_rbm.free_energy(machine, points)
    p = np.exp(-free_energies - naive.log_sum_exp(-free_energies))
    on = 1 / (1 + np.exp(-gaussian_rbm.hidden_logits(machine, points)))
    log_hidden = (h @ np.log(on).T + (1 - h) @ np.log1p(-on).T).T  # log p(h | v)
    energies = np.stack([gaussian_rbm.energy(machine, points, np.tile(state, (len(points), 1))) for state in h], axis=1)
    for observable, expected in (
        ("energy", p @ (np.exp(log_hidden) * energies).sum(axis=1)),
        ("free_energy", p @ free_energies),
        (lambda rows: rows @ [1.0, 2.0], p @ points @ [1.0, 2.0]),
    ):
        draws = trace(machine, observable, n_chains=64, n_steps=1000, random_state=0)[:, 100:]
        stderr = draws.std() / math.sqrt(effective_sample_size(draws))
        assert abs(draws.mean() - expected) < 4 * stderr
        assert split_rhat(draws) < 1.01


def test_traces_are_in_the_units_of_the_data(trained, iris):
    settings = {"n_chains": 3, "n_steps": 5, "random_state": 0, "init": "chains"}
    draws, seen = trace(trained, "free_energy", **settings), []
    trace(trained, lambda rows: (seen.append(rows), rows[:, 0])[1], **settings)
    expected = np.stack([trained.free_energy(rows) for rows in seen], axis=1)
    np.testing.assert_allclose(draws, expected, rtol=1e-5, atol=1e-4)
    assert all((np.abs(rows - iris.mean(axis=0)) < 8 * iris.std(axis=0)).all() for rows in seen)


def test_traces_start_where_they_are_told():
    """A unit that is on where v begins on its side, and stays there."""
    machine = Machine(np.full((1, 1), 30.0), np.zeros(1), np.full(1, -450.0), np.ones(1))
    for row, mean in ((0.0, 0.0), (30.0, 30.0)):
        draws = trace(machine, lambda rows: rows[:, 0], init=[[row]], n_chains=3, n_steps=5, random_state=0)
        assert (np.abs(draws - mean) < 6).all()
    one = trace(machine, n_chains=5, n_steps=20, random_state=1)
    np.testing.assert_array_equal(one[:2], trace(machine, n_chains=2, n_steps=20, random_state=1))


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init": "chains"}, "init must be rows of visible units, or 'chains' where an estimator was trained"),
        ({"init": np.zeros((3, 4))}, r"init must have shape \(n_rows, 2\), got \(3, 4\)"),
        ({"init": np.full((3, 2), np.inf)}, "init must hold finite numbers"),
        ({"X": np.zeros((3, 4))}, r"X must have shape \(n_rows, 2\), got \(3, 4\)"),
        ({"X": np.full((3, 2), np.nan)}, "X must hold finite numbers"),
    ],
)
def test_bad_arguments(settings, message):
    machine = toy()
    for given in (machine, GaussianRBM.from_weights(*machine[:3], sigma=machine.sigma)):
        with pytest.raises(ValueError, match=message):
            log_partition(given, **{"method": "ais", "n_chains": 4, "n_betas": 20} | settings)


def test_bad_rows_of_a_standardised_estimator(trained):
    with pytest.raises(ValueError, match=r"X must have shape \(n_rows, 4\), got \(3, 5\)"):
        log_partition(trained, "ais", X=np.zeros((3, 5)))
    with pytest.raises(ValueError, match="X must hold finite numbers"):
        log_partition(trained, "ais", X=np.full((3, 4), np.nan))
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 4\), got \(3, 5\)"):
        log_likelihood(trained, np.zeros((3, 5)))


# ------------------------------------------------------------------------------------------------------------- the GPU


@pytest.mark.gpu
def test_evaluation_on_the_gpu(gpu):
    """The same chains within rounding, and so are their weights."""
    machine = toy(20, 9, scale=0.3)
    rows = machine.visible_bias + np.random.default_rng(0).normal(size=(7, 20))
    settings = {"n_chains": 5, "n_betas": 12, "betas": "uniform", "init": "ends", "random_state": 0}
    there = Machine(*map(gpu.asarray, machine))
    found, expected = anneal(there, X=gpu.asarray(rows), **settings), anneal(machine, X=rows, **settings)
    np.testing.assert_allclose(np.hstack(found), np.hstack(expected), rtol=1e-3)
    assert log_partition(there).log_z == pytest.approx(log_partition(machine).log_z, rel=1e-12)
    np.testing.assert_allclose(log_likelihood(there, gpu.asarray(rows)).get(), log_likelihood(machine, rows), rtol=1e-10)
    for observable in ("energy", "free_energy"):
        expected = trace(machine, observable, n_steps=3, random_state=0)
        np.testing.assert_allclose(trace(there, observable, n_steps=3, random_state=0), expected, rtol=1e-4)


@pytest.mark.gpu
def test_an_estimator_on_the_gpu(gpu, iris):
    estimator = GaussianRBM(4, n_iter=2, standardize=True, learn_sigma=True, random_state=0).fit(iris)
    expected, rows = estimator.log_likelihood(iris), estimator._chain_rows()
    moved = estimator.to("cuda")
    np.testing.assert_allclose(moved.log_likelihood(gpu.asarray(iris)).get(), expected, rtol=1e-5)
    np.testing.assert_allclose(log_likelihood(moved, iris), expected, rtol=1e-5)
    np.testing.assert_allclose(moved._chain_rows().get(), rows, rtol=1e-5, atol=1e-6)
    found = log_partition(moved, "ais", n_chains=32, n_betas=60, X=gpu.asarray(iris), random_state=0)
    assert abs(found.log_z - log_partition(moved).log_z) < 4 * found.stderr
