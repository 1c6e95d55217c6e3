"""Rungs 3, 5 and 6 of learning with Gaussian visible units: the gradient against differences, exact likelihoods that rise."""

from __future__ import annotations

import numpy as np
import pytest

from fastbm import chain
from fastbm.chain import Purpose
from fastbm.kernels import threads_cpu
from fastbm.machines import gaussian_rbm
from fastbm.machines.gaussian_rbm import GaussianRBM
from fastbm.training import ascent, gaussian, tempering

KEY = chain.stream_key(3, Purpose.TRAINING)
PHASES = {"pcd": gaussian.persistent, "cd": gaussian.from_data, "pt": gaussian.tempered}


def log_likelihood(machine, X, beta=1.0):
    machine = GaussianRBM(*(np.asarray(array, np.float64) for array in machine))
    return -gaussian_rbm.free_energy(machine, X).mean() - gaussian_rbm.log_partition(machine)


def toy(seed=0, n_visible=2, n_hidden=3):
    rng = np.random.default_rng(seed)
    arrays = (
        rng.normal(size=(n_visible, n_hidden)), 3 * rng.normal(size=n_visible), rng.normal(size=n_hidden),
        rng.uniform(0.5, 2.0, n_visible),
    )  # fmt: skip
    return GaussianRBM(*(array.astype(np.float32) for array in arrays))


def copies(machine):
    return GaussianRBM(*(array.copy() for array in machine))


def coordinates(machine, center):
    """W, the origin, c and log σ, in which is learnt."""
    weights, visible_bias, hidden_bias, sigma = (np.asarray(array, np.float64) for array in machine)
    origin = visible_bias + sigma * (weights @ center)
    return [weights, origin, hidden_bias + (origin / sigma) @ weights, np.log(sigma)]


def machine_at(weights, origin, c, log_sigma, center):
    sigma = np.exp(log_sigma)
    return GaussianRBM(weights, origin - sigma * (weights @ center), c - (origin / sigma) @ weights, sigma)


def differences(machine, center, X, step=1e-5):
    """The gradient of the mean log-likelihood in these coordinates, by central differences."""
    arrays = coordinates(machine, center)
    gradients = [np.zeros_like(array) for array in arrays]
    for array, gradient in zip(arrays, gradients, strict=True):
        for index in np.ndindex(array.shape):
            before, values = array[index], []
            for sign in (1, -1):
                array[index] = before + sign * step
                values.append(log_likelihood(machine_at(*arrays, center), X))
            array[index] = before
            gradient[index] = (values[0] - values[1]) / (2 * step)
    return gradients


def exact_phase(monkeypatch):
    """A negative phase whose chains are points of a grid, that count as much as the model's density there says."""

    def phase(state, x, *, key, n_steps):
        exact, machine = state.exact, GaussianRBM(*(np.asarray(array, np.float64) for array in state.machine))
        points = np.stack(np.meshgrid(*[np.linspace(-16, 16, 161)] * 2), axis=-1).reshape(-1, 2).astype(np.float32)
        log_p = -gaussian_rbm.free_energy(machine, gaussian_rbm.from_standard(exact, points.astype(np.float64)))
        weights = np.exp(log_p - np.logaddexp.reduce(log_p)).astype(np.float32)
        factors = np.concatenate([np.full(len(x), 1 / len(x), np.float32), -weights])
        monkeypatch.setattr(ascent, "row_factors", lambda *arguments: (factors, 1.0))
        means = np.zeros((len(factors), state.space.means.shape[1]), np.float32)
        for part, rows in ((means[: len(x)], x), (means[len(x) :], points)):
            some = gaussian_rbm.infer(exact, rows)[1]
            part[:, : some.shape[1]] = some
        return state._replace(chains=state.chains._replace(visible=points)), means

    return phase


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_the_log_likelihood(seed, centered, monkeypatch):
    """A step with the model's exact statistics, against central differences; the origin's is in units of σ."""
    machine, rate = toy(seed), 0.005
    X = machine.visible_bias + 2 * np.random.default_rng(seed).normal(size=(20, 2))
    center = np.float32([0.3, 0.9, 0.5])
    before = copies(machine)
    state = gaussian.init(machine, 5)
    if centered:
        state = gaussian._with_center(state, center.copy())
    state, _ = gaussian.step(
        state, X, phase=exact_phase(monkeypatch), key=KEY, n_steps=1, learning_rate=rate, sigma_rate=rate, centered=centered
    )
    center = center if centered else np.zeros(3)
    expected = differences(before, center, X)
    expected[1] *= np.asarray(before.sigma, np.float64) ** 2
    moved = zip(coordinates(state.machine, center), coordinates(before, center), expected, strict=True)
    for after, old, gradient in moved:
        np.testing.assert_allclose((after - old) / rate, gradient, atol=1e-3)


def test_sigma_is_fixed_unless_it_is_to_be_learnt():
    machine = toy()
    sigma = machine.sigma.copy()
    state = gaussian.init(machine, 5)
    state, _ = gaussian.step(state, np.ones((4, 2)), phase=gaussian.persistent, key=KEY, n_steps=1, learning_rate=0.1)
    np.testing.assert_array_equal(state.machine.sigma, sigma)


