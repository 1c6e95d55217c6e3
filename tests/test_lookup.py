"""Sweeps by table lookup: the same chain wherever tables are cut, the bound on their error, and when they are chosen."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import cache
from itertools import pairwise

import naive
import numpy as np
import pytest
from numba import njit
from test_kernels import KEY, assert_same_chain

from fastbm import chain, kernels
from fastbm.kernels import cost_cpu, gibbs_cpu, llvm_cpu, lookup_cpu, phases_cpu, rough_cpu, simd_cpu, tables_cpu, threads_cpu
from fastbm.kernels.rough_cpu import ROUGHNESS, SLACK
from fastbm.kernels.tables_cpu import LARGEST_ERROR, WORDS_A_PART, n_words
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM
from fastbm.training import ascent
from fastbm.training.contrastive_divergence import from_data, persistent

N_ENTRIES, UNITS_A_GROUP = {"avx512": 3, "avx2": 5}, {"avx512": 5, "avx2": 3}
"""Entries that a word adds to a sum, and units that one stands for."""


# ------------------------------------------------------------------------------------------------------- the chain


class TestGibbs:
    @pytest.mark.parametrize("n_chains", [31, 32, 33, 64, 65, 96, 129, 160, 200, 225])
    def test_any_number_of_vectors(self, n_chains, lookup_level):
        assert_same_chain(*naive.random_arguments((65, 40), n_chains), lookup_level, start=0, stop=4)

    @pytest.mark.parametrize("n_chains", [33, 64, 513, 700])
    @pytest.mark.parametrize("clamp", ["none", "each"])
    def test_borders_of_slabs(self, n_chains, clamp, lookup_level, n_threads):
        arguments, exponent = naive.random_arguments((33, 40), n_chains, beta="each", clamp=clamp)
        assert_same_chain(arguments, exponent, lookup_level, first_chain=77, start=0, stop=4)

    @pytest.mark.parametrize("largest", [32, 96])
    @pytest.mark.parametrize("clamp", ["one", "each"])
    def test_slabs_of_any_size(self, largest, clamp, lookup_level, n_threads, monkeypatch):
        monkeypatch.setattr(lookup_cpu, "LARGEST_SLAB", largest)
        arguments, exponent = naive.random_arguments((33, 17, 70), 201, beta="each", clamp=clamp)
        assert_same_chain(arguments, exponent, lookup_level, start=0, stop=6)

    @pytest.mark.parametrize(("sizes", "n_chains"), [((784, 500), 1000), ((1100, 70), 100), ((360, 361), 40), ((720, 721), 40)])
    def test_more_than_a_part_of_words(self, sizes, n_chains, lookup_level, n_threads):
        assert_same_chain(*naive.random_arguments(sizes, n_chains, scale=0.1), lookup_level, start=0, stop=4)

    @pytest.mark.parametrize("sizes", [(200, 30, 200), (10, 400, 10, 400), (375, 15, 360, 15)])
    def test_parts_that_reach_over_two_layers(self, sizes, lookup_level):
        assert_same_chain(*naive.random_arguments(sizes, 50, scale=0.1, clamp="one"), lookup_level, start=0, stop=4)

    @pytest.mark.parametrize("value", [1000.0, -1000.0, 400_000.0])
    def test_one_coupling_dominates(self, value, lookup_level):
        """So that an entry takes all of the sixteen bits."""
        arguments, exponent = dominated(value)
        tables = tables_cpu.build(arguments["up"], arguments["down"], lookup_level)[0]
        assert all((entries_of(of_layer) > 2**15).any(axis=(1, 2))[:70].all() for of_layer in tables)
        assert_same_chain(arguments, exponent, lookup_level, start=0, stop=6)

    @pytest.mark.parametrize("n_units", [14, 15, 16, 45, 48, 60, 63, 64, 75, 79, 80])
    def test_words_of_fifteen_and_of_64_units(self, n_units, lookup_level):
        arguments, exponent = naive.random_arguments((n_units, n_units + 1), 40, clamp="each")
        assert_same_chain(arguments, exponent, lookup_level, start=0, stop=4)

    def test_one_layer_clamped_in_one_chain(self, lookup_level):
        arguments, exponent = naive.random_arguments((33, 17), 600)
        free = np.repeat(arguments["free"][0], 600, axis=0)
        free[555] &= ~np.uint64(5)
        arguments["free"] = (free, arguments["free"][1])
        assert_same_chain(arguments, exponent, lookup_level, start=0, stop=6)

    @pytest.mark.parametrize("beta", [pytest.param(1.0, marks=pytest.mark.slow), 30.0])
    def test_long_runs(self, beta, lookup_level):
        """Thirteen million draws, some thousands of them in doubt; the window is that of the largest beta."""
        arguments, numbers, expected = long_run(beta)
        np.testing.assert_equal(naive.run(kernels.gibbs, arguments, tables={}, **numbers), expected)


@cache
def long_run(beta):
    """A machine that is the same at each beta, for all chains but one; numbers, and the reference's answer."""
    arguments, exponent = naive.random_arguments((60, 50), 300, scale=0.3 / beta)
    arguments["biases"] = tuple(bias / np.float32(beta) for bias in arguments["biases"])
    arguments["beta"] = np.float32([0.1] + [beta] * 299)
    numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": 0, "stop": 800}
    return arguments, numbers, naive.run(chain.gibbs, arguments, **numbers)


