"""What a stack of restricted machines is after fitting, and the passes up and down that need nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from fastbm.device import adopt, home_of, namespace, using
from fastbm.estimators import _layers, _validation
from fastbm.estimators.rbm import BernoulliRBM
from fastbm.machines import rbm
from fastbm.units import bernoulli


class FittedStack(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Fitted attributes, all but `rbms_` and those of the features worked out from the layers; and passes through them.

    `transform` names its columns itself, since it may give other layers than the top one.
    """

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

    def transform(self, X, layers="top"):
        """Return the means of a layer's units: those of each layer are its probabilities given the means below.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        layers : "top", "all" or int, default="top"
            Which layers: the top one; all, side by side, the lowest first; or that of a number, 1 being the lowest, 0 the rows.

        Returns
        -------
        H : ndarray of shape (n_samples, n_units)

        Raises
        ------
        ValueError
            When an argument is not valid.
        """
        machines = self._fitted_layers()
        chosen = _layers.numbers(layers, self.n_layers_, lowest=0)
        return _layers.framed(self, self._up(X, machines[: chosen[-1]], chosen), X, chosen)

    def _up(self, X, machines: list[BernoulliRBM], chosen: list[int]) -> Any:
        """Return the means of the chosen layers, side by side, after a pass through these machines."""
        rows = _validation.check_rows(self, X, reset=False)
        if not machines:
            return rows.toarray() if hasattr(rows, "toarray") else rows
        with using(home_of(rows)):
            found = []
            for number, layer in enumerate(machines, 1):
                rows = bernoulli.mean(rbm.hidden_logits(layer._machine_on(home_of(rows)), rows))
                if number in chosen:
                    found.append(rows)
            return found[0] if len(found) == 1 else namespace(rows).concatenate(found, axis=1)

    def inverse_transform(self, H, layers="top"):
        """Return the means of the visible units: those of each layer are its probabilities given the means above.

        Parameters
        ----------
        H : array-like of shape (n_samples, n_units)
            States or means of the units of a layer, as from `transform`.
        layers : "top" or int, default="top"
            Which layer: the top one, or that of a number, 1 being the lowest.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            When an argument is not valid.
        """
        machines = self._fitted_layers()
        return self._down(adopt(H), machines[: _layers.number(layers, self.n_layers_, lowest=0)])

    def _down(self, H, machines: list[BernoulliRBM]) -> Any:
        rows = self._check_means(H, machines)
        with using(home_of(rows)):
            for layer in reversed(machines):
                rows = bernoulli.mean(rbm.visible_logits(layer._machine_on(home_of(rows)), rows))
            return rows

    def reconstruct(self, X, layers="top"):
        """Return the means of the visible units given the means of a layer: up and down, nothing drawn.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        layers : "top" or int, default="top"
            Which layer: the top one, or that of a number, 1 being the lowest.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            When an argument is not valid.
        """
        machines, number = self._fitted_layers(), _layers.number(layers, self.n_layers_, lowest=0)
        return self._down(self._up(X, machines[:number], [number]), machines[:number])

    def _fitted_layers(self) -> list[BernoulliRBM]:
        """Return the machines of all layers; ValueError when they do not fit on one another."""
        check_is_fitted(self)
        n_below = self.n_features_in_
        for number, layer in enumerate(self.rbms_):
            shape = layer._machine().weights.shape
            if shape[0] != n_below:
                raise ValueError(f"rbms_[{number}] has {shape[0]} visible units, but there are {n_below} units below it")
            n_below = shape[1]
        return self.rbms_

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
