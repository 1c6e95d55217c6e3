"""Normal numbers: the reference against exact distributions, and the kernels against the reference, bit for bit."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest

from fastbm import chain, kernels

KEY = chain.stream_key(5, chain.Purpose.SAMPLING)
SIZES = [1, 2, 33, 64, 65, 130]


def case(n_units, n_chains, *, beta="one", clamp="none"):
    """Values, means, inverse temperatures and free units of real units in random states."""
    rng = np.random.default_rng(0)
    values, means = (rng.normal(size=(n_chains, n_units)).astype(np.float32) for _ in range(2))
    betas = np.ones(1, np.float32) if beta == "one" else rng.uniform(0.1, 2, n_chains).astype(np.float32)
    rows = n_chains if clamp == "each" else 1
    free = rng.random((rows, n_units)) < (1.1 if clamp == "none" else 0.6)
    return values, naive.pad(means), betas, chain.pack(free)


def expected(values, means, beta, free, first_chain, update):
    n_chains, n_units = values.shape
    words = chain.random_words(means.shape[1], first_chain + np.arange(n_chains), update // 2, update % 2, KEY)
    drawn = chain.draw_normal(means, beta, words)[:, :n_units]
    return np.where(chain.unpack(free, n_units, bool), drawn, values)


@pytest.mark.parametrize("clamp", ["none", "one", "each"])
@pytest.mark.parametrize("beta", ["one", "each"])
@pytest.mark.parametrize("n_chains", [1, 17])
@pytest.mark.parametrize("n_units", SIZES)
def test_kernel_equals_reference(n_units, n_chains, beta, clamp, n_threads):
    values, *rest = case(n_units, n_chains, beta=beta, clamp=clamp)
    got = values.copy()
    kernels.draw_normal(got, *rest, key=KEY, first_chain=5, update=7)
    np.testing.assert_array_equal(got, expected(values, *rest, 5, 7))


@pytest.mark.gpu
@pytest.mark.parametrize("clamp", ["none", "each"])
@pytest.mark.parametrize("beta", ["one", "each"])
@pytest.mark.parametrize("n_units", SIZES)
def test_gpu_kernel_equals_reference(gpu, n_units, beta, clamp):
    values, *rest = case(n_units, 17, beta=beta, clamp=clamp)
    got = gpu.asarray(values.copy())
    kernels.draw_normal(got, *map(gpu.asarray, rest), key=KEY, first_chain=2**32 - 3, update=2**33 - 1)
    np.testing.assert_array_equal(got.get(), expected(values, *rest, 2**32 - 3, 2**33 - 1))


def test_extreme_words():
    """Words at both ends and around every border of the transform, from the kernel as from the reference."""
    from fastbm.kernels import normal_cpu

    ends = np.array([0, 1, 2**29, 2**30, 2**31, 2**31 + 2**29, 2**32 - 1, 1257966796, 2**32 - 1257966796], np.int64)
    some = np.unique(np.clip(ends[:, None] + np.arange(-3, 4), 0, 2**32 - 1)).astype(np.uint32)
    words = np.stack(np.meshgrid(some, some), axis=-1).reshape(1, -1)
    got = np.empty(words.size, np.float32)
    normal_cpu.transform(got, words[0])
    np.testing.assert_array_equal(got, chain.normals(words)[0])
    assert np.isfinite(got).all()
    assert 6.6 < np.abs(got).max() < 6.7


def test_they_are_what_box_and_muller_say():
    """Against the same formula in float64, for words from everywhere."""
    words = chain.random_words(200_000, np.array([0]), 0, 0, KEY)
    distance = ((words & 0x7FFFFFFF) | 1) * 2.0**-32
    log_u = np.where(words >> 31, np.log1p(-distance), np.log(distance))
    np.testing.assert_allclose(chain.log_uniform(words), log_u, rtol=3e-7)
    radius, angle = np.sqrt(-2 * log_u[:, ::2]), 2 * np.pi * words[:, 1::2] / 2**32
    exact = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(1, -1)
    np.testing.assert_allclose(chain.normals(words), exact, atol=1e-6)


@pytest.fixture(scope="module")
def z():
    """A million numbers."""
    return chain.normals(chain.random_words(1000, np.arange(1000), 3, 1, KEY)).astype(np.float64)


class TestDistribution:
    n = 1_000_000

    def test_moments(self, z):
        """The k-th moment is 0 or (k - 1)!!, and its variance the difference of moments 2k and k squared."""
        double_factorial = {0: 1, 2: 1, 4: 3, 6: 15, 8: 105, 10: 945, 12: 10395}
        for k in range(1, 7):
            exact = double_factorial.get(k, 0)
            error = math.sqrt((double_factorial[2 * k] - exact**2) / self.n)
            assert abs((z**k).mean() - exact) < 4.5 * error, k

    def test_kolmogorov_smirnov(self, z):
        """The statistic times √n exceeds 1.95 with probability 0.001."""
        x = np.sort(z.ravel())
        cdf = 0.5 * np.array([math.erfc(-each / math.sqrt(2)) for each in x[::20]])
        assert np.abs(cdf - np.arange(self.n)[::20] / self.n).max() * math.sqrt(self.n) < 1.95

    @pytest.mark.parametrize("threshold", [2.0, 3.0, 4.0])
    def test_tails(self, z, threshold):
        p = math.erfc(threshold / math.sqrt(2)) / 2
        for side in (z > threshold, z < -threshold):
            assert abs(side.sum() - self.n * p) < 4.5 * math.sqrt(self.n * p)

    def test_units_and_chains_are_independent(self, z):
        """Correlations, also of magnitudes, of neighbours in a pair, a group, and between chains: each has error 1 / √n."""
        for values in (z, np.abs(z) - math.sqrt(2 / math.pi), z**2 - 1):
            scale = (values**2).mean()
            for lag in (1, 2, 3, 4):
                assert abs((values[:, lag:] * values[:, :-lag]).mean() / scale) < 5 / math.sqrt(self.n)
            assert abs((values[1:] * values[:-1]).mean() / scale) < 5 / math.sqrt(self.n)


def test_variance_is_one_by_beta():
    values, means = np.zeros((20_000, 4), np.float32), np.zeros((20_000, 64), np.float32)
    for beta in (0.25, 4.0):
        kernels.draw_normal(values, means, np.float32([beta]), chain.pack(np.ones((1, 4))), key=KEY, first_chain=0, update=1)
        assert abs(values.var() * beta - 1) < 4.5 * math.sqrt(2 / values.size)


def test_a_row_does_not_depend_on_the_others():
    values, means, beta, free = case(33, 17)
    alone, together = values[3:4].copy(), values.copy()
    kernels.draw_normal(together, means, beta, free, key=KEY, first_chain=0, update=3)
    kernels.draw_normal(alone, means[3:4], beta, free, key=KEY, first_chain=3, update=3)
    np.testing.assert_array_equal(alone[0], together[3])
