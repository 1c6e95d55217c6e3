"""Fixtures shared by tests."""

from __future__ import annotations

import hashlib
import os
import sys
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

from gpu_without_gpu import host, stand_in  # noqa: E402

from fastbm import datasets, device  # noqa: E402
from fastbm.kernels import gibbs_cpu, phases_cpu, simd_cpu, threads_cpu  # noqa: E402

WAYS = ("incremental", *simd_cpu.LEVELS)
LOOKUPS = ("avx2", "avx512")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu), "cuda-on-host"])
def device_name(request):
    """Every device, and a GPU's kernels as they are built for the host; those not to be had are skipped with the reason."""
    if request.param == "cuda" and device.why_no_cuda():
        pytest.skip(f"cuda: {device.why_no_cuda()}")
    if request.param == "cuda-on-host":
        if device.why_no_cuda() is None:
            pytest.skip("cuda-on-host: there is a GPU")
        request.getfixturevalue("gpu")
    return request.param.removesuffix("-on-host")


@pytest.fixture
def gpu(monkeypatch):
    """CuPy on a GPU, or, where there is none, its stand-in, which runs the kernels as they are built for the host."""
    if device.why_no_cuda() is None:
        import cupy

        return cupy
    if not host.have_compiler():
        pytest.skip(f"gpu: there is none here ({device.why_no_cuda()}), and no g++ to build its kernels for the host")
    for name, module in stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return stand_in.modules()["cupy"]


@pytest.fixture
def crossings(gpu):
    """How often arrays, and numbers, have crossed between host and device; only the stand-in counts."""
    if gpu is not stand_in.modules()["cupy"]:
        pytest.skip("crossings: only the stand-in for CuPy counts them")
    stand_in.COUNT.clear()
    return stand_in.COUNT


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
        monkeypatch.setattr(phases_cpu, "tables_pay", lambda *arguments: True)


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
