"""MNIST: a perceptron that begins with a deep Boltzmann machine, fine-tuned with mean-field features; pictures of the machine.

The machine is one that ``dbm.py --save FILE`` has kept. The perceptron is 784 and 1000 features-500-1000-10, trained by
scikit-learn's Adam on all 60,000 grey images: batches of 100, a decay of 0.0001, passes at rates of 0.001, 0.0003 and 0.0001.
Salakhutdinov & Hinton (2009) publish 0.95 % of the test images wrong.

    FASTBM_DATA=folder python benchmarks/quality/dbm_classifier.py FILE [--passes 10 5 5] [--picture FOLDER]
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from report import mnist, show
from sklearn.exceptions import ConvergenceWarning

from fastbm import DeepBoltzmannMachine, datasets

TUNING = {"solver": "adam", "batch_size": 100, "alpha": 1e-4, "n_iter_no_change": 10_000}
RATES = 1e-3, 3e-4, 1e-4
HALF = np.arange(784) % 28 >= 14
"""The pixels of the right half, which are covered."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machine", help="a file of arrays W0, W1, …, b0, b1, …")
    parser.add_argument("--passes", type=int, nargs=3, default=(10, 5, 5), help="of back-propagation, at each rate")
    parser.add_argument("--pictures-only", action="store_true")
    parser.add_argument("--sweeps", type=int, default=1000, help="of samples and of completions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", help="a folder")
    options = parser.parse_args()
    machine = loaded(options.machine, options.seed)
    train, y_train, test, y_test = (array.astype(np.float32) if array.ndim > 1 else array for array in mnist())
    if not options.pictures_only:
        begin = time.perf_counter()
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of passes is what is asked for
        model = machine.fine_tune(
            train, y_train, max_iter=options.passes[0], learning_rate_init=RATES[0], random_state=options.seed, **TUNING
        )
        for passes, rate in zip(options.passes[1:], RATES[1:], strict=True):  # the perceptron goes on from where it was
            model.set_params(perceptron__max_iter=passes, perceptron__learning_rate_init=rate).fit(train, y_train)
        seconds = time.perf_counter() - begin
        errors = {"test": 100 * (1 - model.score(test, y_test)), "train": 100 * (1 - model.score(train, y_train))}
        show(
            script="dbm_classifier", percent_of_errors={name: round(error, 3) for name, error in errors.items()},
            passes=options.passes, seed=options.seed, seconds=round(seconds), **TUNING,
        )  # fmt: skip
    if options.picture:
        draw(machine, test, Path(options.picture), options)


def loaded(path: str, seed: int) -> DeepBoltzmannMachine:
    """Return the machine of a file."""
    with np.load(path) as arrays:
        kinds = [[arrays[name] for name in sorted(arrays) if name[0] == kind] for kind in "Wb"]
    return DeepBoltzmannMachine.from_weights(*kinds, random_state=seed)


def draw(machine: DeepBoltzmannMachine, test, folder: Path, options) -> None:
    """Save samples, the weights of the first layer, and test images whose right halves were completed."""
    import matplotlib

    matplotlib.use("agg")
    from fastbm import plotting

    samples = machine.sample(100, n_steps=options.sweeps, return_mean=True)
    title = f"{options.sweeps:,} sweeps from fair coins"
    plotting.plot_samples(samples, title=title).figure.savefig(folder / "dbm_samples.png", dpi=100)
    plotting.plot_weights(machine, n_units=100).figure.savefig(folder / "dbm_weights.png", dpi=100)
    rows = datasets.binarise(test[:20], threshold=None, random_state=options.seed)
    covered = np.where(HALF, np.nan, rows)
    completed = machine.sample(20, clamp=covered, n_steps=options.sweeps, return_mean=True)
    pairs = [part[some] for some in (slice(10), slice(10, 20)) for part in (rows, covered, completed)]
    ax = plotting.plot_images(np.concatenate(pairs), n_columns=10, title="test images, what is given, what is made of it")
    ax.figure.savefig(folder / "dbm_completed.png", dpi=100)


if __name__ == "__main__":
    main()
