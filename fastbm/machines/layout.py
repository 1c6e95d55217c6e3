"""How the units of a general machine are drawn, and where they lie: blocks, slots, and the kernel that runs them.

A *graph* says which couplings exist. Its *blocks*, sets of units without couplings among them, are drawn one after the other.
The two sides of a restricted machine are its blocks, hidden units first; the layers of a layered one of at most 16, odd ones
first; those of any other are colour classes. *Slots* are the places of units in packed states.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastbm import chain
from fastbm.device import home_of, to_device
from fastbm.machines.colouring import colours

DENSE = 1 / 16
"""The part of all couplings that must exist for a matrix of them to be worth its zeros, in a machine or between layers."""


MOST_LAYERS = 16
"""Layers that are drawn as layers; a kernel is compiled for each number of them, in a time that grows with its square."""


class Graph(NamedTuple):
    """Units 0 … n_units - 1, visible ones first; couplings join ``first[e] < second[e]``, in ascending order, each once."""

    n_visible: int
    n_units: int
    first: np.ndarray
    second: np.ndarray


class Layout(NamedTuple):
    """Where units lie. Arrays of `graph`, `starts`, `sizes` and `numbers` are on the host, the others where states are.

    `kind` is "layers", "sparse" or "dense", for the kernel that runs the machine. States are packed in `parts`, ranges of
    slots: one a layer, or a single one. Slot s holds unit ``order[s]``, n_units in padding; unit u is at slot ``places[u]``.
    Block b, in the order of drawing, has `sizes[b]` units from slot `starts[b]` on, and the number `numbers[b]`. Couplings are
    listed by slot, in compressed rows (`indptr`, `indices`), entry k being coupling ``entries[k]`` of the graph. `cells` are
    the places of couplings in matrices: one pair of arrays, couplings and flat indices, for each matrix.
    """

    kind: str
    graph: Graph
    parts: tuple
    order: Any
    places: Any
    starts: np.ndarray
    sizes: np.ndarray
    numbers: np.ndarray
    indptr: Any
    indices: Any
    entries: Any
    cells: tuple

    def on(self, home: str) -> Layout:
        """Return the layout for states on a device."""
        if home_of(self.order) == home:
            return self
        names = ("order", "places", "indptr", "indices", "entries")
        cells = tuple(tuple(to_device(array, home) for array in pair) for pair in self.cells)
        return self._replace(cells=cells, **{name: to_device(getattr(self, name), home) for name in names})


def complete(n_visible: int, n_units: int) -> Graph:
    """Return the graph with all couplings."""
    first, second = np.triu_indices(n_units, 1)
    return Graph(n_visible, n_units, first.astype(np.int32), second.astype(np.int32))


def layout_of(graph: Graph) -> Layout:
    """Return the layout of a graph; the same for the same graph, always."""
    layers = layers_of(graph)
    layers = None if layers and len(layers) > MOST_LAYERS else layers
    if layers is not None and _share(graph, layers) >= DENSE:
        return _layered(graph, layers)
    if layers is not None:
        drawn = [*range(1, len(layers), 2), *range(0, len(layers), 2)]
        blocks, numbers = [np.arange(*layers[layer]) for layer in drawn], [layer ^ 1 for layer in drawn]
    else:
        of_units = colours(*_rows_of(graph, np.arange(graph.n_units), graph.n_units)[:2])
        by_colour = np.argsort(of_units, kind="stable")
        blocks = np.split(by_colour, np.cumsum(np.bincount(of_units))[:-1])
        numbers = range(len(blocks))
    dense = 2 * len(graph.first) >= DENSE * graph.n_units**2
    return _in_one_part(graph, blocks, numbers, dense)


def layers_of(graph: Graph) -> list[tuple[int, int]] | None:
    """Return the ranges of units of the layers, the visible one first; None when the graph has no layers.

    Couplings join a layer only to the next; each layer's units come before the next layer's, and all but the visible ones have
    a coupling to the layer before, unless there are two layers.
    """
    n_visible, n_units, first, second = graph
    if n_visible == n_units:
        return None
    starts = [0, n_visible]
    if not ((first < n_visible) & (second >= n_visible)).all():
        lowest = np.full(n_units, n_units)
        lowest[second[::-1]] = first[::-1]  # ascending couplings: the last to be written is the lowest
        for unit, neighbour in enumerate(lowest[n_visible:].tolist(), n_visible):
            if neighbour >= unit:
                return None
            if neighbour >= starts[-1]:
                starts.append(unit)
    layer = np.searchsorted(starts, np.arange(n_units), side="right")
    if (layer[second] - layer[first] != 1).any():
        return None
    return list(pairwise([*starts, n_units]))


def _share(graph, layers) -> float:
    """Return the part of the couplings between layers that exist."""
    sizes = [end - begin for begin, end in layers]
    return len(graph.first) / sum(a * b for a, b in pairwise(sizes))


def _rows_of(graph, places, n_slots) -> Any:
    """Return the couplings in compressed rows by slot: indptr, indices, and which coupling each entry is."""
    from scipy.sparse import coo_array

    first, second = places[graph.first], places[graph.second]
    number = np.arange(len(first))
    ends = (np.concatenate([first, second]), np.concatenate([second, first]))
    rows = coo_array((np.concatenate([number, number]), ends), shape=(n_slots, n_slots)).tocsr()
    rows.sort_indices()
    return rows.indptr.astype(np.int32), rows.indices.astype(np.int32), rows.data.astype(np.int32)


def _in_one_part(graph, blocks, numbers, dense) -> Layout:
    """Return the layout with all blocks in one part; but for dense machines, each begins with a new word."""
    sizes = np.array([len(block) for block in blocks])
    room = sizes if dense else -(-sizes // chain.WORD) * chain.WORD
    starts, n_slots = np.cumsum(room) - room, int(chain.padded(room.sum()))
    order = np.full(n_slots, graph.n_units)
    for start, block in zip(starts, blocks, strict=True):
        order[start : start + len(block)] = block
    places = _places(order, graph.n_units)
    rows = _rows_of(graph, places, n_slots)
    cells: tuple = ()
    if dense:
        slots = np.repeat(np.arange(n_slots), np.diff(rows[0]))
        cells = ((rows[2], slots * n_slots + rows[1]),)
    of_blocks = _integers(starts, sizes, numbers)
    arrays = order, places, *of_blocks, *rows
    return Layout("dense" if dense else "sparse", graph, ((0, n_slots),), *arrays, cells=cells)


def _layered(graph, layers) -> Layout:
    """Return the layout with one part a layer, each from a new word on, and couplings up and down between them as matrices."""
    sizes = np.array([end - begin for begin, end in layers])
    room = -(-sizes // chain.WORD) * chain.WORD
    ends = np.cumsum(room)
    parts = tuple((int(end - size), int(end)) for end, size in zip(ends, room, strict=True))
    order = np.full(ends[-1], graph.n_units)
    for (begin, end), (slot, _) in zip(layers, parts, strict=True):
        order[slot : slot + end - begin] = np.arange(begin, end)
    places, cells = _places(order, graph.n_units), []
    for (begin, end), (above, _), width, width_above in zip(layers[:-1], layers[1:], room[:-1], room[1:], strict=True):
        number = np.flatnonzero((graph.first >= begin) & (graph.first < end))
        low, high = graph.first[number].astype(np.int64) - begin, graph.second[number].astype(np.int64) - above
        cells += [(number, low * width_above + high), (number, high * width + low)]
    drawn = np.array([*range(1, len(layers), 2), *range(0, len(layers), 2)])
    of_blocks = _integers(np.array([begin for begin, _ in parts])[drawn], sizes[drawn], drawn ^ 1)
    rows = _rows_of(graph, places, ends[-1])
    arrays = order, places, *of_blocks, *rows
    return Layout("layers", graph, parts, *arrays, cells=tuple(cells))


def _places(order, n_units) -> np.ndarray:
    places = np.empty(n_units + 1, np.int64)
    places[order] = np.arange(len(order))
    return places[:n_units]


def _integers(*arrays) -> Any:
    return tuple(np.array(array, np.int32) for array in arrays)
