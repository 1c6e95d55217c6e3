"""General machines learn: likelihoods, moments and couplings against enumeration."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np
import pytest

from fastbm import BoltzmannMachine


def ring_with_hidden(seed):
    """A teacher of 12 visible units in a ring and 4 hidden ones: joined to all visible ones, and in two pairs."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((16, 16), bool)
    mask[:12, 12:] = True
    mask[np.arange(12), (np.arange(12) + 1) % 12] = mask[12, 13] = mask[14, 15] = True
    mask |= mask.T
    couplings = naive.symmetric(rng, 16, scale=1.5) * mask
    bias = rng.normal(size=16) * 0.3 - couplings.sum(axis=0) / 2
    return mask, BoltzmannMachine.from_couplings(couplings, bias, n_visible=12)


def draw_exactly(machine, n_rows, seed):
    """Rows drawn from a machine by enumeration."""
    states = naive.all_states(machine.n_features_in_)
    p = np.exp(machine.log_likelihood(states))
    return states[np.random.default_rng(seed).choice(len(p), n_rows, p=p / p.sum())]


RECIPE = {
    "batch_size": 1000, "n_chains": 500, "n_iter": 100, "learning_rate": 0.3, "momentum": 0.9, "n_gibbs_steps": 20,
    "learning_rate_schedule": "linear", "random_state": 0,
}  # fmt: skip
SLOW = [*((True, seed) for seed in range(6)), *((False, seed) for seed in range(1, 6))]
CASES = [(False, 0), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]


@pytest.mark.parametrize(("masked", "seed"), CASES)
def test_a_student_is_nearly_as_likely_as_its_teacher(masked, seed):
    """12 visible and 4 hidden units, 20,000 exact samples: within 0.02 nats of the teacher on fresh samples.

    With the teacher's mask, or with all couplings, 136 parameters: of these, samples alone cost 136 / 40,000 = 0.0034 nats.
    """
    mask, teacher = ring_with_hidden(seed)
    X, fresh = draw_exactly(teacher, 20_000, 1), draw_exactly(teacher, 20_000, 2)
    student = BoltzmannMachine(4, mask=mask if masked else None, **RECIPE).fit(X)
    among = mask[:12, :12] if masked else None
    visible = BoltzmannMachine(mask=among, batch_size=1000, n_chains=500, n_iter=20, learning_rate=0.3, random_state=0).fit(X)
    likelihoods = [machine.log_likelihood(fresh).mean() for machine in (teacher, student, visible)]
    print(f"nats a row: teacher {likelihoods[0]:.4f}, student {likelihoods[1]:.4f}, without hidden units {likelihoods[2]:.4f}")
    assert likelihoods[1] > likelihoods[0] - 0.02
    assert likelihoods[1] > likelihoods[2] + (0.1 if masked else 0.005)  # the hidden units have learnt


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_student_by_mean_field(seed):
    """The mean field of the data phase is biased: within 0.05 nats."""
    mask, teacher = ring_with_hidden(seed)
    X, fresh = draw_exactly(teacher, 20_000, 1), draw_exactly(teacher, 20_000, 2)
    student = BoltzmannMachine(4, mask=mask, data_phase="mean_field", **RECIPE | {"learning_rate": 0.1}).fit(X)
    assert student.log_likelihood(fresh).mean() > teacher.log_likelihood(fresh).mean() - 0.05


def moves(machine, X, **options):
    """Whether all couplings between visible units, and all others, have moved between two passes of a fit."""
    n_visible, seen = X.shape[1], []

    def note(now, record):
        seen.append(now.weights_.copy())

    machine.set_params(callbacks=note, **options).fit(X)
    among = machine.edges_[:, 1] < n_visible
    return [[(b != a)[some].all() for some in (among, ~among)] for a, b in pairwise(seen)]


def test_hidden_units_learn_first():
    """Couplings of visible units are held for a part of a first fit, but not in a warm start, nor by partial_fit."""
    X = (np.random.default_rng(0).random((40, 5)) < 0.3).astype(float)
    machine = BoltzmannMachine(2, hidden_first=0.5, n_iter=6, momentum=0.5, l2=0.1, batch_size=40, random_state=0)
    assert moves(machine, X) == [[False, True]] * 2 + [[True, True]] * 3
    assert moves(machine, X, warm_start=True) == [[True, True]] * 5
    before = machine.weights_.copy()
    assert (machine.partial_fit(X).weights_ != before).all()
    few = np.eye(7, k=5, dtype=bool) | np.eye(7, k=1, dtype=bool)  # 4 couplings of 10 pairs of visible units
    machine = BoltzmannMachine(2, mask=few | few.T, hidden_first=0.9, n_iter=3, batch_size=40, random_state=0)
    assert moves(machine, X) == [[True, True]] * 2


