"""The training of machines with Gaussian visible units, and such machines given by hand and on disk."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbm import device
from fastbm.estimators import _validation
from fastbm.estimators._fitted import _as_floats
from fastbm.estimators._rbm_files import RBMFiles
from fastbm.machines import gaussian_rbm
from fastbm.machines.gaussian_rbm import GaussianRBM as Machine
from fastbm.training import gaussian

PHASES = {"pcd": gaussian.persistent, "cd": gaussian.from_data, "pt": gaussian.tempered}
"""The negative phase of each `algorithm`."""
SMALLEST_SIGMA = 0.01
"""A σ that is learnt stays above this part of `sigma`: constant features would pull it to 0."""
ROWS_AT_A_TIME = 4096
SOME_ROWS = 1000
"""Rows whose means the visible biases start at, where data are not standardised."""
CONSTANT = 1e-12
"""A feature whose deviation is smaller than this part of its magnitude is constant: it is not divided by it."""


class GaussianTraining(RBMFiles):
    """What differs from the training of binary units: σ, scales, and other statistics."""

    _model: Any = gaussian_rbm
    _rule: Any = gaussian
    _parameters = ("components_", "intercept_visible_", "intercept_hidden_", "sigma_")
    _scales = ("mean_", "scale_")

    sigma: Any
    learn_sigma: bool
    sigma_learning_rate: float | None
    standardize: bool
    sigma_: np.ndarray
    mean_: np.ndarray
    scale_: np.ndarray

    def _machine(self) -> Any:
        weights, visible_bias, hidden_bias = super()._machine()
        sigma = device.to_device(self.sigma_, device.home_of(weights))
        sigma = np.asarray(sigma) if device.home_of(weights) == "cpu" else sigma
        if sigma.shape != visible_bias.shape or not bool((sigma > 0).all()):
            raise ValueError(f"sigma_ must be above 0 and have shape {visible_bias.shape}, got an array of shape {sigma.shape}")
        return Machine(weights, visible_bias, hidden_bias, _as_floats(sigma))

    def _set_fitted(self, state, *, dtype, features, home="cpu", **others):
        for name in self._scales:
            if name not in features:
                vars(self).pop(name, None)
        super()._set_fitted(state, dtype=dtype, features=features, home=home, **others)
        self.sigma_ = device.to_device(state.machine.sigma.astype(dtype, copy=False), home)
        return self

    def _scaling(self):
        """Return what the data were standardised with, mean and deviation, or None."""
        return (self.mean_, self.scale_) if hasattr(self, "mean_") else None

    def _begin(self, data, fitted):
        scaling = self._scaling() if "gibbs_updates" in fitted else None
        if scaling is not None:
            data.scaling = scaling
            fitted["features"] |= dict(zip(self._scales, scaling, strict=True))
        return super()._begin(data, fitted)

    def _initial_machine(self, data, fitted) -> Any:
        weights, visible_bias, hidden_bias = super()._initial_machine(data, fitted)
        sigma = _validation.check_sigma(self.sigma, data.n_features).astype(np.float32)
        if self.standardize:
            data.scaling = moments(self, data.sample, data.weights)
            fitted["features"] |= dict(zip(self._scales, data.scaling, strict=True))
        else:
            visible_bias = moments(self, data.some(SOME_ROWS)[0])[0].astype(np.float32)
            hidden_bias = -(visible_bias / sigma) @ weights  # so that no unit begins saturated, wherever the data lie
        return Machine(weights, visible_bias, hidden_bias, sigma)

    def _update(self, state, data, rows, labels, weights, key, learning_rate, n_steps):
        home = device.home_of(state.machine.weights)
        rows = scaled(device.to_device(rows.toarray() if hasattr(rows, "toarray") else rows, home), data.scaling)
        _validation.check_finite(self, rows)
        share = 0.0
        if self.learn_sigma:
            share = 1.0 if self.sigma_learning_rate is None else float(self.sigma_learning_rate) / float(self.learning_rate)
        smallest = SMALLEST_SIGMA * _validation.check_sigma(self.sigma, data.n_features)
        state, _ = gaussian.step(
            state, rows, phase=PHASES[self.algorithm], key=key, n_steps=n_steps, learning_rate=learning_rate,
            momentum=float(self.momentum), l1=float(self.l1), l2=float(self.l2), centered=bool(self.centered),
            sparsity_target=None if self.sparsity_target is None else float(self.sparsity_target),
            sparsity_cost=float(self.sparsity_cost), weights=weights, sigma_rate=share * learning_rate,
            smallest_sigma=device.to_device(smallest.astype(np.float32), home),
        )  # fmt: skip
        return state, True

    def _warn(self, data, rows, grey) -> bool:
        """Warn of nothing: any number may be one of data."""
        return True

    @classmethod
    def _machine_of_file(cls, arrays):
        parameters = (arrays[name] for name in ("components_", "intercept_visible_", "intercept_hidden_"))
        components, visible_bias, hidden_bias = parameters
        machine = _validation.check_parameters(components.T, visible_bias, hidden_bias)
        sigma, n_features = arrays["sigma_"], len(visible_bias)
        if sigma.shape != (n_features,):
            raise ValueError(f"sigma_ of shape {sigma.shape}")
        for name in cls._scales:
            if name in arrays and (arrays[name].shape != (n_features,) or not np.isfinite(arrays[name]).all()):
                raise ValueError(f"{name} must be finite and have shape ({n_features},)")
        if ("mean_" in arrays) != ("scale_" in arrays) or not (arrays.get("scale_", np.ones(1)) > 0).all():
            raise ValueError("mean_ without scale_, or a scale_ that is not above 0")
        fields: Any = (*machine, _validation.check_sigma(sigma, n_features).astype(machine[0].dtype))
        return Machine(*fields)

    @classmethod
    def _visible_states(cls, machine):
        return machine.weights.shape[0], np.float32


def scaled(rows, scaling):
    """Return rows less the mean, divided by the deviation, in float64 but for what comes out; as they are without scaling."""
    if scaling is None:
        return rows
    home = device.home_of(rows)
    mean, scale = (device.to_device(array, home) for array in scaling)
    return ((rows - mean) / scale).astype(rows.dtype if rows.dtype == np.float32 else np.float64, copy=False)


def moments(estimator, rows, weights=None) -> tuple[np.ndarray, np.ndarray]:
    """Return means and deviations of the columns of rows, float64, on the CPU; 1 for the deviations of constant columns."""
    n_rows, xp = rows.shape[0], device.namespace(rows[:1])
    share = np.full(n_rows, 1 / n_rows) if weights is None else device.to_host(weights) / device.to_host(weights).sum()

    def total(function):
        sums = 0.0
        for begin in range(0, n_rows, ROWS_AT_A_TIME):
            part = rows[begin : begin + ROWS_AT_A_TIME]
            part = (part.toarray() if hasattr(part, "toarray") else part).astype(np.float64)
            _validation.check_finite(estimator, part)
            factors = device.to_device(share[begin : begin + len(part)], device.home_of(part))
            sums = sums + xp.sum(function(part) * factors[:, None], axis=0)
        return sums

    mean: Any = total(lambda part: part)
    largest = total(xp.abs)
    variance = device.to_host(total(lambda part: (part - mean) ** 2))
    mean, largest, deviation = device.to_host(mean), device.to_host(largest), np.sqrt(variance)
    return mean, np.where(deviation > CONSTANT * largest, deviation, 1.0)
