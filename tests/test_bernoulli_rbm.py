"""BernoulliRBM: what a user of scikit-learn relies on."""

from __future__ import annotations

import inspect
import pickle
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import BernoulliRBM as PeerRBM
from sklearn.pipeline import make_pipeline

from fastbm import BernoulliRBM


@pytest.fixture(scope="module")
def fitted(digits):
    return BernoulliRBM(30, n_iter=2, random_state=0).fit(digits[0][:300])


def test_parameters_and_defaults_of_scikit_learn_come_first():
    ours, theirs = (list(inspect.signature(cls).parameters.values()) for cls in (BernoulliRBM, PeerRBM))
    assert [(p.name, p.default, p.kind) for p in ours[: len(theirs)]] == [(p.name, p.default, p.kind) for p in theirs]
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


def test_fitted_attributes(fitted):
    assert fitted.components_.shape == (30, 64)
    assert fitted.intercept_hidden_.shape == (30,)
    assert fitted.intercept_visible_.shape == (64,)
    assert fitted.h_samples_.shape == (10, 30)
    assert set(np.unique(fitted.h_samples_)) <= {0.0, 1.0}
    assert fitted.n_iter_ == 2
    assert fitted.n_features_in_ == 64
    assert fitted.device_ == "cpu"


def test_number_of_chains_is_its_own(digits):
    machine = BernoulliRBM(5, batch_size=7, n_chains=33, n_iter=1).fit(digits[0][:20])
    assert machine.h_samples_.shape == (33, 5)


@pytest.mark.parametrize("container", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, scipy.sparse.lil_array])
def test_sparse_rows_are_dense_rows(digits, container):
    X = digits[0][:100]
    dense, sparse = (BernoulliRBM(20, n_iter=2, random_state=0).fit(rows) for rows in (X, container(X)))
    np.testing.assert_array_equal(dense.components_, sparse.components_)
    for method in ("transform", "score_samples", "free_energy", "reconstruct"):
        np.testing.assert_allclose(getattr(dense, method)(X), getattr(sparse, method)(container(X)), rtol=1e-12)
    np.testing.assert_array_equal(dense.gibbs(X), sparse.gibbs(container(X)))


def test_sparse_rows_are_never_dense_as_a_whole():
    rows, columns = np.arange(20_000), np.random.default_rng(0).integers(0, 5_000, 20_000)
    X = scipy.sparse.csr_array((np.ones(20_000), (rows, columns)), shape=(20_000, 5_000))
    machine = BernoulliRBM(2, batch_size=100, n_iter=1, random_state=0)
    machine.fit(X[:100])
    tracemalloc.start()
    machine.fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.05 * 8 * np.prod(X.shape)  # dense float64 rows would take 800 MB


def test_transform_draws_nothing_and_advances_nothing(fitted, digits):
    before = pickle.dumps(fitted)
    first, second = fitted.transform(digits[1]), fitted.transform(digits[1])
    np.testing.assert_array_equal(first, second)
    fitted.sample(3, n_steps=5)
    fitted.score(digits[1])
    assert pickle.dumps(fitted) == before


def test_up_and_down(fitted, digits):
    H = fitted.transform(digits[1])
    assert H.min() >= 0
    assert H.max() <= 1
    np.testing.assert_array_equal(fitted.reconstruct(digits[1]), fitted.inverse_transform(H))


def test_gibbs_draws_afresh_and_repeats_with_the_seed(digits):
    X = digits[0][:50]
    runs = []
    for _ in range(2):
        machine = BernoulliRBM(30, n_iter=2, random_state=0).fit(X)
        runs.append([machine.gibbs(X) for _ in range(3)])
    np.testing.assert_array_equal(*runs)
    assert (runs[0][0] != runs[0][1]).any()
    assert runs[0][0].dtype == bool  # as scikit-learn's


def test_training_further_does_not_turn_gibbs_back(fitted, digits):
    machine = pickle.loads(pickle.dumps(fitted)).set_params(learning_rate=1e-30)
    first = machine.gibbs(digits[1])
    assert (machine.partial_fit(digits[0][:9]).gibbs(digits[1]) != first).any()


