"""BiGAN on MNIST as rows of pixels: how good the encoder's features are, and how well it inverts the generator.

As in Donahue, Krähenbühl & Darrell (ICLR 2017): two hidden layers each, z of 50 numbers between -1 and 1, Adam with β₁ = 0.5,
whose rate falls to a fortieth over the second half, L2 decay 2.5e-5, weights of deviation 0.02. Not as there: layers of 512
units, not 1,024; batches of 512 with a rate of 4e-4, not of 128 with 2e-4, at which the discriminator wins. Published, after
400 passes: 97.39 % of the test digits right by the nearest of the training digits' features. Beside it: raw pixels, and the
encoder before training. The error of reconstructions is ‖G(E(x)) - x‖ / ‖x‖ over all test digits together; that of other
digits, paired at random, and that of the mean of the training digits, stand beside it.

    python benchmarks/quality/bigan_mnist.py [--passes 25] [--minutes 60] [--units 512] [--picture bigan.png]

The picture has rows of G(z), of x, and of G(E(x)).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from report import mnist, show
from sklearn.neighbors import KNeighborsClassifier

from fastbm import BiGAN, plotting


def late_decay(fraction: float) -> float:
    """1 over the first half, then down to a fortieth."""
    return 40.0 ** -max(0.0, 2 * fraction - 1)


def nearest(train, labels, test, answers) -> float:
    """Return the accuracy of the nearest training row."""
    return KNeighborsClassifier(1, algorithm="brute").fit(train, labels).score(test, answers)


def reconstruction_error(model, X) -> float:
    """Return the distance of all rows from their reconstructions over their length."""
    return relative_distance(model.reconstruct(X), X)


def relative_distance(other, X) -> float:
    """Return ‖other - X‖ / ‖X‖."""
    return float(np.sqrt(((other - X) ** 2).sum() / (X**2).sum()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=25)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--no-batch-norm", action="store_true")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture")
    options = parser.parse_args()
    images, labels, test, answers = mnist()
    images, labels, begin = images[: options.rows], labels[: options.rows], time.perf_counter()

    def callback(model, record):
        figures = {name: round(value, 6) for name, value in record.items()}
        show(script="bigan_mnist", error=round(reconstruction_error(model, test[:1000]), 3), **figures)
        return time.perf_counter() - begin > 60 * options.minutes

    sizes = dict.fromkeys([f"{each}_layer_sizes" for each in ("generator", "encoder", "discriminator")], (options.units,) * 2)
    model = BiGAN(
        50, **sizes, batch_norm=not options.no_batch_norm,
        discriminator_batch_norm=not options.no_batch_norm, batch_size=options.batch_size, learning_rate=options.rate,
        learning_rate_schedule=late_decay, l2=2.5e-5, initial=0.02, dropout=options.dropout, n_iter=options.passes,
        random_state=options.seed, callbacks=callback,
    )  # fmt: skip
    untrained = BiGAN(**model.get_params() | {"n_iter": 0, "callbacks": None}).fit(images[:1000])
    model.fit(images)
    seconds = time.perf_counter() - begin
    accuracies = {
        name: round(nearest(features(images), labels, features(test), answers), 4)
        for name, features in (
            ("encoder", model.transform), ("untrained_encoder", untrained.transform), ("pixels", lambda X: X),
        )
    }  # fmt: skip
    show(
        script="bigan_mnist", **accuracies, published=0.9739, error=round(reconstruction_error(model, test), 3),
        error_of_others=round(relative_distance(test[::-1], test), 3),
        error_of_mean=round(relative_distance(images.mean(axis=0), test), 3), passes=model.n_iter_, seconds=round(seconds),
    )  # fmt: skip
    if options.picture:
        rows = [model.sample(20, random_state=0), test[:20], model.reconstruct(test[:20])]
        ax = plotting.plot_images(np.concatenate(rows), n_columns=20, title="G(z), x, G(E(x))")
        ax.figure.set_size_inches(12, 2.2)
        ax.figure.savefig(options.picture, dpi=80)


if __name__ == "__main__":
    main()
