"""Block Gibbs sampling of restricted Boltzmann machines: chains that advance by a few sweeps."""

from __future__ import annotations

import numpy as np
import pytest
from workloads import GIBBS

from fastbm.commands import bench, peers
from fastbm.machines.rbm import RBM

COUPLINGS = 4e9
"""Couplings of a run, about: with more chains or units it makes fewer sweeps."""

workloads = pytest.mark.parametrize("workload", GIBBS, ids=lambda workload: str(workload.shape), indirect=True)
every_peer = pytest.mark.parametrize("peer", peers.GIBBS)


@pytest.fixture
def measure(benchmark, quick, workload):
    """A function that measures a run of a few sweeps, and checks the shape of the visible states that it returns."""

    def measure(run):
        shape = workload.shape
        n_steps = 2 if quick else int(np.clip(COUPLINGS / workload.couplings, 1, 5000))
        benchmark.group = workload.id
        benchmark.extra_info["chain_steps"] = n_steps * shape.n_chains
        run(1)
        assert np.asarray(benchmark(run, n_steps)).shape == (shape.n_chains, shape.n_visible)

    return measure


def peer_run(name, machine, chains):
    run = bench.peer_gibbs(name, machine, chains)
    return pytest.skip(f"{name}: {run}") if isinstance(run, str) else run


@workloads
def test_fastbm(workload, device, materials, measure):
    measure(workload.fastbm(materials, device))


@workloads
@every_peer
def test_peer(workload, peer, materials, measure):
    measure(peer_run(peer, *workload.sampled(materials)))


@pytest.fixture(scope="module")
def small():
    """A machine whose units' means depend on every parameter, and 1,024 chains."""
    rng = np.random.default_rng(0)
    machine = RBM(*(rng.normal(0, 1, shape).astype(np.float32) for shape in [(64, 32), 64, 32]))
    machine.weights[...] *= 0.3
    return machine, bench.burnt_in(machine, np.eye(64), 1024)


@every_peer
def test_a_peer_samples_the_same_distribution(peer, small):
    """The units' means after five sweeps from the same chains, each within five standard errors."""
    machine, chains = small
    theirs = np.asarray(peer_run(peer, machine, chains)(5)).mean(axis=0)
    ours = bench.fastbm_gibbs(machine, chains)(5).mean(axis=0)
    mean = (ours + theirs) / 2
    error = np.sqrt(2 * mean * (1 - mean) / 1024)
    np.testing.assert_array_less(np.abs(ours - theirs), 5 * error + 5 / 1024)
