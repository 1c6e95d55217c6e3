"""What a restricted Boltzmann machine is after fitting: the attributes that the parts of its estimator share."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastbm import chain
from fastbm.estimators import _validation
from fastbm.machines.rbm import RBM, RoundedRBM, rounded
from fastbm.training.contrastive_divergence import Offsets, State

_last_rounded: WeakKeyDictionary[BaseEstimator, tuple[RBM, RoundedRBM]] = WeakKeyDictionary()
"""The rounding of each estimator when it was last sampled, and what was rounded."""


class FittedRBM(BaseEstimator):
    """Fitted attributes; public ones are documented by the estimator."""

    components_: np.ndarray
    intercept_hidden_: np.ndarray
    intercept_visible_: np.ndarray
    h_samples_: np.ndarray
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    device_: str
    _n_features_out: int
    _seed: int
    _updates: int  # block updates that the training chains have had
    _gibbs_updates: int  # block updates that calls of gibbs have made
    _visible_chains: np.ndarray  # packed
    _velocity: RBM | None
    _offsets: Offsets | None

    # constructor parameters
    n_components: int
    batch_size: int
    n_chains: int | None
    verbose: int
    random_state: Any
    learning_rate_schedule: Any
    device: str

    def _machine(self) -> RBM:
        """Return the parameters, which users may have set by hand; ValueError when they do not fit together."""
        check_is_fitted(self)
        arrays = (np.asarray(self.components_).T, np.asarray(self.intercept_visible_), np.asarray(self.intercept_hidden_))
        shapes = [array.shape for array in arrays]
        n_features = getattr(self, "n_features_in_", shapes[0][0] if shapes[0] else 0)
        if len(shapes[0]) != 2 or shapes[0][0] != n_features or shapes[1:] != [(size,) for size in shapes[0]]:
            raise ValueError(
                f"components_, intercept_visible_ and intercept_hidden_ of shapes {shapes[0][::-1]}, {shapes[1]}, {shapes[2]} "
                f"do not fit together with {n_features} features; see BernoulliRBM.from_weights"
            )
        floats = (np.float32, np.float64)
        return RBM(*(array if array.dtype in floats and array.dtype.isnative else array.astype(float) for array in arrays))

    def _check_chains(self) -> None:
        """Raise ValueError when `h_samples_` was set by hand to what are no states of the chains."""
        states, shape = np.asarray(self.h_samples_), (len(self._visible_chains), self.components_.shape[0])
        if states.shape != shape or not ((states == 0) | (states == 1)).all():
            raise ValueError(f"h_samples_ must be 0 and 1 of shape {shape}, got an array of shape {states.shape}")

    def _rounded(self) -> RoundedRBM:
        """Return the machine that is sampled, rounded anew only when the fitted attributes have changed."""
        machine = self._machine()
        last = _last_rounded.get(self)
        if last is None or not all(map(np.array_equal, machine, last[0])):
            last = RBM(*(array.copy(order="K") for array in machine)), rounded(machine)
            _last_rounded[self] = last
        return last[1]

    def _check_rows(self, X) -> Any:
        check_is_fitted(self)
        return _validation.check_rows(self, X, reset=False)

    def _set_fitted(self, state: State, *, seed, n_iter, dtype, features, device, gibbs_updates=0):
        """Set all fitted attributes from a training state."""
        if "feature_names_in_" not in features and hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        for name, value in features.items():
            setattr(self, name, value)
        self.components_ = state.machine.weights.T.astype(dtype, copy=False)
        self.intercept_hidden_ = state.machine.hidden_bias.astype(dtype, copy=False)
        self.intercept_visible_ = state.machine.visible_bias.astype(dtype, copy=False)
        self.h_samples_ = chain.unpack(state.chains.hidden, self.components_.shape[0], dtype)
        self.n_iter_, self.device_ = n_iter, device
        self._n_features_out = self.components_.shape[0]
        self._velocity, self._offsets = state.velocity, state.offsets
        self._seed, self._gibbs_updates = seed, gibbs_updates
        self._visible_chains, self._updates = state.chains.visible, state.chains.updates
        return self