def test_rounding_follows_attributes_that_are_changed_in_place(digits):
    machine = BernoulliRBM(5, n_iter=1, random_state=0).fit(digits[0][:50])
    machine.sample(3, n_steps=2)
    machine.intercept_visible_[:] = [50, -50] * 32
    np.testing.assert_array_equal(machine.sample(3, n_steps=1), np.tile([1, 0] * 32, (3, 1)))
    machine.components_[:] = 0
    machine.intercept_visible_[:] = [-50, 50] * 32
    np.testing.assert_array_equal(machine.gibbs(digits[0][:3]), np.tile([0, 1] * 32, (3, 1)))


def test_gibbs_takes_one_step_of_the_chain(fitted, digits):
    """Averages of many steps are the conditional's: v given h, h given v."""
    row = digits[1][:1]
    steps = np.concatenate([fitted.gibbs(np.repeat(row, 2000, axis=0))])
    h = np.random.default_rng(0).random((2000, 30)) < fitted.transform(row)
    expected = fitted.inverse_transform(h.astype(float)).mean(axis=0)
    np.testing.assert_allclose(steps.mean(axis=0), expected, atol=7 * 0.5 / np.sqrt(2000))


class TestSample:
    def test_shape_values_and_dtype(self, fitted):
        samples = fitted.sample(5, n_steps=10)
        assert samples.shape == (5, 64)
        assert samples.dtype == np.float64
        assert set(np.unique(samples)) <= {0.0, 1.0}
        assert fitted.sample().shape == (1, 64)

    def test_no_steps_from_fair_coins(self, fitted):
        coins = fitted.sample(2000, n_steps=0)
        assert abs(coins.mean() - 0.5) < 5 * 0.5 / np.sqrt(coins.size)
        assert abs(np.corrcoef(coins[:, 0], coins[:, 1])[0, 1]) < 0.12

    def test_seeds(self, fitted):
        first = fitted.sample(5, n_steps=10, random_state=1)
        np.testing.assert_array_equal(fitted.sample(5, n_steps=10, random_state=1), first)
        assert (fitted.sample(5, n_steps=10, random_state=2) != first).any()
        np.testing.assert_array_equal(fitted.sample(5, n_steps=10), fitted.sample(5, n_steps=10, random_state=0))
        generator = np.random.RandomState(0)
        assert (
            fitted.sample(5, n_steps=10, random_state=generator) != fitted.sample(5, n_steps=10, random_state=generator)
        ).any()

    def test_unseeded_estimators_sample_afresh(self, digits):
        machine = BernoulliRBM(5, n_iter=1).fit(digits[0][:50])
        assert (machine.sample(20, n_steps=5) != machine.sample(20, n_steps=5)).any()

    def test_from_rows(self, fitted, digits):
        np.testing.assert_array_equal(fitted.sample(3, n_steps=0, init=digits[1][:3]), digits[1][:3])
        np.testing.assert_array_equal(fitted.sample(3, n_steps=0, init=digits[1][0]), np.tile(digits[1][0], (3, 1)))

    def test_from_chains(self, digits):
        machine = BernoulliRBM(30, n_iter=2, n_chains=4, random_state=0).fit(digits[0][:300])
        start = machine.sample(10, n_steps=0, init="chains")
        np.testing.assert_array_equal(start[:4], start[4:8])
        later = machine.sample(10, n_steps=5, init="chains")
        assert (later[:4] != later[4:8]).any()  # chains that start alike go their own ways
        np.testing.assert_array_equal(machine.sample(10, n_steps=0, init="chains"), start)

    def test_inpainting_keeps_what_is_clamped(self, fitted, digits):
        clamp = digits[1][:6].copy()
        clamp[:, 32:] = np.nan
        samples = fitted.sample(6, n_steps=20, clamp=clamp)
        np.testing.assert_array_equal(samples[:, :32], clamp[:, :32])
        assert (samples[:, 32:] != digits[1][:6, 32:]).any()

    def test_a_different_subset_for_each_chain(self, fitted):
        clamp = np.full((64, 64), np.nan)
        np.fill_diagonal(clamp, 1.0)
        assert fitted.sample(64, n_steps=20, clamp=clamp).diagonal().all()

    def test_states_are_drawn_from_the_means(self):
        """Of one seed: then v - mean is no more than chance, and unrelated to the mean."""
        weights = np.random.default_rng(1).normal(size=(64, 10))
        machine = BernoulliRBM.from_weights(weights, -weights.sum(axis=1) / 2, -weights.sum(axis=0) / 2)
        how = {"n_samples": 500, "n_steps": 20, "random_state": 5}
        states, means = machine.sample(**how), machine.sample(**how, return_mean=True)
        assert means.dtype == states.dtype
        deviations = np.sqrt(means * (1 - means))
        for weights in (np.ones_like(means), means - 0.5, np.where(np.arange(64) % 8 == 3, 1.0, 0.0)):
            assert abs((weights * (states - means)).sum()) < 4 * np.linalg.norm(weights * deviations)
        assert ((states - means) ** 2).mean() < 0.9 * ((states - states.mean(axis=0)) ** 2).mean()

    def test_means_given_hidden_units_that_are_certain(self):
        rng, beta = np.random.default_rng(0), np.array([0.5, 1.0, 2.0])
        weights, bias = rng.normal(size=(5, 2)), rng.normal(size=5)
        machine = BernoulliRBM.from_weights(weights, bias, np.array([60.0, -60.0]))
        logits = beta[:, None] * (bias + weights[:, 0])
        means = machine.sample(3, n_steps=2, beta=beta, return_mean=True, random_state=0)
        np.testing.assert_allclose(means, 1 / (1 + np.exp(-logits)), atol=1e-4)

    def test_clamped_means_and_the_start(self, fitted, digits):
        clamp = digits[1][:6].copy()
        clamp[:, 32:] = np.nan
        means = fitted.sample(6, n_steps=20, clamp=clamp, return_mean=True)
        np.testing.assert_array_equal(means[:, :32], clamp[:, :32])
        assert ((means[:, 32:] > 0) & (means[:, 32:] < 1)).any()
        for init in (None, "chains", digits[1][:6]):
            states, start = (fitted.sample(6, n_steps=0, init=init, return_mean=mean) for mean in (False, True))
            np.testing.assert_array_equal(start, states)

    def test_all_clamped(self, fitted, digits):
        np.testing.assert_array_equal(fitted.sample(2, n_steps=5, clamp=digits[1][:2]), digits[1][:2])

    def test_beta_for_each_chain(self, fitted):
        betas = np.array([0.0, 0.5, 1.0, 1.5])
        together = fitted.sample(4, n_steps=10, beta=betas)
        for row, beta in enumerate(betas):
            np.testing.assert_array_equal(fitted.sample(4, n_steps=10, beta=beta)[row], together[row])

    def test_progress_bar_when_verbose(self, fitted, capsys):
        machine = clone(fitted).set_params(verbose=1, n_iter=0).fit(np.zeros((1, 64)))
        machine.sample(2, n_steps=7)
        assert "7" in capsys.readouterr().err
        machine.set_params(verbose=0).sample(2, n_steps=7)
        assert capsys.readouterr() == ("", "")


