"""Fitted attributes set by hand, and parameters that are NumPy's numbers: right, or an error, never a wrong result."""

from __future__ import annotations

import pickle
import threading
from itertools import pairwise

import numpy as np
import pytest

from fastbm import BernoulliRBM, BoltzmannMachine, DeepBoltzmannMachine, GaussianRBM
from fastbm.kernels import gibbs_cpu, simd_cpu, threads_cpu

X = (np.random.default_rng(0).random((30, 6)) < 0.5).astype(float)


@pytest.fixture
def machine():
    return BernoulliRBM(4, n_iter=2, random_state=0).fit(X)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("components_", np.zeros((4, 5)), "do not fit together with 6 features"),
        ("components_", np.zeros((3, 6)), "do not fit together"),
        ("components_", np.zeros(6), "do not fit together"),
        ("intercept_visible_", np.zeros(1), "do not fit together"),
        ("intercept_hidden_", 0.0, "do not fit together"),
        ("intercept_visible_", np.full(6, np.nan), "NaN or infinity"),
        ("intercept_hidden_", np.full(4, np.inf), "NaN or infinity"),
        ("components_", np.full((4, 6), np.nan), "NaN or infinity"),
    ],
)
@pytest.mark.parametrize("call", ["sample", "gibbs", "partial_fit", "save"])
def test_parameters_that_do_not_fit(machine, tmp_path, name, value, message, call):
    setattr(machine, name, value)
    calls = {"sample": {"n_steps": 1}, "gibbs": {"v": X}, "partial_fit": {"X": X}, "save": {"path": tmp_path / "machine"}}
    with pytest.raises(ValueError, match=message):
        getattr(machine, call)(**calls[call])


@pytest.mark.parametrize("value", [np.zeros((3, 4)), np.zeros((10, 400)), np.zeros(10), np.full((10, 4), np.nan)])
@pytest.mark.parametrize("call", ["partial_fit", "save"])
def test_chains_that_are_none(machine, tmp_path, value, call):
    machine.h_samples_ = value
    with pytest.raises(ValueError, match=r"h_samples_ must be 0 and 1 of shape \(10, 4\), got an array of shape"):
        getattr(machine, call)(X if call == "partial_fit" else tmp_path / "machine")


@pytest.mark.parametrize("dtype", [np.int64, np.float16, bool, ">f8", object])
def test_parameters_of_other_types(machine, dtype):
    machine.components_ = np.round(machine.components_ * 100).astype(dtype)
    same = pickle.loads(pickle.dumps(machine))
    same.components_ = machine.components_.astype(float)
    np.testing.assert_array_equal(machine.sample(5, n_steps=3), same.sample(5, n_steps=3))
    np.testing.assert_array_equal(machine.transform(X), same.transform(X))


@pytest.fixture
def deep():
    rng = np.random.default_rng(1)
    sizes = (6, 5, 4, 3)
    weights = [rng.normal(size=pair) for pair in pairwise(sizes)]
    return DeepBoltzmannMachine.from_weights(weights, [np.zeros(size) for size in sizes], random_state=0)


@pytest.mark.parametrize("kind", ["int", "list", ">f8"])
def test_layers_of_other_types(deep, kind):
    """Means are not cut to integers, nor is what `partial_fit` makes of the weights."""
    same, whole = pickle.loads(pickle.dumps(deep)), [np.round(3 * array) for array in deep.coefs_]
    same.coefs_ = whole
    deep.coefs_ = [array.tolist() if kind == "list" else array.astype(kind) for array in whole]
    for one in (deep, same):
        one.set_params(hidden_layer_sizes=(5, 4, 3))
    how = {"n_steps": 3, "random_state": 0}
    np.testing.assert_array_equal(deep.sample(5, return_mean=True, **how), same.sample(5, return_mean=True, **how))
    np.testing.assert_array_equal(deep.sample(5, **how), same.sample(5, **how))
    for one, other in zip(deep.partial_fit(X).coefs_, same.partial_fit(X).coefs_, strict=True):
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, other)


def test_training_from_integers(machine):
    machine.components_ = np.ones((4, 6), np.int64)
    same = pickle.loads(pickle.dumps(machine))
    same.components_ = np.ones((4, 6))
    np.testing.assert_array_equal(machine.partial_fit(X).components_, same.partial_fit(X).components_)


def test_samples_of_a_gaussian_machine_of_integers():
    machine = GaussianRBM(4, n_iter=1, random_state=0).fit(X)
    machine.components_ = np.ones((4, 6), np.int64)
    same = pickle.loads(pickle.dumps(machine))
    same.components_ = np.ones((4, 6))
    np.testing.assert_array_equal(machine.sample(5, n_steps=3), same.sample(5, n_steps=3))


