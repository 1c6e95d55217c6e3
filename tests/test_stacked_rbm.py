"""StackedRBM: layers trained greedily, each a BernoulliRBM; passes, perceptrons and files of a stack."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline

from fastbm import BernoulliRBM, StackedRBM, chain, datasets
from fastbm.chain import Purpose
from fastbm.estimators import _persistence
from fastbm.training import greedy
from fastbm.units import bernoulli

SETTINGS = {"batch_size": 20, "n_iter": 2, "random_state": 3}
FITTED = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")
ONE_STEP = {"batch_size": 200, "max_iter": 1, "learning_rate_init": 0.01, "random_state": 0}
NO_STEP = ONE_STEP | {"learning_rate_init": 1e-30}


@pytest.fixture(scope="module")
def grey():
    """Grey digits, 200 rows, and their labels."""
    X, y = datasets.load_digits()
    return X[:200], y[:200]


@pytest.fixture(scope="module")
def stack(grey):
    return StackedRBM((12, 7), **SETTINGS).fit(grey[0])


def assert_same(first, second):
    for name in FITTED:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def assert_same_stack(first, second):
    for pair in zip(first.rbms_, second.rbms_, strict=True):
        assert_same(*pair)


# -------------------------------------------------------------------------------------------------------- the training


class TestGreedy:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("options", [{}, {"algorithm": "cd", "momentum": 0.5, "sparsity_target": 0.2}])
    def test_one_layer_is_the_machine_bit_for_bit(self, grey, dtype, options):
        X, parameters = grey[0].astype(dtype), {**SETTINGS, **options}
        machine = BernoulliRBM(12, centered=True, shuffle=True, **parameters).fit(X)
        alone = StackedRBM(12, **parameters).fit(X)
        assert_same(alone.rbms_[0], machine)
        assert [{"layer": 0, **record, "seconds": 0} for record in machine.history_] == [
            {**record, "seconds": 0} for record in alone.history_
        ]
        assert_same(alone.partial_fit(X[:30]).rbms_[0], machine.partial_fit(X[:30]))

    def test_a_generator_seeds_the_first_layer_as_it_does_a_machine(self, grey):
        parameters = SETTINGS | {"random_state": np.random.RandomState(1)}
        alone = StackedRBM((12, 7), **parameters).fit(grey[0])
        parameters["random_state"] = np.random.RandomState(1)
        assert_same(alone.rbms_[0], BernoulliRBM(12, centered=True, shuffle=True, **parameters).fit(grey[0]))

    def test_a_layer_is_the_machine_trained_on_the_means_below(self, grey, stack):
        below, above = stack.rbms_
        means = greedy.hidden_means(below._machine(), grey[0])
        assert means.dtype == np.float32
        np.testing.assert_allclose(means, below.transform(grey[0]), rtol=1e-5)
        parameters = SETTINGS | {"random_state": above.random_state}
        assert_same(above, BernoulliRBM(7, centered=True, shuffle=True, **parameters).fit(means))

    def test_means_do_not_depend_on_how_they_are_worked_out(self, grey, stack, n_threads, monkeypatch):
        machine, rows = stack.rbms_[0]._machine(), (grey[0] > 0.5).astype(np.float32)
        for X in (grey[0], rows):
            expected = greedy.hidden_means(machine, X)
            monkeypatch.setattr(greedy, "ROWS_AT_ONCE", 33)
            np.testing.assert_array_equal(greedy.hidden_means(machine, X), expected)
            np.testing.assert_array_equal(greedy.hidden_means(machine, csr_array(X)), expected)
            monkeypatch.undo()

    def test_layers_share_no_stream(self, stack):
        fitted = StackedRBM((3, 3, 3, 3), n_iter=0, random_state=0).fit(np.eye(4))
        keys = {chain.stream_key(layer._seed, purpose) for layer in fitted.rbms_ for purpose in Purpose}
        assert len(keys) == 4 * len(Purpose)
        seed = np.random.SeedSequence(3, spawn_key=(int(Purpose.LAYER), 1)).generate_state(1)[0]
        assert [layer.random_state for layer in stack.rbms_] == [3, seed]

    def test_it_learns(self, digits):
        """Held-out rows are reconstructed better than by the pixels' means, and the better the longer layers have learnt."""
        train, test = digits
        guess = ((test - train.mean(axis=0)) ** 2).mean()
        errors = {}
        for n_iter in (5, 30):
            stack = StackedRBM((64, 32), batch_size=50, n_iter=n_iter, random_state=0).fit(train)
            errors[n_iter] = np.array([((test - stack.reconstruct(test, n)) ** 2).mean() for n in (1, 2)])
        assert (errors[30] < errors[5]).all()
        assert (errors[30] < guess).all()

    def test_each_layer_has_its_own_parameters(self, grey):
        stack = StackedRBM(
            (4, 3), batch_size=50, n_iter=(1, 3), learning_rate=[0.1, 0.2], algorithm=("cd", "pcd"), l2=1e-3,
            momentum=np.array([0, 0.5]), n_gibbs_steps=(2, 1), sparsity_target=(None, 0.1),
        ).fit(grey[0])  # fmt: skip
        assert stack.n_iter_ == [1, 3]
        assert [(record["layer"], record["learning_rate"], record["n_gibbs_steps"]) for record in stack.history_] == [
            (0, 0.1, 2), *[(1, 0.2, 1)] * 3,
        ]  # fmt: skip
        assert [layer.algorithm for layer in stack.rbms_] == ["cd", "pcd"]
        assert [layer._velocity is None for layer in stack.rbms_] == [True, False]
        assert [layer.sparsity_target for layer in stack.rbms_] == [None, 0.1]
        assert [layer.l2 for layer in stack.rbms_] == [1e-3, 1e-3]
        assert repr(clone(stack)) == repr(stack)

    def test_partial_fit_updates_every_layer_from_the_lowest(self, grey, stack):
        X, pickled = grey[0][:30], pickle.dumps(stack)
        updated = pickle.loads(pickled).partial_fit(X)
        below, above = pickle.loads(pickled).rbms_
        below.partial_fit(X)
        assert_same(updated.rbms_[0], below)
        assert_same(updated.rbms_[1], above.partial_fit(greedy.hidden_means(below._machine(), X)))
        batches = [grey[0][:30], grey[0][30:50]]
        streamed = pickle.loads(pickled).partial_fit(iter(batches))
        assert_same_stack(streamed, updated.partial_fit(batches[1]))
        assert streamed.n_iter_ == [2, 2]

    def test_partial_fit_starts_a_stack(self, grey):
        stack = StackedRBM((5, 4), random_state=0).partial_fit(grey[0][:20])
        assert stack.n_iter_ == [0, 0]
        assert stack.rbms_[1].random_state != 0
        assert_same_stack(stack, StackedRBM((5, 4), random_state=0).partial_fit([grey[0][:20]]))

    def test_a_warm_start_goes_on(self, grey):
        stack = StackedRBM((12, 7), **SETTINGS, warm_start=True).fit(grey[0])
        first = stack.rbms_
        stack.fit(grey[0])
        assert stack.n_iter_ == [4, 4]
        assert [layer.n_iter_ for layer in first] == [2, 2]
        whole = StackedRBM((12, 7), **SETTINGS | {"n_iter": 4}).fit(grey[0])
        assert_same(stack.rbms_[0], whole.rbms_[0])
        above = pickle.loads(pickle.dumps(first[1])).fit(greedy.hidden_means(whole.rbms_[0]._machine(), grey[0]))
        assert_same(stack.rbms_[1], above)

    def test_weights_of_rows_reach_all_layers(self, grey):
        weights = np.ones(200)
        weights[100:] = 0
        light = StackedRBM((5, 4), **SETTINGS).fit(grey[0], sample_weight=weights)
        assert_same_stack(light, StackedRBM((5, 4), **SETTINGS).fit(grey[0][:100]))

    def test_batches(self, grey):
        batches = [grey[0][:90], grey[0][90:]]
        stack = StackedRBM((5, 4), **SETTINGS).fit(batches)
        below = BernoulliRBM(5, centered=True, **SETTINGS).fit(batches)
        assert_same(stack.rbms_[0], below)
        parameters = SETTINGS | {"random_state": stack.rbms_[1].random_state}
        above = BernoulliRBM(4, centered=True, shuffle=True, **parameters).fit(greedy.hidden_means(below._machine(), grey[0]))
        assert_same(stack.rbms_[1], above)
        assert stack.transform(grey[0]).shape == (200, 4)


