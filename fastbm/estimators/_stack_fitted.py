"""What a stack of restricted machines is after fitting, and the passes up and down that need nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from fastbm.device import adopt, home_of, using
from fastbm.estimators import _validation
from fastbm.estimators.rbm import BernoulliRBM
from fastbm.machines import rbm
from fastbm.units import bernoulli


class FittedStack(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Fitted attributes, all but `rbms_` and those of the features worked out from the layers; and passes through them."""

    rbms_: list[BernoulliRBM]
    n_features_in_: int
    feature_names_in_: np.ndarray

    # ------------------------------------------------------------------------------------------------------ attributes

    @property
    def coefs_(self) -> list:
        """Weights of each layer."""
        return [layer.components_.T for layer in self.rbms_]

    @property
    def intercepts_(self) -> list:
        """Hidden biases of each layer."""
        return [layer.intercept_hidden_ for layer in self.rbms_]

    @property
    def intercepts_visible_(self) -> list:
        """Visible biases of each layer."""
        return [layer.intercept_visible_ for layer in self.rbms_]

    @property
    def n_layers_(self) -> int:
        """Number of layers."""
        return len(self.rbms_)

    @property
    def n_iter_(self) -> list[int]:
        """Passes that each layer has made."""
        return [layer.n_iter_ for layer in self.rbms_]

    @property
    def history_(self) -> list[dict]:
        """Records of all passes, layer by layer."""
        return [{"layer": number, **record} for number, layer in enumerate(self.rbms_) for record in layer.history_]

    @property
    def device_(self) -> str:
        """The device of the machines."""
        return self.rbms_[0].device_

    @property
    def _n_features_out(self) -> int:
        return self.rbms_[-1].components_.shape[0]

    # ---------------------------------------------------------------------------------------------------------- passes

    def transform(self, X, n_layers=None):
        """Return the means of a layer's units: those of each layer are its probabilities given the means below.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        n_layers : int, default=None
            Layers to go up; all when None, and 0 gives the rows themselves.

        Returns
        -------
        H : ndarray of shape (n_samples, n_units)
            As many columns as the last of these layers has units.
        """
        layers = self._fitted_layers(n_layers)
        rows = _validation.check_rows(self, X, reset=False)
        if not layers and hasattr(rows, "toarray"):
            return rows.toarray()
        with using(home_of(rows)):
            for layer in layers:
                rows = bernoulli.mean(rbm.hidden_logits(layer._machine_on(home_of(rows)), rows))
            return rows

    def inverse_transform(self, H, n_layers=None):
        """Return the means of the visible units: those of each layer are its probabilities given the means above.

        Parameters
        ----------
        H : array-like of shape (n_samples, n_units)
            States or means of the units that `transform` ends at.
        n_layers : int, default=None
            Layers to go down; all when None.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        layers = self._fitted_layers(n_layers)
        rows = self._check_means(adopt(H), layers)
        with using(home_of(rows)):
            for layer in reversed(layers):
                rows = bernoulli.mean(rbm.visible_logits(layer._machine_on(home_of(rows)), rows))
            return rows

    def reconstruct(self, X, n_layers=None):
        """Return the means of the visible units given the means of a layer: up and down, nothing drawn.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        n_layers : int, default=None
            Layers to go up, and down again; all when None.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
        """
        return self.inverse_transform(self.transform(X, n_layers), n_layers)

    def _fitted_layers(self, n_layers=None) -> list[BernoulliRBM]:
        """Return the first `n_layers` layers; ValueError when there are fewer, or they do not fit on one another."""
        check_is_fitted(self)
        n_below = self.n_features_in_
        for number, layer in enumerate(self.rbms_):
            shape = layer._machine().weights.shape
            if shape[0] != n_below:
                raise ValueError(f"rbms_[{number}] has {shape[0]} visible units, but there are {n_below} units below it")
            n_below = shape[1]
        n_layers = self.n_layers_ if n_layers is None else _validation.check_count(n_layers, "n_layers", 0)
        if n_layers > self.n_layers_:
            raise ValueError(f"n_layers must be at most {self.n_layers_}, the layers that there are, got {n_layers}")
        return self.rbms_[:n_layers]

    def _check_means(self, H, layers: list[BernoulliRBM]) -> Any:
        """Return rows of the units above these layers, float32 or float64."""
        with using(home_of(H)):
            if home_of(H) == "cpu":
                H = check_array(H, dtype=_validation.FLOATS, input_name="H")
            else:
                _validation.check_matrix_of_gpu(H, "H", "n_units")
                H = _validation.finite_floats_of_gpu(H, "H")
        n_units = layers[-1].components_.shape[0] if layers else self.n_features_in_
        if H.shape[1] != n_units:
            raise ValueError(f"H has {H.shape[1]} columns, but there are {n_units} units above {len(layers)} layers")
        return H

    def to(self, device):
        """Move the fitted machines: passes stay where rows live, arrays and chains go there.

        Fitting goes by the parameter `device`, and "auto" by where `X` lives.

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
        check_is_fitted(self)
        for layer in self.rbms_:
            layer.to(device)
        return self
