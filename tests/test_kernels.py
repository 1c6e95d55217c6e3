"""Rung 2: every kernel equals its reference or naive twin, at odd sizes, tempered and clamped, for any number of threads."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from threading import Thread, get_ident

import naive
import numba
import numpy as np
import pytest
from conftest import LOOKUPS

from fastbm import chain, device, kernels
from fastbm.kernels import ascent_cpu, draw_cpu, lookup_cpu, normal_cpu, simd_cpu, threads_cpu

SIZES = [(1, 1), (1, 33), (33, 1), (33, 17), (64, 64), (65, 130), (200, 129)]
DEEP = [(30, 20, 10), (190, 40, 250), (33, 65, 129, 17), (1, 2, 3, 4, 5)]
KEY = chain.stream_key(5, chain.Purpose.SAMPLING)


def assert_same_chain(arguments, exponent, way=None, **numbers):
    """Compare the kernel with the reference, and see that it went this way."""
    numbers = {"exponent": exponent, "key": KEY, "first_chain": 0} | numbers
    tables = {}
    expected = naive.run(chain.gibbs, arguments, **numbers)
    np.testing.assert_equal(naive.run(kernels.gibbs, arguments, tables=tables, **numbers), expected)
    assert way is None or tables.keys() - {"flipping"} == ({way} if way in LOOKUPS else set())


@cache
def known(sizes, n_chains, beta, clamp, **numbers):
    """Arguments for a random machine, numbers, and the reference's answer, worked out once for all ways to sweep."""
    arguments, exponent = naive.random_arguments(sizes, n_chains, beta=beta, clamp=clamp)
    numbers = {"exponent": exponent, "key": KEY, **numbers}
    return arguments, numbers, naive.run(chain.gibbs, arguments, **numbers)


