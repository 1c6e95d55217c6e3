"""Real units: normal numbers by the transform of Box and Muller, two from two random words, as in ``fastbm.chain``."""

import numpy as np
from numba import float32, int32, njit, uint32, uint64

from fastbm import chain
from fastbm.kernels.bits_cpu import bits_to_float, float_to_bits
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import fill_random_words
from fastbm.kernels.threads_cpu import share_out

LN2_HIGH, LN2_LOW, ONE, ULP = chain.LN2_HIGH, chain.LN2_LOW, chain.ONE, chain.ULP
L0, L1, L2, L3, L4, L5, L6, L7, L8 = chain.LOG_COEFFICIENTS
S0, S1, S2 = chain.SIN_COEFFICIENTS
C0, C1, C2 = chain.COS_COEFFICIENTS
TURN, HALF, MINUS_TWO, HALF_ROOT = chain.TURN, np.float32(0.5), np.float32(-2.0), np.int32(chain.HALF_ROOT)
COST_OF_A_NORMAL = 6.0
"""Rough nanoseconds to draw a real unit."""


def draw_normal(values, means, beta, free, *, key, first_chain, update):
    cost = COST_OF_A_NORMAL * means.shape[1]
    sweep, block = divmod(update, 2)
    share_out(
        run_draw_normal, values.shape[0], cost, values, means, beta, free, key[0], key[1], first_chain, sweep, block
    )  # fmt: skip


@kernel
def run_draw_normal(first, last, values, means, beta, free, key0, key1, first_chain, sweep, block):
    width = means.shape[1]
    words, normals = np.empty(width, np.uint32), np.empty(width, np.float32)
    for row in range(first, last):
        fill_random_words(words, first_chain + row, sweep, block, key0, key1)
        transform(normals, words)
        store_values(values[row], means[row], normals, deviation_of(beta[row % beta.size]), free[row % free.shape[0]])


@njit(error_model="numpy")
def deviation_of(beta):
    return ONE / np.sqrt(beta)


@njit
def transform(normals, words):
    """Write a standard normal number for each word."""
    for pair in range(words.size // 2):
        radius = np.sqrt(MINUS_TWO * log_uniform(words[2 * pair]))
        cosine, sine = point_at(words[2 * pair + 1])
        normals[2 * pair] = radius * cosine
        normals[2 * pair + 1] = radius * sine


@njit(forceinline=True)
def log_uniform(word):
    above = int32(word >> uint32(31))
    distance = float32(int32((word & uint32(0x7FFFFFFF)) | uint32(1))) * ULP
    bits = float_to_bits(ONE - distance if above else distance)
    power = int32(int32(bits - HALF_ROOT) >> int32(23))
    t = bits_to_float(int32(bits - int32(power << int32(23)))) - ONE
    t = -distance if above & int32(power == 0) else t
    n, square = float32(power), t * t
    y = L0 * t + L1
    y = y * t + L2
    y = y * t + L3
    y = y * t + L4
    y = y * t + L5
    y = y * t + L6
    y = y * t + L7
    y = y * t + L8
    y = (y * t) * square
    y = (y + n * LN2_LOW) - HALF * square
    return (t + y) + n * LN2_HIGH


@njit(forceinline=True)
def point_at(word):
    """Cosine and sine of the angle, 2**32 to a turn."""
    quarter = uint32(uint32(word + uint32(1 << 29)) >> uint32(30))
    x = float32(int32(uint32(word - uint32(quarter << uint32(30))))) * TURN
    square = x * x
    sine = (((S0 * square + S1) * square + S2) * square) * x + x
    cosine = ((((C0 * square + C1) * square + C2) * square) * square - HALF * square) + ONE
    odd = int32(quarter & uint32(1))
    first, second = (sine if odd else cosine), (cosine if odd else sine)
    first = -first if int32(quarter == uint32(1)) | int32(quarter == uint32(2)) else first
    second = -second if quarter >= uint32(2) else second
    return first, second


@njit
def store_values(values, means, normals, deviation, free):
    for unit in range(values.size):
        drawn = means[unit] + normals[unit] * deviation
        loose = (free[unit // 64] >> uint64(unit % 64)) & uint64(1)
        values[unit] = drawn if loose else values[unit]
