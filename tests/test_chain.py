"""Rung 1: known answers of the chain's parts, and the reference itself against exact probabilities."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest

from fastbm import chain
from fastbm.kernels import draw_cpu


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    words = chain.philox(*counter, *key)
    assert " ".join(f"{int(word):08x}" for word in words) == expected


def test_random_word_of_a_unit_is_word_unit_mod_4_of_counter_unit_div_4():
    words = chain.random_words(10, np.array([7, 8]), 5, 1, (3, 4))
    assert words.shape == (2, 10)
    for unit in range(10):
        assert words[1, unit] == chain.philox(unit // 4, 8, 5, 1, 3, 4)[unit % 4]


def test_streams_of_purposes_and_seeds_differ():
    keys = {tuple(map(int, chain.stream_key(seed, purpose))) for seed in range(20) for purpose in chain.Purpose}
    assert len(keys) == 20 * len(chain.Purpose)
    assert chain.stream_key(3, chain.Purpose.TRAINING) == chain.stream_key(3, chain.Purpose.TRAINING)


@pytest.mark.parametrize("n_units", [1, 33, 63, 64, 65, 784])
def test_pack_and_unpack(n_units):
    rows = np.random.default_rng(0).random((5, n_units)) < 0.5
    states = chain.pack(rows)
    assert states.shape == (5, chain.padded(n_units) // 64)
    assert states.dtype == np.uint64
    np.testing.assert_array_equal(chain.unpack(states, n_units), rows)
    assert sum(int(word).bit_count() for word in states.ravel()) == rows.sum()  # padding is 0
    for unit in range(n_units):
        assert (int(states[2, unit // 64]) >> (unit % 64)) & 1 == rows[2, unit]


def test_exp_negative_is_exp():
    x = np.linspace(-87, 0, 200_001, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    relative = np.abs(chain.exp_negative(x) / exact - 1)
    assert relative.max() < 1e-7
    assert chain.exp_negative(np.float32([0.0]))[0] == 1.0


class TestRounding:
    def test_exponent_is_the_largest_that_fits(self):
        rng = np.random.default_rng(1)
        for scale in (1e-6, 0.01, 1.0, 30.0, 1000.0):
            weights = rng.normal(size=(40, 30)) * scale
            rounded, exponent = chain.round_couplings(weights)
            np.testing.assert_array_equal(rounded, np.rint(weights * 2.0**exponent))
            assert chain.largest_input(rounded) < 2**27
            assert exponent == 24 or chain.largest_input(np.rint(weights * 2.0 ** (exponent + 1))) >= 2**27
            assert np.abs(rounded / 2.0**exponent - weights).max() <= 2.0 ** (-exponent - 1)

    @pytest.mark.parametrize("value", [7.99999999, 8.0, 16.0, 15.9999999])
    def test_exponent_at_the_border(self, value):
        weights = np.array([[value]])
        _, exponent = chain.round_couplings(weights)
        fits = [q for q in range(25) if abs(round(value * 2.0**q)) < 2**27]
        assert exponent == max(fits)

    def test_no_couplings(self):
        rounded, exponent = chain.round_couplings(np.zeros((3, 2)))
        assert exponent == 24
        assert not rounded.any()

    def test_float32_and_float64_round_alike(self):
        weights = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
        single, double = chain.round_couplings(weights), chain.round_couplings(weights.astype(np.float64))
        np.testing.assert_array_equal(single[0], double[0])
        assert single[1] == double[1]

    @pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinity"), (6e5, "524288"), (1e300, "524288")])
    def test_errors(self, value, message):
        weights = np.zeros((3, 2))
        weights[1, 1] = value
        with pytest.raises(ValueError, match=message):
            chain.round_couplings(weights)


class TestDraw:
    def test_frequency_is_the_logistic_function(self):
        n = 200_000
        words = chain.random_words(n, np.array([0]), 0, 0, (1, 2))
        for logit in (-6.0, -1.3, 0.0, 0.4, 5.0):
            p = 1 / (1 + math.exp(-logit))
            frequency = chain.draw(np.full((1, n), logit, np.float32), words).mean()
            assert abs(frequency - p) < 5 * math.sqrt(p * (1 - p) / n)

    def test_tails_keep_relative_precision(self):
        for logit in (-15.0, -20.0):
            p = 1 / (1 + math.exp(-logit))
            just_below = np.uint32(int(p * 2**32 * 0.9))
            just_above = np.uint32(int(p * 2**32 * 1.1) + 2)
            x = np.float32([[logit, logit, -logit, -logit]])
            words = np.array([[just_below, just_above, 0x80000000 | just_below, 0x80000000 | just_above]], np.uint32)
            np.testing.assert_array_equal(chain.draw(x, words), [[True, False, False, True]])

    def test_logits_that_a_gpu_would_flush_count_as_zero(self):
        words = np.array([[0x7FFFFFFF, 0x7FFFFFC0, 0x80000000, 0xFFFFFFFF, 0xFFFFFFC0, 5, 0]], np.uint32)
        zero = chain.draw(np.zeros(words.shape, np.float32), words)
        smallest = np.float32(2.0**-126)
        for logit in (np.float32(1e-40), np.nextafter(smallest, np.float32(0)), np.float32(-1e-40)):
            np.testing.assert_array_equal(chain.draw(np.full(words.shape, logit), words), zero)
            on, logits = np.zeros(7, np.uint8), np.full(7, logit)
            draw_cpu.draw(on, logits, words[0])
            np.testing.assert_array_equal(on, zero[0])
        assert (chain.draw(np.full(words.shape, smallest), words) != zero).any()  # so there was something to see

    def test_monotone_in_the_logit(self):
        rng = np.random.default_rng(0)
        words = rng.integers(0, 2**32, (1, 500), dtype=np.uint32)
        logits = np.sort(rng.normal(0, 4, 400).astype(np.float32))
        states = np.concatenate([chain.draw(np.full((1, 500), x), words) for x in logits])
        assert (np.diff(states.astype(int), axis=0) >= 0).all()

    @pytest.mark.parametrize("word", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
    def test_extreme_logits(self, word):
        x = np.float32([[-1e30, -1e4, 1e4, 1e30]])
        np.testing.assert_array_equal(chain.draw(x, np.full((1, 4), word, np.uint32)), [[False, False, True, True]])

    def test_beta_zero_is_a_fair_coin(self):
        inputs = np.array([[5_000_000, -5_000_000]], np.int32)
        x = chain.logit(inputs, np.float32([3.0, -4.0]), np.zeros(1, np.float32), 20)
        np.testing.assert_array_equal(x, [[0.0, 0.0]])


def test_one_sweep_by_hand():
    """Two visible units, one hidden unit, every number worked out by the definition."""
    weights, key = np.array([[1.5], [-0.75]]), chain.stream_key(11, chain.Purpose.SAMPLING)
    visible, hidden = chain.pack([[1, 1]]), chain.pack([[0]])
    arguments, exponent = naive.reference_arguments([weights], [[0.5, -0.25], [0.25]], [visible, hidden])
    chain.gibbs(**arguments, exponent=exponent, key=key, first_chain=3, start=8, stop=10)

    def uniform(unit, block):
        word = int(chain.philox(unit // 4, 3, 4, block, *key)[unit % 4])
        return 1 - ((word & 0x7FFFFFFF) | 1) / 2**32 if word >> 31 else (word | 1) / 2**32

    h = uniform(0, 0) < 1 / (1 + math.exp(-(0.25 + 1.5 - 0.75)))
    v = [uniform(i, 1) < 1 / (1 + math.exp(-(bias + w * h))) for i, (bias, w) in enumerate([(0.5, 1.5), (-0.25, -0.75)])]
    assert chain.unpack(hidden, 1)[0, 0] == h
    np.testing.assert_array_equal(chain.unpack(visible, 2)[0], v)