class TestCallbacks:
    def test_they_see_the_stack_so_far_and_end_the_training_of_a_layer(self, grey):
        seen = []

        def watch(stack, record):
            seen.append((stack.n_layers_, record["layer"], stack.transform(grey[0][:1]).shape[1], stack.n_iter_))
            return record["layer"] == 0

        stack = StackedRBM((5, 4), **SETTINGS, callbacks=[watch], warm_start=True).fit(grey[0])
        assert seen == [(1, 0, 5, [1]), (2, 1, 4, [1, 1]), (2, 1, 4, [1, 2])]
        assert stack.n_iter_ == [1, 2]
        assert all("pseudo_likelihood" in record for record in stack.history_)
        seen.clear()
        stack.fit(grey[0])
        assert seen[0] == (2, 0, 4, [2, 2])
        pickle.dumps(stack.set_params(callbacks=None))

    def test_progress_names_the_layer(self, grey, capsys):
        StackedRBM((5, 4), **SETTINGS, verbose=1).fit(grey[0][:40])
        out = capsys.readouterr().out
        assert "[StackedRBM] Layer 0, 5 hidden units\n[BernoulliRBM] Iteration 1, pseudo-likelihood" in out
        assert "[StackedRBM] Layer 1, 4 hidden units" in out


class TestErrors:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"learning_rate": (0.1, 0.1, 0.1)}, "learning_rate must be one value, or one for each of the 2 layers.* got 3"),
            ({"n_iter": [1]}, "n_iter must be one value, or one for each of the 2 layers.* got 1"),
            ({"algorithm": ("cd", "mc")}, "'algorithm' parameter of layer 1 must be .* Got 'mc'"),
            ({"algorithm": "mc"}, "'algorithm' parameter of StackedRBM must be .* Got 'mc'"),
            ({"momentum": (0.5, 1.5)}, "'momentum' parameter of layer 1"),
            ({"n_iter": (1.5, 1)}, "'n_iter' parameter of layer 0"),
            ({"l1": -1.0}, "'l1' parameter of StackedRBM"),
            ({"batch_size": (10, 10)}, "'batch_size' parameter of StackedRBM"),
            ({"hidden_layer_sizes": (5, 0)}, r"hidden_layer_sizes must be .* at least 1 each, got \(5, 0\)"),
            ({"hidden_layer_sizes": ()}, "hidden_layer_sizes must be"),
            ({"hidden_layer_sizes": (5, 2.0)}, "hidden_layer_sizes must be"),
            ({"hidden_layer_sizes": "ab"}, "'hidden_layer_sizes' parameter of StackedRBM must be"),
            ({"callbacks": [3]}, r"callbacks\[0\] must be callable"),
            ({"algorithm": ("pcd", "pt"), "betas": [1.0, 2.0]}, "betas must begin at 1 and fall"),
            ({"device": "gpu"}, "device must be"),
        ],
    )
    def test_of_parameters_come_first_and_name_them(self, parameters, message):
        stack = StackedRBM((5, 4)).set_params(**parameters)
        for fit in (stack.fit,) if "callbacks" in parameters else (stack.fit, stack.partial_fit):
            with pytest.raises(ValueError, match=message):
                fit(np.eye(6))
        assert not hasattr(stack, "rbms_")

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.full((20, 64), np.nan), "NaN"),
            (np.eye(5), "X has 5 features, but StackedRBM is expecting 64"),
            (iter([np.eye(64)]), "X is an iterator, which gives its batches once, but each layer needs them"),
            (np.eye(64) * 1e30, "NaN or infinity|sum to"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:X has values")
    def test_of_data_leave_the_last_fit_as_it_was(self, grey, X, message):
        stack = StackedRBM((5, 4), **SETTINGS, warm_start=True).fit(grey[0])
        before = pickle.dumps(stack)
        with pytest.raises(ValueError, match=message):
            stack.fit(X)
        assert pickle.dumps(stack) == before

    def test_of_going_on(self, grey, stack):
        stack = pickle.loads(pickle.dumps(stack)).set_params(hidden_layer_sizes=(12, 8))
        with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(12, 8\) does not match the layers .* \[12, 7\]"):
            stack.partial_fit(grey[0])
        with pytest.raises(ValueError, match="gave none"):
            StackedRBM(3).partial_fit(iter(()))
        with pytest.raises(ValueError, match="sample_weight needs X as rows"):
            StackedRBM(3).partial_fit([grey[0]], sample_weight=np.ones(200))

    def test_of_passes(self, grey, stack):
        with pytest.raises(ValueError, match="layers must be 'top', 'all' or the number of a layer, 0 to 2, got 3"):
            stack.transform(grey[0], layers=3)
        for wrong in (1.0, "all", True, -1):
            with pytest.raises(ValueError, match="layers must be 'top' or the number of a layer, 0 to 2, got"):
                stack.inverse_transform(np.ones((1, 7)), layers=wrong)
            with pytest.raises(ValueError, match="layers must be 'top' or the number of a layer, 0 to 2, got"):
                stack.reconstruct(grey[0], layers=wrong)
        with pytest.raises(ValueError, match="H has 7 columns, but there are 12 units above 1 layers"):
            stack.inverse_transform(np.ones((1, 7)), layers=1)
        broken = pickle.loads(pickle.dumps(stack))
        broken.rbms_[1] = BernoulliRBM(7, n_iter=0).fit(np.eye(5))
        with pytest.raises(ValueError, match=r"rbms_\[1\] has 5 visible units, but there are 12 units below"):
            broken.transform(grey[0])


# ---------------------------------------------------------------------------------------------------------- the passes


class TestPasses:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_up_and_down_by_the_formula(self, grey, stack, dtype):
        X = grey[0].astype(dtype)
        (W1, W2), (b1, b2), (a1, a2) = stack.coefs_, stack.intercepts_, stack.intercepts_visible_
        up = [X, bernoulli.mean(X @ W1 + b1)]
        up.append(bernoulli.mean(up[1] @ W2 + b2))
        down = [up[2], bernoulli.mean(up[2] @ W2.T + a2)]
        down.append(bernoulli.mean(down[1] @ W1.T + a1))
        for n in range(3):
            assert stack.transform(X, n).dtype == dtype
            np.testing.assert_allclose(stack.transform(X, n), up[n], rtol=1e-6)
            np.testing.assert_allclose(stack.inverse_transform(down[2 - n], n), down[2], rtol=1e-6)
        np.testing.assert_array_equal(stack.transform(X), stack.transform(X, 2))
        both = np.concatenate([stack.transform(X, n) for n in (1, 2)], axis=1)
        np.testing.assert_array_equal(stack.transform(X, "all"), both)
        np.testing.assert_allclose(stack.reconstruct(X), down[2], rtol=1e-6)
        np.testing.assert_array_equal(stack.reconstruct(X, 1), stack.rbms_[0].reconstruct(X))

    def test_sparse_rows(self, grey, stack):
        X = csr_array(grey[0])
        np.testing.assert_allclose(stack.transform(X), stack.transform(grey[0]), rtol=1e-5)
        np.testing.assert_array_equal(stack.transform(X, 0), grey[0])
        assert_same_stack(StackedRBM((12, 7), **SETTINGS).fit(X), stack)

    def test_names_of_features(self, grey):
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame(grey[0], columns=[f"pixel {i}" for i in range(64)])
        stack = StackedRBM((5, 4), **SETTINGS).fit(X).set_output(transform="pandas")
        assert stack.feature_names_in_[63] == "pixel 63"
        top, lower = [f"stackedrbm{i}" for i in range(4)], [f"stackedrbm_1_{i}" for i in range(5)]
        for layers, names in (("top", top), (2, top), (1, lower), ("all", lower + top), (0, list(X.columns))):
            frame = stack.transform(X[::2], layers=layers)
            assert list(frame.columns) == names
            assert list(frame.index) == list(X.index[::2])
        assert list(stack.fit_transform(X).columns) == top
        assert isinstance(stack.reconstruct(X, 1), np.ndarray)
        stack.fit(grey[0])
        assert not hasattr(stack, "feature_names_in_")

    def test_in_a_pipeline_and_a_search(self, grey):
        X, y = grey
        pipeline = make_pipeline(StackedRBM((16, 8), **SETTINGS), LogisticRegression())
        search = GridSearchCV(pipeline, {"stackedrbm__hidden_layer_sizes": [(8,), (16, 8)]}, cv=2).fit(X, y)
        assert search.best_estimator_[0].transform(X).shape == (200, search.best_params_["stackedrbm__hidden_layer_sizes"][-1])
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()

    @pytest.mark.parametrize("device_name", [pytest.param("cuda", marks=pytest.mark.gpu), "cuda-on-host"], indirect=True)
    def test_on_a_gpu(self, grey, stack, device_name, gpu):
        rows = gpu.asarray(grey[0][:40])
        on_gpu = StackedRBM((12, 7), **SETTINGS).fit(rows)
        on_cpu = StackedRBM((12, 7), **SETTINGS).fit(grey[0][:40])
        assert on_gpu.device_ == "cuda:0"
        assert isinstance(on_gpu.coefs_[1], gpu.ndarray)
        np.testing.assert_allclose(on_gpu.transform(rows).get(), on_cpu.transform(grey[0][:40]), rtol=1e-3)
        assert isinstance(on_gpu.inverse_transform(on_gpu.transform(rows)), gpu.ndarray)
        assert on_gpu.to_mlp_classifier([0, 1]).coefs_[0].shape == (64, 12)
        assert isinstance(on_gpu.to("cpu").coefs_[1], np.ndarray)


# ----------------------------------------------------------------------------------------------------- the perceptrons


def targets_of(y, kind):
    """Labels of a kind."""
    many = np.stack([y % 2, y < 5, y == 3], axis=1).astype(int)
    low = np.where(y < 5, "low", "high")
    return {"binary": low, "classes": y, "many labels": many, "numbers": y + 0.5, "two": np.outer(y, [0.1, 1])}[kind]


KINDS = {
    "binary": (MLPClassifier, "logistic", 1),
    "classes": (MLPClassifier, "softmax", 10),
    "many labels": (MLPClassifier, "logistic", 3),
    "numbers": (MLPRegressor, "identity", 1),
    "two": (MLPRegressor, "identity", 2),
}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
class TestPerceptrons:
    @pytest.fixture(params=KINDS)
    def case(self, request, grey, stack):
        """Labels of a kind, the class of a perceptron for them, and a function that makes one of the stack."""
        y, (kind, *_) = targets_of(grey[1], request.param), KINDS[request.param]
        if kind is MLPClassifier:
            return request.param, y, kind, lambda **parameters: stack.to_mlp_classifier(y, **parameters)
        n_outputs = KINDS[request.param][2]
        return request.param, y, kind, lambda **parameters: stack.to_mlp_regressor(n_outputs, **parameters)

    def test_they_are_the_stack_below_an_output_of_scikit_learns(self, grey, stack, case):
        (name, y, kind, make), (X, _) = case, grey
        perceptron = make(**NO_STEP)
        assert type(perceptron) is kind
        assert (perceptron.out_activation_, perceptron.n_outputs_) == KINDS[name][1:]
        *_, hidden, _ = perceptron._forward_pass([X, *[None] * 3])  # as `fit` does it
        np.testing.assert_allclose(hidden, stack.transform(X), rtol=1e-5)
        own = kind(hidden_layer_sizes=(12, 7), activation="logistic", **NO_STEP).fit(X, y)
        np.testing.assert_array_equal(perceptron.coefs_[2], own.coefs_[2])
        np.testing.assert_array_equal(perceptron.intercepts_[2], own.intercepts_[2])
        assert perceptron.predict(X).shape == np.shape(y)
        assert set(vars(own)) - set(vars(perceptron)) == {"loss_", "_optimizer"}

    def test_training_goes_on_from_the_stack(self, grey, stack, case):
        (_, y, _, make), (X, _) = case, grey
        before = pickle.dumps(stack)
        start = [*stack.coefs_, *stack.intercepts_]
        still = make(**NO_STEP).fit(X, y)
        for array, first in zip([*still.coefs_[:2], *still.intercepts_[:2]], start, strict=True):
            np.testing.assert_array_equal(array, first)
        for moved in (make(**ONE_STEP).fit(X, y), make(**ONE_STEP).partial_fit(X, y)):
            for array, first in zip([*moved.coefs_[:2], *moved.intercepts_[:2]], start, strict=True):
                assert 0.005 < abs(array - first).max() < 0.0101  # a first step of Adam's is as long as its rate at most
        assert pickle.dumps(stack) == before

    def test_other_ways_to_train(self, grey, stack):
        X, y = grey
        stopped = stack.to_mlp_classifier(y, early_stopping=True, max_iter=3, random_state=0).fit(X, y)
        assert len(stopped.validation_scores_) == 3
        by_lbfgs = stack.to_mlp_classifier(y, solver="lbfgs", max_iter=300, random_state=0).fit(X, y)
        assert by_lbfgs.score(X, y) > 0.9
        assert stack.to_mlp_classifier([3, 1, 3, 2]).classes_.tolist() == [1, 2, 3]

    @pytest.mark.parametrize(
        ("kind", "task", "expected"),
        [*((kind, "auto", each[0]) for kind, each in KINDS.items()), ("classes", "regression", MLPRegressor)],
    )
    def test_fine_tune_is_both_in_one_call(self, grey, stack, kind, task, expected):
        X, y = grey[0], targets_of(grey[1], kind)
        tuned = stack.fine_tune(X, y, task=task, **ONE_STEP)
        assert type(tuned) is expected
        make = stack.to_mlp_classifier if expected is MLPClassifier else stack.to_mlp_regressor
        by_hand = make(y if expected is MLPClassifier else tuned.n_outputs_, **ONE_STEP).fit(X, y)
        np.testing.assert_array_equal(tuned.predict(X), by_hand.predict(X))

    def test_fine_tune_converges_by_itself(self, grey):
        """Layers of some size, on few rows, end by their own `tol`, which scikit-learn's defaults do not."""
        X, y = grey
        stack = StackedRBM((64, 32), n_iter=20, learning_rate=0.2, batch_size=50, random_state=0).fit(X)
        perceptron = stack.fine_tune(X[:200], y[:200], random_state=0)
        assert perceptron.n_iter_ < perceptron.max_iter == 1000
        assert perceptron.score(X[:200], y[:200]) > 0.95

    def test_errors(self, grey, stack):
        for name, value in [("activation", "relu"), ("hidden_layer_sizes", (3,)), ("warm_start", False)]:
            with pytest.raises(ValueError, match=f"{name} is decided by the stack, got"):
                stack.to_mlp_regressor(**{name: value})
        with pytest.raises(ValueError, match="'alpha' parameter of MLPClassifier"):
            stack.to_mlp_classifier([0, 1], alpha=-1)
        with pytest.raises(ValueError, match="n_outputs must be an integer of at least 1"):
            stack.to_mlp_regressor(0)
        with pytest.raises(ValueError, match="task must be one of .* got 'rank'"):
            stack.fine_tune(*grey, task="rank")
        with pytest.raises(ValueError, match="not fitted"):
            StackedRBM().fine_tune(*grey)

    def test_layers_of_torch(self, grey, stack):
        torch = pytest.importorskip("torch")
        layers = [torch.nn.Linear(*coef.shape) for coef in stack.coefs_]
        for layer, coef, bias in zip(layers, stack.coefs_, stack.intercepts_, strict=True):
            layer.load_state_dict({"weight": torch.tensor(coef.T), "bias": torch.tensor(bias)})
        network = torch.nn.Sequential(layers[0], torch.nn.Sigmoid(), layers[1], torch.nn.Sigmoid())
        np.testing.assert_allclose(network(torch.tensor(grey[0])).detach().numpy(), stack.transform(grey[0]), rtol=1e-5)


# ----------------------------------------------------------------------------------------------------------- the files


class TestFiles:
    @pytest.mark.parametrize("algorithm", ["pcd", ("cd", "pt")])
    def test_training_goes_on_bit_for_bit(self, grey, tmp_path, algorithm):
        parameters = SETTINGS | {"algorithm": algorithm, "betas": 3, "momentum": (0.0, 0.5), "warm_start": True}
        stack = StackedRBM((12, 7), learning_rate=np.array([0.1, 0.05]), **parameters).fit(grey[0])
        stack.save(tmp_path / "stack")
        loaded = StackedRBM.load(str(tmp_path / "stack"))
        assert loaded.get_params() | {"learning_rate": 0, "algorithm": 0, "momentum": 0} == stack.get_params() | {
            "learning_rate": 0, "algorithm": 0, "momentum": 0,
        }  # fmt: skip
        assert loaded.history_ == stack.history_
        assert_same_stack(loaded, stack)
        assert_same_stack(loaded.fit(grey[0]), stack.fit(grey[0]))
        assert_same_stack(loaded.partial_fit(grey[0]), stack.partial_fit(grey[0]))

    def test_generators_and_names_of_features(self, grey, tmp_path):
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame(grey[0], columns=[f"pixel {i}" for i in range(64)])
        stack = StackedRBM(5, **SETTINGS | {"random_state": np.random.RandomState(0)}).fit(X)
        stack.save(tmp_path / "stack")
        loaded = StackedRBM.load(tmp_path / "stack")
        assert (loaded.random_state, loaded.hidden_layer_sizes) == (None, 5)
        np.testing.assert_array_equal(loaded.transform(X), stack.transform(X))
        assert_same_stack(loaded.partial_fit(X), stack.partial_fit(X))

    def test_a_function_is_refused(self, grey, tmp_path):
        stack = StackedRBM((5, 4), learning_rate_schedule=abs, **SETTINGS).fit(grey[0])
        with pytest.raises(ValueError, match="learning_rate_schedule is a function"):
            stack.save(tmp_path / "stack")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda arrays, header: header["layers"].pop(), "'1'"),
            (lambda arrays, header: header["layers"].reverse(), "n_components"),
            (lambda arrays, header: arrays.update({"2.components_": np.eye(3)}), "'2'"),
            (lambda arrays, header: arrays.pop("1.chains.visible"), "chains.visible"),
            (lambda arrays, header: header["parameters"].update(hidden_layer_sizes=[12]), "hidden_layer_sizes"),
            (lambda arrays, header: header["parameters"].update(n_iter=[1, 2, 3]), "n_iter must be one value"),
            (lambda arrays, header: header["parameters"].update(surprise=1), "surprise"),
            (lambda arrays, header: header.update(feature_names_in_=["a"]), "feature_names_in_"),
            (lambda arrays, header: header.update(layers=3), "int"),
            (lambda arrays, header: swap_layers(arrays, header), "units below it"),
        ],
    )
    def test_a_forged_file_is_an_error_that_says_what(self, stack, tmp_path, change, message):
        path = tmp_path / "stack"
        stack.save(path)
        arrays, header = _persistence.read(path, "StackedRBM")
        change(arrays, header)
        _persistence.write(path, "StackedRBM", arrays, header)
        with pytest.raises(ValueError, match=f"tampered with.*{message}"):
            StackedRBM.load(path)

    def test_classes_do_not_mix(self, stack, tmp_path):
        stack.save(tmp_path / "stack")
        stack.rbms_[0].save(tmp_path / "machine")
        with pytest.raises(ValueError, match="is of class BernoulliRBM, not StackedRBM"):
            StackedRBM.load(tmp_path / "machine")
        with pytest.raises(ValueError, match="is of class StackedRBM, not BernoulliRBM"):
            BernoulliRBM.load(tmp_path / "stack")


def swap_layers(arrays, header):
    """Have a file's layers stand on each other the wrong way round."""
    for name in list(arrays):
        number, _, rest = name.partition(".")
        arrays[f"new {1 - int(number)}.{rest}"] = arrays.pop(name)
    for name in list(arrays):
        arrays[name.removeprefix("new ")] = arrays.pop(name)
    header["layers"].reverse()
    header["parameters"]["hidden_layer_sizes"].reverse()
