"""What functions of evaluation are given: a fitted estimator, or the parameters of a machine; seeds and counts."""

from __future__ import annotations

import secrets
from numbers import Integral
from typing import Any

import numpy as np

from fastbm.device import namespace

TAKEN = {
    "log_partition": (
        "BernoulliRBM, GaussianRBM, RBMClassifier, BoltzmannMachine, DeepBoltzmannMachine or DeepBoltzmannClassifier"
    ),
    "log_likelihood": "BernoulliRBM, GaussianRBM, RBMClassifier or BoltzmannMachine",
    "pseudo_log_likelihood": "BernoulliRBM, GaussianRBM or BoltzmannMachine",
    "free_energy_gap": "BernoulliRBM, GaussianRBM or BoltzmannMachine",
    "trace": "BernoulliRBM, GaussianRBM or DeepBoltzmannMachine",
}
"""What each function takes, by the names of the estimators."""


def machine_of(given) -> Any:
    """Return the parameters, a NamedTuple of ``fastbm.machines``: an estimator's ``_machine()``, or what was given itself."""
    return given._machine() if hasattr(given, "_machine") and not isinstance(given, type) else given


def taught(function, given, what: str) -> Any:
    """Return the parameters; TypeError unless `function`, by which kinds of machine join `what`, has been taught their kind.

    An estimator with labels is not the machine without them.
    """
    machine = machine_of(given)
    if hasattr(given, "classes_") or function.dispatch(type(machine)) is function.dispatch(object):
        raise unsupported(given, what)
    return machine


def _name(given) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__


def unsupported(given, what: str) -> TypeError:
    """Return the error of a function of evaluation for what it does not take."""
    bound = what == "log_likelihood" and hasattr(given, "log_likelihood_bound")
    hint = "; p(v) of a deep machine has a bound alone, see its method log_likelihood_bound" if bound else ""
    return TypeError(f"{what} takes a fitted {TAKEN[what]}, or the parameters of such a machine, got {_name(given)}{hint}")


def check_adversarial(model) -> None:
    """Raise TypeError unless this is an adversarial network."""
    if isinstance(model, type) or not hasattr(model, "sample_latent"):
        raise TypeError(f"model must be a fitted GAN, DCGAN or BiGAN, got {_name(model)}")


def seed_of(random_state) -> int:
    """Return the integer that seeds every stream: an int itself, a draw from a RandomState, or fresh entropy for None."""
    if random_state is None:
        return secrets.randbits(128)
    draw: Any = getattr(random_state, "randint", None)
    if draw is not None:
        return int.from_bytes(draw(2**32, size=4, dtype=np.uint32).tobytes(), "little")
    if not isinstance(random_state, int | np.integer) or isinstance(random_state, bool) or random_state < 0:
        raise ValueError(f"random_state must be None, an int of at least 0 or a RandomState, got {random_state!r}")
    return int(random_state)


def check_count(value, name: str, minimum: int) -> int:
    """Return `value` as an int of at least `minimum`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return int(value)


def check_shape(rows, name: str, n_visible: int):
    """Return rows as an array of shape (n, n_visible), on the host or the GPU."""
    rows = rows.toarray() if hasattr(rows, "toarray") else rows
    rows = rows if hasattr(rows, "get") else np.asarray(rows)
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] != n_visible:
        raise ValueError(f"{name} must have shape (n_rows, {n_visible}), got {rows.shape}")
    return rows


def check_binary(rows, name: str, n_visible: int):
    """Return rows of 0 and 1 as an array of shape (n, n_visible)."""
    rows = check_shape(rows, name, n_visible)
    if not bool(((rows == 0) | (rows == 1)).all()):
        raise ValueError(f"{name} must hold only 0 and 1; round the rows, or draw them with fastbm.datasets.binarise")
    return rows


def check_unit_interval(rows, name: str, n_visible: int):
    """Return rows of numbers between 0 and 1 as a float64 array of shape (n, n_visible), on the host or the GPU."""
    rows = check_shape(rows, name, n_visible).astype(np.float64)
    if not bool(((rows >= 0) & (rows <= 1)).all()):
        raise ValueError(f"{name} must hold numbers between 0 and 1, got NaN or others")
    return rows


def check_real(rows, name: str, n_visible: int):
    """Return rows of finite numbers as a float64 array of shape (n, n_visible), on the host or the GPU."""
    rows = check_shape(rows, name, n_visible).astype(np.float64)
    if not bool(namespace(rows).isfinite(rows).all()):
        raise ValueError(f"{name} must hold finite numbers, got NaN or infinity")
    return rows


def has_chains(given) -> bool:
    """Whether this is an estimator with persistent chains of its training, whose rows are ``_chain_rows()``."""
    return getattr(given, "_updates", 0) >= 2 and hasattr(given, "_chain_rows")


def rows_of(given, init):
    """Return the rows that chains begin at, as the machine knows them: those given, or the persistent chains of a training."""
    if not isinstance(init, str):
        return scaled(given, init, "init")
    if init != "chains" or not has_chains(given):
        raise ValueError(f"init must be rows of visible units, or 'chains' where an estimator was trained, got {init!r}")
    return given._chain_rows()


# An estimator may standardise its data: its machine then knows other rows than the user. It has `_scaled(rows)`,
# `_unscaled(rows)`, and `_log_scales()`, by which logarithms of densities in the user's units are less.


def scaled(given, rows, name: str):
    """Return rows in the user's units as the machine knows them; ValueError, naming them, when they have not its shape."""
    if not hasattr(given, "_scaled"):
        return rows
    return given._scaled(check_shape(rows, name, machine_of(given)[1].shape[0]))


def unscaled(given, rows):
    """Return rows of the machine in the user's units."""
    return given._unscaled(rows) if hasattr(given, "_unscaled") else rows


def log_scales(given) -> float:
    """Return Σ log of the scales that rows are divided by, 0 where they are not."""
    return given._log_scales() if hasattr(given, "_log_scales") else 0.0
