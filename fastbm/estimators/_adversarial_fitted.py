"""What adversarial networks are after fitting, and what they draw: the parts that GAN and BiGAN share."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastbm import chain
from fastbm.chain import Purpose
from fastbm.device import adopt, home_of, module_of, resolve, to_device, to_host, using
from fastbm.estimators import _validation
from fastbm.evaluation.parzen import choose_sigma, parzen_log_likelihood
from fastbm.machines.gan import draw_latent
from fastbm.nn.network import Network
from fastbm.training.adversarial import State
from fastbm.training.descent import Moments
from fastbm.units import bernoulli

PARZEN_SAMPLES, PARZEN_HELD_OUT = 10_000, 500
"""Samples that a Parzen window stands on, and more of them that its size is chosen by."""


_last_windows: WeakKeyDictionary[Network, tuple] = WeakKeyDictionary()
"""What each generator was last scored with: the question, its parameters then, samples, and the size of the window."""


class FittedAdversary(BaseEstimator):
    """Fitted attributes and sampling. `_networks` names the fitted networks, in the order of the machine of `_kind`."""

    _networks: tuple[str, ...]
    _kind: Any

    generator_: Network
    discriminator_: Network
    history_: list[dict]
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    device_: str
    _moments: tuple[Moments, ...]
    _updates: int
    _seed: int
    _home: str  # where rows that are drawn go

    latent_dim: int
    prior: str
    random_state: Any
    device: str

    def _machine(self) -> Any:
        """Return the networks, where they live."""
        check_is_fitted(self, "generator_")
        return self._kind(*(getattr(self, name) for name in self._networks))

    def _running(self) -> Any:
        """Return the networks on the device that computes, copied there where they live elsewhere."""
        return self._kind(*(network.to(self.device_) for network in self._machine()))

    def _set_fitted(self, state: State, *, seed, n_iter, features, device, home, history):
        """Set all fitted attributes from a training state."""
        if "feature_names_in_" not in features and hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        for name, value in features.items():
            setattr(self, name, value)
        for name, network in zip(self._networks, state.machine, strict=True):
            setattr(self, name, network.to(home))
        self._moments, self._updates = moved_moments(state.moments, home), state.updates
        self._seed, self._home = seed, home
        self.n_iter_, self.device_, self.history_ = n_iter, device, list(history)
        return self

    # ------------------------------------------------------------------------------------------------------- sampling

    def sample_latent(self, n_samples=1, *, random_state=None):
        """Draw latents z from the prior.

        Row i does not depend on how many are asked for, nor on the device.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None
            Seed; None gives other latents at each call.

        Returns
        -------
        z : array of shape (n_samples, latent_dim), float32
        """
        check_is_fitted(self, "generator_")
        n_samples = _validation.check_count(n_samples, "n_samples", 1)
        key = chain.stream_key(_validation.resolve_seed(random_state), Purpose.SAMPLING)
        return to_device(self._latents(n_samples, key), self._home)

    def sample(self, n_samples=1, *, z=None, random_state=None):
        """Draw rows: G(z) of latents from the prior, or of given ones.

        A sample depends on its z alone, not on how many are drawn with it.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; where `z` is given, that of its rows, or left out.
        z : array-like of shape (n_samples, latent_dim), default=None
            Latents; None draws them.
        random_state : int, RandomState instance or None, default=None
            Seed; None gives other rows at each call.

        Returns
        -------
        X : array of shape (n_samples, n_features), float32

        Raises
        ------
        ValueError
            When latents have another shape or number, or are not finite.
        """
        generator, n_samples = self._running().generator, _validation.check_count(n_samples, "n_samples", 1)
        if z is None:
            key = chain.stream_key(_validation.resolve_seed(random_state), Purpose.SAMPLING)
            z = self._latents(n_samples, key)
        else:
            z = self._check_latents(z, "z")
            if n_samples not in (1, len(z)):  # 1 is the default
                raise ValueError(f"n_samples={n_samples} does not match z of {len(z)} rows; leave n_samples out")
        with using(self.device_):
            return to_device(self._as_data(generator.evaluate(z)), self._home)

    def _as_data(self, rows):
        """Return what the generator gives in the units of the data."""
        return rows

    def _latents(self, n_samples: int, key, home: str | None = None):
        """Return latents on a device, that which computes when None."""
        home = home or self.device_
        with using(home):
            z = module_of(home).empty((n_samples, int(self.latent_dim)), dtype=np.float32)
            draw_latent(z, self.prior, key=key)
        return z

    def _check_latents(self, z, name: str):
        """Return latents as float32, where the networks are; ValueError when they are none."""
        z = adopt(z)
        try:
            with np.errstate(over="ignore"):  # infinity is seen below
                z = z if home_of(z) != "cpu" else np.asarray(z, np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be numbers of shape (n_samples, {self.latent_dim}), got {z!r}") from error
        if z.ndim != 2 or z.shape[0] == 0 or z.shape[1] != self.latent_dim:
            advice = f"; one latent is {name}[None]" if z.shape == (self.latent_dim,) else ""
            raise ValueError(f"{name} must have shape (n_samples, {self.latent_dim}), got shape {z.shape}{advice}")
        if not bool(abs(z).max() < np.inf):
            raise ValueError(f"{name} must hold finite numbers, got NaN or infinity")
        return to_device(z, self.device_).astype(np.float32, copy=False)

    def _check_rows(self, X):
        """Return rows as a dense array, where the networks are, and the device and dtype that answers have."""
        check_is_fitted(self, "generator_")
        X = _validation.check_rows(self, X, reset=False)
        home, dtype = home_of(X), X.dtype
        return to_device(X.toarray() if hasattr(X, "toarray") else X, self.device_), home, dtype

    # -------------------------------------------------------------------------------------------------------- scoring

    def score_samples(self, X, *, n_samples=PARZEN_SAMPLES, sigma=None, random_state=None):
        """Return log-likelihoods of rows by a Parzen window over samples, in nats: the protocol of Goodfellow et al. 2014.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        n_samples : int, default=10_000
            Samples that the window stands on.
        sigma : float, default=None
            Deviation of the window; None takes the best of ten from 0.1 to 1 on 500 more samples. The protocol chooses it on
            validation rows: ``fastbm.evaluation.parzen_score`` does.
        random_state : int, RandomState instance or None, default=None
            Seed of the samples; None is that of the fit, and gives the same at each call.

        Returns
        -------
        log_likelihood : ndarray of shape (n_rows,)
        """
        X, _, _ = self._check_rows(X)
        n_samples = _validation.check_count(n_samples, "n_samples", 1)
        seed = self._seed_of(random_state)
        samples, best = self._window(n_samples, seed, sigma)
        return parzen_log_likelihood(samples, to_host(X), best)

    def _seed_of(self, random_state) -> int:
        """Return a seed: that of the fit for None."""
        return self._seed if random_state is None else _validation.resolve_seed(random_state)

    def _window(self, n_samples: int, seed: int, sigma):
        """Return samples and the size of the window on them; those of the last call where nothing has changed since."""
        generator, asked = self.generator_, (n_samples, seed, sigma)
        last = _last_windows.get(generator)
        parameters = to_host(generator.parameters)
        if last is not None and last[0] == asked and np.array_equal(last[1], parameters):
            return last[2:]
        key = chain.stream_key(seed, Purpose.SCORING)
        with using(self.device_):
            n_drawn = n_samples + (PARZEN_HELD_OUT if sigma is None else 0)
            samples = to_host(self._as_data(self._running().generator.evaluate(self._latents(n_drawn, key))))
        best = choose_sigma(samples[:n_samples], samples[n_samples:]) if sigma is None else sigma
        _last_windows[generator] = asked, parameters.copy(), samples[:n_samples], best
        return samples[:n_samples], best

    def score(self, X, y=None):
        """Return the mean of `score_samples`.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        y : None
            Ignored.

        Returns
        -------
        log_likelihood : float
        """
        return float(self.score_samples(X).mean())

    def to(self, device):
        """Move the fitted networks: they sample there from now on, and what they draw lives there.

        Parameters
        ----------
        device : {"cpu", "cuda", "cuda:1", ...}

        Returns
        -------
        self : object

        Raises
        ------
        RuntimeError
            When a GPU is asked for and cannot be had.
        """
        machine = self._machine()
        home = resolve(device, machine.generator.parameters)
        for name, network in zip(self._networks, machine, strict=True):
            setattr(self, name, network.to(home))
        self._moments = moved_moments(self._moments, home)
        self.device_ = self._home = home
        return self


def moved_moments(moments: tuple[Moments, ...], home: str) -> tuple[Moments, ...]:
    """Return what optimizers remember, on a device."""
    return tuple(Moments(to_device(first, home), to_device(second, home), steps) for first, second, steps in moments)


def probabilities(logits, home: str):
    """Return σ of logits (n, 1) as an array (n,) on a device."""
    return to_device(bernoulli.mean(logits)[:, 0], home)