class TestGibbs:
    @pytest.mark.parametrize("clamp", ["none", "one", "each"])
    @pytest.mark.parametrize("beta", ["one", "each"])
    @pytest.mark.parametrize("n_chains", [1, 17, 100])
    @pytest.mark.parametrize("size", SIZES)
    def test_equals_reference(self, size, n_chains, beta, clamp, way, n_threads):
        arguments, numbers, expected = known(size, n_chains, beta, clamp, first_chain=0, start=0, stop=7)
        np.testing.assert_equal(naive.run(kernels.gibbs, arguments, tables={}, **numbers), expected)

    @pytest.mark.parametrize("clamp", ["none", "one", "each"])
    @pytest.mark.parametrize("n_chains", [1, 70])
    @pytest.mark.parametrize("sizes", DEEP)
    def test_chains_of_layers(self, sizes, n_chains, clamp, way, n_threads):
        arguments, numbers, expected = known(sizes, n_chains, "each", clamp, first_chain=9, start=1, stop=8)
        np.testing.assert_equal(naive.run(kernels.gibbs, arguments, tables={}, **numbers), expected)

    @pytest.mark.parametrize(("start", "stop"), [(1, 2), (3, 8), (4, 4), (2**32 - 4, 2**32 + 3)])
    def test_any_position_in_the_stream(self, start, stop, way):
        assert_same_chain(*naive.random_arguments((33, 17), 5), way, first_chain=1_000_000, start=start, stop=stop)

    def test_the_last_chain(self, way):
        """Numbers of chains are 32 bits."""
        assert_same_chain(*naive.random_arguments((33, 17), 50), way, first_chain=2**32 - 50, start=0, stop=4)

    @pytest.mark.parametrize("n_chains", [1, 1000])
    def test_digits_size(self, n_chains, n_threads):
        """With the way that the cost model chooses."""
        assert_same_chain(*naive.random_arguments((784, 500), n_chains, scale=0.1), start=0, stop=4)

    @pytest.mark.parametrize("scale", [0.0, 1e-6, 5.0, 300.0])
    def test_wild_weights(self, scale, way):
        assert_same_chain(*naive.random_arguments((70, 90), 9, scale=scale), way, start=0, stop=6)

    @pytest.mark.parametrize("beta", [0.0, 1.0, 1e6])
    @pytest.mark.parametrize("largest", [88, 1e30, 3e38])
    def test_wild_biases(self, largest, beta, way):
        arguments, exponent = naive.random_arguments((70, 90), 9)
        arguments["biases"][0][:70] = np.resize(np.float32([-largest, largest, -88, 88, 0]), 70)
        arguments["beta"] = np.float32([beta])
        with np.errstate(over="ignore"):
            assert_same_chain(arguments, exponent, way, start=0, stop=6)

    def test_wild_biases_of_chains_at_beta_0_beside_others(self, way):
        arguments, exponent = naive.random_arguments((70, 90), 9)
        arguments["biases"][0][:70] = np.resize(np.float32([-3e38, 3e38, 0]), 70)
        arguments["beta"] = np.float32([0, 1, 0, 1, 0, 1, 0, 1e-30, 1e-38])
        assert_same_chain(arguments, exponent, way, start=0, stop=6)

    @pytest.mark.parametrize("on", [0, 1])
    def test_frozen_hot_and_dense_states(self, on, way):
        """Starts where all units are on or off, so that sums are begun again and taken back."""
        arguments, exponent = naive.random_arguments((130, 70), 6, scale=2.0)
        arguments["layers"] = (chain.pack(np.full((6, 130), on)), arguments["layers"][1])
        assert_same_chain(arguments, exponent, way, start=0, stop=20)

    @pytest.mark.parametrize("layer", [0, 1, 2])
    def test_all_units_clamped(self, layer, way):
        arguments, exponent = naive.random_arguments((33, 17, 70), 40)
        arguments["free"] = tuple(free * (number != layer) for number, free in enumerate(arguments["free"]))
        numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": 0, "stop": 6}
        after = naive.run(kernels.gibbs, arguments, tables={}, **numbers)
        np.testing.assert_array_equal(after[layer], arguments["layers"][layer])
        np.testing.assert_equal(after, naive.run(chain.gibbs, arguments, **numbers))

    def test_k_then_k_updates_are_2k(self, way):
        arguments, exponent = naive.random_arguments((65, 130, 33), 40)
        numbers = {"exponent": exponent, "key": KEY, "first_chain": 0}
        expected, tables = naive.run(kernels.gibbs, arguments, tables={}, start=0, stop=10, **numbers), {}
        for start, stop in ((0, 3), (3, 4), (4, 10)):
            arguments["layers"] = naive.run(kernels.gibbs, arguments, tables=tables, start=start, stop=stop, **numbers)
        np.testing.assert_equal(arguments["layers"], expected)


class TestHalves:
    @pytest.mark.parametrize("beta", ["one", "each"])
    @pytest.mark.parametrize("size", SIZES)
    def test_infer_and_draw(self, size, beta, n_threads):
        arguments, exponent = naive.random_arguments(size, 17, beta=beta)
        states, couplings, bias = arguments["layers"][0], arguments["up"][0], arguments["biases"][1]
        logits, means = (np.empty((17, bias.size), np.float32) for _ in range(2))
        kernels.infer(states, couplings, bias, arguments["beta"], logits, means, exponent=exponent)
        inputs = chain.unpack(states, size[0], np.int64) @ couplings
        np.testing.assert_array_equal(logits, chain.logit(inputs.astype(np.int32), bias, arguments["beta"], exponent))
        np.testing.assert_array_equal(means, chain.mean(logits))

        drawn = arguments["layers"][1].copy()
        kernels.draw(drawn, logits, arguments["free"][1], key=KEY, first_chain=3, update=10)
        words = chain.random_words(size[1], 3 + np.arange(17), 5, 0, KEY)
        np.testing.assert_array_equal(chain.unpack(drawn, size[1]), chain.draw(logits[:, : size[1]], words))

    def test_together_they_are_an_update(self):
        arguments, exponent = naive.random_arguments((65, 130), 17)
        numbers = {"exponent": exponent, "key": KEY, "first_chain": 2}
        _, expected = naive.run(kernels.gibbs, arguments, tables={}, start=6, stop=7, **numbers)
        (visible, hidden), bias, beta = arguments["layers"], arguments["biases"][1], arguments["beta"]
        logits, means = (np.empty((17, bias.size), np.float32) for _ in range(2))
        kernels.infer(visible, arguments["up"][0], bias, beta, logits, means, exponent=exponent)
        kernels.draw(hidden, logits, arguments["free"][1], key=KEY, first_chain=2, update=6)
        np.testing.assert_array_equal(hidden, expected)
        np.testing.assert_array_equal(means, chain.mean(logits))

    def test_means_may_be_wider(self):
        arguments, exponent = naive.random_arguments((65, 130), 17)
        bias = arguments["biases"][1]
        logits, means, wider = (np.full((17, bias.size + more), -1, np.float32) for more in (0, 0, 16))
        for out in (means, wider):
            kernels.infer(arguments["layers"][0], arguments["up"][0], bias, arguments["beta"], logits, out, exponent=exponent)
        np.testing.assert_array_equal(wider[:, : bias.size], means)
        assert (wider[:, bias.size :] == -1).all()


