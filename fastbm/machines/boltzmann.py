"""The general Boltzmann machine: parameters, energies, its rounding for the chain, and sweeps.

energy(s) = -(Σ_{i<j} w_ij s_i s_j + Σ_i b_i s_i), with couplings w between the units of a graph, and biases b; visible units
come first, then hidden ones; p(s) = exp(-energy) / Z.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.device import aligned_zeros, home_of, namespace, to_device, to_host
from fastbm.machines.layout import DENSE, Graph, Layout

COST_OF_A_TURN = 1_000_000_000
"""Units and couplings times chains times sweeps of one call of a kernel."""
SMALL = 512
"""Units up to which the matrix of couplings is worth its zeros, however few there are."""


class Boltzmann(NamedTuple):
    """Parameters: weights (n_couplings,) of couplings between units `first` and `second`, and the biases of both sides.

    ``first[e] < second[e]``, in ascending order, each pair once; visible units are numbered first, then hidden ones.
    """

    weights: Any
    visible_bias: Any
    hidden_bias: Any
    first: Any
    second: Any


class RoundedBoltzmann(NamedTuple):
    """The machine that is sampled: couplings rounded to integers, biases in float32, by slot.

    `couplings` are, in a machine with layers, those up and down between each layer and the next, in turn; in a dense one the
    matrix; in a sparse one those of the layout's entries. `free` are the states in which every unit is on.
    """

    layout: Layout
    couplings: tuple
    bias: Any
    free: tuple
    exponent: int
    tables: dict  # what kernels have built from the couplings


class Chains(NamedTuple):
    """Packed states of chains, in the parts of a layout, and how many sweeps each has had: its position in the stream."""

    states: tuple
    sweeps: int


# ------------------------------------------------------------------------------------------------------------- formulas


def n_units(machine: Boltzmann) -> int:
    """Return the number of all units."""
    return machine.visible_bias.size + machine.hidden_bias.size


def bias_of(machine: Boltzmann) -> Any:
    """Return the biases of all units, shape (n_units,)."""
    return namespace(machine.weights).concatenate([machine.visible_bias, machine.hidden_bias])


def graph_of(machine: Boltzmann) -> Graph:
    """Return which couplings there are; on the host."""
    return Graph(machine.visible_bias.size, n_units(machine), to_host(machine.first), to_host(machine.second))


def matrix_of(machine: Boltzmann, dtype: Any = None) -> Any:
    """Return the symmetric matrix of couplings, (n_units, n_units); on the CPU in compressed rows where large and sparse."""
    if dtype is not None:
        machine = machine._replace(weights=machine.weights.astype(dtype))
    size = n_units(machine)
    sparse = namespace(machine.weights) is np and size > SMALL and 2 * machine.weights.size < DENSE * size**2
    return sparse_matrix(machine) if sparse else dense_matrix(machine)


def dense_matrix(machine: Boltzmann) -> Any:
    """Return the symmetric matrix of couplings as an array, (n_units, n_units)."""
    xp, size = namespace(machine.weights), n_units(machine)
    couplings = xp.zeros((size, size), dtype=machine.weights.dtype)
    couplings[machine.first, machine.second] = machine.weights
    couplings[machine.second, machine.first] = machine.weights
    return couplings


def sparse_matrix(machine: Boltzmann) -> Any:
    """Return the symmetric matrix of couplings in compressed rows, of scipy's, on the host."""
    from scipy.sparse import coo_array

    weights, first, second = (to_host(array) for array in (machine.weights, machine.first, machine.second))
    ends, size = (np.concatenate([first, second]), np.concatenate([second, first])), n_units(machine)
    return coo_array((np.concatenate([weights, weights]), ends), shape=(size, size)).tocsr()


def energy(machine: Boltzmann, rows):
    """Return the energy of rows of all units, shape (n_rows,)."""
    return -(0.5 * ((rows @ matrix_of(machine)) * rows).sum(axis=1) + rows @ bias_of(machine))


# ------------------------------------------------------------------------------------------------------------- rounding


def rounded(machine: Boltzmann, layout: Layout, previous: RoundedBoltzmann | None = None) -> RoundedBoltzmann:
    """Round a machine for sampling; ValueError when its couplings are too large or not finite, as ``chain.round_couplings``.

    With `previous`, a rounding of a machine of the same graph, its exponent is tried first.
    """
    xp, home = namespace(machine.weights), home_of(machine.weights)
    layout = layout.on(home)
    exponent = _exponent(machine.weights[layout.entries].astype(np.float64), layout, previous and previous.exponent)
    edges = xp.rint(machine.weights.astype(np.float64) * 2.0**exponent).astype(np.int32)
    bias = aligned_zeros((layout.order.size,), np.float32, xp)
    bias[layout.places] = bias_of(machine).astype(np.float32)
    if bias.size:
        chain.check_finite(float(xp.abs(bias).max()))
    free = previous.free if previous else enter(layout, xp.ones((1, layout.graph.n_units), np.float32))
    return RoundedBoltzmann(layout, _by_slot(edges, layout), bias, free, exponent, {})


def _exponent(data, layout: Layout, guess: int | None) -> int:
    xp, most = namespace(data), float(chain.INPUT_LIMIT)

    def largest_sum(magnitudes):
        if magnitudes.size == 0:
            return 0.0
        sums = xp.concatenate([xp.zeros(1, magnitudes.dtype), xp.cumsum(magnitudes)])[layout.indptr]
        return float((sums[1:] - sums[:-1]).max())

    def round_at(exponent):  # exact: integers below 2**53
        return largest_sum(xp.minimum(xp.abs(xp.rint(data * 2.0**exponent)), most))

    def largest_input():
        with np.errstate(over="ignore", invalid="ignore"):
            return largest_sum(xp.abs(data)) * (1 - 2.0**-20)  # sums of differences may be a little too large

    return chain.settle_exponent(round_at, largest_input, (layout.graph.n_units,), guess)


