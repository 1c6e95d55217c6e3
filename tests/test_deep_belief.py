"""DeepBeliefNetwork and DeepBeliefClassifier: fit, passes, samples, predictions, bounds and files."""

from __future__ import annotations

import pickle

import deep
import naive
import numpy as np
import pytest
from scipy.sparse import csr_array

from fastbm import BernoulliRBM, DeepBeliefClassifier, DeepBeliefNetwork, RBMClassifier, StackedRBM, datasets, evaluation
from fastbm.estimators import _persistence
from fastbm.estimators._dbn_fitted import ARRAYS

SETTINGS = {"batch_size": 20, "n_iter": 2, "up_down_n_iter": 2, "random_state": 3}
CLASSES = np.array(["even", "odd"])


@pytest.fixture(scope="module")
def digits64():
    """Binary digits, 200 rows, and whether they are odd."""
    X, y = datasets.load_digits()
    return datasets.binarise(X[:200]).astype(np.float64), CLASSES[y[:200] % 2]


@pytest.fixture(scope="module")
def network(digits64):
    return DeepBeliefNetwork((12, 10, 7), **SETTINGS).fit(digits64[0])


@pytest.fixture(scope="module")
def classifier(digits64):
    return DeepBeliefClassifier((12, 10, 7), **SETTINGS, up_down_momentum=0.5).fit(*digits64)


