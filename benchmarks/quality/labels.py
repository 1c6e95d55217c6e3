"""MNIST with labels, 500 hidden units: test errors of the exact p(y | v), and whether samples of a class show it.

Pixels above 1/2 are on. Persistent contrastive divergence with the centred gradient on rows and labels together, 5 sweeps an
update, batches and chains of 100, a learning rate that falls from 0.1 to 0, L2 decay of 0.001; Tieleman (ICML 2008) trained
such machines in much the same way. Then 100 samples of each class, its label clamped, are given to a perceptron that knows only
real digits.

    FASTBM_DATA=folder python benchmarks/quality/labels.py [--passes 60] [--save FILE] [--picture samples.png]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from report import mnist, show
from sklearn.neural_network import MLPClassifier

from fastbm import RBMClassifier, datasets


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--decay", type=float, default=0.001)
    parser.add_argument("--gibbs", type=int, default=5, help="sweeps of the chains for each update")
    parser.add_argument("--plain", action="store_true", help="the gradient is not centred")
    parser.add_argument("--sweeps", type=int, default=3000, help="of the samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save")
    parser.add_argument("--picture")
    options = parser.parse_args()
    train, y_train, test, y_test = mnist()
    train, test = datasets.binarise(train), datasets.binarise(test)
    machine = RBMClassifier(
        500, batch_size=100, n_iter=options.passes, learning_rate=options.rate, learning_rate_schedule="linear",
        l2=options.decay, n_gibbs_steps=options.gibbs, centered=not options.plain, random_state=options.seed,
        callbacks=progress(test, y_test),
    )  # fmt: skip
    begin = time.perf_counter()
    machine.fit(train, y_train)
    seconds = time.perf_counter() - begin
    machine.set_params(callbacks=None)
    if options.save:
        machine.save(options.save)
    judge = MLPClassifier((256,), early_stopping=True, n_iter_no_change=3, random_state=options.seed).fit(train, y_train)
    asked = np.repeat(np.arange(10), 100)
    agreed = {}
    for start in (None, "chains"):
        samples, _ = machine.sample(1000, y=asked, n_steps=options.sweeps, init=start, random_state=options.seed)
        agreed["fair coins" if start is None else start] = agreement(judge, samples, asked)
        if options.picture and start is None:
            draw(samples, options.picture)
    show(
        script="labels", test_errors=round(1 - machine.score(test, y_test), 4),
        train_errors=round(1 - machine.score(train[:10000], y_train[:10000]), 4), agreement=agreed,
        judge_accuracy=round(judge.score(test, y_test), 4), passes=options.passes, rate=options.rate,
        decay=options.decay, gibbs=options.gibbs, centered=not options.plain, sweeps=options.sweeps,
        seed=options.seed, seconds=round(seconds),
    )  # fmt: skip


def progress(test, y_test):
    """Return a callback that prints the test errors after every tenth pass."""

    def after_pass(machine, record):
        if record["iteration"] % 10 == 0:
            print(f"pass {record['iteration']}: {1 - machine.score(test, y_test):.4f} of the test digits wrong", flush=True)

    return after_pass


def agreement(judge, samples, asked):
    """Return how many of the samples the judge takes for the class asked for, in all and in the worst class."""
    right = judge.predict(samples) == asked
    return {"all": round(float(right.mean()), 4), "worst class": round(min(right[asked == k].mean() for k in range(10)), 4)}


def draw(samples, path):
    """Save a picture of ten samples of each class, a row each."""
    import matplotlib

    matplotlib.use("agg")
    from fastbm import plotting

    some = samples.reshape(10, 100, -1)[:, :10].reshape(100, -1)
    plotting.plot_samples(some, title="samples of 0 … 9").figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
