"""DeepBoltzmannMachine and DeepBoltzmannClassifier: fit, mean field, samples, predictions, bounds, perceptrons and files."""

from __future__ import annotations

import itertools
import pickle

import naive
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone

from fastbm import BernoulliRBM, DeepBoltzmannClassifier, DeepBoltzmannMachine, RBMClassifier, datasets, evaluation
from fastbm.estimators import _persistence
from fastbm.estimators._dbm_perceptrons import MeanFieldFeatures
from fastbm.machines import dbm, dbm_labels
from fastbm.machines.dbm import DBM

SETTINGS = {"batch_size": 20, "n_iter": 2, "random_state": 3, "momentum": 0.5}
CLASSES = np.array(["even", "odd"])
HALF = np.where(np.arange(64) < 32, 1.0, np.nan)


@pytest.fixture(scope="module")
def digits64():
    """Binary digits, 200 rows, and whether they are odd."""
    X, y = datasets.load_digits()
    return datasets.binarise(X[:200]).astype(np.float64), CLASSES[y[:200] % 2]


@pytest.fixture(scope="module")
def machine(digits64):
    return DeepBoltzmannMachine((12, 10, 7), **SETTINGS).fit(digits64[0])


@pytest.fixture(scope="module")
def classifier(digits64):
    return DeepBoltzmannClassifier((12, 10), **SETTINGS, pretraining_n_iter=1).fit(*digits64)


def parameters(estimator) -> list:
    arrays = [*estimator.coefs_, *estimator.intercepts_, estimator.intercept_visible_]
    return arrays + [getattr(estimator, name) for name in ("class_coefs_", "intercept_class_") if hasattr(estimator, name)]


