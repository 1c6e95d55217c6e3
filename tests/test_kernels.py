"""Rung 2: every kernel equals its reference or naive twin, at odd sizes, tempered and clamped, for any number of threads."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import naive
import numpy as np
import pytest
from numba import set_num_threads

from fastbm import chain, device, kernels
from fastbm.kernels import threads_cpu

SIZES = [(1, 1), (1, 33), (33, 1), (33, 17), (64, 64), (65, 130), (200, 129)]
KEY = chain.stream_key(5, chain.Purpose.SAMPLING)


@pytest.fixture(params=[1, 2])
def n_threads(request, always_threads):
    """Run with one thread and with two, however small the work."""
    set_num_threads(request.param)
    yield request.param
    set_num_threads(threads_cpu.numba.config.NUMBA_NUM_THREADS)


def machine(n_visible, n_hidden, n_chains, *, scale=0.5, beta="one", clamp="none", seed=0):
    """Arguments of the gibbs kernel for a random machine, chains in random states, and the exponent."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(n_visible, n_hidden)) * scale
    visible, hidden = (chain.pack(rng.random((n_chains, n)) < 0.4) for n in (n_visible, n_hidden))
    arguments = naive.reference_arguments(weights, rng.normal(size=n_visible), rng.normal(size=n_hidden), visible, hidden)
    if beta == "each":
        arguments["beta"] = rng.uniform(0, 2, n_chains).astype(np.float32)
    if clamp != "none":
        rows = 1 if clamp == "one" else n_chains
        for side, n_units in (("visible_free", n_visible), ("hidden_free", n_hidden)):
            arguments[side] = chain.pack(rng.random((rows, n_units)) < 0.6)
    return arguments, arguments.pop("exponent")


def run(function, arguments, **numbers):
    """Run a gibbs function on copies; return visible and hidden states, and hidden means."""
    arguments = {name: array.copy() for name, array in arguments.items()}
    function(**arguments, **numbers)
    return arguments["visible"], arguments["hidden"], arguments["hidden_means"]


def assert_same_chain(arguments, **numbers):
    for got, expected in zip(run(kernels.gibbs, arguments, **numbers), run(chain.gibbs, arguments, **numbers), strict=True):
        np.testing.assert_array_equal(got, expected)


class TestGibbs:
    @pytest.mark.parametrize("clamp", ["none", "one", "each"])
    @pytest.mark.parametrize("beta", ["one", "each"])
    @pytest.mark.parametrize("n_chains", [1, 17])
    @pytest.mark.parametrize("size", SIZES)
    def test_equals_reference(self, size, n_chains, beta, clamp, n_threads):
        arguments, exponent = machine(*size, n_chains, beta=beta, clamp=clamp)
        assert_same_chain(arguments, exponent=exponent, key=KEY, first_chain=0, start=0, stop=7)

    @pytest.mark.parametrize(("start", "stop"), [(1, 2), (3, 8), (4, 4), (2**32 - 4, 2**32 + 3)])
    def test_any_position_in_the_stream(self, start, stop):
        arguments, exponent = machine(33, 17, 5)
        assert_same_chain(arguments, exponent=exponent, key=KEY, first_chain=1_000_000, start=start, stop=stop)

    @pytest.mark.parametrize("n_chains", [1, 1000])
    def test_digits_size(self, n_chains, n_threads):
        arguments, exponent = machine(784, 500, n_chains, scale=0.1)
        assert_same_chain(arguments, exponent=exponent, key=KEY, first_chain=0, start=0, stop=4)

    @pytest.mark.parametrize("scale", [0.0, 1e-6, 5.0, 300.0])
    def test_wild_weights(self, scale):
        arguments, exponent = machine(70, 90, 9, scale=scale)
        assert_same_chain(arguments, exponent=exponent, key=KEY, first_chain=0, start=0, stop=6)

    def test_wild_biases(self):
        arguments, exponent = machine(70, 90, 9)
        arguments["visible_bias"][:70] = np.resize(np.float32([-1e30, 1e30, -88, 88, 0]), 70)
        assert_same_chain(arguments, exponent=exponent, key=KEY, first_chain=0, start=0, stop=6)

    @pytest.mark.parametrize("on", [0, 1])
    def test_frozen_hot_and_dense_states(self, on):
        """Starts where all units are on or off, so that sums are begun again and taken back."""
        arguments, exponent = machine(130, 70, 6, scale=2.0)
        arguments["visible"] = chain.pack(np.full((6, 130), on))
        assert_same_chain(arguments, exponent=exponent, key=KEY, first_chain=0, start=0, stop=20)

    def test_all_units_clamped(self):
        arguments, exponent = machine(33, 17, 4)
        arguments["visible_free"] = np.zeros((1, 1), np.uint64)
        before = arguments["visible"].copy()
        after, *_ = run(kernels.gibbs, arguments, exponent=exponent, key=KEY, first_chain=0, start=0, stop=6)
        np.testing.assert_array_equal(after, before)


