"""The random words, the draw and the packing of states of ``fastbm.chain``, one row at a time, for numba.

Every loop here is written so that the compiler vectorises it: no branches, uint32 and float32 only, and what it calls is forced
inline, because a call that the compiler leaves as one costs a kernel a fifth of its speed. Arithmetic follows the reference
operation by operation; fastmath would break it.
"""

import numpy as np
from numba import float32, int32, njit, uint32, uint64

from fastbm import chain
from fastbm.kernels.bits_cpu import bits_to_float

LOG2_E, ROUNDER = chain.LOG2_E, chain.ROUNDER
LN2_HIGH, LN2_LOW = chain.LN2_HIGH, chain.LN2_LOW
E0, E1, E2, E3, E4, E5 = chain.EXP_COEFFICIENTS
SMALLEST_LOGIT, ONE, ULP, SMALLEST_NORMAL = chain.SMALLEST_LOGIT, chain.ONE, chain.ULP, chain.SMALLEST_NORMAL


@njit(forceinline=True)
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: four random uint32 words.

    Words are kept in 64 bits, with rubbish in the upper half: only the products look, and they look at the lower. So a vector
    of 64-bit lanes needs no shuffling between the rounds.
    """
    low, half = uint64(0xFFFFFFFF), uint64(32)
    c0, c1, c2, c3, k0, k1 = uint64(c0), uint64(c1), uint64(c2), uint64(c3), uint64(k0), uint64(k1)
    for _ in range(10):
        p0, p1 = uint64(0xD2511F53) * (c0 & low), uint64(0xCD9E8D57) * (c2 & low)
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1, (p0 >> half) ^ c3 ^ k1, p0
        k0, k1 = (k0 + uint64(0x9E3779B9)) & low, (k1 + uint64(0xBB67AE85)) & low
    return uint32(c0), uint32(c1), uint32(c2), uint32(c3)


@njit(forceinline=True)
def exp_negative(x):
    """exp(x) for float32 x in [-87, 0]."""
    n = (x * LOG2_E + ROUNDER) - ROUNDER
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    y = ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5
    y = y * (r * r) + r + ONE
    return y * bits_to_float(int32((int32(n) + int32(127)) << int32(23)))


@njit(forceinline=True)
def is_on(logit, word):
    """The state, as 0 or 1, of a unit with this logit and this random word."""
    e = exp_negative(max(-abs(logit), SMALLEST_LOGIT))
    distance = float32(int32((word & uint32(0x7FFFFFFF)) | uint32(1))) * ULP
    likely, above = int32(logit >= SMALLEST_NORMAL), int32(word >> uint32(31))
    near = int32(distance * (ONE + e) < e)
    return np.uint8(likely ^ (int32(1) ^ likely ^ above) & near)  # integers, because booleans vectorise less well


@njit
def fill_random_words(words, chain_number, sweep, block, key0, key1):
    """Write the random word of every unit of one chain; words.size is a multiple of 4."""
    for group in range(words.size // 4):
        a, b, c, d = philox(group, chain_number, sweep, block, key0, key1)
        words[4 * group] = a
        words[4 * group + 1] = b
        words[4 * group + 2] = c
        words[4 * group + 3] = d


@njit
def draw(on, logits, words):
    """Draw a row of units from their logits; `on` gets a byte a unit."""
    for unit in range(on.size):
        on[unit] = is_on(logits[unit], words[unit])


@njit(error_model="numpy")  # no test for a division by zero
def write_means(means, logits):
    """Write the probabilities that a row of units is on."""
    for unit in range(means.size):
        e = exp_negative(max(-abs(logits[unit]), SMALLEST_LOGIT))
        means[unit] = (ONE if logits[unit] > float32(0) else e) / (ONE + e)


@njit
def write_logits(logits, inputs, bias, scale, beta):
    """Write the logits of a row of units with these integer inputs."""
    for unit in range(logits.size):
        logits[unit] = float32(inputs[unit]) * scale + beta * bias[unit]


@njit
def store_states(state, free, on):
    """Pack a byte a unit into words, where the unit is free; the others keep their state."""
    octets = on.view(np.uint64)
    for word in range(state.size):
        state[word] = (gather_bits(octets, word) & free[word]) | (state[word] & ~free[word])


@njit(forceinline=True)
def gather_bits(octets, word):
    """Return the low bits of 64 bytes, which are taken eight at a time, as a word."""
    packed = uint64(0)
    for octet in range(8):  # the product gathers the low bits of eight bytes, in order, in the top byte
        gathered = (octets[8 * word + octet] * uint64(0x0102040810204080)) >> uint64(56)
        packed |= gathered << uint64(8 * octet)
    return packed
