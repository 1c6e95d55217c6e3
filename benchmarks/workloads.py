"""The work that claims of speed are about, each with its bars: what does a step of it, library by library.

A workload has an `id`, a `title`, `bars`, `couplings` of a step, and

* ``fastbm(materials, device)``, which returns fastbm's ``run(n_steps)``;
* ``peers(materials)``, which returns those of other libraries by name, or the reason why one cannot run;
* ``figure(seconds)``, which words how fast a step of so many seconds is;
* ``small()``, which returns the same work at a size that only shows that it runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

from materials import Materials

from fastbm import BernoulliRBM
from fastbm.commands import bench, peers
from fastbm.commands.bench import Run, Shape
from fastbm.device import resolve

FRAMEWORKS = ("torch.bernoulli", "torch.rand", "jax")
NAMES = ("scikit-learn", *FRAMEWORKS)
PRODUCTS = 5
"""Products of rows and couplings for a row of PCD-1: hidden means, visible states, hidden means again, and two statistics."""


class Bars(NamedTuple):
    """How many times as fast as the fastest framework fastbm has to be, is meant to be, and has to be as scikit-learn."""

    frameworks: float | None = None
    aim: float | None = None
    sklearn: float | None = None


NO_BARS = Bars()


@dataclass(frozen=True)
class Gibbs:
    """Block Gibbs sampling: a step is one sweep of all chains."""

    shape: Shape
    bars: Bars = NO_BARS

    @property
    def id(self) -> str:
        return f"gibbs-{self.shape}"

    @property
    def title(self) -> str:
        v, h, n = self.shape
        return f"Gibbs {v}×{h}, {n:,} chain{'s'[: n > 1]}"

    @property
    def couplings(self) -> float:
        return 2.0 * self.shape.n_visible * self.shape.n_hidden * self.shape.n_chains

    def sampled(self, materials: Materials):
        """Return a machine and its chains."""
        return materials.machine(*self.shape[:2]), materials.chains(self.shape)

    def fastbm(self, materials: Materials, device: str = "cpu") -> Run:
        return bench.fastbm_gibbs(*self.sampled(materials), resolve(device))

    def peers(self, materials: Materials) -> dict[str, Run | str]:
        return {name: bench.peer_gibbs(name, *self.sampled(materials)) for name in NAMES}

    def figure(self, seconds: float) -> str:
        return f"{self.shape.n_chains / seconds:,.0f} chain-steps/s"

    def small(self) -> Gibbs:
        v, h, n = self.shape
        return replace(self, shape=Shape(*((256, 256) if v * h > 1_000_000 else (v, h)), min(n, 256)))


@dataclass(frozen=True)
class Epoch:
    """PCD-1: a step is one pass over binary rows by a new machine with as many chains as a minibatch has rows."""

    batch_size: int
    bars: Bars = NO_BARS
    n_rows: int = 60_000
    n_visible: int = 784
    n_hidden: int = 500

    @property
    def id(self) -> str:
        return f"pcd-{self.n_visible}x{self.n_hidden}-batch{self.batch_size}"

    @property
    def title(self) -> str:
        return f"PCD-1 epoch, {self.n_rows:,}×{self.n_visible}, {self.n_hidden} hidden, batch {self.batch_size:,}"

    @property
    def couplings(self) -> float:
        return float(PRODUCTS) * self.n_rows * self.n_visible * self.n_hidden

    def fastbm(self, materials: Materials, device: str = "cpu") -> Run:
        X = materials.rows(self.n_rows, self.n_visible)
        return once(bench.fastbm_pcd(X, self.n_hidden, self.batch_size, device))

    def peers(self, materials: Materials) -> dict[str, Run | str]:
        X = materials.rows(self.n_rows, self.n_visible)
        return {name: peer(peers.PCD[name], X, self.n_hidden, self.batch_size) for name in NAMES}

    def figure(self, seconds: float) -> str:
        return f"{seconds:.2f} s"

    def small(self) -> Epoch:
        return replace(self, n_rows=min(self.n_rows, 2 * self.batch_size))


@dataclass(frozen=True)
class DefaultEpoch(Epoch):
    """`BernoulliRBM` as it comes: a step is one pass over grey rows. Nobody's framework has such an estimator."""

    batch_size: int = 10
    n_rows: int = 20_000
    n_hidden: int = 256

    @property
    def id(self) -> str:
        return "default"

    @property
    def title(self) -> str:
        return f"BernoulliRBM() epoch, {self.n_rows:,}×{self.n_visible} grey, batch {self.batch_size}"

    def fastbm(self, materials: Materials, device: str = "cpu") -> Run:
        X, model = materials.grey_rows(self.n_rows), BernoulliRBM(n_iter=1, random_state=0, device=device)
        return once(lambda: model.fit(X))

    def peers(self, materials: Materials) -> dict[str, Run | str]:
        return {"scikit-learn": peer(peers.sklearn_defaults, materials.grey_rows(self.n_rows))}


def once(run) -> Run:
    """Return what takes a number of steps, which has to be 1, as the other rows do."""

    def step(n_steps):
        assert n_steps == 1, f"a pass begins with a new machine: there are no {n_steps} of them in one run"
        return run()

    return step


def peer(make, *arguments) -> Run | str:
    """Return what trains with another library, or the reason why it cannot."""
    try:
        return once(make(*arguments))
    except ImportError as error:
        return f"not installed: {error}"


GIBBS = (
    Gibbs(Shape(784, 500, 1024), Bars(3.5, 6, 6)),
    Gibbs(Shape(784, 500, 100), Bars(3.5, 6, 5)),
    Gibbs(Shape(784, 500, 1), Bars(7, 12, 9)),
    Gibbs(Shape(784, 1024, 1024), Bars(3, 6, 5)),
    Gibbs(Shape(64, 256, 1024), Bars(6, 10, 18)),
    Gibbs(Shape(4096, 4096, 1024), Bars(2, 4, 3)),
)
EPOCHS = (Epoch(100, Bars(2, 4, 4)), Epoch(1000, Bars(2, 4)))
DEFAULT = DefaultEpoch(bars=Bars(sklearn=3))
WORKLOADS = (*GIBBS, *EPOCHS, DEFAULT)


def chosen(items, pattern: str | None):
    """Return those whose `id` has a match of a regular expression."""
    found = [item for item in items if re.search(pattern or "", item.id)]
    if not found:
        raise SystemExit(f"--only {pattern}: no such row; there are {', '.join(item.id for item in items)}")
    return found