def assert_same(first, second):
    for mine, theirs in zip(parameters(first), parameters(second), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(first._chains.layers, second._chains.layers, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert first._chains.updates == second._chains.updates


def random_layers(rng, sizes, scale=1.0):
    weights = [rng.normal(0, scale, pair) for pair in itertools.pairwise(sizes)]
    return weights, [rng.normal(0, scale, size) for size in sizes]


def log_joint(weights, biases):
    """Return the states of all layers, and minus the energy of each."""
    sizes = [len(bias) for bias in biases]
    states = naive.all_states(sum(sizes))
    layers = np.split(states, np.cumsum(sizes)[:-1], axis=1)
    total = sum(layer @ bias for layer, bias in zip(layers, biases, strict=True))
    for below, above, array in zip(layers, layers[1:], weights, strict=False):
        total = total + ((below @ array) * above).sum(axis=1)
    return layers, total


def exact_log_likelihood(weights, biases, rows):
    layers, total = log_joint(weights, biases)
    of_rows = [naive.log_sum_exp(total[(layers[0] == row).all(axis=1)]) for row in rows]
    return np.array(of_rows) - naive.log_sum_exp(total)


# -------------------------------------------------------------------------------------------------------- equivalences


class TestEquivalences:
    @pytest.mark.parametrize("settings", [{}, {"momentum": 0.5, "l2": 1e-3, "n_chains": 13}, {"centered": True}], ids=str)
    def test_one_hidden_layer_is_the_restricted_machine(self, digits64, settings):
        X, shared = digits64[0], {"batch_size": 20, "n_iter": 2, "random_state": 3, "learning_rate": 0.1, "shuffle": True}
        shared |= {"centered": False, "n_chains": 20} | settings
        restricted, deep = BernoulliRBM(12, **shared).fit(X), DeepBoltzmannMachine(12, **shared).fit(X)
        for each in (restricted, deep):
            each.partial_fit(X[:50])
        np.testing.assert_array_equal(deep.coefs_[0], restricted.components_.T)
        np.testing.assert_array_equal(deep.intercepts_[0], restricted.intercept_hidden_)
        np.testing.assert_array_equal(deep.intercept_visible_, restricted.intercept_visible_)
        for how in ({}, {"clamp": HALF}, {"init": X[:5]}, {"init": "chains", "beta": 0.5}):
            np.testing.assert_array_equal(deep.sample(5, n_steps=7, **how), restricted.sample(5, n_steps=7, **how))
        for name in ("transform", "reconstruct", "free_energy"):
            np.testing.assert_allclose(getattr(deep, name)(X), getattr(restricted, name)(X), rtol=1e-5, atol=1e-6)
        hidden = restricted.transform(X)
        np.testing.assert_allclose(deep.inverse_transform(hidden), restricted.inverse_transform(hidden), rtol=1e-5)
        log_z = evaluation.log_partition(restricted)
        assert evaluation.log_partition(deep).log_z == pytest.approx(log_z.log_z, rel=1e-12)
        np.testing.assert_allclose(deep.log_likelihood_bound(X), restricted.log_likelihood(X, log_z), rtol=1e-9)

    def test_one_hidden_layer_with_labels_is_the_model_of_the_classifier(self, digits64):
        X, y = digits64
        restricted = RBMClassifier(12, batch_size=20, n_iter=2, random_state=3).fit(X, y)
        deep = DeepBoltzmannClassifier.from_weights(
            [restricted.components_.T, restricted.class_components_],
            [restricted.intercept_visible_, restricted.intercept_hidden_, restricted.intercept_class_],
            classes=CLASSES,
            random_state=0,
        )
        np.testing.assert_allclose(deep.predict_proba(X), restricted.predict_proba(X), rtol=1e-9)
        np.testing.assert_array_equal(deep.predict(X), restricted.predict(X))
        np.testing.assert_allclose(deep.free_energy(X), restricted.free_energy(X), rtol=1e-9)
        np.testing.assert_allclose(deep.transform(X), restricted.transform(X), rtol=1e-5, atol=1e-6)
        expected = evaluation.log_partition(restricted).log_z
        assert evaluation.log_partition(deep).log_z == pytest.approx(expected, rel=1e-9)


# ---------------------------------------------------------------------------------------------------------- enumeration


class TestEnumeration:
    def test_log_z_and_bound(self):
        weights, biases = random_layers(np.random.default_rng(0), (5, 4, 3, 2))
        machine = DeepBoltzmannMachine.from_weights(weights, biases, mean_field_tol=1e-9, mean_field_max_updates=1000)
        _, total = log_joint(weights, biases)
        log_z = naive.log_sum_exp(total)
        assert evaluation.log_partition(machine).log_z == pytest.approx(log_z, rel=1e-10)
        rows = naive.all_states(5)
        annealed = evaluation.log_partition(machine, "ais", X=rows, init=rows, n_chains=64, n_betas=500, random_state=0)
        assert abs(annealed.log_z - log_z) < 4 * annealed.stderr
        exact, bound = exact_log_likelihood(weights, biases, rows), machine.log_likelihood_bound(rows)
        assert (bound <= exact + 1e-6).all()
        assert (bound - exact).mean() > -1.0
        np.testing.assert_allclose(machine.log_likelihood_bound(rows, 1.5), bound + log_z - 1.5, rtol=1e-12)

    def test_bounds_with_labels(self):
        """Labels are units of a layer of which one is on."""
        weights, biases = random_layers(np.random.default_rng(1), (4, 3, 3, 3))
        machine = DeepBoltzmannClassifier.from_weights(weights, biases, mean_field_tol=1e-9, mean_field_max_updates=1000)
        layers, total = log_joint(weights, biases)
        total = np.where(layers[-1].sum(axis=1) == 1, total, -np.inf)
        log_z, rows = naive.log_sum_exp(total), naive.all_states(4)
        assert evaluation.log_partition(machine).log_z == pytest.approx(log_z, rel=1e-10)
        of_rows = [(layers[0] == row).all(axis=1) for row in rows]
        of_classes = [layers[-1][:, k] == 1 for k in range(3)]
        exact = np.array([[naive.log_sum_exp(total[row & of_class]) for of_class in of_classes] for row in of_rows])
        bounds = machine._class_logits(rows)
        assert (bounds <= exact + 1e-6).all()
        assert (bounds - exact).mean() > -1.0
        exact = np.logaddexp.reduce(exact, axis=1)
        assert (-machine.free_energy(rows) <= exact + 1e-6).all()
        np.testing.assert_allclose(machine.log_likelihood_bound(rows), -machine.free_energy(rows) - log_z, rtol=1e-12)

    def test_samples_have_the_frequencies_of_the_machine(self):
        """Of all layers, with labels drawn, and with one of them held, from fair coins."""
        weights, biases = random_layers(np.random.default_rng(2), (3, 2, 2, 2), 0.7)
        machine, n = DeepBoltzmannClassifier.from_weights(weights, biases, random_state=0), 20000
        layers, total = log_joint(weights, biases)
        total = np.where(layers[-1].sum(axis=1) == 1, total, -np.inf)
        for y in (None, 1):
            p = np.exp(total - naive.log_sum_exp(total)) * (1.0 if y is None else layers[-1][:, y])
            p = p / p.sum()
            rows, labels = machine.sample(n, y=y, n_steps=40)
            joint = np.concatenate([layers[0], layers[-1][:, :1]], axis=1) @ 2 ** np.arange(4)
            expected = np.bincount(joint.astype(int), p, minlength=16)
            got = np.bincount((np.column_stack([rows, labels == 0]) @ 2 ** np.arange(4)).astype(int), minlength=16) / n
            assert np.abs(got - expected).sum() < 4 * np.sqrt(expected * (1 - expected) / n).sum()

    @pytest.mark.parametrize(
        "settings", [{}, pytest.param({"pretraining_n_iter": 5, "centered": False}, marks=pytest.mark.slow)]
    )
    def test_learning_raises_the_likelihood(self, settings):
        """The exact likelihood of bars, from what independent units reach to well above it, with five seeds."""
        rows = np.repeat(np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]]), 25, axis=0)
        independent = -6 * np.log(2)
        for seed in range(5):
            machine = DeepBoltzmannMachine(
                (4, 3), learning_rate=0.1, learning_rate_schedule="linear", batch_size=20, n_chains=50, n_iter=60, momentum=0.5,
                random_state=seed, **settings,
            ).fit(rows)  # fmt: skip
            got = exact_log_likelihood(machine.coefs_, [machine.intercept_visible_, *machine.intercepts_], rows).mean()
            assert got > independent + 0.25
            assert got > machine.log_likelihood_bound(rows).mean() - 1e-6


