"""How restricted Boltzmann machines are fitted: passes over minibatches, from a start or from where the last fit ended."""

from __future__ import annotations

import sys
from copy import copy
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from tqdm.auto import tqdm

from fastbm import chain, device
from fastbm.chain import Purpose
from fastbm.estimators import _training_data, _validation
from fastbm.estimators._fitted import FittedRBM
from fastbm.estimators._monitoring import Monitor
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains
from fastbm.training import ascent, contrastive_divergence, schedules, tempering
from fastbm.training.ascent import Offsets, State

LARGEST_FLOAT = float(np.finfo(np.float32).max)
PHASES = {
    "pcd": contrastive_divergence.persistent,
    "cd": contrastive_divergence.from_data,
    "pt": tempering.tempered,
}
"""The negative phase of each `algorithm`."""
CONSTRAINTS: dict[str, list] = {
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "n_iter": [Interval(Integral, 0, None, closed="left")],
    "verbose": ["verbose"],
    "random_state": ["random_state"],
    "algorithm": [StrOptions(set(PHASES))],
    "n_gibbs_steps": [Interval(Integral, 1, None, closed="left")],
    "n_chains": [Interval(Integral, 1, None, closed="left"), None],
    "betas": [Interval(Integral, 2, None, closed="left"), "array-like"],
    "momentum": [Interval(Real, 0, 1, closed="left")],
    "l1": [Interval(Real, 0, None, closed="left")],
    "l2": [Interval(Real, 0, None, closed="left")],
    "sparsity_target": [Interval(Real, 0, 1, closed="neither"), None],
    "sparsity_cost": [Interval(Real, 0, None, closed="left")],
    "learning_rate_schedule": [StrOptions(set(schedules.SCHEDULES)), callable],
    "n_gibbs_steps_schedule": [StrOptions(set(schedules.GROWTHS)), callable],
    "centered": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "callbacks": [callable, list, tuple, None],
    "warm_start": ["boolean"],
    "device": [str],
}
"""Constraints of the parameters that all restricted machines have."""


