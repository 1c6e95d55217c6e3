"""Block Gibbs sweeps of packed chains: a thread owns a run of chains for all their sweeps, so nothing waits."""

import numpy as np

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import draw, fill_random_words, store_states, write_logits, write_means
from fastbm.kernels.inputs_cpu import follow, start_from_zero
from fastbm.kernels.threads_cpu import COST_OF_A_COUPLING, COST_OF_A_DRAW, share_out


def gibbs(
    visible, hidden, to_hidden, to_visible, visible_bias, hidden_bias, beta, visible_free, hidden_free, hidden_means,
    *, exponent, key, first_chain, start, stop,
):  # fmt: skip
    update = COST_OF_A_COUPLING * to_hidden.size + COST_OF_A_DRAW * (visible_bias.size + hidden_bias.size) / 2
    share_out(
        run_chains, visible.shape[0], (stop - start) * update,
        visible, hidden, to_hidden, to_visible, visible_bias, hidden_bias, beta, visible_free, hidden_free, hidden_means,
        np.float32(2.0**-exponent), key[0], key[1], first_chain, start, stop,
    )  # fmt: skip


@kernel
def run_chains(
    first, last, visible, hidden, to_hidden, to_visible, visible_bias, hidden_bias, beta, visible_free, hidden_free,
    hidden_means, scale, key0, key1, first_chain, start, stop,
):  # fmt: skip
    n_visible, n_hidden = visible_bias.size, hidden_bias.size  # padded
    width = max(n_visible, n_hidden)
    rows, words, on = np.empty(width, np.int64), np.empty(width, np.uint32), np.empty(width, np.uint8)
    visible_input, hidden_input = np.empty(n_visible, np.int32), np.empty(n_hidden, np.int32)
    held_visible, held_hidden = np.empty(visible.shape[1], np.uint64), np.empty(hidden.shape[1], np.uint64)
    logits = np.empty(width, np.float32)
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
                write_logits(logits[:n_hidden], hidden_input, hidden_bias, scale_row, beta_row)
                if hidden_means.size != 0 and update + 2 >= stop:
                    write_means(hidden_means[row], logits)
                fill_random_words(words[:n_hidden], number, sweep, 0, key0, key1)
                draw(on[:n_hidden], logits, words)
                store_states(hidden[row], hidden_free[row % hidden_free.shape[0]], on)
            else:
                follow(visible_input, held_hidden, hidden[row], to_visible, rows)
                write_logits(logits[:n_visible], visible_input, visible_bias, scale_row, beta_row)
                fill_random_words(words[:n_visible], number, sweep, 1, key0, key1)
                draw(on[:n_visible], logits, words)
                store_states(visible[row], visible_free[row % visible_free.shape[0]], on)
