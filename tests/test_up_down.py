"""Directed layers and up–down: equality with a twin by hand, gradients against enumeration, and that likelihoods rise."""

from __future__ import annotations

import re

import deep
import naive
import numpy as np
import pytest
from deep import random_dbn, random_rbm

from fastbm import chain, device, kernels
from fastbm.chain import Purpose
from fastbm.device import module_of, to_device, to_host
from fastbm.machines import dbn, directed
from fastbm.machines.rows import of_states
from fastbm.training import ascent, minibatches, up_down
from fastbm.training.contrastive_divergence import from_data, persistent

KEY = (np.uint32(0x243F6A88), np.uint32(0x85A308D3))


def on(home, machine):
    def take(parameters):
        return type(parameters)(*(to_device(array.copy(), home) for array in parameters))

    return dbn.DBN(tuple(map(take, machine.recognition)), tuple(map(take, machine.generative)), take(machine.top))


@pytest.fixture
def home(device_name):
    return device.resolve(device_name)


# ---------------------------------------------------------------------------------------------------- directed layers


@pytest.mark.parametrize(("n_from", "n_to"), [(1, 1), (33, 17), (64, 130)])
def test_a_directed_layer_draws_the_chain_of_the_reference(n_from, n_to, home):
    rng = np.random.default_rng(n_from)
    layer = directed.Layer(rng.normal(0, 1, (n_from, n_to)).astype(np.float32), rng.normal(0, 1, n_to).astype(np.float32))
    given = rng.random((17, n_from)) < 0.5
    expected = deep.draw_directed(layer, given, key=KEY, update=6, first_chain=3)
    with device.using(home):
        exact = directed.rounded(directed.Layer(*(to_device(array, home) for array in layer)))
        rows = of_states(to_device(chain.pack(given), home))
        drawn = to_host(directed.draw(exact, rows, key=KEY, update=6, first_chain=3))
    np.testing.assert_array_equal(chain.unpack(drawn, n_to, bool), expected)
    np.testing.assert_array_equal(drawn, chain.pack(expected))  # nothing in the padding


def test_means_taken_from_states(home):
    rng = np.random.default_rng(0)
    states, means = rng.random((17, 70)) < 0.5, rng.random((17, 80)).astype(np.float32)
    expected = means.copy()
    expected[:, :70] = states - means[:, :70]
    with device.using(home):
        got = to_device(means.copy(), home)
        kernels.subtract_means(to_device(chain.pack(states), home), got, n_units=70)
        np.testing.assert_array_equal(to_host(got), expected)


@pytest.mark.parametrize(("weights", "complaint"), [(np.nan, "NaN or infinity"), (1e9, "of a unit sum to 3e+09")])
def test_a_layer_that_cannot_be_sampled(weights, complaint, home):
    layer = directed.Layer(np.full((3, 2), weights, np.float32), np.zeros(2, np.float32))
    with device.using(home), pytest.raises(ValueError, match=re.escape(complaint)):
        directed.rounded(directed.Layer(*(to_device(array, home) for array in layer)))


# ------------------------------------------------------------------------------------------------------------ one update


@pytest.mark.parametrize(
    ("sizes", "n_labels", "grey", "phase"),
    [
        ((9, 7, 5, 6), 3, False, from_data),
        ((9, 7, 5, 6), 0, True, from_data),
        ((33, 65, 17), 2, False, persistent),
        ((5, 4), 2, True, from_data),
    ],
)
def test_an_update_is_that_of_the_twin(sizes, n_labels, grey, phase, home, n_threads):
    rng = np.random.default_rng(len(sizes))
    machine = random_dbn(rng, sizes, n_labels, 0.5)
    rows = rng.random((8, sizes[0])).astype(np.float32)
    rows = rows if grey else (rows < 0.4).astype(np.float32)
    labels = rng.integers(0, n_labels, 8) if n_labels else None
    how = {"n_steps": 2, "learning_rate": 0.3, "top_learning_rate": 0.2, "momentum": 0.5, "l2": 0.01}
    keys = up_down.keys(5, len(sizes) - 2)
    twin = deep.UpDown(machine, n_labels, 8, keys, phase)
    with device.using(home):
        there = on(home, machine)
        state = up_down.init(there, ascent.init(there.top, 8)._replace(n_labels=n_labels))
        for _ in range(3):
            twin.step(rows, labels, **how)
            batch = minibatches.prepare(rows, minibatches.space(8, sizes[0], module_of(home)))
            state = up_down.step(state, batch, labels, phase=phase, keys=keys, **how)
        up_down.check(state)
        got = up_down.machine_of(state)
        for mine, theirs in zip(deep.parameters(got), deep.parameters(twin.machine), strict=True):
            np.testing.assert_allclose(to_host(mine), theirs, rtol=2e-4, atol=2e-5)


# ---------------------------------------------------------------------------------------------- gradients and likelihoods