# -------------------------------------------------------------------------------------------------------------- fitting


class TestFitting:
    def test_what_is_fitted(self, machine, digits64):
        assert [array.shape for array in machine.coefs_] == [(64, 12), (12, 10), (10, 7)]
        assert [array.shape for array in machine.intercepts_] == [(12,), (10,), (7,)]
        assert (machine.intercept_visible_.shape, machine.n_layers_, machine.n_iter_) == ((64,), 3, 2)
        assert [record["iteration"] for record in machine.history_] == [1, 2]
        last = machine.history_[-1]
        assert 1 <= last["mean_field_updates"] <= 30
        assert last["mean_field_change"] <= 1e-3
        assert machine.n_mean_field_updates_ == last["mean_field_updates"]
        assert machine.mean_field_change_ == last["mean_field_change"]
        assert machine.pretraining_history_ == []

    def test_the_cap_on_updates_is_seen(self, digits64):
        capped = DeepBoltzmannMachine((12, 10), **SETTINGS, mean_field_tol=0.0, mean_field_max_updates=3).fit(digits64[0])
        assert capped.n_mean_field_updates_ == 3
        assert (capped.mean_field(digits64[0]).n_updates == 3).all()

    def test_a_seed_repeats_and_threads_do_not_matter(self, machine, digits64, n_threads):
        assert_same(clone(machine).fit(digits64[0]), machine)

    def test_kinds_of_data(self, digits64):
        X = digits64[0]
        settings = SETTINGS | {"shuffle": False, "batch_size": 100}
        whole = DeepBoltzmannMachine((12, 10), **settings).fit(X)
        for rows in (csr_array(X), [X[:100], X[100:]], X.astype(np.uint8), X.astype(np.float32)):
            assert_same(DeepBoltzmannMachine((12, 10), **settings).fit(rows), whole)
        assert DeepBoltzmannMachine((12, 10), **settings).fit(X.astype(np.float32)).coefs_[0].dtype == np.float32
        grey = DeepBoltzmannMachine((12, 10), **settings, pretraining_n_iter=1).fit([0.5 * X[:100], X[100:]])
        assert all(np.isfinite(array).all() for array in parameters(grey))

    def test_training_goes_on(self, digits64, tmp_path):
        """In two calls, and from a file, bit for bit as in one."""
        X, settings = digits64[0], SETTINGS | {"warm_start": True, "centered": True}
        whole = DeepBoltzmannMachine((12, 10, 7), **settings).fit(X).partial_fit(X[:50])
        parts = DeepBoltzmannMachine((12, 10, 7), **settings | {"n_iter": 1}).fit(X)
        parts.save(tmp_path / "machine")
        for half in (pickle.loads(pickle.dumps(parts)), DeepBoltzmannMachine.load(tmp_path / "machine"), parts):
            half.fit(X).partial_fit(X[:50])
            assert_same(half, whole)
            assert half.n_iter_ == 2

    def test_greedy_training(self, digits64):
        settings = SETTINGS | {"n_iter": 0, "pretraining_n_iter": (2, 1, 1), "pretraining_learning_rate": 0.1}
        machine = DeepBoltzmannMachine((12, 10, 7), **settings).fit(digits64[0])
        layers = [(record["layer"], record["iteration"]) for record in machine.pretraining_history_]
        assert layers == [(1, 1), (1, 2), (2, 1), (3, 1)]
        untrained = DeepBoltzmannMachine((12, 10, 7), **SETTINGS | {"n_iter": 0}).fit(digits64[0])
        errors = [((each.reconstruct(digits64[0]) - digits64[0]) ** 2).mean() for each in (machine, untrained)]
        assert errors[0] < 0.9 * errors[1]

    def test_callbacks_and_progress(self, digits64, capsys):
        seen = []

        def look(machine, record):
            seen.append((machine.n_iter_, record["reconstruction_error"]))
            return True

        machine = DeepBoltzmannMachine((12, 10), **SETTINGS, callbacks=look, verbose=1).fit(digits64[0])
        assert machine.n_iter_ == 1
        assert seen[0][0] == 1
        assert 0 < seen[0][1] < 1
        assert "mean-field updates" in capsys.readouterr().out

    def test_a_limit_on_norms(self, digits64):
        machine = DeepBoltzmannMachine((12, 10), **SETTINGS, learning_rate=0.5, max_norm=0.3).fit(digits64[0])
        assert all(np.linalg.norm(array, axis=0).max() < 0.3 + 1e-5 for array in machine.coefs_)

    def test_a_fit_that_fails_changes_nothing(self, digits64):
        machine = DeepBoltzmannMachine((12, 10), **SETTINGS, warm_start=True).fit(digits64[0])
        before = pickle.loads(pickle.dumps(machine))
        with pytest.raises(ValueError, match="524288|NaN or infinity"), np.errstate(all="ignore"):
            machine.set_params(learning_rate=1e9, n_iter=9).fit(digits64[0])
        assert_same(machine, before)