class TestHalves:
    @pytest.mark.parametrize("beta", ["one", "each"])
    @pytest.mark.parametrize("size", SIZES)
    def test_infer_and_draw(self, size, beta, n_threads):
        arguments, exponent = machine(*size, 17, beta=beta)
        states, couplings, bias = arguments["visible"], arguments["to_hidden"], arguments["hidden_bias"]
        logits, means = (np.empty((17, bias.size), np.float32) for _ in range(2))
        kernels.infer(states, couplings, bias, arguments["beta"], logits, means, exponent=exponent)
        inputs = chain.unpack(states, size[0], np.int64) @ couplings
        np.testing.assert_array_equal(logits, chain.logit(inputs.astype(np.int32), bias, arguments["beta"], exponent))
        np.testing.assert_array_equal(means, chain.mean(logits))

        drawn = arguments["hidden"].copy()
        kernels.draw(drawn, logits, arguments["hidden_free"], key=KEY, first_chain=3, update=10)
        words = chain.random_words(size[1], 3 + np.arange(17), 5, 0, KEY)
        np.testing.assert_array_equal(chain.unpack(drawn, size[1]), chain.draw(logits[:, : size[1]], words))

    def test_together_they_are_an_update(self):
        arguments, exponent = machine(65, 130, 17)
        _, hidden, means = run(kernels.gibbs, arguments, exponent=exponent, key=KEY, first_chain=2, start=6, stop=7)
        logits, inferred = (np.empty((17, arguments["hidden_bias"].size), np.float32) for _ in range(2))
        bias, beta = arguments["hidden_bias"], arguments["beta"]
        kernels.infer(arguments["visible"], arguments["to_hidden"], bias, beta, logits, inferred, exponent=exponent)
        kernels.draw(arguments["hidden"], logits, arguments["hidden_free"], key=KEY, first_chain=2, update=6)
        np.testing.assert_array_equal(arguments["hidden"], hidden)
        np.testing.assert_array_equal(inferred, means)


@pytest.mark.parametrize("n_rows", [1, 17, 130])
@pytest.mark.parametrize("size", SIZES)
def test_statistics_equal_the_naive_sum(size, n_rows, n_threads):
    rng = np.random.default_rng(1)
    rows = rng.random((n_rows, size[0])) < 0.3
    values = rng.random((n_rows, chain.padded(size[1])), dtype=np.float32)
    out, totals = rng.random(size, dtype=np.float32), rng.random(size[0], dtype=np.float32)
    expected, expected_totals = out.copy(), totals.copy()
    naive.statistics(rows, values, expected, expected_totals, weight=-1 / n_rows)
    kernels.statistics(chain.pack(rows), values, out, totals, weight=-1 / n_rows)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(totals, expected_totals)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [0.0, 1e-5, 0.1, 3.0, 500.0])
@pytest.mark.parametrize("size", SIZES)
def test_rounding_equals_reference(size, scale, dtype, n_threads):
    weights = (np.random.default_rng(2).normal(size=size) * scale).astype(dtype)
    rounded, expected = chain.round_couplings(weights)
    for guess in (None, expected, expected - 1, min(expected + 1, 24), 8, 24):
        to_hidden, to_visible, exponent = round_anew(weights, guess)
        assert exponent == expected
        np.testing.assert_array_equal(to_hidden[:, : size[1]], rounded)
        np.testing.assert_array_equal(to_visible[:, : size[0]], rounded.T)
        assert not to_hidden[:, size[1] :].any()
        assert not to_visible[:, size[0] :].any()


def round_anew(weights, guess):
    """Round into new arrays; return both and the exponent."""
    to_hidden = device.aligned_zeros((weights.shape[0], chain.padded(weights.shape[1])), np.int32)
    to_visible = device.aligned_zeros((weights.shape[1], chain.padded(weights.shape[0])), np.int32)
    return to_hidden, to_visible, kernels.round_couplings(weights, to_hidden, to_visible, guess=guess)