def test_the_wake_gradient_is_the_enumerated_expectation():
    """Of 3–2–2: the mean over q(h | v) of the gradient of log p(v | h)."""
    rng = np.random.default_rng(1)
    machine, rows = random_dbn(rng, (3, 2, 2)), np.array([[1, 0, 1], [0, 1, 1]], np.float32)
    step, n = 1e-3, 40_000
    after = stepped(machine, np.repeat(rows, n, axis=0), learning_rate=step)
    (given,), (before,) = machine.recognition, machine.generative
    expected = [deep.wake_gradient(given, before, row) for row in rows]
    for name in ("weights", "bias"):
        got = (getattr(after.generative[0], name).astype(float) - getattr(before, name)) / step
        mean = np.mean([getattr(each, name) for each in expected], axis=0)
        error = 1 / (2 * np.sqrt(2 * n)) + np.finfo(np.float32).eps * 2 / step
        assert np.abs(got - mean).max() < 4.5 * error


def test_the_sleep_gradient_is_the_enumerated_expectation():
    """Of 3–2–2: the mean over p(v, h) of the gradient of log q(h | v); the top machine is sampled long enough."""
    rng = np.random.default_rng(2)
    machine = random_dbn(rng, (3, 2, 2))
    step, n = 1e-3, 40_000
    after = stepped(machine, np.zeros((n, 3), np.float32), learning_rate=step, n_steps=60)
    expected = deep.sleep_gradient(machine.recognition[0], machine.generative[0], machine.top)
    for name in ("weights", "bias"):
        got = (getattr(after.recognition[0], name).astype(float) - getattr(machine.recognition[0], name)) / step
        error = 1 / (2 * np.sqrt(n)) + np.finfo(np.float32).eps * 2 / step
        assert np.abs(got - getattr(expected, name)).max() < 4.5 * error


def stepped(machine, rows, *, learning_rate, n_steps=1):
    """Return the network after one update of its directed layers; its top machine stays."""
    copy = on("cpu", machine)
    state = up_down.init(copy, ascent.init(copy.top, len(rows)))
    state = up_down.step(
        state, minibatches.prepare(rows), phase=from_data, keys=up_down.keys(3, len(machine.recognition)), n_steps=n_steps,
        learning_rate=learning_rate, top_learning_rate=0.0,
    )  # fmt: skip
    return up_down.machine_of(state)


def test_after_untying_the_passes_agree():
    """Means upward are those of the restricted machines that the network was made of, and downward too."""
    rng = np.random.default_rng(3)
    machines = [random_rbm(rng, 6, 5), random_rbm(rng, 5, 4)]
    machine, v, h = dbn.untied(machines), rng.random((9, 6)), rng.random((9, 5))
    np.testing.assert_allclose(dbn.upward_means(machine, v)[0], deep.sigmoid(v @ machines[0].weights + machines[0].hidden_bias))
    down = deep.sigmoid(h @ machines[0].weights.T + machines[0].visible_bias)
    np.testing.assert_allclose(dbn.downward_means(machine, h), down)
    machine.recognition[0].weights[:] = 0
    assert machines[0].weights.any()
    assert machine.generative[0].weights.any()


@pytest.mark.parametrize("seed", range(5))
def test_likelihood_rises_and_the_bound_stays_below(seed):
    """8 visible units, 5–4–5 hidden: exact log-likelihoods before and after up–down, and the mean log weight less log Z."""
    rng = np.random.default_rng(seed)
    patterns = rng.random((4, 8)) < 0.5
    rows = (patterns[rng.integers(0, 4, 400)] ^ (rng.random((400, 8)) < 0.08)).astype(np.float32)
    machine = dbn.untied([random_rbm(rng, *sizes, 0.1) for sizes in ((8, 5), (5, 4), (4, 5))])
    state, keys = up_down.init(machine, ascent.init(machine.top, 20)), up_down.keys(seed, 2)
    rates = {"learning_rate": 0.2, "top_learning_rate": 0.2}
    found = [deep.log_likelihood(machine, rows).mean()]
    for epochs in (8, 16):
        for _ in range(epochs):
            for some in minibatches.slices(400, 20):
                batch = minibatches.prepare(rows[some])
                state = up_down.step(state, batch, phase=from_data, keys=keys, n_steps=3, **rates)
        machine = up_down.machine_of(state)
        exact = deep.log_likelihood(machine, rows).mean()
        assert exact > found[-1]
        found.append(exact)
        bound = deep.bound(machine, rows[:50])
        assert (bound <= deep.log_likelihood(machine, rows[:50]) + 1e-9).all()
        many = np.repeat(rows[:50], 40, axis=0)
        weights = dbn.log_weights(
            machine, dbn.rounded(machine), many, minibatches.prepare(many), update=0,
            keys=[chain.stream_key(0, Purpose.RECOGNITION, level) for level in range(2)],
        )  # fmt: skip
        error = weights.reshape(50, 40).std(axis=1, ddof=1).mean() / np.sqrt(len(many))
        assert abs(weights.mean() - naive.log_partition(*machine.top) - bound.mean()) < 5 * error
    assert found[-1] - found[0] > 0.5
