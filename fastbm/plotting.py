"""Pictures of a machine on images: weights, reconstructions, samples, all on one page; and of adversaries in one dimension."""

from __future__ import annotations

import math
import operator

import numpy as np

from fastbm import latent
from fastbm.evaluation.given import check_adversarial, check_count

BETWEEN = "#8faadc"
"""The colour that is seen between images."""
MOST_PAIRS = 50
"""Rows that `plot_machine` reconstructs, at the most."""


def plot_images(images, *, image_shape=None, n_columns=None, limits=None, cmap="gray_r", title=None, ax=None):
    """Draw rows as images, side by side in one frame.

    Parameters
    ----------
    images : array-like of shape (n_images, n_pixels), (n_images, height, width) or (n_images, height, width, n_channels)
        With three channels they are red, green and blue; uint8 is divided by 255.
    image_shape : (int, int), default=None
        Height and width of rows; a square when None.
    n_columns : int, default=None
        Images in a row; about as many as rows when None.
    limits : (float, float), default=None
        Values drawn as the ends of the colour map; (0, 1) when None.
    cmap : str, default="gray_r"
        Matplotlib's name of a colour map.
    title : str, default=None
    ax : matplotlib Axes, default=None
        Where to draw; a new figure when None.

    Returns
    -------
    ax : matplotlib Axes

    Raises
    ------
    ValueError
        When the pixels do not make an image of `image_shape`, or an argument is not valid.
    """
    images = _as_images(images, image_shape)
    n_columns = None if n_columns is None else check_count(n_columns, "n_columns", 1)
    _, height, width, n_channels = images.shape
    n_columns = n_columns or math.ceil(math.sqrt(len(images)))
    n_rows = math.ceil(len(images) / n_columns)
    page = np.full((n_rows * (height + 1) + 1, n_columns * (width + 1) + 1, n_channels), np.nan)
    for index, image in enumerate(images):
        row, column = divmod(index, n_columns)
        top, left = row * (height + 1) + 1, column * (width + 1) + 1
        page[top : top + height, left : left + width] = image
    ax = _figure().subplots() if ax is None else ax
    ax.set_facecolor(BETWEEN)
    low, high = limits or (0.0, 1.0)
    if n_channels == 1:
        page = np.ma.masked_invalid(page[:, :, 0])
    else:
        page = np.where(np.isnan(page), _colour(BETWEEN), np.clip((page - low) / (high - low), 0, 1))
    ax.imshow(page, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    ax.set(xticks=[], yticks=[], title=title or "")
    return ax


def plot_weights(machine, *, image_shape=None, n_units=64, title=None, ax=None):
    """Draw the weights of the hidden units with the largest ones as images; red excites, blue inhibits.

    Parameters
    ----------
    machine : fitted estimator
        Fitted to rows that are images; of several layers, the lowest is drawn.
    image_shape : (int, int), default=None
        Height and width; a square when None.
    n_units : int, default=64
        At most so many units are drawn.
    title : str, default=None
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes

    Raises
    ------
    TypeError
        When the estimator has no layers of couplings, as adversarial networks have none.
    """
    if not (hasattr(machine, "components_") or hasattr(machine, "coefs_")):
        raise TypeError(
            f"plot_weights draws components_ or coefs_, and {type(machine).__name__} has neither, or is not fitted; "
            "plot_images draws samples, and any arrays"
        )
    n_units = check_count(n_units, "n_units", 1)
    components = machine.components_ if hasattr(machine, "components_") else machine.coefs_[0].T
    strongest = np.argsort(-np.linalg.norm(components, axis=1), kind="stable")[:n_units]
    weights = components[np.sort(strongest)]
    limit = max(float(np.percentile(np.abs(weights), 99.5)), 1e-12)
    n_components = len(components)
    title = title or f"weights of {'all' if len(weights) == n_components else f'{len(weights)} of'} {n_components} hidden units"
    return plot_images(weights, image_shape=image_shape, limits=(-limit, limit), cmap="RdBu_r", title=title, ax=ax)


def plot_reconstructions(machine, X, *, image_shape=None, n_columns=10, title=None, ax=None):
    """Draw rows of `X` above their reconstructions.

    Parameters
    ----------
    machine : fitted estimator
    X : array-like of shape (n_samples, n_features)
        Rows that are images.
    image_shape : (int, int), default=None
        Height and width; a square when None.
    n_columns : int, default=10
        Pairs in a row.
    title : str, default=None
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes

    Raises
    ------
    TypeError
        When the machine has no `reconstruct`, as a `GAN` has none.
    """
    if not hasattr(machine, "reconstruct"):
        raise TypeError(f"plot_reconstructions needs a machine with reconstruct, got {type(machine).__name__}")
    n_columns, X = check_count(n_columns, "n_columns", 1), np.asarray(X)
    pairs = []
    for start in range(0, max(len(X), 1), n_columns):  # of no rows, reconstruct says that there are none
        rows = X[start : start + n_columns]
        blank = np.full((n_columns - len(rows), X.shape[1]), np.nan)
        pairs += [rows, blank, machine.reconstruct(rows), blank]
    title = title or "images, and below each its reconstruction"
    return plot_images(np.concatenate(pairs), image_shape=image_shape, n_columns=n_columns, title=title, ax=ax)


def plot_samples(samples, *, image_shape=None, title="samples", ax=None):
    """Draw samples as images.

    Parameters
    ----------
    samples : array-like of shape (n_samples, n_features)
        States, or probabilities.
    image_shape : (int, int), default=None
        Height and width; a square when None.
    title : str, default="samples"
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes
    """
    return plot_images(samples, image_shape=image_shape, title=title, ax=ax)


def plot_history(machine, *, ax=None):
    """Draw what training noted, against the number of the pass: scores of rows, or losses of adversarial networks.

    Parameters
    ----------
    machine : fitted estimator
        Adversarial, or fitted with callbacks, `verbose` or `early_stopping`, one of which scores are noted for.
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes

    Raises
    ------
    ValueError
        When no score was noted.
    TypeError
        When there is no history.
    """
    if not hasattr(machine, "history_"):
        raise TypeError(f"plot_history draws history_, which {type(machine).__name__} has not, or is not fitted")
    names = {"pseudo_likelihood": "training rows", "validation_score": "held-out rows"}
    names["reconstruction_error"] = "reconstruction of training rows"
    losses = {f"{each}_loss": each for each in ("discriminator", "generator", "encoder")}
    names |= losses
    curves = {name: [(record["iteration"], record[name]) for record in machine.history_ if name in record] for name in names}
    if not any(curves.values()):
        raise ValueError("history_ has no scores; fit with verbose=1, callbacks or, if it has that, early_stopping=True")
    ax = _figure(figsize=(5, 3.5)).gca() if ax is None else ax
    for name, points in curves.items():
        if points:
            ax.plot(*zip(*points, strict=True), label=names[name])
    ax.set_xlabel("pass over the data")
    measure = "loss, nats" if any(curves[name] for name in losses) else "pseudo-likelihood, nats a case"
    measure = "mean squared error" if curves["reconstruction_error"] else measure
    ax.set_ylabel("accuracy" if hasattr(machine, "classes_") else measure)
    ax.legend()
    return ax


def plot_densities(model, X, *, n_samples=10_000, limits=None, title=None, ax=None):
    """Draw the densities of data and of samples of one feature, and what the discriminator makes of each value.

    Parameters
    ----------
    model : GAN
        Fitted to rows of one feature, with ``pack=1``.
    X : array-like of shape (n_samples, 1)
        Data.
    n_samples : int, default=10_000
        Samples drawn for the density.
    limits : (float, float), default=None
        Smallest and largest value drawn; those of `X` when None, and a tenth more.
    title : str, default=None
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes

    Raises
    ------
    ValueError
        When `X` has more than one feature.
    TypeError
        When the model is not adversarial.
    """
    check_adversarial(model)
    X = np.asarray(X, float)
    if X.ndim != 2 or X.shape[1] != 1:
        raise ValueError(f"X must have shape (n_samples, 1), one feature, got shape {X.shape}")
    margin = 0.1 * np.ptp(X)
    low, high = limits or (X.min() - margin, X.max() + margin)
    edges, values = np.linspace(low, high, 81), np.linspace(low, high, 321)[:, None]
    ax = _figure(figsize=(5, 3.5)).gca() if ax is None else ax
    for rows, colour, name in (
        (X, "black", "data"), (model.sample(n_samples, random_state=0), "tab:green", "samples"),
    ):  # fmt: skip
        density = np.histogram(rows, edges)[0] / (len(rows) * np.diff(edges))
        ax.plot((edges[1:] + edges[:-1]) / 2, density, color=colour, label=name)
    ax.plot(values, model.discriminate(values), color="tab:blue", linestyle="--", label="D(x)")
    ax.axhline(0.5, color="lightgray", linewidth=0.8, zorder=0)
    ax.set(xlim=(low, high), ylim=(0, None), xlabel="x", title=title or "")
    ax.legend()
    return ax


def plot_interpolations(strips, *, image_shape=None, title=None, ax=None):
    """Draw ways between latents, each as a row of images.

    Parameters
    ----------
    strips : list of array-like of shape (n_steps, n_pixels) or (n_steps, height, width, ...)
        Samples of the latents of each way, such as ``model.sample(z=latent.interpolate(z0, z1, 10))``; all of one length.
    image_shape : (int, int), default=None
        Height and width of rows; a square when None.
    title : str, default=None
    ax : matplotlib Axes, default=None

    Returns
    -------
    ax : matplotlib Axes

    Raises
    ------
    ValueError
        When ways have different numbers of steps, or there is none.
    """
    strips = [np.asarray(strip) for strip in strips]
    if not strips or len({strip.shape for strip in strips}) != 1:
        raise ValueError(f"strips must be ways of one length, got shapes {[strip.shape for strip in strips]}")
    images = np.concatenate(strips)
    return plot_images(images, image_shape=image_shape, n_columns=len(strips[0]), title=title, ax=ax)


def plot_arithmetic(model, plus, minus, *, titles=None, image_shape=None):
    """Draw latent arithmetic: a column of examples for each term, below them the sample of their mean, and the result.

    The result stands in the last row too; above it is what becomes of it when noise, even between -1/4 and 1/4, is added to z.

    Parameters
    ----------
    model : fitted GAN, DCGAN or BiGAN
    plus : list of array-like of shape (n, latent_dim)
        Terms that are added, as of ``latent.arithmetic``.
    minus : list of array-like of shape (n, latent_dim)
        Terms that are taken away; the first of them is drawn after the first that is added.
    titles : list of str, default=None
        Of the terms in the order in which they are drawn, and of the result.
    image_shape : (int, int), default=None
        Height and width of rows; a square when None.

    Returns
    -------
    figure : matplotlib Figure

    Raises
    ------
    ValueError
        When there are no latents, or other numbers of titles than of terms and result.
    TypeError
        When the model is not adversarial.
    """
    check_adversarial(model)
    terms: list = [("+", term) for term in plus[:1]] + [("-", term) for term in minus] + [("+", term) for term in plus[1:]]
    titles = [""] * (len(terms) + 1) if titles is None else list(titles)
    if len(titles) != len(terms) + 1:
        raise ValueError(f"titles must be {len(terms) + 1}, one for each term and one for the result, got {len(titles)}")
    result = np.asarray(latent.arithmetic(plus, minus))
    columns = [np.atleast_2d(np.asarray(z)) for _, z in terms]
    columns = [z if len(z) == 1 else np.concatenate([z, z.mean(axis=0, keepdims=True)]) for z in columns]
    n_rows = max(map(len, columns))
    noise = np.random.default_rng(0).uniform(-0.25, 0.25, (n_rows, len(result)))
    noise[-1] = 0.0
    signs = [sign for sign, _ in terms]
    signs[0] = signs[0].strip("+")
    names = [f"{sign} {title}".strip() for sign, title in zip(signs, titles, strict=False)]
    figure = _figure(figsize=(1.7 * (len(terms) + 1), 0.4 + 1.5 * n_rows), dpi=110)
    axes = figure.subplots(1, len(terms) + 1, squeeze=False)[0]
    for z, name, ax in zip([*columns, result + noise], [*names, f"= {titles[-1]}"], axes, strict=True):
        samples = np.asarray(model.sample(z=z))
        blank = np.full((n_rows - len(samples), *samples.shape[1:]), np.nan)
        plot_images(np.concatenate([blank, samples]), image_shape=image_shape, n_columns=1, title=name, ax=ax)
    return figure


def plot_machine(machine, X, samples, *, image_shape=None, title="samples"):
    """Draw the weights of a machine, reconstructions of `X`, and samples, on one page.

    Parameters
    ----------
    machine : fitted estimator
    X : array-like of shape (n_samples, n_features)
        Rows that are images, best ones that were not trained on; the first 50 are drawn.
    samples : array-like of shape (n_samples, n_features)
    image_shape : (int, int), default=None
        Height and width; a square when None.
    title : str, default="samples"
        Of the samples.

    Returns
    -------
    figure : matplotlib Figure
        Its ``savefig`` writes it.
    """
    figure = _figure(figsize=(15, 5.4), dpi=110)
    left, middle, right = figure.subplots(1, 3)
    plot_weights(machine, image_shape=image_shape, ax=left)
    plot_reconstructions(machine, X[:MOST_PAIRS], image_shape=image_shape, ax=middle)
    plot_samples(samples, image_shape=image_shape, title=title, ax=right)
    return figure


def _figure(**options):
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("fastbm.plotting needs matplotlib: pip install matplotlib") from error
    return pyplot.figure(layout="compressed", **options)


def _as_images(images, image_shape) -> np.ndarray:
    """Return images (n_images, height, width, n_channels), of one channel or three; ValueError when they are none."""
    try:
        array = np.asarray(images)
        array = array / 255 if array.dtype == np.uint8 else array.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"images must be numbers, rows or images, got {images!r}") from error
    images = array
    if images.ndim not in (2, 3, 4) or 0 in images.shape or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise ValueError(
            "images must have shape (n_images, n_pixels), (n_images, height, width) or (n_images, height, width, 1 or 3), got "
            f"shape {images.shape}"
        )
    if images.ndim > 2:
        return images.reshape(*images.shape[:3], -1)
    side = math.isqrt(images.shape[1])
    try:
        height, width = map(operator.index, image_shape or (side, side))
    except (TypeError, ValueError) as error:
        raise ValueError(f"image_shape must be (height, width), got {image_shape!r}") from error
    if height * width != images.shape[1]:
        if image_shape is None:
            raise ValueError(f"images have {images.shape[1]} pixels, which make no square; give image_shape, (height, width)")
        raise ValueError(f"image_shape {(height, width)} does not hold the {images.shape[1]} pixels of an image")
    return images.reshape(len(images), height, width, 1)


def _colour(name: str) -> list[float]:
    """Return red, green and blue of a colour such as "#8faadc"."""
    return [int(name[at : at + 2], 16) / 255 for at in (1, 3, 5)]
