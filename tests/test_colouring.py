"""Colourings: proper, few colours, always the same, quick; and which graphs have layers."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array

from fastbm.machines.colouring import colours
from fastbm.machines.layout import Graph, complete, layers_of, layout_of


def rows_of(pairs, n_units):
    """A graph in compressed rows, from pairs of units."""
    first, second = np.array(pairs, np.int64).reshape(-1, 2).T
    ends = (np.concatenate([first, second]), np.concatenate([second, first]))
    matrix = csr_array(coo_array((np.ones(len(ends[0])), ends), shape=(n_units, n_units)))
    return matrix.indptr, matrix.indices


def lattice(side):
    """The pairs of neighbours on a periodic square lattice."""
    units = np.arange(side * side).reshape(side, side)
    return np.concatenate([np.stack([units, np.roll(units, -1, axis)], axis=-1).reshape(-1, 2) for axis in (0, 1)])


def random_pairs(n_units, degree, seed):
    rng = np.random.default_rng(seed)
    pairs = np.sort(rng.integers(n_units, size=(n_units * degree // 2, 2)), axis=1)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def naive_colours(indptr, indices):
    """Greedy colours, one unit after the other, in the order that the colouring states."""
    n_units = len(indptr) - 1
    mixed = [(number * 0x9E3779B97F4A7C15) % 2**64 for number in range(1, n_units + 1)]
    order = sorted(range(n_units), key=lambda unit: (indptr[unit] - indptr[unit + 1], mixed[unit]))
    found = [-1] * n_units
    for unit in order:
        taken = {found[neighbour] for neighbour in indices[indptr[unit] : indptr[unit + 1]]}
        found[unit] = next(colour for colour in range(n_units) if colour not in taken)
    names: dict[int, int] = {}
    return [names.setdefault(colour, len(names)) for colour in found]


@pytest.mark.parametrize("seed", range(20))
def test_greedy_colours_are_those_of_one_unit_after_the_other(seed):
    rng = np.random.default_rng(seed)
    n_units = int(rng.integers(3, 60))
    pairs = np.concatenate([random_pairs(n_units, int(rng.integers(2, 9)), seed), [[0, 1], [0, 2], [1, 2]]])  # not bipartite
    indptr, indices = rows_of(np.unique(pairs, axis=0), n_units)
    found = colours(indptr, indices)
    np.testing.assert_array_equal(found, naive_colours(indptr, indices))
    rows = np.repeat(np.arange(n_units), np.diff(indptr))
    assert (found[rows] != found[indices]).all()
    assert found.max() <= np.diff(indptr).max()


@pytest.mark.parametrize("n_units", [1, 2, 7])
def test_a_complete_graph_has_one_unit_a_colour_in_order(n_units):
    graph = complete(n_units, n_units)
    indptr, indices = rows_of(np.stack(graph[2:], axis=1), n_units)
    np.testing.assert_array_equal(colours(indptr, indices), np.arange(n_units))


def test_bipartite_graphs_have_two_colours_whatever_greed_would_do():
    """A crown, in which greedy colouring may use as many colours as there are pairs; two trees; units by themselves."""
    crown = [(2 * i, 2 * j + 1) for i in range(6) for j in range(6) if i != j]
    assert colours(*rows_of(crown, 12)).tolist() == [0, 1] * 6
    assert colours(*rows_of([(0, 2), (1, 3), (3, 4)], 6)).tolist() == [0, 0, 1, 1, 0, 0]
    assert colours(*rows_of([], 3)).tolist() == [0, 0, 0]


def test_a_long_path_has_two_colours():
    n_units = 200_000
    found = colours(*rows_of(np.stack([np.arange(n_units - 1), np.arange(1, n_units)], axis=1), n_units))
    np.testing.assert_array_equal(found, np.arange(n_units) % 2)


def test_a_large_lattice_has_two_colours_soon():
    rows = rows_of(lattice(1024), 1024**2)
    begin = time.perf_counter()
    found = colours(*rows)
    seconds = time.perf_counter() - begin
    side = np.arange(1024)
    np.testing.assert_array_equal(found.reshape(1024, 1024), (side[:, None] + side) % 2)
    print(f"1024 × 1024 units coloured in {seconds:.2f} s")
    assert seconds < 3  # some 0.5 s; other work may slow it down


def test_random_graphs_need_few_colours():
    found = colours(*rows_of(random_pairs(5000, 12, 0), 5000))
    assert 3 <= found.max() + 1 <= 9


def graph_of(n_visible, sizes, pairs):
    first, second = np.array(sorted(map(tuple, map(sorted, pairs))), np.int32).reshape(-1, 2).T
    return Graph(n_visible, sum(sizes), first, second)


def layered(sizes):
    starts = np.cumsum([0, *sizes])
    layers = [range(a, b) for a, b in itertools.pairwise(starts)]
    return [(i, j) for low, high in itertools.pairwise(layers) for i in low for j in high]


@pytest.mark.parametrize("sizes", [(3, 2), (1, 1), (4, 3, 2), (2, 2, 2, 2)])
def test_layers_are_recognised(sizes):
    graph = graph_of(sizes[0], sizes, layered(sizes))
    starts = np.cumsum([0, *sizes]).tolist()
    assert layers_of(graph) == list(itertools.pairwise(starts))
    assert layout_of(graph).kind == "layers"


def test_what_has_no_layers():
    assert layers_of(complete(4, 4)) is None  # no hidden units
    assert layers_of(complete(2, 4)) is None
    assert layers_of(graph_of(3, (3, 2, 2), [*layered((3, 2, 2)), (0, 1)])) is None  # visible units coupled
    assert layers_of(graph_of(3, (3, 2, 2), [*layered((3, 2, 2)), (3, 4)])) is None  # inside a layer
    assert layers_of(graph_of(3, (3, 2, 2), [*layered((3, 2, 2)), (0, 5)])) is None  # one is skipped
    assert layers_of(graph_of(3, (3, 2, 2), [(0, 3), (3, 5), (5, 4), (4, 6)])) is None  # numbers do not ascend
    assert layers_of(graph_of(3, (3, 3), [(0, 3), (1, 4)])) == [(0, 3), (3, 6)]  # two sides, one unit by itself


def test_a_few_couplings_between_large_layers_go_the_sparse_way():
    layout = layout_of(graph_of(100, (100, 100), [(i, 100 + i) for i in range(100)]))
    assert layout.kind == "sparse"
    assert layout.numbers.tolist() == [0, 1]
    np.testing.assert_array_equal(layout.order[:100], np.arange(100, 200))  # hidden units first
