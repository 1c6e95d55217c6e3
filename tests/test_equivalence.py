"""Rung 5: what must be the same bit for bit, and learning rules against their naive twins."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np
import pytest
import scipy.sparse
from numba import get_num_threads

from fastbm import BernoulliRBM, chain, kernels
from fastbm.kernels import gibbs_cpu, phases_cpu, simd_cpu, threads_cpu
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM
from fastbm.training import ascent, minibatches, optimizers, schedules
from fastbm.training.contrastive_divergence import from_data, persistent

KEY = chain.stream_key(0, chain.Purpose.TRAINING)
FITTED = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")


def assert_same_fit(first, second):
    for name in FITTED:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@pytest.fixture
def machine():
    rng = np.random.default_rng(0)
    return BernoulliRBM.from_weights(rng.normal(size=(33, 70)) * 0.3, rng.normal(size=33), rng.normal(size=70), random_state=3)


def test_k_then_k_sweeps_are_2k_sweeps(machine, way):
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


@pytest.mark.parametrize("n_chains", [None, 100])
def test_one_thread_is_many_threads(n_chains, way, always_threads, digits):
    X = digits[0][:200]
    fits, samples = [], []
    for n_threads in (1, get_num_threads()):
        with threads_cpu.limited_to(n_threads):
            machine = BernoulliRBM(
                33, batch_size=30, n_chains=n_chains, n_iter=2, momentum=0.5, l1=1e-4, l2=1e-4, centered=True, random_state=0
            )
            fits.append(machine.fit(X))
            samples.append(fits[-1].sample(100, n_steps=30))
    assert_same_fit(*fits)
    np.testing.assert_array_equal(*samples)


@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_every_way_to_sweep_gives_the_same_fit_and_samples(algorithm, way, digits):
    """As the one way that runs on any processor, with as many chains as tables are made for."""
    X, parameters = digits[0][:200], {"batch_size": 100, "n_iter": 2, "n_gibbs_steps": 2, "random_state": 0}
    forced = BernoulliRBM(33, algorithm=algorithm, **parameters).fit(X)
    samples = forced.sample(100, n_steps=30, beta=np.linspace(0, 2, 100))
    with pytest.MonkeyPatch.context() as portable:
        portable.setattr(simd_cpu, "LEVEL", "portable")
        portable.setattr(gibbs_cpu, "looks_up", lambda *arguments, **named: False)
        portable.setattr(phases_cpu, "makes_tables", lambda *arguments: False)
        assert_same_fit(forced, BernoulliRBM(33, algorithm=algorithm, **parameters).fit(X))
        np.testing.assert_array_equal(samples, forced.sample(100, n_steps=30, beta=np.linspace(0, 2, 100)))


@pytest.mark.parametrize("n_steps", [1, 2])
def test_tables_may_come_and_go_between_updates(n_steps, digits, monkeypatch):
    """As they do where more or fewer units are on; with one sweep an update they stay, for they save couplings."""
    if "avx512" not in simd_cpu.levels_here():
        pytest.skip("avx512: this processor has it not")
    X, seen = digits[0][:200], []
    parameters = {"batch_size": 50, "n_iter": 2, "n_gibbs_steps": n_steps, "random_state": 0}
    monkeypatch.setattr(phases_cpu, "tables_pay", lambda *arguments: seen.append(arguments) or len(seen) % 3 == 0)
    changing = BernoulliRBM(33, **parameters).fit(X)
    assert len(seen) == (7 if n_steps > 1 else 0)
    monkeypatch.setattr(phases_cpu, "makes_tables", lambda *arguments: False)
    assert_same_fit(changing, BernoulliRBM(33, **parameters).fit(X))


@pytest.mark.parametrize("grey", [False, True])
def test_float32_and_float64_give_the_same_draws(digits, grey):
    X = digits[0][:200] * (np.float32(0.75) if grey else 1)
    single, double = (BernoulliRBM(20, n_iter=2, random_state=0).fit(X.astype(dtype)) for dtype in (np.float32, np.float64))
    assert single.components_.dtype == np.float32
    assert double.components_.dtype == np.float64
    assert_same_fit(single, double)
    np.testing.assert_array_equal(single.sample(5, n_steps=9), double.sample(5, n_steps=9))
    np.testing.assert_array_equal(single.gibbs(X[:5].astype(np.float32)), double.gibbs(X[:5].astype(np.float64)))


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_warm_start_is_one_longer_fit(digits, algorithm, centered):
    X = digits[0][:205]
    parameters = {"batch_size": 20, "random_state": 0, "momentum": 0.5, "n_gibbs_steps": 2}
    parameters |= {"algorithm": algorithm, "centered": centered}
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


@pytest.mark.parametrize("n_chains", [1, 5, 40, 100])
@pytest.mark.parametrize("n_rows", [1, 30])
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("grey", [False, True])
def test_pcd_equals_its_naive_twin(n_chains, n_rows, n_steps, grey, way):
    """Numbers of chains and of rows differ: each phase is averaged over its own."""
    rng = np.random.default_rng(4)
    start = [(rng.normal(size=shape) * 0.3).astype(np.float32) for shape in ((33, 17), 33, 17)]
    state = ascent.init(RBM(*(array.copy() for array in start)), n_chains)
    machine, chains = start, (state.chains.visible.copy(), state.chains.hidden.copy(), 1)
    for size in (n_rows, n_rows + 20, n_rows):  # the space grows, and is then larger than needed
        X = rng.random((size, 33)).astype(np.float32)
        X = X if grey else (X < 0.5).astype(np.float32)
        state, rows = ascent.prepare(state, X)
        before = [array.copy() for array in state.machine]
        state, info = ascent.step(
            state,
            rows,
            key=KEY,
            phase=persistent,
            n_steps=n_steps,
            learning_rate=0.1,
            momentum=0.0,
            l1=0.0,
            l2=0.0,
        )
        machine, chains = naive.contrastive_divergence(
            machine, X.astype(np.float64), chains, key=KEY, n_steps=n_steps, learning_rate=0.1
        )
        for got, states in ((info.positive, X), (info.negative, chain.unpack(chains[0], 33))):
            assert got.shape == (len(states), 17)
            np.testing.assert_allclose(got, 1 / (1 + np.exp(-(states @ before[0] + before[2]))), rtol=1e-4)
    assert state.chains.updates == chains[2]
    np.testing.assert_array_equal(state.chains.visible, chains[0])
    np.testing.assert_array_equal(state.chains.hidden, chains[1])
    for got, expected in zip(state.machine, machine, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_updates_do_not_depend_on_the_space_they_use(digits):
    """Minibatches of any sizes, packed and grey, with space that is kept and with space that is new each time."""
    start = [np.random.default_rng(0).normal(size=shape).astype(np.float32) * 0.1 for shape in ((64, 20), 64, 20)]
    states = [ascent.init(RBM(*(array.copy() for array in start)), 30) for _ in range(2)]
    settings = {"key": KEY, "n_steps": 1, "learning_rate": 0.1, "momentum": 0.5}
    for number, size in enumerate((10, 3, 50, 1, 50, 7)):
        X = digits[0][:size] * (0.5 if number % 3 == 2 else 1.0)
        for keep in (0, 1):
            state = states[keep]
            state = state if keep else state._replace(space=ascent.space(state.machine, 0, 30))
            state, rows = ascent.prepare(state, X)
            states[keep], _ = ascent.step(state, rows, phase=persistent, **settings)
    for first, second in zip(states[0].machine + states[0].velocity, states[1].machine + states[1].velocity, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("phase", [persistent, from_data])
def test_a_state_that_is_resumed_goes_on(phase, digits):
    start = [np.random.default_rng(0).normal(size=shape).astype(np.float32) * 0.1 for shape in ((64, 20), 64, 20)]
    states = [ascent.init(RBM(*(array.copy() for array in start)), 60) for _ in range(2)]
    for part in range(4):
        for index in (0, 1):
            state = ascent.resume(states[1].machine, states[1].velocity, states[1].chains) if index else states[0]
            state, rows = ascent.prepare(state, digits[0][60 * part : 60 * part + 60])
            states[index], _ = ascent.step(state, rows, key=KEY, phase=phase, n_steps=2, learning_rate=0.1, momentum=0.5)
    for first, second in zip(states[0].machine + states[0].velocity, states[1].machine + states[1].velocity, strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_equal(states[0].chains, states[1].chains)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, bool])
def test_minibatches_are_packed_where_they_are_binary(dtype):
    rng = np.random.default_rng(0)
    X = (rng.random((9, 70)) < 0.4).astype(dtype)
    grey = X * 0.5
    into = minibatches.space(12, 70)
    for rows in (X, np.asfortranarray(X), scipy.sparse.csr_array(X), X[:, ::-1][:, ::-1]):
        for space in (None, into):
            states, numbers = minibatches.prepare(rows, space)
            np.testing.assert_array_equal(states, chain.pack(X))
            assert numbers.shape == (0, 70)
            assert space is None or np.shares_memory(states, into.states)
    for rows in (grey, scipy.sparse.csr_array(grey)):
        for space in (None, into):
            states, numbers = prepared = minibatches.prepare(rows, space)
            np.testing.assert_array_equal(numbers, grey.astype(np.float32))
            assert numbers.dtype == np.float32
            assert len(states) == 0
            assert len(prepared) == 9
            assert space is None or np.shares_memory(numbers, into.grey)


def test_cd_starts_at_the_data():
    """With one sweep and weights that copy a unit, CD-1 sees the data again and the gradient vanishes."""
    weights = np.diag(np.full(8, 60.0)).astype(np.float32)
    bias = np.full(8, -30.0, np.float32)
    machine = RBM(weights.copy(), bias.copy(), bias.copy())
    X = (np.random.default_rng(0).random((20, 8)) < 0.5).astype(np.float32)
    state, rows = ascent.prepare(ascent.init(machine, 20), X)
    state, _ = ascent.step(state, rows, key=KEY, phase=from_data, n_steps=1, learning_rate=1.0, momentum=0.0, l1=0.0, l2=0.0)
    np.testing.assert_array_equal(chain.unpack(state.chains.visible, 8), X)
    np.testing.assert_allclose(state.machine.weights, weights, atol=1e-6)


@pytest.mark.parametrize("n_rows", [7, 60])
def test_cd_draws_are_the_chain(n_rows, digits, way):
    """The chains of CD are those of the reference: hidden units drawn at the update before, then sweeps."""
    X = digits[0][:n_rows]
    rng = np.random.default_rng(0)
    machine = RBM(*((rng.normal(size=shape) * 0.2).astype(np.float32) for shape in ((64, 20), 64, 20)))
    state = ascent.init(RBM(*(array.copy() for array in machine)), n_rows)
    visible, hidden = chain.pack(X), chain.pack(np.zeros((n_rows, 20)))
    arguments, exponent = naive.reference_arguments([machine.weights], machine[1:], [visible, hidden])
    chain.gibbs(**arguments, exponent=exponent, key=KEY, first_chain=0, start=2, stop=9)
    state, rows = ascent.prepare(state, X)
    state, _ = ascent.step(state, rows, key=KEY, phase=from_data, n_steps=3, learning_rate=0.1, momentum=0.0, l1=0.0, l2=0.0)
    np.testing.assert_array_equal(state.chains.visible, visible)
    np.testing.assert_array_equal(state.chains.hidden, hidden)
    assert state.chains.updates == 9


@pytest.mark.parametrize("n_chains", [7, 60])
def test_training_chains_are_the_sampling_chain(n_chains, digits, way):
    """At a learning rate too small to change the couplings, PCD's chains are the reference chain."""
    rng = np.random.default_rng(0)
    machine = RBM(*((rng.normal(size=shape)).astype(np.float32) for shape in ((64, 20), 64, 20)))
    state = ascent.init(RBM(*(array.copy() for array in machine)), n_chains)
    visible, hidden, updates = (state.chains.visible.copy(), state.chains.hidden.copy(), state.chains.updates)
    for _ in range(5):
        state, rows = ascent.prepare(state, digits[0][:10])
        state, _ = ascent.step(
            state,
            rows,
            key=KEY,
            phase=persistent,
            n_steps=2,
            learning_rate=1e-30,
            momentum=0.0,
            l1=0.0,
            l2=0.0,
        )
    arguments, exponent = naive.reference_arguments([machine.weights], machine[1:], [visible, hidden])
    chain.gibbs(**arguments, exponent=exponent, key=KEY, first_chain=0, start=updates, stop=updates + 20)
    np.testing.assert_array_equal(state.chains.visible, visible)
    np.testing.assert_array_equal(state.chains.hidden, hidden)