# ----------------------------------------------------------------------------------------------------------- mean field


class TestMeanField:
    def test_it_is_a_fixed_point(self, machine, digits64):
        X = digits64[0][:50]
        found = clone(machine).set_params(mean_field_tol=1e-7, mean_field_max_updates=1000).fit(X).mean_field(X)
        assert [means.shape for means in found.means] == [(50, 12), (50, 10), (50, 7)]
        exact = pickle.loads(pickle.dumps(machine)).set_params(mean_field_tol=1e-7, mean_field_max_updates=1000)
        means = exact.mean_field(X).means
        (W1, W2, W3), (b1, b2, b3) = machine.coefs_, machine.intercepts_
        for got, logits in zip(
            means, (X @ W1 + means[1] @ W2.T + b1, means[0] @ W2 + means[2] @ W3.T + b2, means[1] @ W3 + b3), strict=False
        ):
            np.testing.assert_allclose(got, 1 / (1 + np.exp(-logits)), atol=1e-5)

    def test_layers_of_transform(self, machine, classifier, digits64):
        X = digits64[0]
        for each, widths in ((machine, [12, 10, 7]), (classifier, [12, 10])):
            both = each.transform(X, layers="all")
            parts = [each.transform(X, layers=number + 1) for number in range(len(widths))]
            assert [part.shape[1] for part in parts] == widths
            np.testing.assert_array_equal(both, np.concatenate(parts, axis=1))
            np.testing.assert_array_equal(each.transform(X), parts[-1])
            np.testing.assert_array_equal(each.transform(csr_array(X)), parts[-1])
            np.testing.assert_array_equal(each.transform(X[7:8]), parts[-1][7:8])
            assert each.transform(X.astype(np.float32)).dtype == np.float32
            for wrong in (0, len(widths) + 1, "some", True):
                with pytest.raises(ValueError, match="layers must be 'top', 'all' or the number of a layer, 1 to"):
                    each.transform(X, layers=wrong)

    def test_down_and_up(self, machine, digits64):
        X = digits64[0]
        means = machine.mean_field(X).means[0]
        expected = 1 / (1 + np.exp(-(means @ machine.coefs_[0].T + machine.intercept_visible_)))
        np.testing.assert_allclose(machine.reconstruct(X), expected, rtol=1e-5)
        down = machine.inverse_transform(machine.transform(X))
        assert down.shape == X.shape
        assert ((down > 0) & (down < 1)).all()
        with pytest.raises(ValueError, match=r"H must have shape \(n_samples, 7\), got \(2, 6\)"):
            machine.inverse_transform(np.zeros((2, 6)))

    def test_names_of_features(self, digits64):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(digits64[0][:, :4], columns=list("abcd"))
        machine = DeepBoltzmannMachine((3, 2), **SETTINGS).fit(frame).set_output(transform="pandas")
        top, lower = [f"deepboltzmannmachine{i}" for i in range(2)], [f"deepboltzmannmachine_1_{i}" for i in range(3)]
        for layers, names in (("top", top), (2, top), (1, lower), ("all", lower + top)):
            found = machine.transform(frame[::2], layers=layers)
            assert list(found.columns) == names
            assert list(found.index) == list(frame.index[::2])
        assert list(machine.fit_transform(frame).columns) == top
        with config_context(transform_output="pandas"):
            assert isinstance(machine.set_output(transform="default").transform(frame, 1), np.ndarray)
            assert list(DeepBoltzmannMachine((3, 2), **SETTINGS).fit(frame).transform(frame, 1).columns) == lower


