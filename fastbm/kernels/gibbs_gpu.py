"""Block Gibbs sweeps on the GPU: in shared memory, by products on tensor cores, or by sums of couplings, as `way` says."""

import cupy
import numpy as np

from fastbm.kernels import limbs_gpu
from fastbm.kernels.cuda_gpu import constant, function, launch, on_device

CHAINS_WORTH_A_PRODUCT = 512
"""Chains from which on a product of matrices is taken to be faster than sums of the couplings of the units that are on."""
UPDATES_WORTH_A_START = 4
"""Block updates for which it is taken to be worth while to copy couplings into shared memory, or to split them into limbs."""
THREADS = 512
"""Threads of a block that keeps couplings in shared memory."""
LAYER = 12
"""Numbers that `sweep_shared` is told of each layer."""


def gibbs(layers, up, down, biases, beta, free, tables, *, exponent, key, first_chain, start, stop):
    if layers[0].shape[0] == 0 or start == stop:
        return
    numbers = {"exponent": on_device(exponent), "key": key, "first_chain": first_chain, "start": start, "stop": stop}
    chosen = way(layers, up, down, stop - start)
    if chosen == "sums" and "limbs" in tables and layers[0].shape[0] >= CHAINS_WORTH_A_PRODUCT:
        chosen = "products"  # learning has made them, and rewrites them
    if chosen == "shared":
        _sweep_shared(layers, up, down, biases, beta, free, **numbers)
    elif chosen == "products":
        of_up, of_down = limbs_gpu.of(tables, layers, up, down)
        limbs_gpu.run(layers, of_up, of_down, biases, beta, free, **numbers)
    else:
        sweep(layers, up, down, biases, beta, free, **numbers)


def prepare(up, down, tables, *, n_chains, n_updates):
    pass


def way(layers, up, down, n_updates: int) -> str:
    """Return how to sweep: "shared" where a machine fits into shared memory, "products" for many chains, else "sums"."""
    if n_updates < UPDATES_WORTH_A_START:
        return "sums"
    words = [states.shape[1] for states in layers]
    if _bytes_shared(words, up, down, 1)[0] <= _shared_memory():
        return "shared"
    sources = 64 * max(below + above for below, above in zip([0, *words[:-1]], [*words[1:], 0], strict=True))
    many = layers[0].shape[0] >= CHAINS_WORTH_A_PRODUCT
    return "products" if many and sources <= limbs_gpu.MOST_SOURCES else "sums"


def _shared_memory() -> int:
    return cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]


def sweep(layers, up, down, biases, beta, free, *, exponent, key, first_chain, start, stop):
    """One launch for each layer of each block update; couplings come from memory."""
    n_chains, none, no_couplings = layers[0].shape[0], constant(0, "uint64"), constant(0, "int32")
    for update in range(start, stop):
        for layer in range(1 - update % 2, len(layers), 2):
            below, above = layer > 0, layer + 1 < len(layers)
            n_words = layers[layer].shape[1]
            launch(
                "gibbs", "draw_layer", 16 * n_chains * n_words, layers[layer], layers[layer - 1] if below else none,
                layers[layer + 1] if above else none, up[layer - 1] if below else no_couplings,
                down[layer] if above else no_couplings, biases[layer], beta, free[layer], exponent, *key,
                np.uint32(first_chain), np.uint32(update >> 1), np.uint32(layer ^ 1), n_chains, n_words,
                layers[layer - 1].shape[1] if below else 0, layers[layer + 1].shape[1] if above else 0, beta.size,
                free[layer].shape[0], bytes_a_thread=1,
            )  # fmt: skip


def _sweep_shared(layers, up, down, biases, beta, free, *, exponent, key, first_chain, start, stop):
    """All block updates in one launch, in which a block keeps its chains and the couplings in shared memory."""
    n_chains, words = layers[0].shape[0], [states.shape[1] for states in layers]
    of_machine, of_two = (_bytes_shared(words, up, down, n)[0] for n in (0, 2))
    room = int((_shared_memory() - of_machine) // ((of_two - of_machine) / 2))
    while _bytes_shared(words, up, down, room)[0] > _shared_memory():  # rounding takes a little
        room -= 1
    chains_a_block = min(room, -(-n_chains // cupy.cuda.Device().attributes["MultiProcessorCount"]))
    size, places, fours_at = _bytes_shared(words, up, down, chains_a_block)
    plan = np.zeros((len(layers), LAYER), np.int64)
    for layer, states in enumerate(layers):
        between = [up[layer].data.ptr, down[layer].data.ptr] if layer < len(up) else [0, 0]
        n_units = up[layer].shape[0] if layer < len(up) else down[layer - 1].shape[0]
        pointers = [states.data.ptr, biases[layer].data.ptr, free[layer].data.ptr, *between]
        plan[layer] = [*pointers, n_units, words[layer], free[layer].shape[0], *places[layer]]
    kernel = function("gibbs", "sweep_shared")
    kernel.max_dynamic_shared_size_bytes = _shared_memory()  # of all calls, which may be of several threads
    counts = (len(layers), n_chains, chains_a_block, beta.size, fours_at)
    arguments = (
        cupy.asarray(plan), beta, exponent, *key, np.uint32(first_chain), np.int64(start), np.int64(stop),
        *map(np.int32, counts),
    )  # fmt: skip
    kernel((-(-n_chains // chains_a_block),), (THREADS,), arguments, shared_mem=size)


def _bytes_shared(words, up, down, n_chains):
    """Return the bytes of shared memory for so many chains, where each layer's arrays are, and where its scratch is.

    Places are counted in int32: of the states, the biases, and the couplings up and down. All begin at multiples of 16 bytes.
    """
    at, places = 0, []
    for layer, n_words in enumerate(words):
        sizes = [2 * n_words * n_chains, 64 * n_words, 0, 0]
        if layer < len(up):
            sizes[2:] = [up[layer].size, down[layer].size]
        row = []
        for size in sizes:
            row.append(at)
            at += -(-size // 4) * 4
        places.append(row)
    return 4 * at + 16 * max(words) * n_chains, places, at
