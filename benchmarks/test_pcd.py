"""Training by PCD-1, beginning with a new machine: one pass over binary rows, or over grey rows with every default."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from workloads import DEFAULT, EPOCHS

from fastbm.commands import bench, peers
from fastbm.evaluation.pseudo_likelihood import pseudo_likelihood
from fastbm.machines.rbm import RBM

N_ROWS = 6000
"""Rows of a pass; the claims are about more."""

epochs = pytest.mark.parametrize("workload", EPOCHS, ids=lambda workload: f"batch{workload.batch_size}", indirect=True)
default = pytest.mark.parametrize("workload", [DEFAULT], ids=lambda workload: workload.id, indirect=True)


@pytest.fixture(name="workload")
def shortened(workload):
    return replace(workload, n_rows=min(workload.n_rows, N_ROWS))


@pytest.fixture
def measure(benchmark, workload):
    """A function that measures an epoch."""

    def measure(run):
        benchmark.group = f"{workload.id}-{workload.n_rows}rows"
        return benchmark.pedantic(run, args=(1,), rounds=5, warmup_rounds=1)

    return measure


def runnable(name, runs):
    return pytest.skip(f"{name}: {runs[name]}") if isinstance(runs[name], str) else runs[name]


@epochs
def test_fastbm(workload, device, materials, measure):
    assert measure(workload.fastbm(materials, device)).components_.shape == (workload.n_hidden, workload.n_visible)


@epochs
@pytest.mark.parametrize("peer", peers.PCD)
def test_peer(workload, peer, materials, measure):
    assert measure(runnable(peer, workload.peers(materials))) is not None


@default
def test_fastbm_with_defaults(workload, device, materials, measure):
    assert measure(workload.fastbm(materials, device)).components_.shape == (workload.n_hidden, workload.n_visible)


@default
def test_sklearn_with_defaults(workload, materials, measure):
    model = measure(runnable("scikit-learn", workload.peers(materials)))
    assert model.components_.shape == (workload.n_hidden, workload.n_visible)


# -------------------------------------------------------------------------------------------- peers do the same work


def parameters(trained) -> RBM:
    """Return what a PCD run returned as a machine."""
    if hasattr(trained, "components_"):
        trained = trained.components_.T, trained.intercept_visible_, trained.intercept_hidden_
    return RBM(*(np.ascontiguousarray(np.asarray(array), np.float32) for array in trained))


def score(machine: RBM, X) -> float:
    """Return the mean pseudo-likelihood, in nats a row."""
    return pseudo_likelihood(machine, X).mean()


def biases_alone(X, n_hidden: int) -> RBM:
    """Return the best machine without weights."""
    mean = X.mean(axis=0).clip(1e-3, 1 - 1e-3)
    return RBM(np.zeros((X.shape[1], n_hidden), np.float32), np.log(mean / (1 - mean)), np.zeros(n_hidden, np.float32))


@pytest.mark.parametrize("peer", peers.PCD)
def test_a_peer_learns_as_much(peer, materials):
    """In the same minibatches, the last of them not full; and more than biases alone are worth."""
    X = materials.rows(9008, 64)
    try:
        theirs = score(parameters(peers.PCD[peer](X, 32, 10)()), X)
    except ImportError as error:
        pytest.skip(f"{peer}: not installed: {error}")
    ours = score(parameters(bench.fastbm_pcd(X, 32, 10, "cpu")()), X)
    assert theirs > score(biases_alone(X, 32), X) + 3
    assert abs(theirs - ours) < 1