# ------------------------------------------------------------------------------------------------------------- sampling


class TestSampling:
    def test_a_row_does_not_depend_on_how_many(self, machine, classifier):
        for how in ({}, {"init": "chains"}, {"return_mean": True}, {"beta": 0.5}):
            np.testing.assert_array_equal(machine.sample(9, n_steps=5, **how)[:4], machine.sample(4, n_steps=5, **how))
        for few, many in zip(classifier.sample(4, n_steps=5), classifier.sample(9, n_steps=5), strict=True):
            np.testing.assert_array_equal(few, many[:4])

    def test_clamped_layers(self, machine):
        """Any units of any layer keep their values; means are those given the layer above."""
        clamp = {0: HALF, 1: np.full((5, 12), np.nan), 2: np.where(np.arange(10) % 2, 1.0, np.nan), 3: np.eye(7)[:5]}
        clamp[1][2, 3] = 1.0
        rows, chains = machine._sample(
            5, n_steps=6, clamp=clamp, init=None, beta=1.0, return_mean=False, random_state=0
        )  # fmt: skip
        states = [
            naive_unpack(layer, size) for layer, size in zip(chains.layers, (64, 12, 10, 7), strict=True)
        ]  # fmt: skip
        for layer, values in clamp.items():
            held = np.broadcast_to(values, states[layer].shape)
            np.testing.assert_array_equal(np.where(np.isnan(held), states[layer], held), states[layer])
        np.testing.assert_array_equal(rows, states[0])
        means = machine.sample(5, n_steps=6, clamp=clamp, return_mean=True, random_state=0)
        expected = 1 / (1 + np.exp(-(states[1] @ machine.coefs_[0].T + machine.intercept_visible_)))
        np.testing.assert_allclose(means, np.where(np.isnan(HALF), expected, HALF), rtol=1e-4)
        np.testing.assert_array_equal(machine.sample(5, n_steps=6, clamp={0: HALF}), machine.sample(5, n_steps=6, clamp=HALF))

    def test_rows_to_start_from(self, machine, digits64):
        """Hidden layers are drawn from their mean field; without sweeps rows come back."""
        X = digits64[0][:50]
        rows, chains = machine._sample(
            50, n_steps=0, clamp=None, init=X, beta=1.0, return_mean=False, random_state=0
        )  # fmt: skip
        np.testing.assert_array_equal(rows, X)
        drawn, means = naive_unpack(chains.layers[2], 10), machine.mean_field(X).means[1]
        assert abs((drawn - means).mean()) < 4 * np.sqrt((means * (1 - means)).sum()) / means.size

    def test_labels(self, classifier):
        rows, labels = classifier.sample(6, y="odd", n_steps=5)
        assert (labels == "odd").all()
        assert rows.shape == (6, 64)
        given = np.array(["odd", "even", "odd"])
        np.testing.assert_array_equal(classifier.sample(3, y=given, n_steps=5, clamp=HALF)[1], given)
        assert set(classifier.sample(50, n_steps=5)[1]) == {"even", "odd"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n_samples": 0}, "n_samples"), ({"n_steps": -1}, "n_steps"), ({"beta": -1.0}, "beta"),
            ({"clamp": np.full(64, 0.5)}, "clamp must hold 0, 1, and NaN"), ({"clamp": np.zeros(63)}, "clamp must have shape"),
            ({"clamp": {4: np.zeros(7)}}, r"clamp must be by the numbers of layers, 0 \(visible\) to 3, got 4"),
            ({"clamp": {2: np.zeros(9)}}, r"clamp must have shape .*\(layer 2 of clamp\)"),
            ({"init": "start"}, "init must be None, 'chains' or rows"),
            ({"init": np.full(64, 0.5)}, "init must hold only 0 and 1"),
            ({"random_state": -1}, "random_state"),
        ],
        ids=str,
    )  # fmt: skip
    def test_bad_input(self, machine, arguments, message):
        with pytest.raises(ValueError, match=message):
            machine.sample(**{"n_samples": 2, "n_steps": 1} | arguments)

    def test_chains_that_were_never_trained(self):
        machine = DeepBoltzmannMachine.from_weights([np.eye(3), np.eye(3)], [np.zeros(3)] * 3)
        with pytest.raises(ValueError, match="init='chains' needs the chains of training"):
            machine.sample(2, init="chains")
        with pytest.raises(TypeError, match="log_likelihood_bound"):
            evaluation.log_likelihood(machine, np.eye(3))


