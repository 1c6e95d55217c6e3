"""Mode collapse in two dimensions: a ring of 8 normal distributions, a grid of 25, by the protocol of PacGAN (NeurIPS 2018).

The ring has radius 1 and deviation 0.01, the grid a spacing of 2 and deviation 0.05. Of 2,500 samples those within three
deviations of a centre are good ones, and a centre with one of them is found. Published: a plain GAN finds 6.3 of 8 and 17.3 of
25, one that sees four samples at once all 25.

A pass is 1,000 steps, whatever the pack. A plain discriminator has leaky units and weights by He's rule, one of packs rectified
ones and weights by Glorot's, unless others are asked for: each as it finds more of the grid. The other way about it was 14
modes for the plain one and 20 for packs of four, with one seed.

    python benchmarks/quality/modes.py [--seeds 5] [--packs 1 4] [--passes 25] [--sets ring grid]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from report import show

from fastbm import GAN

ANGLES = 2 * np.pi * np.arange(8) / 8
CENTRES = {
    "ring": np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1),
    "grid": np.stack(np.meshgrid(np.arange(-4, 5, 2), np.arange(-4, 5, 2)), axis=-1).reshape(-1, 2).astype(float),
}
DEVIATIONS = {"ring": 0.01, "grid": 0.05}
N_ROWS, N_SAMPLES = 100_000, 2_500
USUAL = {False: ("leaky_relu", "he"), True: ("relu", "glorot")}
"""The discriminator's activation, and how weights begin, without packs and with them."""


def rows_of(name: str, n: int, seed: int) -> np.ndarray:
    """Return rows drawn from the mixture."""
    rng, centres = np.random.default_rng(seed), CENTRES[name]
    return (centres[rng.integers(len(centres), size=n)] + DEVIATIONS[name] * rng.normal(size=(n, 2))).astype(np.float32)


def found(name: str, samples) -> tuple[int, float]:
    """Return how many centres have a good sample, and the share of good ones."""
    distances = np.linalg.norm(samples[:, None, :] - CENTRES[name], axis=2)
    good = distances.min(axis=1) <= 3 * DEVIATIONS[name]
    return len(np.unique(distances.argmin(axis=1)[good])), float(good.mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--packs", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--passes", type=int, default=25)
    parser.add_argument("--sets", nargs="*", default=list(CENTRES))
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--activation", help="of the discriminator")
    parser.add_argument("--initial")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--rows", type=int, default=N_ROWS)
    options = parser.parse_args()
    for name in options.sets:
        for pack in options.packs:
            counts = [one(name, pack, seed, options) for seed in range(options.seeds)]
            mean, error = np.mean(counts), np.std(counts) / np.sqrt(max(1, len(counts) - 1))
            show(script="modes", data=name, pack=pack, seeds=options.seeds, modes=round(mean, 2), stderr=round(error, 2))


def one(name: str, pack: int, seed: int, options) -> int:
    """Train on one set with one seed; print and return how many centres are found."""
    hidden, (activation, initial) = (options.units,) * options.layers, USUAL[pack > 1]
    model = GAN(
        2, generator_layer_sizes=hidden, discriminator_layer_sizes=hidden, prior="normal", output="identity", pack=pack,
        batch_size=100 * pack, n_iter=options.passes * pack, learning_rate=options.rate, learning_rate_schedule="linear",
        initial=options.initial or initial, discriminator_activation=options.activation or activation, random_state=seed,
    )  # fmt: skip
    begin = time.process_time()
    model.fit(rows_of(name, options.rows, seed))
    n_found, good = found(name, model.sample(N_SAMPLES, random_state=seed))
    show(
        script="modes", data=name, pack=pack, seed=seed, modes=n_found, good=round(good, 3), passes=model.n_iter_,
        seconds=round(time.process_time() - begin, 1),
    )  # fmt: skip
    return n_found


if __name__ == "__main__":
    main()