class TestPack:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n_rows", [1, 17])
    @pytest.mark.parametrize("n_units", [1, 33, 63, 64, 65, 784])
    def test_equals_reference(self, n_units, n_rows, dtype, n_threads):
        rows = (np.random.default_rng(0).random((n_rows, n_units)) < 0.5).astype(dtype)
        out = np.full((n_rows, chain.padded(n_units) // 64), ~np.uint64(0))
        assert kernels.pack(rows, out) is True
        np.testing.assert_array_equal(out, chain.pack(rows))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("value", [0.5, -1.0, 2.0, np.nan, np.inf, -np.inf, 1e-40, np.float32(1) - np.float32(2**-24)])
    def test_says_where_others_than_0_and_1_are(self, value, dtype, n_threads):
        for place in np.ndindex(5, 70):
            rows = np.zeros((5, 70), dtype)
            rows[::2] = 1
            rows[place] = value
            out = np.empty((5, 2), np.uint64)
            assert kernels.pack(rows, out) is False
        np.testing.assert_array_equal(out, chain.pack(rows))

    def test_minus_zero_is_off(self):
        rows, out = np.array([[-0.0, 1.0, 0.0]]), np.empty((1, 1), np.uint64)
        assert kernels.pack(rows, out) is True
        np.testing.assert_array_equal(out, chain.pack(rows))
        assert out[0, 0] == 2


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

    @pytest.mark.parametrize("run", [1, 32, 100, 101, 1000])
    def test_no_run_is_longer_than_asked(self, run, n_threads):
        calls = []
        threads_cpu.share_out(lambda *call: calls.append(call), 101, 1.0, "argument", run=run)
        assert sorted(calls) == [(first, min(first + run, 101), "argument") for first in range(0, 101, run)]

    def test_runs_are_kept_to_where_the_work_is_too_small_for_threads(self):
        calls = []
        threads_cpu.share_out(lambda *call: calls.append((*call, get_ident())), 101, 1.0, run=40)
        assert calls == [(first, last, get_ident()) for first, last in ((0, 40), (40, 80), (80, 101))]

    def test_no_rows(self, n_threads):
        calls = []
        for run in (None, 10):
            threads_cpu.share_out(lambda *call: calls.append(call), 0, 1.0, run=run)
        assert all(first == last for first, last in calls)

    def test_no_more_threads_than_runs(self, always_threads):
        """One run is for the calling thread: none is woken."""
        seen = []
        threads_cpu.share_out(lambda first, last: seen.append(get_ident()), 50, 1e9, run=64)
        assert seen == [get_ident()]

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

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="interrupting needs POSIX")
    def test_interrupted_calls_leave_no_lock_of_numba_held(self):
        threads_cpu.n_threads()
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            for moment in np.linspace(2e-5, 4e-4, 300):
                with suppress(KeyboardInterrupt):
                    signal.setitimer(signal.ITIMER_REAL, moment)
                    while True:
                        threads_cpu.n_threads()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        another = Thread(target=numba.get_num_threads, daemon=True)
        another.start()
        another.join(10)
        assert not another.is_alive()

    def test_without_threads_the_caller_does_all_and_nothing_is_left_behind(self, always_threads, monkeypatch):
        def refuse(self):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threads_cpu, "_tasks", None)
        monkeypatch.setattr(threads_cpu.Thread, "start", refuse)
        self.test_every_row_once(None)
        assert threads_cpu._tasks is None

    def test_small_work_stays_on_the_calling_thread(self):
        calls = []
        threads_cpu.share_out(lambda *run: calls.append(run), 100, 1.0)
        assert calls == [(0, 100)]


