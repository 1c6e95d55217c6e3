"""What a fitted general Boltzmann machine can do: sampling, conditionals, scores."""

from __future__ import annotations

import threading
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from fastbm import chain
from fastbm.chain import Purpose
from fastbm.device import adopt, home_of, module_of, namespace, to_device, to_host, using
from fastbm.estimators import _validation
from fastbm.estimators._boltzmann_fitted import FittedBoltzmann
from fastbm.estimators._likelihood import Likelihood
from fastbm.evaluation.graphs import pseudo_likelihood
from fastbm.machines import boltzmann, inference
from fastbm.machines.boltzmann import Chains, RoundedBoltzmann

_position_lock = threading.Lock()


class BoltzmannSampling(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Likelihood, FittedBoltzmann):
    """Methods of a fitted machine; they read the fitted attributes, which may have been set by hand."""

    # ---------------------------------------------------------------------------------------------------- conditionals

    def transform(self, X):
        """Return the hidden probabilities p(h = 1 | v = X).

        Exact where hidden units fall into components, sets without couplings between them, of at most 12; else by mean field,
        as `marginals` has it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        H : ndarray of shape (n_samples, n_hidden)
        """
        rows = self._check_rows(X)
        with using(home_of(rows)):
            return inference.hidden_means(self._machine_on(home_of(rows)), rows).astype(rows.dtype, copy=False)

    # -------------------------------------------------------------------------------------------------------- sampling

    def gibbs(self, v):
        """Make one Gibbs sweep from each row. Each call draws afresh.

        Every block is drawn once, in their order; hidden units, where they are looked at before they are drawn, begin as fair
        coins. A restricted machine draws h from p(h | v), then v from p(v | h).

        Parameters
        ----------
        v : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of 0 and 1, or of ±1 where the machine is one of spins.

        Returns
        -------
        v_new : ndarray of shape (n_samples, n_features)
            Rows of False and True, or of ±1.
        """
        rows = self._check_rows(v)
        _check_binary(rows, "v")
        exact, home, n_visible = self._rounded(), self.device_, self.n_features_in_
        with _position_lock:  # two threads must not draw the same
            start = self._gibbs_sweeps
            self._gibbs_sweeps += 1
        with using(home):
            chains = self._entered(to_device(rows, home), exact, start)
            key, one = chain.stream_key(self._seed, Purpose.GIBBS), boltzmann.ones(home)
            chains = boltzmann.advance(exact, chains._replace(sweeps=start), 1, key=key, beta=one)
            new = boltzmann.leave(exact.layout, chains.states, np.float32, n_visible)
            return to_device(self._from_bits(new) if self.spin else new != 0, home_of(rows))

    def _entered(self, rows, exact: RoundedBoltzmann, sweep: int, seed: int | None = None) -> Chains:
        """Return chains with these visible, or all, units; hidden units that are not given are fair coins."""
        layout = exact.layout
        n_units, n_given = layout.graph.n_units, rows.shape[1]
        full = namespace(rows).zeros((rows.shape[0], n_units), dtype=np.float32)
        full[:, :n_given] = rows
        chains = Chains(boltzmann.enter(layout, full), sweep)
        if n_given == n_units:
            return chains
        free = boltzmann.enter(layout, to_device(np.float32(np.arange(n_units)[None, :] >= n_given), home_of(rows)))
        key = chain.stream_key(self._seed if seed is None else seed, Purpose.SAMPLING_START)
        return boltzmann.advance(exact, chains, 1, key=key, beta=0 * boltzmann.ones(home_of(rows)), free=free)

    def sample(self, n_samples=1, *, n_steps=None, clamp=None, init=None, beta=1.0, random_state=None):
        """Draw visible rows by block Gibbs sampling, one chain a row.

        Row i does not depend on `n_samples`, nor on threads or hardware. Fitted attributes are not changed.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        n_steps : int, default=None
            Sweeps to run; a sweep draws every unit that is free once. When None as many as `beta` has, else 1000.
        clamp : array-like of shape (n_features,) or (n_samples, n_features), default=None
            0 or 1 (±1 of spins) where a unit is held at that value, NaN where it is free. With a column for each of all units,
            n_units, hidden ones may be held too.
        init : None, "chains" or array-like of shape (n_features,) or (n_samples, n_features), default=None
            Where chains start: at fair coins, at the persistent chains of training (used again in turn when there are fewer
            than `n_samples`), or at rows of 0 and 1 (±1 of spins), whose hidden units are fair coins unless there is a column
            for each of all units.
        beta : float or array-like, default=1.0
            Inverse temperature: one for all; of shape (n_samples,), one a chain; of shape (n_steps,), one a sweep, which is
            simulated annealing when it rises [1]_; or of shape (n_samples or 1, n_steps or 1).
        random_state : int, RandomState instance or None, default=None
            Seed; None takes the estimator's own `random_state`, so that an estimator with an int repeats the same rows. Two
            calls with one seed use the same random numbers: to go on from rows that were sampled, give another.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows of 0 and 1 (±1 of spins), of the dtype of the fitted attributes.

        Raises
        ------
        ValueError
            When an argument is not valid.

        References
        ----------
        .. [1] Kirkpatrick, Gelatt & Vecchi, "Optimization by simulated annealing", Science 220, 1983.
        """
        check_is_fitted(self, "weights_")
        n_samples = _validation.check_count(n_samples, "n_samples", 1)
        beta, n_steps = check_schedule(beta, n_samples, n_steps)
        if clamp is not None:
            clamp = self._check_clamp(clamp, n_samples)
        seed = _validation.resolve_seed(self.random_state if random_state is None else random_state)
        exact, home = self._rounded(), self.device_
        with using(home):
            chains = self._start(init, n_samples, exact, seed)
            free = self._clamp(chains, clamp, exact)
            key = chain.stream_key(seed, Purpose.SAMPLING)
            chains = self._sweep(exact, chains, n_steps, key=key, beta=to_device(beta, home), free=free)
            rows = boltzmann.leave(exact.layout, chains.states, _validation.float_of(self.weights_), self.n_features_in_)
            return to_device(self._from_bits(rows), home_of(self.weights_))

    def _start(self, init, n_samples: int, exact: RoundedBoltzmann, seed: int) -> Chains:
        xp = module_of(self.device_)
        if init is None:
            chains = boltzmann.empty_chains(exact.layout, n_samples, xp)
            key = chain.stream_key(seed, Purpose.SAMPLING_START)
            return boltzmann.advance(exact, chains, 1, key=key, beta=0 * boltzmann.ones(self.device_))._replace(sweeps=0)
        if not isinstance(init, str):
            rows = self._bits_of(init, "init", n_samples, "None, 'chains' or rows of 0 and 1")
            if np.isnan(rows).any():
                raise ValueError("init must have no NaN; hold units with clamp, not with init")
            rows = to_device(np.broadcast_to(rows, (n_samples, rows.shape[1])).astype(np.float32), self.device_)
            return self._entered(rows, exact, 0, seed)._replace(sweeps=0)
        if init != "chains":
            raise ValueError(f"init must be None, 'chains' or rows of 0 and 1, got {init!r}")
        if self._chains.sweeps == 0:
            raise ValueError("init='chains' needs the chains of training, but this machine was never trained; use init=None")
        chosen = np.arange(n_samples) % len(self._chains.states[0])
        states = (to_device(np.ascontiguousarray(to_host(part)[chosen]), self.device_) for part in self._chains.states)
        return Chains(tuple(states), 0)

    def _clamp(self, chains: Chains, clamp: np.ndarray | None, exact: RoundedBoltzmann) -> tuple | None:
        """Set clamped units to their values, in place; return which are free, None where all are."""
        if clamp is None:
            return None
        layout, home = exact.layout, home_of(exact.bias)
        full = np.full((clamp.shape[0], layout.graph.n_units), np.nan)
        full[:, : clamp.shape[1]] = clamp
        free = boltzmann.enter(layout, to_device(np.isnan(full).astype(np.float32), home))
        values = boltzmann.enter(layout, to_device(np.nan_to_num(full).astype(np.float32), home))
        for part, is_free, value in zip(chains.states, free, values, strict=True):
            part[...] = (part & is_free) | value
        return free

    def _sweep(self, exact: RoundedBoltzmann, chains: Chains, n_steps: int, *, key, beta, free) -> Chains:
        """Run `n_steps` sweeps in short turns, with a progress bar when `verbose`."""
        turn = boltzmann.sweeps_a_turn(exact, len(chains.states[0]))
        with tqdm(total=n_steps, disable=not self.verbose, desc="sampling", unit="sweep", leave=False, mininterval=0.5) as bar:
            for done in range(0, n_steps, turn):
                n_sweeps = min(turn, n_steps - done)
                now = beta if beta.shape[1] == 1 else beta[:, done : done + n_sweeps]
                chains = boltzmann.advance(exact, chains, n_sweeps, key=key, beta=now, free=free)
                bar.update(n_sweeps)
        return chains

    def _check_clamp(self, clamp, n_samples: int | None) -> np.ndarray:
        """Return clamped values as 0, 1 and NaN, float64 of one row or n_samples, with a column a visible unit or a unit.

        None is any number of rows but none.
        """
        rows = self._bits_of(clamp, "clamp", n_samples, "values of units, and NaN where one is free")
        if np.asarray(to_host(adopt(clamp))).dtype == bool:
            raise ValueError("clamp must hold values of units, and NaN where one is free, got booleans, maybe meant as a mask")
        return rows

    def _bits_of(self, values, name: str, n_samples: int | None, expected: str) -> np.ndarray:
        """Return rows of visible or of all units as 0, 1 and NaN, of one row or n_samples."""
        try:
            rows = np.atleast_2d(np.asarray(to_host(adopt(values)), np.float64))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be {expected}, got {values!r}") from error
        n_visible, n_units = self.n_features_in_, self.n_features_in_ + self._n_features_out
        numbers = (1, n_samples or max(1, len(rows)))
        if rows.ndim != 2 or rows.shape[0] not in numbers or rows.shape[1] not in (n_visible, n_units):
            widths = " or ".join(map(str, sorted({n_visible, n_units})))
            heights = "1 or more" if n_samples is None else " or ".join(map(str, sorted({1, n_samples})))
            raise ValueError(
                f"{name} must have {heights} row{'s'[: heights != '1']} of {widths} columns, got shape {np.shape(values)}"
            )
        bits = self._to_bits(rows)
        wrong = ~((bits == 0) | (bits == 1) | np.isnan(bits))
        if wrong.any():
            pair = "-1 and 1" if self.spin else "0 and 1"
            free = ", and NaN where a unit is free" if name == "clamp" else ""
            places = f"in {int(wrong.sum())} of {rows.size} places"
            raise ValueError(f"{name} must hold {pair}{free}, got {rows[wrong][0]:g} ({places})")
        return bits

    # ---------------------------------------------------------------------------------------------------------- scores

    def free_energy(self, X):
        """Return the free energy -log Σ_h exp(-energy(v, h)) of each row, in nats; of a fully visible machine its energy.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        free_energy : ndarray of shape (n_samples,)
            ``-free_energy - log Z`` is the log-likelihood. Energies of spins differ by a constant from those of 0 and 1, which
            are meant here.

        Raises
        ------
        ValueError
            When more than 20 hidden units hang together by couplings, so that they cannot be summed out.
        """
        rows = self._check_rows(X)
        with using(home_of(rows)):
            return inference.free_energy(self._machine_on(home_of(rows)), rows)

    def score_samples(self, X):
        """Return the pseudo-likelihood Σ_i log p(v_i | all other v) of each row, in nats: deterministic.

        Exact where hidden units fall into components of at most 12. Beyond, they are taken to be at their mean-field
        probabilities given all of v, and independent, which flatters the machine.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        pseudo_likelihood : ndarray of shape (n_samples,)
        """
        rows = self._check_rows(X)
        with using(home_of(rows)):
            return pseudo_likelihood(self._machine_on(home_of(rows)), rows)

    def score(self, X, y=None):
        """Return the mean pseudo-likelihood of the rows, in nats; larger is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        score : float
        """
        return float(self.score_samples(X).mean())