class RBMTraining(FittedRBM):
    """The training of an estimator; public methods stand with it.

    `_measure` is what the progress is measured by, with so many `_digits` shown.
    """

    _measure, _digits = "pseudo_likelihood", 2
    _pseudo_likelihood: Any
    learning_rate: float
    n_iter: int
    algorithm: str
    n_gibbs_steps: int
    n_gibbs_steps_schedule: Any
    betas: Any
    momentum: float
    l1: float
    l2: float
    sparsity_target: float | None
    sparsity_cost: float
    centered: bool
    warm_start: bool

    def _fit(self, X, sample_weight=None, **labels):
        """Fit to data; an earlier fit is untouched when it fails. `labels` are for `_take`."""
        data, fitted = self._take(X, sample_weight, fresh=not self.warm_start, **labels)
        with device.using(fitted["device"]):
            return self._set_fitted(self._train(data, fitted), **fitted)

    def _train(self, data, fitted) -> State:
        """Make `n_iter` passes, or fewer where training ends early; return the state after them."""
        monitor = Monitor(self, data, fitted)
        state, key = self._begin(data, fitted), chain.stream_key(fitted["seed"], Purpose.TRAINING)
        n_iter, size = int(self.n_iter), int(self.batch_size)  # NumPy's integers would overflow
        n_batches, warned = data.count(size), False
        total = n_batches and n_iter * n_batches
        with tqdm(total=total, disable=not self.verbose, desc="fitting", unit="batch", mininterval=0.5) as bar:
            for iteration in range(n_iter):
                settings: tuple = ()
                if getattr(self, "shuffle", False):
                    data.shuffle(fitted["seed"], fitted["n_iter"])
                for rows, labels, weights, fraction in data.minibatches(size):
                    settings = self._settings((iteration + fraction) / n_iter)
                    state, grey = self._update(state, data, rows, labels, weights, key, *settings)
                    warned = warned or self._warn(data, rows, grey)
                    bar.update()
                rbm.check(state.exact, state.machine)
                if monitor.after_pass(state, *settings):
                    break
        return monitor.final(state)

    def _partial_fit(self, X, sample_weight=None, **labels):
        """Make one update, or, where `X` is an iterable, one for each batch. `labels` are for `_take`."""
        data, fitted = self._take(X, sample_weight, fresh=False, **labels)
        key, warned = chain.stream_key(fitted["seed"], Purpose.TRAINING), False
        with device.using(fitted["device"]):
            state = self._begin(data, fitted)
            for rows, labels, weights, _ in data.minibatches(sys.maxsize):
                state, grey = self._update(state, data, rows, labels, weights, key, *self._settings(0.0))
                warned = warned or self._warn(data, rows, grey)
            rbm.check(state.exact, state.machine)
            return self._set_fitted(state, **fitted)

    def _take(self, X, sample_weight=None, *, fresh) -> tuple[Any, dict[str, Any]]:
        """Return the data, and what will be fitted besides the training state; the estimator is not changed."""
        fresh = fresh or not hasattr(self, "components_")
        device.resolve(self.device)  # its errors come first
        recipient = copy(self) if fresh else self  # validate_data writes on its estimator
        data = _training_data.of(recipient, X, sample_weight, reset=fresh)
        fitted: dict[str, Any] = {"n_iter": 0, "history": [], "home": data.home}
        fitted["device"] = device.resolve(self.device, data.sample)
        fitted["features"] = {name: value for name, value in vars(recipient).items() if name.endswith("_in_")}
        if fresh:
            return data, fitted | {"dtype": data.dtype, "seed": _validation.resolve_seed(self.random_state)}
        self._machine()  # attributes set by hand fit together
        if self.n_components != self.components_.shape[0]:
            raise ValueError(
                f"n_components={self.n_components} does not match the {self.components_.shape[0]} hidden units already fitted; "
                "fit anew, with warm_start=False, to change it"
            )
        if self.algorithm != "cd" and self.n_chains not in (None, self.h_samples_.shape[0]):
            raise ValueError(
                f"n_chains={self.n_chains} does not match the {self.h_samples_.shape[0]} chains that already run; "
                "fit anew, with warm_start=False, to change it"
            )
        fitted |= {"dtype": _validation.float_of(self.components_), "seed": self._seed, "n_iter": self.n_iter_}
        return data, fitted | {"history": list(self.history_), "gibbs_updates": self._gibbs_updates}

    def _begin(self, data, fitted) -> State:
        """Move the data to the device; return a training state there, all copies: a fit that fails changes nothing."""
        data.move(fitted["device"])
        if "gibbs_updates" in fitted:
            return self._state(fitted["device"])._replace(n_labels=data.n_labels)
        machine = self._initial_machine(data, fitted)
        state = self._initial_state(type(machine)(*(device.to_device(array, fitted["device"]) for array in machine)))
        return state._replace(n_labels=data.n_labels)

    def _initial_machine(self, data, fitted) -> RBM:
        """Return the machine that training starts from, on the CPU."""
        rng = np.random.default_rng(np.random.SeedSequence(fitted["seed"], spawn_key=(int(Purpose.INITIALIZATION),)))
        n_visible = data.n_features + data.n_labels
        weights = rng.normal(0.0, 0.01, (n_visible, self.n_components)).astype(np.float32)
        return RBM(weights, np.zeros(n_visible, np.float32), np.zeros(self.n_components, np.float32))

    def _initial_state(self, machine: RBM) -> State:
        """Return the training state that a machine begins with, which it may change."""
        ladder, n_chains = self._new_ladder(), int(self.n_chains or self.batch_size)
        return self._rule.init(machine, n_chains * (len(ladder.betas) if ladder else 1))._replace(ladder=ladder)

    def _new_ladder(self):
        if self.algorithm != "pt":
            return None
        return tempering.init(_validation.check_ladder(self.betas), adapted=isinstance(self.betas, Integral))

    def _state(self, home="cpu") -> State:
        """Return a training state on a device, which goes on from the fitted attributes, which may have been set by hand."""

        def take(array, dtype: Any = np.float32):
            return device.to_device(array, home).astype(dtype, order="C", copy=True)

        machine = self._machine()
        machine = type(machine)(*map(take, machine))
        self._check_chains()
        velocity, offsets, activity = self._carried()
        velocity, offsets = velocity and type(velocity)(*map(take, velocity)), offsets and Offsets(*map(take, offsets))
        hidden = device.to_device(chain.pack(device.to_host(self.h_samples_)), home)
        visible = take(self._visible_chains, self._visible_chains.dtype)
        chains, ladder = Chains(visible, hidden, self._updates), self._ladder_to_go_on()
        if ladder is not None:
            chains = self._with_tempered(chains, ladder)
        activity = None if activity is None else take(activity)
        return self._rule.resume(machine, velocity, chains, offsets, activity, ladder)

    def _ladder_to_go_on(self):
        """Return the ladder of the last fit where the parameters still ask for it, else a new one, or None."""
        new, last = self._new_ladder(), self._ladder
        if new is None or last is None or last.adapted != new.adapted or len(last.betas) != len(new.betas):
            return new
        return last if new.adapted or np.array_equal(last.betas, new.betas) else new

    def _with_tempered(self, chains: Chains, ladder) -> Chains:
        """Return the chains at β = 1 with those at all the other inverse temperatures behind them."""
        xp, n_more = device.namespace(chains.visible), len(chains.visible) * (len(ladder.betas) - 1)
        if ladder is self._ladder and len(self._tempered[0]) == n_more:
            home = device.home_of(chains.visible)
            others: Any = [device.to_device(states, home) for states in self._tempered]
        else:
            others = [xp.zeros((n_more, states.shape[1]), states.dtype) for states in chains[:2]]
        visible, hidden = (xp.concatenate(pair) for pair in zip(chains[:2], others, strict=True))
        return Chains(visible, hidden, chains.updates)

    def _settings(self, fraction: float) -> tuple[float, int]:
        """Return the learning rate, and the number of sweeps, when this fraction of a fit is done."""
        rate = float(self.learning_rate) * schedules.factor(self.learning_rate_schedule, fraction)
        return rate, schedules.sweeps(int(self.n_gibbs_steps), self.n_gibbs_steps_schedule, fraction)

    def _measured(self, state: State, rows, labels, scaling) -> float:
        """Return how well a machine does on rows, with their labels where there are any: what `_measure` names."""
        return float(self._pseudo_likelihood(state.machine, rows, scaling).mean())

    def _update(self, state, data, rows, labels, weights, key, learning_rate, n_steps):
        """Make one update; return the state, and whether the minibatch had other values than 0 and 1."""
        state, rows = ascent.prepare(state, rows, data.binary, labels)
        if len(rows.grey) and not (data.range and max(map(abs, data.range)) <= LARGEST_FLOAT):
            _validation.check_finite(self, rows.grey)
        target = None if self.sparsity_target is None else float(self.sparsity_target)
        state, _ = ascent.step(
            state, rows, phase=self._phase(), key=key, n_steps=n_steps, learning_rate=learning_rate,
            momentum=float(self.momentum), l1=float(self.l1), l2=float(self.l2), centered=bool(self.centered),
            sparsity_target=target, sparsity_cost=float(self.sparsity_cost), weights=weights,
        )  # fmt: skip
        return state, len(rows.grey) > 0

    def _phase(self):
        """Return the negative phase."""
        return PHASES[self.algorithm]

    def _warn(self, data, rows, grey) -> bool:
        """Warn when values of a minibatch do not lie between 0 and 1; return whether that was said."""
        return _training_data.warn_outside(data, rows, grey)

    def _snapshot(self, state: State, fitted):
        """Return an estimator as if training ended now; training goes on to change its arrays."""
        return copy(self)._set_fitted(state, **fitted)
