"""How a deep Boltzmann machine is fitted: greedy layers if asked for, then passes of joint learning over minibatches."""

from __future__ import annotations

import math
import sys
import time
from copy import copy
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from tqdm.auto import tqdm

from fastbm import chain, device
from fastbm.chain import Purpose
from fastbm.estimators import _monitoring, _training_data, _validation
from fastbm.estimators._dbm_greedy import DoubledRBM, pretrained
from fastbm.estimators._dbm_sampling import DBMSampling
from fastbm.estimators._training import CONSTRAINTS, LARGEST_FLOAT
from fastbm.machines import dbm
from fastbm.machines.dbm import DBM, Chains
from fastbm.training import mean_field, schedules
from fastbm.training.mean_field import State

SHARED = (
    "learning_rate", "batch_size", "n_iter", "verbose", "random_state", "n_gibbs_steps", "n_chains", "momentum", "l1", "l2",
    "learning_rate_schedule", "n_gibbs_steps_schedule", "centered", "callbacks", "warm_start", "device",
)  # fmt: skip
"""Parameters whose constraints are those of restricted machines."""
GREEDY = ("n_iter", "learning_rate", "n_gibbs_steps", "momentum", "sparsity_target", "sparsity_cost")
"""Parameters of greedy training, which may have one value for each layer; their names begin with "pretraining_"."""
DBM_CONSTRAINTS: dict[str, list] = {name: CONSTRAINTS[name] for name in SHARED} | {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "max_norm": [Interval(Real, 0, None, closed="neither"), None],
    "initial_hidden_bias": [Interval(Real, -100, 100, closed="both")],
    "mean_field_tol": [Interval(Real, 0, None, closed="left")],
    "mean_field_max_updates": [Interval(Integral, 1, None, closed="left")],
    "mean_field_damping": [Interval(Real, 0, 1, closed="left")],
    **{f"pretraining_{name}": [*CONSTRAINTS[name], "array-like"] for name in GREEDY},
    "shuffle": ["boolean"],
}
FIRST_WEIGHTS = 0.01
"""Standard deviation of the first weights that lead from the visible layer, as of restricted machines; of those above it is
√(2 / (n_below + n_above)) [1]_, so that layers hear of each other from the start.

.. [1] Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010."""


