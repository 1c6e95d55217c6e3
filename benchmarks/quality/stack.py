"""MNIST with few labels: a perceptron 784-500-500-10 from a stack's weights, and from scikit-learn's.

The stack is trained on all 60,000 grey images without their labels; then both networks are trained on the same labelled
images, 100 of each class drawn anew for each seed, by the same settings of scikit-learn's MLPClassifier. The networks have the
same sizes and logistic units; a third is what scikit-learn has by default, rectified units. They are trained in two ways: what
is best for weights at random, Adam, moves those of a stack more than is good for them, and steps down the gradient itself are
not enough for weights at random. So networks are compared within each way, and each in its better one.

    FASTBM_DATA=folder python benchmarks/quality/stack.py [--seeds 5] [--passes 20]
    FASTBM_DATA=folder python benchmarks/quality/stack.py --tune

`--tune` is how the settings of both ways were chosen: those of a grid for which the errors of the three networks have the least
sum, on 10,000 training images that have no part in the training of perceptrons, with a seed of its own. The test images are
not looked at.
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import product

import numpy as np
from report import mnist, show
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from fastbm import StackedRBM

SIZES = (500, 500)
WAYS = {
    "adam": {"solver": "adam", "learning_rate_init": 3e-3, "max_iter": 30},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.03, "max_iter": 100},
}
GRID = {"adam": ((3e-4, 1e-3, 3e-3), (30, 100)), "sgd": ((0.03, 0.1), (100, 300))}
"""Rates and numbers of passes that were tried."""
ALL = {"batch_size": 100, "alpha": 1e-3, "n_iter_no_change": 10_000}
"""The number of passes is fixed: training does not end when the loss stands still. Decays of 0.1 and 1 were worse for all."""
SEED_OF_TUNING = 1000


def main():
    options = parse()
    warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of passes is what is asked for
    train, y_train, test, y_test = mnist()
    if options.tune:
        tune(train, y_train, options)
        return
    errors: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        stack, seconds = trained(train, seed, options)
        chosen = some_of_each(y_train, options.labels // 10, seed)
        found = {}
        for way, settings in WAYS.items():
            of_way = networks(stack, train[chosen], y_train[chosen], test, y_test, seed, settings)
            found |= {f"{name}, {way}": error for name, error in of_way.items()}
        show(script="stack", seed=seed, percent_of_test_errors=found, seconds_of_the_stack=round(seconds))
        for name, error in found.items():
            errors.setdefault(name, []).append(error)
    figures = {name: spread(values) for name, values in errors.items()}
    less = {f"{name}, less {other}": spread(np.subtract(errors[name], errors[other])) for name, other in pairs(errors)}
    show(script="stack", percent_of_test_errors=figures | less, seeds=options.seeds, **vars_of(options))


def pairs(names):
    """Return which networks are compared with which: with the stack trained in the same way, and each in its better way."""
    same = [(name, f"stack, {way}") for way in WAYS for name in names if name.endswith(way) and not name.startswith("stack")]
    return [*same, *((name, "stack, sgd") for name in names if name.startswith("random") and name.endswith("adam"))]


def parse():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--passes", type=int, default=20, help="of the training of each layer")
    parser.add_argument("--rate", type=float, default=0.05, help="of the stack, at the beginning")
    parser.add_argument("--algorithm", default="pcd")
    parser.add_argument("--tune", action="store_true", help="errors on held-out training images for a grid of settings")
    return parser.parse_args()


def vars_of(options):
    """Return the number of labels, and the settings of the stack."""
    return {name: getattr(options, name) for name in ("labels", "passes", "rate", "algorithm")}


def trained(images, seed, options):
    """Return a stack, and how many seconds its training took."""
    begin = time.perf_counter()
    stack = StackedRBM(
        SIZES, n_iter=options.passes, learning_rate=options.rate, learning_rate_schedule="linear", batch_size=100,
        algorithm=options.algorithm, momentum=0.5, l2=2e-4, sparsity_target=0.05, sparsity_cost=0.1, random_state=seed,
    ).fit(images)  # fmt: skip
    return stack, time.perf_counter() - begin


def some_of_each(y, n: int, seed: int):
    """Return the numbers of `n` rows of each class, drawn at random."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.choice(np.flatnonzero(y == label), n, replace=False) for label in range(10)])


def networks(stack, rows, y, held_out, y_held_out, seed, settings) -> dict[str, float]:
    """Return the percentage of held-out rows that each network gets wrong, trained on the same rows."""
    parameters = ALL | settings | {"random_state": seed}
    machines = {
        "stack": stack.to_mlp_classifier(y, **parameters),
        "random": MLPClassifier(SIZES, activation="logistic", **parameters),
        "random, rectified": MLPClassifier(SIZES, **parameters),
    }
    fitted = {name: machine.fit(rows, y) for name, machine in machines.items()}
    return {name: round(100 * (1 - machine.score(held_out, y_held_out)), 2) for name, machine in fitted.items()}


def tune(train, y_train, options):
    """Print the errors of each network on held-out training images, for every setting of the grid."""
    stack, _ = trained(train, SEED_OF_TUNING, options)
    chosen = some_of_each(y_train, options.labels // 10, SEED_OF_TUNING)
    others = np.setdiff1d(np.arange(len(y_train)), chosen)
    held_out = np.random.default_rng(SEED_OF_TUNING).choice(others, 10_000, replace=False)
    rows = (train[chosen], y_train[chosen], train[held_out], y_train[held_out])
    for way, (rates, passes) in GRID.items():
        for rate, n_iter in product(rates, passes):
            settings = {"solver": way, "learning_rate_init": rate, "max_iter": n_iter}
            found = networks(stack, *rows, SEED_OF_TUNING, settings)
            show(script="stack --tune", percent_of_errors=found, **settings, **vars_of(options))


def spread(values) -> dict[str, float]:
    """Return the mean, the standard deviation between seeds, the least and the largest."""
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    figures = {"mean": np.mean(values), "deviation": deviation, "least": min(values), "largest": max(values)}
    return {name: round(float(value), 2) for name, value in figures.items()}


if __name__ == "__main__":
    main()