def dominated(value):
    """Arguments for a machine whose units each have one coupling that is far larger than the others."""
    weights = np.random.default_rng(0).normal(size=(70, 70)) * 0.5
    np.fill_diagonal(weights, value)
    layers = naive.random_arguments((70, 70), 50)[0]["layers"]
    return naive.reference_arguments([weights], [np.resize([0, -value], 70)] * 2, layers)


class TestKeptTables:
    def test_the_same_chain_with_tables_of_an_earlier_call(self, lookup_level):
        arguments, exponent = naive.random_arguments((65, 130), 100)
        numbers, tables = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": 0, "stop": 6}, {}
        first = naive.run(kernels.gibbs, arguments, tables=tables, **numbers)
        kept = tables[lookup_level]
        second = naive.run(kernels.gibbs, arguments, tables=tables, **numbers)
        assert tables[lookup_level] is kept
        np.testing.assert_equal(first, naive.run(chain.gibbs, arguments, **numbers))
        np.testing.assert_equal(second, first)

    def test_a_machine_that_is_rounded_again_has_new_ones(self, lookup_level):
        rng = np.random.default_rng(0)
        exact = None
        for scale in (0.5, 2.0, 0.01):
            machine = RBM(rng.normal(size=(65, 130)) * scale, rng.normal(size=65), rng.normal(size=130))
            exact = rbm.rounded(machine, exact)
            assert not exact.tables
            chains = rbm.empty_chains(100, 65, 130)
            arguments, exponent = naive.reference_arguments(
                [machine.weights], machine[1:], [chains.visible.copy(), chains.hidden.copy()]
            )
            numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": 0, "stop": 6}
            chains = rbm.advance(exact, chains, 6, key=KEY, beta=rbm.UNTEMPERED)
            np.testing.assert_equal((chains.visible, chains.hidden), naive.run(chain.gibbs, arguments, **numbers))
            assert lookup_level in exact.tables

    @pytest.mark.parametrize("phase", [persistent, from_data])
    def test_updates_sweep_with_new_ones(self, phase, way, n_threads):
        """Each update with two sweeps, one of them by `gibbs`, and steps so large that old tables would show."""
        rng = np.random.default_rng(0)
        start = [(rng.normal(size=shape) * 0.1).astype(np.float32) for shape in ((65, 40), 65, 40)]
        X = (rng.random((90, 65)) < 0.3).astype(np.float32)
        state = ascent.init(RBM(*start), 90)
        for _ in range(4):
            before = [array.copy() for array in state.machine]
            layers = (
                [states.copy() for states in state.chains[:2]]
                if phase is persistent
                else [chain.pack(X), chain.pack(np.zeros((90, 40)))]
            )
            arguments, exponent = naive.reference_arguments([before[0]], before[1:], layers)
            begin = state.chains.updates + (0 if phase is persistent else 1)
            state, rows = ascent.prepare(state, X)
            state, _ = ascent.step(state, rows, key=KEY, phase=phase, n_steps=2, learning_rate=3.0)
            numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": begin, "stop": state.chains.updates}
            assert numbers["stop"] - begin == (4 if phase is persistent else 5)
            np.testing.assert_equal((state.chains.visible, state.chains.hidden), naive.run(chain.gibbs, arguments, **numbers))


# ------------------------------------------------------------------------------------------------------- the bound


def entries_of(tables):
    """The tables of a layer as whole numbers of 16 bits, (units, groups, entries)."""
    if tables.dtype == np.uint16:
        return tables.reshape(len(tables), -1, 32).astype(np.int64)
    return tables[:, :, 0, :8].astype(np.int64) + 256 * tables[:, :, 0, 8:].astype(np.int64)


