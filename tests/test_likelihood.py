"""Likelihoods against enumeration, as functions and as methods of BernoulliRBM."""

from __future__ import annotations

import re
from pathlib import Path

import naive
import numpy as np
import pytest
from scipy.sparse import csr_matrix

import fastbm
from fastbm import (
    GAN,
    BernoulliRBM,
    DeepBeliefNetwork,
    DeepBoltzmannClassifier,
    DeepBoltzmannMachine,
    RBMClassifier,
    StackedRBM,
)
from fastbm.estimators import _likelihood
from fastbm.evaluation import LogPartition, free_energy_gap, log_likelihood, log_partition, pseudo_log_likelihood, trace
from fastbm.evaluation.given import TAKEN
from fastbm.evaluation.pseudo_likelihood import pseudo_likelihood
from fastbm.machines.rbm import RBM


@pytest.fixture
def machine():
    rng = np.random.default_rng(0)
    return RBM(rng.normal(size=(9, 5)), rng.normal(size=9), rng.normal(size=5))


@pytest.fixture
def X():
    return (np.random.default_rng(1).random((30, 9)) < 0.5).astype(float)


@pytest.fixture
def estimator(machine):
    return BernoulliRBM.from_weights(*machine)


def test_log_likelihood_is_enumeration(machine, estimator, X):
    expected = naive.log_likelihood(*machine, X)
    np.testing.assert_allclose(log_likelihood(machine, X), expected, rtol=1e-12)
    np.testing.assert_allclose(log_likelihood(estimator, X), expected, rtol=1e-12)
    np.testing.assert_allclose(estimator.log_likelihood(X), expected, rtol=1e-12)
    np.testing.assert_allclose(log_likelihood(machine, csr_matrix(X)), expected, rtol=1e-12)
    np.testing.assert_allclose(estimator.log_likelihood(csr_matrix(X)), expected, rtol=1e-12)


def test_log_z_may_be_given(machine, X):
    zero = log_likelihood(machine, X, 0.0)
    np.testing.assert_allclose(log_likelihood(machine, X, log_partition(machine)), log_likelihood(machine, X))
    np.testing.assert_allclose(log_likelihood(machine, X, LogPartition(2.0, 0.0, 2.0, 2.0, 1.0, "ais")), zero - 2.0)
    np.testing.assert_allclose(log_likelihood(machine, X, np.float32(2.0)), zero - 2.0)


def test_log_likelihood_of_float32_parameters_is_float64(machine, X):
    """Free energies of thousands of nats would lose the digits that matter in float32."""
    narrow = RBM(*(array.astype(np.float32) * 100 for array in machine))
    wide = RBM(*(array.astype(np.float64) for array in narrow))
    got = log_likelihood(narrow, X)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, naive.log_likelihood(*wide, X), rtol=1e-12)


def test_log_z_is_remembered_until_the_parameters_change(estimator, X, monkeypatch):
    calls = []
    original = _likelihood.log_partition
    monkeypatch.setattr(_likelihood, "log_partition", lambda *rest, **named: (calls.append(1), original(*rest, **named))[1])
    first = estimator.log_likelihood(X)
    np.testing.assert_array_equal(estimator.log_likelihood(X), first)
    assert len(calls) == 1
    estimator.components_ *= 0.5  # in place
    changed = estimator.log_likelihood(X)
    assert len(calls) == 2
    arrays = (estimator.components_.T, estimator.intercept_visible_, estimator.intercept_hidden_)
    np.testing.assert_allclose(changed, naive.log_likelihood(*arrays, X), rtol=1e-12)


def test_pseudo_log_likelihood_is_exact_over_all_units(machine, estimator, X):
    expected = naive.pseudo_likelihood(*machine, X)
    np.testing.assert_allclose(pseudo_log_likelihood(machine, X), expected, rtol=1e-9)
    np.testing.assert_allclose(estimator.pseudo_log_likelihood(X), expected, rtol=1e-9)
    np.testing.assert_array_equal(pseudo_log_likelihood(machine, X), pseudo_likelihood(machine, X))


def test_the_gap_is_a_difference_of_mean_log_likelihoods(machine, estimator, X):
    train, valid = X[:20], X[20:]
    expected = naive.log_likelihood(*machine, train).mean() - naive.log_likelihood(*machine, valid).mean()
    assert free_energy_gap(machine, train, valid) == pytest.approx(expected, rel=1e-10)
    assert estimator.free_energy_gap(train, valid) == pytest.approx(expected, rel=1e-10)
    assert isinstance(free_energy_gap(machine, train, valid), float)


