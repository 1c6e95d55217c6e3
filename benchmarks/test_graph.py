"""Block Gibbs sampling of general machines, in flips: a lattice, a random graph, a dense machine."""

from __future__ import annotations

import pytest
from plain_loop import plain_loop

from fastbm.commands import graphs, peers
from fastbm.device import resolve

SMALL = {
    "lattice": lambda: graphs.lattice(32),
    "random": lambda: graphs.random_graph(100, 12),
    "random-256": lambda: graphs.random_graph(100, 12, 5),
    "dense": lambda: graphs.dense(70, 5),
}
FLIPS = 5e7
"""Flips of a run, about."""

every_workload = pytest.mark.parametrize("name", graphs.WORKLOADS)


@pytest.fixture
def workload(name, quick):
    return (SMALL if quick else graphs.WORKLOADS)[name]()


@pytest.fixture
def measure(benchmark, quick, name, workload):
    """A function that measures a run of some sweeps."""

    def measure(run):
        n_sweeps = 2 if quick else max(1, round(FLIPS / workload.flips))
        benchmark.group = f"graph-{name}"
        benchmark.extra_info["flips"] = n_sweeps * workload.flips
        run(1)
        assert len(benchmark(run, n_sweeps))

    return measure


@every_workload
def test_fastbm(device, workload, measure):
    measure(graphs.fastbm_sweeps(workload, resolve(device)))


@every_workload
@pytest.mark.parametrize("peer", peers.GRAPHS)
def test_peer(peer, workload, measure):
    run = graphs.peer_sweeps(peer, workload)
    measure(pytest.skip(f"{peer}: {run}") if isinstance(run, str) else run)


@pytest.mark.parametrize("name", ["lattice"])
def test_plain_loop(workload, measure):
    measure(plain_loop(round(workload.n_units**0.5), float(workload.couplings[0])))
