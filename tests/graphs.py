"""Random graphs, lattices and dense machines as the arguments of the kernels that sweep them, and of their references."""

from __future__ import annotations

import numpy as np

from fastbm import chain

EXPONENT = 20


def lattice(height, width, *, coupling=1.2, bias=-2.4, spread=0.0):
    """A lattice with periodic boundaries, even sides; with `spread`, couplings that all differ."""
    y, x = np.divmod(np.arange(height * width), width)
    units, right, below = np.arange(height * width), y * width + (x + 1) % width, (y + 1) % height * width + x
    couplings = coupling + spread * np.random.default_rng(1).normal(size=2 * units.size)
    blocks = [np.flatnonzero((x + y) % 2 == colour) for colour in range(2)]
    edges = np.concatenate([units, units]), np.concatenate([right, below])
    return sparse(blocks, *edges, couplings, np.full(units.size, bias))


def random_blocks(sizes, degree, *, scale=0.5, seed=0):
    """A graph with blocks of these sizes, about `degree` couplings a unit, between any two blocks; some units have none."""
    rng, n_units = np.random.default_rng(seed), sum(sizes)
    colours = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    first, second = np.triu_indices(n_units, 1)
    chosen = (rng.random(first.size) < degree / n_units) & (colours[first] != colours[second])
    chosen &= (first % 7 != 3) & (second % 7 != 3)
    first, second = first[chosen], second[chosen]
    blocks = [np.flatnonzero(colours == block) for block in range(len(sizes))]
    return sparse(blocks, first, second, scale * rng.normal(size=first.size), rng.normal(size=n_units))


def regular(size, degree, *, scale=0.5):
    """A graph with three blocks, each unit with `degree` neighbours in either of the others; no neighbours are consecutive."""
    unit, rng = np.arange(size), np.random.default_rng(0)
    there = np.concatenate([(7 * unit + shift * shift) % size for shift in range(degree)])
    first = np.concatenate([np.tile(unit, degree) + block * size for block in range(3)])
    second = np.concatenate([there + (block + 1) % 3 * size for block in range(3)])
    blocks = [unit + block * size for block in range(3)]
    return sparse(blocks, first, second, scale * rng.normal(size=first.size), rng.normal(size=3 * size))


def sparse(blocks, first, second, couplings, bias):
    """The arguments of graph_gibbs, states and β left out."""
    sizes = np.array([block.size for block in blocks], np.int32)
    ends = np.cumsum(-(-sizes // 64) * 64)
    starts, n_slots = (np.append(0, ends)[:-1]).astype(np.int32), int(ends[-1])
    slots = np.empty(sum(sizes), np.int64)
    for start, block in zip(starts, blocks, strict=True):
        slots[block] = start + np.arange(block.size)
    matrix = np.zeros((n_slots, n_slots), np.int32) if n_slots < 2000 else None
    there = np.concatenate([slots[first], slots[second]]), np.concatenate([slots[second], slots[first]])
    rounded = np.tile(np.rint(np.ldexp(couplings, EXPONENT)).astype(np.int32), 2)
    order = np.lexsort(there[::-1])
    if matrix is not None:
        matrix[there] = rounded
        assert (matrix == matrix.T).all()
    arguments = {
        "indptr": np.append(0, np.cumsum(np.bincount(there[0], minlength=n_slots))).astype(np.int32),
        "indices": there[1][order].astype(np.int32),
        "data": rounded[order],
        "bias": np.zeros(n_slots, np.float32),
        "starts": starts,
        "sizes": sizes,
        "numbers": np.arange(sizes.size, dtype=np.int32)[::-1].copy() + 3,
    }
    arguments["bias"][slots] = bias
    there = np.zeros((1, n_slots), bool)
    there[0, slots] = True
    return arguments, there


def dense(sizes, *, scale=0.3, seed=0):
    """The arguments of dense_gibbs for blocks of these sizes, states and β left out."""
    rng, sizes = np.random.default_rng(seed), np.array(sizes, np.int32)
    n_units, blocks = int(sizes.sum()), np.repeat(np.arange(sizes.size), sizes)
    couplings = np.triu(rng.normal(size=(n_units, n_units)) * scale, 1)
    couplings = (couplings + couplings.T) * (blocks[:, None] != blocks)
    arguments = {
        "couplings": np.zeros((n_units, chain.padded(n_units)), np.int32),
        "bias": np.zeros(chain.padded(n_units), np.float32),
        "starts": (np.cumsum(sizes) - sizes).astype(np.int32),
        "sizes": sizes,
        "numbers": np.arange(sizes.size, dtype=np.int32),
    }
    arguments["couplings"][:, :n_units] = np.rint(np.ldexp(couplings, EXPONENT))
    arguments["bias"][:n_units] = rng.normal(size=n_units)
    there = np.zeros((1, chain.padded(n_units)), bool)
    there[0, :n_units] = True
    return arguments, there


def with_chains(machine, n_chains, *, beta="one", clamp="none", n_sweeps=3, seed=0):
    """All arguments of the kernel but numbers and tables, with chains in random states.

    `beta` is "one" for all, for "each" chain, or for each "sweep" or "both"; `clamp` is "none", or units clamped in all chains
    alike, "one", or in "each".
    """
    (arguments, there), rng = machine, np.random.default_rng(seed)
    shape = {"one": (1, 1), "each": (n_chains, 1), "sweep": (1, n_sweeps), "both": (n_chains, n_sweeps)}[beta]
    betas = np.ones(shape, np.float32) if beta == "one" else rng.uniform(0, 2, shape).astype(np.float32)
    free = there if clamp == "none" else there & (rng.random((1 if clamp == "one" else n_chains, there.size)) < 0.6)
    states = chain.pack(there & (rng.random((n_chains, there.size)) < 0.4))
    return arguments | {"states": states, "beta": betas, "free": chain.pack(free)}


def run(function, arguments, **numbers):
    """Run a kernel or its reference on a copy of the states; return them."""
    states = arguments["states"].copy()
    function(**arguments | {"states": states} | numbers)
    return states