def naive_unpack(states, n_units):
    return np.unpackbits(states.view(np.uint8), axis=1, bitorder="little")[:, :n_units].astype(float)


# ----------------------------------------------------------------------------------------------------------- classifier


class TestClassifier:
    @pytest.mark.parametrize(
        ("n_classes", "n_iter", "accuracy"), [(4, 12, 0.9), pytest.param(10, 30, 0.82, marks=pytest.mark.slow)]
    )
    def test_learns_digits(self, n_classes, n_iter, accuracy):
        """Half of the rows held out; one hidden layer, as many passes, and all digits give 0.9."""
        X, y = datasets.load_digits()
        X, y = X[y < n_classes], y[y < n_classes]
        machine = DeepBoltzmannClassifier(
            (100, 60), n_iter=n_iter, batch_size=10, n_chains=100, learning_rate=0.05, momentum=0.9, pretraining_n_iter=10,
            learning_rate_schedule="linear", random_state=0,
        ).fit(X[::2], y[::2])  # fmt: skip
        assert machine.score(X[1::2], y[1::2]) > accuracy
        p = machine.predict_proba(X[:5])
        np.testing.assert_allclose(p.sum(axis=1), 1)
        np.testing.assert_allclose(machine.predict_log_proba(X[:5]), np.log(p), rtol=1e-6)

    def test_rows_of_one_class_are_updated_together(self, classifier, digits64):
        """That changes nothing: each row has the mean field of the machine given its class."""
        exact = classifier._rounded("cpu")
        numbers, how = np.arange(20) % 2, classifier._how()
        found = dbm_labels.clamped_mean_field(exact, digits64[0][:20].astype(np.float32), numbers, **how)
        for number in range(2):
            some = numbers == number
            alone = dbm.mean_field(
                dbm_labels.given_class(exact.machine, number), digits64[0][:20][some].astype(np.float32), **how
            )
            for mine, theirs in zip(found.means, alone.means, strict=False):
                np.testing.assert_allclose(mine[some], theirs, atol=2e-3)
        np.testing.assert_array_equal(found.means[-1], np.eye(2)[numbers])

    def test_files_and_resuming(self, classifier, digits64, tmp_path):
        classifier.save(tmp_path / "machine")
        loaded = DeepBoltzmannClassifier.load(tmp_path / "machine")
        assert_same(loaded, classifier)
        assert loaded.classes_.tolist() == ["even", "odd"]
        assert loaded.history_ == classifier.history_
        assert loaded.pretraining_history_ == classifier.pretraining_history_
        np.testing.assert_array_equal(loaded.predict_proba(digits64[0]), classifier.predict_proba(digits64[0]))
        copies = [pickle.loads(pickle.dumps(each)).partial_fit(*digits64) for each in (loaded, classifier)]
        assert_same(*copies)

    def test_labels_that_are_none(self, classifier, digits64):
        X, _ = digits64
        with pytest.raises(ValueError, match="unknown labels"):
            pickle.loads(pickle.dumps(classifier)).partial_fit(X[:2], ["odd", "prime"])
        with pytest.raises(ValueError, match="classes must be passed"):
            DeepBoltzmannClassifier((3, 2)).partial_fit(X, np.arange(200) % 2)
        with pytest.raises(ValueError, match="unknown labels"):
            classifier.sample(2, y="prime")


