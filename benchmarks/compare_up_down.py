"""A pass of up–down, 784-500-500-2000 and 10 labels, against the same in PyTorch: ``python benchmarks/compare_up_down.py``.

Batches of 100 grey digits, 3 sweeps of the machine on top (``--sweeps``), from greedily trained layers, as after a pass each.
Both libraries have the same number of threads, compute in float32 and take turns in one process. A ratio is taken within each
round; its median, lowest and highest are printed.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np
from materials import Materials

from fastbm import DeepBeliefClassifier
from fastbm.commands import bench, peers
from fastbm.kernels.threads_cpu import limited_to, n_threads

SIZES = (500, 500, 2000)
N_CLASSES = 10
BATCH, RATE, DECAY = 100, 0.05, 1e-4
BAR = 2


def main():
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=6_000)
    parser.add_argument("--sweeps", type=int, default=3)
    parser.add_argument("--greedy", type=int, default=5, help="passes of greedy training of each layer before")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    materials, n = Materials(), min(options.threads, n_threads())
    X = materials.grey_rows(60_000)
    y = np.random.default_rng(0).integers(0, N_CLASSES, len(X))
    with limited_to(n):
        facts = bench.facts() | {"threads": f"{n} of each", "rows": f"{options.rows:,}", "sweeps": str(options.sweeps)}
        print("\n".join(f"- {name}: {value}" for name, value in (facts | materials.facts()).items()) + "\n")
        network = DeepBeliefClassifier(
            SIZES, batch_size=BATCH, n_iter=options.greedy, learning_rate=0.1, momentum=0.5, algorithm="cd", centered=True,
            sparsity_target=0.15, sparsity_cost=0.1, up_down_n_iter=0, random_state=0,
        ).fit(X, y)  # fmt: skip
        X, y = X[: options.rows], y[: options.rows]
        libraries = [Fastbm(network, X, y, options.sweeps), Torch(network, X, y, options.sweeps)]
        times = np.array([turn(libraries, number) for number in range(options.rounds + 1)])[1:]  # the first compiles
    ratios = times[:, 1] / times[:, 0]
    bar = f"{BAR}: {'met' if median(ratios) >= BAR else 'missed'}"
    print("| a pass of up–down | fastbm | PyTorch over fastbm | bar |\n| --- | ---: | ---: | ---: |")
    spread = f"{median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
    print(f"| {options.rows:,} rows | {median(times[:, 0]):.2f} s | {spread} | {bar} |")


def turn(libraries, number: int) -> list[float]:
    """Return the seconds of each library, in turns as to which goes first."""
    seconds = [0.0] * len(libraries)
    for index in sorted(range(len(libraries)), key=lambda index: (index + number) % len(libraries)):
        time.sleep(bench.PAUSE)
        begin = time.perf_counter()
        libraries[index].run()
        seconds[index] = time.perf_counter() - begin
    return seconds


class Fastbm:
    """A warm start of the classifier, one pass."""

    def __init__(self, network, X, y, sweeps):
        self.network, self.X, self.y = network, X, y
        network.set_params(
            warm_start=True, up_down_n_iter=1, up_down_learning_rate=RATE, up_down_learning_rate_schedule="constant",
            up_down_l2=DECAY, n_top_gibbs_steps=sweeps, shuffle=False,
        )  # fmt: skip

    def run(self):
        self.network.fit(self.X, self.y)


class Torch:
    """The same, as a user of PyTorch would write it at its best: updates in place, no array but what products need."""

    def __init__(self, network, X, y, sweeps):
        import torch

        self.torch, self.sweeps = torch, sweeps
        peers.share_blas_threads()
        torch.set_num_threads(n_threads())
        self.X, self.y = torch.tensor(X), torch.eye(N_CLASSES)[torch.tensor(y)]
        self.up = [[torch.tensor(a.copy()) for a in pair] for pair in zip(network.coefs_, network.intercepts_, strict=True)]
        down = zip(network.generative_coefs_, network.generative_intercepts_, strict=True)
        self.down = [[torch.tensor(a.copy()) for a in pair] for pair in down]
        self.top = [torch.tensor(np.ascontiguousarray(array)) for array in network.top_._machine()]

    def run(self):
        torch, (W, a, b) = self.torch, self.top
        with torch.inference_mode():
            for v, y in zip(self.X.split(BATCH), self.y.split(BATCH), strict=True):
                awake = [v]
                for weights, bias in self.up:
                    awake.append(self.draw(torch.addmm(bias, awake[-1], weights)))
                joint = torch.cat([awake[-1], y], dim=1)
                positive = torch.addmm(b, joint, W).sigmoid_()
                h = self.draw_from(positive)
                for _ in range(self.sweeps):
                    logits = torch.addmm(a, h, W.T)
                    labels = torch.multinomial(logits[:, -N_CLASSES:].softmax(1), 1)
                    fantasy = self.draw(logits)
                    fantasy[:, -N_CLASSES:] = 0
                    fantasy.scatter_(1, labels + fantasy.shape[1] - N_CLASSES, 1.0)
                    negative = torch.addmm(b, fantasy, W).sigmoid_()
                    h = self.draw_from(negative)
                asleep = [fantasy[:, :-N_CLASSES]]
                for level in reversed(range(len(self.down))):
                    weights, bias = self.down[level]
                    logits = torch.addmm(bias, asleep[-1], weights)
                    asleep.append(logits.sigmoid_() if level == 0 else self.draw(logits))
                asleep.reverse()
                W.mul_(1 - RATE * DECAY)
                W.addmm_(joint.T, positive, alpha=RATE / len(v)).addmm_(fantasy.T, negative, alpha=-RATE / len(v))
                a.add_(joint.mean(0) - fantasy.mean(0), alpha=RATE)
                b.add_(positive.mean(0) - negative.mean(0), alpha=RATE)
                for level in range(len(self.up)):
                    self.learn(*self.down[level], awake[level + 1], awake[level])
                    self.learn(*self.up[level], asleep[level], asleep[level + 1])

    def draw(self, logits):
        return self.draw_from(logits.sigmoid_())

    def draw_from(self, means):
        return self.torch.rand_like(means).lt_(means)

    def learn(self, weights, bias, given, target):
        """The delta rule."""
        errors = target - self.torch.addmm(bias, given, weights).sigmoid_()
        weights.mul_(1 - RATE * DECAY).addmm_(given.T, errors, alpha=RATE / len(given))
        bias.add_(errors.mean(0), alpha=RATE)


if __name__ == "__main__":
    main()
