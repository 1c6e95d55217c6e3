"""How fastbm scales: ``python benchmarks/scaling.py`` measures threads, a busy core, and growth, and draws docs/scaling.png.

1. two threads against one, for work that is large enough to be shared;
2. the same on two threads while another program keeps the second core busy, as a share of the speed without it;
3. what sampling costs as chains, sweeps and couplings grow over four decades.

What is compared takes turns in one process; ratios are taken within a round, and medians printed with the lowest and highest.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from compare import line, listed, sized, spread
from growth import CURVES, Curves, costs, draw, exponents
from materials import Materials
from spinner import second_core, spinning_on
from workloads import EPOCHS, GIBBS, Epoch, Gibbs, chosen

from fastbm.commands import bench
from fastbm.commands.bench import Run
from fastbm.kernels.threads_cpu import n_threads

PICTURE = Path(__file__).parents[1] / "docs" / "scaling.png"
SHARED = (*(row for row in GIBBS if row.shape.n_chains >= 256), *EPOCHS)
"""Work that is large enough to be shared between threads."""
BUSY_BAR = 0.45


@dataclass(frozen=True)
class Pair:
    """A row of the first two tables: a kind of comparison, of some work."""

    kind: str
    work: Gibbs | Epoch

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.work.id}"


ROWS = (*(Pair(kind, work) for kind in ("threads", "busy") for work in SHARED), *CURVES)


def main():
    """Measure and print what was asked for; draw the curves."""
    options = parse()
    rows = chosen(ROWS, options.only)
    materials = Materials(*((20, 2) if options.quick else (options.updates,)))
    print(listed(bench.facts() | materials.facts()), flush=True)
    show_threads([row.work for row in rows if isinstance(row, Pair) and row.kind == "threads"], materials, options)
    show_busy([row.work for row in rows if isinstance(row, Pair) and row.kind == "busy"], materials, options)
    show_growth([row for row in rows if isinstance(row, Curves)], materials, options)


def parse():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog=f"rows: {', '.join(row.id for row in ROWS)}"
    )
    parser.add_argument("--only", metavar="PATTERN", help="rows whose names have a match of a regular expression")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of everything (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="time of what is measured, in a round (default: %(default)s)"
    )
    parser.add_argument("--rows", type=int, default=60_000, help="rows of an epoch, at most (default: %(default)s)")
    parser.add_argument(
        "--updates", type=int, default=2000, help="training of the machines that are sampled (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, help="the picture (default: docs/scaling.png, when all curves are measured)")
    parser.add_argument("--quick", action="store_true", help="everything small, a picture only with --output: does it work?")
    return parser.parse_args()


def show_threads(works, materials: Materials, options):
    """Print the speed of two threads over that of one."""
    if not works:
        return
    if n_threads() < 2:
        print("\nTwo threads against one: not measured, there is only one; see NUMBA_NUM_THREADS.")
        return
    print("\nTwo threads against one:\n\n" + line(["row", "two threads", "one thread", "ratio"]) + "\n|---|---:|---:|---:|")
    for work in works:
        work = sized(work, options)
        run = work.fastbm(materials)
        times = measured(work, {"two": bench.limited(run, 2), "one": bench.limited(run, 1)}, options)
        print_pair(work, times["two"], times["one"], spread(times, "one", "two"))


def show_busy(works, materials: Materials, options):
    """Print the speed of two threads while the second core is busy, over their speed without."""
    if not works:
        return
    core = second_core()
    if core is None or n_threads() < 2:
        print("\nBeside a busy core: not measured, it takes two cores, two threads, and a system that can pin a process.")
        return
    print(f"\nTwo threads while another program spins on core {core}:\n")
    print(line(["row", "quiet", "busy", "share of the quiet speed", "bar"]) + "\n|---|---:|---:|---:|---:|", flush=True)
    with spinning_on(core) as beside:
        for work in works:
            work = sized(work, options)
            run = bench.limited(work.fastbm(materials), 2)
            times = measured(work, {"quiet": run, "busy": beside(run)}, options)
            share = median(bench.ratios(times, "busy")["quiet"])
            verdict = f"{BUSY_BAR:g}: {'met' if share >= BUSY_BAR else 'missed'}"
            print_pair(work, times["quiet"], times["busy"], spread(times, "quiet", "busy"), verdict)


def measured(work, runs: dict[str, Run], options) -> dict[str, list[float]]:
    """Return seconds per step of each run in each round; a training runs once a round."""
    if not isinstance(work, Epoch):
        return bench.measured(runs, options.seconds, options.rounds)
    next(iter(runs.values()))(1)  # compiles what has to be compiled
    return bench.interleaved(runs, dict.fromkeys(runs, 1), options.rounds)


def print_pair(work, fast: list[float], slow: list[float], *cells: str):
    """Print a row of one of the first two tables."""
    print(line([work.title, work.figure(median(fast)), work.figure(median(slow)), *cells]), flush=True)


def show_growth(found: list[Curves], materials: Materials, options):
    """Measure curves and print their points; draw them, into PICTURE only when it is whole."""
    measured_curves = {}
    for curves in found:
        named = curves.runs(materials, options.quick).items()
        measured_curves[curves] = {name: costs(runs, options.seconds, options.rounds) for name, runs in named}
        for name, points in measured_curves[curves].items():
            print_points(curves, name, points)
    output = options.output or (PICTURE if len(found) == len(CURVES) and not options.quick else None)
    if measured_curves and output:
        draw(measured_curves, f"fastbm {bench.__version__}, {n_threads()} threads, {bench.cpu_name()}", output)


def print_points(curves: Curves, name: str, points: dict[int, float]):
    """Print a curve as a table."""
    slopes = exponents(points)
    print(f"\n{curves.title}{', ' * bool(name)}{name}; 1 in the last column is in proportion:\n")
    print(line([curves.x, curves.y, "exponent over a decade"]) + "\n|---:|---:|---:|")
    for x, seconds in points.items():
        print(line([f"{x:,}", f"{seconds:.3g}", f"{slopes[x]:.2f}" if x in slopes else ""]), flush=True)


if __name__ == "__main__":
    main()