def test_marginals_of_a_machine_of_integers():
    machine = BoltzmannMachine(n_iter=1, random_state=0).fit(X)
    machine.weights_ = np.ones(len(machine.weights_), np.int64)
    same = pickle.loads(pickle.dumps(machine))
    same.weights_ = machine.weights_.astype(float)
    np.testing.assert_array_equal(machine.marginals()[0], same.marginals()[0])


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_one_weight_that_is_none(deep, layer):
    deep.coefs_[layer][0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity"):
        deep.transform(X)


@pytest.mark.parametrize("size", [1, 3, 5, 200])
@pytest.mark.parametrize("parameters", [{"centered": True}, {"momentum": 0.5}, {"centered": True, "momentum": 0.5}])
def test_another_number_of_hidden_units(tmp_path, parameters, size):
    """The last steps and the offsets of other parameters are forgotten."""
    machine = BernoulliRBM(4, n_iter=2, random_state=0, **parameters).fit(X)
    machine.components_, machine.intercept_hidden_ = np.zeros((size, 6)), np.zeros(size)
    machine.h_samples_ = np.zeros((10, size))
    machine.set_params(n_components=size).partial_fit(X)
    assert np.isfinite(machine.components_).all()
    machine.save(tmp_path / "machine")
    loaded = BernoulliRBM.load(tmp_path / "machine")
    np.testing.assert_array_equal(loaded.partial_fit(X).components_, machine.partial_fit(X).components_)
    machine.components_ = np.zeros((size + 1, 6))
    machine.intercept_hidden_, machine.h_samples_ = np.zeros(size + 1), np.zeros((10, size + 1))
    machine.set_params(n_components=size + 1).save(tmp_path / "machine")
    BernoulliRBM.load(tmp_path / "machine")


def test_pickles_of_before_there_were_offsets(machine):
    vars(machine).pop("_offsets")
    old = pickle.loads(pickle.dumps(machine))
    old.partial_fit(X)


def test_weights_on_an_estimator_that_was_not_fitted():
    machine = BernoulliRBM(4)
    machine.components_, machine.intercept_visible_, machine.intercept_hidden_ = np.zeros((4, 6)), np.zeros(6), np.zeros(4)
    assert machine.transform(X).shape == (30, 4)  # as with scikit-learn's
    with pytest.raises(ValueError, match="not fitted yet"):
        machine.sample()


def test_numbers_of_numpy_as_parameters(tmp_path):
    plain = {"batch_size": 10, "n_iter": 3, "n_gibbs_steps": 200, "n_chains": 7, "learning_rate": 0.25, "momentum": 0.5}
    numpy = {"batch_size": np.uint8(10), "n_iter": np.uint8(3), "n_gibbs_steps": np.uint8(200), "n_chains": np.int8(7)}
    numpy |= {"learning_rate": np.float32(0.25), "momentum": np.longdouble(0.5)}
    first, second = (BernoulliRBM(4, random_state=0, **parameters).fit(X) for parameters in (plain, numpy))
    np.testing.assert_array_equal(first.components_, second.components_)
    second.save(tmp_path / "machine")
    loaded = BernoulliRBM.load(tmp_path / "machine")
    np.testing.assert_array_equal(loaded.partial_fit(X).components_, first.partial_fit(X).components_)


def test_a_subclass_with_an_argument_of_its_own():
    class Named(BernoulliRBM):
        def __init__(self, name, n_components=256):
            super().__init__(n_components, n_iter=1)
            self.name = name

    assert Named("a", n_components=3).fit(X).components_.shape == (3, 6)


def test_kernels_work_where_no_thread_can_be_started(monkeypatch, always_threads):
    def refuse(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    expected = BernoulliRBM(4, n_iter=1, random_state=0).fit(X).sample(9, n_steps=5)
    monkeypatch.setattr(threads_cpu, "_tasks", None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    np.testing.assert_array_equal(BernoulliRBM(4, n_iter=1, random_state=0).fit(X).sample(9, n_steps=5), expected)


@pytest.mark.parametrize("level", ["portable", "avx2", "avx512"])
def test_huge_biases_and_tiny_betas(monkeypatch, level):
    """Their product is what counts, at every level: 1e32 and 1e-30 make a logit of 100."""
    if level not in simd_cpu.levels_here():
        pytest.skip(f"{level}: this processor has it not")
    monkeypatch.setattr(simd_cpu, "LEVEL", level)
    monkeypatch.setattr(gibbs_cpu, "looks_up", lambda *arguments, **named: level != "portable")
    machine = BernoulliRBM.from_weights(np.zeros((20, 20)), np.zeros(20), np.zeros(20))
    machine.intercept_visible_ = np.full(20, 1e32)
    assert machine.sample(200, n_steps=3, beta=1e-30, random_state=0).mean() == 1
