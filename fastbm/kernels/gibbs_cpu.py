"""Block Gibbs sweeps of packed chains: a thread owns a run of chains for all their sweeps, so nothing waits."""

import numpy as np
from numba import njit

from fastbm.kernels.draw_cpu import draw_inputs, fill_random_words, store_states
from fastbm.kernels.inputs_cpu import follow, start_from_zero
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, COST_OF_A_DRAW, share_out


def gibbs(
    visible, hidden, to_hidden, to_visible, visible_bias, hidden_bias, beta, visible_free, hidden_free,
    *, exponent, key, first_chain, start, stop,
):  # fmt: skip
    scale = np.float32(2.0**-exponent)
    layer = COST_OF_A_COUPLING * to_hidden.size + COST_OF_A_DRAW * (visible_bias.size + hidden_bias.size) / 2
    share_out(
        run_chains, visible.shape[0], (stop - start) * layer,
        visible, hidden, to_hidden, to_visible, visible_bias, hidden_bias, beta,
        visible_free, hidden_free, scale, key[0], key[1], first_chain, start, stop,
    )  # fmt: skip


@njit(nogil=True, cache=True)
def run_chains(
    first, last, visible, hidden, to_hidden, to_visible, visible_bias, hidden_bias, beta, visible_free, hidden_free,
    scale, key0, key1, first_chain, start, stop,
):  # fmt: skip
    n_visible, n_hidden = visible_bias.size, hidden_bias.size  # padded
    width = max(n_visible, n_hidden)
    rows, words, on = np.empty(width, np.int64), np.empty(width, np.uint32), np.empty(width, np.uint8)
    visible_input, hidden_input = np.empty(n_visible, np.int32), np.empty(n_hidden, np.int32)
    held_visible, held_hidden = np.empty(visible.shape[1], np.uint64), np.empty(hidden.shape[1], np.uint64)
    for row in range(first, last):
        number = first_chain + row
        beta_row = beta[row % beta.size]
        scale_row = beta_row * scale
        start_from_zero(hidden_input, held_visible)
        start_from_zero(visible_input, held_hidden)
        for update in range(start, stop):
            sweep = update >> 1
            if update & 1 == 0:
                follow(hidden_input, held_visible, visible[row], to_hidden, rows)
                fill_random_words(words[:n_hidden], number, sweep, 0, key0, key1)
                draw_inputs(on[:n_hidden], hidden_input, words, hidden_bias, scale_row, beta_row)
                store_states(hidden[row], hidden_free[row % hidden_free.shape[0]], on)
            else:
                follow(visible_input, held_hidden, hidden[row], to_visible, rows)
                fill_random_words(words[:n_visible], number, sweep, 1, key0, key1)
                draw_inputs(on[:n_visible], visible_input, words, visible_bias, scale_row, beta_row)
                store_states(visible[row], visible_free[row % visible_free.shape[0]], on)
