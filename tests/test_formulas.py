"""The formulas over `xp` run on NumPy, on a strict array API that refuses silent mixing, and on the GPU or its stand-in."""

from __future__ import annotations

from itertools import pairwise

import array_api_strict
import numpy as np
import pytest

from fastbm import BernoulliRBM
from fastbm.device import namespace
from fastbm.machines import dbm, dbm_labels, gaussian_rbm, labels, rbm
from fastbm.machines.dbm import DBM, RoundedDBM
from fastbm.machines.gaussian_rbm import GaussianRBM
from fastbm.machines.rbm import RBM
from fastbm.nn.losses import logistic_loss
from fastbm.nn.workspace import Run, Workspace
from fastbm.training import descent, optimizers
from fastbm.units import bernoulli, softmax


@pytest.fixture(params=["numpy", "array_api_strict", "gpu"])
def xp(request):
    """A module whose arrays the formulas are given."""
    if request.param == "gpu":
        return request.getfixturevalue("gpu")
    return {"numpy": np, "array_api_strict": array_api_strict}[request.param]


def back(array) -> np.ndarray:
    return array.get() if hasattr(array, "get") else np.asarray(array)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "machine": RBM(rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=3)),
        "v": (rng.random((7, 5)) < 0.5).astype(float),
        "h": (rng.random((7, 3)) < 0.5).astype(float),
    }


def test_their_module_is_found(xp):
    assert namespace(xp.asarray(np.ones(3))) is xp


def test_estimators_take_arrays_of_other_libraries():
    """Those on the CPU become arrays of NumPy, whether CuPy is there or not."""
    X = (np.random.default_rng(0).random((50, 6)) < 0.5).astype(float)
    expected = BernoulliRBM(3, n_iter=2, random_state=0).fit(X)
    other = array_api_strict.asarray(X)
    machine = BernoulliRBM(3, n_iter=2, random_state=0).fit(other)
    np.testing.assert_array_equal(machine.components_, expected.components_)
    np.testing.assert_array_equal(machine.transform(other), expected.transform(X))
    np.testing.assert_array_equal(machine.gibbs(other), expected.gibbs(X))
    np.testing.assert_array_equal(machine.sample(2, n_steps=3, init=other[:2, :]), expected.sample(2, n_steps=3, init=X[:2]))
    assert machine.score(other) == expected.score(X)
    BernoulliRBM.from_weights(array_api_strict.asarray(np.eye(3)), np.zeros(3), np.zeros(3)).sample(2, n_steps=2)


@pytest.mark.parametrize("formula", [bernoulli.mean, bernoulli.log_partition])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_units(xp, formula, dtype):
    x = np.concatenate([np.linspace(-100, 100, 41), [0.0, 1e-9, -1e-9, 800, -800]]).astype(dtype)
    got = formula(xp.asarray(x))
    assert got.dtype == getattr(xp, np.dtype(dtype).name)
    np.testing.assert_allclose(back(got), formula(x), rtol=1e-6)


