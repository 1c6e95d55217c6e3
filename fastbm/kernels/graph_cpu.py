"""Block Gibbs sweeps on a sparse graph: by runs, pulls or flips, or 64 chains at a time, whichever should take less time."""

import numpy as np

from fastbm.kernels import chains_cpu, flips_cpu, pulls_cpu, runs_cpu
from fastbm.kernels.levels_cpu import levels_of
from fastbm.kernels.threads_cpu import n_threads, worth

SHORTEST_RUN = 4
"""Couplings in a run, on average, below which runs are not made."""
FLIPPING = 0.25
"""The part of the units that flip in a sweep, until it is known."""
ENOUGH_SWEEPS = 4
"""Sweeps of a call after which it is known."""
COST_BY_RUNS, COST_OF_A_RUN = 0.75, 3.2
"""Nanoseconds of a unit, and of a run of neighbours of 64 units."""
COST_BY_FLIPS, COST_OF_A_FLIP, COST_OF_A_NEIGHBOUR = 1.0, 1.0, 0.75
"""Nanoseconds of a unit, of a unit that flips, and of each of its neighbours."""
COST_BY_PULLS, COST_OF_A_ROW, COST_OF_A_PIECE = 1.0, 4.0, 0.9
"""Nanoseconds of a unit, of a row of neighbours of 64 units, and of a piece of one."""
COST_IN_A_SLAB, COST_OF_AN_ADDITION = 58.0, 2.1
"""Nanoseconds of a unit, and of each of its neighbours, in 64 chains."""


def graph_gibbs(
    states, indptr, indices, data, bias, beta, free, starts, sizes, numbers, tables, *, exponent, key, first_chain, start, stop
):  # fmt: skip
    if start == stop or len(states) == 0:
        return
    if "runs" not in tables:  # the last to be made: another thread may look meanwhile
        tables["levels"] = levels_of(indptr, data, starts, sizes)
        tables["runs"] = runs_cpu.runs_of(indptr, indices, data, data.size // SHORTEST_RUN)
        tables["picked"] = pulls_cpu.count_picks(indptr, indices) if pulls_cpu.is_possible() else None
    n_sweeps, rows = stop - start, (states, indptr, indices, data)
    blocks = (bias, beta, free, starts, sizes, numbers)
    numbered = (np.float32(2.0**-exponent), key[0], key[1], first_chain, start, stop)
    costs = costs_of(tables, int(sizes.sum()), data.size, len(states), n_threads())
    way = min(costs, key=lambda name: costs[name])
    cost = costs[way] * n_sweeps / len(states)
    if way == "chains":
        chains_cpu.run(cost, *rows, tables["levels"], *blocks, *numbered)
    elif way in ("flips", "pulls"):
        if way == "flips":
            if "entries" not in tables:
                tables["entries"] = flips_cpu.entries_of(indptr, indices, data)
            flipping = flips_cpu.run(cost, states, tables["entries"], *blocks, *numbered)
        else:
            if "picks" not in tables:
                tables["picks"] = pulls_cpu.picks_of(indptr, indices, data, *tables["picked"])
            flipping = pulls_cpu.run(cost, states, tables["picks"], tables["levels"], *blocks, *numbered)
        if n_sweeps >= ENOUGH_SWEEPS:
            tables["flipping"] = flipping
    elif len(states) < worth(cost / n_sweeps / len(starts)):  # blocks are worth more threads than there are chains
        runs_cpu.run_by_words(cost / n_sweeps, states, tables["runs"], tables["levels"], *blocks, *numbered)
    else:
        runs_cpu.run(cost, states, tables["runs"], tables["levels"], *blocks, *numbered)


def costs_of(tables, n_units: int, n_entries: int, n_chains: int, n_threads: int) -> dict[str, float]:
    """Return about how many nanoseconds a sweep of all chains takes in each of the ways there are."""
    of_a_thread, flipping = -(-n_chains // n_threads), tables.get("flipping", FLIPPING)
    slabs = -(-of_a_thread // chains_cpu.SLAB)
    of_flips = flipping * (COST_OF_A_FLIP * n_units + COST_OF_A_NEIGHBOUR * n_entries)
    costs = {
        "flips": of_a_thread * (COST_BY_FLIPS * n_units + of_flips),
        "chains": slabs * (COST_IN_A_SLAB * n_units + COST_OF_AN_ADDITION * n_entries),
    }
    if tables["picked"] is not None:
        n_rows, n_pieces = tables["picked"]
        costs["pulls"] = of_a_thread * (COST_BY_PULLS * n_units + COST_OF_A_ROW * n_rows + COST_OF_A_PIECE * n_pieces)
    if tables["runs"] is not None:
        costs["runs"] = of_a_thread * (COST_BY_RUNS * n_units + COST_OF_A_RUN * tables["runs"].offsets.size)
    return costs
