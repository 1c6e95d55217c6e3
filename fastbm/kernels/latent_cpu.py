"""Latents and masks of dropout, drawn by the counters of the chain."""

import numpy as np
from numba import float32, int32, njit, uint32

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import fill_random_words
from fastbm.kernels.normal_cpu import transform
from fastbm.kernels.threads_cpu import share_out

COST_OF_A_WORD = 2.0
"""Rough nanoseconds to draw a random word, and to make a number of it."""
STEP = np.float32(2.0**-24)


def draw_latent(z, *, normal, key, first_row, update, block):
    share_out(
        run_draw_latent, z.shape[0], COST_OF_A_WORD * z.shape[1] * (1 + 2 * normal), z, normal, key[0], key[1], first_row,
        update, block,
    )  # fmt: skip


def drop(x, y, *, rate, key, first_row, update, block):
    threshold, scale = np.uint32(rate * 2.0**32), np.float32(1 / (1 - rate))
    share_out(
        run_drop, x.shape[0], COST_OF_A_WORD * x.shape[1], x, y, threshold, scale, key[0], key[1], first_row, update, block
    )  # fmt: skip


@kernel
def run_draw_latent(first, last, z, normal, key0, key1, first_row, update, block):
    width = -(-z.shape[1] // 4) * 4
    words, numbers = np.empty(width, np.uint32), np.empty(width, np.float32)
    for row in range(first, last):
        fill_random_words(words, first_row + row, update, block, key0, key1)
        if normal:
            transform(numbers, words)
        else:
            spread(numbers, words)
        z[row] = numbers[: z.shape[1]]


@njit
def spread(numbers, words):
    """Write the uniform number between -1 and 1 that each word stands for."""
    for k in range(words.size):
        numbers[k] = float32(int32(2) * (int32(words[k]) >> int32(8)) + int32(1)) * STEP


@kernel
def run_drop(first, last, x, y, threshold, scale, key0, key1, first_row, update, block):
    words = np.empty(-(-x.shape[1] // 4) * 4, np.uint32)
    for row in range(first, last):
        fill_random_words(words, first_row + row, update, block, key0, key1)
        source, target = x[row], y[row]
        for unit in range(source.size):
            target[unit] = source[unit] * scale if uint32(words[unit]) >= threshold else float32(0)
