"""A learning update on the GPU: how many launches it takes, and that a seed repeats, whichever way `phases` goes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fastbm import BernoulliRBM, chain
from fastbm.device import namespace, to_device, to_host
from fastbm.evaluation.pseudo_likelihood import pseudo_likelihood
from fastbm.machines import dbm, rbm
from fastbm.machines.dbm import DBM
from fastbm.training import ascent, doubled, mean_field
from fastbm.training.contrastive_divergence import persistent

ALL = {"momentum": 0.5, "l1": 1e-4, "l2": 1e-4, "centered": True}
KEY = chain.stream_key(0, chain.Purpose.TRAINING)
LAUNCHES = {"sums": 9, "products": 12}
"""Of an update with binary data on the GPU, packing them included; centring, momentum and decay take no more."""

pytestmark = pytest.mark.gpu


@pytest.fixture
def X(digits):
    return np.ascontiguousarray(digits[0][:120])


@pytest.fixture(params=LAUNCHES)
def way(request, gpu, monkeypatch):
    """Both ways of `phases`, whatever the number of rows and chains."""
    from fastbm.kernels import phases_gpu

    monkeypatch.setattr(phases_gpu, "by_products", lambda *arguments: request.param == "products")
    return request.param


class Training:
    """Updates from one minibatch on the GPU."""

    def __init__(self, X, n_chains=30, **parameters):
        rng = np.random.default_rng(0)
        machine = rbm.RBM(rng.normal(0, 0.1, (64, 20)).astype(np.float32), np.zeros(64, np.float32), np.zeros(20, np.float32))
        self.X = to_device(X, "cuda:0")
        self.state = ascent.init(rbm.RBM(*(to_device(array, "cuda:0") for array in machine)), n_chains)
        self.parameters = {"key": KEY, "phase": persistent, "n_steps": 1, "learning_rate": 0.1} | parameters

    def update(self, binary=True):
        self.state, rows = ascent.prepare(self.state, self.X, binary)
        self.state, _ = ascent.step(self.state, rows, **self.parameters)


class TestLaunches:
    @pytest.mark.parametrize("parameters", [{}, ALL], ids=["plain", "all"])
    def test_of_an_update(self, X, way, crossings, parameters):
        training = Training(X, **parameters)
        training.update()  # the first one also makes what is kept: limbs, offsets, velocity, constants
        crossings.clear()
        for _ in range(3):
            training.update()
        assert crossings == {"launches": 3 * LAUNCHES[way]}

    def test_of_an_update_with_grey_data(self, X, way, crossings):
        """Two more for the hidden means of the data, one to copy the data instead of packing them."""
        training = Training((0.5 * X).astype(np.float32))
        training.update(False)
        crossings.clear()
        training.update(False)
        assert crossings == {"launches": LAUNCHES[way] + 2}

    def test_of_free_energy_and_pseudo_likelihood(self, X, crossings):
        """They never come to the host but for what decides how to compute the pseudo-likelihood, two numbers."""
        machine = Training(X).state.machine
        for rows in (X, 0.5 * X):
            rows = to_device(rows, "cuda:0")
            crossings.clear()
            rbm.free_energy(machine, rows)
            assert set(crossings) == {"launches"}
            crossings.clear()
            pseudo_likelihood(machine, rows)
            assert (crossings.pop("scalars"), set(crossings)) == (2, {"launches"})


class TestRepeating:
    @pytest.mark.parametrize("kind", [1.0, 0.5], ids=["binary", "grey"])
    @pytest.mark.parametrize("parameters", [{}, ALL, {"algorithm": "cd", "n_gibbs_steps": 2}], ids=["plain", "all", "cd"])
    def test_a_seed_repeats_by_sums_and_by_products(self, X, gpu, monkeypatch, parameters, kind):
        """Bit for bit, also one way and the other: both add integers."""
        from fastbm.kernels import phases_gpu

        fitted = []
        for by_products in (False, True, True):
            monkeypatch.setattr(phases_gpu, "by_products", lambda *arguments, which=by_products: which)
            numbers = {"n_components": 20, "batch_size": 40, "n_iter": 2, "random_state": 0, "device": "cuda"} | parameters
            fitted.append(BernoulliRBM(**numbers).fit(kind * X))
        for other in fitted[1:]:
            for name in ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_"):
                np.testing.assert_array_equal(getattr(other, name), getattr(fitted[0], name))


def to_cuda(machine):
    return dbm.moved(machine, lambda array: to_device(array, "cuda:0"))


@pytest.mark.parametrize("sizes", [(64, 20), (64, 20, 17), (64, 20, 9, 8)])
def test_a_deep_machine_learns_as_on_the_cpu(X, gpu, sizes):
    """The same chains, bit for bit, and the same parameters within rounding, over an update with all options."""
    rng = np.random.default_rng(0)
    weights = tuple((0.1 * rng.normal(size=size)).astype(np.float32) for size in pairwise(sizes))
    machine = DBM(weights, tuple(np.zeros(size, np.float32) for size in sizes))
    found = []
    for put, rows in ((lambda each: each, X), (to_cuda, to_device(X, "cuda:0"))):
        state = mean_field.init(put(machine), 30)
        for _ in range(2):
            state, batch = mean_field.prepare(state, rows, True)
            state, info = mean_field.step(state, batch, key=KEY, n_steps=2, learning_rate=0.1, max_norm=1.0, **ALL)
        dbm.check(state.exact)
        found.append([*state.machine.weights, *state.machine.biases, *info.positive.means, *state.offsets])
        found[-1] += state.chains.layers
    for got, expected in zip(found[1], found[0], strict=True):
        if expected.dtype == np.uint64:
            np.testing.assert_array_equal(got.get(), expected)
        else:
            np.testing.assert_allclose(got.get(), expected, atol=2e-5)


def test_doubled_weights_on_the_gpu(X, gpu):
    found = []
    for put in (np.array, lambda each: to_device(each, "cuda:0")):
        rng = np.random.default_rng(0)
        parts = (0.1 * rng.normal(size=(64, 20)), np.zeros(64), np.zeros(20))
        state = ascent.init(rbm.RBM(*(put(part.astype(np.float32)) for part in parts)), 30)
        state, batch = ascent.prepare(state, put(X), True)
        state, _ = ascent.step(state, batch, phase=doubled.phase(2.0, 1.0), key=KEY, n_steps=2, learning_rate=0.1)
        found.append([to_host(each) for each in (*doubled.joined([state.machine]).biases, *state.machine)])
        assert namespace(state.machine.weights) is (np if put is np.array else gpu)
    for got, expected in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)
