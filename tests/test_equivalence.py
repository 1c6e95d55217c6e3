"""Rung 5: what must be the same bit for bit, and learning rules against their naive twins."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from numba import get_num_threads, set_num_threads

from fastbm import BernoulliRBM, chain
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM
from fastbm.training import contrastive_divergence, minibatches, optimizers, schedules

KEY = chain.stream_key(0, chain.Purpose.TRAINING)
FITTED = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")


def assert_same_fit(first, second):
    for name in FITTED:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@pytest.fixture
def machine():
    rng = np.random.default_rng(0)
    return BernoulliRBM.from_weights(rng.normal(size=(33, 70)) * 0.3, rng.normal(size=33), rng.normal(size=70), random_state=3)


def test_k_then_k_sweeps_are_2k_sweeps(machine):
    exact = rbm.rounded(machine._machine())
    start = chain.pack(np.random.default_rng(1).random((9, 33)) < 0.5)
    results = []
    for parts in ((10,), (5, 5), (1, 9), (3, 3, 4)):
        chains = rbm.empty_chains(9, 33, 70)
        chains.visible[...] = start
        for n_updates in parts:
            chains = rbm.advance(exact, chains, n_updates, key=KEY, beta=rbm.UNTEMPERED)
        results.append(chains)
    for other in results[1:]:
        np.testing.assert_array_equal(other.visible, results[0].visible)
        np.testing.assert_array_equal(other.hidden, results[0].hidden)
        assert other.updates == 10


def test_sample_in_short_turns(machine, monkeypatch):
    whole = machine.sample(7, n_steps=23)
    monkeypatch.setattr("fastbm.machines.rbm.COST_OF_A_TURN", 1)
    np.testing.assert_array_equal(machine.sample(7, n_steps=23), whole)


def test_a_row_does_not_depend_on_how_many_are_asked_for(machine):
    many = machine.sample(100, n_steps=20)
    for n_samples in (1, 2, 33):
        np.testing.assert_array_equal(machine.sample(n_samples, n_steps=20), many[:n_samples])


def test_one_thread_is_many_threads(always_threads, digits):
    X = digits[0][:200]
    fits, samples = [], []
    for n_threads in (1, get_num_threads()):
        set_num_threads(n_threads)
        fits.append(BernoulliRBM(33, batch_size=30, n_iter=2, momentum=0.5, l1=1e-4, l2=1e-4, random_state=0).fit(X))
        samples.append(fits[-1].sample(9, n_steps=30))
    assert_same_fit(*fits)
    np.testing.assert_array_equal(*samples)


@pytest.mark.parametrize("grey", [False, True])
def test_float32_and_float64_give_the_same_draws(digits, grey):
    X = digits[0][:200] * (np.float32(0.75) if grey else 1)
    single, double = (BernoulliRBM(20, n_iter=2, random_state=0).fit(X.astype(dtype)) for dtype in (np.float32, np.float64))
    assert single.components_.dtype == np.float32
    assert double.components_.dtype == np.float64
    assert_same_fit(single, double)
    np.testing.assert_array_equal(single.sample(5, n_steps=9), double.sample(5, n_steps=9))
    np.testing.assert_array_equal(single.gibbs(X[:5].astype(np.float32)), double.gibbs(X[:5].astype(np.float64)))


@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_warm_start_is_one_longer_fit(digits, algorithm):
    X = digits[0][:205]
    parameters = {"batch_size": 20, "random_state": 0, "momentum": 0.5, "n_gibbs_steps": 2, "algorithm": algorithm}
    whole = BernoulliRBM(20, n_iter=4, **parameters).fit(X)
    parts = BernoulliRBM(20, n_iter=1, warm_start=True, **parameters)
    for _ in range(4):
        parts.fit(X)
    assert_same_fit(parts, whole)
    assert parts.n_iter_ == whole.n_iter_ == 4


def test_fit_is_partial_fit_of_its_minibatches(digits):
    X = digits[0][:205]
    whole = BernoulliRBM(20, batch_size=20, n_iter=1, random_state=0).fit(X)
    parts = BernoulliRBM(20, batch_size=20, random_state=0)
    for part in minibatches.slices(205, 20):
        parts.partial_fit(X[part])
    assert_same_fit(parts, whole)


def test_minibatches_cover_the_rows_evenly():
    for n_rows, size in ((10, 3), (1, 10), (100, 10), (205, 20), (7, 7), (8, 7)):
        slices = list(minibatches.slices(n_rows, size))
        assert [row for part in slices for row in range(n_rows)[part]] == list(range(n_rows))
        lengths = [part.stop - part.start for part in slices]
        assert max(lengths) <= size
        assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("n_chains", [1, 5, 40])
@pytest.mark.parametrize("n_rows", [1, 30])
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("grey", [False, True])
def test_pcd_equals_its_naive_twin(n_chains, n_rows, n_steps, grey):
    """Numbers of chains and of rows differ: each phase is averaged over its own."""
    rng = np.random.default_rng(4)
    start = [(rng.normal(size=shape) * 0.3).astype(np.float32) for shape in ((33, 17), 33, 17)]
    X = rng.random((n_rows, 33)).astype(np.float32)
    X = X if grey else (X < 0.5).astype(np.float32)
    state = contrastive_divergence.init(RBM(*(array.copy() for array in start)), n_chains)
    machine, chains = start, (state.chains.visible.copy(), state.chains.hidden.copy(), 1)
    for _ in range(2):
        rows = minibatches.prepare(X)
        state, info = contrastive_divergence.step(
            state, rows, key=KEY, persistent=True, n_steps=n_steps, learning_rate=0.1, momentum=0.0, l1=0.0, l2=0.0
        )
        machine, chains = naive.contrastive_divergence(
            machine, X.astype(np.float64), chains, key=KEY, n_steps=n_steps, learning_rate=0.1
        )
    assert state.chains.updates == chains[2]
    np.testing.assert_array_equal(state.chains.hidden, chains[1])
    for got, expected in zip(state.machine, machine, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    assert info.positive.shape == info.negative.shape == (17,)


def test_cd_starts_at_the_data():
    """With one sweep and weights that copy a unit, CD-1 sees the data again and the gradient vanishes."""
    weights = np.diag(np.full(8, 60.0)).astype(np.float32)
    bias = np.full(8, -30.0, np.float32)
    machine = RBM(weights.copy(), bias.copy(), bias.copy())
    X = (np.random.default_rng(0).random((20, 8)) < 0.5).astype(np.float32)
    state = contrastive_divergence.init(machine, 20)
    state, _ = contrastive_divergence.step(
        state, minibatches.prepare(X), key=KEY, persistent=False, n_steps=1, learning_rate=1.0, momentum=0.0, l1=0.0, l2=0.0
    )
    np.testing.assert_array_equal(chain.unpack(state.chains.visible, 8), X)
    np.testing.assert_allclose(state.machine.weights, weights, atol=1e-6)


def test_cd_draws_are_the_chain(digits):
    """The chains of CD are those of the reference: hidden units drawn at the update before, then sweeps."""
    X = digits[0][:7]
    rng = np.random.default_rng(0)
    machine = RBM(*((rng.normal(size=shape) * 0.2).astype(np.float32) for shape in ((64, 20), 64, 20)))
    state = contrastive_divergence.init(RBM(*(array.copy() for array in machine)), 7)
    visible, hidden = chain.pack(X), chain.pack(np.zeros((7, 20)))
    arguments = naive.reference_arguments(*machine, visible, hidden)
    chain.gibbs(**arguments, key=KEY, first_chain=0, start=2, stop=9)
    state, _ = contrastive_divergence.step(
        state, minibatches.prepare(X), key=KEY, persistent=False, n_steps=3, learning_rate=0.1, momentum=0.0, l1=0.0, l2=0.0
    )
    np.testing.assert_array_equal(state.chains.visible, visible)
    np.testing.assert_array_equal(state.chains.hidden, hidden)
    assert state.chains.updates == 9


def test_training_chains_are_the_sampling_chain(digits):
    """At a learning rate too small to change the couplings, PCD's chains are the reference chain."""
    rng = np.random.default_rng(0)
    machine = RBM(*((rng.normal(size=shape)).astype(np.float32) for shape in ((64, 20), 64, 20)))
    state = contrastive_divergence.init(RBM(*(array.copy() for array in machine)), 7)
    visible, hidden, updates = (state.chains.visible.copy(), state.chains.hidden.copy(), state.chains.updates)
    for _ in range(5):
        state, _ = contrastive_divergence.step(
            state, minibatches.prepare(digits[0][:10]), key=KEY, persistent=True, n_steps=2, learning_rate=1e-30,
            momentum=0.0, l1=0.0, l2=0.0,
        )  # fmt: skip
    arguments = naive.reference_arguments(*machine, visible, hidden)
    chain.gibbs(**arguments, key=KEY, first_chain=0, start=updates, stop=updates + 20)
    np.testing.assert_array_equal(state.chains.visible, visible)
    np.testing.assert_array_equal(state.chains.hidden, hidden)