def assert_same(first, second):
    for name in ARRAYS:
        for mine, theirs in zip(getattr(first, name), getattr(second, name), strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
    for name in ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_"):
        np.testing.assert_array_equal(getattr(first.top_, name), getattr(second.top_, name), err_msg=name)


# -------------------------------------------------------------------------------------------------------- equivalences


class TestEquivalences:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_one_layer_without_fine_tuning_is_the_restricted_machine(self, digits64, dtype):
        X, parameters = digits64[0].astype(dtype), {"batch_size": 20, "n_iter": 2, "random_state": 3}
        machine = BernoulliRBM(12, shuffle=True, **parameters).fit(X)
        network = DeepBeliefNetwork(12, up_down_n_iter=0, **parameters).fit(X)
        np.testing.assert_array_equal(network.top_.components_, machine.components_)
        clamp = np.where(np.arange(64) < 20, X[0], np.nan)
        for how in ({}, {"clamp": clamp}, {"init": X[:5]}, {"init": "chains", "beta": 0.5}):
            np.testing.assert_array_equal(network.sample(5, n_steps=7, **how), machine.sample(5, n_steps=7, **how))
        for name in ("transform", "reconstruct"):
            np.testing.assert_array_equal(getattr(network, name)(X), getattr(machine, name)(X))

    def test_one_layer_with_labels_is_the_classifier(self, digits64):
        X, y = digits64
        parameters = {"batch_size": 20, "n_iter": 2, "random_state": 3}
        machine = RBMClassifier(12, centered=False, **parameters).fit(X, y)
        network = DeepBeliefClassifier(12, up_down_n_iter=0, **parameters).fit(X, y)
        np.testing.assert_array_equal(network.predict_proba(X), machine.predict_proba(X))
        for got, expected in zip(network.sample(5, y="odd", n_steps=7), machine.sample(5, y="odd", n_steps=7), strict=True):
            np.testing.assert_array_equal(got, expected)

    def test_without_fine_tuning_it_is_the_stack_untied(self, digits64):
        parameters = {"batch_size": 20, "n_iter": (1, 2), "random_state": 3, "learning_rate": (0.1, 0.05)}
        stack = StackedRBM((12, 7), centered=False, **parameters).fit(digits64[0])
        network = DeepBeliefNetwork((12, 7), up_down_n_iter=0, **parameters).fit(digits64[0])
        np.testing.assert_array_equal(network.coefs_[0], stack.coefs_[0])
        np.testing.assert_array_equal(network.generative_coefs_[0], stack.coefs_[0].T)
        np.testing.assert_array_equal(network.generative_intercepts_[0], stack.intercepts_visible_[0])
        np.testing.assert_array_equal(network.top_.components_, stack.rbms_[1].components_)
        np.testing.assert_allclose(network.transform(digits64[0]), stack.transform(digits64[0]), rtol=1e-6)
        np.testing.assert_allclose(network.reconstruct(digits64[0]), stack.reconstruct(digits64[0]), rtol=1e-6)
        assert [(record["layer"], record["iteration"]) for record in network.pretraining_history_] == [(0, 1), (1, 1), (1, 2)]

    def test_results_do_not_depend_on_threads(self, digits64, network, n_threads):
        assert_same(DeepBeliefNetwork((12, 10, 7), **SETTINGS).fit(digits64[0]), network)

    def test_a_gpu_trains_and_samples_the_same(self, digits64, classifier, gpu):
        X, y = digits64
        there = DeepBeliefClassifier((12, 7), **SETTINGS, device="cuda").fit(X[:40], y[:40])
        here = DeepBeliefClassifier((12, 7), **SETTINGS).fit(X[:40], y[:40])
        for name in ARRAYS:
            np.testing.assert_allclose(getattr(there, name)[0], getattr(here, name)[0], rtol=1e-4, atol=1e-5)
        moved = pickle.loads(pickle.dumps(classifier)).to("cuda")
        clamp = np.where(np.arange(64) < 20, X[0], np.nan)
        for how in ({"y": "odd"}, {"clamp": clamp}):
            rows, labels = moved.sample(5, n_steps=5, **how)
            expected = classifier.sample(5, n_steps=5, **how)
            np.testing.assert_array_equal(rows.get(), expected[0])
            np.testing.assert_array_equal(labels, expected[1])


# ------------------------------------------------------------------------------------------------------------ training


class TestTraining:
    def test_warm_start_goes_on_bit_for_bit(self, digits64):
        X, y = digits64
        how = SETTINGS | {"up_down_learning_rate_schedule": "constant", "up_down_momentum": 0.5}
        whole = DeepBeliefClassifier((12, 7), **how | {"up_down_n_iter": 4}).fit(X, y)
        halves = DeepBeliefClassifier((12, 7), **how, warm_start=True).fit(X, y).fit(X, y)
        assert_same(whole, halves)
        assert halves.n_iter_ == 4
        assert [record["iteration"] for record in halves.history_] == [1, 2, 3, 4]

    def test_partial_fit_starts_and_goes_on(self, digits64):
        X, y = digits64
        network = DeepBeliefClassifier((12, 7), random_state=0).partial_fit(X[:1], y[:1], classes=CLASSES)
        before = network.coefs_[0].copy()
        network.partial_fit(X[:20], y[:20])
        assert (network.coefs_[0] != before).any()
        assert network._updates == 2
        streamed = DeepBeliefNetwork((12, 7), random_state=0).partial_fit([X[:20], X[20:50]])
        assert_same(streamed, DeepBeliefNetwork((12, 7), random_state=0).partial_fit(X[:20]).partial_fit(X[20:50]))

    def test_rows_of_weight_nothing_are_not_there(self, digits64):
        X, weights = digits64[0], np.repeat([2.0, 0.0], 100)
        light = DeepBeliefNetwork((6, 5), **SETTINGS).fit(X, sample_weight=weights)
        np.testing.assert_allclose(light.coefs_[0], DeepBeliefNetwork((6, 5), **SETTINGS).fit(X[:100]).coefs_[0], rtol=1e-5)

    def test_it_learns_and_up_down_helps(self, digits):
        """Errors on held-out digits; and samples of a class are taken for it by the network itself."""
        y = datasets.load_digits()[1][np.random.default_rng(0).permutation(1797)]
        network = DeepBeliefClassifier(
            (100, 80, 200), batch_size=20, n_iter=20, momentum=0.5, algorithm="cd", up_down_n_iter=0, up_down_learning_rate=0.1,
            random_state=0, warm_start=True,
        ).fit(digits[0], y[:1500])  # fmt: skip
        before = network.score(digits[1], y[1500:])
        after = network.set_params(up_down_n_iter=20).fit(digits[0], y[:1500]).score(digits[1], y[1500:])
        assert after > max(before, 0.84)
        rows, labels = network.sample(100, y=np.arange(100) % 10, n_steps=200, return_mean=True)
        assert (labels == np.arange(100) % 10).all()
        assert (network.predict(rows) == labels).mean() > 0.7

    def test_progress_history_and_callbacks(self, digits64, capsys):
        seen = []

        def watch(network, record):
            seen.append((record, network.transform(digits64[0][:2]).shape))
            return len(seen) == 2

        network = DeepBeliefNetwork((6, 5), **SETTINGS | {"up_down_n_iter": 5}, verbose=1, callbacks=watch).fit(digits64[0])
        assert network.n_iter_ == 2
        assert [record for record, _ in seen] == network.history_
        assert seen[0][1] == (2, 5)
        assert network.history_[0]["n_gibbs_steps"] == 3
        assert 0 < network.history_[0]["reconstruction_error"] < 1
        assert "[DeepBeliefNetwork] Iteration 2, reconstruction error = " in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"up_down_learning_rate": 0}, "'up_down_learning_rate' parameter of DeepBeliefNetwork"),
            ({"top_algorithm": "pt"}, "'top_algorithm' parameter"),
            ({"n_iter": (1, 2, 3)}, "one for each of the 2 layers"),
            ({"hidden_layer_sizes": (4, 0)}, "at least 1 each"),
            ({"hidden_layer_sizes": (4, 5)}, "does not match the layers already fitted, \\[6, 5\\]"),
            ({"up_down_learning_rate": 1e30}, "learning rate"),
            ({"callbacks": [1]}, "must be callable"),
            ({"n_top_gibbs_steps_schedule": lambda fraction: -1}, "n_top_gibbs_steps_schedule\\(0\\) must be"),
        ],
    )
    def test_a_fit_that_fails_changes_nothing(self, digits64, parameters, message):
        network = DeepBeliefNetwork((6, 5), **SETTINGS, warm_start=True).fit(digits64[0])
        kept = pickle.dumps({name: value for name, value in vars(network).items() if name.endswith("_")})
        with pytest.raises(ValueError, match=message):
            network.set_params(**parameters).fit(digits64[0])
        assert pickle.dumps({name: value for name, value in vars(network).items() if name.endswith("_")}) == kept

    def test_batches_that_come_once(self, digits64):
        """None is lost: partial_fit takes them as they come, and fit, which needs them again, says so."""
        X, how = digits64[0], {"batch_size": 20, "random_state": 3}
        streamed = DeepBeliefNetwork((6, 5), **how).partial_fit(X[i : i + 20] for i in (0, 20, 40))
        expected = DeepBeliefNetwork((6, 5), **how).partial_fit([X[:20], X[20:40], X[40:60]])
        assert_same(streamed, expected)
        assert streamed._updates == 3
        with pytest.raises(ValueError, match="X is an iterator, which gives its batches once"):
            DeepBeliefNetwork((6, 5), n_iter=1, **how).fit(X[i : i + 20] for i in (0, 20, 40))

    @pytest.mark.parametrize("train", ["partial_fit", "fit", "go on"])
    def test_values_that_are_not_probabilities_are_said(self, digits64, train):
        X = 255 * digits64[0][:40]
        network = DeepBeliefNetwork((6, 5), batch_size=20, n_iter=0, up_down_n_iter=1, random_state=0, warm_start=True)
        if train == "go on":
            network.fit(digits64[0])
        with pytest.warns(UserWarning, match="X has values between 0 and 255"):
            network.partial_fit(X) if train == "partial_fit" else network.fit(X)

    def test_accuracy_on_a_gpu(self, digits64, gpu):
        X, y = digits64
        network = DeepBeliefClassifier((6, 5), **SETTINGS, callbacks=lambda network, record: True, device="cuda")
        assert 0 <= network.fit(X[:20], y[:20]).history_[0]["accuracy"] <= 1
        with pytest.raises(ValueError, match="Input H contains NaN"):
            network.inverse_transform(gpu.asarray(np.full((1, 5), np.nan)))

    def test_labels_that_are_unknown(self, digits64, classifier):
        X, y = digits64
        with pytest.raises(ValueError, match="unknown labels"):
            pickle.loads(pickle.dumps(classifier)).partial_fit(X[:2], ["odd", "prime"])
        with pytest.raises(ValueError, match="classes must be passed"):
            DeepBeliefClassifier(3).partial_fit(X, y)


