"""The rough draw: a state from a coarse logit and a rough exponential, and whether it could be the wrong one.

With m the distance of a unit's uniform number from the nearer end of the unit interval, and y its logit, turned round when that
end is 1, the exact draw asks whether m exp(-y) < 1 - m. Where the two sides differ by more than the factor exp(window), a logit
that is off by less than `window` gives the same answer. Numbers are scaled by 2**32, so that m is the random word itself.
"""

import math

import numpy as np
from numba import float32, int32, njit, uint16, uint32

from fastbm.kernels.bits_cpu import bits_to_float, float_to_bits, multiply_add
from fastbm.kernels.tables_cpu import LARGEST_ERROR

LOG2_E = 1.4426950408889634
ROUNDER, TOP = float32(12582912.0), float32(2.0**32)
LARGEST_EXPONENT = float32(45.0)
"""Logits beyond ± 45 log 2 decide every draw, and with it the powers of two stay in range for any window."""
C3, C2, C1, C0 = (np.float32(c) for c in (0.0551705, 0.24260852, 0.69326094, 0.99992824))
ROUGHNESS = 2e-4
"""What the rough power and the rounding of the comparison can amount to, as a difference of logits."""
LARGEST_SHIFT = 1e30
"""Larger ones could overflow: every draw is then made again."""
SLACK = 2.0**-20
"""What rounding to float32 can amount to, as a fraction of the largest number that enters a logit."""


@njit(forceinline=True)
def rough_power(t):
    """2**t for float32 t in [-45, 45]; relative error below 1e-4."""
    shifted = t + ROUNDER
    f = t - (shifted - ROUNDER)
    y = multiply_add(multiply_add(multiply_add(C3, f, C2), f, C1), f, C0)
    return bits_to_float(int32(float_to_bits(y) + (float_to_bits(shifted) << int32(23))))


@njit
def draw_roughly(on, doubtful, sums, words, beta, scale, shift, margin, bit):
    """Set `bit` in `on` where a chain's unit is on, and `doubtful` to 1 where that could be wrong.

    The coarse logits are ``beta * (sums * scale + shift)``, in units of log 2; `margin` is exp(window).
    """
    for c in range(on.size):
        t = beta[c] * multiply_add(float32(sums[c]), scale, shift)
        word = int32(words[c])
        above = uint32(word) >> uint32(31)
        t = bits_to_float(int32(float_to_bits(t) ^ (~word & int32(-0x80000000))))
        m = float32(int32((word & int32(0x7FFFFFFF)) | int32(1)))
        odds = m * rough_power(min(max(t, -LARGEST_EXPONENT), LARGEST_EXPONENT))
        rest = TOP - m
        on[c] |= uint16(bit & uint16(-int32(uint32(odds < rest) ^ above)))
        doubtful[c] = np.uint8((rest <= odds * margin) & (odds < rest * margin))


@njit
def write_bounds(bounds, n_units, bias, steps, starts, n_entries, largest_beta, scale):
    """Write what `draw_roughly` needs to know of each unit: scale and shift of its coarse logits, and its margin.

    `n_entries` numbers are added up, each of which is off by at most LARGEST_ERROR steps.
    """
    for unit in range(n_units):
        size = steps[unit] * scale  # of a step, as a logit at β = 1
        reach = size * 65536.0 * starts.shape[1] + abs(float(bias[unit]))
        window = largest_beta * (LARGEST_ERROR * n_entries * size + SLACK * reach) + ROUGHNESS
        shift = float(bias[unit]) - size * starts[unit].sum()
        if abs(shift) > LARGEST_SHIFT:
            shift, window = 0.0, np.inf
        bounds[0, unit], bounds[1, unit], bounds[2, unit] = size * LOG2_E, shift * LOG2_E, math.exp(window)