@pytest.mark.parametrize("formula", [softmax.mean, softmax.log_partition])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax(xp, formula, dtype):
    x = (np.random.default_rng(0).normal(size=(20, 7)) * np.logspace(-3, 4, 20)[:, None]).astype(dtype)
    e = np.exp(x.astype(float) - x.max(axis=1, keepdims=True))
    total = e.sum(axis=1, keepdims=True)
    expected = e / total if formula is softmax.mean else (np.log(total) + x.max(axis=1, keepdims=True))[:, 0]
    got = formula(xp.asarray(x))
    assert got.dtype == getattr(xp, np.dtype(dtype).name)
    np.testing.assert_allclose(back(got), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("formula", [labels.class_logits, labels.free_energy, labels.hidden_means])
def test_labels(xp, arrays, formula):
    """With weights too large for the kernel, which takes arrays of NumPy and CuPy only."""
    machine, v = arrays["machine"], arrays["v"][:, :3]
    machine.weights[3:] *= 100
    got = formula(RBM(*map(xp.asarray, machine)), xp.asarray(v), 2)
    assert namespace(got) is xp
    np.testing.assert_allclose(back(got), formula(machine, v, 2), rtol=1e-12)


@pytest.mark.parametrize("kind", ["generator", "discriminator", "discriminator of pairs"])
def test_networks(xp, kind):
    """In float64, which no kernel takes: forward, loss, backward, and a step of either optimizer."""
    from test_nn_layers import LAYERS, Case

    results = []
    for module in (np, xp):
        case = Case(LAYERS[kind])
        network = case.network = type(case.network)(
            case.network.layers, *map(module.asarray, (case.network.parameters, case.network.statistics))
        )
        x, side, of_side = map(module.asarray, (case.x, case.side, case.of_side))
        run = Run(Workspace(network.parameters), n_groups=2, key=case.run.key, update=3, side=side, side_gradient=of_side)
        y, backward = network.forward(x, run)
        gradient, figures = module.zeros(y.shape), module.zeros(2)
        logistic_loss(y, gradient, figures, target=1.0)
        below = backward(gradient, True, slice(None))
        results.append([back(array).copy() for array in (y, figures, below, network.gradients, of_side)])
        for rule in (descent.Adam(), descent.Momentum(0.5)):
            moments = rule.step(network, rule.init(network), learning_rate=0.01, l2=0.1)
            assert moments.steps == 1
            results[-1].append(back(network.parameters).copy())
        results[-1].append(back(network.evaluate(x, side)))
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_energies(xp, arrays):
    machine, v, h = arrays["machine"], arrays["v"], arrays["h"]
    there, v_there, h_there = RBM(*map(xp.asarray, machine)), xp.asarray(v), xp.asarray(h)
    for formula, states in (
        (rbm.hidden_logits, "v"), (rbm.visible_logits, "h"), (rbm.free_energy, "v"), (rbm.energy, "vh"),
    ):  # fmt: skip
        given = [{"v": v, "h": h}[name] for name in states]
        moved = [{"v": v_there, "h": h_there}[name] for name in states]
        got = formula(there, *moved)
        assert namespace(got) is xp
        np.testing.assert_allclose(back(got), formula(machine, *given), rtol=1e-12)


def test_a_deep_machine(xp, arrays):
    """Energy, bound and mean field, in float64."""
    rng, v = np.random.default_rng(0), arrays["v"]
    weights, biases = (rng.normal(size=size) for size in ((5, 3), (3, 4))), (rng.normal(size=size) for size in (5, 3, 4))
    machine = DBM(tuple(weights), tuple(biases))
    there, v_there = dbm.moved(machine, xp.asarray), xp.asarray(v)
    expected, got = dbm.mean_field(machine, v, tolerance=1e-9), dbm.mean_field(there, v_there, tolerance=1e-9)
    np.testing.assert_array_equal(back(got.n_updates), expected.n_updates)
    for one, two in zip(got.means, expected.means, strict=True):
        assert namespace(one) is xp
        np.testing.assert_allclose(back(one), two, rtol=1e-12)
    for formula in (dbm.energy, dbm.variational_bound):
        found = formula(there, v_there, got.means)
        np.testing.assert_allclose(back(found), formula(machine, v, expected.means), rtol=1e-12)


@pytest.mark.parametrize("sizes", [(5, 3, 2), (5, 3, 4, 2)])
def test_a_deep_machine_with_labels(xp, arrays, sizes):
    """Mean field given each class, and given the labels of the rows, in float64; (5, 3, 2) has one hidden layer."""
    rng, v, numbers = np.random.default_rng(0), arrays["v"], np.array([1, 0, 0, 1, 1, 0, 1])
    joint = DBM(*(tuple(rng.normal(size=size) for size in some) for some in (pairwise(sizes), sizes)))
    results = []
    for module in (np, xp):
        exact = RoundedDBM(dbm.moved(joint, module.asarray), (), (), (), (), None, {})
        rows, how = module.asarray(v), {"tolerance": 1e-9, "max_updates": 1000, "damping": 0.5}
        found = [dbm_labels.clamped_mean_field(exact, rows, numbers, **how), *dbm_labels.mean_fields(exact, rows, **how)]
        results.append(found)
        assert all(namespace(of_layer) is module for each in found for of_layer in each.means)
        for given, each in enumerate(found[1:]):
            for of_labels, of_class in zip(found[0].means, each.means, strict=False):
                some = numbers == given
                np.testing.assert_allclose(back(of_labels)[some], back(of_class)[some], rtol=1e-12)
    for expected, got in zip(*results, strict=True):
        np.testing.assert_array_equal(back(got.n_updates), expected.n_updates)
        for one, two in zip((*got.means, got.change), (*expected.means, expected.change), strict=True):
            np.testing.assert_allclose(back(one), two, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(back(results[1][0].means[-1]), np.eye(2)[numbers])


def test_energies_of_gaussian_units(xp, arrays):
    machine, h = GaussianRBM(*arrays["machine"], np.linspace(0.5, 2.0, 5)), arrays["h"]
    v = np.random.default_rng(1).normal(size=(7, 5))
    there, v_there, h_there = GaussianRBM(*map(xp.asarray, machine)), xp.asarray(v), xp.asarray(h)
    for formula, states in (
        (gaussian_rbm.hidden_logits, "v"), (gaussian_rbm.visible_means, "h"), (gaussian_rbm.free_energy, "v"),
        (gaussian_rbm.energy, "vh"),
    ):  # fmt: skip
        got = formula(there, *[{"v": v_there, "h": h_there}[name] for name in states])
        assert namespace(got) is xp
        expected = formula(machine, *[{"v": v, "h": h}[name] for name in states])
        np.testing.assert_allclose(back(got), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_steps(xp, arrays, momentum):
    results = []
    for module in (np, xp):
        machine = RBM(*(module.asarray(array.copy()) for array in arrays["machine"]))
        velocity = optimizers.init(machine, momentum)
        for _ in range(3):
            for k, array in enumerate(machine):
                optimizers.step(
                    array, module.asarray(np.ones(array.shape)), velocity and velocity[k], learning_rate=0.1, momentum=momentum
                )
        results.append([back(array) for array in machine])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
