"""Rung 2 for learning: `phases` equals the reference chain and its means, `ascend` its naive twin, bit for bit."""

from __future__ import annotations

from functools import cache

import naive
import numpy as np
import pytest
from test_kernels import KEY, SIZES

from fastbm import chain, kernels
from fastbm.kernels import ascent_cpu, simd_cpu, tables_cpu, threads_cpu

phases_way = pytest.mark.parametrize("way", ["portable", "avx512"], indirect=True)
UNTEMPERED = np.ones(1, np.float32)


def random_rows(n_rows, n_units, seed=6):
    return np.random.default_rng(seed).random((n_rows, n_units)) < 0.3


# ---------------------------------------------------------------------------------------------------------- phases


def expected_phases(arguments, exponent, rows, update):
    """Visible and hidden states after two block updates, and the hidden means of the rows and of the chains."""
    n_visible = arguments["up"][0].shape[0]
    numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": update, "stop": update + 2}
    visible, hidden = naive.run(chain.gibbs, arguments, **numbers)
    states = chain.unpack(np.concatenate([rows, visible]), n_visible, np.float64)
    inputs = (states @ arguments["up"][0]).astype(np.int32)
    return visible, hidden, chain.mean(chain.logit(inputs, arguments["biases"][1], UNTEMPERED, exponent))


def run_phases(arguments, exponent, rows, update, tables):
    """Run the kernel on copies, with means that are wider than needed; return what `expected_phases` does."""
    visible, hidden = (states.copy() for states in arguments["layers"])
    width = arguments["biases"][1].size
    means = np.full((len(rows) + len(visible), width + 16), -1, np.float32)
    kernels.phases(
        rows, visible, hidden, means, *arguments["up"], *arguments["down"], *arguments["biases"], *arguments["free"], tables,
        exponent=exponent, key=KEY, update=update,
    )  # fmt: skip
    assert (means[:, width:] == -1).all()
    return visible, hidden, means[:, :width]


def assert_same_phases(arguments, exponent, n_rows, way, update=1):
    rows, tables = chain.pack(random_rows(n_rows, arguments["up"][0].shape[0])), {}
    got = run_phases(arguments, exponent, rows, update, tables)
    np.testing.assert_equal(got, expected_phases(arguments, exponent, rows, update))
    assert list(tables) == (["live"] if way == "avx512" else [])


@cache
def known(size, n_rows, n_chains, update=1, **options):
    """Arguments of `run_phases` but the tables, and what is expected, worked out once for all ways."""
    arguments, exponent = naive.random_arguments(size, n_chains, **options)
    given = arguments, exponent, chain.pack(random_rows(n_rows, size[0])), update
    return given, expected_phases(*given)


