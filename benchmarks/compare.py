"""The claims of speed, measured: ``python benchmarks/compare.py`` prints them as a Markdown table.

Every row of `workloads.py`, against scikit-learn and the fastest of the frameworks: PyTorch, with either of its ways to draw
bits, and JAX. All libraries have the same number of threads, compute in float32 and take turns in one process. A ratio is taken
within each round; its median, lowest and highest are printed.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from statistics import median

import numpy as np
from materials import Materials
from workloads import FRAMEWORKS, WORKLOADS, Epoch, chosen

from fastbm.commands import bench, peers
from fastbm.kernels.threads_cpu import limited_to, n_threads

LOOKUP_PEAK = 460e9
"""Couplings a second that a core looks up and adds, as a prototype measured it on a Zen 4 core at 3.56 GHz: each pair of a
512-bit vpermw and a vpaddw, 2.88 G of them a second, adds 5 couplings to each of 32 chains."""
COLUMNS = ("row", "fastbm", "over the fastest framework", "bar (aim)", "over scikit-learn", "bar", "of SGEMM", "of lookups")


def main():
    """Measure the claims and print what was found."""
    options = parse()
    rows = chosen(WORKLOADS, options.only)
    materials = Materials(*((20, 2) if options.quick else (options.updates,)))
    n = min(options.threads, n_threads())
    with limited_to(n):
        peak = sgemm_peak()
        print_facts(materials, n, peak)
        print(line(COLUMNS) + "\n" + line(["---", *["---:"] * (len(COLUMNS) - 1)]), flush=True)
        times, missing = {}, {}
        for row in rows:
            row = sized(row, options)
            times[row.title], reasons = measure(row, materials, options)
            missing |= reasons
            print(line(figures(row, times[row.title], peak, LOOKUP_PEAK * n)), flush=True)
    print_every_library(times)
    print("".join(f"\n{name}: {reason}" for name, reason in missing.items()))


def parse():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog=f"rows: {', '.join(row.id for row in WORKLOADS)}"
    )
    parser.add_argument("--only", metavar="PATTERN", help="rows whose names have a match of a regular expression")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of Gibbs sampling (default: %(default)s)")
    parser.add_argument("--epoch-rounds", type=int, default=7, help="rounds of training (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="time of a library in a round of Gibbs sampling (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of every library (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=60_000, help="rows of an epoch, at most (default: %(default)s)")
    parser.add_argument(
        "--updates", type=int, default=2000, help="training of the machines that are sampled (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="everything small: does it work?")
    return parser.parse_args()


# ------------------------------------------------------------------------------------------------------- measuring


def sgemm_peak(n: int = 2048, rounds: int = 7) -> float:
    """Return float32 multiply-adds a second: the best of some products of large matrices, on fastbm's threads."""
    peers.share_blas_threads()
    A, B = np.random.default_rng(0).random((2, n, n), np.float32)
    out = np.empty_like(A)

    def run(n_steps):
        np.matmul(A, B, out=out)

    run(1)
    return n**3 / min(bench.timed(run, 1) for _ in range(rounds))


def sized(row, options):
    """Return a row of the size that the options ask for."""
    if isinstance(row, Epoch):
        row = replace(row, n_rows=min(row.n_rows, options.rows))
    return row.small() if options.quick else row


def measure(row, materials: Materials, options) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return seconds per step for each library and round, and why other libraries are missing."""
    runs = {"fastbm": row.fastbm(materials)} | row.peers(materials)
    reasons = {name: run for name, run in runs.items() if isinstance(run, str)}
    if not isinstance(row, Epoch):
        return bench.measured(runs, options.seconds, options.rounds), reasons
    runs = {name: run for name, run in runs.items() if name not in reasons}
    for run in runs.values():
        run(1)  # compiles what has to be compiled
    return bench.interleaved(runs, dict.fromkeys(runs, 1), options.epoch_rounds), reasons


# -------------------------------------------------------------------------------------------------------- printing


def print_facts(materials: Materials, n: int, peak: float):
    """Print what a published table has to say about itself."""
    facts = bench.facts() | materials.facts() | {"threads": f"{n} of every library; JAX takes all cores"}
    facts["SGEMM"] = f"{peak / 1e9:.0f} G multiply-adds/s in float32, the best of 7 products of 2048×2048 in this process"
    facts["lookups"] = f"{LOOKUP_PEAK * n / 1e9:,.0f} G couplings/s: {n} × 460, the prototype's figure for a core of Zen 4"
    print(listed(facts) + "\n")


def listed(facts: dict[str, str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def figures(row, times: dict[str, list[float]], sgemm: float, lookups: float) -> list[str]:
    """Return the cells of a row: speed, ratios with their bars, and shares of the two peaks."""
    seconds = median(times["fastbm"])
    shares = [f"{row.couplings / seconds / peak:.0%}" for peak in (sgemm, lookups)]
    present = [name for name in FRAMEWORKS if name in times]
    fastest = min(present, key=lambda name: median(times[name]), default=None)
    framework = "–" if fastest is None else f"{spread(times, fastest)}, {fastest}"
    cells = [framework, verdict(times, fastest, row.bars.frameworks, row.bars.aim)]
    cells += [spread(times, "scikit-learn"), verdict(times, "scikit-learn", row.bars.sklearn)]
    return [row.title, row.figure(seconds), *cells, *shares]


def spread(times, name: str | None, base: str = "fastbm") -> str:
    """Return the median of how many times as long as `base` a run took, with the lowest and the highest."""
    ratios = bench.ratios(times, base).get(name)
    return f"{median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})" if ratios else "–"


def verdict(times, name: str | None, bar: float | None, aim: float | None = None) -> str:
    """Return a bar, and whether the median of the ratios over a library reaches it."""
    if bar is None:
        return "–"
    ratio = median(bench.ratios(times, "fastbm").get(name, [math.nan]))
    words = "missed" if ratio < bar else "met" if aim is None or ratio < aim else "aim met"
    return f"{bar:g}{'' if aim is None else f' ({aim:g})'}: {'not measured' if math.isnan(ratio) else words}"


def print_every_library(times: dict[str, dict[str, list[float]]]):
    """Print a table of the ratios over every library."""
    names = list(dict.fromkeys(name for each in times.values() for name in each if name != "fastbm"))
    print("\nTime over fastbm's, median (lowest – highest):\n\n" + line(["row", *names]))
    print(line(["---", *["---:"] * len(names)]))
    for title, each in times.items():
        print(line([title, *(spread(each, name) for name in names)]))


def line(cells) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
