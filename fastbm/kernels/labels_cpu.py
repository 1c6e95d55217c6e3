"""Block Gibbs sweeps of a restricted machine with labels, on the CPU: labels are drawn on the way, or one update at a time."""

import numpy as np

from fastbm.kernels import gibbs_cpu, incremental_cpu, simd_cpu, softmax_cpu, tables_cpu
from fastbm.kernels.cost_cpu import FLIPPING, cost_of_following
from fastbm.kernels.labels import update_by_update
from fastbm.kernels.threads_cpu import n_threads


def gibbs_with_labels(
    layers, up, down, biases, beta, free, loose, tables, *, n_labels, exponent, key, first_chain, start, stop
):  # fmt: skip
    sizes, level, n_updates = up[0].shape, simd_cpu.LEVEL, stop - start
    where = {"key": key, "first_chain": first_chain}
    flipping = gibbs_cpu.expected_flips(n_updates, tables.get("flipping", FLIPPING))
    if gibbs_cpu.looks_up(sizes, layers[0].shape[0], n_updates, n_threads(), level, built=level in tables, flipping=flipping):
        if level not in tables:
            tables[level] = tables_cpu.build(up, down, level)
        update_by_update(
            gibbs_cpu.gibbs, softmax_cpu.draw_softmax, layers, up, down, biases, beta, free, loose, tables, n_labels=n_labels,
            exponent=exponent, start=start, stop=stop, **where,
        )  # fmt: skip
        return
    flipping = incremental_cpu.run(
        layers, up, down, biases, beta, free, cost=n_updates / 2 * cost_of_following(sizes), scale=np.float32(2.0**-exponent),
        start=start, stop=stop, group=(sizes[0] - n_labels, n_labels), loose=loose, **where,
    )  # fmt: skip
    if n_updates >= gibbs_cpu.ENOUGH_UPDATES:
        tables["flipping"] = flipping
