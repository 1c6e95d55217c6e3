"""GAN in one dimension, from N(3, 0.5²) and from a mixture of two: how near samples come to data, and the discriminator to 1/2.

Prints the Wasserstein distance of 10,000 samples from 10,000 new rows, which of two sets of rows is about 0.01, and the mean of
abs(D - 1/2) over rows and samples. Draws the densities and D at four moments of training.

    python benchmarks/quality/gan_1d.py [--seeds 5] [--picture gan_1d.png]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from report import show
from scipy.stats import wasserstein_distance

from fastbm import GAN, plotting

MOMENTS = (1, 4, 12, 60)
"""Passes after which a picture is drawn."""


def rows_of(name: str, seed: int, n: int = 10_000) -> np.ndarray:
    """Return rows of one of the two sets."""
    rng = np.random.default_rng(seed)
    centres, deviation = ([3.0], 0.5) if name == "normal" else ([1.0, 4.0], 0.5)
    return (rng.choice(centres, (n, 1)) + deviation * rng.normal(size=(n, 1))).astype(np.float32)


def model_of(name: str, **more) -> GAN:
    """Return the GAN that is fitted to a set."""
    sizes = dict.fromkeys(("generator_layer_sizes", "discriminator_layer_sizes"), (32, 32))
    return GAN(
        1, **sizes, generator_activation="tanh", discriminator_activation="tanh", output="identity", prior="normal",
        batch_size=200, learning_rate=2e-3, learning_rate_schedule="linear", n_iter=MOMENTS[-1], **more,
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--picture")
    options = parser.parse_args()
    axes = None
    if options.picture:
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(2, len(MOMENTS), figsize=(15, 6), layout="compressed")
    for row, name in enumerate(("normal", "mixture")):
        for seed in range(options.seeds):
            X = rows_of(name, 1)

            def draw(model, record, row=row, X=X):
                if axes is not None and record["iteration"] in MOMENTS:
                    ax = axes[row, MOMENTS.index(record["iteration"])]
                    plotting.plot_densities(model, X, limits=(-1, 7), title=f"pass {record['iteration']}", ax=ax)

            begin = time.process_time()
            model = model_of(name, random_state=seed, callbacks=draw if seed == 0 else None).fit(X)
            samples, fresh = model.sample(10_000, random_state=seed), rows_of(name, 2)
            distance = wasserstein_distance(samples[:, 0], fresh[:, 0])
            apart = np.abs(model.discriminate(np.concatenate([fresh, samples])) - 0.5).mean()
            show(
                script="gan_1d", data=name, seed=seed, wasserstein=round(distance, 3), apart=round(float(apart), 4),
                seconds=round(time.process_time() - begin, 1),
            )  # fmt: skip
    if options.picture:
        figure.savefig(options.picture, dpi=80)


if __name__ == "__main__":
    main()