@pytest.mark.parametrize("sizes", [(33, 17, 40), (65, 130, 20), (33, 17, 40, 5)])
def test_layers_without_couplings_change_nothing_below(sizes, way):
    """A deep machine whose couplings above the first hidden layer are 0 is the restricted machine of its two lower layers."""
    arguments, exponent = naive.random_arguments(sizes, 60, beta="each", clamp="each")
    weights = [np.ldexp(arguments["up"][0][:, : sizes[1]].astype(np.float64), -exponent)]
    weights += [np.zeros(pair) for pair in pairwise(sizes[1:])]
    cut, cut_exponent = naive.reference_arguments(
        weights, [bias[:n] for bias, n in zip(arguments["biases"], sizes, strict=True)], ()
    )
    deep = arguments | {name: cut[name] for name in ("up", "down")}
    shallow = {name: deep[name][:2] if isinstance(deep[name], tuple) else deep[name] for name in deep}
    shallow |= {"up": deep["up"][:1], "down": deep["down"][:1]}
    numbers = {"exponent": cut_exponent, "key": KEY, "first_chain": 5, "start": 0, "stop": 9}
    layers = naive.run(kernels.gibbs, deep, tables={}, **numbers)
    np.testing.assert_equal(layers[:2], naive.run(kernels.gibbs, shallow, tables={}, **numbers))
    np.testing.assert_equal(layers, naive.run(chain.gibbs, deep, **numbers))


