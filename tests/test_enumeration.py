"""Rungs 3 and 4: machines small enough to enumerate: free energies, gradients, conditionals, and no drift of the chain."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from fastbm import BernoulliRBM, chain, kernels
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM
from fastbm.training import ascent
from fastbm.training.contrastive_divergence import persistent

KEY = chain.stream_key(0, chain.Purpose.SAMPLING)


@pytest.fixture
def small():
    """Weights and biases of a machine of 8 visible and 4 hidden units, as the float32 that training uses."""
    rng = np.random.default_rng(3)
    weights, visible_bias, hidden_bias = rng.normal(size=(8, 4)), rng.normal(size=8) * 0.5, rng.normal(size=4) * 0.5
    return tuple(array.astype(np.float32) for array in (weights, visible_bias, hidden_bias))


def test_free_energy_sums_out_the_hidden_units(small):
    v, _, log_p = naive.joint(*small)
    log_z = naive.log_partition(*small)
    free_energy = BernoulliRBM.from_weights(*small).free_energy(v)
    np.testing.assert_allclose(-free_energy - log_z, np.log(np.exp(log_p).sum(axis=1)), rtol=1e-5)


def test_energy_by_hand():
    machine = RBM(np.array([[1.0], [-2.0]]), np.array([0.5, 0.25]), np.array([-1.0]))
    v, h = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[1.0], [1.0]])
    np.testing.assert_allclose(rbm.energy(machine, v, h), [-(1.0 + 0.5 - 1.0), -(1.0 - 2.0 + 0.75 - 1.0)])


def test_conditionals(small):
    v, h, log_p = naive.joint(*small)
    machine = BernoulliRBM.from_weights(*small)
    p = np.exp(log_p)
    np.testing.assert_allclose(machine.transform(v), p @ h / p.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(machine.inverse_transform(h), p.T @ v / p.sum(axis=0)[:, None], rtol=1e-5)


@pytest.mark.parametrize("grey", [False, True])
def test_pseudo_likelihood_is_exact(small, grey):
    X = np.random.default_rng(0).random((20, 8))
    X = X if grey else (X < 0.5).astype(float)
    expected = naive.pseudo_likelihood(*(array.astype(float) for array in small), X)
    got = BernoulliRBM.from_weights(*small).score_samples(X)
    np.testing.assert_allclose(got, expected, rtol=1e-5 if grey else 1e-9)


@pytest.mark.parametrize("scale", [1.0, 60.0, 1000.0, 1e4])
@pytest.mark.parametrize("reach", [1.0, 50.0])
def test_pseudo_likelihood_of_wild_machines_and_rows(scale, reach):
    rng = np.random.default_rng(0)
    weights, biases = rng.normal(size=(9, 40)) * scale, (rng.normal(size=9) * scale, rng.normal(size=40) * scale)
    X = rng.random((6, 9)) * reach
    X[:3] = np.round(X[:3]) % 2
    got = BernoulliRBM.from_weights(weights, *biases).score_samples(X)
    np.testing.assert_allclose(got, naive.pseudo_likelihood(weights, *biases, X), rtol=1e-5)


def test_gradient_of_long_chains_is_the_exact_gradient(small):
    """Many chains at equilibrium give the enumerated gradient within the Monte-Carlo error."""
    rng = np.random.default_rng(1)
    X = (rng.random((50, 8)) < 0.5).astype(float)
    n_chains, rate = 40_000, 1e-3
    machine = RBM(*(array.copy() for array in small))
    state = ascent.init(machine, n_chains)
    start = [array.astype(np.float64) for array in machine]
    state, rows = ascent.prepare(state, X)
    state, _ = ascent.step(
        state,
        rows,
        key=KEY,
        phase=persistent,
        n_steps=200,
        learning_rate=rate,
        momentum=0.0,
        l1=0.0,
        l2=0.0,
    )
    for after, before, exact in zip(state.machine, start, naive.gradient(*start, X), strict=True):
        error = (after - before) / rate - exact
        assert np.abs(error).max() < 5 * 0.5 / np.sqrt(n_chains) + 1e-3  # moments of 0/1 have a deviation of at most 1/2


@pytest.mark.parametrize("n_sweeps", [1, 4, 16])
@pytest.mark.parametrize("n_chains", [20_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_no_drift_from_an_exact_start(small, n_chains, n_sweeps):
    """Chains drawn exactly from p stay distributed as p: all 2^8 visible states, within 4 Monte-Carlo floors."""
    exact = rbm.rounded(RBM(*small))
    # the machine that is sampled is the rounded one
    weights = exact.to_hidden[:, :4] / 2.0**exact.exponent
    v, h, log_p = naive.joint(weights, exact.visible_bias[:8].astype(float), exact.hidden_bias[:4].astype(float))
    rng = np.random.default_rng(n_sweeps)
    joint = rng.choice(log_p.size, n_chains, p=np.exp(log_p).ravel())
    chains = rbm.Chains(chain.pack(v[joint // 16]), chain.pack(h[joint % 16]), 0)
    chains = rbm.advance(exact, chains, 2 * n_sweeps, key=KEY, beta=rbm.UNTEMPERED)
    p = np.exp(log_p).sum(axis=1)
    frequency = np.bincount((chains.visible[:, 0]).astype(np.int64), minlength=256) / n_chains
    variation = 0.5 * np.abs(frequency - p).sum()
    floor = 0.5 * np.sqrt(2 / np.pi * p * (1 - p) / n_chains).sum()  # its mean for independent exact draws
    assert variation < 4 * floor


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
def test_sampling_at_beta(small, beta):
    n_samples = 20_000
    samples = BernoulliRBM.from_weights(*small).sample(n_samples, n_steps=200, beta=beta, random_state=1)
    v, _, log_p = naive.joint(*(array.astype(float) for array in small), beta=beta)
    p = np.exp(log_p).sum(axis=1)
    np.testing.assert_allclose(samples.mean(axis=0), p @ v, atol=5 * 0.5 / np.sqrt(n_samples))


def test_clamped_sampling_is_the_conditional(small):
    clamp = np.array([1, 0, np.nan, np.nan, np.nan, np.nan, np.nan, 1])
    n_samples = 20_000
    samples = BernoulliRBM.from_weights(*small).sample(n_samples, n_steps=200, clamp=clamp, random_state=2)
    v, _, log_p = naive.joint(*(array.astype(float) for array in small))
    kept = (v[:, [0, 1, 7]] == [1, 0, 1]).all(axis=1)
    p = np.exp(log_p).sum(axis=1) * kept
    np.testing.assert_array_equal(samples[:, [0, 1, 7]], np.tile([1, 0, 1], (n_samples, 1)))
    np.testing.assert_allclose(samples.mean(axis=0), p @ v / p.sum(), atol=5 * 0.5 / np.sqrt(n_samples))


def test_kernel_and_reference_agree_on_every_state(small, way):
    """One update from each of the 256 visible states."""
    layers = chain.pack(naive.all_states(8)), chain.pack(np.zeros((256, 4)))
    arguments, exponent = naive.reference_arguments([small[0]], small[1:], layers)
    numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": 0, "stop": 2}
    expected = naive.run(chain.gibbs, arguments, **numbers)
    np.testing.assert_equal(naive.run(kernels.gibbs, arguments, tables={}, **numbers), expected)
