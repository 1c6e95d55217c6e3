"""A deep Boltzmann machine, 784-500-1000, its mean field and training, against PyTorch: ``python benchmarks/compare_dbm.py``.

Mean field with ten updates of 100 and of 1,000 cases; with cases that converge at different speeds, where PyTorch goes on until
the last has converged; and updates of the training from batches of 100 (``--rows`` in all), with 100 chains. PyTorch holds what
comes from the visible units too. Both libraries have the same number of threads, compute in float32 and take turns in one
process. A ratio is taken within each round; its median, lowest and highest are printed.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from statistics import median

import numpy as np
from materials import Materials

from fastbm import chain
from fastbm.commands import bench, peers
from fastbm.kernels.threads_cpu import limited_to, n_threads
from fastbm.machines import dbm
from fastbm.machines.dbm import DBM
from fastbm.training import mean_field, minibatches

SIZES = (784, 500, 1000)
BATCH, RATE, SWEEPS, CAP, TOLERANCE = 100, 0.01, 1, 10, 1e-3
KEY = chain.stream_key(0, chain.Purpose.TRAINING)
BARS = {"mean field, 100 cases": 1.3, "mean field, 1,000 cases": 1.3, "uneven, 1,000 cases": 2.0, "training": 2.0}


def main():
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--rows", type=int, default=6_000, help="of the training")
    parser.add_argument("--updates", type=int, default=1_500, help="of the training before")
    parser.add_argument("--machine", help="a file of arrays W0, W1, b0, b1, b2: a machine that is trained already")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    materials, n = Materials(), min(options.threads, n_threads())
    X = materials.rows(10_000, SIZES[0]).astype(np.float32)
    with limited_to(n):
        facts = bench.facts() | {"threads": f"{n} of each", "rows": f"{options.rows:,}"}
        facts["updates before"] = f"{options.updates:,}" if options.machine is None else "those of a file"
        print("\n".join(f"- {name}: {value}" for name, value in (facts | materials.facts()).items()) + "\n")
        state = trained(X, options.updates) if options.machine is None else loaded(options.machine)
        print("| | fastbm | PyTorch over fastbm | bar |\n| --- | ---: | ---: | ---: |")
        for name, bar in BARS.items():
            pair = pair_of(name, state, X, options.rows)
            times = np.array([turn(pair, number) for number in range(options.rounds + 1)])[1:]  # the first compiles
            show(name, times, bar)
    found = dbm.mean_field(state.exact, minibatches.prepare(X[:1000]), tolerance=TOLERANCE)
    print(f"\nUpdates to {TOLERANCE}: {found.n_updates.mean():.1f} on average, {found.n_updates.max()} at most")


def show(name, times, bar):
    """Print a row of the table."""
    ratios = times[:, 1] / times[:, 0]
    spread = f"{median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
    verdict = f"{bar}: {'met' if median(ratios) >= bar else 'missed'}"
    print(f"| {name} | {1000 * median(times[:, 0]):.1f} ms | {spread} | {verdict} |", flush=True)


def turn(pair, number: int) -> list[float]:
    """Return the seconds of both, in turns as to which goes first."""
    seconds = [0.0] * len(pair)
    for index in sorted(range(len(pair)), key=lambda index: (index + number) % len(pair)):
        time.sleep(bench.PAUSE)
        begin = time.perf_counter()
        pair[index]()
        seconds[index] = time.perf_counter() - begin
    return seconds


def trained(X, n_updates: int) -> mean_field.State:
    """Return the state of a machine after some updates from small weights."""
    rng, p = np.random.default_rng(0), np.clip(X.mean(axis=0), 0.001, 0.999)
    weights = ((0.01 * rng.normal(size=size)).astype(np.float32) for size in pairwise(SIZES))
    biases = (np.log(p / (1 - p)), *(np.full(size, -2.0) for size in SIZES[1:]))
    state = mean_field.init(DBM(tuple(weights), tuple(bias.astype(np.float32) for bias in biases)), BATCH)
    for update in range(n_updates):
        batch = X[BATCH * update % len(X) :][:BATCH]
        state, rows = mean_field.prepare(state, batch, True)
        state, _ = mean_field.step(
            state, rows, key=KEY, n_steps=1, learning_rate=0.1 * (1 - update / n_updates), centered=True, tolerance=0.01,
            max_updates=CAP,
        )  # fmt: skip
    return state


def loaded(path) -> mean_field.State:
    """Return the state of a machine in a file, its chains a few sweeps from fair coins."""
    with np.load(path) as file:
        machine = DBM((file["W0"], file["W1"]), (file["b0"], file["b1"], file["b2"]))
    state = mean_field.init(machine, BATCH)
    return state._replace(chains=dbm.advance(state.exact, state.chains, 200, key=KEY))


def pair_of(name, state, X, n_rows: int):
    """Return two functions to be timed against each other."""
    if name == "training":
        return Fastbm(state, X[:n_rows]).run, Torch(state, X[:n_rows]).train
    n, settings = (1000 if "1,000" in name else 100), {"tolerance": -1.0, "max_updates": CAP}
    if name.startswith("uneven"):
        settings = {"tolerance": TOLERANCE, "max_updates": 100}
    rows, torch = minibatches.prepare(X[:n]), Torch(state, X[:n])
    return lambda: dbm.mean_field(state.exact, rows, **settings), lambda: torch.infer(torch.X, **settings)


class Fastbm:
    """An epoch of training."""

    def __init__(self, state, X):
        self.state, self.X = mean_field.resume(state.machine, None, state.chains), X

    def run(self):
        for part in minibatches.slices(len(self.X), BATCH):
            self.state, rows = mean_field.prepare(self.state, self.X[part], True)
            self.state, _ = mean_field.step(
                self.state, rows, key=KEY, n_steps=SWEEPS, learning_rate=RATE, centered=True, tolerance=TOLERANCE,
                max_updates=CAP,
            )  # fmt: skip


class Torch:
    """The same, as a user of PyTorch would write it at its best: in place, no array but what products need."""

    def __init__(self, state, X):
        import torch

        self.torch = torch
        peers.share_blas_threads()
        torch.set_num_threads(n_threads())
        self.X = torch.tensor(X)
        self.W, self.U = (torch.tensor(np.ascontiguousarray(weights)) for weights in state.machine.weights)
        self.a, self.b, self.c = (torch.tensor(bias.copy()) for bias in state.machine.biases)
        self.h = torch.zeros(BATCH, SIZES[1])
        self.offsets = [self.X.mean(0), torch.full((SIZES[1],), 0.2), torch.full((SIZES[2],), 0.1)]

    def infer(self, v, tolerance, max_updates):
        """Mean field: all cases until the last has converged; a tolerance below 0 is not looked at."""
        torch, U = self.torch, self.U
        with torch.inference_mode():
            given = torch.addmm(self.b, v, self.W)
            one = (2 * given - self.b).sigmoid_()
            two = torch.addmm(self.c, one, U).sigmoid_()
            new_one, new_two = torch.empty_like(one), torch.empty_like(two)
            for _ in range(max_updates):
                torch.addmm(given, two, U.T, out=new_one).sigmoid_()
                torch.addmm(self.c, new_one, U, out=new_two).sigmoid_()
                done = tolerance >= 0 and max((new_one - one).abs_().max(), (new_two - two).abs_().max()) <= tolerance
                one, new_one, two, new_two = new_one, one, new_two, two
                if done:
                    break
        return one, two

    def train(self):
        """An epoch: mean field, a sweep of the chains, and the centred gradient."""
        torch = self.torch
        with torch.inference_mode():
            for v in self.X.split(BATCH):
                one, two = self.infer(v, TOLERANCE, CAP)
                for _ in range(SWEEPS):
                    fantasy = self.draw(torch.addmm(self.a, self.h, self.W.T).sigmoid_())
                    top = self.draw(torch.addmm(self.c, self.h, self.U).sigmoid_())
                    means = torch.addmm(self.b, fantasy, self.W).addmm_(top, self.U.T).sigmoid_()
                    self.h = self.draw(means)
                self.learn((v, one, two), (fantasy, means, top))

    def draw(self, means):
        return self.torch.rand_like(means).lt_(means)

    def learn(self, data, model):
        for offset, states in zip(self.offsets, data, strict=True):
            offset.lerp_(states.mean(0), 0.01)
        data, model = ([states - offset for states, offset in zip(each, self.offsets, strict=True)] for each in (data, model))
        steps = [RATE * (some.mean(0) - others.mean(0)) for some, others in zip(data, model, strict=True)]
        for level, weights in enumerate((self.W, self.U)):
            step = self.torch.mm(data[level].T, data[level + 1]).addmm_(model[level].T, model[level + 1], alpha=-1)
            step *= RATE / BATCH
            weights += step
            steps[level] = steps[level].addmv_(step, self.offsets[level + 1], alpha=-1)
            steps[level + 1] = steps[level + 1].addmv_(step.T, self.offsets[level], alpha=-1)
        for bias, step in zip((self.a, self.b, self.c), steps, strict=True):
            bias += step


if __name__ == "__main__":
    main()
