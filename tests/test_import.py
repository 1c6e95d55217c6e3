"""The front door: `import fastbm` is quick and loads nothing heavy; names are found when they are used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastbm

HEAVY = {"numba", "llvmlite", "cupy", "sklearn", "scipy", "matplotlib", "tqdm", "safetensors"}
LONGEST_SECONDS = 0.15


def run_fresh(statement: str) -> dict:
    """Run a statement in a new process; return the seconds it took, the packages it loaded and the names it made."""
    code = (
        "import sys, time\n"
        "before, begin = set(sys.modules), time.perf_counter()\n"
        f"{statement}\n"
        "seconds, names = time.perf_counter() - begin, dir()\n"
        "import json\n"
        "loaded = sorted({name.split('.')[0] for name in set(sys.modules) - before})\n"
        "print(json.dumps({'seconds': seconds, 'loaded': loaded, 'names': names}))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(fastbm.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("statement", ["import fastbm", "import fastbm; dir(fastbm)", "import fastbm.kernels, fastbm.chain"])
def test_importing_loads_nothing_heavy(statement):
    assert HEAVY & set(run_fresh(statement)["loaded"]) == set()


def test_importing_is_quick():
    assert min(run_fresh("import fastbm")["seconds"] for _ in range(5)) < LONGEST_SECONDS


def test_a_heavy_package_would_be_seen():
    assert "tqdm" in run_fresh("import fastbm, tqdm")["loaded"]


def test_the_estimator_loads_no_kernel_and_no_picture():
    assert {"numba", "cupy", "matplotlib"} & set(run_fresh("from fastbm import BernoulliRBM")["loaded"]) == set()


def test_star_import_gives_every_public_name_and_no_kernel():
    result = run_fresh("from fastbm import *")
    assert set(fastbm.__all__) <= set(result["names"])
    assert {"numba", "cupy"} & set(result["loaded"]) == set()


def test_dir_lists_every_public_name():
    assert set(fastbm.__all__) <= set(dir(fastbm))


@pytest.mark.parametrize("name", fastbm.__all__)
def test_every_public_name_exists(name):
    assert getattr(fastbm, name) is not None


def test_an_unknown_name_is_an_error_that_says_so():
    with pytest.raises(AttributeError, match="module 'fastbm' has no attribute 'nonsense'"):
        fastbm.nonsense  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'nonsense'"):
        from fastbm import nonsense  # noqa: F401
