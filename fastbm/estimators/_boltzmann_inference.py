"""Marginals of a general machine given some of its units: exactly, by Gibbs averages, or by mean field."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from fastbm import chain
from fastbm.chain import Purpose
from fastbm.device import home_of, to_device, to_host, using
from fastbm.estimators import _validation
from fastbm.estimators._boltzmann_sampling import BoltzmannSampling
from fastbm.machines import boltzmann, inference

METHODS = ("auto", "exact", "gibbs", "mean_field")
RECORDS = 200
"""States of a chain, at the most, that marginals are averaged over."""
WARM_UP = 5
"""One part in so many of the sweeps is left out of the averages."""


class Marginals(NamedTuple):
    """Probabilities p(unit = 1 | given units), and how far to trust them.

    Parameters
    ----------
    probabilities : ndarray of shape (n_units,) or (n_rows, n_units)
        Visible units first, then hidden ones; 0 or 1 for given units. Of spins it is the probability of +1.
    errors : ndarray of the same shape
        Standard errors: 0 when exact; NaN for mean field, which has none that is known.
    method : str
        "exact", "gibbs" or "mean_field".
    n_updates : int
        Mean-field updates that were made.
    change : float
        The largest change of a probability in the last of them.
    """

    probabilities: Any
    errors: Any
    method: str
    n_updates: int
    change: float


class BoltzmannInference(BoltzmannSampling):
    """marginals."""

    def marginals(
        self,
        clamp=None,
        method="auto",
        *,
        beta=1.0,
        n_chains=100,
        n_steps=1000,
        damping=0.5,
        tol=1e-6,
        max_updates=1000,
        random_state=None,
    ):
        """Return the marginal p(unit = 1 | given units) of every unit.

        Parameters
        ----------
        clamp : array-like of shape (n_features,), (n_units,) or (n_rows, n_features or n_units), default=None
            Values of the units that are given, 0 or 1 (±1 of spins), NaN where a unit is free; without columns for hidden units
            these are free. None gives nothing.
        method : {"auto", "exact", "gibbs", "mean_field"}, default="auto"
            By enumeration, where at most 20 free units hang together by couplings; by averages over Gibbs chains; by damped
            mean-field updates [1]_, fast and biased. "auto" is exact where that can be, else Gibbs.
        beta : float, default=1.0
            Inverse temperature.
        n_chains : int, default=100
            Gibbs chains for each row. Their spread gives the standard error, which is right when they have run for longer than
            they remember.
        n_steps : int, default=1000
            Sweeps of each chain; the first fifth is left out.
        damping : float in [0, 1), default=0.5
            Part of the old probability that each mean-field update keeps.
        tol : float, default=1e-6
            Mean-field updates end when no probability changes by more.
        max_updates : int, default=1000
            Mean-field updates at the most.
        random_state : int, RandomState instance or None, default=None
            Seed of the chains; None takes the estimator's own.

        Returns
        -------
        marginals : Marginals
            Named: probabilities, errors, method, n_updates, change.

        Raises
        ------
        ValueError
            When an argument is not valid, or too many free units hang together for "exact".

        References
        ----------
        .. [1] Peterson & Anderson, "A mean field theory learning algorithm for neural networks", Complex Systems 1, 1987.
        """
        check_is_fitted(self, "weights_")
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        _validation.check_beta(beta, 0)
        beta = float(beta)  # in float64, unlike that of chains
        given = np.full(self.n_features_in_, np.nan) if clamp is None else clamp
        rows = self._rows_of(given)
        if method == "auto":
            method = "exact" if self._largest_component(rows) <= inference.MOST_UNITS else "gibbs"
        with using(home_of(self.weights_)):
            if method == "exact":
                found = self._exact_marginals(rows, beta)
            elif method == "gibbs":
                seed = _validation.resolve_seed(self.random_state if random_state is None else random_state)
                found = self._gibbs_marginals(rows, beta, n_chains, n_steps, seed)
            else:
                found = self._mean_field_marginals(rows, beta, damping, tol, max_updates)
            home, pick = home_of(self.weights_), 0 if np.ndim(given) == 1 else slice(None)
            p, errors = (to_device(array.astype(_validation.float_of(self.weights_))[pick], home) for array in found[:2])
            return Marginals(p, errors, method, *found[2:])

    def _rows_of(self, given) -> np.ndarray:
        """Return clamped values with a column for each of all units."""
        rows = self._check_clamp(given, None)
        missing = self.n_features_in_ + self._n_features_out - rows.shape[1]
        return np.concatenate([rows, np.full((len(rows), missing), np.nan)], axis=1)

    def _patterns(self, rows):
        """Yield the numbers of rows that have the same free units, and these units."""
        free, which = np.unique(np.isnan(rows), axis=0, return_inverse=True)
        for number, pattern in enumerate(free):
            yield np.flatnonzero(which.reshape(-1) == number), pattern

    def _largest_component(self, rows) -> int:
        machine = self._machine()
        return max(inference.largest_component(machine, pattern) for _, pattern in self._patterns(rows))

    def _exact_marginals(self, rows, beta):
        machine, out, home = self._machine(), np.empty_like(rows), home_of(self.weights_)
        for numbers, pattern in self._patterns(rows):
            some = to_device(np.nan_to_num(rows[numbers]), home)
            out[numbers] = to_host(inference.summed_out(machine, some, pattern, beta)[1])
        return out, np.zeros_like(out), 0, 0.0

    def _mean_field_marginals(self, rows, beta, damping, tol, max_updates):
        max_updates = _validation.check_count(max_updates, "max_updates", 1)
        for value, name, most in ((damping, "damping", 1), (tol, "tol", np.inf)):
            if not 0 <= value < most:
                raise ValueError(f"{name} must be a number of at least 0 and below {most}, got {value!r}")
        machine, home = self._machine(), home_of(self.weights_)
        free, given = to_device(np.isnan(rows), home), to_device(np.nan_to_num(rows), home)
        found = inference.mean_field(machine, given, free, beta, damping=damping, tol=tol, max_updates=max_updates)
        means = to_host(found.means)
        return means, np.where(np.isnan(rows), np.nan, 0.0), found.n_updates, found.change

    def _gibbs_marginals(self, rows, beta, n_chains, n_steps, seed):
        n_chains = _validation.check_count(n_chains, "n_chains", 2)
        n_steps = _validation.check_count(n_steps, "n_steps", 2)
        exact, home, n_units = self._rounded(), self.device_, rows.shape[1]
        clamp = np.repeat(rows, n_chains, axis=0)
        warm_up = max(1, n_steps // WARM_UP)
        n_records = min(RECORDS, n_steps - warm_up)
        stops = np.linspace(warm_up, n_steps, n_records + 1).astype(int)
        with using(home):
            chains = self._start(None, len(clamp), exact, seed)
            free = self._clamp(chains, clamp, exact)
            key, at = chain.stream_key(seed, Purpose.INFERENCE), np.float32(beta) * boltzmann.ones(home)
            sums = np.zeros((len(clamp), n_units), np.float32)
            with tqdm(total=n_steps, disable=not self.verbose, desc="marginals", unit="sweep", leave=False) as bar:
                for stop in stops:
                    chains = boltzmann.advance(exact, chains, int(stop) - chains.sweeps, key=key, beta=at, free=free)
                    bar.update(chains.sweeps - bar.n)
                    if stop > warm_up:
                        sums += to_host(boltzmann.leave(exact.layout, chains.states))
        means = (sums / n_records).reshape(len(rows), n_chains, n_units).astype(np.float64)
        # where all chains agree, a probability is known no better than to one in so many states
        errors = np.sqrt(means.var(axis=1, ddof=1) / n_chains + (n_chains * n_records) ** -2.0)
        return means.mean(axis=1), np.where(np.isnan(rows), errors, 0.0), 0, 0.0
