"""Fixtures of the benchmarks: devices, and the materials of the workloads; all of them small with ``--benchmark-disable``."""

from __future__ import annotations

import pytest
from materials import Materials

import fastbm.device


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """Every device; those that cannot be had here are skipped with the reason."""
    if request.param == "cuda" and fastbm.device.why_no_cuda():
        pytest.skip(f"cuda: {fastbm.device.why_no_cuda()}")
    return request.param


@pytest.fixture(scope="session")
def quick(request) -> bool:
    """Whether benchmarks only run once, untimed, to see that they work."""
    return request.config.getoption("benchmark_disable")


@pytest.fixture(scope="session")
def materials(quick) -> Materials:
    """Rows, trained machines, chains."""
    return Materials(n_updates=20, n_sweeps=2) if quick else Materials()


@pytest.fixture
def workload(request, quick):
    """A workload that a test names by ``indirect``, small when `quick`."""
    return request.param.small() if quick else request.param