class TestPhases:
    @phases_way
    @pytest.mark.parametrize("n_chains", [1, 17, 100])
    @pytest.mark.parametrize("n_rows", [0, 1, 17])
    @pytest.mark.parametrize("size", SIZES)
    def test_equals_reference(self, size, n_rows, n_chains, way, n_threads):
        given, expected = known(size, n_rows, n_chains)
        tables = {}
        np.testing.assert_equal(run_phases(*given, tables), expected)
        assert list(tables) == (["live"] if way == "avx512" else [])

    @phases_way
    @pytest.mark.parametrize("size", [(100, 500), (500, 100)])
    def test_many_chains_and_units(self, size, way, n_threads):
        """More than a slab takes, and more than a part of the words."""
        given, expected = known(size, 70, 1100, scale=0.1)
        np.testing.assert_equal(run_phases(*given, {}), expected)

    @phases_way
    @pytest.mark.parametrize("update", [3, 99, 2**32 - 3, 2**32 - 1])
    def test_any_position_in_the_stream(self, update, way):
        assert_same_phases(*naive.random_arguments((33, 17), 50), 3, way, update)

    @phases_way
    @pytest.mark.parametrize("scale", [0.0, 1e-6, 5.0, 300.0])
    def test_wild_weights(self, scale, way):
        assert_same_phases(*naive.random_arguments((70, 90), 60, scale=scale), 3, way)

    @phases_way
    @pytest.mark.parametrize("largest", [88, 1e30, 3e38])
    def test_wild_biases(self, largest, way):
        arguments, exponent = naive.random_arguments((70, 90), 60)
        for bias, size in zip(arguments["biases"], (70, 90), strict=True):
            bias[:size] = np.resize(np.float32([-largest, largest, -88, 88, 0]), size)
        assert_same_phases(arguments, exponent, 3, way)

    @phases_way
    @pytest.mark.parametrize("value", [1000.0, -1000.0])
    def test_one_coupling_dominates(self, value, way):
        """So that a coarse coupling takes all of the sixteen bits."""
        rng = np.random.default_rng(0)
        weights = rng.normal(size=(70, 90)) * 0.5
        weights[np.arange(70), np.arange(70)] = value
        layers = naive.random_arguments((70, 90), 60)[0]["layers"]
        biases = [np.resize([0, -value], size) for size in (70, 90)]
        arguments, exponent = naive.reference_arguments([weights], biases, layers)
        live = tables_cpu.build_live(arguments["up"][0], 90)
        assert (live.coarse.view(np.uint16)[:70] > 2**15).any(axis=1).all()
        assert_same_phases(arguments, exponent, 3, way)

    @phases_way
    def test_tables_are_kept(self, way):
        (given, expected), tables = known((65, 130), 17, 100), {}
        np.testing.assert_equal(run_phases(*given, tables), expected)
        kept = dict(tables)
        np.testing.assert_equal(run_phases(*given, tables), expected)
        assert tables.get("live") is kept.get("live")

    @pytest.mark.parametrize("level", simd_cpu.levels_here())
    def test_more_hidden_units_than_sixteen_bits_can_sum(self, level, monkeypatch):
        """The cost model chooses a way that is right."""
        monkeypatch.setattr(simd_cpu, "LEVEL", level)
        arguments, exponent = naive.random_arguments((3, 33_000), 60, scale=0.02)
        rows = np.empty((0, 1), np.uint64)
        got = run_phases(arguments, exponent, rows, 1, {})
        np.testing.assert_equal(got, expected_phases(arguments, exponent, rows, 1))


# ---------------------------------------------------------------------------------------------------------- ascend


class Learner:
    """What `ascend` reads and writes, for a random machine; rows are grey where asked, else packed."""

    def __init__(self, size, n_rows, n_chains, *, grey=False, momentum=0.0, scale=0.3, centered=False):
        rng = np.random.default_rng(7)
        self.weights = (rng.normal(size=size) * scale).astype(np.float32)
        self.velocity = (rng.normal(size=size) * 0.1).astype(np.float32) if momentum else np.empty((0, 0), np.float32)
        self.data, self.chains = random_rows(n_rows, size[0]).astype(np.float32), random_rows(n_chains, size[0], seed=8)
        self.data *= rng.random(self.data.shape, dtype=np.float32) if grey else 1
        self.means = np.full((n_rows + n_chains, chain.padded(size[1]) + 16), -1, np.float32)
        self.means[:, : size[1]] = rng.random((n_rows + n_chains, size[1]))
        states = chain.pack(self.data)
        self.rows, self.grey = (states[:0], self.data) if grey else (states, self.data[:0])
        self.to_hidden, self.to_visible = (naive.pad(np.zeros(shape, np.int32)) for shape in (size, size[::-1]))
        self.gradients = [np.full(n, np.nan, np.float32) for n in size]
        self.offsets = [rng.random(n if centered else 0, np.float32) for n in size]
        self.factors = np.float32([1 / n_rows] * n_rows + [-1 / n_chains] * n_chains)
        self.tables, self.rates = {}, {"learning_rate": 0.05, "momentum": momentum, "l1": 0.0, "l2": 0.0}
        self.rates["offset_rate"] = 0.25
        self.round()

    def round(self):
        self.exponent = kernels.round_couplings(self.weights, self.to_hidden, self.to_visible, guess=None)

    def build_live(self):
        return tables_cpu.build_live(self.to_hidden, self.weights.shape[1])

    def ascend(self, *, both=True, **rates):
        self.exponent = kernels.ascend(
            self.weights, self.velocity, self.to_hidden, self.to_visible, *self.gradients, *self.offsets,
            self.rows, self.grey, chain.pack(self.chains), self.means, self.factors, self.tables,
            exponent=self.exponent, both=both, **self.rates | rates,
        )  # fmt: skip

    def expected(self, **rates):
        velocity, means = (self.velocity if self.velocity.size else None), self.means[:, : self.weights.shape[1]]
        offsets = [offset.copy() for offset in self.offsets] if self.offsets[0].size else None
        given = self.weights.copy(), velocity, self.data, self.chains, means, offsets, self.factors
        ascended = naive.ascend(*given, **self.rates | rates, fused=ascent_cpu.multiplies(self.grey, self.means))
        return *ascended, offsets

    def assert_rounded(self, *, both=True):
        """The roundings, or the one to the hidden units, are the reference's of the weights, and their padding is 0."""
        rounded, exponent = chain.round_couplings(self.weights)
        assert self.exponent == exponent
        np.testing.assert_array_equal(self.to_hidden, naive.pad(rounded))
        if both:
            np.testing.assert_array_equal(self.to_visible, naive.pad(rounded.T))


