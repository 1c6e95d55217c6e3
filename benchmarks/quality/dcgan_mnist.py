"""DCGAN on MNIST: which digits its samples are, and how evenly.

60,000 images of 28×28 are trained on; maps begin at 32, batches are of 64. A perceptron of scikit-learn, trained on the same
images and their labels, says what 10,000 samples are: all ten classes should be there, and the entropy of their shares, at most
ln 10 = 2.303 nats, at least 2.2. How often it is sure, above 0.9, is printed too, beside the same of test images.

    python benchmarks/quality/dcgan_mnist.py [--minutes 40] [--passes 16] [--picture samples.png]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from report import late_decay, mnist, show
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from fastbm import DCGAN, latent, plotting

N_SAMPLES, SIDE = 10_000, 28


def progress(seconds: float, picture: str | None):
    """Return a callback that prints each pass, draws samples of it, and ends the training when the time is up."""
    begin = time.perf_counter()

    def callback(model, record):
        spent = time.perf_counter() - begin
        show(script="dcgan_mnist", spent=round(spent), **{name: round(value, 5) for name, value in record.items()})
        if picture:
            draw(model, picture)
        return spent > seconds

    return callback


def draw(model, picture: str) -> None:
    """Draw a hundred samples."""
    plotting.plot_images(model.sample(100, random_state=1), title="samples").figure.savefig(picture)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--passes", type=int, default=16)
    parser.add_argument("--base", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture")
    parser.add_argument("--walk", help="where to draw ways between latents")
    parser.add_argument("--checkpoint")
    options = parser.parse_args()
    images, labels, test, test_labels = mnist()
    model = DCGAN(
        100, base_channels=options.base, batch_size=options.batch_size, n_iter=options.passes, learning_rate=options.rate,
        learning_rate_schedule=late_decay, random_state=options.seed, callbacks=progress(60 * options.minutes, options.picture),
    )  # fmt: skip
    begin = time.perf_counter()
    model.fit(images.reshape(-1, SIDE, SIDE))
    seconds = time.perf_counter() - begin
    if options.checkpoint:
        model.set_params(learning_rate_schedule="constant").save(options.checkpoint)
    classifier = MLPClassifier((256,), max_iter=12, random_state=0)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # twelve passes are enough here
        classifier.fit(images, labels)
    judge(model, classifier, test, test_labels, passes=model.n_iter_, seconds=round(seconds))
    if options.picture:
        draw(model, options.picture)
    if options.walk:
        ends = model.sample_latent(16, random_state=2)
        ways = [latent.interpolate(a, b, 10) for a, b in zip(ends[::2], ends[1::2], strict=True)]
        plotting.plot_interpolations([model.sample(z=way) for way in ways]).figure.savefig(options.walk)


def judge(model, classifier, test, test_labels, **more) -> None:
    """Print what a classifier takes samples for."""
    samples = model.sample(N_SAMPLES, random_state=1).reshape(N_SAMPLES, -1)
    probabilities = classifier.predict_proba(samples)
    shares = np.bincount(probabilities.argmax(axis=1), minlength=10) / N_SAMPLES
    found = shares[shares > 0]
    show(
        script="dcgan_mnist", test_error=round(1 - classifier.score(test, test_labels), 4), classes=len(found),
        entropy=round(float(-(found * np.log(found)).sum()), 4), shares=[round(float(each), 3) for each in shares],
        sure_of_samples=round(float((probabilities.max(axis=1) > 0.9).mean()), 4),
        sure_of_test=round(float((classifier.predict_proba(test).max(axis=1) > 0.9).mean()), 4), **more,
    )  # fmt: skip


if __name__ == "__main__":
    main()
