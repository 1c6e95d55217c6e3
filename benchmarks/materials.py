"""Data, machines and chains of the benchmarks, each made once and shared by all that is measured with it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np

from fastbm.commands import bench
from fastbm.commands.bench import Shape
from fastbm.datasets import load_mnist
from fastbm.machines.rbm import RBM, Chains

DATA = Path(os.environ.get("FASTBM_DATA") or Path(__file__).parents[2] / "shared" / "data")
"""Where binarized-mnist/binarized_mnist_packed.npz and mnist/ may be; without them, embedded digits are enlarged."""
TRAINED = (64, 784)
"""Numbers of visible units that there are images for; machines with others have random weights."""
SCALE = 2.9
"""Standard deviation of random weights, times the square root of the visible units: 24 % of the units change in a sweep."""
BURN_IN = 10
"""Sweeps after which as many units of a random machine change as ever after."""


class Materials:
    """Rows, machines and chains, made when they are first asked for.

    `n_updates` is how long machines are trained; `n_sweeps` how long chains run before they are used, at most.

    * ``binary(n_visible)``: all rows of 0 and 1; ``rows(n_rows, n_visible)``: so many of them;
    * ``grey()``: all rows of 784 grey levels, and what they are; ``grey_rows(n_rows)``: so many of them;
    * ``machine(n_visible, n_hidden)`` and ``chains(shape)``.
    """

    def __init__(self, n_updates: int = 2000, n_sweeps: int = bench.BURN_IN):
        self.n_updates, self.n_sweeps = n_updates, n_sweeps
        self.binary = cache(lambda n_visible: bench.training_rows(n_visible, DATA))
        self.machine = cache(self._machine)
        self.chains = cache(self._chains)
        self.rows = cache(lambda n_rows, n_visible: repeated(self.binary(n_visible), n_rows))
        self.grey = cache(grey_rows)
        self.grey_rows = cache(lambda n_rows: repeated(self.grey()[0], n_rows))

    def _machine(self, n_visible: int, n_hidden: int) -> RBM:
        if n_visible in TRAINED:
            return bench.trained(self.binary(n_visible), n_hidden, self.n_updates)
        return random_machine(n_visible, n_hidden)

    def _chains(self, shape: Shape) -> Chains:
        machine = self.machine(shape.n_visible, shape.n_hidden)
        if shape.n_visible in TRAINED:
            return bench.burnt_in(machine, self.binary(shape.n_visible), shape.n_chains, self.n_sweeps)
        coins = np.random.default_rng(0).integers(0, 2, (shape.n_chains, shape.n_visible), np.uint8)
        return bench.burnt_in(machine, coins, shape.n_chains, min(BURN_IN, self.n_sweeps))

    def facts(self) -> dict[str, str]:
        """Return what a published table has to say beside `bench.facts`: the data, and whether other programs ran."""
        binary = "binarised MNIST" if len(self.binary(784)) > 10_000 else "embedded digits, enlarged"
        facts = {"data": f"binary rows of 784: {binary}; grey rows: {self.grey()[1]}"}
        if hasattr(os, "getloadavg"):
            facts["load"] = f"{os.getloadavg()[0]:.1f} programs ran in the minute before"
        return facts


def repeated(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the first `n_rows` rows, from the beginning again where there are fewer."""
    return rows[np.arange(n_rows) % len(rows)]


def grey_rows() -> tuple[np.ndarray, str]:
    """Return rows of 784 grey levels from 0 to 1, float32, and what they are."""
    try:
        return load_mnist(DATA / "mnist")[0], "MNIST"
    except FileNotFoundError:
        return bench.grey_digits(784), "embedded digits, enlarged"


def random_machine(n_visible: int, n_hidden: int) -> RBM:
    """Return a machine with normal weights and no biases."""
    weights = np.random.default_rng(0).standard_normal((n_visible, n_hidden), dtype=np.float32)
    weights *= np.float32(SCALE / np.sqrt(n_visible))
    return RBM(weights, np.zeros(n_visible, np.float32), np.zeros(n_hidden, np.float32))
