"""Block Gibbs sweeps of few chains, and portable ones: inputs are kept, and follow the units that flip.

A thread owns a run of chains for all their sweeps, so nothing waits. Integer sums may be updated for ever without error.
"""

import numpy as np
from numba import float32, njit

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import draw, fill_random_words, store_states, write_logits
from fastbm.kernels.inputs_cpu import follow, start_from_zero
from fastbm.kernels.softmax_cpu import draw_class, store_class
from fastbm.kernels.threads_cpu import share_out

NO_GROUP = np.zeros(1, np.uint8)
"""`loose` where there is no softmax group."""


def run(layers, up, down, biases, beta, free, *, cost, scale, key, first_chain, start, stop, group=(0, 0), loose=NO_GROUP):
    """Run block updates `start` … `stop` - 1: arguments as of the gibbs kernel. Return the part of the couplings that flipped.

    The first sweep is left out of that, because it begins at nothing. `group` are the first unit and the number of units of a
    softmax group of layer 0, which `free` holds, and `loose` says in which chains it is drawn.
    """
    added = np.zeros(layers[0].shape[0])
    share_out(
        run_chains, added.size, cost, layers, up, down, biases, beta, free, added, scale, key[0], key[1], first_chain,
        start, stop, *group, loose,
    )  # fmt: skip
    return added.mean() / max((stop - start - 2) * sum(couplings.size for couplings in up), 1)


@kernel
def run_chains(
    first, last, layers, up, down, biases, beta, free, added, scale, key0, key1, first_chain, start, stop, first_class,
    n_classes, loose,
):  # fmt: skip
    n_layers = len(layers)
    widest = 0
    for layer in range(n_layers):
        widest = max(widest, biases[layer].size)
    logits, words, on = np.empty(widest, np.float32), np.empty(widest, np.uint32), np.empty(widest, np.uint8)
    rows, of_classes = np.empty(widest, np.int64), np.empty(n_classes, np.float32)
    # what layers get from the layer below, and from the one above; and the states that this came from
    inputs, held = np.empty((2, n_layers, widest), np.int32), np.empty((2, n_layers, widest // 64), np.uint64)
    for row in range(first, last):
        start_from_zero(inputs.reshape(-1), held.reshape(-1))
        for update in range(start, stop):
            for layer in range(1 - (update & 1), n_layers, 2):
                size = biases[layer].size
                from_below, from_above = inputs[0, layer, :size], inputs[1, layer, :size]
                if layer > 0:
                    state = layers[layer - 1][row]
                    n_rows = follow(from_below, held[0, layer, : state.size], state, up[layer - 1], rows)
                    added[row] += n_rows * size if update >= start + 2 else 0
                if layer + 1 < n_layers:
                    state = layers[layer + 1][row]
                    n_rows = follow(from_above, held[1, layer, : state.size], state, down[layer], rows)
                    added[row] += n_rows * size if update >= start + 2 else 0
                beta_row = beta[row % beta.size]
                if layer == 0:
                    write_logits(logits[:size], from_above, biases[layer], beta_row * scale, beta_row)
                elif layer + 1 == n_layers:
                    write_logits(logits[:size], from_below, biases[layer], beta_row * scale, beta_row)
                else:
                    write_logits_of_both(logits[:size], from_below, from_above, biases[layer], beta_row * scale, beta_row)
                fill_random_words(words[:size], first_chain + row, update >> 1, layer ^ 1, key0, key1)
                draw(on[:size], logits, words)
                store_states(layers[layer][row], free[layer][row % free[layer].shape[0]], on)
                if layer == 0 and loose[row % loose.size] != 0:
                    for k in range(n_classes):
                        of_classes[k] = float32(logits[first_class + k])
                    drawn = draw_class(of_classes, words[first_class])
                    store_class(layers[0][row], first_class, n_classes, drawn)


@njit
def write_logits_of_both(logits, from_below, from_above, bias, scale, beta):
    """Write the logits of a layer that has neighbours on both sides."""
    for unit in range(logits.size):
        logits[unit] = np.float32(from_below[unit] + from_above[unit]) * scale + beta * bias[unit]