class DBMTraining(DBMSampling):
    """The training of a machine; public methods stand with it. `_measure` is what progress is measured by."""

    _measure = "reconstruction_error"

    def _fit(self, X, sample_weight=None, **labels):
        """Fit to data; an earlier fit is untouched when it fails."""
        fresh, callbacks = not (self.warm_start and hasattr(self, "coefs_")), _monitoring.check_callbacks(self.callbacks)
        if fresh and any(self._greedy_values()["n_iter"]) and _training_data.is_batches(X) and iter(X) is X:
            raise ValueError(
                "X is an iterator, which gives its batches once, but greedy training needs them for each layer; "
                "use pretraining_n_iter=0, or an object that can be iterated over again, such as a list of batches"
            )
        data, fitted = self._take(X, sample_weight, fresh=fresh, **labels)
        with device.using(fitted["device"]):
            state = self._passes(self._begin(data, fitted, X, sample_weight), data, fitted, callbacks)
            return self._set_fitted(state, **fitted)

    def _partial_fit(self, X, sample_weight=None, **labels):
        """Make one update, or, where `X` is an iterable, one for each batch."""
        data, fitted = self._take(X, sample_weight, fresh=not hasattr(self, "coefs_"), **labels)
        key, warned = chain.stream_key(fitted["seed"], Purpose.TRAINING), False
        with device.using(fitted["device"]):
            state, report = self._begin(data, fitted), Report()
            for rows, numbers, weights, _ in data.minibatches(sys.maxsize):
                state, grey, info = self._update(state, data, rows, numbers, weights, key, *self._settings(0.0))
                report.add(info.positive)
                warned = warned or _training_data.warn_outside(data, rows, grey)
            dbm.check(state.exact)
            fitted["report"] = report.values()
            return self._set_fitted(state, **fitted)

    def _passes(self, state: State, data, fitted, callbacks) -> State:
        """Make `n_iter` passes over the data, or fewer where a callback says so; return the state after them."""
        key, n_iter, size = chain.stream_key(fitted["seed"], Purpose.TRAINING), int(self.n_iter), int(self.batch_size)
        n_batches, warned = data.count(size), fitted.pop("warned", False)
        with tqdm(total=n_batches and n_iter * n_batches, disable=not self.verbose, desc="fitting", mininterval=0.5) as bar:
            for iteration in range(n_iter):
                begin, report, settings = time.perf_counter(), Report(), ()
                if self.shuffle:
                    data.shuffle(fitted["seed"], fitted["n_iter"])
                for rows, numbers, weights, fraction in data.minibatches(size):
                    settings = self._settings((iteration + fraction) / n_iter)
                    state, grey, info = self._update(state, data, rows, numbers, weights, key, *settings)
                    report.add(info.positive)
                    warned = warned or _training_data.warn_outside(data, rows, grey)
                    bar.update()
                dbm.check(state.exact)
                fitted["n_iter"] += 1
                fitted["report"] = report.values()
                record = {"iteration": fitted["n_iter"], **dict(zip(("learning_rate", "n_gibbs_steps"), settings, strict=True))}
                record |= dict(zip(("mean_field_updates", "mean_field_change"), fitted["report"], strict=True))
                record["seconds"] = time.perf_counter() - begin
                if self._after_pass(state, data, fitted, callbacks, record):
                    break
        return state

    def _after_pass(self, state: State, data, fitted, callbacks, record) -> bool:
        """Add a record to the history, show it to who wants to see it; return whether training is to end."""
        fitted["history"].append(record)
        if not (self.verbose or callbacks):
            return False
        machine = copy(self)._set_fitted(state, **fitted)
        record[self._measure] = machine._measured(*data.some(_monitoring.SCORED_ROWS))
        if self.verbose:
            name, measured = self._measure.replace("_", " "), record[self._measure]
            tqdm.write(
                f"[{type(self).__name__}] Iteration {record['iteration']}, {name} = {measured:.4f}, "
                f"{record['mean_field_updates']:.1f} mean-field updates, time = {record['seconds']:.2f}s"
            )
        return _monitoring.says_stop(callbacks, machine, record)

    def _measured(self, rows, numbers) -> float:
        """Return the mean squared error of the reconstruction of rows."""
        rows = rows.toarray() if hasattr(rows, "toarray") else rows
        return float(((self.reconstruct(rows) - rows) ** 2).mean())

    def _settings(self, fraction: float) -> tuple[float, int]:
        """Return the learning rate, and the number of sweeps, when this fraction of a fit is done."""
        rate = float(self.learning_rate) * schedules.factor(self.learning_rate_schedule, fraction)
        return rate, schedules.sweeps(int(self.n_gibbs_steps), self.n_gibbs_steps_schedule, fraction)

    def _update(self, state: State, data, rows, numbers, weights, key, learning_rate, n_steps):
        """Make one update; return the state, whether the minibatch had other values than 0 and 1, and what was used."""
        state, rows = mean_field.prepare(state, rows, data.binary)
        if len(rows.grey) and not (data.range and max(map(abs, data.range)) <= LARGEST_FLOAT):
            _validation.check_finite(self, rows.grey)
        max_norm = None if self.max_norm is None else float(self.max_norm)
        state, info = mean_field.step(
            state, rows, key=key, n_steps=n_steps, learning_rate=learning_rate, momentum=float(self.momentum),
            l1=float(self.l1), l2=float(self.l2), centered=bool(self.centered), max_norm=max_norm, weights=weights,
            **self._phases(state, numbers), **self._how(),
        )  # fmt: skip
        return state, len(rows.grey) > 0, info

    def _phases(self, state: State, numbers) -> dict[str, Any]:
        """Return the phases of an update that labels, given by their numbers, have other ones for."""
        return {}

    # ----------------------------------------------------------------------------------------------------------- begin

    def _sizes(self) -> list[int]:
        """Return the numbers of hidden units; ValueError when they are none."""
        sizes = [self.hidden_layer_sizes] if np.ndim(self.hidden_layer_sizes) == 0 else list(self.hidden_layer_sizes)
        if not sizes or not all(isinstance(size, Integral) and not isinstance(size, bool) and int(size) >= 1 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes must be the numbers of units of one layer or more, at least 1 each, "
                f"got {self.hidden_layer_sizes!r}"
            )
        return [int(size) for size in sizes]

    def _take(self, X, sample_weight=None, *, fresh: bool) -> tuple[Any, dict[str, Any]]:
        """Return the data, and what will be fitted besides the training state; the estimator is not changed."""
        device.resolve(self.device)  # its errors come first
        sizes = self._sizes()
        self._greedy_values()
        recipient = copy(self) if fresh else self  # validate_data writes on its estimator
        data = _training_data.of(recipient, X, sample_weight, reset=fresh)
        fitted: dict[str, Any] = {"n_iter": 0, "history": [], "home": data.home, "report": (np.nan, np.nan)}
        fitted["features"] = {name: value for name, value in vars(recipient).items() if name.endswith("_in_")}
        fitted["device"] = device.resolve(self.device, data.sample)
        if fresh:
            return data, fitted | {"dtype": data.dtype, "seed": _validation.resolve_seed(self.random_state), "pretraining": []}
        self._joint()  # attributes set by hand fit together
        if sizes != [len(bias) for bias in self.intercepts_]:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes} does not match the layers already fitted, "
                f"{[len(bias) for bias in self.intercepts_]}; fit anew, with warm_start=False, to change it"
            )
        n_chains = len(self._chains.layers[0])
        if self.n_chains not in (None, n_chains):
            raise ValueError(
                f"n_chains={self.n_chains} does not match the {n_chains} chains that already run; "
                "fit anew, with warm_start=False, to change it"
            )
        fitted |= {"dtype": _validation.float_of(self.coefs_[0]), "seed": self._seed, "n_iter": self.n_iter_, "goes_on": True}
        return data, fitted | {"history": list(self.history_), "pretraining": self.pretraining_history_}

    def _begin(self, data, fitted, X=None, sample_weight=None) -> State:
        """Move the data to the device; return a training state there, all copies: a fit that fails changes nothing.

        Given `X`, layers are first trained greedily, if they are to be.
        """
        home = fitted["device"]
        data.move(home)
        if fitted.pop("goes_on", False):
            return self._state(home)
        machine = self._initial_machine(data, fitted["seed"])
        machine = dbm.moved(machine, lambda array: device.to_device(array, home))
        if X is not None and any(self._greedy_values()["n_iter"]):
            rows = getattr(data, "X", X)  # checked
            stacked, fitted["pretraining"] = pretrained(
                self, self._greedy_layers(home), rows, sample_weight, fitted["seed"], home
            )
            fitted["warned"], n = True, len(stacked.weights)
            machine = DBM((*stacked.weights, *machine.weights[n:]), (*stacked.biases, *machine.biases[n + 1 :]))
        return mean_field.init(machine, int(self.n_chains or self.batch_size))

    def _greedy_values(self) -> dict[str, list]:
        """Return the parameters of greedy training by their names in a restricted machine, a value for each layer."""
        return {name: self._values(f"pretraining_{name}", CONSTRAINTS[name]) for name in GREEDY}

    def _greedy_layers(self, home: str) -> list[DoubledRBM]:
        """Return new restricted machines to be trained one on the other."""
        shared = {name: getattr(self, name) for name in ("batch_size", "verbose", "shuffle", "l1", "l2", "centered")}
        values = self._greedy_values()
        return [
            DoubledRBM(
                size, algorithm="cd", device=home, learning_rate_schedule="linear", **shared,
                **{name: of_layers[number] for name, of_layers in values.items()},
            )
            for number, size in enumerate(self._sizes())
        ]  # fmt: skip

    def _values(self, name: str, constraints: list) -> list:
        """Return a parameter's value for each layer; ValueError when there are more or fewer, or one is not valid."""
        value, n_layers = getattr(self, name), len(self._sizes())
        values = [value] * n_layers if np.ndim(value) == 0 else list(value)
        if len(values) != n_layers:
            raise ValueError(
                f"{name} must be one value, or one for each of the {n_layers} layers of hidden_layer_sizes, got "
                f"{len(values)}: {value!r}"
            )
        for each in values:
            validate_parameter_constraints({name: constraints}, {name: each}, caller_name=type(self).__name__)
        return values

    def _initial_machine(self, data, seed: int) -> DBM:
        """Return the machine that training starts from, on the CPU."""
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(Purpose.INITIALIZATION),)))
        sizes = [data.n_features, *self._sizes(), *([data.n_labels] if data.n_labels else [])]
        scales = [FIRST_WEIGHTS, *(math.sqrt(2.0 / sum(pair)) for pair in pairwise(sizes[1:]))]
        weights = tuple(
            rng.normal(0.0, scale, pair).astype(np.float32) for scale, pair in zip(scales, pairwise(sizes), strict=True)
        )
        biases = [np.zeros(size, np.float32) for size in sizes]
        for bias in biases[1 : 1 + len(self._sizes())]:
            bias[:] = self.initial_hidden_bias
        return DBM(weights, tuple(biases))

    def _state(self, home: str) -> State:
        """Return a training state on a device, which goes on from the fitted attributes, which may have been set by hand."""

        def take(array, dtype: Any = np.float32):
            return device.to_device(array, home).astype(dtype, order="C", copy=True)

        machine = dbm.moved(self._joint(), take)
        velocity, offsets = self._carried(machine)
        layers = tuple(take(states, np.uint64) for states in self._chains.layers)
        return mean_field.resume(
            machine, velocity and dbm.moved(velocity, take), Chains(layers, self._chains.updates),
            offsets and tuple(map(take, offsets)),
        )  # fmt: skip

    def _carried(self, machine: DBM) -> tuple[DBM | None, tuple | None]:
        """Return the last steps and the offsets; None where parameters set by hand have other shapes."""
        shapes = [[array.shape for array in arrays] for arrays in machine]
        velocity, offsets = self._velocity, self._offsets
        if velocity and [[array.shape for array in arrays] for arrays in velocity] != shapes:
            velocity = None
        return velocity, offsets if offsets and [array.shape for array in offsets] == shapes[1] else None

    def _set_fitted(
        self, state: State, *, seed, n_iter, dtype, features, device, report, pretraining=(), home="cpu", history=()
    ):  # fmt: skip
        """Set all fitted attributes from a training state; arrays go to `home`."""
        if "feature_names_in_" not in features:
            vars(self).pop("feature_names_in_", None)
        vars(self).update(features)
        self._set_parameters(dbm.moved(state.machine, lambda array: _bring(array.astype(dtype), home)))
        self.n_iter_, self.device_, self._seed = n_iter, device, seed
        self.history_, self.pretraining_history_ = list(history), list(pretraining)
        self.n_mean_field_updates_, self.mean_field_change_ = report
        self._chains = state.chains._replace(layers=tuple(_bring(states, home) for states in state.chains.layers))
        self._velocity = state.velocity and dbm.moved(state.velocity, lambda array: _bring(array, home))
        self._offsets = state.offsets and tuple(_bring(offset, home) for offset in state.offsets)
        return self

    def _set_parameters(self, machine: DBM) -> None:
        """Set the attributes that are parameters."""
        self.coefs_, self.intercepts_ = list(machine.weights), list(machine.biases[1:])
        self.intercept_visible_ = machine.biases[0]


class Report:
    """How mean field has gone in a pass: notes stay on the device until they are asked for."""

    def __init__(self):
        self.n_rows, self.n_updates, self.change = 0, 0, 0.0

    def add(self, found) -> None:
        """Add the mean field of a minibatch."""
        xp = device.namespace(found.n_updates)
        self.n_rows += found.n_updates.shape[0]
        self.n_updates = self.n_updates + xp.sum(found.n_updates)
        self.change = xp.maximum(xp.max(found.change), self.change)

    def values(self) -> tuple[float, float]:
        """Return the mean number of updates of a row, and the largest change of a last update; NaN of no rows."""
        return (float(self.n_updates) / self.n_rows, float(self.change)) if self.n_rows else (np.nan, np.nan)


def _bring(array, home: str):
    """Return an array where it is to live, contiguous."""
    return device.to_device(device.namespace(array).ascontiguousarray(array), home)
