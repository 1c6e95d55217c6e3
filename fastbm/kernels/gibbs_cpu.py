"""Block Gibbs sweeps on the CPU: by table lookup or by following flips, whichever the cost model expects to take less time."""

import numpy as np

from fastbm.kernels import incremental_cpu, lookup_cpu, simd_cpu, tables_cpu
from fastbm.kernels.cost_cpu import FLIPPING, STARTING, cost_of_following, looks_up
from fastbm.kernels.threads_cpu import n_threads

ENOUGH_UPDATES = 8
"""Block updates of a call after which it is known how many units flip in a sweep."""


def gibbs(layers, up, down, biases, beta, free, tables, *, exponent, key, first_chain, start, stop):
    sizes = [up[0].shape[0], *(couplings.shape[0] for couplings in down)]
    n_updates, level = stop - start, simd_cpu.LEVEL
    numbers = {"scale": np.float32(2.0**-exponent), "key": key, "first_chain": first_chain, "start": start, "stop": stop}
    numbers["cost"] = n_updates / 2 * cost_of_following(sizes)
    known = {"built": level in tables, "flipping": expected_flips(n_updates, tables.get("flipping", FLIPPING))}
    if looks_up(sizes, layers[0].shape[0], n_updates, n_threads(), level, **known):
        if level not in tables:
            tables[level] = tables_cpu.build(up, down, level)
        lookup_cpu.run(layers, up, down, biases, beta, free, tables[level], **numbers)
    else:
        flipping = incremental_cpu.run(layers, up, down, biases, beta, free, **numbers)
        if n_updates >= ENOUGH_UPDATES:
            tables["flipping"] = flipping


def prepare(up, down, tables, *, n_chains, n_updates):
    sizes, level = [up[0].shape[0], *(couplings.shape[0] for couplings in down)], simd_cpu.LEVEL
    known = {"built": False, "flipping": expected_flips(2, FLIPPING)}
    if level not in tables and looks_up(sizes, n_chains, n_updates, n_threads(), level, **known):
        tables[level] = tables_cpu.build(up, down, level)


def expected_flips(n_updates: int, flipping: float) -> float:
    """Return the part of the couplings added in a sweep, on average over a call, whose first sweep begins at nothing."""
    n_sweeps = max(n_updates / 2, 1.0)
    return (STARTING + (n_sweeps - 1) * flipping) / n_sweeps
