"""Traces: an observable along the chains of a machine, for the diagnostics of chains."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm.auto import tqdm

from fastbm import chain
from fastbm.chain import Purpose
from fastbm.device import home_of, to_host, using
from fastbm.evaluation.deep import folded, is_deep
from fastbm.evaluation.given import check_count, log_scales, rows_of, seed_of, taught, unscaled
from fastbm.evaluation.paths import annealed

OBSERVABLES = ("energy", "free_energy")


def trace(
    machine,
    observable: Any = "free_energy",
    *,
    n_chains=4,
    n_steps=1000,
    thin=1,
    init=None,
    random_state=None,
    verbose=0,
) -> np.ndarray:
    """Return an observable along chains at β = 1, one number a chain and sweep.

    Parameters
    ----------
    machine : estimator or NamedTuple
        A fitted estimator, or the parameters of a machine; a deep Boltzmann machine is traced as the restricted one that it is
        when folded: rows are its even layers, side by side.
    observable : {"free_energy", "energy"} or callable, default="free_energy"
        The free energy of the visible units, the energy of both sides, or a function of visible rows (n_chains, n_features)
        that returns a number for each row. Rows are in the units of the data, and so are the densities of Gaussian units.
    n_chains : int, default=4
        Number of chains.
    n_steps : int, default=1000
        Sweeps of each chain.
    thin : int, default=1
        Sweeps from one number to the next.
    init : None, "chains" or array-like of shape (n_rows, n_features), default=None
        Where chains start: at draws of units with the machine's visible biases and no couplings, which lie far apart, as R-hat
        needs it, where units are binary, but not where they are Gaussian and σ is small; at the persistent chains of the
        training; or at rows, in turn where there are too few.
    random_state : int, RandomState instance or None, default=None
        Seed of the chains.
    verbose : int, default=0
        When not 0, shows a progress bar.

    Returns
    -------
    draws : ndarray of shape (n_chains, n_steps // thin)
        In float64, on the CPU. The start is not among them; draws of chains that still drift belong to it, and are
        left out by the caller.

    Raises
    ------
    ValueError
        When an argument is not valid.
    TypeError
        When the machine is of a kind that is not traced.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbm import BernoulliRBM
    >>> from fastbm.evaluation import split_rhat, trace
    >>> machine = BernoulliRBM.from_weights(np.eye(3), np.zeros(3), np.zeros(3))
    >>> draws = trace(machine, lambda rows: rows.sum(axis=1), n_steps=200, random_state=0)
    >>> draws.shape
    (4, 200)
    >>> split_rhat(draws) < 1.1
    True
    """
    n_chains, n_steps = check_count(n_chains, "n_chains", 1), check_count(n_steps, "n_steps", 1)
    thin, seed = check_count(thin, "thin", 1), seed_of(random_state)
    if is_deep(machine):
        machine, _, init = folded(machine, None, init, seed)
    given, machine = machine, taught(annealed, machine, "trace")
    if not callable(observable) and observable not in OBSERVABLES:
        raise ValueError(f"observable must be a function of rows or one of {', '.join(OBSERVABLES)}, got {observable!r}")
    with using(home_of(machine[0])):
        path, key = annealed(machine), chain.stream_key(seed, Purpose.TRACE)
        path.prepare(n_chains, n_steps)
        if init is None:
            states = path.start(n_chains, key=key, first_chain=0)
        else:
            states = path.enter(rows_of(given, init))
            states = path.take(states, np.arange(n_chains) % len(states[0]))
        out = np.empty((n_chains, n_steps // thin))
        for k in tqdm(range(out.shape[1] * thin), disable=not verbose, desc="tracing", unit="sweep", mininterval=0.5):
            states = path.sweep(states, 1.0, k + 1, key=key, first_chain=0)
            if (k + 1) % thin == 0:
                out[:, k // thin] = _observe(given, path, states, observable)
    return out


def _observe(given, path: Any, states, observable) -> np.ndarray:
    if not callable(observable):
        return to_host(getattr(path, observable)(states)) + log_scales(given)
    rows = unscaled(given, path.rows(states))
    values: Any = to_host(observable(rows))
    if np.shape(values) != (rows.shape[0],):
        raise ValueError(f"observable must return a number for each of {rows.shape[0]} rows, got shape {np.shape(values)}")
    return values
