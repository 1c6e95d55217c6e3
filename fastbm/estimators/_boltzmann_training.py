"""How general Boltzmann machines are fitted: passes over minibatches, from a start or from where the last fit ended."""

from __future__ import annotations

import sys
from copy import copy
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from tqdm.auto import tqdm

from fastbm import chain, device, kernels
from fastbm.chain import Purpose
from fastbm.estimators import _couplings, _training_data, _validation
from fastbm.estimators._boltzmann_fitted import FittedBoltzmann
from fastbm.estimators._monitoring import Monitor
from fastbm.estimators._training import CONSTRAINTS as OF_RESTRICTED
from fastbm.evaluation.graphs import pseudo_likelihood
from fastbm.machines import boltzmann
from fastbm.machines.boltzmann import Boltzmann, Chains
from fastbm.machines.layout import layout_of
from fastbm.training import moments, schedules
from fastbm.training.moments import Rule, State

SHARED = (
    "learning_rate", "batch_size", "n_iter", "verbose", "random_state", "n_gibbs_steps", "momentum", "l1", "l2",
    "learning_rate_schedule", "n_gibbs_steps_schedule", "centered", "early_stopping", "validation_fraction", "n_iter_no_change",
    "tol", "callbacks", "warm_start", "device",
)  # fmt: skip
"""Parameters whose constraints are those of restricted machines."""
CONSTRAINTS: dict[str, list] = {name: OF_RESTRICTED[name] for name in SHARED} | {
    "n_hidden": [Interval(Integral, 0, None, closed="left")],
    "mask": ["array-like", "sparse matrix", None],
    "spin": ["boolean"],
    "n_chains": [Interval(Integral, 1, None, closed="left")],
    "data_phase": [StrOptions({"gibbs", "mean_field"})],
    "n_data_steps": [Interval(Integral, 1, None, closed="left")],
    "hidden_first": [Interval(Real, 0, 1, closed="left")],
}


