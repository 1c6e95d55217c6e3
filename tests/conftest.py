"""Fixtures shared by tests."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def _fresh_cache() -> str:
    """A folder for what numba compiles, named after the sources: numba does not see when what a kernel inlines has changed."""
    sources = sorted([ROOT / "fastbm" / "chain.py", *(ROOT / "fastbm" / "kernels").glob("*.py")])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    return str(Path(tempfile.gettempdir()) / f"fastbm-tests-{digest}")


os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("NUMBA_CACHE_DIR", _fresh_cache())
if os.cpu_count() == 1:
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")  # tests compare one thread with two

from fastbm import datasets, device  # noqa: E402
from fastbm.kernels import gibbs_cpu, phases_cpu, simd_cpu, threads_cpu  # noqa: E402

WAYS = ("incremental", *simd_cpu.LEVELS)
LOOKUPS = ("avx2", "avx512")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device_name(request):
    """Every device; those that cannot be had here are skipped with the reason."""
    if request.param == "cuda":
        pytest.skip(f"cuda: {device.why_no_cuda()}")
    return request.param


@pytest.fixture
def always_threads(monkeypatch):
    """Hand out even the smallest work to threads, in as many runs as there are rows."""
    monkeypatch.setattr(threads_cpu, "WORTH_A_THREAD", 1e-9)


@pytest.fixture(params=[1, 2])
def n_threads(request, always_threads):
    """Run with one thread and with two, however small the work."""
    with threads_cpu.limited_to(request.param):
        yield request.param


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Every way to sweep, whatever the size of the work; those that this processor cannot go are skipped with the reason."""
    force(monkeypatch, request.param)
    return request.param


@pytest.fixture(params=LOOKUPS)
def lookup_level(request, monkeypatch):
    """The ways to sweep that look inputs up."""
    force(monkeypatch, request.param)
    return request.param


def force(monkeypatch, way: str) -> None:
    """Have kernels go one way: follow flips, obey the cost model at level "portable", or look up at another level."""
    if way in simd_cpu.LEVELS:
        if way not in simd_cpu.levels_here():
            pytest.skip(f"{way}: this processor has only {', '.join(simd_cpu.levels_here())}")
        monkeypatch.setattr(simd_cpu, "LEVEL", way)
    if way != "portable":
        monkeypatch.setattr(gibbs_cpu, "looks_up", lambda *arguments, **named: way in LOOKUPS)
        monkeypatch.setattr(
            phases_cpu, "makes_tables", lambda n_chains, n_sources, level: way == "avx512" and n_sources <= 4096
        )


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits as rows of 0 and 1: 1,500 to train on, 297 held out."""
    X = datasets.binarise(datasets.load_digits()[0]).astype(np.float64)
    order = np.random.default_rng(0).permutation(len(X))
    return X[order[:1500]], X[order[1500:]]


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data that FASTBM_DATA names; tests that need it are skipped without."""
    candidates = [os.environ.get("FASTBM_DATA"), ROOT.parent / "shared" / "data"]
    for folder in candidates:
        if folder and Path(folder).is_dir():
            return Path(folder)
    pytest.skip("no real data: set FASTBM_DATA to its folder")