def test_momentum_is_not_multiplied_by_the_learning_rate():
    parameters = RBM(*(np.zeros(shape, np.float32) for shape in ((2, 3), 2, 3)))
    velocity = None
    for _ in range(3):
        gradient = RBM(*(np.ones_like(array) for array in parameters))
        velocity = optimizers.step(parameters, gradient, velocity, learning_rate=0.1, momentum=0.5)
    for array in parameters:
        np.testing.assert_allclose(array, 0.1 + 0.15 + 0.175, rtol=1e-6)


def test_decay_is_the_gradient_of_the_penalty():
    rng = np.random.default_rng(0)
    weights, gradient = rng.normal(size=(4, 3)), np.zeros((4, 3))
    optimizers.decay(weights, gradient, l1=0.3, l2=0.7)
    step = 1e-6
    for index in np.ndindex(weights.shape):
        sides = []
        for sign in (1, -1):
            moved = weights.copy()
            moved[index] += sign * step
            sides.append(0.3 * np.abs(moved).sum() + 0.35 * (moved**2).sum())
        assert gradient[index] == pytest.approx(-(sides[0] - sides[1]) / (2 * step), rel=1e-6)


def test_schedules(digits):
    assert schedules.factor("constant", 0.7) == 1.0
    assert schedules.factor("linear", 0.25) == 0.75
    assert schedules.factor(lambda fraction: fraction**2, 0.5) == 0.25
    seen = []

    def remember(fraction):
        seen.append(fraction)
        return 1.0

    BernoulliRBM(3, n_iter=2, batch_size=50, learning_rate_schedule=remember).fit(digits[0][:100])
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_short_last_minibatch_biases_nothing():
    """All rows alike: the data's mean is the same whatever the size of the minibatch, so biases move by the same step."""
    X = np.tile([[1.0, 0.0]], (5, 1))
    moves = []
    for rows in (X, X[:2]):
        machine = BernoulliRBM(1, n_chains=1000, batch_size=5, learning_rate=1.0, random_state=0).partial_fit(rows)
        moves.append(machine.intercept_visible_)
    np.testing.assert_allclose(moves[0], moves[1], atol=1e-6)
