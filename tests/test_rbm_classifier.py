"""RBMClassifier: labels that are learnt with the features; exact predictions, samples of a class, and what users get wrong."""

from __future__ import annotations

import pickle
import tracemalloc

import naive
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from fastbm import RBMClassifier, datasets, evaluation
from fastbm.kernels import threads_cpu

NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


@pytest.fixture(scope="module")
def labelled(digits):
    """scikit-learn's digits in 0 and 1 with their labels: those to train on, and those held out."""
    y = datasets.load_digits()[1][np.random.default_rng(0).permutation(1797)]
    return digits[0], y[:1500], digits[1], y[1500:]


@pytest.fixture(scope="module")
def fitted(labelled):
    X, y, *_ = labelled
    return RBMClassifier(20, n_iter=2, random_state=0).fit(X[:300], NAMES[y[:300]])


@pytest.fixture(scope="module")
def toy():
    """A machine of 5 features, 3 classes and 4 hidden units, and its p(v, y), (2**5, 3)."""
    rng = np.random.default_rng(3)
    weights, class_weights = rng.normal(size=(5, 4)), rng.normal(size=(3, 4))
    biases = rng.normal(size=5) * 0.5, rng.normal(size=4) * 0.5, rng.normal(size=3) * 0.5
    v, h = naive.all_states(5), naive.all_states(4)
    minus_energy = (
        (v @ weights @ h.T + (v @ biases[0])[:, None] + h @ biases[1])[:, None, :]
        + (class_weights @ h.T + biases[2][:, None])[None]
    )  # fmt: skip
    joint = np.exp(minus_energy - naive.log_sum_exp(minus_energy.ravel()))
    return RBMClassifier.from_weights(weights, *biases[:2], class_weights, biases[2], classes=["a", "b", "c"]), v, h, joint


class TestPredictions:
    def test_digits_are_learnt(self, labelled):
        X, y, X_test, y_test = labelled
        machine = RBMClassifier(
            64, n_iter=40, batch_size=20, learning_rate=0.1, learning_rate_schedule="linear", l2=1e-3, random_state=0
        )
        machine.fit(X, y)
        assert machine.score(X_test, y_test) > 0.85
        samples, labels = machine.sample(500, y=np.arange(500) % 10, n_steps=200, random_state=0)
        nearest = y[((samples[:, None] - X[None, :300]) ** 2).sum(axis=2).argmin(axis=1)]
        assert (nearest == labels).mean() > 0.5

    def test_probabilities_are_those_of_enumeration(self, toy):
        machine, v, h, joint = toy
        p = joint.sum(axis=2) / joint.sum(axis=(1, 2))[:, None]
        np.testing.assert_allclose(machine.predict_proba(v), p, rtol=1e-10)
        np.testing.assert_allclose(machine.predict_log_proba(v), np.log(p), rtol=1e-10)
        np.testing.assert_array_equal(machine.predict(v), np.array(["a", "b", "c"])[p.argmax(axis=1)])
        np.testing.assert_allclose(
            -machine.free_energy(v) + machine.free_energy(v[:1]), np.log(joint.sum(axis=(1, 2)) / joint[0].sum()), atol=1e-10
        )
        hidden = joint.sum(axis=1) @ h / joint.sum(axis=(1, 2))[:, None]
        np.testing.assert_allclose(machine.transform(v), hidden, rtol=1e-10)

    def test_wild_weights_neither_overflow_nor_underflow(self, toy):
        machine = pickle.loads(pickle.dumps(toy[0]))
        machine.class_components_ = machine.class_components_ * 1000
        p = machine.predict_proba(toy[1])
        np.testing.assert_allclose(p.sum(axis=1), 1)
        assert np.isfinite(machine.predict_log_proba(toy[1])).all()

    def test_sparse_rows_are_dense_rows(self, fitted, labelled):
        rows = labelled[2]
        for method in ("predict_proba", "transform", "reconstruct", "free_energy", "predict"):
            dense, sparse = getattr(fitted, method)(rows), getattr(fitted, method)(scipy.sparse.csr_array(rows))
            if method == "predict":
                np.testing.assert_array_equal(dense, sparse)
            else:
                np.testing.assert_allclose(dense, sparse, rtol=1e-10)

    def test_shapes_and_dtypes(self, fitted, labelled):
        for dtype in (np.float32, np.float64):
            rows = labelled[2].astype(dtype)
            assert fitted.transform(rows).dtype == fitted.reconstruct(rows).dtype == dtype
        assert fitted.components_.shape == (20, 64)
        assert fitted.class_components_.shape == (20, 10)
        assert fitted.intercept_visible_.shape == (64,)
        assert fitted.intercept_class_.shape == (10,)
        assert fitted.h_samples_.shape == (10, 20)
        assert fitted.reconstruct(rows).shape == rows.shape
        assert list(fitted.classes_) == sorted(NAMES)
        assert len(fitted.get_feature_names_out()) == 20