class BoltzmannTraining(FittedBoltzmann):
    """The training of an estimator; public methods stand with it."""

    _measure, _digits = "pseudo_likelihood", 2
    batch_size: int
    n_iter: int
    n_chains: int
    learning_rate: float
    learning_rate_schedule: Any
    n_gibbs_steps: int
    n_gibbs_steps_schedule: Any
    data_phase: str
    n_data_steps: int
    hidden_first: float
    momentum: float
    l1: float
    l2: float
    centered: bool
    warm_start: bool
    device: str

    def _fit(self, X, sample_weight=None):
        """Fit to data; an earlier fit is untouched when it fails."""
        data, fitted = self._take(X, sample_weight, fresh=not self.warm_start)
        with device.using(fitted["device"]):
            return self._set_fitted(self._train(data, fitted), **fitted)

    def _train(self, data, fitted) -> State:
        """Make `n_iter` passes, or fewer where training ends early; return the state after them."""
        monitor: Any = BoltzmannMonitor(self, data, fitted)
        state = self._begin(data, fitted)
        held = 0.0 if "gibbs_sweeps" in fitted else self._held(state)  # a warm start goes on
        n_iter, size, warned = int(self.n_iter), int(self.batch_size), False
        n_batches = data.count(size)
        with tqdm(total=n_batches and n_iter * n_batches, disable=not self.verbose, desc="fitting", mininterval=0.5) as bar:
            for iteration in range(n_iter):
                rule = self._rule(iteration / n_iter)
                for rows, *_, weights, fraction in data.minibatches(size):
                    done = (iteration + fraction) / n_iter
                    rule = self._rule(done, hold=done < held)
                    state, outside = self._update(state, rows, weights, fitted["seed"], rule)
                    warned = warned or self._warn(outside)
                    bar.update()
                if monitor.after_pass(state, rule.learning_rate, rule.n_steps):
                    break
        return monitor.final(state)

    def _partial_fit(self, X, sample_weight=None):
        """Make one update, or, where `X` is an iterable, one for each batch."""
        data, fitted = self._take(X, sample_weight, fresh=False)
        warned = False
        with device.using(fitted["device"]):
            state = self._begin(data, fitted)
            for rows, *_, weights, _ in data.minibatches(sys.maxsize):
                state, outside = self._update(state, rows, weights, fitted["seed"], self._rule(0.0))
                warned = warned or self._warn(outside)
            return self._set_fitted(state, **fitted)

    def _take(self, X, sample_weight=None, *, fresh) -> tuple[Any, dict[str, Any]]:
        """Return the data, and what will be fitted besides the training state; the estimator is not changed."""
        fresh = fresh or not hasattr(self, "weights_")
        device.resolve(self.device)  # its errors come first
        recipient = copy(self) if fresh else self  # validate_data writes on its estimator
        data = _training_data.of(recipient, X, sample_weight, reset=fresh)
        fitted: dict[str, Any] = {"n_iter": 0, "history": [], "home": data.home}
        fitted["device"] = device.resolve(self.device, data.sample)
        fitted["features"] = {name: value for name, value in vars(recipient).items() if name.endswith("_in_")}
        if fresh:
            fitted |= {"dtype": data.dtype, "seed": _validation.resolve_seed(self.random_state)}
            return data, fitted | {"is_sparse": _couplings.is_sparse(self.mask)}
        machine = self._machine()  # attributes set by hand fit together
        for name, now in (("n_hidden", self._n_features_out), ("n_chains", len(self._chains.states[0]))):
            if getattr(self, name) != now:
                raise ValueError(
                    f"{name}={getattr(self, name)} does not match the {now} of the last fit; "
                    "fit anew, with warm_start=False, to change it"
                )
        if not self._allows_what_is_there(machine):
            raise ValueError("mask allows other couplings than the last fit had; fit anew, with warm_start=False, to change it")
        fitted |= {"dtype": _validation.float_of(self.weights_), "seed": self._seed, "n_iter": self.n_iter_}
        fitted["is_sparse"] = self._is_sparse
        return data, fitted | {"history": list(self.history_), "gibbs_sweeps": self._gibbs_sweeps}

    def _allows_what_is_there(self, machine: Boltzmann) -> bool:
        """Whether `mask` allows the couplings of the last fit, and no others."""
        n_visible, n_units = machine.visible_bias.size, boltzmann.n_units(machine)
        if self.mask is None:
            return 2 * len(self.edges_) == n_units * (n_units - 1)
        graph = _couplings.graph_of_mask(self.mask, n_visible, n_units)
        return all(map(np.array_equal, graph[2:], self.edges_.T))

    def _begin(self, data, fitted) -> State:
        """Move the data to the device; return a training state there, all copies: a fit that fails changes nothing."""
        home = fitted["device"]
        data.move(home)
        if "gibbs_sweeps" in fitted:
            return self._state(home)
        n_hidden = int(self.n_hidden)
        n_units = data.n_features + n_hidden
        graph = _couplings.graph_of_mask(self.mask, data.n_features, n_units)
        rng = np.random.default_rng(np.random.SeedSequence(fitted["seed"], spawn_key=(int(Purpose.INITIALIZATION),)))
        weights = rng.normal(0.0, 0.01, len(graph.first)).astype(np.float32)
        biases = np.zeros(data.n_features, np.float32), np.zeros(n_hidden, np.float32)
        machine = Boltzmann(*(device.to_device(array, home) for array in (weights, *biases, graph.first, graph.second)))
        return moments.init(machine, layout_of(graph), int(self.n_chains))

    def _state(self, home: str) -> State:
        """Return a training state on a device, which goes on from the fitted attributes, which may have been set by hand."""

        def take(array):
            return device.to_device(array, home).astype(np.float32, copy=True)

        last, chains = self._machine(), self._chains
        machine = Boltzmann(*map(take, last[:3]), *(device.to_device(ends, home) for ends in last[3:]))
        states = tuple(device.to_device(part, home).copy() for part in chains.states)
        velocity, offsets = self._velocity and tuple(map(take, self._velocity)), self._offsets
        offsets = None if offsets is None else take(offsets)
        exact = boltzmann.rounded(machine, self._layout())
        return State(machine, exact, Chains(states, chains.sweeps), velocity, offsets, self._clamped)

    def _held(self, state: State) -> float:
        """Return the fraction of a fit in which couplings between visible units are held."""
        n_visible, n_units, _, second = state.exact.layout.graph
        most_are_coupled = 4 * int((second < n_visible).sum()) >= n_visible * (n_visible - 1)
        return float(self.hidden_first) if n_visible < n_units and most_are_coupled else 0.0

    def _rule(self, fraction: float, hold: bool = False) -> Rule:
        """Return how updates are made when this fraction of a fit is done; whether couplings of visible units are held."""
        rate = float(self.learning_rate) * schedules.factor(self.learning_rate_schedule, fraction)
        n_steps = schedules.sweeps(int(self.n_gibbs_steps), self.n_gibbs_steps_schedule, fraction)
        return Rule(
            n_steps, rate, self.data_phase, int(self.n_data_steps), float(self.momentum), float(self.l1), float(self.l2),
            bool(self.centered), hold,
        )  # fmt: skip

    def _update(self, state: State, rows, weights, seed, rule: Rule):
        """Make one update; return the state, and what values lie outside the unit interval, None where none does."""
        home = device.home_of(state.machine.weights)
        rows = device.to_device(rows.toarray() if hasattr(rows, "toarray") else rows, home)
        v = self._to_bits(rows.astype(np.float32))
        outside = None
        if not bool(((v == 0) | (v == 1)).all()):
            _validation.check_finite(self, v)
            low, high = float(rows.min()), float(rows.max())
            bits_for_spins = self.spin and bool(((rows == 0) | (rows == 1)).all())
            outside = (low, high) if float(v.min()) < 0 or float(v.max()) > 1 or bits_for_spins else None
            v = _drawn(v, chain.stream_key(seed, Purpose.BINARISATION), state.chains.sweeps)
        keys = {"key": chain.stream_key(seed, Purpose.TRAINING), "clamped_key": chain.stream_key(seed, Purpose.CLAMPED)}
        return moments.step(state, v, rule, weights=weights, **keys), outside

    def _warn(self, outside) -> bool:
        """Warn when values of a minibatch are none of binary units, or of spins; return whether that was said."""
        if outside is None:
            return False
        if self.spin:
            return _validation.warn_of_spins(*outside)
        return _validation.warn_outside_unit_interval(*outside)

    def _snapshot(self, state, fitted):
        """Return an estimator as if training ended now; training goes on to change its arrays."""
        return copy(self)._set_fitted(state, **fitted)


