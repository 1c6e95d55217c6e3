"""Arithmetic of latents: directions of attributes, sums of means, ways between latents, and latents of given images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastbm import chain
from fastbm.chain import Purpose
from fastbm.device import namespace, on_gpu, to_device, using
from fastbm.evaluation.given import check_adversarial
from fastbm.machines.gan import PRIORS, draw_latent
from fastbm.nn.workspace import Run, Workspace
from fastbm.training import descent

PARALLEL = 1e-4
"""Latents at a smaller angle, in radians, are joined by a straight line."""
BETAS = 0.9, 0.999
"""Of Adam's, when latents are looked for."""


def attribute_vector(z_with, z_without):
    """Return the mean of latents with an attribute, less that of latents without it.

    Added to a latent without the attribute, it gives one with it.

    Parameters
    ----------
    z_with : array-like of shape (n, latent_dim) or (latent_dim,)
        Latents of samples that have the attribute.
    z_without : array-like of shape (m, latent_dim) or (latent_dim,)
        Latents of samples that do not.

    Returns
    -------
    direction : array of shape (latent_dim,)

    Raises
    ------
    ValueError
        When the latents are none, or of different sizes.
    """
    return arithmetic([z_with], [z_without])


def arithmetic(plus, minus=()):
    """Return the sum of the means of some terms, less those of others: z = Σ mean(plus) - Σ mean(minus) [1]_.

    "Smiling woman - neutral woman + neutral man" is ``arithmetic([smiling_woman, neutral_man], [neutral_woman])``.

    Parameters
    ----------
    plus : list of array-like of shape (n, latent_dim) or (latent_dim,)
        Terms that are added: each a latent, or some of which the mean is taken; three are usual.
    minus : list of array-like of shape (n, latent_dim) or (latent_dim,), default=()
        Terms that are taken away.

    Returns
    -------
    z : array of shape (latent_dim,)
        What it looks like is ``model.sample(z=z[None])``.

    Raises
    ------
    ValueError
        When there is no term, a term is no latent, or they are of different sizes.

    References
    ----------
    .. [1] Radford, Metz & Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
       networks", ICLR 2016.
    """
    means = [(1, _mean(term, f"plus[{number}]")) for number, term in enumerate(plus)]
    means += [(-1, _mean(term, f"minus[{number}]")) for number, term in enumerate(minus)]
    if not means:
        raise ValueError("plus and minus are empty; at least one term is needed")
    sizes = sorted({mean.shape[0] for _, mean in means})
    if len(sizes) > 1:
        raise ValueError(f"the terms have latents of different sizes: {', '.join(map(str, sizes))}")
    total: Any = 0
    for sign, mean in means:
        total = total + sign * mean
    return total


def interpolate(z0, z1, n, *, prior="uniform"):
    """Return `n` latents from one to another, both included.

    Under a uniform prior in a straight line: (1 - t) z₀ + t z₁. Under a normal one along an arc, because nearly all latents of
    that prior have the same length [1]_: [sin((1 - t) ω) z₀ + sin(t ω) z₁] / sin ω, ω being the angle between them; in a
    straight line where that is 0 or π.

    Parameters
    ----------
    z0 : array-like of shape (latent_dim,)
    z1 : array-like of shape (latent_dim,)
    n : int
        At least 2.
    prior : {"uniform", "normal"}, default="uniform"
        That of the model.

    Returns
    -------
    z : array of shape (n, latent_dim)

    Raises
    ------
    ValueError
        When the latents differ in size, or another argument is none of those.

    References
    ----------
    .. [1] White, "Sampling generative networks", arXiv:1609.04468, 2016.
    """
    first, last = _numbers(z0, "z0"), _numbers(z1, "z1")
    if first.ndim != 1 or first.shape != last.shape:
        raise ValueError(f"z0 and z1 must have the same shape (latent_dim,), got {first.shape} and {last.shape}")
    if prior not in PRIORS:
        raise ValueError(f"prior must be one of {', '.join(PRIORS)}, got {prior!r}")
    if not isinstance(n, int | np.integer) or n < 2:
        raise ValueError(f"n must be an integer of at least 2, got {n!r}")
    xp = namespace(first)
    t = np.linspace(0.0, 1.0, int(n))
    lengths = float(xp.sqrt((first * first).sum() * (last * last).sum()))
    angle = math.acos(max(-1.0, min(1.0, float((first * last).sum()) / lengths))) if lengths else 0.0
    if prior == "uniform" or min(angle, math.pi - angle) < PARALLEL:
        shares = 1 - t, t
    else:
        shares = np.sin((1 - t) * angle) / math.sin(angle), np.sin(t * angle) / math.sin(angle)
    of_first, of_last = (xp.asarray(share.astype(first.dtype))[:, None] for share in shares)
    return of_first * first + of_last * last


