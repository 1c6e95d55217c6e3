"""One block update in halves, for learning rules that need what lies between: logits and means, then a draw."""

import numpy as np

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import draw as draw_row
from fastbm.kernels.draw_cpu import fill_random_words, store_states, write_logits, write_means
from fastbm.kernels.inputs_cpu import follow, start_from_zero
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, COST_OF_A_DRAW, share_out


def infer(states, couplings, bias, beta, logits, means, *, exponent):
    cost = COST_OF_A_COUPLING * couplings.size
    share_out(run_infer, states.shape[0], cost, states, couplings, bias, beta, logits, means, np.float32(2.0**-exponent))


def draw(states, logits, free, *, key, first_chain, update):
    cost = COST_OF_A_DRAW * logits.shape[1]
    sweep, block = divmod(update, 2)
    share_out(run_draw, states.shape[0], cost, states, logits, free, key[0], key[1], first_chain, sweep, block)


@kernel
def run_infer(first, last, states, couplings, bias, beta, logits, means, scale):
    inputs, held = np.empty(bias.size, np.int32), np.empty(states.shape[1], np.uint64)
    rows = np.empty(64 * states.shape[1], np.int64)
    for row in range(first, last):
        beta_row = beta[row % beta.size]
        start_from_zero(inputs, held)
        follow(inputs, held, states[row], couplings, rows)
        write_logits(logits[row], inputs, bias, beta_row * scale, beta_row)
        write_means(means[row, : bias.size], logits[row])


@kernel
def run_draw(first, last, states, logits, free, key0, key1, first_chain, sweep, block):
    width = 64 * states.shape[1]
    words, on = np.empty(width, np.uint32), np.empty(width, np.uint8)
    for row in range(first, last):
        fill_random_words(words, first_chain + row, sweep, block, key0, key1)
        draw_row(on, logits[row], words)
        store_states(states[row], free[row % free.shape[0]], on)
