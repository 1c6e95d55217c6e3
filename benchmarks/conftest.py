"""Fixtures of the benchmarks: devices, trained machines, binary rows; all of them small with ``--benchmark-disable``."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

import fastbm.device
from fastbm.commands import bench

DATA = Path(os.environ.get("FASTBM_DATA") or Path(__file__).parents[2] / "shared" / "data")
"""Where binarized-mnist/binarized_mnist_packed.npz may be; without it, embedded digits are enlarged."""


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """Every device; those that cannot be had here are skipped with the reason."""
    if request.param == "cuda":
        pytest.skip(f"cuda: {fastbm.device.why_no_cuda()}")
    return request.param


@pytest.fixture(scope="session")
def quick(request) -> bool:
    """Whether benchmarks only run once, untimed, to see that they work."""
    return request.config.getoption("benchmark_disable")


@pytest.fixture(scope="session")
def binary_rows():
    """A function that returns rows of 0 and 1 of so many units."""
    return cache(lambda n_visible: bench.training_rows(n_visible, DATA))


@pytest.fixture(scope="session")
def trained(quick, binary_rows):
    """A function that returns a machine of so many visible and hidden units, trained on `binary_rows`."""
    n_updates = 20 if quick else 2000
    return cache(lambda n_visible, n_hidden: bench.trained(binary_rows(n_visible), n_hidden, n_updates))


@pytest.fixture(scope="session")
def sampled(quick, binary_rows, trained):
    """A function that returns a trained machine and chains for a shape."""

    @cache
    def get(shape):
        machine = trained(shape.n_visible, shape.n_hidden)
        n_steps = 2 if quick else bench.BURN_IN
        return machine, bench.burnt_in(machine, binary_rows(shape.n_visible), shape.n_chains, n_steps)

    return get