# ------------------------------------------------------------------------------------------------------ samples, bounds


class TestSamples:
    def test_row_i_does_not_depend_on_the_others(self, digits64, classifier):
        clamp = np.where(np.arange(64) < 20, digits64[0][0], np.nan)
        for how in ({"y": "even"}, {"clamp": clamp}, {"clamp": clamp, "y": "odd", "init": digits64[0][3]}, {"init": "chains"}):
            few, many = (classifier.sample(n, n_steps=4, random_state=1, **how) for n in (3, 9))
            np.testing.assert_array_equal(few[0], many[0][:3])
            np.testing.assert_array_equal(few[1], many[1][:3])
            if "clamp" in how:
                np.testing.assert_array_equal(many[0][:, :20], np.broadcast_to(clamp[:20], (9, 20)))
            if "y" in how:
                assert set(many[1]) == {how["y"]}

    def test_means_of_clamped_rows_without_a_sweep(self, digits64, network):
        """They are those of one pass down from the start, and of rows, of a pass up and down."""
        X, clamp = digits64[0], np.where(np.arange(64) < 20, digits64[0][0], np.nan)
        for init in (None, "chains", X[0]):
            how = {"n_steps": 0, "init": init, "return_mean": True}
            rows = network.sample(3, clamp=clamp, **how)
            np.testing.assert_array_equal(rows[:, :20], np.broadcast_to(clamp[:20], (3, 20)))
            np.testing.assert_array_equal(rows[:, 20:], network.sample(3, **how)[:, 20:])

    def test_samples_have_the_distribution_of_the_network(self):
        """Visible states of 3–3–2–3 against enumeration, drawn and as means."""
        rng = np.random.default_rng(5)
        machine = deep.random_dbn(rng, (3, 3, 2, 3), scale=1.0)
        network = deep.estimator_of(machine)
        states = naive.all_states(3)
        expected = np.exp(deep.log_likelihood(machine, states))
        rows = network.sample(20_000, n_steps=30, random_state=0)
        found = np.bincount(rows.astype(int) @ [1, 2, 4], minlength=8) / len(rows)
        assert (np.abs(found - expected) < 4.5 * np.sqrt(expected / len(rows))).all()
        means = network.sample(20_000, n_steps=30, random_state=1, return_mean=True)
        assert (np.abs(means.mean(axis=0) - expected @ states) < 4.5 * 0.5 / np.sqrt(len(rows))).all()

    def test_the_bound_is_that_of_enumeration(self):
        rng = np.random.default_rng(6)
        machine = deep.random_dbn(rng, (5, 4, 3, 4))
        rows = naive.all_states(5)[::3]
        found = deep.estimator_of(machine).log_likelihood_bound(rows, n_draws=4000, random_state=0)
        expected = deep.bound(machine, rows)
        assert (np.abs(found - expected) < 0.15).all()
        assert abs((found - expected).mean()) < 0.03
        assert (expected <= deep.log_likelihood(machine, rows)).all()

    def test_of_one_layer_it_is_the_likelihood(self, digits64):
        machine = BernoulliRBM(5, n_iter=1, random_state=0).fit(digits64[0])
        network = DeepBeliefNetwork(5, n_iter=1, shuffle=False, up_down_n_iter=0, random_state=0, batch_size=10).fit(
            digits64[0]
        )
        np.testing.assert_allclose(network.log_likelihood_bound(digits64[0]), machine.log_likelihood(digits64[0]), rtol=1e-6)

    def test_log_z_with_labels(self):
        rng = np.random.default_rng(7)
        features, of_labels = deep.random_rbm(rng, 6, 4), deep.random_rbm(rng, 3, 4)
        machine = RBMClassifier.from_weights(*features, of_labels.weights, of_labels.visible_bias)
        terms = [
            bias + naive.log_partition(features.weights, features.visible_bias, features.hidden_bias + weights)
            for weights, bias in zip(of_labels.weights, of_labels.visible_bias, strict=True)
        ]
        expected = naive.log_sum_exp(np.array(terms))
        assert evaluation.log_partition(machine).log_z == pytest.approx(expected, abs=1e-6)
        annealed = evaluation.log_partition(machine, "ais", n_chains=200, n_betas=200, random_state=0)
        assert abs(annealed.log_z - expected) < 5 * annealed.stderr
        states = naive.all_states(6)
        assert np.exp(evaluation.log_likelihood(machine, states)).sum() == pytest.approx(1.0, abs=1e-6)