@pytest.mark.parametrize("function", [log_likelihood, pseudo_log_likelihood])
def test_bad_rows(function, machine):
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 9\), got \(3, 8\)"):
        function(machine, np.zeros((3, 8)))
    with pytest.raises(ValueError, match=r"valid must have shape"):
        free_energy_gap(machine, np.zeros((3, 9)), np.zeros((0, 9)))


def test_the_front_door():
    assert fastbm.evaluation.log_partition is log_partition


@pytest.mark.gpu
def test_likelihoods_on_the_gpu(machine, X, gpu):
    there, rows = RBM(*map(gpu.asarray, machine)), gpu.asarray(X)
    np.testing.assert_allclose(log_likelihood(there, rows).get(), log_likelihood(machine, X), rtol=1e-10)
    assert free_energy_gap(there, rows[:20], rows[20:]) == pytest.approx(free_energy_gap(machine, X[:20], X[20:]))
    estimator = BernoulliRBM.from_weights(*machine).to("cuda")
    np.testing.assert_allclose(estimator.log_likelihood(rows).get(), log_likelihood(machine, X), rtol=1e-10)
    np.testing.assert_allclose(estimator.log_likelihood(X), log_likelihood(machine, X), rtol=1e-10)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("abc", r"X must be numbers of shape \(n_samples, 9\), got 'abc'"),
        (np.zeros(9), r"X must have shape \(n_samples, 9\), got \(9,\)"),
        (np.full((2, 9), np.nan), "X must hold finite numbers, got NaN or infinity"),
        (csr_matrix(np.full((2, 9), np.inf)), "X must hold finite numbers, got NaN or infinity"),
    ],
)
def test_rows_that_are_none(machine, rows, message):
    for function in (log_likelihood, pseudo_log_likelihood):
        with pytest.raises(ValueError, match=message):
            function(machine, rows)
    with pytest.raises(ValueError, match=message.replace("X", "valid")):
        free_energy_gap(machine, np.zeros((1, 9)), rows)


def test_a_log_z_that_is_none(machine, X):
    with pytest.raises(ValueError, match="log_z must be a number, or what log_partition returns, got 'x'"):
        log_likelihood(machine, X, log_z="x")


def test_what_is_no_machine_is_told_what_is(X):
    """Adversarial networks, stacks, classes, arrays: the error names the function, what it takes, and what it was given."""
    sizes = {"generator_layer_sizes": (3,), "discriminator_layer_sizes": (3,)}
    calls = {
        log_partition: (), log_likelihood: (X,), pseudo_log_likelihood: (X,), free_energy_gap: (X, X), trace: (),
    }  # fmt: skip
    network, stack = GAN(2, n_iter=0, random_state=0, **sizes).fit(X), StackedRBM((3, 2), n_iter=0).fit(X)
    for function, arguments in calls.items():
        for given, name in ((network, "GAN"), (stack, "StackedRBM"), (BernoulliRBM, "the class BernoulliRBM"), (X, "ndarray")):
            with pytest.raises(TypeError, match=rf"{function.__name__} takes a fitted BernoulliRBM, .* machine, got {name}$"):
                function(given, *arguments)


def test_a_deep_machine_is_sent_to_its_bound(X):
    """Its free energy is a bound, with labels too, and no likelihood comes of it."""
    y = np.arange(len(X)) % 2
    machines = (
        DeepBoltzmannMachine((3, 2), n_iter=0),
        DeepBoltzmannClassifier((3, 2), n_iter=0),
        DeepBeliefNetwork((3, 2), n_iter=0),
    )
    for machine in machines:
        machine.set_params(random_state=0)
        with pytest.raises(TypeError, match=f"got {type(machine).__name__}; .* see its method log_likelihood_bound"):
            log_likelihood(machine.fit(X, y), X)


def test_what_is_not_fitted(X):
    for estimator in (BernoulliRBM(), RBMClassifier(), DeepBoltzmannMachine()):
        with pytest.raises(ValueError, match="not fitted yet"):
            log_partition(estimator)


def test_the_page_says_what_each_function_takes():
    page = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = [row.split(" | ") for row in re.findall(r"^\| (`.*) \|$", page, re.MULTILINE)]
    said = {name.strip("`"): kinds for names, kinds in rows for name in names.split(", ")}
    assert said == TAKEN