def test_two_layers_are_the_restricted_machine(machine, way):
    exact, start = rbm.rounded(machine._machine()), chain.pack(np.random.default_rng(1).random((60, 33)) < 0.5)
    arguments, exponent = naive.reference_arguments(
        [machine.components_.T],
        [machine.intercept_visible_, machine.intercept_hidden_],
        [start.copy(), chain.pack(np.zeros((60, 70)))],
    )
    assert exact.exponent == exponent
    chains = rbm.Chains(start.copy(), chain.pack(np.zeros((60, 70))), 0)
    chains = rbm.advance(exact, chains, 9, key=KEY, beta=rbm.UNTEMPERED)
    expected = naive.run(chain.gibbs, arguments, exponent=exponent, key=KEY, first_chain=0, start=0, stop=9)
    np.testing.assert_equal((chains.visible, chains.hidden), expected)


def test_momentum_is_not_multiplied_by_the_learning_rate():
    parameters = RBM(*(np.zeros(shape, np.float32) for shape in ((2, 3), 2, 3)))
    velocity = optimizers.init(parameters, 0.5)
    for _ in range(3):
        for array, speed in zip(parameters, velocity, strict=True):
            optimizers.step(array, np.ones_like(array), speed, learning_rate=0.1, momentum=0.5)
    for array in parameters:
        np.testing.assert_allclose(array, 0.1 + 0.15 + 0.175, rtol=1e-6)