def _drawn(v, key, update: int):
    """Return rows of 0 and 1 drawn with the probabilities `v`, cut to [0, 1]: another draw for each update."""
    xp, (n_rows, n_visible) = device.namespace(v), v.shape
    p = xp.clip(v, 1e-30, 1.0)
    logits = xp.zeros((n_rows, chain.padded(n_visible)), dtype=np.float32)
    logits[:, :n_visible] = xp.clip(xp.log(p) - xp.log(xp.maximum(1 - p, np.float32(1e-30))), -87, 87)
    states = xp.zeros((n_rows, chain.padded(n_visible) // chain.WORD), dtype=np.uint64)
    free = device.to_device(chain.pack(np.ones((1, n_visible), bool)), device.home_of(v))
    kernels.draw(states, logits, free, key=key, first_chain=0, update=update)
    return kernels.unpack(states, n_visible, np.float32)


class BoltzmannMonitor(Monitor):
    """Takes the notes of one call of `fit`, of a general machine."""

    best: Any

    def final(self, state) -> Any:
        """Return the state that was best on the held-out rows; without any, the last one."""
        return state if self.best is None else self.best

    def _score(self, state, *rows) -> float:
        X = rows[0].toarray() if hasattr(rows[0], "toarray") else rows[0]
        X = device.to_device(X, device.home_of(state.machine.weights))
        return float(pseudo_likelihood(state.machine, self.estimator._to_bits(X)).mean())

    def _is_enough(self, state, record) -> bool:
        """Note the best state; return whether there was none for `n_iter_no_change` passes."""
        if self.held_out is None:
            return False
        score = record["validation_score"]
        self.passes_without_gain = 0 if score > self.best_score + self.estimator.tol else self.passes_without_gain + 1
        if score > self.best_score:
            self.best_score, self.best = score, _copy(state)
        return self.passes_without_gain >= self.estimator.n_iter_no_change


def _copy(state) -> State:
    """Return a copy of all that training changes in place; its rounding is that of the parameters."""
    machine = Boltzmann(*(array.copy() for array in state.machine))
    chains = state.chains._replace(states=tuple(part.copy() for part in state.chains.states))
    return state._replace(machine=machine, chains=chains)
