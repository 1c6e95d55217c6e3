"""Fixtures shared by tests and benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("MPLBACKEND", "agg")

from fastbm import datasets, device
from fastbm.kernels import threads_cpu


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


@pytest.fixture(scope="session")
def digits():
    """scikit-learn's digits as rows of 0 and 1: 1,500 to train on, 297 held out."""
    X = datasets.binarise(datasets.load_digits()[0]).astype(np.float64)
    order = np.random.default_rng(0).permutation(len(X))
    return X[order[:1500]], X[order[1500:]]


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data that FASTBM_DATA names; tests that need it are skipped without."""
    candidates = [os.environ.get("FASTBM_DATA"), Path(__file__).parents[2] / "shared" / "data"]
    for folder in candidates:
        if folder and Path(folder).is_dir():
            return Path(folder)
    pytest.skip("no real data: set FASTBM_DATA to its folder")
