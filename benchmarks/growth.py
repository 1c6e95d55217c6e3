"""What fastbm's Gibbs sampling costs as chains, sweeps and couplings grow: measured, as a table, and as a picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from materials import Materials

from fastbm.commands import bench
from fastbm.commands.bench import Run, Shape

N_CHAINS = 256
"""Chains of the curves over sweeps and couplings."""
SIZES = (32, 56, 100, 178, 320, 560, 1000, 1780, 3200)
"""Units of each layer of the machines of the curve over couplings: from 1e3 to 1e7 couplings."""


@dataclass(frozen=True)
class Curves:
    """One or two curves of seconds over something that grows, on one panel; `runs` makes what is measured."""

    id: str
    title: str
    x: str
    y: str
    runs: Callable[[Materials, bool], dict[str, dict[int, Run]]]


def over_chains(materials: Materials, quick: bool) -> dict[str, dict[int, Run]]:
    """Return what makes a sweep of 1 … 10,000 chains."""
    counts = powers(10_000, quick)
    machine, chains = materials.machine(784, 500), materials.chains(Shape(784, 500, counts[-1]))
    return {"": {n: bench.fastbm_gibbs(machine, first(chains, n)) for n in counts}}


def over_sweeps(materials: Materials, quick: bool) -> dict[str, dict[int, Run]]:
    """Return what makes 1 … 10,000 sweeps of one chain, and 1 … 1,000 of many."""
    curves = {}
    for n_chains, longest in ((1, 10_000), (N_CHAINS, 1000)):
        run = bench.fastbm_gibbs(materials.machine(784, 500), materials.chains(Shape(784, 500, n_chains)))
        curves[f"{n_chains} chain{'s'[: n_chains > 1]}"] = {n: calls(run, n) for n in powers(longest, quick)}
    return curves


def over_couplings(materials: Materials, quick: bool) -> dict[str, dict[int, Run]]:
    """Return what makes a sweep of many chains of machines of 32×32 … 3200×3200 units with random weights."""
    runs = {}
    for n in SIZES[:3] if quick else SIZES:
        chains = materials.chains(Shape(n, n, N_CHAINS))
        runs[n * n] = bench.fastbm_gibbs(materials.machine(n, n), chains)
    return {"": runs}


CURVES = (
    Curves("growth-chains", "784×500 units", "chains", "seconds for a sweep of all chains", over_chains),
    Curves("growth-sweeps", "784×500 units", "sweeps", "seconds for a call", over_sweeps),
    Curves(
        "growth-couplings", f"n×n units, {N_CHAINS} chains", "couplings (visible × hidden units)",
        "seconds for a sweep of all chains", over_couplings,
    ),
)  # fmt: skip


def powers(last: int, quick: bool) -> list[int]:
    """Return 1, 3, 10, 32 … up to `last`, two of them a decade; with `quick`, up to 100 at most."""
    steps = round(2 * math.log10(min(last, 100) if quick else last))
    return [round(10 ** (step / 2)) for step in range(steps + 1)]


def first(chains, n: int):
    """Return the first `n` chains."""
    return chains._replace(visible=chains.visible[:n], hidden=chains.hidden[:n])


def calls(run: Run, n_sweeps: int) -> Run:
    """Return what calls `run` for so many sweeps a number of times."""

    def repeat(n_calls):
        for _ in range(n_calls):
            run(n_sweeps)

    return repeat


def costs(runs: dict[int, Run], seconds: float, rounds: int) -> dict[int, float]:
    """Return the median seconds of each point of a curve; the points take turns."""
    times = bench.measured({str(x): run for x, run in runs.items()}, seconds, rounds)
    return {int(x): median(values) for x, values in times.items()}


def exponents(points: dict[int, float]) -> dict[int, float]:
    """Return, for points at least a decade above the first, d log y / d log x over the last decade; 1 is proportional."""
    found, xs = {}, list(points)
    for index, x in enumerate(xs):
        below = [other for other in xs[:index] if other <= 1.05 * x / 10]
        if below:
            found[x] = math.log(points[x] / points[below[-1]]) / math.log(x / below[-1])
    return found


def draw(found: dict[Curves, dict[str, dict[int, float]]], about: str, output):
    """Draw a panel for each set of curves, with a guide of slope 1, into a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(found), 4.2), layout="constrained", dpi=120)
    for axes, (curves, named) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        for name, points in named.items():
            axes.loglog(list(points), list(points.values()), "o-", label=name or "fastbm")
            draw_guide(axes, points, "in proportion" if points is list(named.values())[-1] else None)
        axes.set(xlabel=curves.x, ylabel=curves.y, title=curves.title)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(about)
    figure.savefig(output)


def draw_guide(axes, points: dict[int, float], label: str | None):
    """Draw a line of slope 1 that ends at the last point."""
    first, last = min(points), max(points)
    axes.loglog([first, last], [points[last] * first / last, points[last]], "--", color="grey", label=label, zorder=0)
