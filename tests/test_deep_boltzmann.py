"""The deep Boltzmann machine against enumeration: energies, folding, mean field, its bound, and its chain."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np
import pytest

from fastbm import chain, kernels
from fastbm.evaluation import log_partition
from fastbm.machines import dbm, rbm
from fastbm.machines.dbm import DBM
from fastbm.machines.rbm import RBM
from fastbm.training import minibatches

KEY = chain.stream_key(0, chain.Purpose.SAMPLING)
SIZES = [(5, 4, 3), (4, 3, 3, 2), (3, 3, 2, 2, 2)]
ODD_SIZES = [(33, 17, 65), (1, 1, 1), (70, 1, 64), (17, 33, 9, 66)]


def machine_of(sizes, scale=1.0, dtype: type = np.float32, seed=0):
    """A machine with normal weights of this scale."""
    rng = np.random.default_rng([seed, *sizes])
    weights = (scale * rng.normal(size=size) for size in pairwise(sizes))
    biases = (0.5 * rng.normal(size=size) for size in sizes)
    return DBM(*(tuple(array.astype(dtype) for array in arrays) for arrays in (weights, biases)))


def enumerated(machine):
    """Every joint state, layer by layer, and its log-probability; and log Z."""
    sizes = dbm.layer_sizes(machine)
    states = naive.all_states(sum(sizes))
    layers = dbm.unfold(states, sizes)
    minus_energy = sum((layer @ bias.astype(float) for layer, bias in zip(layers, machine.biases, strict=True)), 0.0)
    for below, weights, above in zip(layers, machine.weights, layers[1:], strict=False):
        minus_energy = minus_energy + ((below @ weights.astype(float)) * above).sum(axis=1)
    log_z = naive.log_sum_exp(minus_energy)
    return layers, minus_energy - log_z, log_z


def log_likelihood(machine, X):
    """Exact log p(v) of rows."""
    layers, log_p, _ = enumerated(machine)
    return np.array([naive.log_sum_exp(log_p[(layers[0] == v).all(axis=1)]) for v in X])


@pytest.mark.parametrize("sizes", SIZES)
class TestEnumeration:
    def test_energy(self, sizes):
        machine = machine_of(sizes, dtype=np.float64)
        layers, log_p, log_z = enumerated(machine)
        np.testing.assert_allclose(-dbm.energy(machine, layers[0], layers[1:]), log_p + log_z, atol=1e-12)

    def test_the_folded_machine_sums_out_odd_layers(self, sizes):
        machine = machine_of(sizes, dtype=np.float64)
        layers, log_p, log_z = enumerated(machine)
        folded = dbm.fold(machine)
        even = np.concatenate(layers[::2], axis=1)
        for k in np.random.default_rng(0).integers(0, len(log_p), 5):
            expected = naive.log_sum_exp(log_p[(even == even[k]).all(axis=1)]) + log_z
            np.testing.assert_allclose(-rbm.free_energy(folded, even[k : k + 1])[0], expected, rtol=1e-12)
        transposed = RBM(folded.weights.T, folded.hidden_bias, folded.visible_bias)
        for either in (folded, transposed):
            np.testing.assert_allclose(log_partition(either).log_z, log_z, rtol=1e-12)
        for part, layer in zip(dbm.unfold(even, sizes[::2]), layers[::2], strict=True):
            np.testing.assert_array_equal(part, layer)

    def test_annealing_the_folded_machine(self, sizes):
        machine = machine_of(sizes)
        found = log_partition(dbm.fold(machine), "ais", n_chains=50, n_betas=200, random_state=0)
        assert abs(found.log_z - enumerated(machine)[2]) < 5 * found.stderr + 1e-3

    def test_the_bound_is_never_above_the_likelihood(self, sizes):
        for seed, scale in enumerate((0.1, 1.0, 3.0)):
            machine = machine_of(sizes, scale, seed=seed)
            X = naive.all_states(sizes[0])
            log_z, exact = enumerated(machine)[2], log_likelihood(machine, X)
            found = dbm.mean_field(machine, X.astype(np.float32), tolerance=1e-6, max_updates=500)
            rng = np.random.default_rng(seed)
            guesses = [rng.random(each.shape) for each in found.means]
            bounds = [dbm.variational_bound(machine, X, means) - log_z for means in (found.means, guesses)]
            assert (bounds[0] <= exact + 1e-5).all()
            assert (bounds[1] <= bounds[0] + 1e-5).all() or scale > 1  # mean field may end in the lesser of two optima
            if scale == 0.1:
                np.testing.assert_allclose(bounds[0], exact, atol=0.05)

    def test_no_drift(self, sizes):
        """20,000 chains drawn from p stay there: total variation within four times what sampling it exactly gives."""
        machine, n = machine_of(sizes), 20_000
        layers, log_p, _ = enumerated(machine)
        p = np.exp(log_p)
        drawn = np.random.default_rng(1).choice(len(p), n, p=p / p.sum())
        chains = dbm.Chains(tuple(chain.pack(layer[drawn]) for layer in layers), 1)
        exact = dbm.rounded(machine)
        floor = np.sqrt(p * (1 - p) / n).sum() * np.sqrt(2 / np.pi) / 2
        for n_sweeps in (1, 3):
            chains = dbm.advance(exact, chains, 2 * n_sweeps, key=KEY)
            states = np.concatenate(
                [kernels.unpack(each, size, np.int64) for each, size in zip(chains.layers, sizes, strict=True)], axis=1
            )
            found = np.bincount(states @ (1 << np.arange(sum(sizes))), minlength=len(p)) / n
            assert abs(found - p).sum() / 2 < 4 * floor


def test_the_bound_is_exact_where_layers_are_not_coupled():
    machine = machine_of((5, 4, 3), dtype=np.float64)
    machine = machine._replace(weights=(machine.weights[0], 0 * machine.weights[1]))
    X = naive.all_states(5)
    bound = dbm.variational_bound(machine, X, dbm.mean_field(machine, X, tolerance=1e-12).means)
    np.testing.assert_allclose(bound - enumerated(machine)[2], log_likelihood(machine, X), rtol=1e-12)


def test_entropy_of_certain_units():
    np.testing.assert_allclose(dbm.entropy([np.array([[0.0, 1.0, 0.5]])]), [np.log(2)])


class TestRounding:
    @pytest.mark.parametrize("sizes", [*SIZES, *ODD_SIZES])
    @pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
    def test_equals_the_reference(self, sizes, scale):
        machine = machine_of(sizes, scale)
        expected, exponent = chain.round_layers(machine.weights)
        exact = dbm.rounded(machine)
        again = dbm.rounded(DBM(tuple(array.T.copy().T for array in machine.weights), machine.biases), exact)
        for each in (exact, again):
            assert each.exponent == exponent
            for up, down, couplings in zip(each.up, each.down, expected, strict=True):
                np.testing.assert_array_equal(up[:, : couplings.shape[1]], couplings)
                np.testing.assert_array_equal(down[:, : couplings.shape[0]], couplings.T)
                assert not up[:, couplings.shape[1] :].any()

    def test_the_inputs_of_both_sides_count(self):
        """The exponent is that of the folded machine, smaller than that of either part."""
        parts = [np.full((20, 10), 1.0, np.float32), np.full((10, 20), 1.0, np.float32)]
        exact = dbm.rounded(DBM(tuple(parts), tuple(np.zeros(n, np.float32) for n in (20, 10, 20))))
        assert exact.exponent == chain.round_couplings(np.concatenate([parts[0], parts[1].T]))[1]
        assert exact.exponent < chain.round_couplings(parts[0])[1]

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
    @pytest.mark.parametrize("layer", [0, 1])
    def test_refuses(self, value, layer):
        machine = machine_of((5, 4, 3))
        machine.weights[layer][1, 2] = value
        with pytest.raises(ValueError, match="NaN or infinity|sum to"):
            dbm.rounded(machine)

    def test_refuses_biases(self):
        machine = machine_of((5, 4, 3))
        machine.biases[2][0] = np.nan
        with pytest.raises(ValueError, match="NaN or infinity"):
            dbm.rounded(machine)


class TestChain:
    @pytest.mark.parametrize("sizes", [(5, 4, 3), (33, 17, 65)])
    def test_is_that_of_the_folded_machine(self, sizes, way):
        """The folded machine by the reference, with the counters of the layers, gives the states of the three layers."""
        machine = machine_of(sizes, 0.3)
        exact, n = dbm.rounded(machine), 17
        chains = dbm.advance(exact, dbm.empty_chains(n, sizes), 6, key=KEY, first_chain=3)
        folded = dbm.fold(machine)
        couplings, exponent = chain.round_couplings(folded.weights)
        assert exponent == exact.exponent
        even, odd = np.zeros((n, sizes[0] + sizes[2]), int), np.zeros((n, sizes[1]), int)
        for sweep in range(3):
            for given, to, bias, blocks in (
                (even, couplings, folded.hidden_bias, [(sizes[1], 0)]),
                (None, couplings.T, folded.visible_bias, [(sizes[0], 1), (sizes[2], 3)]),
            ):
                inputs = (odd if given is None else given) @ to
                words = np.concatenate(
                    [chain.random_words(size, 3 + np.arange(n), sweep, block, KEY) for size, block in blocks], axis=1
                )
                drawn = chain.draw(chain.logit(inputs.astype(np.int32), bias, np.ones(1, np.float32), exponent), words)
                if given is None:
                    even = drawn.astype(int)
                else:
                    odd = drawn.astype(int)
        for layer, expected in zip(chains.layers, (even[:, : sizes[0]], odd, even[:, sizes[0] :]), strict=True):
            np.testing.assert_array_equal(layer, chain.pack(expected))

    @pytest.mark.parametrize("sizes", ODD_SIZES)
    def test_logits_and_means_of_a_layer_are_exact(self, sizes):
        machine = machine_of(sizes, 0.3)
        exact, rng = dbm.rounded(machine), np.random.default_rng(0)
        layers = [rng.random((9, size)) < 0.5 for size in sizes]
        couplings, exponent = chain.round_layers(machine.weights)
        for layer, bias in enumerate(machine.biases):
            inputs = np.zeros((9, len(bias)), np.int64)
            if layer:
                inputs += layers[layer - 1].astype(np.int64) @ couplings[layer - 1]
            if layer + 1 < len(sizes):
                inputs += layers[layer + 1].astype(np.int64) @ couplings[layer].T
            logits, means = dbm.infer(exact, [chain.pack(each) for each in layers], layer)
            expected = chain.logit(inputs.astype(np.int32), bias, np.ones(1, np.float32), exponent)
            np.testing.assert_array_equal(logits[:, : len(bias)], expected)
            np.testing.assert_array_equal(means[:, : len(bias)], chain.mean(expected))


class TestMeanField:
    @pytest.mark.parametrize("sizes", [(6, 5), *SIZES, *ODD_SIZES])
    @pytest.mark.parametrize("packed", [False, True])
    def test_a_fixed_point(self, sizes, packed):
        """By substitution: every layer is what its neighbours say."""
        machine = machine_of(sizes, 0.3)
        X = (np.random.default_rng(0).random((20, sizes[0])) < 0.5).astype(np.float32)
        given = (dbm.rounded(machine), minibatches.prepare(X)) if packed else (machine, X)
        found = dbm.mean_field(*given, tolerance=1e-6, max_updates=500)
        assert (found.change <= 1e-6).all()
        assert (found.n_updates < 500).all()
        layers = [X, *found.means]
        for layer in range(1, len(sizes)):
            x = layers[layer - 1].astype(float) @ machine.weights[layer - 1] + machine.biases[layer]
            if layer + 1 < len(sizes):
                x = x + layers[layer + 1] @ machine.weights[layer].T
            np.testing.assert_allclose(layers[layer], 1 / (1 + np.exp(-x)), atol=2e-5)

    def test_without_couplings_one_update_is_enough(self):
        machine = machine_of((6, 5, 4, 3), scale=0.0)
        found = dbm.mean_field(machine, np.ones((7, 6), np.float32))
        np.testing.assert_array_equal(found.n_updates, 1)

    @pytest.mark.parametrize("scale", [1.0, 100.0, 1e6])
    def test_wild_weights(self, scale):
        machine = machine_of((9, 8, 7), scale)
        X = np.random.default_rng(0).random((50, 9)).astype(np.float32)
        found = dbm.mean_field(machine, X, max_updates=50)
        assert all(np.isfinite(each).all() for each in (*found.means, found.change))
        assert all((each >= 0).all() and (each <= 1).all() for each in found.means)

    def test_begins_where_it_is_told(self):
        machine = machine_of((9, 8, 7), 0.3)
        X = np.random.default_rng(0).random((20, 9)).astype(np.float32)
        first = dbm.mean_field(machine, X, tolerance=1e-6)
        again = dbm.mean_field(machine, X, tolerance=1e-5, init=first.means)
        np.testing.assert_array_equal(again.n_updates, 1)
        assert again.means[0] is not first.means[0]

    def test_the_bound_does_not_fall(self):
        machine = machine_of((9, 8, 7, 6), 2.0, np.float64)
        X = (np.random.default_rng(0).random((50, 9)) < 0.5).astype(float)
        means, before = dbm.recognise(machine, dbm.visible_input(machine, X)), -np.inf
        for _ in range(20):
            bound = dbm.variational_bound(machine, X, means)
            assert (bound >= before - 1e-9).all()
            before, means = bound, dbm.mean_field(machine, X, max_updates=1, init=means).means
