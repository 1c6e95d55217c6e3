"""What a fitted restricted Boltzmann machine with labels can do: predictions, conditionals, sampling."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastbm import chain, kernels
from fastbm.chain import Purpose
from fastbm.device import home_of, namespace, to_device, to_host, using
from fastbm.estimators import _labels, _sampling, _validation
from fastbm.estimators._fitted import FittedRBM
from fastbm.estimators._predictions import Predictions
from fastbm.machines import labels, rbm
from fastbm.machines.rbm import RBM, Chains
from fastbm.training.ascent import State
from fastbm.units import bernoulli, softmax


class LabelledRBM(Predictions, ClassNamePrefixFeaturesOutMixin, TransformerMixin, FittedRBM):
    """Methods of a fitted machine with labels; they read the fitted attributes, which may have been set by hand."""

    _parameters = (*FittedRBM._parameters, "class_components_", "intercept_class_")
    class_components_: np.ndarray
    intercept_class_: np.ndarray
    classes_: np.ndarray

    # ------------------------------------------------------------------------------------------------------ attributes

    def _machine(self) -> RBM:
        """Return the parameters with the labels as the last visible units; ValueError when they do not fit together."""
        features, home = super()._machine(), home_of(self.components_)
        weights: Any = to_device(self.class_components_, home)
        bias: Any = to_device(self.intercept_class_, home)
        shape = (features.weights.shape[1], len(self.classes_))
        if weights.shape != shape or bias.shape != shape[1:]:
            raise ValueError(
                f"class_components_ and intercept_class_ of shapes {weights.shape} and {bias.shape} do not fit together with "
                f"{shape[0]} hidden units and {shape[1]} classes; see {type(self).__name__}.from_weights"
            )
        return join(features, weights.T, bias)

    def _machine_of_class(self, number: int) -> RBM:
        """Return the machine of the features given a class: its label's weights are added to the hidden biases."""
        features, of_labels = labels.parts(self._machine(), len(self.classes_))
        return RBM(features.weights, features.visible_bias, features.hidden_bias + of_labels.weights[number])

    def _set_fitted(self, state: State, **fitted):
        """Set all fitted attributes from a training state; labels and features apart."""
        super()._set_fitted(state, **fitted)
        n = self.n_features_in_
        self.components_, self.class_components_ = self.components_[:, :n], self.components_[:, n:]
        self.intercept_visible_, self.intercept_class_ = self.intercept_visible_[:n], self.intercept_visible_[n:]
        return self

    # ----------------------------------------------------------------------------------------------------- predictions

    def predict_proba(self, X):
        """Return p(y | v = X), exact from free energies: no sampling, hidden units summed out.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Float64; columns are in the order of `classes_`.
        """
        return softmax.mean(self._class_logits(X))

    def _class_logits(self, X):
        return self._formula(labels.class_logits, X)

    def _formula(self, formula, X):
        """Return a formula of ``machines.labels`` for rows, where they live."""
        rows = self._check_rows(X)
        with using(home_of(rows)):
            return formula(self._machine_on(home_of(rows)), rows, len(self.classes_))

    # ---------------------------------------------------------------------------------------------------- conditionals

    def transform(self, X):
        """Return the hidden probabilities p(h = 1 | v = X), labels summed out: Σ_y p(y | v) p(h = 1 | v, y).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        H : ndarray of shape (n_samples, n_components)
        """
        means = self._formula(labels.hidden_means, X)
        dtype = getattr(X, "dtype", None)
        return means.astype(np.float32, copy=False) if dtype == np.float32 else means

    def reconstruct(self, X):
        """Return the visible probabilities given the hidden probabilities of `X`: up and down, nothing drawn.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
        """
        H = self._formula(labels.hidden_means, X)
        with using(home_of(H)):
            features, _ = labels.parts(self._machine_on(home_of(H)), len(self.classes_))
            means = bernoulli.mean(rbm.visible_logits(features, H))
        return means.astype(np.float32, copy=False) if getattr(X, "dtype", None) == np.float32 else means

    def free_energy(self, X):
        """Return the free energy -log Σ_y Σ_h exp(-energy(v, y, h)) of each row, in nats: labels are summed out.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        free_energy : ndarray of shape (n_samples,)
            ``-free_energy - log Z`` is the log-likelihood of the features, see ``fastbm.evaluation.log_likelihood``.
        """
        return self._formula(labels.free_energy, X)

    # -------------------------------------------------------------------------------------------------------- sampling

    def sample(
        self, n_samples=1, *, y=None, n_steps=1000, clamp=None, init=None, beta=1.0, return_mean=False, random_state=None
    ):
        """Draw visible rows and their labels by block Gibbs sampling, one chain a row.

        Row i does not depend on `n_samples`, nor on threads or hardware. Fitted attributes are not changed.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        y : label or array-like of shape (n_samples,), default=None
            The class to draw rows of, one for all or one a row; None draws labels too.
        n_steps : int, default=1000
            Sweeps to run; a sweep draws all hidden units, then all visible units that are free.
        clamp : array-like of shape (n_features,) or (n_samples, n_features), default=None
            0 or 1 where a feature is held at that value, NaN where it is free.
        init : None, "chains" or array-like of shape (n_features,) or (n_samples, n_features), default=None
            Where chains start: at fair coins, at the persistent chains of training (used again in turn when there are fewer
            than `n_samples`), or at rows of 0 and 1. Labels that are not given start at random, with "chains" at theirs.
        beta : float or array-like of shape (n_samples,), default=1.0
            Inverse temperature, one for all or one a chain: 0 gives fair coins, larger values the likeliest rows.
        return_mean : bool, default=False
            Whether the rows are the means that the last ones were drawn from, grey levels; of no steps, the start.
        random_state : int, RandomState instance or None, default=None
            Seed; None takes the estimator's own `random_state`. Two calls with one seed use the same random numbers.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows of 0 and 1, or means, of the dtype of the fitted attributes.
        y : ndarray of shape (n_samples,)
            Their labels: those that were given, or those that were drawn.

        Raises
        ------
        ValueError
            When an argument is not valid, or a label is none of `classes_`.
        """
        check_is_fitted(self, "_seed")
        n_samples = _validation.check_count(n_samples, "n_samples", 1)
        n_steps = _validation.check_count(n_steps, "n_steps", 0)
        beta = _validation.check_beta(beta, n_samples)
        joint = self._joint_clamp(clamp, y, n_samples)
        seed = _validation.resolve_seed(self.random_state if random_state is None else random_state)
        with using(self.device_):
            chains = self._sampled(n_samples, n_steps, joint, init, beta, seed, draw_labels=y is None)
            return self._visible_rows(chains, beta, joint, return_mean and n_steps > 0), self._labels_of(chains)

    def _sampled(self, n_samples: int, n_steps: int, clamp, init, beta, seed: int, draw_labels: bool) -> Chains:
        """Return chains after their sweeps, on the device of the machine; `clamp` is of features and labels together."""
        machine, key, n_labels = self._rounded(), chain.stream_key(seed, Purpose.SAMPLING), len(self.classes_)
        chains, beta = self._start(init, n_samples, machine, seed), to_device(beta, self.device_)
        free = _sampling.clamp_units(chains, clamp, self.n_features_in_ + n_labels)
        return _sampling.sweep(
            machine, chains, n_steps, key=key, beta=beta, visible_free=free, verbose=self.verbose,
            advance=partial(rbm.advance, n_labels=n_labels if draw_labels else 0),
        )  # fmt: skip

    def _labels_of(self, chains: Chains):
        """Return the labels of chains, where the fitted attributes live."""
        units = kernels.unpack(chains.visible, self.n_features_in_ + len(self.classes_), np.float32)[:, self.n_features_in_ :]
        return _labels.decode(namespace(units).argmax(units, axis=1), self.classes_, home_of(self.components_))

    def _joint_clamp(self, clamp, y, n_samples: int):
        """Return where features and labels are clamped, (1 or n_samples, n_visible), NaN where free; None where all are."""
        if clamp is None and y is None:
            return None
        n_features, n_labels = self.n_features_in_, len(self.classes_)
        of_features: Any = np.full((1, n_features), np.nan)
        of_labels: Any = np.full((1, n_labels), np.nan)
        if clamp is not None:
            of_features = _validation.check_clamp(clamp, n_samples, n_features)
        if y is not None:
            of_labels = np.eye(n_labels)[_labels.encode_for_samples(y, self.classes_, n_samples)]
        n_rows = max(len(of_features), len(of_labels))
        both = [np.broadcast_to(part, (n_rows, part.shape[1])) for part in (of_features, of_labels)]
        return np.concatenate(both, axis=1)

    def _start(self, init, n_samples: int, machine, seed) -> Chains:
        n_labels, n_features = len(self.classes_), self.n_features_in_
        chains = _sampling.fair_coins(machine, n_samples, seed, n_labels)
        if init is None:
            return chains
        if not isinstance(init, str):
            rows = _validation.check_start(init, n_samples, n_features)
            start = np.concatenate([rows, np.full((n_samples, n_labels), np.nan)], axis=1)
            _sampling.clamp_units(chains, start, n_features + n_labels)
        elif init != "chains":
            raise ValueError(f"init must be None, 'chains' or rows of 0 and 1, got {init!r}")
        elif self._updates < 2:
            raise ValueError("init='chains' needs the chains of training, but this machine was never trained; use init=None")
        else:
            states = to_host(self._visible_chains)
            chains.visible[...] = to_device(states[np.arange(n_samples) % len(states)], self.device_)
        return chains


def join(features: RBM, class_weights, class_bias) -> RBM:
    """Return one machine of features and labels, the labels last; `class_weights` (n_classes, n_hidden)."""
    xp, dtype = namespace(features.weights), features.weights.dtype
    return RBM(
        xp.concatenate([features.weights, xp.asarray(class_weights, dtype)]),
        xp.concatenate([features.visible_bias, xp.asarray(class_bias, features.visible_bias.dtype)]),
        features.hidden_bias,
    )