def clusters(seed, n=600):
    """Two overlapping clouds, each longer in one direction: no product of normal distributions."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, 2, n)[:, None]
    return np.array([10.0, -3.0]) + which * [3.0, 2.0] + rng.normal(size=(n, 2)) * [0.7, 1.5]


def start(X, seed, n_hidden=3):
    weights = np.random.default_rng(seed).normal(0, 0.01, (X.shape[1], n_hidden))
    arrays = weights, X.mean(axis=0), np.zeros(n_hidden), X.std(axis=0)
    return GaussianRBM(*(array.astype(np.float32) for array in arrays))


def train(X, seed, algorithm="pcd", n_updates=1500, n_chains=100, **settings):
    state = gaussian.init(start(X, seed), n_chains * (5 if algorithm == "pt" else 1))
    if algorithm == "pt":
        state = state._replace(ladder=tempering.init(np.linspace(1, 0, 5), adapted=True))
    rng = np.random.default_rng(seed)
    settings = {"learning_rate": 0.05, "sigma_rate": 0.01} | settings
    for _ in range(n_updates):
        rows = X[rng.integers(0, len(X), 50)]
        state, _ = gaussian.step(state, rows, phase=PHASES[algorithm], key=KEY, n_steps=1, **settings)
    return state


@pytest.mark.parametrize("algorithm", PHASES)
@pytest.mark.parametrize("seed", range(5))
def test_training_raises_the_exact_log_likelihood(seed, algorithm):
    """Above that of the best normal distribution without correlations, by most of what the truth is above it."""
    X = clusters(seed)
    deviations = (X - X.mean(axis=0)) / X.std(axis=0)
    normal = -0.5 * (deviations**2).sum(axis=1).mean() - np.log(X.std(axis=0)).sum() - np.log(2 * np.pi)
    z = (X - [10.0, -3.0])[:, None] - [[[0, 0], [3.0, 2.0]]]
    truth = np.logaddexp.reduce(-0.5 * ((z / [0.7, 1.5]) ** 2).sum(axis=2), axis=1).mean() - np.log(2 * 2 * np.pi * 0.7 * 1.5)
    assert log_likelihood(start(X, seed), X) == pytest.approx(normal, abs=0.01)
    assert log_likelihood(train(X, seed, algorithm).machine, X) > normal + 0.7 * (truth - normal)


def test_weighted_rows_are_rows_repeated():
    """A step of weighted rows is that of rows as often as their weights say, within rounding."""
    X, counts = clusters(0, 6), np.array([1, 3, 1, 0, 2, 5])
    results = []
    for rows, weights in ((np.repeat(X, counts, axis=0), None), (X, (counts / counts.mean()).astype(np.float32))):
        state = gaussian._with_center(gaussian.init(start(X, 0), 5), np.full(3, 0.5, np.float32))
        state, _ = gaussian.step(
            state, rows, phase=gaussian.persistent, key=KEY, n_steps=1, learning_rate=0.1, sigma_rate=0.1, weights=weights
        )
        results.append(state.machine)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("algorithm", PHASES)
def test_results_do_not_depend_on_threads(algorithm, always_threads):
    X, results = np.random.default_rng(0).normal(size=(200, 33)), []
    for n_threads in (1, 2):
        with threads_cpu.limited_to(n_threads):
            state = train(X, 0, algorithm, n_updates=5, n_chains=17, momentum=0.5, l1=1e-4, l2=1e-3, sparsity_target=0.2)
        results.append([*state.machine, *state.velocity, state.chains.visible, state.chains.hidden])
    np.testing.assert_equal(*results)


@pytest.mark.gpu
@pytest.mark.parametrize("algorithm", PHASES)
def test_it_learns_the_same_on_a_gpu(gpu, algorithm):
    X = np.random.default_rng(0).normal(size=(9, 33))
    results = []
    for put in (np.asarray, gpu.asarray):
        state = gaussian.init(GaussianRBM(*(put(array.copy()) for array in start(X, 0, 17))), 15 if algorithm == "pt" else 5)
        if algorithm == "pt":
            state = state._replace(ladder=tempering.init(np.linspace(1, 0, 3), adapted=True))
        for _ in range(3):
            state, _ = gaussian.step(
                state, put(X), phase=PHASES[algorithm], key=KEY, n_steps=2, learning_rate=0.1, sigma_rate=0.1, momentum=0.5
            )
        results.append([array.get() if hasattr(array, "get") else array for array in state.machine])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


class TestSigma:
    def test_it_finds_the_deviation_of_what_is_left(self):
        """Independent normal features: σ becomes their deviations, and stays above 0 on the way from anywhere."""
        X = np.random.default_rng(0).normal(size=(2000, 2)) * [0.5, 4.0]
        machine = start(X, 0)._replace(sigma=np.ones(2, np.float32))
        state = gaussian.init(machine, 50)
        for _ in range(800):
            state, _ = gaussian.step(
                state, X, phase=gaussian.persistent, key=KEY, n_steps=1, learning_rate=0.01, sigma_rate=0.05, l2=0.1
            )
            assert (state.machine.sigma > 0).all()
        np.testing.assert_allclose(state.machine.sigma, X.std(axis=0), rtol=0.03)

    @pytest.mark.parametrize("rate", [0.1, 10.0])
    def test_it_never_falls_below_its_bound(self, rate):
        """A constant feature pulls σ to 0, rates too large would carry it below: once a negative σ."""
        X = np.zeros((20, 2))
        X[:, 1] = np.linspace(-1, 1, 20)
        state = gaussian.init(start(X + 1e-9, 0)._replace(sigma=np.ones(2, np.float32)), 5)
        for _ in range(200):
            state, _ = gaussian.step(
                state, X, phase=gaussian.persistent, key=KEY, n_steps=1, learning_rate=0.01, sigma_rate=rate,
                smallest_sigma=np.float32(0.01),
            )  # fmt: skip
        assert all(np.isfinite(array).all() for array in state.machine)
        assert state.machine.sigma[0] == np.float32(0.01)
