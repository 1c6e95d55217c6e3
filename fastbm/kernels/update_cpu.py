"""One block update in halves, for learning rules that need what lies between: logits, then probabilities or a draw."""

import numpy as np
from numba import float32, njit

from fastbm.kernels.draw_cpu import ONE, SMALLEST_LOGIT, draw_logits, exp_negative, fill_random_words, store_states
from fastbm.kernels.inputs_cpu import follow, start_from_zero
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, COST_OF_A_DRAW, share_out


def logits(states, couplings, bias, beta, out, *, exponent):
    cost = COST_OF_A_COUPLING * couplings.size
    share_out(run_logits, states.shape[0], cost, states, couplings, bias, beta, out, np.float32(2.0**-exponent))


def draw(states, logits, free, *, key, first_chain, update):
    cost = COST_OF_A_DRAW * logits.shape[1]
    sweep, block = divmod(update, 2)
    share_out(run_draw, states.shape[0], cost, states, logits, free, key[0], key[1], first_chain, sweep, block)


def probabilities(logits, out):
    share_out(run_probabilities, logits.shape[0], logits.shape[1], logits, out)


@njit(nogil=True, cache=True)
def run_logits(first, last, states, couplings, bias, beta, out, scale):
    inputs, held = np.empty(bias.size, np.int32), np.empty(states.shape[1], np.uint64)
    rows = np.empty(64 * states.shape[1], np.int64)
    for row in range(first, last):
        beta_row = beta[row % beta.size]
        scale_row = beta_row * scale
        start_from_zero(inputs, held)
        follow(inputs, held, states[row], couplings, rows)
        for unit in range(bias.size):
            out[row, unit] = float32(inputs[unit]) * scale_row + beta_row * bias[unit]


@njit(nogil=True, cache=True)
def run_draw(first, last, states, logits, free, key0, key1, first_chain, sweep, block):
    width = 64 * states.shape[1]
    words, on = np.empty(width, np.uint32), np.empty(width, np.uint8)
    for row in range(first, last):
        fill_random_words(words, first_chain + row, sweep, block, key0, key1)
        draw_logits(on, logits[row], words)
        store_states(states[row], free[row % free.shape[0]], on)


@njit(nogil=True, cache=True, error_model="numpy")  # no test for a division by zero
def run_probabilities(first, last, logits, out):
    for row in range(first, last):
        for unit in range(logits.shape[1]):
            x = logits[row, unit]
            e = exp_negative(max(-abs(x), SMALLEST_LOGIT))
            out[row, unit] = (ONE if x > float32(0) else e) / (ONE + e)
