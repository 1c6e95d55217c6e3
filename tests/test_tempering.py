"""Parallel tempering: exchanges keep the distribution, carry chains from mode to mode, and become equally frequent."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from fastbm import BernoulliRBM, chain
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains
from fastbm.training import ascent, tempering
from fastbm.training.contrastive_divergence import persistent

KEY = chain.stream_key(0, chain.Purpose.TRAINING)
BETAS = (1.0, 0.6, 0.25)


@pytest.fixture
def small():
    """A machine of 6 visible and 3 hidden units that a chain at β = 1 mixes slowly in."""
    rng = np.random.default_rng(3)
    machine = rng.normal(size=(6, 3)) * 2, rng.normal(size=6), rng.normal(size=3)
    return RBM(*(array.astype(np.float32) for array in machine))


def exact_ladders(machine, n_ladders, seed):
    """Chains drawn exactly from the product of the distributions at all inverse temperatures; and these distributions."""
    rng, drawn, probabilities = np.random.default_rng(seed), [], []
    arrays = [array.astype(float) for array in machine]
    for beta in BETAS:
        v, h, log_p = naive.joint(*arrays, beta=beta)
        probabilities.append(np.exp(log_p).ravel())
        joint = rng.choice(log_p.size, n_ladders, p=probabilities[-1])
        drawn.append((v[joint // len(h)], h[joint % len(h)]))
    visible, hidden = (chain.pack(np.concatenate(rows)) for rows in zip(*drawn, strict=True))
    return Chains(visible, hidden, 1), probabilities


def variations(chains, probabilities, n_ladders):
    """Total variation of the joint states at each β from their distribution, in Monte-Carlo floors."""
    states = chains.visible[:, 0].astype(np.int64) * 8 + chains.hidden[:, 0].astype(np.int64)
    for level, p in enumerate(probabilities):
        frequency = np.bincount(states[level * n_ladders :][:n_ladders], minlength=p.size) / n_ladders
        yield 0.5 * np.abs(frequency - p).sum() / (0.5 * np.sqrt(2 / np.pi * p * (1 - p) / n_ladders).sum())


class TestExchanges:
    @pytest.mark.parametrize("sweep", [0, 1, 2, 3])
    def test_keep_the_product_of_the_distributions(self, small, sweep):
        """Each exchange alone, of even and of odd pairs."""
        n_ladders = 20_000
        chains, probabilities = exact_ladders(small, n_ladders, sweep)
        states = [chain.unpack(chains.visible, 6, float), chain.unpack(chains.hidden, 3, float)]
        energies = rbm.energy(small, *states)
        _, sources = tempering.exchange(tempering.init(BETAS, adapted=False), energies, sweep, KEY)
        moved = (sources != np.arange(len(sources))).reshape(len(BETAS), n_ladders)
        assert moved.any(axis=1).tolist() == ([True, True, False] if sweep % 2 == 0 else [False, True, True])
        assert (sources % n_ladders == np.tile(np.arange(n_ladders), len(BETAS))).all()  # within a ladder
        chains = Chains(chains.visible[sources], chains.hidden[sources], 1)
        assert max(variations(chains, probabilities, n_ladders)) < 4

    @pytest.mark.parametrize("n_sweeps", [1, 4, 16])
    def test_no_drift_with_sweeps_in_between(self, small, n_sweeps):
        n_ladders = 20_000
        exact = rbm.rounded(small)
        of_rounded = RBM((exact.to_hidden[:, :3] / 2.0**exact.exponent).astype(np.float32), *small[1:])
        chains, probabilities = exact_ladders(of_rounded, n_ladders, n_sweeps)
        ladder, (logits, means) = (
            tempering.init(BETAS, adapted=False),
            (np.empty((3 * n_ladders, 64), np.float32) for _ in "12"),
        )
        for _ in range(n_sweeps):
            chains, ladder, _ = tempering.sweep_and_exchange(small, exact, chains, ladder, logits, means, KEY)
        assert chains.updates == 1 + 2 * n_sweeps
        assert max(variations(chains, probabilities, n_ladders)) < 4

    def test_their_rate_is_that_of_the_metropolis_rule(self, small):
        """Not that of the free energies, nor of energies at another inverse temperature."""
        n_ladders = 20_000
        arrays = [array.astype(float) for array in small]
        chains, probabilities = exact_ladders(small, n_ladders, 5)
        energy = -naive.log_sum_exp(np.zeros(1)) - naive.joint(*arrays)[2].ravel()  # but for a constant
        odds = np.exp(np.minimum(0, (BETAS[0] - BETAS[1]) * (energy[:, None] - energy[None, :])))
        expected = probabilities[0] @ odds @ probabilities[1]
        states = [chain.unpack(chains.visible, 6, float), chain.unpack(chains.hidden, 3, float)]
        ladder, sources = tempering.exchange(tempering.init(BETAS, adapted=False), rbm.energy(small, *states), 0, KEY)
        rate = (sources[:n_ladders] != np.arange(n_ladders)).mean()
        assert rate == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(n_ladders))
        assert ladder.accepted[0] == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(n_ladders))

    def test_do_not_depend_on_other_ladders(self, small):
        energies = np.random.default_rng(0).normal(size=(3, 50)) * 5
        ladder = tempering.init(BETAS, adapted=False)
        _, many = tempering.exchange(ladder, energies.ravel(), 4, KEY)
        _, few = tempering.exchange(ladder, energies[:, :20].ravel(), 4, KEY)
        np.testing.assert_array_equal(many.reshape(3, 50)[:, :20] // 50, few.reshape(3, 20) // 20)


def test_energies_are_those_of_the_machine(small):
    exact = rbm.rounded(small)
    chains, _ = exact_ladders(small, 10, 0)
    v, h = chain.unpack(chains.visible, 6, np.float32), chain.unpack(chains.hidden, 3, np.float32)
    logits = rbm.hidden_logits(small, v)
    np.testing.assert_allclose(tempering.energies(small, chains, logits), rbm.energy(small, v, h), rtol=1e-5)
    assert exact.exponent > 8


def two_modes(share):
    """A machine whose visible units are nearly all on, in this share of the time, or nearly all off."""
    weights = np.full((12, 1), 8.0)
    return weights, np.full(12, -4.0), np.array([-48.0 + np.log(share / (1 - share))])


def run(phase, machine, n_chains, n_updates, ladder=None):
    """Return the share of the chains at β = 1 with most visible units on after each update, and the state."""
    machine = RBM(*(np.asarray(array, np.float32) for array in machine))
    state = ascent.init(machine, n_chains * (len(ladder.betas) if ladder else 1))._replace(ladder=ladder)
    state, rows = ascent.prepare(state, np.zeros((1, len(machine.visible_bias))))
    shares = []
    for _ in range(n_updates):
        state, _ = phase(state, rows, key=KEY, n_steps=1)
        shares.append((chain.unpack(state.chains.visible[:n_chains], 12).mean(axis=1) > 0.5).mean())
    return np.array(shares), state


def test_two_modes_are_visited_in_proportion():
    """Chains that persist stay where they are; tempered ones are in each mode as often as it is likely."""
    n_chains, share = 500, 0.7
    shares, _ = run(persistent, two_modes(share), n_chains, 600)
    assert shares.max() == 0
    shares, state = run(
        tempering.tempered, two_modes(share), n_chains, 600, tempering.init(np.linspace(1, 0, 10), adapted=True)
    )
    assert shares[-1] == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / n_chains))
    assert state.chains.updates == 1201


def test_inverse_temperatures_are_moved_until_all_pairs_exchange_as_often():
    rates = {}
    for adapted in (False, True):
        ladder = tempering.init(np.linspace(1, 0, 10), adapted=adapted)
        _, state = run(tempering.tempered, two_modes(0.5), 200, 1500, ladder)
        rates[adapted], betas = state.ladder.rates, state.ladder.betas
        assert betas[0] == 1
        assert betas[-1] == 0
        assert (np.diff(betas) < 0).all()
        assert np.array_equal(betas, ladder.betas) != adapted
    assert np.ptp(rates[True]) < np.ptp(rates[False]) / 4
    assert rates[True].min() > rates[False].min() + 0.1


class TestEstimator:
    def test_learns_what_persistent_chains_cannot(self):
        """Three tenths of the rows off, the others on: the machine that tempered chains train has both modes, in proportion."""
        rng = np.random.default_rng(0)
        X = rng.permutation(np.repeat([[0.0], [1.0]], [300, 700], axis=0)) * np.ones(12)
        X = np.abs(X - (rng.random(X.shape) < 0.02))
        reached = {}
        for algorithm in ("pt", "pcd"):
            machine = BernoulliRBM(4, algorithm=algorithm, n_iter=100, batch_size=100, centered=True, random_state=0)
            machine.set_params(learning_rate=0.5, learning_rate_schedule="linear").fit(X)
            samples = machine.sample(100, init="chains", n_steps=0)
            assert (samples.mean(axis=1) > 0.5).mean() == pytest.approx(0.7, abs=5 * np.sqrt(0.21 / 100))
            weights = machine.components_.T, machine.intercept_visible_, machine.intercept_hidden_
            v, _, log_p = naive.joint(*(array.astype(float) for array in weights))
            reached[algorithm] = np.exp(log_p).sum(axis=1) @ (v.mean(axis=1) > 0.5)
        assert reached["pt"] == pytest.approx(0.7, abs=5 * np.sqrt(0.21 / 1000))
        assert abs(reached["pcd"] - 0.7) > 0.2  # the chains are right, the machine is not

    def test_reports_its_ladder(self, digits):
        machine = BernoulliRBM(16, algorithm="pt", betas=5, n_iter=4, batch_size=25, n_chains=7, random_state=0)
        machine.fit(digits[0][:1000])
        assert machine.h_samples_.shape == (7, 16)
        assert machine.betas_.shape == (5,)
        assert ((machine.swap_rates_ > 0) & (machine.swap_rates_ < 1)).all()
        assert machine.history_[-1]["swap_rate"] == machine.swap_rates_.min()
        fixed = machine.set_params(betas=[1.0, 0.9, 0.5, 0.0]).fit(digits[0])
        np.testing.assert_array_equal(fixed.betas_, [1.0, 0.9, 0.5, 0.0])
        assert not hasattr(machine.set_params(algorithm="pcd").fit(digits[0]), "betas_")

    def test_goes_on_bit_for_bit(self, digits, tmp_path):
        settings = {"n_components": 16, "algorithm": "pt", "betas": 4, "n_chains": 10, "batch_size": 20, "random_state": 0}
        whole, parts = (BernoulliRBM(**settings, n_iter=1).fit(digits[0][:600]) for _ in range(2))
        parts.save(tmp_path / "machine.safetensors")
        parts = BernoulliRBM.load(tmp_path / "machine.safetensors")
        assert parts.history_ == [*whole.history_[:-1], parts.history_[-1]]
        for machine in (whole, parts):
            for start in range(0, 1500, 100):
                machine.partial_fit(digits[0][start : start + 100])
        np.testing.assert_array_equal(parts.components_, whole.components_)
        np.testing.assert_array_equal(parts.h_samples_, whole.h_samples_)
        np.testing.assert_array_equal(parts.betas_, whole.betas_)
        np.testing.assert_array_equal(parts.swap_rates_, whole.swap_rates_)

    def test_rules_can_be_exchanged_between_updates(self, digits):
        machine = BernoulliRBM(16, n_chains=10, n_iter=1, random_state=0).fit(digits[0])
        for algorithm, betas in (("pt", 3), ("pt", 4), ("cd", 4), ("pt", [1.0, 0.5]), ("pcd", 2), ("pt", 3)):
            machine.set_params(algorithm=algorithm, betas=betas).partial_fit(digits[0][:30])
            assert hasattr(machine, "betas_") == (algorithm == "pt")
            machine.set_params(n_chains=None)  # contrastive divergence leaves as many chains as it had rows
        assert len(machine.betas_) == 3

    @pytest.mark.parametrize("betas", [[1.0], [0.9, 0.1], [1.0, 0.5, 0.5], [1.0, -0.1], [[1.0, 0.5]], [1.0, np.nan]])
    def test_refuses_what_is_no_ladder(self, betas, digits):
        with pytest.raises(ValueError, match="betas must begin at 1 and fall"):
            BernoulliRBM(algorithm="pt", betas=betas).fit(digits[0])
