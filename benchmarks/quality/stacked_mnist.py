"""Stacked MNIST: how many of a thousand modes a DCGAN finds, by the protocol of PacGAN (Lin et al., NeurIPS 2018).

Three digits, drawn at random from the training images, are the red, green and blue of an image: 1,000 modes, all as likely. A
perceptron of scikit-learn, trained once on digits and their labels, reads each colour of 26,000 samples. Printed are how many
of the modes have a sample, and the divergence KL(p‖u) of the samples' modes from the uniform distribution, in nats; beside it
both of as many test images that are stacked alike. Published, of larger networks trained for longer: 99.0 modes and 3.40 for a
DCGAN, 1,000 and 0.06 for one whose discriminator sees two images at once.

A step has as many images whatever the pack. Minutes are those of the processor, not of the clock; 1,000 steps are a pass.

    python benchmarks/quality/stacked_mnist.py [--pack 2] [--minutes 25] [--passes 20] [--picture stacked.png]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from report import mnist, show
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from fastbm import DCGAN, plotting

N_SAMPLES, SIDE, N_COLOURS, N_MODES, N_STEPS = 26_000, 28, 3, 1000, 1000


def stacked(images, n: int, rng):
    """Return n images in colour, each of three digits drawn at random, as bytes."""
    digits = np.rint(images * 255).astype(np.uint8).reshape(-1, SIDE, SIDE)
    X = np.empty((n, SIDE, SIDE, N_COLOURS), np.uint8)
    for colour in range(N_COLOURS):
        X[..., colour] = digits[rng.integers(len(digits), size=n)]
    return X


def modes_of(images, classifier):
    """Return the mode of each image, the number that its three digits make."""
    levels = images / np.float32(255) if images.dtype == np.uint8 else images
    digits = [classifier.predict(levels[..., colour].reshape(len(levels), -1)) for colour in range(N_COLOURS)]
    return np.array([100, 10, 1]) @ digits


def figures(images, classifier) -> dict:
    """Return how many modes have an image, and how far their shares are from even ones, in nats."""
    shares = np.bincount(modes_of(images, classifier), minlength=N_MODES) / len(images)
    found = shares[shares > 0]
    return {"modes": len(found), "kl": round(float((found * np.log(found * N_MODES)).sum()), 3)}


def digits_classifier(images, labels, test, test_labels):
    """Return a perceptron that reads digits, and print how often it is right on test images."""
    classifier = MLPClassifier((256,), max_iter=12, random_state=0)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # twelve passes are enough here
        classifier.fit(images, labels)
    show(script="stacked_mnist", classifier="perceptron", accuracy=round(classifier.score(test, test_labels), 4))
    return classifier


def progress(classifier, options):
    """Return a callback that prints each pass with its modes, draws samples, and ends the training when the time is up."""
    begin = time.process_time()

    def callback(model, record):
        spent = time.process_time() - begin
        found = figures(model.sample(N_SAMPLES, random_state=1), classifier)
        show(
            script="stacked_mnist", pack=options.pack, spent=round(spent), **found,
            **{name: round(value, 5) for name, value in record.items()},
        )  # fmt: skip
        if options.picture:
            plotting.plot_images(model.sample(64, random_state=1), title="samples").figure.savefig(options.picture)
        return spent > 60 * options.minutes

    return callback


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--base", type=int, default=16)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture")
    parser.add_argument("--checkpoint")
    options = parser.parse_args()
    images, labels, test, test_labels = mnist()
    rng = np.random.default_rng(options.seed)
    classifier = digits_classifier(images, labels, test, test_labels)
    show(script="stacked_mnist", data="test images", **figures(stacked(test, N_SAMPLES, rng), classifier))
    model = DCGAN(
        100, base_channels=options.base, n_layers=options.layers, pack=options.pack, batch_size=options.batch_size,
        n_iter=options.passes, learning_rate=options.rate, random_state=options.seed, callbacks=progress(classifier, options),
    )  # fmt: skip
    begin, clock = time.process_time(), time.perf_counter()
    model.fit(stacked(images, N_STEPS * options.batch_size, rng))
    show(
        script="stacked_mnist", pack=options.pack, base=options.base, layers=options.layers, seed=options.seed,
        passes=model.n_iter_, steps=model.n_iter_ * N_STEPS, seconds=round(time.process_time() - begin),
        clock=round(time.perf_counter() - clock), **figures(model.sample(N_SAMPLES, random_state=1), classifier),
    )  # fmt: skip
    if options.checkpoint:
        model.save(options.checkpoint)


if __name__ == "__main__":
    main()
