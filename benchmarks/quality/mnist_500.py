"""MNIST, 500 hidden units: a machine whose test log-likelihood is better than that of the published CD-25, -86.34.

Published by Salakhutdinov & Murray (ICML 2008), who draw pixels as 0 and 1 with their grey levels as probabilities, as is done
here, anew for each pass. Persistent contrastive divergence with the centred gradient, 5 sweeps an update, batches of 100, a
learning rate that falls from 0.05 to 0.

    FASTBM_DATA=folder python benchmarks/quality/mnist_500.py [--passes 200] [--save FILE] [--picture samples.png]
"""

from __future__ import annotations

import argparse
import time

from report import Anew, mnist, show

from fastbm import BernoulliRBM, datasets, evaluation


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=200)
    parser.add_argument("--sweeps", type=int, default=5)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--algorithm", default="pcd")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save")
    parser.add_argument("--picture")
    options = parser.parse_args()
    train, _, test, _ = mnist()
    held_out = datasets.binarise(test, threshold=None, random_state=options.seed)
    machine = BernoulliRBM(
        500, algorithm=options.algorithm, n_gibbs_steps=options.sweeps, centered=True, batch_size=100, n_iter=options.passes,
        learning_rate=options.rate, learning_rate_schedule="linear", random_state=options.seed,
    )  # fmt: skip
    begin = time.perf_counter()
    machine.fit(Anew(train, options.seed))
    seconds = time.perf_counter() - begin
    if options.save:
        machine.save(options.save)
    drawn = datasets.binarise(train[:10000], threshold=None, random_state=options.seed)
    begin = time.perf_counter()
    found = evaluation.log_partition(machine, X=drawn, random_state=options.seed)
    of_test, of_train = (machine.log_likelihood(rows, found).mean() for rows in (held_out, drawn))
    show(
        script="mnist_500", test_log_likelihood=round(float(of_test), 3), train_log_likelihood=round(float(of_train), 3),
        log_z=found.log_z, stderr=found.stderr, lower=found.lower, upper=found.upper, passes=options.passes,
        sweeps=options.sweeps, rate=options.rate, algorithm=options.algorithm, seed=options.seed,
        seconds=round(seconds), seconds_of_annealing=round(time.perf_counter() - begin),
    )  # fmt: skip
    if options.picture:
        draw(machine, options.picture, options.seed)


def draw(machine, path, seed):
    """Save a picture of 100 samples, each 1,000 sweeps from fair coins."""
    import matplotlib

    matplotlib.use("agg")
    from fastbm import plotting

    samples = machine.sample(100, n_steps=1000, random_state=seed)
    probabilities = machine.inverse_transform(machine.transform(samples))
    plotting.plot_samples(probabilities, title="1,000 sweeps from fair coins").figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
