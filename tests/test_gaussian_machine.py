"""Rungs 1 to 4 of the machine with Gaussian visible units: by hand, against quadrature, and samples against exact marginals."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest

from fastbm import chain, kernels
from fastbm.chain import Purpose
from fastbm.evaluation.gaussian_pseudo_likelihood import gaussian_pseudo_likelihood
from fastbm.machines import gaussian_rbm, rbm
from fastbm.machines.gaussian_rbm import GaussianRBM

KEY = chain.stream_key(3, Purpose.SAMPLING)
ONE = np.ones(1, np.float32)


def toy(n_visible=2, n_hidden=3, seed=0, scale=1.5):
    """A small machine far from the origin, with a deviation of its own for each visible unit."""
    rng = np.random.default_rng(seed)
    return GaussianRBM(
        rng.normal(size=(n_visible, n_hidden)) * scale, 5 * rng.normal(size=n_visible), rng.normal(size=n_hidden),
        rng.uniform(0.3, 2.0, n_visible),
    )  # fmt: skip


def grid(machine, n_points=301):
    """The points of a square that holds all of a machine of two visible units, row by row, and the area of each."""
    weights, bias, _, sigma = machine
    low, high = (bias + sigma * (side(weights, 0).sum(axis=1) + beyond) for side, beyond in ((np.minimum, -9), (np.maximum, 9)))
    axes = [np.linspace(*ends, n_points) for ends in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return points, math.prod(axis[1] - axis[0] for axis in axes)


class TestDensity:
    def test_energy_by_hand(self):
        machine = GaussianRBM(np.array([[2.0], [-1.0]]), np.array([1.0, 0.0]), np.array([0.5]), np.array([2.0, 1.0]))
        v, on, off = np.array([[5.0, 3.0]]), np.ones((1, 1)), np.zeros((1, 1))
        assert gaussian_rbm.energy(machine, v, off)[0] == 4**2 / 8 + 3**2 / 2
        assert gaussian_rbm.energy(machine, v, on)[0] == 4**2 / 8 + 3**2 / 2 - (2.5 * 2 - 3 * 1) - 0.5
        np.testing.assert_allclose(gaussian_rbm.hidden_logits(machine, v), [[2.5 * 2 - 3 + 0.5]])
        np.testing.assert_allclose(gaussian_rbm.visible_means(machine, on), [[1 + 2 * 2, -1]])

    def test_free_energy_sums_the_hidden_units_out(self):
        machine = toy(3, 4)
        v = machine.visible_bias + np.random.default_rng(1).normal(size=(5, 3)) * 2
        h = naive.all_states(4)
        for row, value in zip(v, gaussian_rbm.free_energy(machine, v), strict=True):
            energies = gaussian_rbm.energy(machine, np.repeat(row[None], len(h), axis=0), h)
            assert value == pytest.approx(-naive.log_sum_exp(-energies), rel=1e-12)

    @pytest.mark.parametrize("beta", [0.3, 1.0, 2.0])
    @pytest.mark.parametrize("seed", range(3))
    def test_log_partition_agrees_with_quadrature(self, seed, beta):
        machine = toy(seed=seed)
        points, area = grid(machine._replace(sigma=machine.sigma / math.sqrt(min(beta, 1))))
        h = naive.all_states(3)
        total = sum(np.exp(-beta * gaussian_rbm.energy(machine, points, np.tile(state, (len(points), 1)))).sum() for state in h)
        assert gaussian_rbm.log_partition(machine, beta) == pytest.approx(math.log(total * area), abs=1e-9)

    @pytest.mark.parametrize("seed", range(3))
    def test_the_density_integrates_to_one(self, seed):
        machine = toy(seed=seed)
        points, area = grid(machine)
        log_p = -gaussian_rbm.free_energy(machine, points) - gaussian_rbm.log_partition(machine)
        assert np.exp(log_p).sum() * area == pytest.approx(1, abs=1e-9)

    def test_log_partition_in_parts(self):
        """More hidden states than are taken at a time, against a product: units that see nothing."""
        machine = GaussianRBM(np.zeros((2, 15)), np.ones(2), np.linspace(-3, 3, 15), np.array([0.5, 2.0]))
        exact = math.log(2 * math.pi) + np.logaddexp(0, machine.hidden_bias).sum()
        assert gaussian_rbm.log_partition(machine) == pytest.approx(exact, rel=1e-12)

    def test_too_many_hidden_units(self):
        with pytest.raises(ValueError, match="at most 25"):
            gaussian_rbm.log_partition(toy(2, 26))


class TestPseudoLikelihood:
    @pytest.mark.parametrize("scale", [0.01, 1.0, 6.0])
    def test_agrees_with_quadrature(self, scale):
        machine = toy(3, 5, scale=scale)
        rng = np.random.default_rng(1)
        v = machine.visible_bias + machine.sigma * rng.normal(size=(4, 3)) * 3
        reach, exact = 9 + np.abs(machine.weights).sum(), np.zeros(4)
        for row, unit in np.ndindex(v.shape):
            t = machine.visible_bias[unit] + machine.sigma[unit] * np.linspace(-reach, reach, 20_001)
            rows = np.repeat(v[row : row + 1], len(t), axis=0)
            rows[:, unit] = t
            log_z = naive.log_sum_exp(-gaussian_rbm.free_energy(machine, rows)) + math.log(t[1] - t[0])
            exact[row] += -gaussian_rbm.free_energy(machine, v[row : row + 1])[0] - log_z
        np.testing.assert_allclose(gaussian_pseudo_likelihood(machine, v), exact, rtol=1e-6)

    def test_of_one_unit_it_is_the_likelihood(self):
        machine = toy(1, 6)
        v = machine.visible_bias + np.linspace(-5, 9, 40)[:, None]
        exact = -gaussian_rbm.free_energy(machine, v) - gaussian_rbm.log_partition(machine)
        np.testing.assert_allclose(gaussian_pseudo_likelihood(machine, v), exact, rtol=1e-6)

    @pytest.mark.parametrize("scale", [1.0, 30.0, 3000.0])
    def test_the_search_where_weights_are_large(self, scale, monkeypatch):
        """One unit's density is a mixture that is known exactly; with the search forced also where weights are small."""
        monkeypatch.setattr("fastbm.evaluation.gaussian_pseudo_likelihood.MOST_POINTS", 0)
        machine = toy(1, 6, scale=scale)
        h, _ = exact_hidden(machine)
        v = gaussian_rbm.visible_means(machine, h[::7]) + 0.5
        exact = -gaussian_rbm.free_energy(machine, v) - gaussian_rbm.log_partition(machine)
        np.testing.assert_allclose(gaussian_pseudo_likelihood(machine, v), exact, rtol=1e-6)

    def test_both_ways_agree(self, monkeypatch):
        machine = toy(5, 4, scale=3.0)
        v = machine.visible_bias + np.random.default_rng(1).normal(size=(6, 5)) * 3
        expected = gaussian_pseudo_likelihood(machine, v)
        for most in (0, float(np.median(np.abs(machine.weights).sum(axis=1))) + 14):
            monkeypatch.setattr("fastbm.evaluation.gaussian_pseudo_likelihood.MOST_POINTS", most)
            np.testing.assert_allclose(gaussian_pseudo_likelihood(machine, v), expected, rtol=1e-6)

    def test_rows_far_out_are_finite(self):
        machine = toy(3, 5)
        assert np.isfinite(gaussian_pseudo_likelihood(machine, np.full((2, 3), 1e6))).all()


