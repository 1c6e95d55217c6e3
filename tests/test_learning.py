"""Learnt as well as the peer: exact log-likelihoods, by enumeration of the hidden side."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from sklearn.neural_network import BernoulliRBM as PeerRBM

from fastbm import BernoulliRBM, datasets

SEEDS = range(5)
SCHEDULE = {"n_components": 16, "learning_rate": 0.05, "batch_size": 100, "n_iter": 150}


def log_likelihood(machine, X):
    arrays = machine.components_.T, machine.intercept_visible_, machine.intercept_hidden_
    return naive.log_likelihood(*(np.asarray(array, np.float64) for array in arrays), X).mean()


def test_no_worse_than_scikit_learn_on_digits(digits):
    """16 hidden units, the same schedule: the mean over 5 seeds is no worse than scikit-learn's minus 0.2 nats."""
    train, held_out = digits
    ours, theirs = [], []
    for seed in SEEDS:
        ours.append(log_likelihood(BernoulliRBM(**SCHEDULE, random_state=seed).fit(train), held_out))
        theirs.append(log_likelihood(PeerRBM(**SCHEDULE, random_state=seed).fit(train), held_out))
    print(f"held-out log-likelihood, nats a case: fastbm {np.round(ours, 2)}, scikit-learn {np.round(theirs, 2)}")
    assert np.mean(ours) > np.mean(theirs) - 0.2
    assert np.mean(theirs) > log_likelihood(BernoulliRBM(**SCHEDULE | {"n_iter": 0}).fit(train), held_out) + 10


@pytest.mark.parametrize(
    "parameters",
    [
        {"algorithm": "cd"},
        {"algorithm": "cd", "n_gibbs_steps": 5},
        {"n_chains": 200},
        {"n_gibbs_steps": 5},
        {"momentum": 0.5, "learning_rate": 0.025},
        {"learning_rate_schedule": "linear", "learning_rate": 0.1},
        {"l2": 1e-4, "l1": 1e-5},
        {"centered": True},
        {"algorithm": "pt", "betas": 4, "n_chains": 30},
        {"sparsity_target": 0.3, "sparsity_cost": 0.1},
        {"learning_rate_schedule": "inverse", "learning_rate": 0.2, "n_gibbs_steps": 5, "n_gibbs_steps_schedule": "inverse"},
        {"centered": True, "algorithm": "cd", "momentum": 0.5, "learning_rate": 0.025},
    ],
    ids=str,
)
def test_every_option_learns(digits, parameters):
    train, held_out = digits
    machine = BernoulliRBM(**SCHEDULE | parameters, random_state=0).fit(train)
    assert log_likelihood(machine, held_out) > -26.5  # an untrained machine has -44.4, a factorial one -32.9


def test_centred_it_learns_inverted_digits_as_well(digits):
    """White on black or black on white: the plain gradient gets stuck on one of them [Melchior et al. 2016]."""
    reached = {}
    for centered in (False, True):
        for inverted in (False, True):
            train, held_out = (1 - rows if inverted else rows for rows in digits)
            machine = BernoulliRBM(**SCHEDULE | {"learning_rate": 0.2}, centered=centered, random_state=0).fit(train)
            reached[centered, inverted] = log_likelihood(machine, held_out)
    print(f"held-out nats, (centred, inverted): {reached}")
    assert abs(reached[True, True] - reached[True, False]) < 0.5
    assert reached[True, True] > reached[False, True] + 3


def test_the_distribution_of_noisy_copies_is_learnt():
    """Two hidden coins, each copied three times with noise: the frequencies of all 64 states are learnt."""
    rng = np.random.default_rng(0)
    coins = np.repeat(rng.random((5000, 2)) < [0.5, 0.3], 3, axis=1)
    X = (coins ^ (rng.random((5000, 6)) < 0.1)).astype(float)
    machine = BernoulliRBM(4, batch_size=500, n_chains=500, n_iter=400, learning_rate=0.2, learning_rate_schedule="linear")
    machine.set_params(random_state=0).fit(X)
    _, states, counts = np.unique(X, axis=0, return_inverse=True, return_counts=True)
    entropy = -np.log(counts[states] / len(X)).mean()
    mean = X.mean(axis=0)
    independent = -(mean * np.log(mean) + (1 - mean) * np.log(1 - mean)).sum()
    divergence = -log_likelihood(machine, X) - entropy  # Kullback–Leibler, in nats
    print(f"divergence {divergence:.4f}, that of independent units {independent - entropy:.4f}")
    assert independent - entropy > 0.5  # so there was something to learn
    assert divergence < 0.05 * (independent - entropy)


def test_mnist_with_64_hidden_units(data_folder):
    X_train, _, X_test, _ = datasets.load_mnist(data_folder / "mnist")
    train, test = datasets.binarise(X_train[:20_000]), datasets.binarise(X_test[:1000])
    mean = train.mean(axis=0).clip(1e-4, 1 - 1e-4)
    independent_pixels = (test * np.log(mean) + (1 - test) * np.log(1 - mean)).sum(axis=1).mean()
    machine = BernoulliRBM(64, batch_size=100, n_iter=5, random_state=0)
    before = machine.set_params(n_iter=0).fit(train).score(test)
    after = machine.set_params(n_iter=5).fit(train).score(test)
    print(f"MNIST, pseudo-likelihood: {before:.1f} before, {after:.1f} after; independent pixels {independent_pixels:.1f}")
    assert before < independent_pixels
    assert after > independent_pixels + 50
