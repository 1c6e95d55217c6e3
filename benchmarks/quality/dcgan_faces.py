"""DCGAN on drawn faces of 64×64 in colour: does z(smiling) - z(neutral) + z(another, neutral) smile, and is it still the other?

Training images of openpeeps64 are learnt; linear classifiers of scikit-learn, trained on real images, say what samples show.
For each attribute, a smile and glasses, clear or dark, 200 times: the mean of thirty samples that clearly have it, less that
of thirty that clearly have not, is added to another sample that has not, all drawn anew; clear are those of which the
classifier is surer than of half of their kind. The result is judged, and so is the other sample itself. It is the same person
where it is nearer to that sample than to 95 % of all others. "clear glasses", for comparison, are glasses that are not dark.

    python benchmarks/quality/dcgan_faces.py [--passes 20] [--noise 1] [--picture faces.png] [--arithmetic sum.png]
"""

from __future__ import annotations

import argparse
import io
import lzma
import os
import time
from pathlib import Path

import numpy as np
from matplotlib import pyplot
from report import late_decay, show
from sklearn.linear_model import RidgeClassifier

from fastbm import DCGAN, latent, plotting

N_POOL, N_SUMS, N_EXAMPLES, N_DRAWN = 3000, 200, 30, 5
ATTRIBUTES = {"smiling": ("smiling",), "glasses": ("glasses", "sunglasses"), "clear glasses": ("glasses",)}
"""Attributes, and the columns any of which makes them; in pixelart16 "glasses" alone has the dark ones as well."""


def faces(name: str = "openpeeps64"):
    """Return the arrays of a set of drawn faces, from the folder that FASTBM_DATA names."""
    path = next((Path(os.environ["FASTBM_DATA"]) / name).glob("*.npz.xz"))
    return np.load(io.BytesIO(lzma.open(path).read()))


def classifiers(data, n: int = 6000) -> dict:
    """Return a classifier for each attribute, trained on some real images, and print how often it is right on others."""
    names, found = [str(each) for each in data["attr_names"]], {}
    for name, of in ATTRIBUTES.items():
        if name == "clear glasses" and "sunglasses" not in names:
            continue
        columns = [names.index(each) for each in of if each in names]
        labels = {part: data[f"attr_{part}"][:, columns].any(axis=1) for part in ("train", "test")}
        found[name] = RidgeClassifier(alpha=100.0).fit(rows_of(data["x_train"][:n]), labels["train"][:n])
        accuracy = found[name].score(rows_of(data["x_test"]), labels["test"])
        show(script="dcgan_faces", classifier=name, accuracy=round(float(accuracy), 4))
    return found


def rows_of(images):
    """Return images as rows between 0 and 1."""
    return images.reshape(len(images), -1) / np.float32(255 if images.dtype == np.uint8 else 1)


def sums(model, judge, seed: int = 0) -> dict:
    """Return how often results have the attribute, how often those they began with do, and how often a person is the same."""
    z = model.sample_latent(N_POOL, random_state=1)
    pool = rows_of(model.sample(z=z))
    margin, rng = judge.decision_function(pool), np.random.default_rng(seed)
    has = margin > 0
    if min(has.sum(), (~has).sum()) < 2 * N_EXAMPLES:
        return {"samples_with": int(has.sum())}
    clear, clearly_not = margin > np.median(margin[has]), margin < np.median(margin[~has])

    def some(of, n=N_EXAMPLES):
        return z[rng.choice(np.flatnonzero(of), n, replace=False)]

    terms = [(some(clear), some(clearly_not), some(~has, 1)) for _ in range(N_SUMS)]
    begun = rows_of(model.sample(z=np.concatenate([other for _, _, other in terms])))
    results = rows_of(model.sample(z=np.stack([latent.arithmetic([w, other], [without]) for w, without, other in terms])))
    apart = ((results - begun) ** 2).sum(axis=1)
    others = pool[:1000]
    squares = (results**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * results @ others.T
    return {
        "with_before": round(float((judge.predict(begun) == 1).mean()), 3),
        "with_after": round(float((judge.predict(results) == 1).mean()), 3),
        "same_person": round(float(((squares > apart[:, None]).mean(axis=1) >= 0.95).mean()), 3),
        "samples_with": int(has.sum()),
    }


def draw_sum(model, judge, name: str, picture: str) -> None:
    """Draw one sum as a figure: the means of some clear examples, and another sample that clearly has not."""
    z = model.sample_latent(N_POOL, random_state=1)
    margin = judge.decision_function(rows_of(model.sample(z=z)))
    with_it, without = z[margin > np.median(margin[margin > 0])], z[margin < np.median(margin[margin < 0])]
    terms = [with_it[:N_DRAWN], without[-1:]], [without[:N_DRAWN]]
    titles = [name, f"not {name}", "another", f"another, {name}"]
    plotting.plot_arithmetic(model, *terms, titles=titles).savefig(picture)


def progress(seconds: float, picture: str | None):
    """Return a callback that prints each pass, draws samples of it, and ends the training when the time is up."""
    begin = time.perf_counter()

    def callback(model, record):
        spent = time.perf_counter() - begin
        show(script="dcgan_faces", spent=round(spent), **{name: round(value, 5) for name, value in record.items()})
        if picture:
            figure = plotting.plot_images(model.sample(64, random_state=1), title="samples").figure
            figure.savefig(picture)
            pyplot.close(figure)
        return spent > seconds

    return callback


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="openpeeps64", choices=["openpeeps64", "pixelart16"])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--base", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--noise", type=float, default=1.0, help="on what the discriminator sees")
    parser.add_argument("--images", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture")
    parser.add_argument("--arithmetic", help="where to draw a sum of each attribute: NAME-sum.png beside it")
    parser.add_argument("--checkpoint")
    options = parser.parse_args()
    data = faces(options.data)
    judges = classifiers(data)
    model = DCGAN(
        100, base_channels=options.base, batch_size=options.batch_size, n_iter=options.passes, prior="normal",
        instance_noise=options.noise, learning_rate_schedule=late_decay, random_state=options.seed,
        callbacks=progress(60 * options.minutes, options.picture),
    )  # fmt: skip
    begin = time.perf_counter()
    model.fit(data["x_train"][: options.images])
    seconds = time.perf_counter() - begin
    if options.checkpoint:
        model.set_params(learning_rate_schedule="constant").save(options.checkpoint)
    for name, judge in judges.items():
        show(script="dcgan_faces", attribute=name, passes=model.n_iter_, seconds=round(seconds), **sums(model, judge))
        if options.arithmetic:
            path = Path(options.arithmetic)
            draw_sum(model, judge, name, str(path.with_name(f"{path.stem}-{name.replace(' ', '-')}{path.suffix}")))


if __name__ == "__main__":
    main()
