"""Bad input is a ValueError that names the argument, what was got and what was expected; the fitted state is untouched."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn.pipeline import make_pipeline

import fastbm
from fastbm import BernoulliRBM, BoltzmannMachine, DeepBeliefNetwork, DeepBoltzmannMachine, StackedRBM, datasets

X = (np.random.default_rng(0).random((30, 6)) < 0.5).astype(float)
SPOILT = X.copy()
SPOILT[3, 2] = np.nan
INFINITE = X.copy()
INFINITE[3, 2] = np.inf


@pytest.fixture(scope="module")
def fitted():
    return BernoulliRBM(4, n_iter=2, random_state=0, warm_start=True).fit(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "score_samples", "free_energy", "gibbs", "reconstruct"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (SPOILT, "contains NaN"),
        (INFINITE, "contains infinity"),
        (X[:, :5], "X has 5 features, but BernoulliRBM is expecting 6 features"),
        (X[0], "Expected 2D array, got 1D array"),
        (X[:, :, None], "dim 3"),
        (X[:0], r"0 sample\(s\)"),
        (X[:, :0], r"0 feature\(s\)"),
        ([["a", "b", "c", "d", "e", "f"]], "X must be numbers of .* could not convert string to float"),
        (X + 1j, "Complex data not supported"),
        (scipy.sparse.csr_array(SPOILT), "contains NaN"),
        (None, "Expected 2D array, got scalar array"),
    ],
)
def test_rows(fitted, method, rows, message):
    before = pickle.dumps(fitted)
    with pytest.raises(ValueError, match=message):
        getattr(fitted, method)(rows)
    assert pickle.dumps(fitted) == before


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n_components", 0),
        ("n_components", 2.5),
        ("learning_rate", 0.0),
        ("learning_rate", "fast"),
        ("batch_size", 0),
        ("n_iter", -1),
        ("verbose", -1),
        ("random_state", "seed"),
        ("random_state", -1),
        ("algorithm", "pcd1"),
        ("n_gibbs_steps", 0),
        ("n_chains", 0),
        ("momentum", 1.0),
        ("l1", -1e-3),
        ("l2", None),
        ("learning_rate_schedule", "cosine"),
        ("warm_start", "yes"),
        ("device", 3),
    ],
)
def test_parameters(fitted, parameter, value):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter of BernoulliRBM must be .* Got {value!r} instead"):
        BernoulliRBM(**{parameter: value}).fit(X)
    machine = pickle.loads(pickle.dumps(fitted)).set_params(**{parameter: value})
    before = pickle.dumps(machine)
    with pytest.raises(ValueError, match=parameter):
        machine.fit(X)
    assert pickle.dumps(machine) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 0}, "n_samples must be an integer of at least 1, got 0"),
        ({"n_samples": 2.0}, "n_samples must be an integer of at least 1, got 2.0"),
        ({"n_samples": True}, "n_samples must be an integer of at least 1, got True"),
        ({"n_steps": -1}, "n_steps must be an integer of at least 0, got -1"),
        ({"n_steps": None}, "n_steps must be an integer of at least 0, got None"),
        ({"beta": -0.5}, "beta must lie between 0 and 1e6, got -0.5"),
        ({"beta": np.nan}, "beta must lie between 0 and 1e6, got nan"),
        ({"beta": 1e7}, "beta must lie between 0 and 1e6"),
        ({"beta": "hot"}, "beta must be a number or one number for each sample, got 'hot'"),
        ({"beta": [1.0, 2.0]}, r"beta must be a number or an array of shape \(3,\).*got an array of shape \(2,\)"),
        ({"clamp": [0, 1]}, r"clamp must have shape \(6,\) or \(3, 6\).*got shape \(2,\)"),
        ({"clamp": np.zeros((2, 6))}, r"clamp must have shape \(6,\) or \(3, 6\).*got shape \(2, 6\)"),
        ({"clamp": np.full(6, 0.5)}, r"clamp must hold 0, 1, and NaN where a unit is free, got 0.5 \(in 6 of 6 places\)"),
        ({"clamp": np.full(6, np.inf)}, "clamp must hold 0, 1, and NaN .* got inf"),
        ({"clamp": np.ones(6, bool)}, "clamp must hold 0, 1, and NaN .* got booleans"),
        ({"random_state": np.random.default_rng(0)}, r"random_state must be None, .* got Generator\(PCG64\)"),
        ({"clamp": "left"}, "clamp must be 0, 1, and NaN where a unit is free, got 'left'"),
        ({"init": "chain"}, "init must be None, 'chains' or rows of 0 and 1, got 'chain'"),
        ({"init": np.full((3, 6), 0.5)}, "init must hold only 0 and 1"),
        ({"init": np.full((3, 6), np.nan)}, "init must hold only 0 and 1"),
        ({"init": np.zeros((4, 6))}, r"init must have shape \(6,\) or \(3, 6\).*got shape \(4, 6\)"),
        ({"init": object()}, "init must be None, 'chains' or rows of 0 and 1, got <object"),
        ({"random_state": "seed"}, "random_state must be None, .* got 'seed'"),
        ({"random_state": -5}, "random_state must be .*got -5"),
    ],
)
def test_sampling_arguments(fitted, arguments, message):
    before = pickle.dumps(fitted)
    with pytest.raises(ValueError, match=message):
        fitted.sample(**{"n_samples": 3, "n_steps": 2} | arguments)
    assert pickle.dumps(fitted) == before


def test_hidden_rows(fitted):
    with pytest.raises(ValueError, match="H has 3 columns, but the machine has n_components=4"):
        fitted.inverse_transform(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="contains NaN"):
        fitted.inverse_transform(np.full((2, 4), np.nan))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3), np.zeros(3), np.zeros(2)), "Expected 2D array, got 1D array"),
        (
            (np.zeros((3, 2)), np.zeros(2), np.zeros(2)),
            r"visible_bias must have shape \(3,\) to match weights .* got \(2,\); .* components_.T",
        ),
        ((np.zeros((3, 2)), np.zeros(3), np.zeros(3)), r"hidden_bias must have shape \(2,\) to match weights .* got \(3,\)"),
        ((np.full((3, 2), np.nan), np.zeros(3), np.zeros(2)), "weights contains NaN"),
        ((np.zeros((3, 2)), np.full(3, np.inf), np.zeros(2)), "visible_bias must be finite and below 1e.30 .* got inf"),
        ((np.zeros((3, 2)), np.zeros(3), np.full(2, 1e300)), "hidden_bias must be finite and below 1e.30 .* got 1e.300"),
        ((np.zeros((3, 2)), "zeros", np.zeros(2)), r"visible_bias must be an array of shape \(3,\), got 'zeros'"),
        ((np.full((3, 2), 4e5), np.zeros(3), np.zeros(2)), r"sum to 1.2e.06; .* below 524288"),
    ],
)
def test_weights_by_hand(arguments, message):
    with pytest.raises(ValueError, match=message):
        BernoulliRBM.from_weights(*arguments)


def test_weights_by_hand_and_parameters():
    arrays = np.zeros((3, 2)), np.zeros(3), np.zeros(2)
    with pytest.raises(ValueError, match=r"n_components=5 does not match weights of shape \(3, 2\)"):
        BernoulliRBM.from_weights(*arrays, n_components=5)
    with pytest.raises(ValueError, match="'learning_rate' parameter"):
        BernoulliRBM.from_weights(*arrays, learning_rate=-1)
    with pytest.raises(ValueError, match="never trained; use init=None"):
        BernoulliRBM.from_weights(*arrays).sample(init="chains")


def test_not_fitted():
    for method in ("transform", "score_samples", "free_energy", "gibbs", "reconstruct", "inverse_transform", "score"):
        with pytest.raises(ValueError, match="not fitted yet"):
            getattr(BernoulliRBM(), method)(X)
    with pytest.raises(ValueError, match="not fitted yet"):
        BernoulliRBM().sample()
    with pytest.raises(ValueError, match="not fitted yet"):
        BernoulliRBM().save("nowhere")


@pytest.mark.parametrize("name", [name for name in fastbm.__all__ if name[0].isupper()])
def test_no_estimator_is_saved_or_moved_before_it_is_fitted(name, tmp_path):
    estimator = getattr(fastbm, name)()
    for call in (lambda: estimator.save(tmp_path / "file"), lambda: estimator.to("cpu")):
        with pytest.raises(ValueError, match="not fitted yet"):
            call()
    assert not list(tmp_path.iterdir())


def test_more_visible_units_than_couplings_have():
    with pytest.raises(ValueError, match="n_visible must be at most 6, the units that couplings have, got 9"):
        BoltzmannMachine.from_couplings(np.zeros((6, 6)), np.zeros(6), n_visible=9)


def test_changed_number_of_units(fitted):
    machine = pickle.loads(pickle.dumps(fitted)).set_params(n_components=9)
    with pytest.raises(ValueError, match="n_components=9 does not match the 4 hidden units already fitted"):
        machine.fit(X)
    assert machine.set_params(warm_start=False).fit(X).components_.shape == (9, 6)


def test_changed_number_of_chains(fitted):
    machine = pickle.loads(pickle.dumps(fitted)).set_params(n_chains=50)
    with pytest.raises(ValueError, match="n_chains=50 does not match the 10 chains that already run"):
        machine.partial_fit(X)
    assert machine.set_params(warm_start=False).fit(X).h_samples_.shape == (50, 4)


def test_scaled_data_may_be_off_by_rounding():
    BernoulliRBM(2, n_iter=1).fit(X * (1 + 1e-15))


def test_diverging_training_leaves_the_fit(fitted):
    machine = pickle.loads(pickle.dumps(fitted)).set_params(learning_rate=1e12)
    before = pickle.dumps(machine)
    with pytest.raises(ValueError, match="learning rate"):
        machine.fit(X)
    with pytest.raises(ValueError, match="learning rate"):
        machine.partial_fit(X)
    assert pickle.dumps(machine) == before


def test_schedules_that_are_not(fitted):
    for schedule in (lambda fraction: -1.0, lambda fraction: np.nan, lambda fraction: "x", lambda fraction: None):
        with pytest.raises(ValueError, match=r"learning_rate_schedule\(0\) must be a finite number of at least 0, got"):
            BernoulliRBM(2, learning_rate_schedule=schedule).fit(X)


def test_a_missing_gpu_is_said_with_the_install_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(
            RuntimeError, match=f"device='{name}': it needs CuPy, which is not installed: pip install cupy-cuda13x"
        ):
            BernoulliRBM(device=name).fit(X)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:one", "cpu:0", ""])
def test_a_device_that_is_none(name, fitted):
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda' or, for one of several, such as 'cuda:1'; got"):
        BernoulliRBM(device=name).fit(X)
    with pytest.raises(ValueError, match="device must be"):
        fitted.to(name)


def test_values_outside_the_unit_interval_are_taken_with_one_warning():
    with pytest.warns(UserWarning, match="X has values between -3 and 3; binary units expect values between 0 and 1") as caught:
        BernoulliRBM(2, n_iter=3, learning_rate=1e-3).fit(6 * X - 3)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "estimator",
    [
        StackedRBM((3, 2), n_iter=1),
        DeepBeliefNetwork((3, 2), n_iter=1, up_down_n_iter=1),
        DeepBoltzmannMachine((3, 2), n_iter=1, pretraining_n_iter=1),
        make_pipeline(DeepBoltzmannMachine((3, 2), n_iter=1)),
    ],
)
def test_warnings_of_greedy_training_and_of_pipelines_name_the_line_that_called(estimator):
    with pytest.warns(UserWarning, match="X has values between -3 and 3") as caught:
        estimator.fit(6 * X - 3)
    assert [each.filename for each in caught] == [__file__]


def test_warm_start_with_other_names():
    pandas = pytest.importorskip("pandas")
    machine = BernoulliRBM(2, n_iter=1).fit(pandas.DataFrame(X, columns=list("abcdef")))
    assert list(machine.feature_names_in_) == list("abcdef")
    machine.fit(X)
    assert not hasattr(machine, "feature_names_in_")


def test_grey_levels_that_are_not():
    with pytest.raises(ValueError, match="X contains NaN"):
        datasets.binarise(SPOILT)
    with pytest.raises(ValueError, match="Expected 2D array"):
        datasets.binarise(X[0])
    with pytest.raises(ValueError, match="X must hold grey levels between 0 and 1, got values between 0 and 16"):
        datasets.binarise(16 * X)
