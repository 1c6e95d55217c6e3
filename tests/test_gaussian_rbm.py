"""GaussianRBM: training on natural data, sampling, units of the data, files, bad input, and bugs of other libraries."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbm import GaussianRBM
from fastbm.kernels import threads_cpu
from fastbm.machines import gaussian_rbm

SETTINGS = {
    "n_components": 16, "batch_size": 50, "n_chains": 100, "learning_rate": 0.05, "momentum": 0.5, "learn_sigma": True,
    "standardize": True, "learning_rate_schedule": "linear", "random_state": 0,
}  # fmt: skip


def small(**settings):
    """A machine that is fitted in no time."""
    settings = {"n_iter": 3, "random_state": 0, "standardize": True, "learn_sigma": True} | settings
    return GaussianRBM(5, **settings)


def free_units(sigma=(0.1, 1.0, 2.0, 5.0)):
    """A machine without couplings."""
    return GaussianRBM.from_weights(np.zeros((4, 2)), np.zeros(4), np.zeros(2), sigma=sigma, random_state=0)


@pytest.fixture(scope="module")
def iris():
    return load_iris().data


@pytest.fixture(scope="module")
def fitted(iris):
    """A machine that knows the irises."""
    return GaussianRBM(n_iter=1000, **SETTINGS).fit(iris)


class TestNaturalData:
    @staticmethod
    def assert_moments_match(machine, X, tolerance):
        """Of samples, standardised as the data are: means within 0.2, deviations 0.15, correlations `tolerance`.

        The data's own error is 1 / √n = 0.08 for 150 rows; the rest is what learning at a rate above 0 leaves.
        """
        S = machine.sample(4000, n_steps=300, init="chains", random_state=1)
        z = (S - X.mean(axis=0)) / X.std(axis=0)
        assert np.abs(z.mean(axis=0)).max() < 0.2
        assert np.abs(z.std(axis=0) - 1).max() < 0.15
        assert np.abs(np.corrcoef(S.T) - np.corrcoef(X.T)).max() < tolerance

    def test_iris(self, fitted, iris):
        self.assert_moments_match(fitted, iris, 0.15)

    def test_wine(self):
        X = load_wine().data
        self.assert_moments_match(GaussianRBM(n_iter=800, **SETTINGS).fit(X), X, 0.25)

    def test_it_beats_independent_normals_on_held_out_rows(self):
        X = load_wine().data
        order = np.random.default_rng(0).permutation(len(X))
        train, test = X[order[:120]], X[order[120:]]
        machine = GaussianRBM(n_iter=500, **SETTINGS).fit(train)
        z = (test - train.mean(axis=0)) / train.std(axis=0)
        normal = (-0.5 * z**2 - np.log(train.std(axis=0)) - 0.5 * np.log(2 * np.pi)).sum(axis=1).mean()
        log_z = gaussian_rbm.log_partition(machine._machine())
        assert -machine.free_energy(test).mean() - log_z > normal + 1  # the densities of the units of the data
        assert machine.score(test) > normal + 1

    def test_digits_have_constant_pixels(self):
        X = load_digits().data[:500]
        assert (X.std(axis=0) == 0).any()
        machine = GaussianRBM(n_iter=5, **SETTINGS | {"n_components": 40}).fit(X)
        S = machine.sample(20, n_steps=20, init="chains")
        answers = machine.transform(X), machine.reconstruct(X), machine.score_samples(X[:20])
        for array in (*machine._machine(), machine.scale_, S, *answers):
            assert np.isfinite(array).all()
        assert (machine.scale_ > 0).all()

    def test_constant_columns_learn_sigma_and_stay_finite(self):
        X = np.ones((40, 3)) * [7.0, -1e-3, 0.0]
        for standardize in (True, False):
            machine = small(standardize=standardize, n_iter=100, sigma_learning_rate=5.0).fit(X)
            assert all(np.isfinite(array).all() for array in machine._machine())
            assert (machine.sigma_ >= np.float32(0.01)).all()
            np.testing.assert_allclose(machine.sample(50, n_steps=5).mean(axis=0), X[0], atol=0.5)


class TestSampling:
    def test_a_sample_is_not_the_mean(self, fitted, iris):
        """Given its hidden states, a sample lies around the mean as far as σ says."""
        rows = np.repeat(iris[:1], 20_000, axis=0)
        drawn = fitted.gibbs(rows)
        assert len(np.unique(drawn[:, 0])) > 15_000
        S = free_units().sample(20_000, n_steps=1)
        np.testing.assert_allclose(S.std(axis=0), free_units().sigma_, rtol=4.5 / np.sqrt(2 * 20_000))

    def test_a_row_does_not_depend_on_how_many_there_are(self, fitted):
        few, many = (fitted.sample(n, n_steps=20, random_state=3) for n in (3, 40))
        np.testing.assert_array_equal(few, many[:3])

    def test_it_repeats_by_seed_alone(self, fitted, always_threads):
        before = fitted.sample(33, n_steps=10, random_state=3)
        assert (before != fitted.sample(33, n_steps=10, random_state=4)).all()
        for n_threads in (1, 2):
            with threads_cpu.limited_to(n_threads):
                np.testing.assert_array_equal(fitted.sample(33, n_steps=10, random_state=3), before)

    def test_clamped_units_keep_their_values_to_the_last_bit(self, fitted):
        clamp = [np.nan, 3.3, np.nan, 0.1]
        S = fitted.sample(200, n_steps=50, clamp=clamp)
        np.testing.assert_array_equal(S[:, [1, 3]], np.tile([3.3, 0.1], (200, 1)))
        assert S[:, 2].mean() < fitted.mean_[2]  # narrow petals are short

    def test_a_clamp_for_each_row(self, fitted, iris):
        clamp = iris[:5].copy()
        clamp[np.arange(5), [0, 1, 2, 3, 0]] = np.nan
        S = fitted.sample(5, n_steps=20, clamp=clamp)
        np.testing.assert_array_equal(S[~np.isnan(clamp)], clamp[~np.isnan(clamp)])
        np.testing.assert_array_equal(fitted.sample(5, n_steps=20, clamp=iris[:5]), iris[:5])

    def test_rows_are_drawn_from_the_means(self, fitted):
        clamp = [np.nan, 3.3, np.nan, np.nan]
        how = {"n_samples": 2000, "n_steps": 20, "clamp": clamp, "beta": 4.0, "random_state": 5}
        rows, means = fitted.sample(**how), fitted.sample(**how, return_mean=True)
        assert (means[:, 1] == 3.3).all()
        noise = ((rows - means) / (fitted.scale_ * fitted.sigma_) * 2)[:, [0, 2, 3]]
        np.testing.assert_allclose(noise.mean(axis=0), 0, atol=4.5 / np.sqrt(2000))
        np.testing.assert_allclose(noise.std(axis=0), 1, atol=4.5 / np.sqrt(2 * 2000))
        np.testing.assert_array_equal(fitted.sample(3, n_steps=0, return_mean=True), fitted.sample(3, n_steps=0))

    def test_small_beta_widens(self, fitted):
        for beta in (0.1, 4.0):
            S = free_units().sample(20_000, n_steps=1, beta=beta) / free_units().sigma_
            np.testing.assert_allclose(S.std(axis=0), 1 / np.sqrt(beta), rtol=4.5 / np.sqrt(2 * 20_000))
        each = fitted.sample(4, n_steps=3, beta=np.ones(4))
        np.testing.assert_allclose(each, fitted.sample(4, n_steps=3), rtol=1e-5)

    def test_starts(self, fitted, iris):
        np.testing.assert_allclose(fitted.sample(3, n_steps=0, init=iris[:3]), iris[:3], rtol=1e-6)
        start = fitted.sample(4000, n_steps=0)
        np.testing.assert_allclose(start.std(axis=0) / fitted.scale_, fitted.sigma_, rtol=4.5 / np.sqrt(2 * 4000))
        S = fitted.sample(4000, n_steps=0, init="chains")  # drawn from the hidden states of the training
        assert np.abs((S.mean(axis=0) - iris.mean(axis=0)) / fitted.scale_).max() < 0.5

    def test_float32(self, iris):
        machine = small().fit(iris.astype(np.float32))
        rows = iris[:3].astype(np.float32)
        for array in (machine.sample(2, n_steps=2), machine.gibbs(rows), machine.transform(rows), machine.reconstruct(rows)):
            assert array.dtype == np.float32

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"beta": 0.0}, "beta must be above 0"), ({"beta": -1.0}, "beta"), ({"clamp": [1.0]}, "clamp must have shape"),
            ({"clamp": [np.inf] * 4}, "infinity"), ({"init": np.full(4, np.nan)}, "init"), ({"init": "data"}, "init must be"),
            ({"n_steps": -1}, "n_steps"),
        ],
    )  # fmt: skip
    def test_bad_arguments(self, fitted, arguments, message):
        with pytest.raises(ValueError, match=message):
            fitted.sample(2, **{"n_steps": 1} | arguments)


class TestUnits:
    """What is standardised inside is in the units of the data outside."""

    def test_it_is_the_machine_of_standardised_data(self, iris):
        scaler = StandardScaler().fit(iris)
        inside = small().fit(iris)
        outside = small(standardize=False).fit(scaler.transform(iris))
        np.testing.assert_allclose(inside.mean_, scaler.mean_)
        np.testing.assert_allclose(inside.scale_, scaler.scale_)
        np.testing.assert_allclose(inside.components_, outside.components_, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(inside.transform(iris), outside.transform(scaler.transform(iris)), rtol=1e-4)
        there = scaler.inverse_transform(outside.reconstruct(scaler.transform(iris)))
        np.testing.assert_allclose(inside.reconstruct(iris), there, rtol=1e-3)
        log_scale = np.log(scaler.scale_).sum()
        np.testing.assert_allclose(inside.score(iris), outside.score(scaler.transform(iris)) - log_scale, rtol=1e-3)
        np.testing.assert_allclose(
            inside.free_energy(iris), outside.free_energy(scaler.transform(iris)) + log_scale, rtol=1e-3, atol=1e-3
        )

    def test_far_from_0_and_on_any_scale(self, iris):
        """Features in other units give the same features."""
        X = 1e6 + 1e-3 * iris
        np.testing.assert_allclose(small().fit(X).transform(X), small().fit(iris).transform(iris), atol=1e-3)

    def test_weighted_data_have_weighted_scales(self, iris):
        weights = np.r_[np.full(50, 3.0), np.full(100, 0.5)]
        machine = small().fit(iris, sample_weight=weights)
        np.testing.assert_allclose(machine.mean_, StandardScaler().fit(iris, sample_weight=weights).mean_)

    def test_sparse_rows_are_rows(self, iris):
        dense, sparse = small().fit(iris), small().fit(scipy.sparse.csr_array(iris))
        np.testing.assert_array_equal(dense.components_, sparse.components_)
        np.testing.assert_array_equal(dense.transform(iris), sparse.transform(scipy.sparse.csr_array(iris)))
        np.testing.assert_array_equal(dense.score(iris), sparse.score(scipy.sparse.csr_array(iris)))

    def test_batches(self, iris):
        machine = small(n_iter=1).fit(rows for rows in np.array_split(iris, 3))
        np.testing.assert_allclose(machine.mean_, iris[:50].mean(axis=0))

    def test_the_scales_stay_and_go(self, iris):
        machine = small(warm_start=True).fit(iris)
        before = machine.mean_
        np.testing.assert_array_equal(machine.fit(iris + 1).mean_, before)
        np.testing.assert_array_equal(machine.partial_fit(iris + 1).mean_, before)
        assert not hasattr(machine.set_params(warm_start=False, standardize=False).fit(iris), "mean_")

    def test_pipeline(self, iris):
        features = make_pipeline(StandardScaler(), small(standardize=False)).fit_transform(iris)
        assert features.shape == (150, 5)


class TestTraining:
    def test_sigma_is_what_is_given(self, iris):
        machine = small(learn_sigma=False, sigma=[0.5, 1.0, 2.0, 0.1]).fit(iris)
        np.testing.assert_array_equal(machine.sigma_, np.float32([0.5, 1.0, 2.0, 0.1]))
        assert (small(sigma=0.5).fit(iris).sigma_ != 0.5).all()

    def test_its_rate(self, iris):
        slow, fast = (small(sigma_learning_rate=rate).fit(iris).sigma_ for rate in (1e-6, 1e-2))
        assert np.abs(slow - 1).max() < 1e-3 < np.abs(fast - 1).max()
        same = [small(sigma_learning_rate=rate).fit(iris).sigma_ for rate in (None, 0.01)]
        np.testing.assert_array_equal(*same)

    @pytest.mark.parametrize("algorithm", ["pcd", "cd", "pt"])
    def test_resuming_is_going_on(self, algorithm, iris, tmp_path):
        """Saved, loaded, pickled or not: training goes on bit for bit."""
        settings = {"algorithm": algorithm, "momentum": 0.5, "warm_start": True, "sparsity_target": 0.3}
        machine = small(**settings).fit(iris)
        machine.save(tmp_path / "machine")
        others = [GaussianRBM.load(tmp_path / "machine"), pickle.loads(pickle.dumps(machine))]
        expected = machine.fit(iris).partial_fit(iris[:20])
        for other in others:
            other.fit(iris).partial_fit(iris[:20])
            for name in ("components_", "intercept_hidden_", "intercept_visible_", "sigma_", "mean_", "h_samples_"):
                np.testing.assert_array_equal(getattr(other, name), getattr(expected, name))
            np.testing.assert_array_equal(other.sample(3, n_steps=5), expected.sample(3, n_steps=5))
            assert len(other.history_) == 6

    def test_batches_one_by_one_are_batches(self, iris):
        batches = np.array_split(iris, 5)
        machine = small(standardize=False, momentum=0.5).partial_fit(batches[0])
        for batch in batches[1:]:
            machine.partial_fit(batch)
        together = small(standardize=False, momentum=0.5).partial_fit(batches)
        for name in ("components_", "intercept_hidden_", "intercept_visible_", "sigma_", "h_samples_"):
            np.testing.assert_array_equal(getattr(machine, name), getattr(together, name))

    def test_history_callbacks_and_early_stopping(self, iris):
        seen = []
        machine = small(
            n_iter=40, n_iter_no_change=2, tol=10.0, early_stopping=True, callbacks=lambda *given: seen.append(given)
        ).fit(iris)
        assert machine.n_iter_ == len(seen) == len(machine.history_) < 40
        assert isinstance(seen[0][0].sample(1, n_steps=1), np.ndarray)
        for name in ("pseudo_likelihood", "validation_score"):
            assert np.isfinite([record[name] for record in machine.history_]).all()

    def test_early_stopping_keeps_the_best(self, iris):
        seen = []
        machine = small(n_iter=6, n_iter_no_change=10, learning_rate=0.3, early_stopping=True, sigma_learning_rate=0.5)
        machine.set_params(callbacks=lambda so_far, record: seen.append((record["validation_score"], so_far.sigma_.copy())))
        best = max(machine.fit(iris).history_, key=lambda record: record["validation_score"])
        np.testing.assert_array_equal(machine.sigma_, dict(seen)[best["validation_score"]])

    def test_verbose(self, iris, capsys):
        small(n_iter=1, verbose=1).fit(iris)
        assert "[GaussianRBM] Iteration 1, pseudo-likelihood" in capsys.readouterr().out

    @pytest.mark.parametrize("sigma", [0.0, -1.0, [1.0, 2.0], [1.0, 1.0, 1.0, 0.0], [np.nan] * 4])
    def test_bad_sigma(self, sigma, iris):
        with pytest.raises(ValueError, match="sigma"):
            small(sigma=sigma).fit(iris)

    def test_a_failed_fit_changes_nothing(self, iris):
        machine = small().fit(iris)
        before = {name: np.copy(value) for name, value in vars(machine).items() if isinstance(value, np.ndarray)}
        bad = iris.copy()
        bad[149, 2] = np.nan
        for fit in (machine.fit, machine.partial_fit):
            with pytest.raises(ValueError, match="NaN"):
                fit(bad)
        for name, value in before.items():
            np.testing.assert_array_equal(getattr(machine, name), value)


class TestByHand:
    def test_from_weights(self):
        machine = GaussianRBM.from_weights([[2.0], [-1.0]], [1.0, 0.0], [0.5], sigma=[2.0, 1.0])
        np.testing.assert_allclose(machine.inverse_transform([[1.0]]), [[5.0, -1.0]])
        np.testing.assert_allclose(machine.transform([[5.0, 3.0]]), [[1 / (1 + np.exp(-2.5))]])
        assert not hasattr(machine, "mean_")

    @pytest.mark.parametrize(
        ("name", "value"), [("sigma_", -np.ones(4)), ("sigma_", np.ones(3)), ("intercept_visible_", np.ones(3))]
    )
    def test_attributes_that_do_not_fit(self, name, value, iris):
        machine = small().fit(iris)
        setattr(machine, name, value)
        with pytest.raises(ValueError, match=name):
            machine.transform(iris)

    def test_a_file_that_was_tampered_with(self, iris, tmp_path, monkeypatch):
        from fastbm.estimators import _persistence

        machine = small().fit(iris)
        machine.save(tmp_path / "machine")
        arrays, header = _persistence.read(tmp_path / "machine", "GaussianRBM")
        bad = [("sigma_", -arrays["sigma_"]), ("scale_", np.zeros(4)), ("mean_", np.zeros(3)), ("sigma_", np.ones(3))]
        for name, array in bad:
            _persistence.write(tmp_path / "bad", "GaussianRBM", arrays | {name: array}, header)
            with pytest.raises(ValueError, match="tampered"):
                GaussianRBM.load(tmp_path / "bad")


@pytest.mark.gpu
def test_a_gpu_answers_as_the_cpu(gpu, iris):
    """Fitted on the CPU, moved: means within rounding, and where rows live; samples, too, unless a draw was on the edge."""
    machine = small().fit(iris)
    expected = [machine.transform(iris), machine.reconstruct(iris), machine.free_energy(iris), machine.score_samples(iris)]
    rows, sample = gpu.asarray(iris), machine.sample(5, n_steps=3, clamp=[np.nan, 3.0, np.nan, 1.0])
    got = [machine.transform(rows), machine.reconstruct(rows), machine.free_energy(rows), machine.score_samples(rows)]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=1e-5, atol=1e-5)
    there = machine.to("cuda").sample(5, n_steps=3, clamp=[np.nan, 3.0, np.nan, 1.0])
    np.testing.assert_allclose(there.get(), sample, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("algorithm", ["pcd", "cd", "pt"])
def test_a_gpu_learns_as_the_cpu(gpu, iris, algorithm):
    """A pass, with scales and weights: within rounding, until a draw on the edge parts the chains."""
    weights = np.linspace(0.5, 1.5, 150)
    on_cpu = small(algorithm=algorithm, n_iter=1, batch_size=50, betas=3).fit(iris)
    on_gpu = small(algorithm=algorithm, n_iter=1, batch_size=50, betas=3).fit(gpu.asarray(iris))
    for name in ("components_", "intercept_hidden_", "intercept_visible_", "sigma_"):
        np.testing.assert_allclose(getattr(on_gpu, name).get(), getattr(on_cpu, name), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(on_gpu.mean_, on_cpu.mean_)
    small(n_iter=1).fit(gpu.asarray(iris), sample_weight=weights)


@pytest.mark.parametrize("offset", [0.0, 100.0, 1e4])
def test_it_learns_wherever_the_data_lie(offset):
    """Without being standardised: hidden units do not begin saturated by the mean."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 6))
    X[:, 1] += 1.5 * X[:, 0]
    X += (rng.random((500, 1)) < 0.5) * np.array([3.0, 3.0, -2.0, 0.0, 1.0, 2.0])
    machine = GaussianRBM(5, n_iter=0, random_state=0).fit(X + offset)
    assert np.abs(machine.transform(X + offset) - 0.5).max() < 0.2
    settings = {"n_iter": 40, "learning_rate": 0.02, "batch_size": 50, "n_chains": 100, "random_state": 0}
    machine = GaussianRBM(5, **settings).fit(X + offset)
    normal = -0.5 * 6 * (np.log(2 * np.pi) + X.var(axis=0).mean())  # the best that deviations of 1 alone can do
    assert machine.log_likelihood(X + offset).mean() > normal + 1.0
