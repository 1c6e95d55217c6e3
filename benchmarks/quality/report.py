"""What the scripts of this folder share: the data, a schedule of rates, and how a result is printed."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

import fastbm
from fastbm import datasets


def mnist():
    """Return the images and labels of MNIST, from the folder that FASTBM_DATA names."""
    return datasets.load_mnist(Path(os.environ["FASTBM_DATA"]) / "mnist")


class Anew:
    """Batches of grey images, in a new order and drawn anew as 0 and 1 for each pass: a pixel is on with its grey level."""

    def __init__(self, images, seed: int, batch_size: int = 6000):
        self.images, self.seed, self.batch_size, self.passes = images, seed, batch_size, 0

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.passes])
        self.passes += 1
        order = rng.permutation(len(self.images))
        for begin in range(0, len(order), self.batch_size):
            rows = self.images[order[begin : begin + self.batch_size]]
            yield (rng.random(rows.shape, np.float32) < rows).astype(np.float32)


def late_decay(fraction: float) -> float:
    """1 over the first half, then down to a tenth."""
    return 0.1 ** max(0.0, 2 * fraction - 1)


def show(**figures) -> None:
    """Print figures as a line of JSON, with the versions and the processor they were measured with."""
    packages = {name: version(name) for name in ("numpy", "numba", "scikit-learn")}
    threads = os.environ.get("NUMBA_NUM_THREADS", os.cpu_count())
    machine = {"python": platform.python_version(), "fastbm": fastbm.__version__, **packages, "threads": threads}
    print(json.dumps({**figures, **machine}), flush=True)
