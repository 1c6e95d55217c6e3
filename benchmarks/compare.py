"""The claims of speed, measured: ``python benchmarks/compare.py`` prints them as a Markdown table.

1. block Gibbs sampling of an RBM of 784 × 500 units with 1,024 chains;
2. one pass of PCD-1 over binary rows of 784 units, with 500 hidden units and minibatches of 100;

each against scikit-learn and PyTorch, all on the same number of threads, in turns in one process. A ratio is taken within each
round; its median, lowest and highest are printed. Rows are binarised MNIST where FASTBM_DATA, or ../shared/data beside the
repository, has it, else embedded digits, enlarged.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from statistics import median

import numpy as np

from fastbm.commands import bench, peers
from fastbm.kernels.threads_cpu import limited_to, n_threads

DATA = Path(os.environ.get("FASTBM_DATA") or Path(__file__).parents[2] / "shared" / "data")
NAMES = ["scikit-learn", "torch.bernoulli", "torch.rand"]
SHAPE = bench.SHAPES[0]
BATCH_SIZE = 100


def main():
    """Measure both claims and print what was found."""
    options = parse()
    n = min(options.threads, n_threads())
    print("\n".join(f"- {name}: {value}" for name, value in bench.facts().items()), flush=True)
    X = bench.training_rows(SHAPE.n_visible, DATA)
    print(f"- threads: {n}\n- data: {'embedded digits, enlarged' if len(X) < 10_000 else 'binarised MNIST'}\n", flush=True)
    with limited_to(n):
        show_gibbs(gibbs(X, options), options.rounds)
        X = X[np.arange(options.rows) % len(X)]
        show_pcd(pcd(X, options.epoch_rounds), options.epoch_rounds, len(X))


def parse():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=60_000, help="rows of an epoch (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of every library (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of Gibbs sampling (default: %(default)s)")
    parser.add_argument("--epoch-rounds", type=int, default=3, help="rounds of training (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="time of a row in a round of Gibbs sampling")
    parser.add_argument("--updates", type=int, default=2000, help="training of the machine that is sampled")
    return parser.parse_args()


def gibbs(X, options) -> dict[str, list[float]]:
    """Return seconds per sweep of all chains, for each library and round."""
    machine = bench.trained(X, SHAPE.n_hidden, options.updates)
    chains = bench.burnt_in(machine, X, SHAPE.n_chains)
    rows = {"fastbm": bench.fastbm_gibbs(machine, chains)}
    rows |= {name: bench.peer_gibbs(name, machine, chains) for name in NAMES}
    say_missing(rows)
    return bench.measured(rows, options.seconds, options.rounds)


def pcd(X, rounds: int) -> dict[str, list[float]]:
    """Return seconds per epoch, for each library and round; a short epoch goes before, in which code is compiled."""
    for run in epochs(X[: 5 * BATCH_SIZE]).values():
        run(1)
    runs = epochs(X)
    return bench.interleaved(runs, dict.fromkeys(runs, 1), rounds)


def epochs(X):
    """Return what trains for one epoch, for each library."""
    runs = {"fastbm": bench.fastbm_pcd(X, SHAPE.n_hidden, BATCH_SIZE, "cpu")}
    for name in NAMES:
        try:
            runs[name] = peers.PCD[name](X, SHAPE.n_hidden, BATCH_SIZE)
        except ImportError:
            continue
    return {name: lambda n_epochs, run=run: run() for name, run in runs.items()}


def say_missing(rows):
    """Print which libraries cannot be compared with, and why."""
    for name, row in rows.items():
        if isinstance(row, str):
            print(f"{name}: {row}\n")


def show_gibbs(times, rounds: int):
    """Print the table of the first claim."""
    print(f"Block Gibbs sampling, {SHAPE.n_visible} × {SHAPE.n_hidden}, {SHAPE.n_chains:,} chains, {rounds} rounds:\n")
    show(times, "chain-steps per second", lambda seconds: f"{SHAPE.n_chains / seconds:,.0f}")


def show_pcd(times, rounds: int, n_rows: int):
    """Print the table of the second claim."""
    size = f"{n_rows:,} × {SHAPE.n_visible} rows, {SHAPE.n_hidden} hidden units, minibatches of {BATCH_SIZE}"
    print(f"\nOne epoch of PCD-1, {size}, {rounds} rounds:\n")
    show(times, "seconds", lambda seconds: f"{seconds:.2f}")


def show(times: dict[str, list[float]], unit: str, figure):
    """Print a Markdown table, and the ratio over the better way to write it in PyTorch."""
    print(f"| | {unit}, median | time over fastbm's, median (lowest – highest) |\n|---|---:|---:|")
    spreads = {
        name: f"{median(values):.2f} ({min(values):.2f} – {max(values):.2f})"
        for name, values in bench.ratios(times, "fastbm").items()
    }
    for name, values in times.items():
        print(f"| {name} | {figure(median(values))} | {'' if name == 'fastbm' else spreads[name]} |")
    torch = [name for name in times if name.startswith("torch")]
    if torch:
        better = min(torch, key=lambda name: median(times[name]))
        print(f"\nAgainst the better of the two in PyTorch, {better}: {spreads[better]}.", flush=True)


if __name__ == "__main__":
    main()
