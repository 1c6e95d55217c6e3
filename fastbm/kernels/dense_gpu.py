"""Block Gibbs sweeps with a matrix of couplings on the GPU: one launch, with a block of threads for each chain."""

import cupy
import numpy as np

from fastbm.kernels.cuda_gpu import THREADS, launch, on_device


def dense_gibbs(
    states, couplings, bias, beta, free, starts, sizes, numbers, tables, *, exponent, key, first_chain, start, stop
):  # fmt: skip
    n_chains, n_words = states.shape
    if "counters" not in tables:
        positions = np.arange(len(couplings)) - np.repeat(starts, sizes)
        of_units = (positions, np.repeat(numbers, sizes))
        tables["counters"] = tuple(cupy.asarray(each.astype(np.uint32)) for each in of_units)
    inputs = cupy.empty((n_chains, 64 * n_words), np.int32)
    launch(
        "dense", "run_chains", n_chains * THREADS, states, couplings, bias, beta, free, on_device(exponent),
        *tables["counters"], inputs, *key, np.uint32(first_chain), np.int64(start), np.int64(stop), len(couplings), n_words,
        *beta.shape, free.shape[0], bytes_a_thread=4,
    )  # fmt: skip