def couplings_in_words(arguments, layer):
    """The couplings that each unit of a layer looks at, (units, words, 15): those of the layer below, then of the one above."""
    up, down = arguments["up"], arguments["down"]
    sources = []
    for couplings, other in ((down, up), (up, down)):
        index = layer - 1 if couplings is down else layer
        if 0 <= index < len(up):
            n_sources = other[index].shape[0]
            words = np.zeros((couplings[index].shape[0], n_words(n_sources) * 15), np.int64)
            words[:, :n_sources] = couplings[index][:, :n_sources]
            sources.append(words)
    words = np.concatenate(sources, axis=1)
    return words.reshape(len(words), -1, 15)


def parts_of(n_words, n_parts):
    """Which words each part has."""
    return [slice(n_words * part // n_parts, n_words * (part + 1) // n_parts) for part in range(n_parts)]


def machines():
    """Arguments for machines of all kinds, adversarial ones among them, by name."""
    rng = np.random.default_rng(1)

    def of(sizes, change=lambda weights: weights, scale=0.5):
        weights = [change(rng.normal(size=pair) * scale) for pair in pairwise(sizes)]
        layers = [chain.pack(rng.random((1, n)) < 0.5) for n in sizes]
        return naive.reference_arguments(weights, [np.zeros(n) for n in sizes], layers)[0]

    made = {f"random {sizes}": of(sizes) for sizes in [(1, 1), (1, 33), (33, 17), (65, 130), (361, 400), (1100, 5), (3, 1100)]}
    made |= {f"deep {sizes}": of(sizes) for sizes in [(30, 20, 10), (190, 40, 250, 7), (400, 3, 400)]}
    made["zero"] = of((65, 40), scale=0.0)
    made["tiny"] = of((65, 40), scale=1e-6)
    made["as large as can be"] = of((400, 40), scale=1000.0)
    made["all positive"], made["all negative"] = of((400, 40), np.abs), of((400, 40), lambda weights: -np.abs(weights))
    made["halves"] = of((400, 40), lambda weights: np.sign(weights) * (np.rint(np.abs(weights) * 8) + 0.5) / 8)
    made["equal"] = of((723, 41), lambda weights: np.full_like(weights, 0.12345))
    made["one word dominates"] = of((400, 40), lambda weights: weights * np.repeat([1000.0, 0.001], [15, 385])[:, None])
    made["dominated"], made["dominated, negative"] = dominated(1000.0)[0], dominated(-1000.0)[0]
    return made


MACHINES = machines()
"""They are built of plain integers, on any processor."""


@pytest.mark.parametrize("level", ["avx2", "avx512"])
@pytest.mark.parametrize("name", MACHINES)
class TestTables:
    def test_no_entry_is_off_by_more_than_the_bound(self, name, level):
        """So that no sum is, whatever the states; and no part of a sum leaves 16 bits."""
        arguments = MACHINES[name]
        tables = tables_cpu.build(arguments["up"], arguments["down"], level)
        size = UNITS_A_GROUP[level]
        bits = np.arange(2**size) >> np.arange(size)[:, None] & 1
        for layer in range(len(arguments["layers"])):
            entries, starts, steps = entries_of(tables[0][layer]), tables[1][layer], tables[2][layer][:, None, None]
            words = couplings_in_words(arguments, layer)
            n_units, width, _ = words.shape
            assert len(entries) == len(starts) == len(steps) == -(-n_units // 4) * 4
            assert not entries[n_units:].any()
            exact = words.reshape(n_units, -1, size) @ bits / steps[:n_units]
            error = (entries[:n_units] - exact + 2**15) % 2**16 - 2**15
            assert np.abs(error).max() <= LARGEST_ERROR

            coarse = (exact + error).reshape(n_units, width, N_ENTRIES[level], -1)
            assert starts.shape[1] == -(-width // WORDS_A_PART)
            for part, some in enumerate(parts_of(width, starts.shape[1])):
                assert (starts[:n_units, part] + coarse[:, some].min(axis=3).sum(axis=(1, 2)) >= 0).all()
                assert (starts[:n_units, part] + coarse[:, some].max(axis=3).sum(axis=(1, 2)) <= 2**16 - 1).all()

    def test_sums_are_near_the_inputs(self, name, level):
        """The sums as the kernel makes them, modulo 2**16, for random states and for those that are worst."""
        arguments, size = MACHINES[name], UNITS_A_GROUP[level]
        tables = tables_cpu.build(arguments["up"], arguments["down"], level)
        for layer in range(len(arguments["layers"])):
            entries, starts, steps = (array[layer] for array in tables)
            words = couplings_in_words(arguments, layer)
            n_units, width, _ = words.shape
            for states in adversarial_states(words):
                indices = (states.reshape(width * N_ENTRIES[level], size) << np.arange(size)).sum(axis=1)
                found = entries_of(entries)[:n_units, np.arange(len(indices)), indices].reshape(n_units, width, -1)
                exact = words * states
                total = np.zeros(n_units)
                for part, some in enumerate(parts_of(width, starts.shape[1])):
                    coarse = (starts[:n_units, part] + found[:, some].sum(axis=(1, 2))) % 2**16
                    off = (coarse - starts[:n_units, part].astype(np.int64)) * steps[:n_units] - exact[:, some].sum(axis=(1, 2))
                    assert (np.abs(off) <= LARGEST_ERROR * found[0, some].size * steps[:n_units] * (1 + 1e-9)).all()
                    total += off
                assert (np.abs(total) <= LARGEST_ERROR * found[0].size * steps[:n_units] * (1 + 1e-9)).all()


def adversarial_states(words):
    """Rows of states: all on, none, at random; and, for some units, all that excite them, and all that inhibit them."""
    rng, shape = np.random.default_rng(2), words.shape[1:]
    yield np.ones(shape, np.int64)
    yield np.zeros(shape, np.int64)
    for density in (0.1, 0.5, 0.9):
        yield (rng.random(shape) < density).astype(np.int64)
    for unit in rng.permutation(len(words))[:5]:
        yield (words[unit] > 0).astype(np.int64)
        yield (words[unit] < 0).astype(np.int64)


@pytest.mark.parametrize("name", MACHINES)
def test_live_couplings_are_not_off_by_more_than_the_bound(name):
    arguments = MACHINES[name]
    for couplings, other in zip(arguments["up"] + arguments["down"], arguments["down"] + arguments["up"], strict=True):
        n_units, n_sources = couplings.shape[0], other.shape[0]
        live = tables_cpu.build_live(couplings, n_sources)
        assert live.coarse.shape[1] >= 15 * n_words(n_sources)
        assert not live.coarse[n_units:].any()
        assert not live.coarse[:, n_sources:].any()
        exact = couplings[:, :n_sources] / live.steps[:n_units, None]
        error = (live.coarse[:n_units, :n_sources] - exact + 2**15) % 2**16 - 2**15
        assert np.abs(error).max() <= LARGEST_ERROR
        starts, coarse = live.starts[:n_units, 0], exact + error
        assert (starts + np.minimum(coarse, 0).sum(axis=1) >= 0).all()
        assert (starts + np.maximum(coarse, 0).sum(axis=1) <= 2**16 - 1).all()


# -------------------------------------------------------------------------------------------------- the rough draw


def test_the_rough_power():
    """Of f in [0, 1), a multiple of 2**-24 as the fraction of a float32 is: Horner's rule with fused multiply-adds."""
    f = np.concatenate([np.linspace(0, 1, 2_000_001)[:-1], np.arange(2**14) * 2.0**-24, 1 - np.arange(1, 2**14) * 2.0**-24])
    power = np.zeros_like(f)
    for coefficient in rough_cpu.COEFFICIENTS:
        power = (power * f + np.float32(coefficient)).astype(np.float32).astype(np.float64)
    relative = np.abs(power / np.exp2(f) - 1)
    assert relative.max() < 8e-5
    assert 2 * relative.max() < ROUGHNESS


@njit
def draw_once(on, doubtful, tables, sums, words, beta, size, shift, window, bit):
    step, start, margin = rough_cpu.bounds_of(size, shift, window)
    return rough_cpu.draw_roughly(on, doubtful, tables, sums, words, 1, beta, step, start, margin, bit)


@pytest.fixture
def tables(lookup_level):
    """An array of the type by which the draw knows the level."""
    return np.empty((1, 1, 1), {"avx2": np.uint8, "avx512": np.uint16}[lookup_level])


class TestDrawRoughly:
    SIZE = 200_032

    def roughly(self, tables, sums, words, beta, size, shift, window):
        """States and doubts of chains with these coarse sums, as `draw_layer` asks for them."""
        on, doubtful = np.full(len(sums), 8, np.uint16), np.empty(len(sums) // 32, np.uint32)
        sums, words = np.array([0 * sums, sums]), np.array([~words, words])
        some = draw_once(on, doubtful, tables, sums, words, beta, size, shift, window, np.uint16(4))
        assert some == np.bitwise_or.reduce(doubtful)
        assert set(np.unique(on)) <= {8, 12}
        return on == 12, np.unpackbits(doubtful.view(np.uint8), bitorder="little") == 1

    def chains(self, seed, spread):
        """Coarse logits that are spread around 0, as sums, step and shift; and words, some of them near their threshold."""
        rng = np.random.default_rng(seed)
        size = spread / 2**15
        sums, shift = rng.integers(0, 2**16, self.SIZE).astype(np.int32), -spread + rng.normal()
        words = rng.integers(0, 2**32, self.SIZE, dtype=np.uint32)
        logits = sums * size + shift
        threshold = 2**32 / (1 + np.exp(np.minimum(np.abs(logits), 50)))
        near = np.clip(threshold * (1 + rng.normal(size=self.SIZE) * 10.0 ** rng.uniform(-8, 0, self.SIZE)), 0, 2**31 - 1)
        near = near.astype(np.uint32) | (words & np.uint32(2**31))
        return sums, np.where(rng.random(self.SIZE) < 0.7, near, words), size, shift

    @pytest.mark.parametrize("spread", [0.01, 1.0, 8.0, 40.0, 1000.0])
    @pytest.mark.parametrize("error", [0.0, 1e-5, 1e-3, 0.1, 3.0, 50.0])
    def test_what_could_be_wrong_is_in_doubt(self, tables, spread, error):
        """The exact draw at any logit within the error is the rough one, where that is not in doubt."""
        sums, words, size, shift = self.chains(0, spread)
        window = error + SLACK * (size * 65536 + abs(shift)) + ROUGHNESS
        beta = np.ones(self.SIZE, np.float32)
        on, doubtful = self.roughly(tables, sums, words, beta, size, shift, window)
        coarse = sums * size + shift
        for part in (-1.0, -0.5, 0.0, 0.5, 1.0):
            exact = chain.draw((coarse + part * error).astype(np.float32), words)
            assert (on == exact)[~doubtful].all()
        assert doubtful[~(on == exact)].all()

    @pytest.mark.parametrize("spread", [1.0, 8.0, 40.0])
    @pytest.mark.parametrize("largest_beta", [1e-3, 1.0, 30.0])
    def test_at_many_inverse_temperatures(self, tables, spread, largest_beta):
        """The window is that of the largest."""
        sums, words, size, shift = self.chains(1, spread)
        beta = (np.random.default_rng(0).random(self.SIZE) * largest_beta).astype(np.float32)
        error = 1e-3
        window = largest_beta * (error + SLACK * (size * 65536 + abs(shift))) + ROUGHNESS
        on, doubtful = self.roughly(tables, sums, words, beta, size, shift, window)
        for part in (-1.0, 0.0, 1.0):
            exact = chain.draw((beta * (sums * size + shift + part * error)).astype(np.float32), words)
            assert (on == exact)[~doubtful].all()

    @pytest.mark.parametrize("word", [0, 1, 2, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF])
    def test_extreme_words_and_logits(self, tables, word):
        sums, words = np.arange(2**16, dtype=np.int32), np.full(2**16, word, np.uint32)
        for size, shift in ((2.0**-9, -64.0), (1.0, -(2.0**15)), (2.0**-20, 0.0), (0.0, 22.18), (0.0, -22.18), (0.0, 1e30)):
            window = SLACK * (size * 65536 + abs(shift)) + ROUGHNESS
            on, doubtful = self.roughly(tables, sums, words, np.ones(2**16, np.float32), size, shift, window)
            exact = chain.draw((sums * size + shift).astype(np.float32), words)
            assert (on == exact)[~doubtful].all()

    @pytest.mark.parametrize("error", [1e-3, 1e-2, 3e-2])
    def test_few_are_in_doubt(self, tables, error):
        """As many as the window makes of the slope of the logistic function, which is 1/16 in the mean over [-8, 8]."""
        rng = np.random.default_rng(3)
        sums, words = rng.integers(0, 2**16, self.SIZE).astype(np.int32), rng.integers(0, 2**32, self.SIZE, dtype=np.uint32)
        window = error + ROUGHNESS
        _, doubtful = self.roughly(tables, sums, words, np.ones(self.SIZE, np.float32), 8 / 2**15, -8.0, window)
        expected = 2 * window / 16
        assert abs(doubtful.mean() - expected) < 5 * np.sqrt(expected / self.SIZE) + 0.02 * expected


# --------------------------------------------------------------------------------------------------- the cost model


class TestCostModel:
    DIGITS = (784, 500)

    @pytest.mark.parametrize("sizes", [DIGITS, (10, 10), (20_000, 20_000), (500, 400, 300)])
    def test_nothing_is_looked_up_at_level_portable(self, sizes):
        for n_chains in (1, 100, 10**6):
            assert not cost_cpu.looks_up(sizes, n_chains, 10**6, 2, "portable", built=True, flipping=cost_cpu.FLIPPING)
            assert not cost_cpu.makes_tables(n_chains, 500, "portable")

    @pytest.mark.parametrize("built", [False, True])
    @pytest.mark.parametrize("level", ["avx2", "avx512"])
    @pytest.mark.parametrize("sizes", [DIGITS, (64, 32), (500, 400, 300)])
    def test_one_chain_follows_flips(self, sizes, level, built):
        for n_threads in (1, 2, 16):
            assert not cost_cpu.looks_up(sizes, 1, 1000, n_threads, level, built=built, flipping=cost_cpu.FLIPPING)

    def test_many_chains_look_up(self):
        assert cost_cpu.looks_up(self.DIGITS, 1024, 1000, 2, "avx512", built=False, flipping=cost_cpu.FLIPPING)
        assert cost_cpu.looks_up((64, 32), 20_000, 1000, 2, "avx2", built=False, flipping=cost_cpu.FLIPPING)

    @pytest.mark.parametrize("level", ["avx2", "avx512"])
    def test_tables_are_not_built_for_one_update(self, level):
        assert not cost_cpu.looks_up(self.DIGITS, 1024, 1, 2, level, built=False, flipping=cost_cpu.FLIPPING)

    @pytest.mark.parametrize("level", ["avx2", "avx512"])
    @pytest.mark.parametrize("sizes", [DIGITS, (64, 32), (500, 400, 300)])
    @pytest.mark.parametrize("n_threads", [1, 2, 16])
    def test_more_updates_never_speak_against_tables(self, sizes, level, n_threads):
        """Neither do tables that are built already, nor chains that fill the vectors of each thread."""
        for n_chains in (1, 32, 100, 1024, 20_000):
            answers = [
                cost_cpu.looks_up(sizes, n_chains, 2**k, n_threads, level, built=False, flipping=cost_cpu.FLIPPING)
                for k in range(20)
            ]
            assert answers == sorted(answers)
            built = [
                cost_cpu.looks_up(sizes, n_chains, 2**k, n_threads, level, built=True, flipping=cost_cpu.FLIPPING)
                for k in range(20)
            ]
            assert len(set(built)) == 1
            assert built >= answers
        full = [
            cost_cpu.looks_up(sizes, 32 * n_threads * k, 100, n_threads, level, built=False, flipping=cost_cpu.FLIPPING)
            for k in range(1, 200)
        ]
        assert full == sorted(full)

    def test_tables_that_are_too_large_are_not_built(self, monkeypatch):
        """The bound is checked before anything is built, even where they would pay."""
        sizes = (30_000, 30_000)
        assert tables_cpu.table_bytes(sizes, "avx512") > cost_cpu.LARGEST_TABLES
        assert not cost_cpu.looks_up(sizes, 10_000, 10_000, 2, "avx512", built=False, flipping=cost_cpu.FLIPPING)
        monkeypatch.setattr(cost_cpu, "LARGEST_TABLES", 10**12)
        assert cost_cpu.looks_up(sizes, 10_000, 10_000, 2, "avx512", built=False, flipping=cost_cpu.FLIPPING)

    def test_tables_that_are_too_large_change_nothing(self, monkeypatch):
        monkeypatch.setattr(cost_cpu, "LARGEST_TABLES", 1000)
        monkeypatch.setattr(tables_cpu, "build", None)
        assert_same_chain(*naive.random_arguments((65, 40), 600), "incremental", start=0, stop=40)

    @pytest.mark.parametrize("level", ["avx2", "avx512"])
    @pytest.mark.parametrize("sizes", [(1, 1), (33, 17), (784, 500), (30, 200, 10), (1, 2, 3, 4, 5)])
    def test_table_bytes_are_those_of_the_tables(self, sizes, level):
        arguments, _ = naive.random_arguments(sizes, 1)
        tables = tables_cpu.build(arguments["up"], arguments["down"], level)[0]
        each = [table[:size].nbytes for table, size in zip(tables, sizes, strict=True)]
        assert tables_cpu.table_bytes(sizes, level) == sum(each)

    def test_tables_for_one_use(self):
        assert not cost_cpu.makes_tables(1, 500, "avx512")
        assert cost_cpu.makes_tables(1024, 500, "avx512")
        assert not cost_cpu.makes_tables(1024, 500, "avx2")

    def test_kernels_ask_it(self, monkeypatch):
        """With what they are given: sizes of all layers, chains, updates, threads, the level, and whether tables are there."""
        asked = []

        def looks_up(sizes, *arguments, built, flipping):
            asked.append((tuple(sizes), *arguments, built, flipping))
            return True

        level = simd_cpu.levels_here()[-1]
        if level == "portable":
            pytest.skip("portable: this processor has no instruction to look up with")
        monkeypatch.setattr(simd_cpu, "LEVEL", level)
        monkeypatch.setattr(gibbs_cpu, "looks_up", looks_up)
        arguments, exponent = naive.random_arguments((33, 17, 5), 40)
        tables = {}
        for _ in range(2):
            naive.run(kernels.gibbs, arguments, tables=tables, exponent=exponent, key=KEY, first_chain=0, start=3, stop=8)
        flips = gibbs_cpu.expected_flips(5, cost_cpu.FLIPPING)
        assert asked == [((33, 17, 5), 40, 5, threads_cpu.n_threads(), level, built, flips) for built in (False, True)]

    def test_the_first_sweep_of_a_call_begins_at_nothing(self):
        assert gibbs_cpu.expected_flips(2, 0.07) == gibbs_cpu.expected_flips(1, 0.07) == cost_cpu.STARTING
        assert gibbs_cpu.expected_flips(20, 0.07) == pytest.approx((cost_cpu.STARTING + 9 * 0.07) / 10)

    def test_tables_are_prepared_for_many_calls_of_a_sweep(self):
        """One such call would not build them; and what is prepared is used."""
        if simd_cpu.LEVEL == "portable":
            pytest.skip("portable: this processor has no instruction to look up with")
        arguments, exponent = naive.random_arguments((784, 500), 256, scale=0.1)
        up, down, tables = arguments["up"], arguments["down"], {}
        kernels.prepare(up, down, tables, n_chains=1, n_updates=2)
        assert not tables
        kernels.prepare(up, down, tables, n_chains=256, n_updates=2000)
        assert tables.keys() == {simd_cpu.LEVEL}
        before = {name: id(each) for name, each in tables.items()}
        numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": 0, "stop": 2}
        expected = naive.run(chain.gibbs, arguments, **numbers)
        np.testing.assert_equal(naive.run(kernels.gibbs, arguments, tables=tables, **numbers), expected)
        assert {name: id(each) for name, each in tables.items()} == before

    def test_hot_machines_look_up_sooner(self, monkeypatch):
        """What the first calls find is used by the next: with random weights a quarter of the units flips."""
        assert not cost_cpu.looks_up((500, 500), 96, 1000, 1, "avx512", built=False, flipping=0.03)
        assert cost_cpu.looks_up((500, 500), 96, 1000, 1, "avx512", built=False, flipping=0.25)
        monkeypatch.setattr(gibbs_cpu, "looks_up", lambda *arguments, **named: False)
        arguments, exponent = naive.random_arguments((100, 100), 40, scale=0.0)
        arguments["biases"] = tuple(0 * bias for bias in arguments["biases"])
        tables, numbers = {}, {"exponent": exponent, "key": KEY, "first_chain": 0}
        naive.run(kernels.gibbs, arguments, tables=tables, start=0, stop=gibbs_cpu.ENOUGH_UPDATES - 1, **numbers)
        assert not tables
        naive.run(kernels.gibbs, arguments, tables=tables, start=0, stop=50, **numbers)
        assert 0.4 < tables["flipping"] < 0.5  # fair coins: half of them flip, or half are on, whichever is less

    def test_kernels_use_it(self):
        """Outside tests that force a way."""
        assert gibbs_cpu.looks_up is cost_cpu.looks_up
        assert phases_cpu.makes_tables is cost_cpu.makes_tables
        assert phases_cpu.tables_pay is cost_cpu.tables_pay

    def test_tables_for_one_use_pay_where_many_units_are_on(self):
        assert cost_cpu.tables_pay(0.25, 500)
        assert not cost_cpu.tables_pay(0.1, 500)
        assert not cost_cpu.tables_pay(0.25, 2000)


# -------------------------------------------------------------------------------------------- the environment variable

SCRIPT = """
import numpy as np
from fastbm import chain
from fastbm.kernels import simd_cpu
from fastbm.machines import rbm
rng = np.random.default_rng(0)
machine = rbm.RBM(rng.normal(size=(64, 32)) * 0.3, rng.normal(size=64), rng.normal(size=32))
exact = rbm.rounded(machine)
key = chain.stream_key(0, chain.Purpose.SAMPLING)
chains = rbm.advance(exact, rbm.empty_chains(20_000, 64, 32), 50, key=key, beta=rbm.UNTEMPERED)
print(simd_cpu.LEVEL, *exact.tables, hash((chains.visible.tobytes(), chains.hidden.tobytes())))
"""


def run_with(level):
    environment = {name: value for name, value in os.environ.items() if name != "FASTBM_SIMD"} | {"PYTHONHASHSEED": "0"}
    environment |= {} if level is None else {"FASTBM_SIMD": level}
    return subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)


class TestEnvironmentVariable:
    def test_every_level_gives_the_same_samples(self):
        seen = set()
        for level in (None, *simd_cpu.levels_here()):
            done = run_with(level)
            assert done.returncode == 0, done.stderr
            chosen, *looked_up, digest = done.stdout.split()
            assert chosen == (level or simd_cpu.levels_here()[-1])
            assert looked_up == (["flipping"] if chosen == "portable" else [chosen])
            seen.add(digest)
        assert len(seen) == 1

    @pytest.mark.parametrize("value", ["sse2", "AVX2", "best"])
    def test_a_wrong_value_is_an_error_that_says_what_to_choose(self, value):
        done = run_with(value)
        assert done.returncode != 0
        assert done.stderr.splitlines()[-1].startswith("ValueError: ")
        for word in ("FASTBM_SIMD", repr(value), *simd_cpu.levels_here()):
            assert word in done.stderr.splitlines()[-1]

    def test_a_level_that_this_processor_has_not_is_an_error(self, monkeypatch):
        monkeypatch.setattr(llvm_cpu, "get_host_cpu_features", lambda: {"avx2": True, "fma": True})
        monkeypatch.setenv("FASTBM_SIMD", "avx512")
        with pytest.raises(ValueError, match="FASTBM_SIMD must be one of portable, avx2 on this processor, got 'avx512'"):
            simd_cpu._chosen()
        monkeypatch.setenv("FASTBM_SIMD", "")
        assert simd_cpu._chosen() == "avx2"

    @pytest.mark.parametrize(
        ("features", "levels"),
        [
            ({}, ("portable",)),
            ({"avx2": True}, ("portable",)),
            ({"fma": True, "avx2": True}, ("portable", "avx2")),
            ({"fma": True, "avx2": True, "avx512f": True}, ("portable", "avx2")),
            ({"fma": True, "avx2": True, "avx512f": True, "avx512bw": True}, ("portable", "avx2")),
            ({"fma": True, "avx2": True, "avx512bw": True, "avx512dq": True}, ("portable", "avx2", "avx512")),
        ],
    )
    def test_levels_of_processors(self, features, levels, monkeypatch):
        """16-bit lookups and the rough draw need more than the first AVX-512."""
        monkeypatch.setattr(llvm_cpu, "get_host_cpu_features", lambda: features)
        assert simd_cpu.levels_here() == levels

    @pytest.mark.parametrize("script", ["SAMPLING", pytest.param("TRAINING", marks=pytest.mark.slow)])
    @pytest.mark.parametrize("level", ["portable", "avx2"])
    def test_code_for_processors_with_less_compiles_and_gives_the_same(self, level, script):
        """What numba compiles for an older processor holds none of the instructions that it has not.

        Nothing of that is in the cache of the first run: what training needs takes three quarters of a minute to compile.
        """
        if platform.machine() not in ("x86_64", "AMD64"):
            pytest.skip("older processors of another kind")
        if level not in simd_cpu.levels_here():
            pytest.skip(f"{level}: this processor has only {', '.join(simd_cpu.levels_here())}")
        older = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}
        if level == "avx2":
            older = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+popcnt,+lzcnt,+sse4.2"}
        digests = []
        for environment in (older, {}):
            environment = {name: value for name, value in os.environ.items() if name != "FASTBM_SIMD"} | environment
            done = subprocess.run(
                [sys.executable, "-c", globals()[script]], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr[-2000:]
            chosen, digest = done.stdout.split()
            assert chosen == (level if "NUMBA_CPU_NAME" in environment else simd_cpu.LEVEL)
            digests.append(digest)
        assert digests[0] == digests[1]


SAMPLING = """
import hashlib
import numpy as np
from fastbm import BernoulliRBM
from fastbm.kernels import simd_cpu
rng = np.random.default_rng(0)
machine = BernoulliRBM.from_weights(0.3 * rng.normal(size=(70, 50)), np.zeros(70), np.zeros(50), random_state=0)
results = machine.sample(200, n_steps=20), machine.sample(3, n_steps=5)
print(simd_cpu.LEVEL, hashlib.sha256(b"".join(array.tobytes() for array in results)).hexdigest())
"""
TRAINING = """
import hashlib
import numpy as np
from fastbm import BernoulliRBM
from fastbm.kernels import simd_cpu
X = (np.random.default_rng(0).random((200, 70)) < 0.3).astype(float)
machine = BernoulliRBM(50, batch_size=100, n_iter=2, learning_rate=0.3, n_gibbs_steps=2, random_state=0)
machine.set_params(warm_start=True).fit(X).fit(X * 0.5)
results = machine.components_, machine.sample(200, n_steps=20), machine.sample(3, n_steps=5), machine.transform(X * 0.3)
print(simd_cpu.LEVEL, hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in results)).hexdigest())
"""