class TestPerceptrons:
    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_it_begins_with_the_machine(self, machine, digits64):
        X, y = digits64
        model = machine.fine_tune(X, y, max_iter=5, random_state=0, learning_rate_init=1e-12, n_iter_no_change=9)
        perceptron, features = model.named_steps["perceptron"], model.named_steps["features"].transform(X)
        assert [array.shape for array in perceptron.coefs_] == [(74, 12), (12, 10), (10, 7), (7, 1)]
        np.testing.assert_array_equal(features, np.concatenate([X, machine.transform(X, layers=2)], axis=1))
        first = 1 / (1 + np.exp(-(features @ perceptron.coefs_[0] + perceptron.intercepts_[0])))
        np.testing.assert_allclose(first, machine.transform(X, layers=1), atol=2e-3)
        np.testing.assert_allclose(perceptron.coefs_[1], machine.coefs_[1], atol=1e-6)

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_it_learns_and_predicts_raw_rows(self, machine, classifier, digits64):
        X, y = digits64
        for each in (machine, classifier):
            model = each.fine_tune(X, y, max_iter=60, random_state=0, learning_rate_init=0.01)
            assert model.score(X, y) > 0.9
            assert set(model.predict(X)) == {"even", "odd"}
            assert model.predict_proba(X[:3]).shape == (3, 2)
        numbers = machine.fine_tune(X, X[:, :2], task="regression", max_iter=3, random_state=0)
        assert numbers.predict(X[:3]).shape == (3, 2)

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_names_of_features(self, machine, digits64):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(digits64[0][:, :4], columns=list("abcd"))
        for sizes, more in (((3, 2, 2), ["_2_0", "_2_1"]), ((3, 2), ["0", "1"]), (3, [])):
            features = MeanFieldFeatures(DeepBoltzmannMachine(sizes, **SETTINGS).fit(frame))
            names = [*"abcd", *(f"deepboltzmannmachine{each}" for each in more)]
            assert list(features.get_feature_names_out()) == names
            assert list(features.set_output(transform="pandas").transform(frame).columns) == names
            with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
                features.get_feature_names_out(list("dcba"))
        model = machine.fine_tune(*digits64, task="classification", max_iter=1)
        assert len(model[:-1].get_feature_names_out()) == 64 + 10

    def test_what_the_machine_decides(self, machine, digits64):
        with pytest.raises(ValueError, match="activation is decided by the machine"):
            machine.fine_tune(*digits64, activation="relu")
        with pytest.raises(ValueError, match="task must be one of"):
            machine.fine_tune(*digits64, task="both")

    def test_rows_with_names(self, digits64):
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame(digits64[0]).add_prefix("pixel")
        machine = DeepBoltzmannMachine((12, 10, 7), **SETTINGS).fit(X).set_output(transform="pandas")
        features = MeanFieldFeatures(machine).transform(X)  # warns of nothing
        np.testing.assert_array_equal(features, np.hstack([X, machine.mean_field(X).means[1]]))


# ------------------------------------------------------------------------------------------------------ input and files


class TestInput:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"hidden_layer_sizes": (12, 0)}, "hidden_layer_sizes must be the numbers of units"),
            ({"hidden_layer_sizes": ()}, "hidden_layer_sizes must be the numbers of units"),
            ({"mean_field_damping": 1.0}, "mean_field_damping"), ({"mean_field_max_updates": 0}, "mean_field_max_updates"),
            ({"max_norm": 0.0}, "max_norm"),
            ({"pretraining_n_iter": (1, 2)}, "pretraining_n_iter must be one value, or one for"),
            ({"pretraining_momentum": (0.0, 0.5, 1.0)}, "pretraining_momentum"),
        ],
        ids=str,
    )  # fmt: skip
    def test_bad_parameters(self, digits64, settings, message):
        with pytest.raises(ValueError, match=message):
            DeepBoltzmannMachine(**{"hidden_layer_sizes": (12, 10, 7)} | SETTINGS | settings).fit(digits64[0])

    def test_other_layers_on_a_warm_start(self, machine, digits64):
        for change, message in (({"hidden_layer_sizes": (12, 10)}, "hidden_layer_sizes"), ({"n_chains": 7}, "n_chains=7")):
            other = pickle.loads(pickle.dumps(machine)).set_params(warm_start=True, **change)
            with pytest.raises(ValueError, match=f"{message}.*does not match"):
                other.fit(digits64[0])

    def test_an_iterator_that_greedy_training_would_use_up(self, digits64):
        with pytest.raises(ValueError, match="iterator, which gives its batches once"):
            DeepBoltzmannMachine((12, 10), **SETTINGS, pretraining_n_iter=1).fit(iter([digits64[0]]))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda weights, biases: (weights[0], biases), "weights must be a list"),
            (lambda weights, biases: (weights, biases[:-1]), "biases must be 3, one for each layer"),
            (lambda weights, biases: (weights[::-1], biases), r"biases\[0\] must have shape \(4,\) to match weights\[0\]"),
            (lambda weights, biases: (weights, [*biases[:2], biases[2] * np.nan]), r"biases\[2\] must be finite"),
            (lambda weights, biases: ([weights[0] * 1e9, weights[1]], biases), "524288"),
        ],
    )
    def test_weights_that_are_none(self, change, message):
        weights, biases = random_layers(np.random.default_rng(0), (5, 4, 3))
        with pytest.raises(ValueError, match=message):
            DeepBoltzmannMachine.from_weights(*change(weights, biases))

    def test_attributes_set_by_hand(self, digits64):
        machine = DeepBoltzmannMachine((12, 10), **SETTINGS).fit(digits64[0])
        machine.sample(2, n_steps=1)
        machine.coefs_[1] = 0.5 * machine.coefs_[1]
        biases = [machine.intercept_visible_, *machine.intercepts_]
        other = DeepBoltzmannMachine.from_weights(machine.coefs_, biases, random_state=3)
        np.testing.assert_array_equal(machine.sample(5, n_steps=5), other.sample(5, n_steps=5))
        machine.coefs_[1] = machine.coefs_[1][:, :3]
        with pytest.raises(ValueError, match="do not fit together with 64 features"):
            machine.sample(2)

    def test_numbers_too_large_for_float32(self, machine, classifier, digits64):
        X = 1e200 * digits64[0][:3]
        for rows in (X, csr_array(X)):
            for method in (machine.transform, machine.reconstruct, machine.free_energy, classifier.predict_proba):
                with pytest.raises(ValueError, match="X must hold numbers up to"):
                    method(rows)
        with pytest.raises(ValueError, match="H must hold numbers up to"):
            machine.inverse_transform(np.full((2, 7), 1e200))

    @pytest.mark.parametrize("log_z", [np.nan, np.inf, "3", True, [1.0], 1j], ids=repr)
    def test_log_z_that_is_none(self, machine, digits64, log_z):
        with pytest.raises(ValueError, match="log_z must be None, a finite number or a LogPartition"):
            machine.log_likelihood_bound(digits64[0][:2], log_z)

    def test_files_that_are_none(self, machine, tmp_path):
        machine.save(tmp_path / "machine")
        arrays, header = _persistence.read(tmp_path / "machine", "DeepBoltzmannMachine")
        for name, wrong in (
            ("machine.weights.1", lambda array: array.T),
            ("chains.2", lambda array: array | np.uint64(1 << 63)),
        ):
            _persistence.write(tmp_path / "other", "DeepBoltzmannMachine", arrays | {name: wrong(arrays[name])}, header)
            with pytest.raises(ValueError, match="tampered with"):
                DeepBoltzmannMachine.load(tmp_path / "other")
        with pytest.raises(ValueError, match="is of class DeepBoltzmannMachine, not DeepBoltzmannClassifier"):
            DeepBoltzmannClassifier.load(tmp_path / "machine")


