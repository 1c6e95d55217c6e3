"""Latents and masks of dropout, drawn by the counters of the chain, on the GPU."""

import numpy as np

from fastbm.kernels.cuda_gpu import launch


def draw_latent(z, *, normal, key, first_row, update, block):
    counters = [np.uint32(number) for number in (first_row, update, block)]
    n_items = z.shape[0] * -(-z.shape[1] // 4)
    launch("networks", "draw_latent", n_items, z, *key, *counters, *z.shape, int(normal))


def drop(x, y, *, rate, key, first_row, update, block):
    counters = [np.uint32(number) for number in (first_row, update, block)]
    n_items, threshold = x.shape[0] * -(-x.shape[1] // 4), np.uint32(rate * 2.0**32)
    launch("networks", "drop", n_items, x, y, threshold, float(1 / (1 - rate)), *key, *counters, *x.shape)
