"""What a careful user would write: a compiled loop over the spins of a lattice, one at a time."""

import numpy as np
from numba import njit, uint32, uint64

SEED = np.uint64(0x9E3779B97F4A7C15)


def plain_loop(side, coupling):
    """Return ``run(n_sweeps)`` for a periodic lattice: a byte a spin, a table of five thresholds, and xorshift."""
    spins = (np.random.default_rng(0).random((side, side)) < 0.5).astype(np.uint8)
    thresholds = (2.0**32 / (1 + np.exp(-2 * coupling * (2 * np.arange(5) - 4)))).astype(np.uint32)
    state = SEED

    def run(n_sweeps):
        nonlocal state
        state = np.uint64(sweep(spins, thresholds, state, n_sweeps))
        return spins

    return run


@njit
def sweep(spins, thresholds, state, n_sweeps):
    height, width = spins.shape
    for _ in range(n_sweeps):
        for colour in range(2):
            for y in range(height):
                up, down = (y - 1 if y else height - 1), (y + 1 if y + 1 < height else 0)
                for x in range((y + colour) & 1, width, 2):
                    left, right = (x - 1 if x else width - 1), (x + 1 if x + 1 < width else 0)
                    state ^= state << uint64(13)
                    state ^= state >> uint64(7)
                    state ^= state << uint64(17)
                    n_on = spins[up, x] + spins[down, x] + spins[y, left] + spins[y, right]
                    spins[y, x] = uint32(state >> uint64(32)) < thresholds[n_on]
    return state
