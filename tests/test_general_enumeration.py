"""General machines small enough to enumerate: the chain, marginals, log Z, scores and the gradient are exact."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import chi2

from fastbm import BoltzmannMachine, chain, evaluation
from fastbm.machines import boltzmann, inference
from fastbm.machines.boltzmann import Boltzmann, Chains
from fastbm.machines.layout import layout_of
from fastbm.training import moments
from fastbm.training.moments import Rule

KEY = chain.stream_key(5, chain.Purpose.SAMPLING)
N_CHAINS, N_SWEEPS = 2000, 200
RARE = 14.0
"""Deviations are allowed that have a probability of e^-14, one in a million; some ten thousand are looked at."""


class Case:
    """A random machine of 2 to 14 units: its graph, β, hidden and clamped units all drawn with its number."""

    def __init__(self, number):
        rng = np.random.default_rng(number)
        self.n_units = int(rng.integers(2, 15))
        self.n_visible = self.n_units if number % 2 else int(rng.integers(1, self.n_units))
        share = (1.0, 0.5, 0.2)[number % 3]
        self.couplings = naive.symmetric(rng, self.n_units, share, 1 / np.sqrt(self.n_units))
        self.bias, self.beta = rng.normal(size=self.n_units) * 0.5, float(rng.uniform(0, 3))
        self.given = np.full(self.n_units, np.nan)
        if number % 5 < 2:
            held = rng.random(self.n_units) < 0.3
            self.given[held] = rng.integers(0, 2, held.sum())
        couplings = csr_array(self.couplings) if number % 4 < 2 else self.couplings
        self.machine = BoltzmannMachine.from_couplings(couplings, self.bias, self.n_visible, random_state=number)
        self.states, self.p = naive.distribution(self.couplings, self.bias, self.beta, self.given)


def bound(p, n):
    """The deviation of a frequency in n draws that is exceeded with a probability of 2 e^-RARE (Bernstein)."""
    return np.sqrt(2 * RARE * p * (1 - p).clip(0) / n) + 2 * RARE / (3 * n)


def check_frequencies(rows, states, p):
    """Rows have the marginals, the pair moments and the frequencies of states that p says."""
    n = len(rows)
    assert (abs(rows.mean(axis=0) - p @ states) <= bound(p @ states, n)).all()
    pairs = np.einsum("s,si,sj->ij", p, states, states)
    assert (abs(rows.T @ rows / n - pairs) <= bound(pairs, n)).all()
    numbers = (rows @ 2 ** np.arange(rows.shape[1])).astype(int)
    counts, expected = np.bincount(numbers, minlength=len(p)), n * p
    rare = expected < 5
    counts, expected = np.append(counts[~rare], counts[rare].sum()), np.append(expected[~rare], expected[rare].sum())
    possible = expected > 1e-9
    assert counts[~possible].sum() == 0
    counts, expected = counts[possible], expected[possible]
    if len(counts) > 1:
        assert ((counts - expected) ** 2 / expected).sum() < chi2.isf(np.exp(-RARE), len(counts) - 1)


@pytest.mark.parametrize("number", range(50))
def test_the_chain_samples_the_machine(number):
    case = Case(number)
    exact = case.machine._rounded()
    clamp = np.broadcast_to(case.given, (N_CHAINS, case.n_units))
    chains = case.machine._start(None, N_CHAINS, exact, number)
    free = case.machine._clamp(chains, clamp, exact)
    beta = np.full((1, 1), case.beta, np.float32)
    chains = boltzmann.advance(exact, chains, N_SWEEPS, key=KEY, beta=beta, free=free)
    check_frequencies(boltzmann.leave(exact.layout, chains.states, np.float64), case.states, case.p)
    rows = case.machine.sample(3, n_steps=N_SWEEPS, clamp=case.given, beta=case.beta, random_state=1)
    held = ~np.isnan(case.given[: case.n_visible])
    assert (rows[:, held] == case.given[: case.n_visible][held]).all()


@pytest.mark.parametrize("number", range(50))
def test_marginals_are_those_of_enumeration(number):
    case = Case(number)
    expected = case.p @ case.states
    found = case.machine.marginals(case.given, beta=case.beta)
    assert found.method == "exact"
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-9, atol=1e-12)
    assert (found.errors == 0).all()


@pytest.mark.parametrize("number", range(0, 50, 5))
def test_marginals_by_gibbs_are_right_within_their_errors(number):
    case = Case(number)
    found = case.machine.marginals(case.given, "gibbs", beta=case.beta, n_chains=50, n_steps=400)
    free = np.isnan(case.given)
    assert (found.errors[free] > 0).all()
    assert (found.errors[~free] == 0).all()
    # 50 chains: their spread is known to a tenth, so that 7 of these errors are more than 6 true ones
    assert (abs(found.probabilities - case.p @ case.states) <= 7 * found.errors + 1e-12).all()


def test_marginals_by_mean_field_are_a_fixed_point_and_exact_without_couplings():
    case = Case(3)
    found = case.machine.marginals(case.given, "mean_field", beta=0.5)
    field = 0.5 * (case.couplings @ found.probabilities + case.bias)
    np.testing.assert_allclose(found.probabilities, 1 / (1 + np.exp(-field)), atol=1e-5)
    assert 1 < found.n_updates < 1000
    assert found.change <= 1e-6
    assert np.isnan(found.errors).all()
    alone = BoltzmannMachine.from_couplings(np.zeros((4, 4)), case.bias[:4])
    expected = 1 / (1 + np.exp(-case.bias[:4]))
    np.testing.assert_allclose(alone.marginals(method="mean_field").probabilities, expected, rtol=1e-9)


def test_marginals_of_rows_with_units_given_in_each():
    case = Case(4)
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((6, case.n_units)) < 0.4, rng.integers(0, 2, (6, case.n_units)), np.nan)
    expected = [p @ states for states, p in (naive.distribution(case.couplings, case.bias, 1.0, row) for row in rows)]
    np.testing.assert_allclose(case.machine.marginals(rows).probabilities, expected, rtol=1e-9, atol=1e-12)
    of_gibbs = case.machine.marginals(rows, "gibbs", n_steps=500)
    assert (abs(of_gibbs.probabilities - expected) <= 7 * of_gibbs.errors + 1e-12).all()


def test_marginals_beyond_enumeration_are_by_gibbs_and_of_components_exact():
    rng = np.random.default_rng(0)
    large = BoltzmannMachine.from_couplings(naive.symmetric(rng, 30, 1.0, 0.2), rng.normal(size=30), random_state=0)
    assert large.marginals(n_chains=10, n_steps=20).method == "gibbs"
    with pytest.raises(ValueError, match="at most 20"):
        large.marginals(method="exact")
    given = np.r_[np.zeros(15), np.full(15, np.nan)]
    assert large.marginals(given).method == "exact"
    pair = np.array([[0.0, 1.0], [1.0, 0.0]])
    many = BoltzmannMachine.from_couplings(np.kron(np.eye(20), pair), np.zeros(40))  # 20 pairs
    p = (1 + np.e) / (3 + np.e)
    np.testing.assert_allclose(many.marginals(method="exact").probabilities, np.full(40, p), rtol=1e-12)


@pytest.mark.parametrize("n_sweeps", [1, 4, 16])
@pytest.mark.parametrize(("share", "n_visible"), [(1.0, 8), (0.4, 8), (0.6, 5)])
def test_no_drift_from_an_exact_start(share, n_visible, n_sweeps):
    """20,000 chains drawn exactly from p stay distributed as p: all 2^8 states, within 4 Monte-Carlo floors."""
    rng, n_chains = np.random.default_rng(8), 20_000
    couplings, bias = naive.symmetric(rng, 8, share), rng.normal(size=8) * 0.5
    states, p = naive.distribution(couplings, bias)
    exact = BoltzmannMachine.from_couplings(couplings, bias, n_visible)._rounded()
    drawn = np.random.default_rng(n_sweeps).choice(256, n_chains, p=p)
    chains = Chains(boltzmann.enter(exact.layout, states[drawn]), 0)
    chains = boltzmann.advance(exact, chains, n_sweeps, key=KEY, beta=boltzmann.ones())
    rows = boltzmann.leave(exact.layout, chains.states, np.int64)
    frequency = np.bincount(rows @ 2 ** np.arange(8), minlength=256) / n_chains
    floor = 0.5 * np.sqrt(2 / np.pi * p * (1 - p) / n_chains).sum()  # its mean for independent exact draws
    assert 0.5 * abs(frequency - p).sum() < 4 * floor


@pytest.mark.parametrize("number", range(12))
def test_log_partition_free_energy_and_likelihood_are_exact(number):
    case = Case(number)
    states, p = naive.distribution(case.couplings, case.bias)
    minus_energy = np.einsum("si,ij,sj->s", states, np.triu(case.couplings, 1), states) + states @ case.bias
    log_z = naive.log_sum_exp(minus_energy)
    found = evaluation.log_partition(case.machine)
    assert found.method == "exact"
    np.testing.assert_allclose(found.log_z, log_z, rtol=1e-10)
    rows = naive.all_states(case.n_visible)
    number_of = (states[:, : case.n_visible] @ 2 ** np.arange(case.n_visible)).astype(int)
    expected = np.log(np.bincount(number_of, p, minlength=len(rows)))
    np.testing.assert_allclose(case.machine.log_likelihood(rows), expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(-case.machine.free_energy(rows) - log_z, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("n_visible", [3, 24])
def test_log_partition_of_what_has_many_units_of_one_block(n_visible):
    """Three or four units in the middle, all others joined to them alone: they are summed out."""
    rng, n_units = np.random.default_rng(0), 27
    couplings = np.zeros((n_units, n_units))
    couplings[:3, 3:] = rng.normal(size=(3, 24))
    couplings[0, 1] = 1.0
    couplings += couplings.T
    bias = rng.normal(size=n_units)
    found = evaluation.log_partition(BoltzmannMachine.from_couplings(couplings, bias, n_visible))
    middle = naive.all_states(3)
    terms = middle @ bias[:3] + middle[:, 0] * middle[:, 1]
    expected = naive.log_sum_exp(terms + np.logaddexp(0, middle @ couplings[:3, 3:] + bias[3:]).sum(axis=1))
    np.testing.assert_allclose(found.log_z, expected, rtol=1e-10)


def test_log_partition_of_what_is_too_large_says_so():
    machine = BoltzmannMachine.from_couplings(naive.symmetric(np.random.default_rng(0), 30), np.zeros(30))
    for method in ("auto", "exact", "ais"):
        with pytest.raises(ValueError, match="at most 25 units"):
            evaluation.log_partition(machine, method)


@pytest.mark.parametrize("number", range(12))
def test_pseudo_likelihood_and_transform_are_exact(number):
    case = Case(number)
    n_visible, (states, p) = case.n_visible, naive.distribution(case.couplings, case.bias)
    rows = naive.all_states(n_visible)
    number_of = (states[:, :n_visible] @ 2 ** np.arange(n_visible)).astype(int)
    p_v = np.bincount(number_of, p, minlength=len(rows))
    flips = np.arange(len(rows))[:, None] ^ 2 ** np.arange(n_visible)
    expected = np.log(p_v[:, None] / (p_v[:, None] + p_v[flips])).sum(axis=1)
    np.testing.assert_allclose(case.machine.score_samples(rows), expected, rtol=1e-7, atol=1e-9)
    hidden = [np.bincount(number_of, p * states[:, unit], minlength=len(rows)) / p_v for unit in range(n_visible, case.n_units)]
    expected = np.array(hidden).reshape(-1, len(rows)).T
    np.testing.assert_allclose(case.machine.transform(rows), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("hidden", ["apart", "enumerated", "drawn"])
def test_gradient_of_long_chains_is_the_exact_gradient(hidden, centered, monkeypatch):
    """Many chains at equilibrium give the enumerated gradient within the Monte-Carlo error."""
    hidden_coupled = hidden != "apart"
    monkeypatch.setattr(moments, "MOST_ENUMERATED", 3 if hidden == "enumerated" else 2)
    rng, n_visible, n_units, n_chains, rate = np.random.default_rng(1), 5, 8, 40_000, 1e-3
    couplings, bias = naive.symmetric(rng, n_units, 1.0, 0.5), rng.normal(size=n_units) * 0.5
    if not hidden_coupled:
        couplings[n_visible:, n_visible:] = 0
    first, second = (ends.astype(np.int32) for ends in np.nonzero(np.triu(couplings, 1)))
    parameters = (couplings[first, second], bias[:n_visible], bias[n_visible:])
    machine = Boltzmann(*(array.astype(np.float32) for array in parameters), first, second)
    before = [array.astype(np.float64) for array in machine[:3]]
    data = (rng.random((4, n_visible)) < 0.5).astype(np.float32)
    X = np.repeat(data, n_chains // 4, axis=0)  # as many chains for the data as for the model
    state = moments.init(machine, layout_of(boltzmann.graph_of(machine)), n_chains)
    rule = Rule(100, rate, n_data_steps=50, centered=centered)
    state = moments.step(state, X, rule, key=KEY, clamped_key=chain.stream_key(5, chain.Purpose.CLAMPED))

    def moments_of(distributions):
        pairs = np.mean([np.einsum("s,si,sj->ij", p, states, states) for states, p in distributions], axis=0)
        return pairs, np.diagonal(pairs)

    free = np.full(n_units - n_visible, np.nan)
    of_data = moments_of([naive.distribution(couplings, bias, given=np.r_[row, free]) for row in data.astype(float)])
    of_model = moments_of([naive.distribution(couplings, bias)])
    pairs, singles = (a - b for a, b in zip(of_data, of_model, strict=True))
    if centered:
        offsets = of_data[1]
        pairs = (pairs - np.outer(offsets, singles) - np.outer(singles, offsets)) * (couplings != 0)
        singles = singles - pairs @ offsets
    expected = (pairs[first, second], singles[:n_visible], singles[n_visible:])
    # a moment has a deviation of at most 1/2; a centred one is made of 3, and a bias of as many as there are couplings
    errors = 5 * 0.5 * np.sqrt(2 / n_chains) * np.array([3, 1 + 3 * n_units, 1 + 3 * n_units] if centered else [1, 1, 1])
    for after, start, exact, error in zip(state.machine, before, expected, errors, strict=False):
        np.testing.assert_allclose((after - start) / rate, exact, atol=error + 1e-3)


def test_moments_of_few_hidden_units_are_exact():
    """One chain and one row: what is left of chance is the chain's visible state."""
    rng, n_visible, n_units = np.random.default_rng(1), 5, 8
    couplings, bias = naive.symmetric(rng, n_units, 1.0, 2.0), rng.normal(size=n_units)
    machine = BoltzmannMachine.from_couplings(couplings, bias, n_visible)._machine()
    machine = Boltzmann(*(array.astype(np.float32) for array in machine[:3]), *machine[3:])
    before = [array.astype(np.float64) for array in machine[:3]]
    v = (rng.random((1, n_visible)) < 0.5).astype(np.float32)
    state = moments.init(machine, layout_of(boltzmann.graph_of(machine)), 1)
    state = moments.step(state, v, Rule(1, 1.0, centered=False), key=KEY, clamped_key=KEY)
    chain_now = boltzmann.leave(state.exact.layout, state.chains.states, np.float64)[0, :n_visible]
    means = []
    for row in (v[0].astype(float), chain_now):
        states, p = naive.distribution(couplings, bias, given=np.r_[row, np.full(n_units - n_visible, np.nan)])
        means.append(np.einsum("s,si,sj->ij", p, states, states))
    expected = means[0] - means[1]
    first, second = machine.first, machine.second
    expected = expected[first, second], *np.split(np.diagonal(expected), [n_visible])
    for after, start, exact in zip(state.machine, before, expected, strict=False):
        np.testing.assert_allclose(after - start, exact, atol=1e-5)


def test_the_gradient_by_mean_field_is_that_of_its_probabilities():
    rng, n_visible, n_units = np.random.default_rng(1), 4, 7
    couplings = naive.symmetric(rng, n_units, 1.0, 0.3)
    machine = BoltzmannMachine.from_couplings(couplings, np.zeros(n_units), n_visible)._machine()
    v = (rng.random((6, n_visible)) < 0.5).astype(np.float64)
    rows = np.concatenate([v, np.zeros((6, 3))], axis=1)
    free = np.arange(n_units)[None, :] >= n_visible
    means, _, change = inference.mean_field(machine, rows, free)
    np.testing.assert_array_equal(means[:, :n_visible], v)
    np.testing.assert_allclose(means[:, n_visible:], 1 / (1 + np.exp(-(means @ couplings)[:, n_visible:])), atol=1e-5)
    assert change <= 1e-6
