"""Softmax groups: one of several classes drawn, for each chain, by cumulative sums in class order."""

import numpy as np
from numba import float32, int32, int64, njit, uint32, uint64

from fastbm import chain
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import exp_negative, philox
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, COST_OF_A_DRAW, share_out

SMALLEST_LOGIT, SOFTMAX_ULP = chain.SMALLEST_LOGIT, chain.SOFTMAX_ULP


def draw_softmax(
    states, given, couplings, bias, beta, loose, *, layer, first, n_classes, exponent, key, first_chain, update
):  # fmt: skip
    n_neighbours = sum(between.shape[1] for between in couplings)
    cost = n_classes * (COST_OF_A_COUPLING * n_neighbours + COST_OF_A_DRAW) + n_neighbours
    share_out(
        run_softmax, states.shape[0], cost, states, given, couplings, bias, beta, loose, first, n_classes,
        np.float32(2.0**-exponent), key[0], key[1], first_chain, update >> 1, layer ^ 1,
    )  # fmt: skip


@kernel
def run_softmax(
    begin, end, states, given, couplings, bias, beta, loose, first, n_classes, scale, key0, key1, first_chain, sweep, block
):  # fmt: skip
    widest = 0
    for between in couplings:
        widest = max(widest, between.shape[1])
    inputs, weights, mask = np.empty(n_classes, np.int32), np.empty(n_classes, np.float32), np.empty(widest, np.int32)
    for row in range(begin, end):
        if loose[row % loose.size] == 0:
            continue
        inputs[:] = int32(0)
        for k in range(len(given)):
            spread_bits(mask, given[k][row])
            add_masked(inputs, couplings[k], first, mask)
        beta_row = beta[row % beta.size]
        for k in range(n_classes):
            weights[k] = float32(inputs[k]) * (beta_row * scale) + beta_row * bias[first + k]
        words = philox(first >> 2, first_chain + row, sweep, block, key0, key1)
        store_class(states[row], first, n_classes, draw_class(weights, words[first & 3]))


@njit
def spread_bits(mask, state):
    """Write a number a unit, all of its bits set where the unit is on."""
    for word in range(state.size):
        for bit in range(64):
            mask[64 * word + bit] = -int32((state[word] >> uint64(bit)) & uint64(1))


@njit
def add_masked(inputs, couplings, first, mask):
    """Add to each class's input the couplings of its row where the mask is set."""
    for k in range(inputs.size):
        row, total = couplings[first + k], int32(0)
        for unit in range(row.size):
            total += row[unit] & mask[unit]
        inputs[k] += total


@njit
def draw_class(weights, word):
    """Return the class, given the logits, which are overwritten, and the random word."""
    largest = weights[0]
    for k in range(weights.size):
        largest = max(largest, weights[k])
    total = float32(0)
    for k in range(weights.size):
        below = weights[k] - largest
        total += exp_negative(below if below > SMALLEST_LOGIT else SMALLEST_LOGIT)
        weights[k] = total
    threshold = float32(int32((word >> uint32(8)) | uint32(1))) * SOFTMAX_ULP * total
    drawn = int64(0)
    for k in range(weights.size):
        drawn += int64(weights[k] <= threshold)
    return drawn


@njit
def store_class(state, first, n_classes, drawn):
    """Put all units of a group off but one."""
    for unit in range(first, first + n_classes):
        state[unit >> 6] &= ~(uint64(1) << uint64(unit & 63))
    unit = first + drawn
    state[unit >> 6] |= uint64(1) << uint64(unit & 63)
