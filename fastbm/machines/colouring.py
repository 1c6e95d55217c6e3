"""Colourings of graphs: sets of units without couplings among them, which are drawn together.

A bipartite graph gets two colours, by breadth-first search; any other is coloured greedily, each unit with the smallest colour
that none of its neighbours has, those with the most neighbours first [1]_. Units that wait for no neighbour are coloured at
once, which changes nothing [2]_. Nothing depends on chance: the colours are part of the definition of a chain.

References
----------
.. [1] Welsh & Powell, "An upper bound for the chromatic number of a graph", The Computer Journal 10, 1967.
.. [2] Jones & Plassmann, "A parallel graph coloring heuristic", SIAM J. Sci. Comput. 14, 1993.
"""

from __future__ import annotations

import numpy as np

MIXER = 0x9E3779B97F4A7C15
"""Mixes the numbers of units, so that units of the same degree seldom wait for each other in a long row."""


def colours(indptr: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return the colour of every unit, int32 of shape (n_units,), from 0 up without gaps; neighbours have different ones.

    The graph is given in compressed rows, each coupling in both directions, none of a unit to itself. Two colours where two
    are enough, at most one more than the largest degree in any case. The first unit of each component has colour 0 in
    bipartite graphs; in others colours are numbered in the order of their first units.
    """
    n_units = len(indptr) - 1
    sides = _sides(indptr, indices)
    rows = np.repeat(np.arange(n_units), np.diff(indptr))
    if not (sides[rows] == sides[indices]).any():
        return sides
    greedy = _greedy(indptr, indices)
    _, first = np.unique(greedy, return_index=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[greedy]


def _sides(indptr, indices) -> np.ndarray:
    """Return whether each unit is an odd number of steps away from the first unit of its component, as int32."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    n_units = len(indptr) - 1
    graph = csr_array((np.ones(len(indices), np.int8), indices, indptr), shape=(n_units, n_units))
    _, roots = np.unique(connected_components(graph, directed=False)[1], return_index=True)
    # one more unit, which leads to the first of each component
    rooted = csr_array(
        (
            np.ones(len(indices) + len(roots), np.int8),
            np.concatenate([indices, roots]),
            np.append(indptr, len(indices) + len(roots)),
        ),
        shape=(n_units + 1, n_units + 1),
    )
    _, ancestors = breadth_first_order(rooted, n_units, directed=True)
    ancestors[n_units] = n_units
    odd = np.ones(n_units + 1, np.int32)
    odd[n_units] = 0
    while (ancestors != n_units).any():  # after k rounds, ancestors are 2**k steps away
        odd ^= odd[ancestors]
        ancestors = ancestors[ancestors]
    return odd[:n_units] ^ 1


def _greedy(indptr, indices) -> np.ndarray:
    """Return the colours that units get one after the other, by degree from the largest down."""
    n_units, degrees = len(indptr) - 1, np.diff(indptr)
    mixed = np.arange(1, n_units + 1, dtype=np.uint64) * np.uint64(MIXER)
    turn = np.empty(n_units, np.int64)
    turn[np.lexsort((mixed, -degrees))] = np.arange(n_units)
    rows = np.repeat(np.arange(n_units), degrees)
    waiting = np.bincount(rows[turn[indices] < turn[rows]], minlength=n_units)
    greedy, n_colours = np.full(n_units, -1, np.int32), 1
    front = np.flatnonzero(waiting == 0)
    while front.size:
        owners, neighbours = _neighbours(front, indptr, indices)
        taken = np.zeros((len(front), n_colours + 1), bool)
        taken[owners, greedy[neighbours]] = True  # that of no colour is -1, the last column, which is cleared
        taken[:, -1] = False
        greedy[front] = taken.argmin(axis=1)
        n_colours = max(n_colours, int(greedy[front].max()) + 1)
        later = neighbours[greedy[neighbours] < 0]
        np.subtract.at(waiting, later, 1)
        later = np.unique(later)
        front = later[waiting[later] == 0]
    return greedy


def _neighbours(units, indptr, indices):
    """Return all neighbours of some units, and which of these units each is a neighbour of, by its place."""
    counts = indptr[units + 1] - indptr[units]
    owners = np.repeat(np.arange(len(units)), counts)
    ends = np.cumsum(counts)
    entries = np.arange(len(owners)) - np.repeat(ends - counts, counts) + np.repeat(indptr[units], counts)
    return owners, indices[entries]
