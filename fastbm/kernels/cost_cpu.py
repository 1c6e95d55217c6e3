"""The cost model: which way to sweep takes less time. Its constants were measured; docs/performance.md shows how and where."""

from itertools import pairwise

from fastbm.kernels.tables_cpu import COST_OF_A_MADE_BYTE, table_bytes

FLIPPING = 0.07
"""The part of the units that change in a sweep, as in machines trained on digits; taken until it is known."""
STARTING = 0.25
"""The part of the couplings that are added in the first sweep of a call, for every unit that is on."""
COST_OF_A_FLIP, COST_OF_A_FLIP_FROM_MEMORY = 0.05, 0.3
"""Nanoseconds to add one coupling of a unit that flipped, where couplings fit into the cache, and where they do not."""
CACHE = 2**24
"""Bytes of couplings that stay in the cache."""
COST_OF_A_DRAW = 2.0
"""Nanoseconds to draw a unit of one chain: random word, exponential, packing."""
COST_OF_A_LOOKUP = {"avx512": 0.0030, "avx2": 0.0051}
"""Nanoseconds a coupling and chain when inputs are looked up."""
COST_OF_A_ROUGH_DRAW = 1.1
"""Nanoseconds to draw a unit of one chain roughly, and again where that could be wrong."""
COST_OF_A_TABLE_BYTE = 0.02
"""Nanoseconds to bring a byte of the tables into the first cache, once a sweep and slab."""
CHAINS_WORTH_A_TABLE = 40
"""Chains for which it is worth making a table that is used once."""
MOST_SOURCES = 4096
"""Units that coarse couplings of 16 bits in all are fine enough for."""
SHARE_OF_A_SOURCE = 3.3e-4
"""The part of the units that must be on for tables for one use to pay, for each of them."""
LARGEST_TABLES = 2**31
"""Bytes that tables may take."""


def looks_up(sizes, n_chains: int, n_updates: int, n_threads: int, level: str, *, built: bool, flipping: float) -> bool:
    """Return whether to look inputs up in tables, which may be `built` already, rather than to follow the part that flips."""
    if level == "portable" or table_bytes(sizes, level) > LARGEST_TABLES:
        return False
    of_a_thread = -(-n_chains // n_threads)
    following = of_a_thread * n_updates / 2 * cost_of_following(sizes, flipping)
    looking = n_updates / 2 * cost_of_looking_up(sizes, of_a_thread, level)
    building = 0.0 if built else table_bytes(sizes, level) * COST_OF_A_MADE_BYTE / n_threads
    return looking + building < following


def makes_tables(n_chains: int, n_sources: int, level: str) -> bool:
    """Return whether to make tables in registers, for one use, rather than to sum the couplings of the units that are on."""
    return level == "avx512" and n_chains >= CHAINS_WORTH_A_TABLE and n_sources <= MOST_SOURCES


def tables_pay(share_on: float, n_sources: int) -> bool:
    """Return whether tables for one use take less time than sums over the units that are on, this part of them.

    Sums take time in proportion to that part, tables to the number of sources: a hundred chains are even at 0.2 of 500, 0.35 of
    1,000 and 0.55 of 2,000.
    """
    return share_on > SHARE_OF_A_SOURCE * n_sources


def cost_of_following(sizes, flipping: float = FLIPPING) -> float:
    """Return the nanoseconds of a sweep of one chain whose inputs follow the flips."""
    fits = 8 * couplings(sizes) <= CACHE
    of_a_flip = COST_OF_A_FLIP if fits else COST_OF_A_FLIP_FROM_MEMORY
    return 2 * couplings(sizes) * flipping * of_a_flip + sum(sizes) * COST_OF_A_DRAW


def cost_of_looking_up(sizes, n_chains: int, level: str) -> float:
    """Return the nanoseconds of a sweep of a thread's chains whose inputs are looked up: 32 chains are one vector, or two."""
    chains = -(-n_chains // 32) * 32
    of_a_chain = 2 * couplings(sizes) * COST_OF_A_LOOKUP[level] + sum(sizes) * COST_OF_A_ROUGH_DRAW
    return chains * of_a_chain + table_bytes(sizes, level) * COST_OF_A_TABLE_BYTE


def couplings(sizes) -> int:
    """Return the number of couplings of a machine with layers of these sizes."""
    return sum(below * above for below, above in pairwise(sizes))
