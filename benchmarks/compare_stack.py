"""Greedy pre-training of 784-500-500-2000 against the same in PyTorch: ``python benchmarks/compare_stack.py``.

One pass for each layer: PCD-1, batches and chains of 100, momentum, the plain gradient, grey MNIST below and hidden means
above, and the means of all rows for the next layer. Both libraries have the same number of threads, compute in float32 and take
turns in one process; both are led by the same function, `fastbm.training.greedy.train`. A ratio is taken within each round; its
median, lowest and highest are printed, for each layer and for the whole.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from statistics import median

import numpy as np
from materials import Materials

from fastbm import BernoulliRBM
from fastbm.commands import bench, peers
from fastbm.datasets import binarise
from fastbm.kernels.threads_cpu import limited_to, n_threads
from fastbm.training import greedy

SIZES = (500, 500, 2000)
BATCH, RATE, MOMENTUM = 100, 0.05, 0.5
BAR = 2


def main():
    """Measure, and print a table."""
    options = parse()
    if not find_spec("torch"):
        raise SystemExit("PyTorch is not installed: there is nothing to compare with (pip install torch)")
    materials, n = Materials(), min(options.threads, n_threads())
    X = materials.grey_rows(options.rows)
    X = binarise(X) if options.binary else X
    with limited_to(n):
        facts = bench.facts() | {"threads": f"{n} of each", "rows": f"{len(X):,}, {'binary' if options.binary else 'grey'}"}
        print("\n".join(f"- {name}: {value}" for name, value in (facts | materials.facts()).items()) + "\n")
        times = measured({"fastbm": Fastbm, "PyTorch": Torch}, X, options.rounds)
    print("| work | fastbm | PyTorch over fastbm | bar |\n| --- | ---: | ---: | ---: |")
    n_below = X.shape[1]
    for number, size in enumerate((*SIZES, None)):
        name = "all layers" if size is None else f"layer {number}, {n_below}×{size}"
        ours, theirs = ([of_round[number] for of_round in times[library]] for library in ("fastbm", "PyTorch"))
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        bar = f"{BAR}: {'met' if median(ratios) >= BAR else 'missed'}"
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
        print(f"| {name} | {median(ours):.2f} s | {spread} | {bar} |")
        n_below = size


def parse():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--binary", action="store_true", help="pixels of 0 and 1 below")
    return parser.parse_args()


def measured(libraries, X, rounds: int):
    """Return, for each library and round, the seconds of each layer with the means it hands on, and of all."""
    times: dict[str, list[list[float]]] = {name: [] for name in libraries}
    order = list(libraries)
    for name in order:
        seconds_of(libraries[name], X[: 2 * BATCH])  # compiles what has to be compiled
    for _ in range(rounds):
        for name in order:
            times[name].append(seconds_of(libraries[name], X))
        order.append(order.pop(0))
    return times


def seconds_of(library, X) -> list[float]:
    """Return the seconds of each layer, and of all."""
    stack, seconds = library(X), np.zeros(len(SIZES) + 1)

    def timed(work):
        def run(layer, rows):
            begin = time.perf_counter()
            result = work(layer, rows)
            seconds[[layer, -1]] += time.perf_counter() - begin
            return result

        return run

    time.sleep(bench.PAUSE)
    greedy.train(len(SIZES), stack.rows, timed(stack.fit), timed(stack.up))
    return seconds.tolist()


class Fastbm:
    """The layers of a StackedRBM."""

    def __init__(self, X):
        self.rows = X
        settings = {"batch_size": BATCH, "learning_rate": RATE, "momentum": MOMENTUM, "n_iter": 1, "random_state": 0}
        self.layers = [BernoulliRBM(size, **settings) for size in SIZES]

    def fit(self, layer, rows):
        self.layers[layer].fit(rows)

    def up(self, layer, rows):
        return greedy.hidden_means(self.layers[layer]._machine(), rows)


class Torch:
    """The same, as a user of PyTorch would write it at its best: every array is made once, every update in place."""

    def __init__(self, X):
        import torch

        self.torch, self.rows, self.layers = torch, torch.tensor(X), {}
        peers.share_blas_threads()
        torch.set_num_threads(n_threads())
        torch.manual_seed(0)

    def fit(self, layer, rows):
        torch, n_visible, n_hidden = self.torch, rows.shape[1], SIZES[layer]
        with torch.inference_mode():
            W, a, b = 0.01 * torch.randn(n_visible, n_hidden), torch.zeros(n_visible), torch.zeros(n_hidden)
            dW, da, db = map(torch.zeros_like, (W, a, b))
            h, h_negative, coins_h, h_positive = torch.zeros(4, BATCH, n_hidden)
            v_means, v_negative = torch.zeros(2, BATCH, n_visible)
            for v in rows.split(BATCH):
                h_data = torch.addmm(b, v, W, out=h_positive[: len(v)]).sigmoid_()
                torch.addmm(a, h, W.T, out=v_means).sigmoid_()
                v_negative.uniform_().lt_(v_means)
                torch.addmm(b, v_negative, W, out=h_negative).sigmoid_()
                dW.addmm_(v.T, h_data, beta=MOMENTUM, alpha=RATE / len(v))
                dW.addmm_(v_negative.T, h_negative, alpha=-RATE / BATCH)
                da.mul_(MOMENTUM).add_(v.mean(0) - v_negative.mean(0), alpha=RATE)
                db.mul_(MOMENTUM).add_(h_data.mean(0) - h_negative.mean(0), alpha=RATE)
                W.add_(dW), a.add_(da), b.add_(db)
                h, coins_h = coins_h.uniform_().lt_(h_negative), h
        self.layers[layer] = W, a, b

    def up(self, layer, rows):
        W, _, b = self.layers[layer]
        with self.torch.inference_mode():
            return self.torch.addmm(b, rows, W).sigmoid_()


if __name__ == "__main__":
    main()