class TestAscend:
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    @pytest.mark.parametrize("grey", [False, True])
    @pytest.mark.parametrize(("n_rows", "n_chains"), [(1, 1), (17, 1), (1, 17), (16, 17), (10, 100), (130, 90)])
    @pytest.mark.parametrize("size", [*SIZES, (17, 400)])
    def test_equals_its_naive_twin(self, size, n_rows, n_chains, grey, momentum, n_threads):
        learner = Learner(size, n_rows, n_chains, grey=grey, momentum=momentum)
        for _ in range(2):
            weights, velocity, *gradients, _ = learner.expected()
            learner.ascend()
            np.testing.assert_array_equal(learner.weights, weights)
            np.testing.assert_equal(learner.gradients, gradients)
            if momentum:
                np.testing.assert_array_equal(learner.velocity, velocity)
            learner.assert_rounded()

    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    @pytest.mark.parametrize("grey", [False, True])
    @pytest.mark.parametrize(("n_rows", "n_chains"), [(1, 1), (17, 1), (10, 100)])
    @pytest.mark.parametrize("size", [*SIZES, (17, 400)])
    def test_centred_it_equals_its_naive_twin(self, size, n_rows, n_chains, grey, momentum, n_threads):
        learner = Learner(size, n_rows, n_chains, grey=grey, momentum=momentum, centered=True)
        for _ in range(2):
            weights, _, *gradients, offsets = learner.expected(l2=1e-3)
            learner.ascend(l2=1e-3)
            np.testing.assert_array_equal(learner.weights, weights)
            np.testing.assert_equal(learner.gradients, gradients)
            np.testing.assert_equal(learner.offsets, offsets)
            learner.assert_rounded()

    @pytest.mark.parametrize("share", [0.0, 1.0])
    def test_grey_rows_are_listed_or_multiplied(self, share, n_threads, monkeypatch):
        """Whichever takes less time."""
        monkeypatch.setattr(ascent_cpu, "DENSE", share)
        learner = Learner((65, 130), 60, 40, grey=True, centered=True)
        assert ascent_cpu.multiplies(learner.grey, learner.means) == (share == 0)
        weights, _, *gradients, offsets = learner.expected()
        learner.ascend()
        np.testing.assert_array_equal(learner.weights, weights)
        np.testing.assert_equal(learner.gradients, gradients)
        np.testing.assert_equal(learner.offsets, offsets)

    @pytest.mark.parametrize("flipped", [0, 1])
    def test_centred_it_does_not_matter_which_state_is_called_on(self, flipped):
        """Exchanging 0 and 1 of all visible units, or of all hidden ones, gives a machine that learns the same.

        The energies are the same when these units' weights and biases change sign, and the other side's biases take up the
        sums of the weights: so must the steps.
        """
        learner, other = (Learner((65, 130), 30, 20, centered=True) for _ in range(2))
        if flipped == 0:
            other.data, other.chains = 1 - other.data, ~other.chains
            other.rows = chain.pack(other.data)
        else:
            other.means[:, :130] = 1 - other.means[:, :130]
        other.offsets[flipped] = 1 - other.offsets[flipped]
        other.weights *= -1
        (weights, biases), (other_weights, other_biases) = (self.steps(each) for each in (learner, other))
        np.testing.assert_allclose(other_weights, -weights, atol=1e-6)
        np.testing.assert_allclose(other_biases[flipped], -biases[flipped], atol=1e-5)
        np.testing.assert_allclose(other_biases[1 - flipped], biases[1 - flipped] + weights.sum(axis=flipped), atol=1e-5)

    @pytest.mark.parametrize("centered", [False, True])
    @pytest.mark.parametrize("grey", [False, True])
    @pytest.mark.parametrize("size", SIZES)
    def test_rows_that_count_differently(self, size, grey, centered, n_threads):
        learner = Learner(size, 17, 9, grey=grey, centered=centered)
        learner.factors *= np.random.default_rng(3).exponential(size=26).astype(np.float32)
        learner.factors[4] = 0
        weights, _, *gradients, offsets = learner.expected()
        learner.ascend()
        np.testing.assert_array_equal(learner.weights, weights)
        np.testing.assert_equal(learner.gradients, gradients)
        np.testing.assert_equal(learner.offsets, offsets if centered else learner.offsets)

    @staticmethod
    def steps(learner):
        """The steps of weights and of biases in an ascent at a learning rate of 1."""
        before = learner.weights.copy()
        learner.ascend(learning_rate=1.0)
        return learner.weights - before, learner.gradients

    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    @pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
    def test_decay(self, l1, l2, momentum, n_threads):
        learner = Learner((65, 130), 30, 20, momentum=momentum)
        learner.weights[::2] = 0  # where l1 pulls nowhere
        weights, *_ = learner.expected(l1=l1, l2=l2)
        learner.ascend(l1=l1, l2=l2)
        np.testing.assert_array_equal(learner.weights, weights)
        learner.assert_rounded()

    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    @pytest.mark.parametrize("grey", [False, True])
    def test_without_roundings_the_weights_move_alike(self, grey, momentum, n_threads):
        one, other = (Learner((33, 17), 40, 9, grey=grey, momentum=momentum, centered=True) for _ in range(2))
        other.to_hidden, other.to_visible = (np.empty((0, 0), np.int32) for _ in range(2))
        exponent = other.exponent
        for learner in (one, other):
            learner.ascend(l1=0.01, l2=0.1)
        assert other.exponent == exponent
        for name in ("weights", "velocity", "gradients", "offsets"):
            np.testing.assert_equal(getattr(other, name), getattr(one, name))

    def test_decay_is_the_gradient_of_the_penalty(self):
        learner, step = Learner((4, 3), 1, 1), 1e-6
        learner.means[:] = 0
        before = learner.weights.astype(np.float64)
        learner.ascend(learning_rate=1.0, l1=0.3, l2=0.7)
        for index in np.ndindex(before.shape):
            sides = []
            for sign in (1, -1):
                moved = before.copy()
                moved[index] += sign * step
                sides.append(0.3 * np.abs(moved).sum() + 0.35 * (moved**2).sum())
            moved = learner.weights[index] - before[index]
            assert moved == pytest.approx(-(sides[0] - sides[1]) / (2 * step), rel=1e-6)

    def test_the_gradient_is_that_of_the_likelihood(self):
        """In float64: the statistics of the data less those of the chains, each averaged over its own rows."""
        for grey in (False, True):
            learner = Learner((65, 130), 30, 20, grey=grey)
            before, data, means = (
                learner.weights.copy(),
                learner.data.astype(np.float64),
                learner.means[:, :130].astype(np.float64),
            )
            learner.ascend(learning_rate=1.0)
            expected = data.T @ means[:30] / 30 - learner.chains.T @ means[30:] / 20
            np.testing.assert_allclose(learner.weights - before, expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(learner.gradients[0], data.mean(axis=0) - learner.chains.mean(axis=0), atol=1e-6)
            np.testing.assert_allclose(learner.gradients[1], means[:30].mean(axis=0) - means[30:].mean(axis=0), atol=1e-6)

    def test_momentum_is_not_multiplied_by_the_learning_rate(self):
        learner = Learner((2, 3), 1, 1, momentum=0.5)
        learner.weights[:], learner.velocity[:] = 0, 0
        learner.data[:], learner.chains[:], learner.means[0] = 1, 0, 1
        learner.rows[:] = chain.pack(learner.data)
        for _ in range(3):
            learner.ascend(learning_rate=0.1)
        np.testing.assert_allclose(learner.weights, 0.1 + 0.15 + 0.175, rtol=1e-6)

    @pytest.mark.parametrize("factor", [1.001, 3.0, 1000.0, 0.999, 0.3, 1e-3])
    @pytest.mark.parametrize("both", [True, False])
    def test_weights_that_cross_a_border_of_the_exponent(self, both, factor, n_threads):
        """Their largest sum lies just inside the border, or just outside, and is multiplied."""
        for border in (1.0005, 0.9995):
            learner = Learner((65, 130), 5, 5)
            magnitudes = np.abs(learner.weights)
            largest = max(magnitudes.sum(axis=0).max(), magnitudes.sum(axis=1).max())
            learner.weights *= np.float32(32 * border / largest)
            learner.round()
            assert learner.exponent == (21 if border > 1 else 22)
            learner.tables |= {"live": learner.build_live(), "avx512": "stale"}
            learner.means[:] = 0
            before, expected = learner.exponent, learner.expected(learning_rate=1.0, l2=1 - factor)[0]
            learner.ascend(learning_rate=1.0, l2=1 - factor, both=both)
            np.testing.assert_array_equal(learner.weights, expected)
            learner.assert_rounded(both=both or learner.exponent != before)
            assert ("live" in learner.tables) == (learner.exponent == before)
            assert "avx512" not in learner.tables

    @pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinity"), (6e5, "524288")])
    def test_refuses_weights_that_cannot_be_sampled(self, value, message, n_threads):
        learner = Learner((65, 130), 5, 5)
        learner.weights[64, 129] = value
        learner.tables["avx512"] = "stale"
        with pytest.raises(ValueError, match=message):
            learner.ascend()
        assert not learner.tables

    def test_padding_of_means_counts_for_nothing(self):
        learner, other = (Learner((65, 130), 5, 5) for _ in range(2))
        other.means[:, 130:] = np.nan
        for each in (learner, other):
            each.ascend()
        np.testing.assert_array_equal(learner.weights, other.weights)
        learner.assert_rounded()
        other.assert_rounded()

    def test_many_threads_with_large_work(self):
        """Without forcing: the runs that the cost of the work calls for."""
        weights = []
        for n_threads in (1, 2):
            learner = Learner((784, 500), 100, 100, momentum=0.5)
            with threads_cpu.limited_to(n_threads):
                learner.ascend(l1=1e-4, l2=1e-4)
            learner.assert_rounded()
            weights.append(learner.weights)
        np.testing.assert_array_equal(*weights)


class TestLiveTables:
    @pytest.mark.parametrize("value", [None, 1000.0])
    @pytest.mark.parametrize("size", SIZES)
    def test_kept_through_updates_they_equal_new_ones(self, size, value, n_threads):
        """Whatever the processor: coarse couplings are plain integers."""
        learner = Learner(size, 20, 10, momentum=0.5)
        if value:
            np.fill_diagonal(learner.weights, value)
        learner.round()
        live = learner.tables["live"] = learner.build_live()
        for _ in range(3):
            learner.tables["avx512"] = "stale"
            learner.ascend()
            learner.assert_rounded()
            assert learner.tables["live"] is live
            assert "avx512" not in learner.tables
            np.testing.assert_equal(tuple(live), tuple(learner.build_live()))

    @pytest.mark.parametrize("both", [True, False])
    def test_the_other_orientation_is_written_where_it_is_needed(self, both, n_threads):
        """Where there are no tables, `phases` looks at it in any case."""
        learner = Learner((65, 130), 20, 10)
        learner.ascend(both=both)
        learner.assert_rounded()
        learner.tables["live"] = learner.build_live()
        learner.ascend(both=both)
        learner.assert_rounded(both=both)

    @phases_way
    @pytest.mark.parametrize("both", [True, False])
    def test_phases_after_an_update_see_the_new_couplings(self, both, way, n_threads):
        """With the tables that `phases` made before the update, also when there are too few chains to make them for."""
        learner, rows = Learner((65, 130), 20, 10), chain.pack(random_rows(3, 65))
        exponents = set()
        for number, rate in enumerate((0.5, 0.5, 0.5, 40.0, 0.5, 0.5)):
            arguments, _ = naive.random_arguments((65, 130), 100 if number % 2 == 0 else 5)
            rounded, exponent = chain.round_couplings(learner.weights)
            expected = arguments | {"up": (naive.pad(rounded),), "down": (naive.pad(rounded.T),)}
            arguments |= {"up": (learner.to_hidden,), "down": (learner.to_visible,)}
            got = run_phases(arguments, learner.exponent, rows, 2 * number + 1, learner.tables)
            np.testing.assert_equal(got, expected_phases(expected, exponent, rows, 2 * number + 1))
            learner.ascend(learning_rate=rate, both=both)
            exponents.add(learner.exponent)
        assert len(exponents) > 1