def test_weights_of_the_lowest_layer_are_drawn(machine):
    pytest.importorskip("matplotlib")
    from fastbm import plotting

    assert plotting.plot_weights(machine).get_title() == "weights of all 12 hidden units"


def test_folded_machines_know_their_chains(machine):
    rows = machine._chain_rows()
    assert rows.shape == (machine.n_chains, 64 + 10)
    assert ((rows == 0) | (rows == 1)).all()
    draws = evaluation.trace(machine, n_chains=2, n_steps=5, init="chains", random_state=0)
    assert draws.shape == (2, 5)
    assert np.isfinite(draws).all()
    assert isinstance(machine._machine(), DBM)


# ------------------------------------------------------------------------------------------------------------------ GPU


@pytest.mark.gpu
class TestGPU:
    @pytest.mark.parametrize("kind", ["machine", "classifier"])
    def test_the_same_samples_as_on_the_cpu(self, gpu, kind, digits64, request):
        fitted = request.getfixturevalue(kind)
        there = pickle.loads(pickle.dumps(fitted)).to("cuda")
        for how in ({}, {"clamp": {0: HALF, 2: np.ones(10)}}, {"init": digits64[0][:3]}, {"init": "chains", "beta": 0.5}):
            got, expected = there.sample(3, n_steps=4, **how), fitted.sample(3, n_steps=4, **how)
            if kind == "classifier":
                np.testing.assert_array_equal(got[1], expected[1])
                got, expected = got[0], expected[0]
            assert isinstance(got, gpu.ndarray)
            np.testing.assert_array_equal(got.get(), expected)

    @pytest.mark.parametrize("kind", ["machine", "classifier"])
    def test_rows_are_answered_where_they_live(self, gpu, kind, digits64, request):
        fitted, X = request.getfixturevalue(kind), digits64[0][:9]
        names = ["transform", "reconstruct", "free_energy", *(["predict_proba"] if kind == "classifier" else [])]
        for name in names:
            got = getattr(fitted, name)(gpu.asarray(X))
            assert isinstance(got, gpu.ndarray)
            np.testing.assert_allclose(got.get(), getattr(fitted, name)(X), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("estimator", [DeepBoltzmannMachine, DeepBoltzmannClassifier])
    def test_training_agrees_with_the_cpu(self, gpu, estimator, digits64):
        settings = SETTINGS | {"n_iter": 1, "batch_size": 50, "pretraining_n_iter": 1}
        here, there = (estimator((12, 10), device=device, **settings).fit(*digits64) for device in ("cpu", "cuda"))
        assert there.device_ == "cuda:0"
        for mine, theirs in zip(parameters(there), parameters(here), strict=True):
            assert isinstance(mine, np.ndarray)
            np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)
