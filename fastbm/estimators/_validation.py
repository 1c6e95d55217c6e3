"""Checks of what users pass to sampling: each error names the argument, what was got and what was expected."""

from __future__ import annotations

import secrets
import sys
import warnings
from numbers import Integral, Real
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite, check_array, check_random_state
from sklearn.utils.validation import validate_data

from fastbm.device import adopt, home_of, namespace, on_gpu, to_host, using
from fastbm.evaluation.given import check_count as check_count

FLOATS: Any = (np.float64, np.float32)
"""The dtypes that rows keep; others become the first."""

ROUNDING = 1e-6
"""Scaled data may leave the unit interval by so much without a warning."""
LARGEST_BIAS = 1e30
"""Biases are float32 in the chain, and are multiplied by β, which may be 1e6."""


def check_rows(estimator, X, *, reset: bool, training: bool = False) -> Any:
    """Return `X` as a float32 or float64 array or CSR matrix of n_features columns; `reset` lets the estimator note them.

    In `training`, an array of other real numbers keeps its dtype, so that nothing is copied, and no number is looked at yet:
    data may be larger than memory. `check_finite` follows for each minibatch.
    """
    X = adopt(X)
    if on_gpu(X):
        with using(home_of(X)):
            return _check_rows_of_gpu(estimator, X, reset=reset, training=training)
    dtype: Any = None if training and _is_real_array(X) else FLOATS
    try:
        return validate_data(estimator, X, accept_sparse="csr", reset=reset, dtype=dtype, ensure_all_finite=not training)
    except ValueError as error:
        if not str(error).startswith("could not convert"):
            raise
        raise ValueError(f"X must be numbers of shape (n_samples, n_features): {error}") from error  # NumPy does not name X


def _check_rows_of_gpu(estimator, X, *, reset: bool, training: bool):
    """`check_rows` of an array of CuPy's, of which a number or two comes to the host."""
    check_matrix_of_gpu(X, "X", "n_features")
    if reset:
        vars(estimator).pop("feature_names_in_", None)
        estimator.n_features_in_ = X.shape[1]
    elif X.shape[1] != estimator.n_features_in_:
        name, expected = type(estimator).__name__, estimator.n_features_in_
        raise ValueError(f"X has {X.shape[1]} features, but {name} is expecting {expected} features as input")
    return X if training else finite_floats_of_gpu(X, "X")


def check_matrix_of_gpu(X, name: str, columns: str) -> None:
    """Raise ValueError unless an array of CuPy's is a matrix of real numbers."""
    if X.ndim != 2 or X.shape[0] == 0 or X.shape[1] == 0 or X.dtype.kind not in "buif":
        raise ValueError(f"{name} must be real numbers of shape (n_samples, {columns}), got {X.dtype} of shape {X.shape}")


def finite_floats_of_gpu(X, name: str):
    """Return an array of CuPy's as float32 or float64; ValueError when it holds NaN or infinity."""
    X = X if X.dtype in FLOATS else X.astype(np.float64)
    if not bool(namespace(X).isfinite(X).all()):
        raise ValueError(f"Input {name} contains NaN or infinity.")
    return X


def _is_real_array(X) -> bool:
    return isinstance(X, np.ndarray) and X.dtype.kind in "buif"


def check_finite(estimator, rows: np.ndarray) -> None:
    """Raise ValueError when a minibatch of numbers other than 0 and 1 holds NaN or infinity."""
    with np.errstate(all="ignore"):
        total = float(rows.sum())
    if not np.isfinite(total):
        assert_all_finite(to_host(rows), estimator_name=type(estimator).__name__, input_name="X")


