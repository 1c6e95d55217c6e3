"""Estimators on the GPU: the samples of the CPU, arrays that stay where they live, and few crossings."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone

from fastbm import BernoulliRBM

PARAMETERS = {"n_components": 20, "batch_size": 40, "n_chains": 30, "learning_rate": 0.1, "random_state": 0}
ARRAYS = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")

pytestmark = pytest.mark.gpu


@pytest.fixture
def X(digits):
    return np.ascontiguousarray(digits[0][:205])


@pytest.fixture
def fitted(X):
    return BernoulliRBM(n_iter=2, **PARAMETERS).fit(X)


def copied(machine):
    return pickle.loads(pickle.dumps(machine))


def nine_times(function, *arguments):
    for _ in range(9):
        function(*arguments)


class TestSampling:
    def test_the_same_samples_as_on_the_cpu(self, gpu, fitted):
        there = copied(fitted).to("cuda")
        assert there.device_ == "cuda:0"
        for arguments in (
            {}, {"n_samples": 17, "n_steps": 20}, {"n_samples": 3, "n_steps": 5, "init": "chains"},
            {"n_samples": 4, "n_steps": 5, "beta": [0.0, 0.5, 1.0, 2.0], "random_state": 3},
            {"n_samples": 2, "n_steps": 5, "clamp": np.where(np.arange(64) < 32, 1.0, np.nan)},
            {"n_samples": 2, "n_steps": 0, "init": np.eye(64)[:2]},
            {"n_samples": 2, "n_steps": 5, "clamp": np.where(np.arange(64) < 32, 1.0, np.nan), "return_mean": True},
        ):  # fmt: skip
            rows = there.sample(**arguments)
            assert isinstance(rows, gpu.ndarray)
            np.testing.assert_array_equal(rows.get(), fitted.sample(**arguments))

    def test_arguments_may_live_on_the_gpu(self, gpu, fitted):
        clamp, init = np.where(np.arange(64) < 32, 1.0, np.nan), np.eye(64)[:2]
        beta, there = np.array([0.5, 1.0]), copied(fitted).to("cuda")
        rows = there.sample(2, n_steps=5, clamp=gpu.asarray(clamp), init=gpu.asarray(init), beta=gpu.asarray(beta))
        np.testing.assert_array_equal(rows.get(), fitted.sample(2, n_steps=5, clamp=clamp, init=init, beta=beta))

    def test_gibbs(self, gpu, fitted, X):
        there = copied(fitted).to("cuda")
        for rows in (X[:9], 0.5 * X[:9]):
            got = there.gibbs(gpu.asarray(rows))
            assert isinstance(got, gpu.ndarray)
            np.testing.assert_array_equal(got.get(), fitted.gibbs(rows))
        got = there.gibbs(X[:9])
        assert isinstance(got, np.ndarray)
        np.testing.assert_array_equal(got, fitted.gibbs(X[:9]))

    @pytest.mark.parametrize("method", ["transform", "reconstruct", "free_energy", "score_samples", "score"])
    @pytest.mark.parametrize("grey", [False, True])
    def test_rows_are_answered_where_they_live(self, gpu, fitted, X, method, grey):
        rows = X[:9] * (0.5 if grey else 1.0)
        expected = getattr(fitted, method)(rows)
        for machine in (fitted, copied(fitted).to("cuda")):
            got = getattr(machine, method)(gpu.asarray(rows))
            assert isinstance(got, float if method == "score" else gpu.ndarray)
            np.testing.assert_allclose(got if method == "score" else got.get(), expected, rtol=1e-6)
            got = getattr(machine, method)(rows)
            assert isinstance(got, float if method == "score" else np.ndarray)
            np.testing.assert_allclose(got, expected, rtol=1e-6)

    def test_there_and_back(self, gpu, fitted):
        moved = copied(fitted).to("cuda").to("cpu")
        assert moved.device_ == "cpu"
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(moved, name), getattr(fitted, name))
        np.testing.assert_array_equal(moved.sample(3, n_steps=5), fitted.sample(3, n_steps=5))

    def test_parameters_set_by_hand(self, gpu, fitted):
        there = copied(fitted).to("cuda")
        there.sample(2, n_steps=2)
        for machine in (fitted, there):
            machine.components_ = machine.components_ * 0.5
        np.testing.assert_array_equal(there.sample(5, n_steps=9).get(), fitted.sample(5, n_steps=9))


class TestFitting:
    @pytest.mark.parametrize(
        "parameters",
        [
            {}, {"momentum": 0.5, "l1": 1e-4, "l2": 1e-4, "centered": True}, {"algorithm": "cd", "n_gibbs_steps": 2},
            {"n_gibbs_steps": 3, "learning_rate_schedule": "linear"},
        ],
        ids=str,
    )  # fmt: skip
    @pytest.mark.parametrize("kind", ["binary", "grey", "sparse", "batches", "bytes"])
    def test_agrees_with_the_cpu(self, gpu, X, parameters, kind):
        """One pass: float32 sums differ in their last bits, and in time that flips a unit."""
        rows = {"grey": 0.5 * X, "sparse": scipy.sparse.csr_array(X), "batches": [X[:90], X[90:]], "bytes": X.astype(np.uint8)}
        rows = rows.get(kind, X)
        here = BernoulliRBM(n_iter=1, **PARAMETERS | parameters).fit(rows)
        there = BernoulliRBM(n_iter=1, device="cuda", **PARAMETERS | parameters).fit(rows)
        assert (here.device_, there.device_) == ("cpu", "cuda:0")
        for name in ARRAYS[:3]:
            assert isinstance(getattr(there, name), np.ndarray)
            np.testing.assert_allclose(getattr(there, name), getattr(here, name), rtol=1e-3, atol=2e-5)
        assert (there.h_samples_ == here.h_samples_).mean() > 0.99

    def test_a_seed_repeats(self, gpu, X):
        first, second = (BernoulliRBM(n_iter=2, device="cuda", **PARAMETERS).fit(X) for _ in range(2))
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_data_on_the_gpu_stay_there(self, gpu, X, dtype):
        there = BernoulliRBM(n_iter=2, **PARAMETERS).fit(gpu.asarray(X.astype(dtype)))
        assert there.device_ == "cuda:0"
        again = BernoulliRBM(n_iter=2, device="cuda", **PARAMETERS).fit(X.astype(dtype))
        for name in ARRAYS:
            assert isinstance(getattr(there, name), gpu.ndarray)
            assert getattr(there, name).dtype == dtype
            np.testing.assert_array_equal(getattr(there, name).get(), getattr(again, name))
        down = BernoulliRBM(n_iter=2, device="cpu", **PARAMETERS).fit(gpu.asarray(X.astype(dtype)))
        assert down.device_ == "cpu"

    @pytest.mark.parametrize("centered", [False, True])
    def test_training_goes_on(self, gpu, X, centered, tmp_path):
        parameters = PARAMETERS | {"momentum": 0.5, "centered": centered, "device": "cuda", "warm_start": True}
        whole = BernoulliRBM(n_iter=2, **parameters).fit(X).partial_fit(X[:50])
        parts = BernoulliRBM(n_iter=1, **parameters).fit(X)
        parts.save(tmp_path / "machine")
        for machine in (parts, BernoulliRBM.load(tmp_path / "machine")):
            machine.fit(X).partial_fit(X[:50])
            for name in ARRAYS:
                np.testing.assert_array_equal(getattr(machine, name), getattr(whole, name))

    def test_it_is_saved_and_cloned(self, gpu, X, tmp_path):
        there = BernoulliRBM(n_iter=1, **PARAMETERS).fit(gpu.asarray(X))
        there.save(tmp_path / "machine")
        loaded = BernoulliRBM.load(tmp_path / "machine")
        assert loaded.device_ == "cpu"
        np.testing.assert_array_equal(loaded.sample(3, n_steps=5), there.sample(3, n_steps=5).get())
        assert clone(there).get_params() == there.get_params()

    def test_a_fit_crosses_twice(self, X, crossings):
        """The data and a start go in, the fitted arrays come out; each pass ends with two numbers."""
        counts = []
        for n_iter in (1, 4):
            machine = BernoulliRBM(n_iter=n_iter, device="cuda", **PARAMETERS)
            crossings.clear()
            machine.fit(X)
            counts.append(dict(crossings))
        assert counts[0]["to_host"] == counts[1]["to_host"] <= 6
        assert counts[0]["to_device"] <= 10
        assert counts[1]["to_device"] <= counts[0]["to_device"]  # constants are sent once
        assert counts[1]["scalars"] - counts[0]["scalars"] <= 2 * 3  # passes more
        assert counts[0]["scalars"] <= 10

    def test_verbose_scores_there(self, gpu, X, capsys):
        BernoulliRBM(n_iter=1, device="cuda", verbose=1, **PARAMETERS).fit(X)
        assert "pseudo-likelihood" in capsys.readouterr().out


class TestErrors:
    def test_a_gpu_that_there_is_not(self, gpu, X, fitted):
        for call in (lambda: BernoulliRBM(device="cuda:7").fit(X), lambda: fitted.to("cuda:7")):
            with pytest.raises(RuntimeError, match="device='cuda:7': there are only 1 GPUs, counted from 0"):
                call()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda X: X[0], "X must be real numbers of shape"),
            (lambda X: X[:0], "X must be real numbers of shape"),
            (lambda X: X.astype(complex), "X must be real numbers|Unsupported dtype"),
        ],
    )
    def test_rows_that_are_none(self, gpu, X, change, message):
        with pytest.raises((ValueError, TypeError), match=message):
            BernoulliRBM(**PARAMETERS).fit(gpu.asarray(change(X)))

    def test_other_columns_and_not_a_number(self, gpu, X, fitted):
        before = fitted.components_.copy()
        with pytest.raises(ValueError, match="X has 63 features, but BernoulliRBM is expecting 64 features"):
            fitted.transform(gpu.asarray(X[:, :63]))
        wrong = X[:50].copy()
        wrong[7, 3] = np.nan
        for method in ("transform", "partial_fit", "gibbs"):
            with pytest.raises(ValueError, match="NaN"):
                getattr(fitted, method)(gpu.asarray(wrong))
        np.testing.assert_array_equal(fitted.components_, before)

    @pytest.mark.parametrize("rate", [1e6, 1e30])
    def test_training_that_diverges(self, gpu, X, fitted, rate):
        before = {name: getattr(fitted, name).copy() for name in ARRAYS}
        fitted.set_params(device="cuda", learning_rate=rate, warm_start=True, n_iter=3)
        for method in ("fit", "partial_fit"):
            with pytest.raises(ValueError, match="NaN or infinity|524288"), np.errstate(all="ignore"):
                nine_times(getattr(fitted, method), X)
            if method == "fit":
                for name, array in before.items():
                    np.testing.assert_array_equal(getattr(fitted, name), array)

    def test_what_could_not_be_sampled_for_a_while_is_said(self, gpu, X):
        """Also when the weights have become small again before the pass ends."""
        parameters = PARAMETERS | {"l2": 1e-3, "learning_rate": 1e3}
        schedule = {"learning_rate_schedule": lambda fraction: 1e4 if fraction == 0 else 1.0}
        for name in ("cpu", "cuda"):
            with pytest.raises(ValueError, match="524288"):
                BernoulliRBM(n_iter=1, device=name, **parameters | schedule).fit(X)

    def test_names_of_features_go(self, gpu, X, tmp_path):
        pandas = pytest.importorskip("pandas")
        machine = BernoulliRBM(n_iter=1, **PARAMETERS).fit(pandas.DataFrame(X[:, :9], columns=list("abcdefghi")))
        machine.fit(gpu.asarray(X))
        assert not hasattr(machine, "feature_names_in_")
        machine.save(tmp_path / "machine")
        BernoulliRBM.load(tmp_path / "machine")

    def test_hidden_rows_are_checked(self, gpu, fitted):
        for wrong in (np.zeros(20), np.zeros((0, 20)), np.full((2, 20), np.nan), np.zeros((2, 19))):
            with pytest.raises(ValueError, match="H "):
                fitted.inverse_transform(gpu.asarray(wrong))
        got = fitted.inverse_transform(gpu.asarray(np.eye(20, dtype=np.int8)))
        np.testing.assert_allclose(got.get(), fitted.inverse_transform(np.eye(20)), rtol=1e-6)

    def test_parameters_of_two_homes(self, gpu, fitted):
        there = copied(fitted).to("cuda")
        there.components_ = fitted.components_
        np.testing.assert_array_equal(there.sample(3, n_steps=5), fitted.sample(3, n_steps=5))

    def test_numbers_beyond_float32(self, gpu, X):
        X = X.copy()
        X[3, 5] = 1e39
        for name in ("cpu", "cuda"):
            with pytest.raises(ValueError, match="Input X contains infinity or a value too large"):
                BernoulliRBM(device=name, **PARAMETERS).fit(X)

    def test_a_machine_that_comes_to_where_no_gpu_is(self, gpu, X, fitted, monkeypatch):
        machine = BernoulliRBM(n_iter=1, device="cuda", **PARAMETERS).fit(X)
        monkeypatch.setitem(sys.modules, "cupy", None)
        with pytest.raises(RuntimeError, match=r"device='cuda:0': it needs CuPy.*to\('cpu'\), do without"):
            machine.sample(2, n_steps=1)
        assert machine.to("cpu").sample(2, n_steps=1).shape == (2, 64)

    def test_parameters_that_cannot_be_sampled(self, gpu, fitted):
        there = copied(fitted).to("cuda")
        for name in ("components_", "intercept_visible_"):
            kept = getattr(there, name)
            setattr(there, name, kept * np.nan)
            with pytest.raises(ValueError, match="NaN or infinity"):
                there.sample(2, n_steps=1)
            setattr(there, name, kept)
        there.components_ = there.components_ * 1e9
        with pytest.raises(ValueError, match="524288"):
            there.sample(2, n_steps=1)

    def test_values_outside_the_unit_interval(self, gpu, X):
        with pytest.warns(UserWarning, match="X has values between -1 and 2"):
            BernoulliRBM(n_iter=1, **PARAMETERS | {"learning_rate": 1e-3}).fit(gpu.asarray(3 * X - 1))