# --------------------------------------------------------------------------------------------------------------- files


class TestFiles:
    def test_a_loaded_network_goes_on_bit_for_bit(self, digits64, classifier, tmp_path):
        X, y = digits64
        classifier = pickle.loads(pickle.dumps(classifier))
        classifier.save(tmp_path / "network")
        loaded = DeepBeliefClassifier.load(tmp_path / "network")
        assert_same(loaded, classifier)
        assert repr(loaded) == repr(classifier)
        assert loaded.history_ == classifier.history_
        for got, expected in zip(loaded.sample(4, n_steps=3), classifier.sample(4, n_steps=3), strict=True):
            np.testing.assert_array_equal(got, expected)
        for each in (loaded, classifier):
            each.set_params(warm_start=True).fit(X, y).partial_fit(X[:10], y[:10])
        assert_same(loaded, classifier)

    @pytest.mark.parametrize(
        "forge",
        [
            lambda arrays, header: arrays.pop("coefs_.0"),
            lambda arrays, header: arrays.update({"coefs_.1": arrays["coefs_.0"]}),
            lambda arrays, header: arrays.update({"intercepts_.0": np.full(12, np.nan)}),
            lambda arrays, header: header.update(n_layers=1),
            lambda arrays, header: header.update(_updates=-1),
            lambda arrays, header: header["parameters"].update(hidden_layer_sizes=[3, 3, 3]),
            lambda arrays, header: header["top"].update(_seed="x"),
            lambda arrays, header: arrays.pop("velocity.generative.0.bias"),
        ],
    )
    def test_forged_files(self, classifier, tmp_path, forge):
        classifier.save(tmp_path / "network")
        arrays, header = _persistence.read(tmp_path / "network", "DeepBeliefClassifier")
        forge(arrays, header)
        _persistence.write(
            tmp_path / "forged",
            "DeepBeliefClassifier",
            arrays,
            {k: v for k, v in header.items() if k not in ("class", "format")},
        )
        with pytest.raises(ValueError, match="was tampered with"):
            DeepBeliefClassifier.load(tmp_path / "forged")
        with pytest.raises(ValueError, match="DeepBeliefClassifier"):
            DeepBeliefNetwork.load(tmp_path / "network")