def check_weights(sample_weight, n_samples: int) -> np.ndarray:
    """Return what each row counts, float64 of shape (n_samples,), divided by the mean of those that are not 0."""
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_samples, sample_weight)
    weights = _as_float_array(sample_weight, "sample_weight", f"numbers of shape ({n_samples},)")
    if weights.shape != (n_samples,):
        raise ValueError(f"sample_weight must have shape ({n_samples},), a number for each row, got shape {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError("sample_weight must be finite, not negative, and not zero everywhere")
    weights = weights / weights.max()  # so that nothing overflows
    return weights / weights[weights > 0].mean()


def check_ladder(betas) -> np.ndarray:
    """Return inverse temperatures from 1 down, given as they are or by their number, which are then evenly spaced down to 0."""
    if isinstance(betas, Integral):
        return np.linspace(1.0, 0.0, int(betas))
    values = _as_float_array(betas, "betas", "a number of inverse temperatures, or themselves, from 1 down")
    if values.ndim != 1 or values.size < 2 or values[0] != 1 or not (np.diff(values) < 0).all() or not values[-1] >= 0:
        raise ValueError(f"betas must begin at 1 and fall, at least 2 numbers down to no less than 0, got {betas!r}")
    return values


def float_of(array) -> np.dtype:
    """Return the dtype of what is fitted to an array, or answered: float32 where it is that, else float64."""
    return np.dtype(np.float32) if getattr(array, "dtype", None) == np.float32 else np.dtype(np.float64)


def resolve_seed(random_state) -> int:
    """Return the integer that seeds every stream: an int itself, a draw from a RandomState, or fresh entropy for None."""
    if random_state is None:
        return secrets.randbits(128)
    if isinstance(random_state, int | np.integer) and 0 <= random_state < 2**32:
        return int(random_state)
    if not isinstance(random_state, np.random.RandomState | ModuleType):
        raise ValueError(f"random_state must be None, an int from 0 to 2**32 - 1 or a RandomState, got {random_state!r}")
    words = check_random_state(random_state).randint(2**32, size=4, dtype=np.uint32)
    return int.from_bytes(words.tobytes(), "little")


def check_beta(beta, n_samples: int) -> np.ndarray:
    """Return inverse temperatures as float32 of shape (1,) or (n_samples,)."""
    if isinstance(beta, Real) and not isinstance(beta, bool):
        values = np.full(1, beta, np.float64)
    else:
        values = _as_float_array(beta, "beta", "a number or one number for each sample")
        if values.shape != (n_samples,):
            raise ValueError(
                f"beta must be a number or an array of shape ({n_samples},), one for each sample, "
                f"got an array of shape {values.shape}"
            )
    if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1e6).all()):
        raise ValueError(f"beta must lie between 0 and 1e6, got {beta!r}")
    return values.astype(np.float32)


def check_sigma(sigma, n_features: int) -> np.ndarray:
    """Return the deviations of Gaussian units, float64 of shape (n_features,), from a number or one for each unit."""
    values = _as_float_array(sigma, "sigma", "a number or one number for each feature")
    if values.shape not in ((), (n_features,)):
        raise ValueError(f"sigma must be a number or have shape ({n_features},), got shape {values.shape}")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"sigma must be finite and above 0, got {sigma!r}")
    return np.array(np.broadcast_to(values, (n_features,)))


def check_clamp(clamp, n_samples: int, n_features: int, *, real: bool = False) -> np.ndarray:
    """Return `clamp` as float64 of shape (1, n_features) or (n_samples, n_features) of 0, 1, or `real` numbers, and NaN."""
    values = _as_float_array(clamp, "clamp", f"{'numbers' if real else '0, 1'}, and NaN where a unit is free")
    if real:
        _check_rows(values, "clamp", n_samples, n_features)
        if np.isinf(values).any():
            raise ValueError("clamp must hold finite numbers, and NaN where a unit is free, got infinity")
        return np.atleast_2d(values)
    if np.asarray(to_host(adopt(clamp))).dtype == bool:
        raise ValueError("clamp must hold 0, 1, and NaN where a unit is free, got booleans, which may be meant as a mask")
    _check_rows(values, "clamp", n_samples, n_features)
    wrong = ~((values == 0) | (values == 1) | np.isnan(values))
    if wrong.any():
        raise ValueError(
            f"clamp must hold 0, 1, and NaN where a unit is free, got {values[wrong][0]:g} "
            f"(in {int(wrong.sum())} of {values.size} places)"
        )
    return np.atleast_2d(values)


