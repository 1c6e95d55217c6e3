"""BoltzmannMachine on a GPU, or on its stand-in: the same samples, and the same numbers within rounding."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy.sparse import csr_array

from fastbm import BoltzmannMachine
from fastbm.device import on_gpu

OPTIONS = [{}, {"n_hidden": 2, "momentum": 0.5}, {"n_hidden": 3, "data_phase": "mean_field"}]
KINDS = {"dense": (40, 40, 1.0), "hidden": (12, 20, 0.7), "sparse": (150, 170, 0.02)}


def machine_of(kind):
    if kind == "layers":
        couplings = np.zeros((16, 16))
        couplings[:10, 10:] = np.random.default_rng(0).normal(size=(10, 6))
        return BoltzmannMachine.from_couplings(couplings + couplings.T, np.zeros(16), 10, random_state=0)
    n_visible, n_units, share = KINDS[kind]
    couplings = naive.symmetric(np.random.default_rng(0), n_units, share, 0.3)
    bias = np.random.default_rng(1).normal(size=n_units)
    couplings = csr_array(couplings) if kind == "sparse" else couplings
    return BoltzmannMachine.from_couplings(couplings, bias, n_visible, random_state=0)


@pytest.fixture(params=[*KINDS, "layers"])
def kind(request):
    return request.param


def test_samples_are_the_same(kind, gpu):
    here, there = machine_of(kind), machine_of(kind).to("cuda")
    n_visible = here.n_features_in_
    clamp = np.where(np.random.default_rng(2).random((5, n_visible)) < 0.3, 1.0, np.nan)
    for options in ({}, {"clamp": clamp, "beta": np.linspace(0, 2, 12)}, {"beta": np.linspace(0, 2, 5)[:, None]}):
        n_steps = 12
        rows = there.sample(5, n_steps=n_steps, **options)
        assert on_gpu(rows)
        np.testing.assert_array_equal(rows.get(), here.sample(5, n_steps=n_steps, **options))
    v = here.sample(4, n_steps=3)
    np.testing.assert_array_equal(there.gibbs(gpu.asarray(v)).get(), here.gibbs(v))
    np.testing.assert_array_equal(there.to("cpu").sample(5, n_steps=3), here.sample(5, n_steps=3))


def test_numbers_agree(kind, gpu):
    here, there = machine_of(kind), machine_of(kind).to("cuda")
    v = here.sample(6, n_steps=3)
    for name in ("transform", "score_samples"):
        got = getattr(there, name)(gpu.asarray(v))
        np.testing.assert_allclose(got.get(), getattr(here, name)(v), rtol=1e-5, atol=1e-7)
    given = np.r_[v[0, :-4], np.full(4, np.nan)]
    for method in ("auto", "gibbs", "mean_field"):
        options = {"method": method, "n_steps": 20, "n_chains": 4}
        got, expected = there.marginals(given, **options), here.marginals(given, **options)
        np.testing.assert_allclose(got.probabilities.get(), expected.probabilities, rtol=1e-5, atol=1e-7)
    got = there.couplings_
    if kind == "sparse":
        assert (got != here.couplings_).nnz == 0
    else:
        np.testing.assert_array_equal(got.get(), here.couplings_)


@pytest.mark.parametrize(
    "options", [{}, {"n_hidden": 2, "momentum": 0.5}, {"n_hidden": 2, "data_phase": "mean_field"}], ids=str
)
def test_training_agrees_and_goes_on_elsewhere(options, gpu, tmp_path):
    X = (np.random.default_rng(0).random((60, 5)) < 0.4).astype(np.float32)
    settings = options | {"n_iter": 2, "batch_size": 20, "n_chains": 10, "random_state": 0}
    here, there = BoltzmannMachine(**settings).fit(X), BoltzmannMachine(**settings).fit(gpu.asarray(X))
    assert there.device_.startswith("cuda")
    assert on_gpu(there.weights_)
    np.testing.assert_allclose(there.weights_.get(), here.weights_, atol=1e-5)
    there.save(tmp_path / "machine")
    other = BoltzmannMachine.load(tmp_path / "machine")
    np.testing.assert_array_equal(other.weights_, there.weights_.get())
    other.partial_fit(X[:20])
    there.partial_fit(gpu.asarray(X[:20]))
    np.testing.assert_allclose(there.weights_.get(), other.weights_, atol=1e-5)