def naive_chain(machine, x, hidden, *, start, stop, beta):
    """Block updates by the definition: float64 sums, the reference's words; the machine's origin is its visible bias."""
    weights, visible_bias, hidden_bias, sigma = machine
    rounded, exponent = chain.round_couplings(weights)
    c = hidden_bias + (visible_bias / sigma) @ weights
    chains = np.arange(len(x))
    for update in range(start, stop):
        if update % 2 == 0:
            words = chain.random_words(len(c), chains, update // 2, 0, KEY)
            hidden = chain.draw((beta[:, None] * (x @ weights + c)).astype(np.float32), words)
        else:
            words = chain.random_words(chain.padded(len(sigma)), chains, update // 2, 1, KEY)
            means = naive.pad((hidden @ rounded.T * 2.0**-exponent).astype(np.float32))
            x = chain.draw_normal(means, beta, words)[:, : len(sigma)].astype(np.float64)
    return x, hidden


class TestChain:
    @pytest.mark.parametrize("beta", ["one", "each"])
    @pytest.mark.parametrize("size", [(1, 1), (33, 17), (65, 130)])
    def test_is_that_of_the_definition(self, size, beta, n_threads):
        machine = toy(*size, scale=0.3)
        beta = ONE if beta == "one" else np.random.default_rng(0).uniform(0.2, 2, 9).astype(np.float32)
        exact = gaussian_rbm.rounded(machine)
        x = np.random.default_rng(1).normal(size=(9, size[0])).astype(np.float32)
        chains = gaussian_rbm.empty_chains(exact, 9)._replace(visible=x.copy())
        chains = gaussian_rbm.advance(exact, chains, 4, key=KEY, beta=beta)
        expected, hidden = naive_chain(machine, x.astype(np.float64), None, start=0, stop=4, beta=beta)
        np.testing.assert_array_equal(chain.unpack(chains.hidden, size[1], bool), hidden)
        np.testing.assert_allclose(chains.visible, expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.gpu
    @pytest.mark.parametrize("size", [(1, 1), (33, 17), (65, 130)])
    def test_is_the_same_on_a_gpu(self, gpu, size):
        machine = toy(*size, scale=0.3)
        results = []
        for put in (np.asarray, gpu.asarray):
            exact = gaussian_rbm.rounded(GaussianRBM(*map(put, machine)), put(np.full(size[1], 0.5)))
            chains = gaussian_rbm.empty_chains(exact, 9)
            chains = gaussian_rbm.advance(exact, chains, 6, key=KEY, beta=put(ONE))
            results.append([chains.hidden, gaussian_rbm.from_standard(exact, chains.visible)])
        np.testing.assert_array_equal(results[1][0].get(), results[0][0])
        np.testing.assert_allclose(results[1][1].get(), results[0][1], rtol=1e-5, atol=1e-5)

    def test_the_origin_changes_nothing(self):
        """Wherever x is counted from, v has the same distribution: the same words give the same v within rounding."""
        machine = toy(33, 17, scale=0.3)
        rows = machine.visible_bias + np.random.default_rng(0).normal(size=(9, 33))
        results = []
        for center in (None, np.random.default_rng(1).random(17)):
            exact = gaussian_rbm.rounded(machine, center)
            chains = gaussian_rbm.empty_chains(exact, 9)._replace(visible=gaussian_rbm.to_standard(exact, rows))
            chains = gaussian_rbm.advance(exact, chains, 4, key=KEY, beta=ONE)
            results.append(gaussian_rbm.from_standard(exact, chains.visible))
        np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-4)

    def test_tempered_couplings_leave_the_variance(self):
        """β of what is not x²/2 makes the machine whose weights and c are multiplied by it: at 0, normal numbers."""
        machine, beta = toy(33, 17, scale=0.3), np.float32([0.5])
        exact = gaussian_rbm.rounded(machine._replace(visible_bias=np.zeros(33)))
        half = gaussian_rbm.rounded(
            machine._replace(weights=machine.weights / 2, visible_bias=np.zeros(33), hidden_bias=machine.hidden_bias / 2)
        )
        some = gaussian_rbm.advance(exact, gaussian_rbm.empty_chains(exact, 9), 6, key=KEY, beta=beta, whole=False)
        others = gaussian_rbm.advance(half, gaussian_rbm.empty_chains(half, 9), 6, key=KEY, beta=ONE)
        np.testing.assert_array_equal(some.hidden, others.hidden)
        np.testing.assert_allclose(some.visible, others.visible, rtol=1e-5, atol=1e-6)

    def test_k_then_k_updates_are_2k(self):
        exact = gaussian_rbm.rounded(toy(33, 17, scale=0.3))
        once, twice = gaussian_rbm.empty_chains(exact, 5), gaussian_rbm.empty_chains(exact, 5)
        once = gaussian_rbm.advance(exact, once, 6, key=KEY, beta=ONE)
        for _ in range(2):
            twice = gaussian_rbm.advance(exact, twice, 3, key=KEY, beta=ONE)
        np.testing.assert_array_equal(once.visible, twice.visible)
        np.testing.assert_array_equal(once.hidden, twice.hidden)

    def test_clamped_units_stay(self):
        exact = gaussian_rbm.rounded(toy(33, 17, scale=0.3))
        free = np.arange(33) % 3 > 0
        chains = gaussian_rbm.empty_chains(exact, 5)
        chains.visible[:] = 7.0
        chains = gaussian_rbm.advance(exact, chains, 4, key=KEY, beta=ONE, visible_free=chain.pack(free[None]))
        assert (chains.visible[:, ~free] == 7.0).all()
        assert (chains.visible[:, free] != 7.0).all()


class TestConditionals:
    n = 40_000

    def test_visible_given_hidden(self):
        """v given one hidden state has mean a + σ W h and variance σ²/β: each is seen, not the mean of both."""
        machine, beta = toy(3, 4), 0.5
        exact, state = gaussian_rbm.rounded(machine), np.array([[1.0, 0, 1, 1]])
        chains = gaussian_rbm.empty_chains(exact, self.n)
        chains = chains._replace(hidden=np.repeat(chain.pack(state), self.n, axis=0), updates=1)
        chains = gaussian_rbm.advance(exact, chains, 1, key=KEY, beta=np.float32([beta]))
        v = gaussian_rbm.from_standard(exact, chains.visible)
        variance = machine.sigma**2 / beta
        error = np.sqrt(variance / self.n)
        assert (np.abs(v.mean(axis=0) - gaussian_rbm.visible_means(machine, state)[0]) < 4.5 * error).all()
        assert (np.abs(v.var(axis=0) / variance - 1) < 4.5 * math.sqrt(2 / self.n)).all()

    def test_hidden_given_visible(self):
        machine = toy(3, 4)
        exact, row = gaussian_rbm.rounded(machine), machine.visible_bias[None] + 0.3
        x = np.repeat(gaussian_rbm.to_standard(exact, row), self.n, axis=0)
        chains = gaussian_rbm.empty_chains(exact, self.n)._replace(visible=x)
        chains = gaussian_rbm.advance(exact, chains, 1, key=KEY, beta=ONE)
        p = 1 / (1 + np.exp(-gaussian_rbm.hidden_logits(machine, row)[0]))
        h = chain.unpack(chains.hidden, 4, float)
        assert (np.abs(h.mean(axis=0) - p) < 4.5 * np.sqrt(p * (1 - p) / self.n)).all()


def exact_hidden(machine):
    """p(h) of every hidden state, v integrated out."""
    weights, visible_bias, hidden_bias, sigma = machine
    h = naive.all_states(weights.shape[1])
    log_p = h @ (hidden_bias + (visible_bias / sigma) @ weights) + 0.5 * ((h @ weights.T) ** 2).sum(axis=1)
    return h, np.exp(log_p - naive.log_sum_exp(log_p))


def mixture_cdf(machine, unit, t):
    """P(v_unit < t): a normal distribution for each hidden state."""
    h, p = exact_hidden(machine)
    z = (t - gaussian_rbm.visible_means(machine, h)[:, unit]) / machine.sigma[unit]
    return p @ [0.5 * math.erfc(-each / math.sqrt(2)) for each in z]


class TestNoDrift:
    """Rung 4: chains drawn exactly from p still have p after some sweeps."""

    n = 20_000

    @pytest.fixture
    def machine(self):
        return toy(2, 3, scale=1.0)

    @pytest.mark.parametrize("n_sweeps", [1, 4, 16])
    def test_chains_drawn_from_p_stay_there(self, machine, n_sweeps):
        h, p = exact_hidden(machine)
        rng = np.random.default_rng(n_sweeps)
        states = h[rng.choice(len(h), self.n, p=p)]
        exact = gaussian_rbm.rounded(machine)
        v = gaussian_rbm.visible_means(machine, states) + machine.sigma * rng.normal(size=(self.n, 2))
        chains = gaussian_rbm.empty_chains(exact, self.n)._replace(visible=gaussian_rbm.to_standard(exact, v))
        chains = gaussian_rbm.advance(exact, chains, 2 * n_sweeps, key=KEY, beta=ONE)
        numbers = (chain.unpack(chains.hidden, 3, np.int64) @ [1, 2, 4]).astype(int)
        frequencies = np.bincount(numbers, minlength=8) / self.n
        floor = 0.5 * np.sqrt(2 * p * (1 - p) / (np.pi * self.n)).sum()  # the expected total variation of exact samples
        assert 0.5 * np.abs(frequencies - p).sum() < 4 * floor
        v = gaussian_rbm.from_standard(exact, chains.visible)
        for unit in range(2):  # √n times Kolmogorov's statistic exceeds 1.95 with probability 0.001
            some = np.sort(v[:, unit])[::100]
            cdf = np.array([mixture_cdf(machine, unit, t) for t in some])
            assert np.abs(cdf - np.arange(self.n)[::100] / self.n).max() * math.sqrt(self.n) < 1.95 + 100 / math.sqrt(self.n)

    def test_joint_moments(self, machine):
        """Means and covariances of v, after a start far from p."""
        h, p = exact_hidden(machine)
        means = gaussian_rbm.visible_means(machine, h)
        mean = p @ means
        covariance = np.diag(machine.sigma**2) + (means - mean).T @ (p[:, None] * (means - mean))
        exact = gaussian_rbm.rounded(machine)
        chains = gaussian_rbm.advance(exact, gaussian_rbm.empty_chains(exact, self.n), 400, key=KEY, beta=ONE)
        v = gaussian_rbm.from_standard(exact, chains.visible)
        error = np.sqrt(np.diag(covariance) / self.n)
        assert (np.abs(v.mean(axis=0) - mean) < 4.5 * error).all()
        products = (v - mean)[:, :, None] * (v - mean)[:, None, :]
        error = products.std(axis=0) / math.sqrt(self.n)
        assert (np.abs(products.mean(axis=0) - covariance) < 4.5 * error).all()


def test_a_machine_without_couplings_is_normal_numbers():
    machine = GaussianRBM(np.zeros((3, 2)), np.array([1.0, -2.0, 30.0]), np.zeros(2), np.array([0.1, 1.0, 10.0]))
    exact = gaussian_rbm.rounded(machine)
    chains = gaussian_rbm.advance(exact, gaussian_rbm.empty_chains(exact, 7), 2, key=KEY, beta=ONE)
    out, means = np.zeros((7, 3), np.float32), np.zeros((7, 64), np.float32)
    kernels.draw_normal(out, means, ONE, rbm.all_free(3), key=KEY, first_chain=0, update=1)
    np.testing.assert_array_equal(chains.visible, out)
    np.testing.assert_allclose(gaussian_rbm.from_standard(exact, out), machine.visible_bias + machine.sigma * out)