def check_start(init, n_samples: int, n_features: int, *, real: bool = False) -> np.ndarray:
    """Return rows to start sampling from: float64 of shape (n_samples, n_features) of 0 and 1, or of `real` numbers."""
    rows = _as_float_array(init, "init", f"None, 'chains' or rows of {'numbers' if real else '0 and 1'}")
    _check_rows(rows, "init", n_samples, n_features)
    if real:
        if not np.isfinite(rows).all():
            raise ValueError("init must hold finite numbers, got NaN or infinity")
        return np.broadcast_to(rows, (n_samples, n_features))
    if not ((rows == 0) | (rows == 1)).all():
        raise ValueError("init must hold only 0 and 1; round the rows, or draw them with fastbm.datasets.binarise")
    return np.broadcast_to(rows, (n_samples, n_features))


def _as_float_array(value, name: str, expected: str) -> np.ndarray:
    try:
        return np.asarray(to_host(adopt(value)), np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be {expected}, got {value!r}") from error


def _check_rows(values, name: str, n_samples: int, n_features: int) -> None:
    if values.shape not in ((n_features,), (1, n_features), (n_samples, n_features)):
        raise ValueError(
            f"{name} must have shape ({n_features},) or ({n_samples}, {n_features}), a row or one row for each sample, "
            f"got shape {values.shape}"
        )


def check_parameters(weights, visible_bias, hidden_bias, names=("weights", "visible_bias", "hidden_bias")):
    """Return the arrays of a machine given by hand, as float32 where all are, else float64, after checking their shapes."""
    weights = np.array(check_array(to_host(adopt(weights)), dtype=FLOATS, input_name=names[0]), order="C")
    biases = []
    for name, bias, size in zip(names[1:], (visible_bias, hidden_bias), weights.shape, strict=True):
        bias = _as_float_array(bias, name, f"an array of shape ({size},)")
        if bias.shape != (size,):
            raise ValueError(
                f"{name} must have shape ({size},) to match {names[0]} of shape {weights.shape}, got {bias.shape}; "
                f"{names[0]} are (n_visible, n_hidden), which is components_.T"
            )
        wrong = bias[~(np.abs(bias) < LARGEST_BIAS)]
        if wrong.size:
            raise ValueError(f"{name} must be finite and below {LARGEST_BIAS:g} in magnitude, got {wrong[0]:g}")
        biases.append(bias.astype(weights.dtype))
    return weights, *biases


def warn(message: str) -> None:
    """Warn at the line of the user's that called: the last one that is neither this library's nor scikit-learn's."""
    frame, level = sys._getframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("fastbm", "sklearn"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def warn_outside_unit_interval(low: float, high: float) -> bool:
    """Warn, as data of binary units are fitted, when values do not lie between 0 and 1; return whether they do not."""
    outside = low < -ROUNDING or high > 1 + ROUNDING
    if outside:
        warn(
            f"X has values between {low:g} and {high:g}; binary units expect values between 0 and 1 "
            "(scale X, or see fastbm.datasets.binarise)"
        )
    return outside


def warn_of_spins(low: float, high: float) -> bool:
    """Warn, as data of spins are fitted, when values are 0 and 1, or do not lie between -1 and 1; return whether they do so."""
    wrong = low < -1 - ROUNDING or high > 1 + ROUNDING or low == 0
    if wrong:
        warn(
            f"X has values between {low:g} and {high:g}; spins expect -1 and 1, and take numbers between for means, 0 for a "
            "spin that is up half of the time (without spin=True units are 0 and 1)"
        )
    return wrong