class TestSampling:
    def test_features_and_labels_have_their_joint_distribution(self, toy):
        machine, _, _, joint = toy
        X, y = machine.sample(20_000, n_steps=200, random_state=1)
        self.assert_distributed(X, y, joint.sum(axis=2))

    def test_a_class_has_its_conditional_distribution(self, toy):
        machine, _, _, joint = toy
        X, y = machine.sample(20_000, y="b", n_steps=200, random_state=2)
        assert set(y) == {"b"}
        p = joint.sum(axis=2) * (np.arange(3) == 1)
        self.assert_distributed(X, y, p / p.sum())

    def test_clamped_features_infer_labels(self, toy):
        machine, v, _, joint = toy
        X, y = machine.sample(20_000, clamp=[1, np.nan, 0, np.nan, np.nan], n_steps=200, random_state=3)
        p = joint.sum(axis=2) * ((v[:, 0] == 1) & (v[:, 2] == 0))[:, None]
        self.assert_distributed(X, y, p / p.sum())

    def test_means_of_the_features_of_a_class(self, toy):
        machine = toy[0]
        how = {"n_samples": 20_000, "y": "b", "clamp": [1, np.nan, np.nan, np.nan, np.nan], "n_steps": 20, "random_state": 4}
        (X, y), (means, same) = machine.sample(**how), machine.sample(**how, return_mean=True)
        assert set(same) == set(y) == {"b"}
        assert means.shape == X.shape
        assert (means[:, 0] == 1).all()
        apart = np.abs((X - means)[:, 1:].sum(axis=0))
        assert (apart < 4.5 * np.sqrt((means * (1 - means))[:, 1:].sum(axis=0))).all()

    @staticmethod
    def assert_distributed(X, y, p):
        """Within 4 of what the total variation of independent draws would be."""
        n, states = len(X), (X @ (1 << np.arange(5))).astype(int)
        frequency = np.bincount(3 * states + np.searchsorted(["a", "b", "c"], y), minlength=p.size).reshape(p.shape) / n
        floor = 0.5 * np.sqrt(2 / np.pi * p * (1 - p) / n).sum()
        assert 0.5 * np.abs(frequency - p).sum() < 4 * floor

    def test_a_row_depends_neither_on_how_many_are_asked_for_nor_on_threads(self, fitted, always_threads):
        for y in (None, "two"):
            X, labels = fitted.sample(300, y=y, n_steps=9, random_state=5)
            with threads_cpu.limited_to(1):
                some, few = fitted.sample(7, y=y, n_steps=9, random_state=5)
            np.testing.assert_array_equal(X[:7], some)
            np.testing.assert_array_equal(labels[:7], few)

    def test_one_label_is_that_label_for_all(self, fitted):
        one, many = fitted.sample(5, y="six", n_steps=4), fitted.sample(5, y=["six"] * 5, n_steps=4)
        for a, b in zip(one, many, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(fitted.sample(2, y=["one", "nine"], n_steps=0)[1], ["one", "nine"])

    def test_starts(self, fitted, labelled):
        rows = labelled[2][:4]
        X, labels = fitted.sample(4, n_steps=0, init=rows)
        np.testing.assert_array_equal(X, rows)
        assert set(labels) <= set(NAMES)
        X, labels = fitted.sample(25, n_steps=0, init="chains")
        np.testing.assert_array_equal(X[:10], X[10:20])
        np.testing.assert_array_equal(labels[:10], labels[10:20])
        clamped, _ = fitted.sample(4, y="two", n_steps=3, init=rows, clamp=np.where(rows == 1, 1, np.nan))
        assert (clamped[rows == 1] == 1).all()

    def test_nothing_is_changed(self, fitted):
        before = pickle.dumps(fitted)
        fitted.sample(3, y="two", n_steps=3)
        fitted.sample(3, n_steps=3)
        assert pickle.dumps(fitted) == before


class TestTraining:
    @pytest.mark.parametrize("as_labels", [NAMES, NAMES.astype(object), np.arange(10) * 3 - 5, np.arange(10.0)])
    def test_any_labels_learn_the_same(self, labelled, as_labels):
        X, y = labelled[0][:100], labelled[1][:100]
        order = np.argsort(as_labels)
        expected = RBMClassifier(5, n_iter=1, random_state=0).fit(X, np.argsort(order)[y])
        machine = RBMClassifier(5, n_iter=1, random_state=0).fit(X, as_labels[y])
        np.testing.assert_array_equal(machine.class_components_, expected.class_components_)
        np.testing.assert_array_equal(machine.predict(X), machine.classes_[expected.predict(X)])
        assert machine.classes_.dtype == as_labels.dtype

    @pytest.mark.parametrize("grey", [False, True])
    def test_fit_is_partial_fit_of_its_minibatches(self, labelled, grey):
        X, y = labelled[0][:60] * (0.5 if grey else 1), labelled[1][:60]
        whole = RBMClassifier(5, n_iter=1, batch_size=20, shuffle=False, random_state=0).fit(X, y)
        parts = RBMClassifier(5, batch_size=20, shuffle=False, random_state=0)
        for begin in (0, 20, 40):
            parts.partial_fit(X[begin : begin + 20], y[begin : begin + 20], classes=np.unique(y))
        for name in ("components_", "class_components_", "intercept_class_", "h_samples_"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))

    @pytest.mark.parametrize("algorithm", ["pcd", "cd", "pt"])
    def test_saved_training_goes_on_bit_for_bit(self, labelled, tmp_path, algorithm):
        X, y = labelled[0][:100], NAMES[labelled[1][:100]]
        settings = {"algorithm": algorithm, "momentum": 0.5, "centered": True, "betas": 3, "random_state": 0}
        whole = RBMClassifier(5, n_iter=2, **settings).fit(X, y)
        half = RBMClassifier(5, n_iter=1, warm_start=True, **settings).fit(X, y)
        half.save(tmp_path / "half")
        loaded = RBMClassifier.load(tmp_path / "half")
        np.testing.assert_array_equal(loaded.classes_, half.classes_)
        np.testing.assert_array_equal(loaded.predict_proba(X), half.predict_proba(X))
        for a, b in zip(loaded.sample(3, n_steps=2), half.sample(3, n_steps=2), strict=True):
            np.testing.assert_array_equal(a, b)
        loaded.fit(X, y)
        for name in ("components_", "class_components_", "intercept_class_", "intercept_hidden_", "h_samples_"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(whole, name))
        assert loaded.n_iter_ == 2

    def test_cloned_and_pickled(self, fitted, labelled):
        assert clone(fitted).get_params() == fitted.get_params()
        again = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(again.predict(labelled[2]), fitted.predict(labelled[2]))

    def test_in_a_pipeline(self, labelled):
        X, y = labelled[0][:200], labelled[1][:200]
        machine = make_pipeline(MinMaxScaler(), RBMClassifier(10, n_iter=5, random_state=0))
        assert len(cross_val_score(machine, X, y, cv=2)) == 2

    def test_weights_of_rows(self, labelled):
        """Rows that count nothing are not learnt: here all but those of two classes."""
        X, y = labelled[0][:300], labelled[1][:300]
        weights = np.isin(y, [0, 1]).astype(float)
        machine = RBMClassifier(10, n_iter=30, learning_rate=0.05, random_state=0).fit(X, y, sample_weight=weights)
        assert set(machine.predict(X)) <= {0, 1}

    def test_sorted_rows_are_shuffled(self, labelled):
        X, y = labelled[0], labelled[1]
        order = np.argsort(y, kind="stable")
        settings = {"n_iter": 10, "learning_rate": 0.05, "centered": False, "random_state": 0}
        scores = [RBMClassifier(20, shuffle=s, **settings).fit(X[order], y[order]).score(X, y) for s in (True, False)]
        assert scores[0] > scores[1] + 0.2

    def test_accuracy_is_followed(self, labelled, capsys):
        X, y = labelled[0][:300], labelled[1][:300]
        seen = []
        machine = RBMClassifier(
            10, n_iter=3, verbose=1, early_stopping=True, random_state=0,
            callbacks=lambda machine, record: seen.append((machine.score(X, y), record)),
        )  # fmt: skip
        machine.fit(X, y)
        assert "accuracy = 0." in capsys.readouterr().out
        assert [set(record) >= {"accuracy", "validation_score"} for _, record in seen] == [True] * 3
        assert all(0 <= score <= 1 for score, _ in seen)
        best = max(record["validation_score"] for record in machine.history_)
        assert best in [record["validation_score"] for _, record in seen]

    def test_rows_are_never_copied_as_a_whole(self, tmp_path):
        X = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (20_000, 500))
        y = np.arange(20_000) % 3
        X[np.arange(20_000), y] = 1
        for shuffle in (False, True):
            machine = RBMClassifier(2, batch_size=100, n_iter=1, shuffle=shuffle, random_state=0)
            machine.fit(X, y)  # all that it needs is compiled
            tracemalloc.start()
            machine.fit(np.load(tmp_path / "rows.npy", mmap_mode="r"), y)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 0.1 * X.nbytes


