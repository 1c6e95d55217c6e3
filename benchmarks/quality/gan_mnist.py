"""GAN on MNIST: Parzen log-likelihood of test images with the protocol of Goodfellow et al. 2014, and two baselines beside it.

50,000 images are trained on; the window is chosen on the first 1,000 of the 10,000 after them, among ten from 0.1 to 1; 10,000
samples score the 10,000 test images. The baselines are 10,000 training images, and k-means centres, taken for samples.
Published: 225 ± 2. Two hidden layers of 512 units each, batch normalisation in both networks, Adam, and a generator that steps
five times as far as the discriminator, which otherwise wins; rates fall to a tenth over the second half. A pass takes about ten
seconds of processor time.

    python benchmarks/quality/gan_mnist.py [--minutes 55] [--passes 120] [--picture samples.png] [--checkpoint gan.safetensors]

A run of fewer `--passes` shows whether it goes the right way. Every tenth of it, the log-likelihood of 1,000 validation images,
by 1,000 samples, is printed.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from report import late_decay, mnist, show
from sklearn.cluster import MiniBatchKMeans

from fastbm import GAN, evaluation, plotting

N_TRAINED, N_CHOSEN, N_SAMPLES = 50_000, 1_000, 10_000


def progress(validation, every: int, seconds: float):
    """Return a callback that prints how far it got, and ends the training when the time is up."""
    begin = time.perf_counter()

    def callback(model, record):
        spent = time.perf_counter() - begin
        if record["iteration"] % every == 0:
            samples = model.sample(1000, random_state=1)
            score = evaluation.parzen_score(samples, validation[:N_CHOSEN], validation[N_CHOSEN : 2 * N_CHOSEN])
            figures = {name: round(value, 6) for name, value in record.items()}
            show(
                script="gan_mnist", parzen_1000=round(score.mean, 1), sigma=round(score.sigma, 3), spent=round(spent), **figures
            )
        return spent > seconds

    return callback


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=55.0)
    parser.add_argument("--passes", type=int, default=120)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--generator", type=int, nargs="*", default=[512, 512])
    parser.add_argument("--discriminator", type=int, nargs="*", default=[512, 512])
    parser.add_argument("--activation", default="leaky_relu")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--no-batch-norm", action="store_true")
    parser.add_argument("--initial", type=float, default=0.02)
    parser.add_argument("--prior", default="normal")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--discriminator-rate", type=float, default=2e-4)
    parser.add_argument("--smoothing", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--baselines", action="store_true", help="only the two baselines")
    parser.add_argument("--picture")
    parser.add_argument("--checkpoint")
    options = parser.parse_args()
    images, _, test, _ = mnist()
    train, validation = images[:N_TRAINED], images[N_TRAINED:]
    if options.baselines:
        rng = np.random.default_rng(0)
        score("training images", train[rng.permutation(N_TRAINED)[:N_SAMPLES]], test, validation)
        centres = MiniBatchKMeans(1000, n_init=1, batch_size=4096, random_state=0).fit(train).cluster_centers_
        score("centres of k-means, 1,000", centres, test, validation)
        return
    model = GAN(
        100, generator_layer_sizes=options.generator, discriminator_layer_sizes=options.discriminator,
        discriminator_activation=options.activation, dropout=options.dropout, prior=options.prior,
        batch_norm=not options.no_batch_norm, discriminator_batch_norm=not options.no_batch_norm, initial=options.initial,
        batch_size=options.batch_size, learning_rate=options.rate, discriminator_learning_rate=options.discriminator_rate,
        label_smoothing=options.smoothing, learning_rate_schedule=late_decay, n_iter=options.passes,
        random_state=options.seed, callbacks=progress(validation, max(1, options.passes // 10), 60 * options.minutes),
    )  # fmt: skip
    begin = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - begin
    samples = model.sample(N_SAMPLES, random_state=1)
    score("GAN", samples, test, validation, passes=model.n_iter_, seconds=round(seconds))
    if options.picture:
        plotting.plot_samples(samples[:100], title="samples").figure.savefig(options.picture)
    if options.checkpoint:
        model.set_params(learning_rate_schedule="constant").save(options.checkpoint)


def score(name: str, samples, test, validation, **more) -> None:
    """Print the log-likelihood of test images by a Parzen window on samples."""
    found = evaluation.parzen_score(samples, test, validation[:N_CHOSEN])
    show(
        script="gan_mnist", samples=name, parzen=round(found.mean, 1), stderr=round(found.stderr, 1),
        sigma=round(found.sigma, 3), **more,
    )  # fmt: skip


if __name__ == "__main__":
    main()