def _by_slot(edges, layout: Layout) -> tuple:
    """Return rounded couplings as the layout's kernel takes them."""
    if layout.kind == "sparse":
        return (edges[layout.entries],)
    xp = namespace(edges)
    if layout.kind == "dense":
        shapes = [(layout.graph.n_units, layout.order.size)]
    else:
        widths = [end - begin for begin, end in layout.parts]
        sizes = layout.sizes[np.argsort(layout.numbers ^ 1)].tolist()
        pairs = zip(sizes[:-1], sizes[1:], widths[:-1], widths[1:], strict=True)
        shapes = [shape for low, high, width, above in pairs for shape in ((low, above), (high, width))]
    couplings = tuple(aligned_zeros(shape, np.int32, xp) for shape in shapes)
    for each, (number, cell) in zip(couplings, layout.cells, strict=True):
        each.reshape(-1)[cell] = edges[number]
    return couplings


# --------------------------------------------------------------------------------------------------------------- states


def enter(layout: Layout, rows) -> tuple:
    """Return rows of all units, 0 or 1, shape (n_rows, n_units), as packed states in the layout's parts."""
    xp = namespace(rows)
    padded = xp.concatenate([rows, xp.zeros((rows.shape[0], 1), rows.dtype)], axis=1)
    return tuple(_pack(padded.take(layout.order[begin:end], axis=1)) for begin, end in layout.parts)


def _pack(rows):
    if namespace(rows) is np:
        return chain.pack(rows)
    states = namespace(rows).empty((rows.shape[0], rows.shape[1] // chain.WORD), np.uint64)
    kernels.pack(namespace(rows).ascontiguousarray(rows, dtype=np.float32), states)
    return states


def leave(layout: Layout, states: tuple, dtype: Any = np.float32, n_units: int | None = None):
    """Return packed states as rows of all units, or of the first `n_units`, shape (n_rows, n_units)."""
    xp = namespace(states[0])
    slots = [kernels.unpack(part, end - begin, dtype) for part, (begin, end) in zip(states, layout.parts, strict=True)]
    joined = slots[0] if len(slots) == 1 else xp.concatenate(slots, axis=1)
    return joined.take(layout.places[: layout.graph.n_units if n_units is None else n_units], axis=1)


@cache
def ones(home: str = "cpu"):
    """Return the `beta` of chains at inverse temperature 1; shared, not to be written to."""
    return to_device(np.ones((1, 1), np.float32), home)


def empty_chains(layout: Layout, n_chains: int, xp: Any = np) -> Chains:
    """Return chains with every unit off and no sweep made."""
    return Chains(tuple(xp.zeros((n_chains, (end - begin) // chain.WORD), np.uint64) for begin, end in layout.parts), 0)


def advance(
    machine: RoundedBoltzmann, chains: Chains, n_sweeps: int, *, key, beta, free: tuple | None = None, first_chain: int = 0
) -> Chains:
    """Run `n_sweeps` more sweeps of every chain, in place.

    `beta` is float32 of shape (n_chains or 1, n_sweeps or 1); `free` are packed states in the layout's parts, 1 where a unit is
    not clamped, of n_chains rows or one, or None where no unit is.
    """
    free = machine.free if free is None else free
    turn, start = sweeps_a_turn(machine, len(chains.states[0])), chains.sweeps
    sweep = _sweep_layers if machine.layout.kind == "layers" else _sweep_graph
    for begin in range(0, n_sweeps, turn):
        end = min(begin + turn, n_sweeps)
        beta_now = beta if beta.shape[1] == 1 else beta[:, begin:end]
        numbers = {"exponent": machine.exponent, "key": key, "first_chain": first_chain}
        sweep(machine, chains.states, beta_now, free, start + begin, start + end, numbers)
    return Chains(chains.states, start + n_sweeps)


def _sweep_layers(machine, states, beta, free, start, stop, numbers):
    layout, xp = machine.layout, namespace(beta)
    biases = tuple(machine.bias[begin:end] for begin, end in layout.parts)
    step = stop - start if beta.shape[1] == 1 else 1
    for k, begin in enumerate(range(start, stop, step)):
        kernels.gibbs(
            states, machine.couplings[::2], machine.couplings[1::2], biases, xp.ascontiguousarray(beta[:, k]), free,
            machine.tables, start=2 * begin, stop=2 * (begin + step), **numbers,
        )  # fmt: skip


def _sweep_graph(machine, states, beta, free, start, stop, numbers):
    layout = machine.layout
    run: Any = kernels.graph_gibbs if layout.kind == "sparse" else kernels.dense_gibbs
    rows = (layout.indptr, layout.indices) if layout.kind == "sparse" else ()
    run(
        states[0], *rows, *machine.couplings, machine.bias, namespace(beta).ascontiguousarray(beta), free[0], layout.starts,
        layout.sizes, layout.numbers, machine.tables, start=start, stop=stop, **numbers,
    )  # fmt: skip


def sweeps_a_turn(machine: RoundedBoltzmann, n_chains: int) -> int:
    """Return how many sweeps a kernel makes in one call: a fraction of a second's, so that Ctrl-C is heard in between."""
    cost_of_a_sweep = 10 * machine.bias.size + machine.layout.entries.size // 8  # of which a part flips, or is added at once
    return max(1, COST_OF_A_TURN // max(n_chains * cost_of_a_sweep, 1))
