"""What else takes time: rounding couplings, conditionals, scores, and a call of `sample` for one row."""

from __future__ import annotations

import pytest
from sklearn.neural_network import BernoulliRBM as SklearnRBM

from fastbm import BernoulliRBM
from fastbm.machines import rbm

N_HIDDEN = 500


@pytest.fixture(name="X")
def rows(materials, quick):
    return materials.rows(20 if quick else 1000, 784)


def fitted(model, machine, X):
    """Return a fitted estimator that has the parameters of `machine`."""
    model.set_params(n_components=N_HIDDEN, n_iter=1, random_state=0).fit(X[:10])
    model.components_ = machine.weights.T.copy()
    model.intercept_visible_, model.intercept_hidden_ = machine.visible_bias, machine.hidden_bias
    return model


@pytest.fixture
def model(device, materials, X):
    return fitted(BernoulliRBM(device=device), materials.machine(784, N_HIDDEN), X)


@pytest.fixture
def sklearn_model(materials, X):
    return fitted(SklearnRBM(), materials.machine(784, N_HIDDEN), X)


def test_rounding(benchmark, device, materials):
    benchmark.group = "rounding-784x500"
    if device != "cpu":
        pytest.skip("rounding: measured as a part of an update")
    assert benchmark(rbm.rounded, materials.machine(784, N_HIDDEN)).to_hidden.shape[0] == 784


def test_transform(benchmark, model, X):
    benchmark.group = f"transform-784x500-{len(X)}rows"
    assert benchmark(model.transform, X).shape == (len(X), N_HIDDEN)


def test_transform_sklearn(benchmark, sklearn_model, X):
    benchmark.group = f"transform-784x500-{len(X)}rows"
    assert benchmark(sklearn_model.transform, X).shape == (len(X), N_HIDDEN)


def test_score_samples(benchmark, model, X):
    """All 784 units of each row; scikit-learn's score_samples draws one of them and is no match for it."""
    benchmark.group = f"score_samples-784x500-{len(X)}rows"
    assert benchmark(model.score_samples, X).shape == (len(X),)


def test_sample_one_row(benchmark, model, quick):
    n_steps = 5 if quick else 1000
    benchmark.group = f"sample-784x500-1row-{n_steps}sweeps"
    assert benchmark(model.sample, 1, n_steps=n_steps).shape == (1, 784)