def find_latent(model, images, *, n_starts=8, n_steps=200, learning_rate=0.05, random_state=None):
    """Return latents whose samples are near given images, by gradient descent on z, where there is no encoder.

    min_z ‖G(z) - x‖², by Adam from several latents of the prior, of which the best is returned; after each step latents are
    brought back to where the prior has them: between -1 and 1, or, if it is normal, to a length of √latent_dim at the most. A
    `BiGAN` has `transform` for this.

    Parameters
    ----------
    model : fitted GAN, DCGAN or BiGAN
    images : array-like of shape (n, n_features), or, of a DCGAN, (n, height, width) or (n, height, width, n_channels)
        What to look for.
    n_starts : int, default=8
        Latents that each search begins with.
    n_steps : int, default=200
    learning_rate : float, default=0.05
        Size of the steps.
    random_state : int, RandomState instance or None, default=None
        Seed of the latents to begin with; None is that of the fit, and gives the same at each call.

    Returns
    -------
    z : array of shape (n, latent_dim), float32
        Where the images live.

    Raises
    ------
    ValueError
        When images have another shape than those that were fitted, or a number is not positive.
    TypeError
        When the model is not adversarial.
    """
    check_adversarial(model)
    for name, value in (("n_starts", n_starts), ("n_steps", n_steps)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be above 0, got {learning_rate!r}")
    rows, home, _ = model._check_rows(images)
    key = chain.stream_key(model._seed_of(random_state), Purpose.SAMPLING)
    with using(model.device_):
        generator, targets = model._running().generator, model._shown(rows).astype(np.float32)
        found = []
        for row in range(len(targets)):
            z = namespace(targets).empty((int(n_starts), int(model.latent_dim)), dtype=np.float32)
            draw_latent(z, model.prior, key=key, first_row=row * int(n_starts))
            found.append(_search(generator, z, targets[row : row + 1], model.prior, int(n_steps), float(learning_rate)))
        return to_device(namespace(targets).stack(found), home)


def _search(generator, z, target, prior: str, n_steps: int, learning_rate: float):
    """Return the best of the latents that a descent from `z` arrives at."""
    xp, run = namespace(z), Run(Workspace(z), training=False)
    first, second = xp.zeros_like(z), xp.zeros_like(z)
    for step in range(1, n_steps + 1):
        samples, backward = generator.forward(z, run)
        gradient = backward(samples - target, False, slice(None))
        descent.adam(
            z, gradient, first, second, rate=learning_rate / (1 - BETAS[0] ** step), beta_1=BETAS[0], beta_2=BETAS[1],
            scale=1 / math.sqrt(1 - BETAS[1] ** step), epsilon=1e-8, l2=0.0, n_decayed=0,
        )  # fmt: skip
        if prior == "uniform":
            z[...] = xp.clip(z, -1, 1)
        else:
            z *= xp.minimum(1, math.sqrt(z.shape[1]) / xp.sqrt((z * z).sum(axis=1, keepdims=True)))
    apart = generator.forward(z, run)[0] - target
    return z[int((apart * apart).sum(axis=1).argmin())]


def _mean(term, name: str):
    """Return the mean of a latent or of some; ValueError when there is none."""
    term = _numbers(term, name)
    if term.ndim not in (1, 2) or 0 in term.shape:
        raise ValueError(f"{name} must have shape (latent_dim,) or (n, latent_dim), got {term.shape}")
    return term if term.ndim == 1 else term.mean(axis=0)


def _numbers(value, name: str):
    """Return an array of floats, where it lives; ValueError when it is none, or not finite."""
    try:
        array = value if on_gpu(value) else np.asarray(value)
        array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be latents, got {value!r}") from error
    if not bool(namespace(array).isfinite(array).all()):
        raise ValueError(f"{name} must hold finite numbers, got NaN or infinity")
    return array