class TestRows:
    def test_sparse_rows_and_what_does_not_fit(self, digits64, network):
        X = digits64[0]
        np.testing.assert_allclose(network.transform(csr_array(X[:5])), network.transform(X[:5]), rtol=1e-6)
        assert network.transform(X[:5].astype(np.float32)).dtype == np.float32
        assert network.inverse_transform(network.transform(X[:5])).shape == (5, 64)
        np.testing.assert_allclose(
            network.log_likelihood_bound(csr_array(X[:3]), 0.0), network.log_likelihood_bound(X[:3], 0.0)
        )
        for call, message in [
            (lambda: network.transform(X[:, :5]), "X has 5 features"),
            (lambda: network.inverse_transform(np.ones((2, 3))), "H must have shape \\(n_samples, 7\\)"),
            (lambda: network.sample(2, clamp=np.ones(3)), "clamp must have shape"),
            (lambda: network.sample(2, init="data"), "init must be None"),
            (lambda: network.sample(0), "n_samples"),
            (lambda: network.sample(2, beta=-1), "beta must lie"),
        ]:
            with pytest.raises(ValueError, match=message):
                call()

    def test_parameters_set_by_hand_must_fit(self, digits64, network):
        network = pickle.loads(pickle.dumps(network))
        network.coefs_[1] = network.coefs_[1][:, :3]
        with pytest.raises(ValueError, match=r"coefs_\[1\].* do not fit together with 12 units below and 10 above"):
            network.transform(digits64[0])
        del network.coefs_[1]
        with pytest.raises(ValueError, match=r"an array for each directed layer, got \[1, 2, 2, 2\]"):
            network.transform(digits64[0])

    def test_parameters_that_cannot_be_loaded_are_not_saved(self, network, tmp_path):
        network = pickle.loads(pickle.dumps(network))
        network.generative_coefs_[0] = np.ones((12, 64), int)
        network.save(tmp_path / "network")
        assert (DeepBeliefNetwork.load(tmp_path / "network").generative_coefs_[0] == 1.0).all()
        network.generative_coefs_[0] = np.full((12, 64), np.nan)
        with pytest.raises(ValueError, match="NaN or infinity"):
            network.save(tmp_path / "network")