ROWS, LABELS = np.eye(4), np.array([0, 1, 0, 1])


class TestBadInput:
    def test_evaluation_does_not_take_label_units_for_binary_ones(self, fitted):
        with pytest.raises(TypeError, match="pseudo_log_likelihood takes a fitted BernoulliRBM, .* got RBMClassifier"):
            evaluation.pseudo_log_likelihood(fitted, np.eye(64))

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (None, "requires y to be passed"),
            ([0, 1, 0], "3 labels for the n_samples=4"),
            ([0, 0, 0, 0], "at least 2 classes, got 1 class"),
            ([0, 1, np.nan, 1], "y contains NaN"),
            ([0, 1, np.inf, 1], "y contains infinity"),
            (["a", None, "b", "a"], "None"),
            ([0.5, 1.2, 0.3, 1.0], "continuous"),
            ([[0, 1], [1, 0], [0, 1], [1, 0]], "1d array"),
        ],
    )
    def test_labels(self, y, message):
        machine = RBMClassifier(3, n_iter=1).fit(ROWS, LABELS)
        before = pickle.dumps(machine)
        with pytest.raises(ValueError, match=message):
            machine.fit(ROWS, y)
        assert pickle.dumps(machine) == before

    def test_unknown_labels_where_training_goes_on(self):
        machine = RBMClassifier(3, n_iter=1, warm_start=True).fit(ROWS, LABELS)
        for again in (machine.fit, machine.partial_fit):
            with pytest.raises(ValueError, match=r"unknown labels \[7\]; the classes are \[0, 1\]"):
                again(ROWS, [0, 1, 7, 1])
            with pytest.raises(ValueError, match="unknown labels"):
                again(ROWS, ["0", "1", "1", "0"])
        with pytest.raises(ValueError, match="not those of the first call"):
            machine.partial_fit(ROWS, LABELS, classes=[0, 1, 2])

    def test_first_partial_fit_needs_all_classes(self):
        with pytest.raises(ValueError, match="classes must be passed in the first call"):
            RBMClassifier(3).partial_fit(ROWS, LABELS)
        with pytest.raises(ValueError, match="unknown labels"):
            RBMClassifier(3).partial_fit(ROWS, LABELS, classes=[1, 2])

    def test_batches_need_partial_fit(self):
        with pytest.raises(ValueError, match="partial_fit"):
            RBMClassifier(3, n_iter=1).fit([ROWS, ROWS], LABELS)

    @pytest.mark.parametrize(
        ("y", "message"),
        [("ten", "unknown labels \\['ten'\\]"), (["one"] * 3, "shape \\(5,\\)"), (3, "unknown"), ([["one"]], "shape")],
    )
    def test_labels_to_sample(self, fitted, y, message):
        with pytest.raises(ValueError, match=message):
            fitted.sample(5, y=y)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"class_weights": np.ones((2, 5))}, "hidden_bias must have shape"),
            ({"class_bias": np.ones(3)}, "class_bias must have shape \\(2,\\)"),
            ({"class_weights": np.full((2, 4), np.nan)}, "class_weights contains NaN"),
            ({"classes": ["b", "a"]}, "2 different labels in order"),
            ({"classes": ["a", "b", "c"]}, "2 different labels in order"),
            ({"weights": np.ones((3, 3))}, "visible_bias"),
        ],
    )
    def test_weights_by_hand(self, change, message):
        arguments = {
            "weights": np.ones((5, 4)), "visible_bias": np.ones(5), "hidden_bias": np.ones(4), "class_weights": np.ones((2, 4)),
            "class_bias": np.ones(2),
        }  # fmt: skip
        assert RBMClassifier.from_weights(**arguments).predict(np.eye(5)).shape == (5,)
        with pytest.raises(ValueError, match=message):
            RBMClassifier.from_weights(**arguments | change)

    def test_attributes_set_by_hand(self, fitted):
        machine = pickle.loads(pickle.dumps(fitted))
        machine.class_components_ = machine.class_components_[:, :3]
        with pytest.raises(ValueError, match="class_components_ and intercept_class_ of shapes"):
            machine.predict(np.eye(64))


