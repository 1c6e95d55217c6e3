"""The rows of ``python -m fastbm bench`` about general machines: flips, that is, updates of a unit, per nanosecond."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from fastbm import chain, device, kernels
from fastbm.commands import peers
from fastbm.machines import boltzmann
from fastbm.machines.boltzmann import Boltzmann
from fastbm.machines.layout import Graph, layout_of

CRITICAL = 0.5 * np.log(1 + np.sqrt(2))
"""The coupling of spins ±1 at which a square lattice begins to magnetise."""
KEY = chain.stream_key(0, chain.Purpose.SAMPLING)


class Workload(NamedTuple):
    """A machine to sweep: its couplings between spins ±1 without fields, and how many chains."""

    title: str
    n_units: int
    first: np.ndarray
    second: np.ndarray
    couplings: np.ndarray
    n_chains: int

    @property
    def flips(self) -> int:
        """Updates of a unit in a sweep of all chains."""
        return self.n_units * self.n_chains


def lattice(side: int, n_chains: int = 1) -> Workload:
    """Return the Ising model on a periodic square lattice at its critical temperature."""
    y, x = np.divmod(np.arange(side * side), side)
    neighbours = np.concatenate([y * side + (x + 1) % side, (y + 1) % side * side + x])
    edges = in_order(np.tile(np.arange(side * side), 2), neighbours)
    return Workload(f"Ising lattice {side} × {side}", side * side, *edges, np.full(edges[0].size, CRITICAL), n_chains)


def random_graph(n_units: int, degree: int, n_chains: int = 1) -> Workload:
    """Return a spin glass on a random graph, the union of degree / 2 random rings: normal couplings of variance 1 / degree."""
    rng = np.random.default_rng(0)
    rings = [rng.permutation(n_units) for _ in range(degree // 2)]
    edges = in_order(np.concatenate(rings), np.concatenate([np.roll(ring, 1) for ring in rings]))
    couplings = rng.normal(size=edges[0].size) / np.sqrt(degree)
    return Workload(f"random graph, {n_units:,} units of degree {degree}", n_units, *edges, couplings, n_chains)


def dense(n_units: int, n_chains: int = 256) -> Workload:
    """Return the Sherrington–Kirkpatrick spin glass: all couplings, normal, of variance 1 / n_units."""
    edges = np.triu_indices(n_units, 1)
    couplings = np.random.default_rng(0).normal(size=edges[0].size) / np.sqrt(n_units)
    return Workload(f"dense machine, {n_units:,} units", n_units, *edges, couplings, n_chains)


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "lattice": lambda: lattice(1024),
    "random": lambda: random_graph(5000, 12),
    "random-256": lambda: random_graph(5000, 12, 256),
    "dense": lambda: dense(1000),
}


def in_order(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return edges in ascending order, the smaller end first, each once."""
    ends = np.unique(np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1), axis=0)
    return ends[:, 0].copy(), ends[:, 1].copy()


def machine_of(workload: Workload) -> Boltzmann:
    """Return the machine of units 0 and 1 that has these couplings between spins."""
    n_units, first, second, couplings = workload[1:5]
    ends, sizes = np.concatenate([first, second]), np.tile(couplings, 2)
    bias = -2 * np.bincount(ends, sizes, n_units)
    return Boltzmann(4 * couplings, bias, np.zeros(0), first, second)


def fastbm_sweeps(workload: Workload, home: str = "cpu", n_threads: int | None = None) -> peers.Run:
    """Return what makes sweeps on a device, from random states on; on so many threads, where that is said."""
    machine = machine_of(workload)
    layout = layout_of(Graph(workload.n_units, workload.n_units, workload.first, workload.second)).on(home)
    weights, bias, none = (device.to_device(array, home) for array in machine[:3])
    exact = boltzmann.rounded(Boltzmann(weights, bias, none, machine.first, machine.second), layout)
    rows = np.random.default_rng(1).random((workload.n_chains, workload.n_units)) < 0.5
    states = boltzmann.enter(layout, device.to_device(rows.astype(np.float32), home))
    chains = boltzmann.Chains(states, 0)

    def run(n_sweeps):
        nonlocal chains
        with kernels.limited_to(n_threads) if n_threads else nullcontext():
            chains = boltzmann.advance(exact, chains, n_sweeps, key=KEY, beta=boltzmann.ones(home))
        return device.to_host(chains.states[0])

    return run


def rows_of(workload: Workload, names) -> dict[str, peers.Run | str]:
    """Return the rows of a table: what makes sweeps of all chains, or the reason why it cannot."""
    n = kernels.n_threads()
    rows: dict[str, peers.Run | str] = {f"fastbm cpu ({n} thread{'s'[: n > 1]})": fastbm_sweeps(workload)}
    if n > 1:
        rows["fastbm cpu (1 thread)"] = fastbm_sweeps(workload, n_threads=1)
    rows["fastbm cuda"] = device.why_no_cuda() or fastbm_sweeps(workload, device.resolve("cuda"))
    rows |= {name: peer_sweeps(name, workload) for name in peers.GRAPHS if name in names}
    return rows


def peer_sweeps(name: str, workload: Workload) -> peers.Run | str:
    """Return a peer that makes sweeps, or the reason why it cannot."""
    n_units, first, second, couplings, n_chains = workload[1:]
    layout = layout_of(Graph(n_units, n_units, first, second))
    if name == "numpy" and len(layout.sizes) < n_units / 2:
        return "not measured: a matrix of couplings would be nearly empty"
    if name == "thrml" and len(layout.sizes) > peers.MOST_BLOCKS:
        return f"not measured: {len(layout.sizes):,} blocks of its would take minutes to compile"
    starts = zip(layout.starts, layout.sizes, strict=True)
    blocks = [layout.order[start : start + size] for start, size in starts]
    try:
        return peers.GRAPHS[name](n_units, first, second, couplings, blocks, n_chains)
    except ImportError as error:
        return f"not installed: {error}"
