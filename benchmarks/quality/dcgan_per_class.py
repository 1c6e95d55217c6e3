"""Samples in place of training images: the errors of a nearest neighbour among them, by the protocol of the DCGAN paper.

Ten DCGANs are trained on MNIST, each on the images of one class of the first 50,000; 5,000 samples of each, labelled with its
class, are what the test images are compared with, and the nearest by Euclidean distance gives their label. Beside it the same
by as many of the real images. Published (Radford, Metz & Chintala 2016), 50,000 samples of a larger network, validation images
apart: 2.98 %; real images: 3.1 %.

Minutes are those of the processor, not of the clock; each class has a tenth of them.

    python benchmarks/quality/dcgan_per_class.py [--minutes 30] [--passes 60] [--picture classes.png]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from report import mnist, show

from fastbm import DCGAN, plotting

N_TRAINING, N_CLASSES, N_EACH, SIDE, N_DRAWN, N_TOGETHER = 50_000, 10, 5000, 28, 10, 500


def nearest_error(rows, labels, test, test_labels) -> float:
    """Return the share of test images whose nearest row has another label."""
    squares, found = (rows * rows).sum(axis=1), []
    for begin in range(0, len(test), N_TOGETHER):
        found.append((squares - 2 * test[begin : begin + N_TOGETHER] @ rows.T).argmin(axis=1))
    return float((labels[np.concatenate(found)] != test_labels).mean())


def within(seconds: float):
    """Return a callback that ends the training when its time of the processor is up."""
    begin = time.process_time()
    return lambda model, record: time.process_time() - begin > seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--base", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture")
    options = parser.parse_args()
    images, labels, test, test_labels = mnist()
    images, labels = images[:N_TRAINING], labels[:N_TRAINING]
    samples = []
    for digit in range(N_CLASSES):
        model = DCGAN(
            100, base_channels=options.base, batch_size=options.batch_size, n_iter=options.passes, learning_rate=options.rate,
            random_state=options.seed + digit, callbacks=within(60 * options.minutes / N_CLASSES),
        )  # fmt: skip
        begin = time.process_time()
        model.fit(images[labels == digit].reshape(-1, SIDE, SIDE))
        seconds = time.process_time() - begin
        show(script="dcgan_per_class", digit=digit, passes=model.n_iter_, seconds=round(seconds))
        samples.append(model.sample(N_EACH, random_state=1).reshape(N_EACH, -1))
    drawn = np.repeat(np.arange(N_CLASSES), N_EACH)
    errors = {"samples": nearest_error(np.concatenate(samples), drawn, test, test_labels)}
    errors["real"] = nearest_error(images, labels, test, test_labels)
    show(script="dcgan_per_class", base=options.base, seed=options.seed, rows=len(drawn), **errors)
    if options.picture:
        shown = np.concatenate([each[:N_DRAWN] for each in samples]).reshape(-1, SIDE, SIDE)
        plotting.plot_images(shown, title="ten samples of each class").figure.savefig(options.picture)


if __name__ == "__main__":
    main()