def _check_binary(rows, name: str) -> None:
    if not bool(((rows == 0) | (rows == 1)).all()):
        raise ValueError(f"{name} must hold only states, 0 and 1 (±1 of spins); draw them with fastbm.datasets.binarise")


def check_schedule(beta, n_samples: int, n_steps) -> tuple[np.ndarray, int]:
    """Return inverse temperatures as float32, (n_samples or 1, n_steps or 1), and the number of sweeps."""
    if n_steps is not None:
        n_steps = _validation.check_count(n_steps, "n_steps", 0)
    if isinstance(beta, Real):
        return _validation.check_beta(beta, n_samples)[None, :], 1000 if n_steps is None else n_steps
    values = _as_numbers(beta)
    if values.ndim == 1:
        of_chains, of_sweeps = len(values) == n_samples, n_steps in (None, len(values))
        if of_chains and of_sweeps and n_steps is not None and len(values) > 1:
            raise ValueError(
                f"beta of shape {values.shape} is one for each chain or one for each sweep, as there are {n_samples} of both; "
                f"give it the shape ({n_samples}, 1) or (1, {n_steps})"
            )
        values = values[:, None] if of_chains else values[None, :]
    if n_steps is None:
        n_steps = values.shape[1] if values.ndim == 2 and values.shape[1] > 1 else 1000
    if values.ndim != 2 or values.shape[0] not in (1, n_samples) or values.shape[1] not in (1, n_steps):
        raise ValueError(
            f"beta must be a number, ({n_samples},) numbers, one a chain, ({n_steps},) numbers, one a sweep, or of a shape "
            f"({n_samples} or 1, {n_steps} or 1), got shape {np.shape(beta)}"
        )
    checked = _validation.check_beta(values.reshape(-1), values.size)
    return checked.reshape(values.shape), n_steps


def _as_numbers(beta) -> Any:
    try:
        return np.asarray(to_host(adopt(beta)), np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"beta must be a number, or numbers for chains or sweeps, got {beta!r}") from error