def test_without_momentum_there_is_no_velocity():
    parameter = np.zeros(3, np.float32)
    assert optimizers.init((parameter,), 0.0) is None
    for _ in range(3):
        optimizers.step(parameter, np.ones(3, np.float32), None, learning_rate=0.1, momentum=0.0)
    np.testing.assert_allclose(parameter, 0.3, rtol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_biases_move_as_weights_do(momentum):
    """A visible unit that is on in all rows and off in all chains has, at means of 1, the gradient of its coupling."""
    machine = RBM(np.zeros((1, 1), np.float32), np.full(1, -200, np.float32), np.full(1, 200, np.float32))
    state = ascent.init(machine, 5)
    for _ in range(3):
        state, rows = ascent.prepare(state, np.ones((4, 1)))
        state, _ = ascent.step(state, rows, key=KEY, phase=persistent, n_steps=1, learning_rate=0.1, momentum=momentum)
    expected = 0.1 + 0.15 + 0.175 if momentum else 0.3
    np.testing.assert_allclose(state.machine.weights, expected, rtol=1e-6)
    np.testing.assert_allclose(state.machine.visible_bias, -200 + expected, rtol=1e-6)
    np.testing.assert_array_equal(state.machine.hidden_bias, 200)


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


def test_one_sweep_an_update_and_then_two(digits):
    """Updates with one sweep may leave one orientation of the couplings behind; those with more see the new ones."""
    X, states = digits[0][:64], []
    machine = RBM(*((np.random.default_rng(0).normal(size=shape) * 0.2).astype(np.float32) for shape in ((64, 20), 64, 20)))
    rates = {"key": KEY, "phase": persistent, "learning_rate": 0.5}
    for anew in (False, True):
        state = ascent.init(RBM(*(array.copy() for array in machine)), 64)
        state, rows = ascent.prepare(state, X)
        state, _ = ascent.step(state, rows, n_steps=1, **rates)
        if anew:
            state = ascent.resume(state.machine, None, state.chains)
        states.append(ascent.step(state, minibatches.prepare(X), n_steps=3, **rates)[0])
    for one, other in zip(
        (*states[0].machine, *states[0].chains[:2]), (*states[1].machine, *states[1].chains[:2]), strict=True
    ):
        np.testing.assert_array_equal(one, other)
