"""What a step of annealing adds to the logarithms of chains' weights, in float64, from exact integer inputs.

Σ_j softplus(after · x_j) - softplus(before · x_j) would take two logarithms a unit. Here it takes two logarithms a row: the
factors 1 + e^(-|β x|) lie between 1 and 2, so that those of 512 units can be multiplied before the product is too large.
"""

import math

import numpy as np
from numba import float64, int64, njit, uint64

from fastbm.kernels.bits_cpu import bits_to_double, lowest_one
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.inputs_cpu import follow, start_from_zero
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, share_out

LANES = 64
"""Products that are made side by side; layers are padded to a multiple of it."""
MOST_FACTORS = 512
"""Factors of at most 2 in a product; float64 overflows at 2**1024."""
COST_OF_A_UNIT = 4.0
"""Rough nanoseconds for two exponentials."""
LOG2_E, ROUNDER = 1.4426950408889634, 6755399441055744.0
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
SMALLEST = -700.0
"""Smaller arguments of the exponential are taken to be this one, whose exponential adds nothing to 1."""
T2, T3, T4, T5, T6, T7, T8, T9, T10, T11, T12 = (1.0 / math.factorial(n) for n in range(2, 13))


def add_log_ratios(states, couplings, bias, offset, out, *, exponent, before, after):
    cost = COST_OF_A_COUPLING * couplings.size + COST_OF_A_UNIT * bias.size
    share_out(run, states.shape[0], cost, states, couplings, bias, offset, out, 2.0**-exponent, before, after)


@kernel
def run(first, last, states, couplings, bias, offset, out, scale, before, after):
    inputs, held = np.empty(bias.size, np.int32), np.empty(states.shape[1], np.uint64)
    rows, logits = np.empty(64 * states.shape[1], np.int64), np.empty(bias.size, np.float64)
    for row in range(first, last):
        start_from_zero(inputs, held)
        follow(inputs, held, states[row], couplings, rows)
        for unit in range(bias.size):
            logits[unit] = float64(inputs[unit]) * scale + float64(bias[unit])
        visible = sum_where_on(states[row], offset)
        out[row] += (after - before) * visible + softplus_change(logits, before, after)


@njit
def sum_where_on(state, values):
    """Return the sum of the values of the units that are on."""
    total = 0.0
    for word in range(state.size):
        bits = state[word]
        while bits != uint64(0):
            total += values[64 * word + lowest_one(bits)]
            bits &= bits - uint64(1)
    return total


@njit
def softplus_change(logits, before, after):
    """Return Σ_j softplus(after · x_j) - softplus(before · x_j); the logits are a multiple of `LANES`."""
    sums, old, new = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    total, begin = 0.0, 0
    while begin < logits.size:
        end = min(begin + LANES * MOST_FACTORS, logits.size)
        for lane in range(LANES):
            sums[lane], old[lane], new[lane] = 0.0, 1.0, 1.0
        for tile in range(begin, end, LANES):
            for lane in range(LANES):
                x = logits[tile + lane]
                sums[lane] += max(x, 0.0)
                old[lane] *= 1.0 + exp_negative(max(-before * abs(x), SMALLEST))
                new[lane] *= 1.0 + exp_negative(max(-after * abs(x), SMALLEST))
        total += (after - before) * sum_of_lanes(sums) + log_of_product(new, old, (end - begin) // LANES)
        begin = end
    return total


@njit
def sum_of_lanes(lanes):
    total = 0.0
    for lane in range(LANES):
        total += lanes[lane]
    return total


@njit
def log_of_product(above, below, n_factors):
    """Return log Π above - log Π below; each lane is a product of `n_factors`, and lanes are multiplied while that is safe."""
    width = LANES
    while width > 1 and 2 * n_factors <= MOST_FACTORS:
        width //= 2
        n_factors *= 2
        for lane in range(width):
            above[lane] *= above[lane + width]
            below[lane] *= below[lane + width]
    total = 0.0
    for lane in range(width):
        total += math.log(above[lane]) - math.log(below[lane])
    return total


@njit(forceinline=True)
def exp_negative(x):
    """exp(x) for float64 x in [-700, 0], to a few units of the last place; it vectorises, which ``math.exp`` does not."""
    n = (x * LOG2_E + ROUNDER) - ROUNDER
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    y = T12 * r + T11
    y = y * r + T10
    y = y * r + T9
    y = y * r + T8
    y = y * r + T7
    y = y * r + T6
    y = y * r + T5
    y = y * r + T4
    y = y * r + T3
    y = y * r + T2
    y = (y * r + 1.0) * r + 1.0
    return y * bits_to_double((int64(n) + int64(1023)) << int64(52))
