"""MNIST, 16 hidden units, PCD-1: exact test log-likelihoods of the centred and of the plain gradient, and of negatives.

The setting of Melchior, Fischer & Wiskott (JMLR 17, 2016), table of MNIST with 16 hidden units: pixels above 1/2 are on, 60,000
cases, 50 passes of batches of 100, learning rate 0.01, weights of standard deviation 0.01, visible biases at the log odds of
the pixels' means, hidden biases 0. They publish -142.56 for the centred gradient, and -142.09 and -183.36 for the centred and
the plain one on negatives.

    FASTBM_DATA=folder python benchmarks/quality/mnist_16.py [--seeds 5]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from report import mnist, show

from fastbm import BernoulliRBM, datasets


def initial(X, seed):
    """Return weights and biases to start from; no pixel is taken to be always on or always off."""
    mean = (X.sum(axis=0) + 1) / (len(X) + 2)
    weights = np.random.default_rng(seed).normal(0, 0.01, (X.shape[1], 16)).astype(np.float32)
    return weights, np.log(mean / (1 - mean)).astype(np.float32), np.zeros(16, np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--passes", type=int, default=50)
    options = parser.parse_args()
    train, _, test, _ = mnist()
    train, test = datasets.binarise(train), datasets.binarise(test)
    for centered in (True, False):
        for inverted in (False, True):
            X, held_out = (1 - train, 1 - test) if inverted else (train, test)
            reached, begin = [], time.perf_counter()
            for seed in range(options.seeds):
                settings = {"learning_rate": 0.01, "n_iter": options.passes, "batch_size": 100, "centered": centered}
                machine = BernoulliRBM.from_weights(*initial(X, seed), **settings, warm_start=True, random_state=seed)
                reached.append(float(machine.fit(X).log_likelihood(held_out).mean()))
            show(
                script="mnist_16", centered=centered, inverted=inverted, test_log_likelihood=round(float(np.mean(reached)), 3),
                deviation=round(float(np.std(reached, ddof=min(1, len(reached) - 1))), 3), seeds=options.seeds,
                passes=options.passes, seconds=round(time.perf_counter() - begin, 1),
            )  # fmt: skip


if __name__ == "__main__":
    main()