@pytest.mark.gpu
class TestOnTheGPU:
    def test_predictions_and_samples_are_those_of_the_cpu(self, gpu, fitted, labelled):
        rows = labelled[2][:20]
        machine = pickle.loads(pickle.dumps(fitted)).to("cuda")
        np.testing.assert_allclose(machine.predict_proba(gpu.asarray(rows)).get(), fitted.predict_proba(rows), rtol=1e-5)
        np.testing.assert_array_equal(machine.predict(gpu.asarray(rows)), fitted.predict(rows))
        assert machine.score(gpu.asarray(rows), fitted.predict(rows)) == 1.0
        for y in (None, "two"):
            X, labels = machine.sample(7, y=y, n_steps=4, random_state=0)
            expected = fitted.sample(7, y=y, n_steps=4, random_state=0)
            np.testing.assert_array_equal(X.get(), expected[0])
            np.testing.assert_array_equal(labels, expected[1])
        np.testing.assert_array_equal(machine.to("cpu").predict(rows), fitted.predict(rows))

    @pytest.mark.parametrize("algorithm", ["pcd", "cd"])
    def test_training_agrees_with_the_cpu(self, gpu, labelled, algorithm):
        X, y = labelled[0][:60], labelled[1][:60]
        machine = RBMClassifier(5, n_iter=2, batch_size=20, algorithm=algorithm, random_state=0)
        expected, got = clone(machine).fit(X, y), clone(machine).fit(gpu.asarray(X), gpu.asarray(y))
        assert got.device_.startswith("cuda")
        for name in ("components_", "class_components_", "intercept_class_"):
            np.testing.assert_allclose(getattr(got, name).get(), getattr(expected, name), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(got.predict(gpu.asarray(X)).get(), got.to("cpu").predict(X))