@pytest.mark.parametrize("density", [0.1, 1.0, "each"])
@pytest.mark.parametrize("n_rows", [1, 4, 17, 100])
@pytest.mark.parametrize("size", [*SIZES, (17, 400), (17, 320)])
def test_grey_kernels_equal_the_naive_sums(size, n_rows, density, n_threads):
    """Rows with few numbers that are not 0, with many, and of both kinds."""
    rng = np.random.default_rng(3)
    part = rng.random((n_rows, 1)) if density == "each" else density
    rows = (rng.normal(size=(n_rows, size[0])) * (rng.random((n_rows, size[0])) < part)).astype(np.float32)
    weights = rng.normal(size=size).astype(np.float32)
    bias = np.zeros(chain.padded(size[1]), np.float32)
    bias[: size[1]] = rng.normal(size=size[1])
    logits, means = (np.empty((n_rows, bias.size), np.float32) for _ in range(2))
    kernels.grey_infer(rows, weights, bias, logits, means)
    np.testing.assert_array_equal(means, chain.mean(logits))
    np.testing.assert_array_equal(logits[:, : size[1]], naive.product(rows, weights) + bias[: size[1]])
    assert not logits[:, size[1] :].any()

    wider = np.full((n_rows, bias.size + 16), -1, np.float32)
    kernels.grey_infer(rows, weights, bias, wider, wider)
    np.testing.assert_array_equal(wider[:, : bias.size], means)
    assert (wider[:, bias.size :] == -1).all()


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


class TestVectors:
    """The compiler once left sampling loops scalar without a word, which cost a fifth of the speed."""

    FLOATS, INTEGERS = r"v?mulps\s.*%[yz]mm", r"vpmuludq\s.*%[yz]mm"

    @staticmethod
    def arguments(name):
        logits, states, words = np.zeros(64, np.float32), np.zeros(64, np.uint8), np.zeros((4, 64), np.uint32)
        one, keys = np.float32(1), (np.uint32(1), np.uint32(2))
        return {
            "write_words": (words, 0, 0, 0, 0, *keys), "fill_random_words": (words[0], 0, 0, 0, *keys),
            "draw": (states, logits, words[0]), "write_means": (logits, logits),
            "write_logits": (logits, np.zeros(64, np.int32), logits, one, one),
            "step": (logits, logits, one, np.zeros(64, np.int32), words[0], one), "transform": (logits, words[0]),
        }[name]  # fmt: skip

    @pytest.mark.parametrize(
        ("module", "name", "instruction"),
        [
            (lookup_cpu, "write_words", INTEGERS), (draw_cpu, "fill_random_words", INTEGERS), (draw_cpu, "draw", FLOATS),
            (draw_cpu, "write_means", FLOATS), (draw_cpu, "write_logits", FLOATS), (ascent_cpu, "step", FLOATS),
            (normal_cpu, "transform", FLOATS),
        ],
    )  # fmt: skip
    def test_hot_loops_are_vectorised(self, module, name, instruction):
        if "avx2" not in simd_cpu.levels_here():
            pytest.skip("no AVX2: other instructions than are looked for")
        function = getattr(module, name)
        function(*self.arguments(name))
        assembly = next(iter(function.inspect_asm().values()))
        assert len(re.findall(instruction, assembly)) >= 4