@pytest.mark.parametrize("spin", [False, True])
def test_a_fully_visible_machine_recovers_couplings_and_moments(spin):
    """The inverse Ising problem: couplings within their standard errors, moments those of the data."""
    rng, n_units, n_rows = np.random.default_rng(0), 8, 20_000
    couplings, bias = naive.symmetric(rng, n_units, 0.6, 0.25 if spin else 1.0), rng.normal(size=n_units) * 0.2
    teacher = BoltzmannMachine.from_couplings(couplings, bias, spin=spin)
    states = naive.all_states(n_units)
    rows = 2 * states - 1 if spin else states
    p = np.exp(teacher.log_likelihood(rows))
    X = rows[rng.choice(len(p), n_rows, p=p / p.sum())]
    machine = BoltzmannMachine(
        mask=couplings != 0, spin=spin, batch_size=2000, n_chains=2000, n_iter=100, learning_rate=0.5,
        learning_rate_schedule="linear", random_state=0,
    ).fit(X)  # fmt: skip
    first, second = machine.edges_.T
    features = np.concatenate([states[:, first] * states[:, second], states], axis=1)
    information = np.einsum("s,sa,sb->ab", p, features, features) - np.outer(p @ features, p @ features)
    errors = np.sqrt(np.diagonal(np.linalg.inv(information)) / n_rows)[: len(first)]
    # the chains of training, 2,000 of them, add to the error of 20,000 rows what is left of theirs after averaging
    assert (abs(machine.weights_ - teacher.weights_) < 5 * np.sqrt(2) * errors).all()
    assert np.corrcoef(machine.weights_, teacher.weights_)[0, 1] > 0.98
    learnt = np.exp(machine.log_likelihood(rows))
    empirical = np.concatenate([X[:, first] * X[:, second], X], axis=1)
    of_model = learnt @ (np.concatenate([rows[:, first] * rows[:, second], rows], axis=1))
    deviations = empirical.std(axis=0)
    assert (abs(of_model - empirical.mean(axis=0)) < 5 * deviations / np.sqrt(2000)).all()


def test_many_hidden_units_that_hang_together_are_learnt_with():
    """Beyond enumeration: 20 coupled hidden units; both data phases beat independent units by far."""
    rng = np.random.default_rng(0)
    coins = np.repeat(rng.random((1000, 4)) < 0.5, 4, axis=1)
    X = (coins ^ (rng.random((1000, 16)) < 0.05)).astype(np.float64)
    for data_phase in ("gibbs", "mean_field"):
        machine = BoltzmannMachine(20, data_phase=data_phase, n_iter=20, random_state=0).fit(X)
        assert machine.score(X) > 16 * np.log(0.5) + 4
        assert machine.transform(X[:5]).shape == (5, 20)
        with pytest.raises(ValueError, match="hang together"):
            BoltzmannMachine(25, n_iter=1).fit(X).free_energy(X)


def test_a_sparse_lattice_learns_its_neighbours():
    """More units than a matrix of moments is made for: the couplings of noisy copies come out, the others stay small."""
    n_units = 2100
    rng = np.random.default_rng(0)
    first = rng.random((300, n_units // 2)) < 0.5
    X = np.repeat(first, 2, axis=1) ^ (rng.random((300, n_units)) < 0.05)
    units = np.arange(n_units - 1)
    from scipy.sparse import coo_array

    ends = np.concatenate([units, units + 1]), np.concatenate([units + 1, units])
    mask = coo_array((np.ones(2 * len(units), bool), ends), shape=(n_units, n_units)).tocsr()
    machine = BoltzmannMachine(mask=mask, n_iter=60, n_chains=100, batch_size=100, learning_rate=0.2, random_state=0)
    machine.fit(X.astype(np.float32))
    assert machine.couplings_.nnz == 2 * len(units)
    assert machine.weights_[::2].min() > 1.0
    assert abs(machine.weights_[1::2].mean()) < 0.1