class TestFromWeights:
    def test_is_a_fitted_machine(self):
        rng = np.random.default_rng(0)
        W, a, b = rng.normal(size=(6, 4)), rng.normal(size=6), rng.normal(size=4)
        machine = BernoulliRBM.from_weights(W, a, b, random_state=0)
        np.testing.assert_array_equal(machine.components_, W.T)
        assert machine.n_components == 4
        X = (rng.random((5, 6)) < 0.5).astype(float)
        np.testing.assert_allclose(machine.transform(X), 1 / (1 + np.exp(-(X @ W + b))))
        assert machine.sample(3, n_steps=4).shape == (3, 6)
        assert machine.partial_fit(X).components_.shape == (4, 6)

    def test_owns_its_arrays(self):
        W = np.ones((3, 2), np.float32)
        machine = BernoulliRBM.from_weights(W, np.zeros(3), np.zeros(2))
        W[:] = 7
        assert (machine.components_ == 1).all()
        assert machine.components_.dtype == np.float32

    def test_attributes_set_by_hand_are_what_is_sampled(self):
        machine = BernoulliRBM.from_weights(np.zeros((4, 2)), np.zeros(4), np.zeros(2), random_state=0)
        machine.intercept_visible_ = np.array([50.0, -50.0, 50.0, -50.0])
        np.testing.assert_array_equal(machine.sample(3, n_steps=1), np.tile([1, 0, 1, 0], (3, 1)))


