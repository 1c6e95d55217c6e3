"""What training can be told besides its rule: schedules, weights of rows, sparsity, callbacks, early stopping; its history."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from fastbm import BernoulliRBM, chain
from fastbm.machines.rbm import RBM
from fastbm.training import ascent, minibatches, schedules
from fastbm.training.contrastive_divergence import persistent

KEY = chain.stream_key(0, chain.Purpose.TRAINING)
SMALL = {"n_components": 16, "batch_size": 50, "random_state": 0}


class TestSchedules:
    @pytest.mark.parametrize(("name", "factors"), [("constant", [1, 1]), ("linear", [1, 0.5]), ("inverse", [1, 1 / 5.5])])
    def test_of_the_learning_rate(self, name, factors):
        assert [schedules.factor(name, fraction) for fraction in (0.0, 0.5)] == pytest.approx(factors)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("constant", [20, 20, 20]), ("linear", [1, 10, 20]), ("inverse", [2, 4, 18]), (np.sqrt, [1, 14, 20])],
    )
    def test_of_the_sweeps(self, name, expected):
        assert [schedules.sweeps(20, name, fraction) for fraction in (0.0, 0.5, 0.99)] == expected

    def test_are_followed(self, digits):
        machine = BernoulliRBM(**SMALL, n_iter=4, n_gibbs_steps=9, n_gibbs_steps_schedule="linear")
        machine.set_params(learning_rate_schedule=lambda fraction: 1 - fraction**2).fit(digits[0])
        done = (np.arange(4) + 29 / 30) / 4
        assert [record["n_gibbs_steps"] for record in machine.history_] == [round(9 * fraction) for fraction in done]
        np.testing.assert_allclose([record["learning_rate"] for record in machine.history_], 0.1 * (1 - done**2))
        assert machine._updates == 1 + 2 * sum(max(1, round(9 * update / 120)) for update in range(120))

    def test_wrong_ones(self, digits):
        with pytest.raises(ValueError, match=r"n_gibbs_steps_schedule\(0\) must be a finite number of at least 0, got -1"):
            BernoulliRBM(n_gibbs_steps_schedule=lambda fraction: -1).fit(digits[0])


class TestShuffling:
    def test_each_pass_has_an_order_of_its_own(self, digits):
        """Two passes over shuffled rows are two passes over rows put in these orders, and rows come as they are without."""
        X = digits[0][:205]
        shuffled = BernoulliRBM(**SMALL, n_iter=2, shuffle=True).fit(X)
        by_hand = BernoulliRBM(**SMALL, n_iter=1, warm_start=True)
        for number in range(2):
            entropy = np.random.SeedSequence(0, spawn_key=(int(chain.Purpose.SHUFFLING), number))
            by_hand.fit(X[np.random.default_rng(entropy).permutation(205)])
        np.testing.assert_array_equal(shuffled.components_, by_hand.components_)
        batches = [X[part] for part in minibatches.slices(205, 50)]
        in_order = BernoulliRBM(**SMALL, n_iter=2).fit(batches)
        np.testing.assert_array_equal(BernoulliRBM(**SMALL, n_iter=2).fit(X).components_, in_order.components_)


class TestSampleWeight:
    def one_update(self, X, sample_weight=None, **parameters):
        machine = BernoulliRBM(5, n_chains=20, n_iter=1, batch_size=len(X), random_state=0, **parameters)
        return machine.fit(X, sample_weight=sample_weight)

    @pytest.mark.parametrize("grey", [False, True])
    @pytest.mark.parametrize("centered", [False, True])
    def test_counts_rows_several_times(self, digits, centered, grey):
        """The step is that of the rows repeated, and the same for all multiples of the weights."""
        rows, times = digits[0][:30] * (0.5 if grey else 1), np.arange(30) % 4
        repeated = self.one_update(np.repeat(rows, times, axis=0), centered=centered)
        for factor in (1.0, 1e-3, 1e6):
            weighted = self.one_update(rows, times * factor, centered=centered)
            np.testing.assert_allclose(weighted.components_, repeated.components_, rtol=1e-4, atol=1e-7)
            np.testing.assert_allclose(weighted.intercept_visible_, repeated.intercept_visible_, rtol=1e-4, atol=1e-7)
            np.testing.assert_allclose(weighted.intercept_hidden_, repeated.intercept_hidden_, rtol=1e-4, atol=1e-7)

    def test_minibatches_step_as_far_as_they_weigh(self):
        """In expectation over minibatches the gradient is that of the weighted data, also where their weights differ."""
        rng = np.random.default_rng(0)
        machine = [rng.normal(size=shape) * 0.5 for shape in ((6, 3), 6, 3)]
        X, weights = (rng.random((40, 6)) < 0.5).astype(np.float32), rng.exponential(size=40)
        weights /= weights.mean()
        steps = []
        for part in np.split(np.arange(40), 4):
            state = ascent.init(RBM(*(array.astype(np.float32) for array in machine)), 20_000)
            state, rows = ascent.prepare(state, X[part])
            settings = {"phase": persistent, "key": KEY, "n_steps": 60, "learning_rate": 1e-3}
            state, _ = ascent.step(state, rows, **settings, weights=weights[part])
            steps.append([(after - before) / 1e-3 for after, before in zip(state.machine, machine, strict=True)])
        counts = np.random.default_rng(1).multinomial(200_000, weights / 40)
        exact = naive.gradient(*machine, np.repeat(X, counts, axis=0))
        for step, gradient in zip(zip(*steps, strict=True), exact, strict=True):
            error = np.abs(np.mean(step, axis=0) - gradient).max()
            assert error < 5 * 0.5 * (20_000**-0.5 + 200_000**-0.5) + 1e-3  # the same chains in all four

    @pytest.mark.parametrize("options", [{}, {"centered": True, "sparsity_target": 0.2}, {"early_stopping": True}], ids=str)
    def test_rows_without_weight_might_as_well_not_be_there(self, digits, options):
        weights = np.arange(1500) % 3 % 2 * 2.0
        settings = SMALL | {"n_iter": 3, "callbacks": lambda machine, record: None} | options
        some = BernoulliRBM(**settings).fit(digits[0], sample_weight=weights)
        alone = BernoulliRBM(**settings).fit(digits[0][weights > 0], sample_weight=np.ones(500))
        np.testing.assert_array_equal(some.components_, alone.components_)
        for ours, theirs in zip(some.history_, alone.history_, strict=True):
            assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}

    def test_huge_ones_do_not_overflow(self, digits):
        weights = np.ones(1500)
        weights[:2] = 1e308
        machine = BernoulliRBM(**SMALL, n_iter=1).fit(digits[0], sample_weight=weights)
        assert np.isfinite(machine.components_).all()
        assert np.abs(machine.components_).max() > 0.1

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            (np.ones(3), r"sample_weight must have shape \(1500,\), a number for each row, got shape \(3,\)"),
            (np.full(1500, np.nan), "sample_weight must be finite, not negative, and not zero everywhere"),
            (np.zeros(1500), "not zero everywhere"),
            (-np.ones(1500), "not negative"),
            ("many", "sample_weight must be numbers of shape"),
        ],
    )
    def test_wrong_ones(self, digits, weights, message):
        with pytest.raises(ValueError, match=message):
            BernoulliRBM(**SMALL).fit(digits[0], sample_weight=weights)

    def test_batches_have_none(self, digits):
        with pytest.raises(ValueError, match="sample_weight needs X as rows"):
            BernoulliRBM(**SMALL).fit([digits[0]], sample_weight=np.ones(1500))


class TestSparsity:
    @pytest.mark.parametrize("centered", [False, True])
    @pytest.mark.parametrize("batch_size", [10, 150])
    def test_pulls_the_mean_activity_to_the_target(self, digits, batch_size, centered):
        """However large the minibatches: means are compared, not sums."""
        train, held_out = digits
        activities = {}
        for target in (None, 0.1):
            machine = BernoulliRBM(16, n_iter=30, batch_size=batch_size, learning_rate=0.05, centered=centered, random_state=0)
            machine.set_params(sparsity_target=target, sparsity_cost=3.0).fit(train)
            activities[target] = machine.transform(held_out).mean(axis=0)
        assert np.abs(activities[0.1] - 0.1).max() < 0.05
        assert np.abs(activities[None] - 0.1).max() > 0.2

    def test_its_step_is_the_gradient_of_the_cross_entropy(self):
        """Of the first update, whose activity is that of the minibatch: by central differences."""
        rng = np.random.default_rng(0)
        machine = [rng.normal(size=shape) for shape in ((6, 3), 6, 3)]
        X = (rng.random((40, 6)) < 0.5).astype(float)

        def penalty(weights, hidden_bias):
            logits = X @ weights + hidden_bias
            q = (1 / (1 + np.exp(-logits))).mean(axis=0)
            # the derivative of the cross-entropy by the mean logit, as it is in Hinton's guide, is q - target
            return logits.mean(axis=0) @ (q - 0.2)

        steps = []
        for cost in (0.0, 0.5):
            state = ascent.init(RBM(*(array.astype(np.float32) for array in machine)), 10)
            state, rows = ascent.prepare(state, X)
            settings = {"phase": persistent, "key": KEY, "n_steps": 1, "learning_rate": 1.0}
            state, _ = ascent.step(state, rows, **settings, sparsity_target=0.2, sparsity_cost=cost)
            steps.append([array.astype(float) for array in state.machine])
        q = (1 / (1 + np.exp(-(X @ machine[0] + machine[2])))).mean(axis=0)
        np.testing.assert_allclose(steps[1][0] - steps[0][0], -0.5 * X.mean(axis=0)[:, None] * (q - 0.2), atol=1e-6)
        np.testing.assert_allclose(steps[1][1], steps[0][1])
        np.testing.assert_allclose(steps[1][2] - steps[0][2], -0.5 * (q - 0.2), atol=1e-6)
        assert penalty(machine[0], machine[2]) > penalty(machine[0], machine[2] - 0.1 * (q - 0.2))

    def test_goes_on_bit_for_bit(self, digits, tmp_path):
        whole, parts = (BernoulliRBM(**SMALL, n_iter=1, sparsity_target=0.1).fit(digits[0]) for _ in range(2))
        parts.save(tmp_path / "machine")
        for machine in (whole, parts := BernoulliRBM.load(tmp_path / "machine")):
            machine.partial_fit(digits[0][:50])
        np.testing.assert_array_equal(parts.components_, whole.components_)
        np.testing.assert_array_equal(parts._activity, whole._activity)


class TestHistory:
    def test_has_a_record_of_plain_numbers_for_each_pass(self, digits):
        machine = BernoulliRBM(**SMALL, n_iter=3).fit(digits[0])
        assert [record["iteration"] for record in machine.history_] == [1, 2, 3]
        for record in machine.history_:
            assert record.keys() == {"iteration", "learning_rate", "n_gibbs_steps", "seconds"}
            assert {type(value) for value in record.values()} <= {int, float}

    def test_goes_on_with_a_warm_start_and_through_files(self, digits, tmp_path):
        machine = BernoulliRBM(**SMALL, n_iter=2, warm_start=True).fit(digits[0])
        machine.save(tmp_path / "machine")
        loaded = BernoulliRBM.load(tmp_path / "machine")
        assert loaded.history_ == machine.history_
        assert [record["iteration"] for record in loaded.fit(digits[0]).history_] == [1, 2, 3, 4]
        assert len(loaded.set_params(warm_start=False).fit(digits[0]).history_) == 2
        loaded.partial_fit(digits[0][:10])
        assert len(loaded.history_) == 2


class TestCallbacks:
    def test_see_each_pass_as_it_ends(self, digits):
        seen = []

        def look(machine, record):
            seen.append((record["pseudo_likelihood"], machine.components_.copy(), machine.sample(3, n_steps=2).shape))

        machine = BernoulliRBM(**SMALL, n_iter=3, callbacks=look).fit(digits[0])
        whole = BernoulliRBM(**SMALL, n_iter=3).fit(digits[0])
        assert [score for score, *_ in seen] == [record["pseudo_likelihood"] for record in machine.history_]
        assert seen[0][0] < seen[2][0]
        np.testing.assert_array_equal(seen[2][1], whole.components_)
        assert not np.array_equal(seen[1][1], seen[2][1])
        np.testing.assert_array_equal(machine.components_, whole.components_)
        assert seen[0][2] == (3, 64)

    def test_can_end_the_training(self, digits):
        calls = []
        last = lambda machine, record: np.bool_(True) if record["iteration"] == 2 else None  # noqa: E731
        machine = BernoulliRBM(**SMALL, n_iter=9, callbacks=[last, lambda machine, record: calls.append(record)])
        assert machine.fit(digits[0]).n_iter_ == 2
        assert len(calls) == 2
        np.testing.assert_array_equal(machine.components_, BernoulliRBM(**SMALL, n_iter=2).fit(digits[0]).components_)

    def test_their_records_are_their_own(self, digits):
        machine = BernoulliRBM(**SMALL, n_iter=1, callbacks=lambda machine, record: record.clear())
        assert machine.fit(digits[0]).history_[0]["iteration"] == 1

    def test_their_errors_leave_the_estimator_as_it_was(self, digits):
        machine = BernoulliRBM(**SMALL, n_iter=1).fit(digits[0])
        before = machine.components_.copy()

        def fail(machine, record):
            raise RuntimeError("enough")

        with pytest.raises(RuntimeError, match="enough"):
            machine.set_params(callbacks=fail).fit(digits[0])
        np.testing.assert_array_equal(machine.components_, before)
        assert len(machine.history_) == 1

    def test_wrong_ones(self, digits):
        with pytest.raises(ValueError, match="callbacks"):
            BernoulliRBM(callbacks="print").fit(digits[0])
        with pytest.raises(ValueError, match=r"callbacks\[1\] must be callable, got 3"):
            BernoulliRBM(callbacks=[print, 3]).fit(digits[0])


class TestEarlyStopping:
    def test_ends_without_gain_and_keeps_the_best(self, digits):
        """A learning rate that is too large after a few passes."""
        settings = SMALL | {"n_iter": 100, "learning_rate": 2.0, "early_stopping": True, "n_iter_no_change": 3}
        kept = []
        machine = BernoulliRBM(**settings, callbacks=lambda machine, record: kept.append(machine.components_.copy()))
        machine.fit(digits[0])
        scores = [record["validation_score"] for record in machine.history_]
        assert machine.n_iter_ == len(scores) < 100
        best = int(np.argmax(scores))
        assert best == len(scores) - 4
        np.testing.assert_array_equal(machine.components_, kept[best])

    def test_holds_rows_out(self, digits):
        """The machine is that of the others alone, and the same rows are scored after each pass."""
        X = np.random.default_rng(0).permutation(digits[0])[:100]
        machine = BernoulliRBM(**SMALL | {"batch_size": 7}, n_iter=2, early_stopping=True, validation_fraction=0.2).fit(X)
        order = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(int(chain.Purpose.HOLDING_OUT),))).permutation(100)
        alone = BernoulliRBM(**SMALL | {"batch_size": 7}, n_iter=2).fit(X[np.sort(order[20:])])
        np.testing.assert_array_equal(machine.components_, alone.components_)
        assert machine.history_[-1]["validation_score"] == pytest.approx(alone.score(X[order[:20]]))

    def test_a_gain_below_the_tolerance_is_none(self, digits):
        settings = SMALL | {"n_iter": 50, "learning_rate": 1e-6, "early_stopping": True, "n_iter_no_change": 4, "tol": 0.1}
        assert BernoulliRBM(**settings).fit(digits[0]).n_iter_ == 5

    def test_weights_go_with_their_rows(self, digits):
        weights = np.arange(1500) % 3 + 1.0
        machine = BernoulliRBM(**SMALL, n_iter=1, early_stopping=True).fit(digits[0], sample_weight=weights)
        order = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(int(chain.Purpose.HOLDING_OUT),))).permutation(1500)
        kept = np.sort(order[150:])
        alone = BernoulliRBM(**SMALL, n_iter=1).fit(digits[0][kept], sample_weight=weights[kept])
        np.testing.assert_allclose(machine.components_, alone.components_, rtol=1e-4, atol=1e-6)

    def test_needs_rows_enough(self, digits):
        with pytest.raises(ValueError, match="validation_fraction=0.9 leaves nothing of n_samples=1"):
            BernoulliRBM(early_stopping=True, validation_fraction=0.9).fit(digits[0][:1])
        with pytest.raises(ValueError, match="early_stopping needs X as rows"):
            BernoulliRBM(early_stopping=True).fit([digits[0]])
