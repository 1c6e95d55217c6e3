"""Training by PCD-1: one pass over binary rows with minibatches of 100, beginning with a new machine."""

from __future__ import annotations

import pytest

from fastbm.commands import bench, peers

N_HIDDEN, BATCH_SIZE = 500, 100


@pytest.fixture(name="X")
def rows(binary_rows, quick):
    return binary_rows(784)[: 200 if quick else 6000]


@pytest.fixture
def measure(benchmark, X):
    """A function that measures an epoch."""

    def measure(run):
        benchmark.group = f"pcd-784x{N_HIDDEN}-batch{BATCH_SIZE}-{len(X)}rows"
        return benchmark.pedantic(run, rounds=5, warmup_rounds=1)

    return measure


def test_fastbm(X, device, measure):
    model = measure(bench.fastbm_pcd(X, N_HIDDEN, BATCH_SIZE, device))
    assert model.components_.shape == (N_HIDDEN, 784)


@pytest.mark.parametrize("peer", peers.PCD)
def test_peer(X, peer, measure):
    try:
        run = peers.PCD[peer](X, N_HIDDEN, BATCH_SIZE)
    except ImportError as error:
        pytest.skip(f"{peer}: not installed: {error}")
    assert measure(run) is not None