@pytest.mark.parametrize("value", [7.99999999, 8.0, 15.9999999, 16.0, 31.9])
def test_rounding_at_the_border_of_an_exponent(value):
    weights = np.array([[value]])
    expected = chain.round_couplings(weights)[1]
    assert all(round_anew(weights, guess)[2] == expected for guess in (None, *range(8, 25)))


@pytest.mark.parametrize("guess", [None, 8, 24])
@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (-np.inf, "infinity"), (6e5, "524288"), (1e300, "524288")])
def test_rounding_refuses(value, message, guess):
    weights = np.zeros((33, 17))
    weights[5, 16] = value
    with pytest.raises(ValueError, match=message):
        round_anew(weights, guess)


def test_zeros_are_aligned():
    for shape in ((1,), (3, 5), (784, 512)):
        array = device.aligned_zeros(shape, np.int32)
        assert array.shape == shape
        assert array.ctypes.data % 64 == 0
        assert array.flags.c_contiguous
        assert not array.any()


class TestThreads:
    def test_every_row_once(self, always_threads):
        seen = []
        threads_cpu.share_out(lambda first, last: seen.extend(range(first, last)), 101, 1.0)
        assert sorted(seen) == list(range(101))

    def test_an_error_in_a_thread_is_raised(self, always_threads):
        def fail(first, last):
            if first > 0:
                raise RuntimeError("broken run")

        with pytest.raises(RuntimeError, match="broken run"):
            threads_cpu.share_out(fail, 100, 1.0)

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="interrupting needs POSIX")
    def test_interrupted_calls_leave_the_threads_fit_for_work(self, always_threads):
        def slow(first, last):
            time.sleep(1e-4)

        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        interrupted = 0
        try:
            for moment in np.linspace(1e-4, 2e-3, 300):
                try:
                    signal.setitimer(signal.ITIMER_REAL, moment)
                    for _ in range(100):
                        threads_cpu.share_out(slow, 100, 1.0)
                except KeyboardInterrupt:
                    interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert interrupted == 300
        self.test_every_row_once(None)

    def test_small_work_stays_on_the_calling_thread(self):
        calls = []
        threads_cpu.share_out(lambda *run: calls.append(run), 100, 1.0)
        assert calls == [(0, 100)]


@pytest.mark.parametrize("n_rows", [1, 17])
@pytest.mark.parametrize("size", SIZES)
def test_grey_kernels_equal_the_naive_sums(size, n_rows, n_threads):
    rng = np.random.default_rng(3)
    rows = (rng.random((n_rows, size[0])) * (rng.random((n_rows, size[0])) < 0.7)).astype(np.float32)
    weights = rng.normal(size=size).astype(np.float32)
    bias = np.zeros(chain.padded(size[1]), np.float32)
    bias[: size[1]] = rng.normal(size=size[1])
    logits, means = (np.empty((n_rows, bias.size), np.float32) for _ in range(2))
    kernels.grey_infer(rows, weights, bias, logits, means)
    np.testing.assert_array_equal(means, chain.mean(logits))
    np.testing.assert_array_equal(logits[:, : size[1]], naive.ordered_product(rows, weights) + bias[: size[1]])
    assert not logits[:, size[1] :].any()

    out, totals = rng.random(size, dtype=np.float32), rng.random(size[0], dtype=np.float32)
    weight = np.float32(1 / n_rows)
    expected = out + weight * naive.ordered_product(rows.T, logits[:, : size[1]])
    expected_totals = totals + weight * naive.ordered_product(rows.T, np.ones((n_rows, 1), np.float32))[:, 0]
    kernels.grey_statistics(rows, logits, out, totals, weight=1 / n_rows)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(totals, expected_totals)


def test_kernels_compile_where_nothing_can_be_kept_on_disk():
    """As in a read-only container: numba finds no place for its cache."""
    script = (
        "import numba.core.caching as caching\n"
        "def refuse(self): raise OSError('read-only')\n"
        "for name in dir(caching):\n"
        "    if hasattr(getattr(caching, name), 'ensure_cache_path'):\n"
        "        getattr(caching, name).ensure_cache_path = refuse\n"
        "from fastbm.kernels import rounding_cpu\n"
        "import numpy as np\n"
        "assert type(rounding_cpu.run_largest_input._cache).__name__ == 'NullCache'\n"
        "assert rounding_cpu.run_largest_input(np.ones((2, 3))) == 3.0\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
