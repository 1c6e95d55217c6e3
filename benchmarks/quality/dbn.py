"""MNIST with labels, 784–500–500–2000: errors of a deep belief network before and after up–down, and samples of each class.

The network of Hinton, Osindero & Teh (2006), who report 1.25 % after days. Greedy training by contrastive divergence of one
sweep, on grey levels, with the centred gradient, momentum 0.5, L2 decay of 0.0002 and hidden units pulled to activities of 0.15
and, on top, 0.1; then up–down, its rate falling from 0.1 to 0, the sweeps of the machine on top growing from 1 to 10. Batches
of 20: many small updates go further than few large ones. Contrastive divergence never looks far from the data, and leaves the
machine on top modes that are no digits; a few more passes with persistent chains there, at small rates, take them away.
100 samples of each class, drawn with the label clamped, are given to a perceptron that knows only real digits.

    FASTBM_DATA=folder python benchmarks/quality/dbn.py [--passes 60] [--save FILE] [--picture FOLDER]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from report import mnist, show
from sklearn.neural_network import MLPClassifier

from fastbm import DeepBeliefClassifier


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--greedy", type=int, nargs=3, default=(12, 12, 12), help="passes of greedy training")
    parser.add_argument("--passes", type=int, default=60, help="of up-down")
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--decay", type=float, default=0.0001)
    parser.add_argument("--gibbs", type=int, default=10, help="sweeps of the machine on top at the end")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--sweeps", type=int, default=1000, help="of the samples")
    parser.add_argument("--persistent", type=int, default=8, help="passes of up-down with persistent chains, after that")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", help="where to keep the network, every five passes")
    parser.add_argument("--picture", help="a folder")
    options = parser.parse_args()
    train, y_train, test, y_test = (array.astype(np.float32) if array.ndim > 1 else array for array in mnist())
    network = DeepBeliefClassifier(
        (500, 500, 2000), batch_size=options.batch, n_iter=options.greedy, learning_rate=0.05, algorithm="cd", momentum=0.5,
        l2=0.0002, learning_rate_schedule="linear", centered=True, sparsity_target=(0.15, 0.15, 0.1), sparsity_cost=0.1,
        up_down_n_iter=0, up_down_learning_rate=options.rate, up_down_l2=options.decay, n_top_gibbs_steps=options.gibbs,
        n_top_gibbs_steps_schedule="linear", random_state=options.seed,
    )  # fmt: skip
    begin = time.perf_counter()
    network.fit(train, y_train)
    greedy, before = time.perf_counter() - begin, errors(network, test, y_test)
    print(f"after greedy training: {before:.4f} of the test digits wrong, {greedy:.0f} s", flush=True)
    begin = time.perf_counter()
    network.set_params(warm_start=True, up_down_n_iter=options.passes, callbacks=progress(test, y_test, options.save))
    network.fit(train, y_train)
    after = errors(network, test, y_test)
    network.set_params(
        up_down_n_iter=options.persistent, top_algorithm="pcd", up_down_learning_rate=0.02, top_learning_rate=0.06,
        n_top_gibbs_steps=5, n_top_gibbs_steps_schedule="constant",
    ).fit(train, y_train)  # fmt: skip
    seconds = time.perf_counter() - begin
    network.set_params(callbacks=None)
    if options.save:
        network.save(options.save)
    samples, asked = by_class(network, 100, options.sweeps, options.seed)
    judge = MLPClassifier((256,), early_stopping=True, n_iter_no_change=3, random_state=options.seed).fit(train, y_train)
    agreed = judge.predict(samples) == asked
    show(
        script="dbn", errors_before=before, errors_after=after, errors_at_the_end=errors(network, test, y_test),
        train_errors_at_the_end=errors(network, train[:10000], y_train[:10000]), agreement=round(float(agreed.mean()), 4),
        agreement_of_the_worst_class=round(min(float(agreed[asked == k].mean()) for k in range(10)), 4),
        judge_accuracy=round(judge.score(test, y_test), 4), **vars(options), seconds_of_greedy_training=round(greedy),
        seconds_of_up_down=round(seconds),
    )  # fmt: skip
    if options.picture:
        draw(network, test, y_test, Path(options.picture), options)


def errors(network, X, y) -> float:
    """Return the fraction of digits that are taken for others."""
    return round(1 - network.score(X, y), 4)


def progress(test, y_test, path):
    """Return a callback that prints the test errors, and keeps the network, after every fifth pass."""

    def after_pass(network, record):
        if record["iteration"] % 5 == 0:
            wrong, seconds = errors(network, test, y_test), record["seconds"]
            print(f"pass {record['iteration']}: {wrong:.4f} of the test digits wrong, {seconds:.1f} s a pass", flush=True)
            if path:
                network.save(path)

    return after_pass


def by_class(network, n: int, sweeps: int, seed: int):
    """Return the means of `n` samples of each class, after sweeps with the label clamped, and the classes."""
    asked = np.repeat(np.arange(10), n)
    samples, _ = network.sample(len(asked), y=asked, n_steps=sweeps, return_mean=True, random_state=seed)
    return samples, asked


def draw(network, test, y_test, folder: Path, options) -> None:
    """Save a picture of ten samples of each class, and one of digits recognised rightly, and wrongly."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    from fastbm import plotting

    samples, _ = by_class(network, 10, options.sweeps, options.seed)
    plotting.plot_images(samples, n_columns=10).figure.savefig(folder / "dbn_samples.png", dpi=100)
    found = network.predict(test)
    rows = np.random.default_rng(options.seed).permutation(len(test))
    figure, axes = plt.subplots(6, 10, figsize=(8, 5.6))
    right, wrong = rows[found[rows] == y_test[rows]][:30], rows[found[rows] != y_test[rows]][:30]
    for axis, row in zip(axes.flat, [*right, *wrong], strict=True):
        axis.imshow(test[row].reshape(28, 28), cmap="gray_r")
        axis.set_title(f"{found[row]}" if found[row] == y_test[row] else f"{found[row]}, not {y_test[row]}", fontsize=8)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(folder / "dbn_recognised.png", dpi=100)


if __name__ == "__main__":
    main()
