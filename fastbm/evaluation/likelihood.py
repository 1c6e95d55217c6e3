"""How likely rows are to a machine: log-likelihood, pseudo-likelihood, and the gap of free energies that shows overfitting."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from fastbm.device import home_of, namespace, to_device, using
from fastbm.evaluation.gaussian_pseudo_likelihood import gaussian_pseudo_likelihood
from fastbm.evaluation.given import log_scales, machine_of, taught, unsupported
from fastbm.evaluation.partition import LogPartition, log_partition
from fastbm.evaluation.pseudo_likelihood import pseudo_likelihood
from fastbm.machines import gaussian_rbm, rbm
from fastbm.machines.gaussian_rbm import GaussianRBM
from fastbm.machines.rbm import RBM

ROWS_AT_A_TIME = 4096


@singledispatch
def free_energies(machine, X) -> Any:
    """Return -log p*(v) of each row, in float64: what a kind of machine registers to have likelihoods."""
    raise unsupported(machine, "log_likelihood")


@free_energies.register
def _(machine: RBM, X):
    return _in_parts(rbm.free_energy, machine, X)


@free_energies.register
def _(machine: GaussianRBM, X):
    def free_energy(machine, part):
        return gaussian_rbm.free_energy(machine, part.toarray() if hasattr(part, "toarray") else part)

    return _in_parts(free_energy, machine, X)


def _in_parts(free_energy, machine, X):
    """Return the free energies of some thousand rows at a time, in float64."""
    xp = namespace(machine.weights)
    machine = type(machine)(*(xp.asarray(array, dtype=np.float64) for array in machine))
    parts = [free_energy(machine, X[k : k + ROWS_AT_A_TIME]) for k in range(0, X.shape[0], ROWS_AT_A_TIME)]
    return parts[0] if len(parts) == 1 else xp.concatenate(parts)


@singledispatch
def pseudo_log_likelihoods(machine, X) -> Any:
    """Return Σ_i log p(v_i | all other v) of each row: what a kind of machine registers to have pseudo-likelihoods."""
    raise unsupported(machine, "pseudo_log_likelihood")


pseudo_log_likelihoods.register(RBM, pseudo_likelihood)
pseudo_log_likelihoods.register(GaussianRBM, gaussian_pseudo_likelihood)


def log_likelihood(machine, X, log_z=None):
    """Return log p(v) = -free energy(v) - log Z of each row, in nats; of Gaussian units the logarithm of a density.

    Labels are summed out.

    Parameters
    ----------
    machine : estimator or NamedTuple
        A fitted estimator, or the parameters of a machine.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows of 0 and 1; others have a free energy too, but no probability. With Gaussian units any numbers; the density is that
        in the units of `X`, also where the estimator standardises them.
    log_z : float or LogPartition, default=None
        log Z, as from `log_partition`; worked out anew by its method "auto" when None. Its standard error is that of the mean
        over the rows too: more rows do not lower it.

    Returns
    -------
    log_likelihood : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        When `X` does not have the shape of the machine's rows, or holds NaN or infinity.
    TypeError
        When the machine is of a kind that has none.
    """
    if hasattr(machine, "_machine_of_class") and isinstance(machine_of(machine), RBM):
        return -machine.free_energy(X) - _number(log_partition(machine) if log_z is None else log_z)
    machine, X, scales = _take(machine, X, "X", free_energies, "log_likelihood")
    with using(home_of(X)):
        return -free_energies(machine, X) - (_number(log_partition(machine) if log_z is None else log_z) + scales)


def pseudo_log_likelihood(machine, X):
    """Return the pseudo-log-likelihood Σ_i log p(v_i | all other v) of each row, in nats: exact over all units [1]_.

    Parameters
    ----------
    machine : estimator or NamedTuple
        A fitted estimator, or the parameters of a machine.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)

    Returns
    -------
    pseudo_log_likelihood : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        When `X` does not have the shape of the machine's rows, or holds NaN or infinity.
    TypeError
        When the machine is of a kind that has none.

    References
    ----------
    .. [1] Besag, "Statistical analysis of non-lattice data", The Statistician 24, 1975.
    """
    machine, X, scales = _take(machine, X, "X", pseudo_log_likelihoods, "pseudo_log_likelihood")
    with using(home_of(X)):
        return pseudo_log_likelihoods(machine, X) - scales


def free_energy_gap(machine, train, valid) -> float:
    """Return the mean free energy of held-out rows less that of rows that were trained on, in nats.

    It needs no log Z, which cancels: the gap is how much less likely held-out rows are, on average. It is near 0 at first,
    and grows when a machine begins to learn its rows by heart [1]_.

    Parameters
    ----------
    machine : estimator or NamedTuple
        A fitted estimator, or the parameters of a machine.
    train : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows that were trained on, some thousand of them.
    valid : {array-like, sparse matrix} of shape (n_rows, n_features)
        Rows that were not.

    Returns
    -------
    gap : float

    Raises
    ------
    ValueError
        When rows do not have the shape of the machine's, or hold NaN or infinity.
    TypeError
        When the machine is of a kind that has no free energy of rows.

    References
    ----------
    .. [1] Hinton, "A practical guide to training restricted Boltzmann machines", 2012.
    """
    means = []
    for rows, name in ((valid, "valid"), (train, "train")):
        there, X, _ = _take(machine, rows, name, free_energies, "free_energy_gap")
        with using(home_of(X)):
            means.append(float(free_energies(there, X).mean()))
    return means[0] - means[1]


def _number(log_z) -> float:
    """Return log Z as a number."""
    try:
        return float(log_z.log_z if isinstance(log_z, LogPartition) else log_z)
    except (TypeError, ValueError) as error:
        raise ValueError(f"log_z must be a number, or what log_partition returns, got {log_z!r}") from error


def _take(given, X, name: str, function, what: str):
    """Return the parameters, where the rows live; the rows as the machine knows them, an array or sparse; Σ log scales.

    `function` is that by which kinds of machine join `what`.
    """
    machine = taught(function, given, what)
    n_visible = machine[1].shape[0]
    if not hasattr(X, "toarray") and not hasattr(X, "get"):
        try:
            X = np.asarray(X, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be numbers of shape (n_samples, {n_visible}), got {X!r}") from error
    if X.ndim != 2 or X.shape[0] == 0 or X.shape[1] != n_visible:
        raise ValueError(f"{name} must have shape (n_samples, {n_visible}), got {X.shape}")
    numbers = X.data if hasattr(X, "toarray") else X
    if not bool(namespace(numbers).isfinite(numbers).all()):
        raise ValueError(f"{name} must hold finite numbers, got NaN or infinity")
    with using(home_of(X)):
        X = given._scaled(X) if hasattr(given, "_scaled") else X
    return type(machine)(*(to_device(array, home_of(X)) for array in machine)), X, log_scales(given)