class TestEcosystem:
    def test_pickle(self, fitted, digits):
        copy = pickle.loads(pickle.dumps(fitted))
        np.testing.assert_array_equal(copy.gibbs(digits[1]), pickle.loads(pickle.dumps(fitted)).gibbs(digits[1]))
        first, second = (pickle.loads(pickle.dumps(fitted)).partial_fit(digits[0]) for _ in range(2))
        np.testing.assert_array_equal(first.components_, second.components_)

    def test_clone(self, fitted):
        assert clone(fitted).get_params() == fitted.get_params()
        assert not hasattr(clone(fitted), "components_")

    def test_set_output(self, digits):
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame(digits[0][:50], columns=[f"pixel {i}" for i in range(64)])
        machine = BernoulliRBM(3, n_iter=1).set_output(transform="pandas").fit(X)
        for frame in (machine.transform(X), machine.fit_transform(X)):
            assert list(frame.columns) == ["bernoullirbm0", "bernoullirbm1", "bernoullirbm2"]

    def test_pipeline_and_grid_search_with_workers(self, digits):
        X = digits[0][:120]
        y = np.arange(120) % 3
        pipeline = make_pipeline(BernoulliRBM(8, n_iter=1, random_state=0), LogisticRegression())
        search = GridSearchCV(pipeline, {"bernoullirbm__learning_rate": [0.01, 0.1]}, cv=2, n_jobs=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib's, in some processes
            search.fit(X, y)
        assert search.best_estimator_.predict(X).shape == (120,)

    def test_grid_search_by_pseudo_likelihood(self, digits):
        search = GridSearchCV(BernoulliRBM(8, n_iter=3, random_state=0), {"learning_rate": [1e-6, 0.1]}, cv=2)
        assert search.fit(digits[0][:200]).best_params_ == {"learning_rate": 0.1}

    def test_two_threads_at_once(self, fitted, digits, always_threads):
        expected = fitted.sample(20, n_steps=50), fitted.score(digits[1])
        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(lambda: (fitted.sample(20, n_steps=50), fitted.score(digits[1]))) for _ in range(12)]
        for run in runs:
            np.testing.assert_array_equal(run.result()[0], expected[0])
            assert run.result()[1] == expected[1]

    def test_two_threads_of_gibbs_draw_differently(self, fitted, digits):
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(fitted.gibbs, [digits[1], digits[1]])
        assert (first != second).any()

    def test_processes_that_fork(self, fitted, digits, always_threads):
        expected = fitted.sample(20, n_steps=50)  # the threads exist before the fork
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fork in a process with threads
            got = joblib.Parallel(n_jobs=2, backend="multiprocessing")(
                joblib.delayed(fitted.sample)(20, n_steps=50) for _ in range(2)
            )
        for samples in got:
            np.testing.assert_array_equal(samples, expected)

    def test_read_only_and_strided_rows(self, fitted, digits):
        X = digits[1][::2].copy()
        X.setflags(write=False)
        strided = np.asfortranarray(X)
        np.testing.assert_allclose(fitted.transform(X), fitted.transform(strided))
        first, second = (BernoulliRBM(5, n_iter=1, random_state=0).fit(rows) for rows in (X, strided))
        np.testing.assert_array_equal(first.components_, second.components_)

    def test_random_state_instance(self, digits):
        X = digits[0][:50]
        first, second = (BernoulliRBM(5, n_iter=1, random_state=np.random.RandomState(1)).fit(X) for _ in range(2))
        np.testing.assert_array_equal(first.components_, second.components_)
        generator = np.random.RandomState(1)
        machines = [BernoulliRBM(5, n_iter=1, random_state=generator).fit(X) for _ in range(2)]
        assert (machines[0].components_ != machines[1].components_).any()


def test_verbose_line_is_scikit_learns(digits, capsys):
    BernoulliRBM(5, n_iter=2, verbose=1).fit(digits[0][:50])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("[BernoulliRBM] Iteration 2, pseudo-likelihood = -")
    assert lines[1].endswith("s")
    BernoulliRBM(5, n_iter=2).fit(digits[0][:50])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_one_row_and_one_unit(algorithm):
    X = np.array([[1.0], [0.0], [1.0]])
    machine = BernoulliRBM(1, batch_size=1, n_iter=3, algorithm=algorithm, random_state=0).fit(X)
    assert machine.sample(4, n_steps=3).shape == (4, 1)
    assert np.isfinite(machine.score(X))
