"""How a deep belief network is fitted: greedy layers, then untied weights and passes of up–down over minibatches."""

from __future__ import annotations

import sys
import time
from copy import copy
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from tqdm.auto import tqdm

from fastbm import device
from fastbm.estimators import _monitoring, _training_data, _validation
from fastbm.estimators._dbn_fitted import ARRAYS
from fastbm.estimators._dbn_sampling import DBNSampling
from fastbm.estimators._stack_training import PER_LAYER, STACK_CONSTRAINTS, means_above, seed
from fastbm.estimators._training import CONSTRAINTS, LARGEST_FLOAT
from fastbm.estimators.stacked_rbm import StackedRBM
from fastbm.machines import dbn
from fastbm.machines.directed import Layer
from fastbm.training import contrastive_divergence, greedy, minibatches, schedules, up_down
from fastbm.training.up_down import State

GREEDY = (
    "batch_size", "n_chains", "betas", "learning_rate_schedule", "n_gibbs_steps_schedule", "centered", "shuffle", "verbose",
    "device",
)  # fmt: skip
"""Parameters that the greedy training of all layers has alike."""
PHASES = {"cd": contrastive_divergence.from_data, "pcd": contrastive_divergence.persistent}
"""How the top machine is sampled in up–down, by `top_algorithm`."""
DBN_CONSTRAINTS: dict[str, list] = {
    **{name: STACK_CONSTRAINTS[name] for name in ("hidden_layer_sizes", *PER_LAYER, *GREEDY)},
    "up_down_n_iter": [Interval(Integral, 0, None, closed="left")],
    "up_down_learning_rate": [Interval(Real, 0, None, closed="neither")],
    "top_learning_rate": [Interval(Real, 0, None, closed="neither"), None],
    "up_down_learning_rate_schedule": CONSTRAINTS["learning_rate_schedule"],
    "up_down_momentum": CONSTRAINTS["momentum"],
    "up_down_l2": CONSTRAINTS["l2"],
    "top_algorithm": [StrOptions(set(PHASES))],
    "n_top_gibbs_steps": CONSTRAINTS["n_gibbs_steps"],
    "n_top_gibbs_steps_schedule": CONSTRAINTS["n_gibbs_steps_schedule"],
    **{name: CONSTRAINTS[name] for name in ("random_state", "callbacks", "warm_start")},
}


class DBNTraining(DBNSampling):
    """The training of a network; public methods stand with it. `_measure` is what progress is measured by."""

    _measure = "reconstruction_error"

    def _fit(self, X, sample_weight=None, **labels):
        """Fit to data; an earlier fit is untouched when it fails."""
        fresh, callbacks = not (self.warm_start and hasattr(self, "top_")), _monitoring.check_callbacks(self.callbacks)
        if fresh and _training_data.is_batches(X) and iter(X) is X:
            raise ValueError(
                "X is an iterator, which gives its batches once, but each layer, and up-down, need them; "
                "use an object that can be iterated over again, such as a list of batches"
            )
        data, fitted = self._take(X, sample_weight, fresh=fresh, **labels)
        with device.using(fitted["device"]):
            state, fitted = self._begin(X, data, sample_weight, fitted, labels)
            state = self._passes(state, data, fitted, callbacks)
            return self._set_fitted(state, fitted)

    def _partial_fit(self, X, sample_weight=None, **labels):
        """Make one update of up–down, or, where `X` is an iterable, one for each batch."""
        data, fitted = self._take(X, sample_weight, fresh=not hasattr(self, "top_"), **labels)
        with device.using(fitted["device"]):
            state, fitted = self._begin(X, data, sample_weight, fitted, labels, n_iter=0)
            keys = up_down.keys(fitted["seed"], len(state.recognition))
            warned = False
            for rows, numbers, weights, _ in data.minibatches(sys.maxsize):
                state, grey = self._update(state, data, rows, numbers, weights, keys, *self._settings(0.0))
                warned = warned or _training_data.warn_outside(data, rows, grey)
            up_down.check(state)
            return self._set_fitted(state, fitted)

    def _passes(self, state: State, data, fitted, callbacks) -> State:
        """Make `up_down_n_iter` passes over the data, or fewer where a callback says so; return the state after them."""
        keys, n_iter = up_down.keys(fitted["seed"], len(state.recognition)), int(self.up_down_n_iter)
        size = int(self.batch_size)
        n_batches, warned = data.count(size), bool(fitted.get("warned"))
        with tqdm(total=n_batches and n_iter * n_batches, disable=not self.verbose, desc="up-down", unit="batch") as bar:
            for iteration in range(n_iter):
                begin, settings = time.perf_counter(), ()
                if self.shuffle:
                    data.shuffle(fitted["seed"], fitted["n_iter"])
                for rows, numbers, weights, fraction in data.minibatches(size):
                    settings = self._settings((iteration + fraction) / n_iter)
                    state, grey = self._update(state, data, rows, numbers, weights, keys, *settings)
                    warned = warned or _training_data.warn_outside(data, rows, grey)
                    bar.update()
                up_down.check(state)
                fitted["n_iter"] += 1
                record = dict(zip(("learning_rate", "top_learning_rate", "n_gibbs_steps"), settings, strict=True))
                record = {"iteration": fitted["n_iter"], **record, "seconds": time.perf_counter() - begin}
                if self._after_pass(state, data, fitted, callbacks, record):
                    break
        return state

    def _after_pass(self, state: State, data, fitted, callbacks, record) -> bool:
        """Add a record to the history, show it to who wants to see it; return whether training is to end."""
        fitted["history"].append(record)
        if not (self.verbose or callbacks):
            return False
        network = copy(self)._set_fitted(state, fitted)
        record[self._measure] = network._measured(*data.some(_monitoring.SCORED_ROWS))
        if self.verbose:
            name, measured = self._measure.replace("_", " "), record[self._measure]
            tqdm.write(
                f"[{type(self).__name__}] Iteration {record['iteration']}, {name} = {measured:.4f}, "
                f"time = {record['seconds']:.2f}s"
            )
        return _monitoring.says_stop(callbacks, network, record)

    def _measured(self, rows, numbers) -> float:
        """Return the mean squared error of the reconstruction of rows."""
        rows = rows.toarray() if hasattr(rows, "toarray") else rows
        return float(((self.reconstruct(rows) - rows) ** 2).mean())

    def _settings(self, fraction: float) -> tuple[float, float, int]:
        """Return the learning rates, and the number of sweeps of the top machine, when this fraction of a fit is done."""
        factor = schedules.factor(self.up_down_learning_rate_schedule, fraction, "up_down_learning_rate_schedule")
        of_top = self.up_down_learning_rate if self.top_learning_rate is None else self.top_learning_rate
        sweeps = int(self.n_top_gibbs_steps), self.n_top_gibbs_steps_schedule
        n_steps = schedules.sweeps(*sweeps, fraction, "n_top_gibbs_steps_schedule")
        return factor * float(self.up_down_learning_rate), factor * float(of_top), n_steps

    def _update(self, state: State, data, rows, numbers, weights, keys, learning_rate, top_learning_rate, n_steps):
        """Make one update; return the state, and whether the minibatch had other values than 0 and 1."""
        home = device.home_of(state.top.machine.weights)
        space = minibatches.space(rows.shape[0], data.n_features, device.module_of(home))
        batch = minibatches.prepare(rows, space, data.binary)
        if len(batch.grey) and not (data.range and max(map(abs, data.range)) <= LARGEST_FLOAT):
            _validation.check_finite(self, batch.grey)
        state = up_down.step(
            state, batch, numbers, phase=PHASES[self.top_algorithm], keys=keys, n_steps=n_steps, learning_rate=learning_rate,
            top_learning_rate=top_learning_rate, momentum=float(self.up_down_momentum), l2=float(self.up_down_l2),
            weights=weights,
        )  # fmt: skip
        return state, len(batch.grey) > 0

    # ----------------------------------------------------------------------------------------------------------- begin

    def _take(self, X, sample_weight=None, *, fresh: bool) -> tuple[Any, dict[str, Any]]:
        """Return the data, and what will be fitted besides the training state; the estimator is not changed."""
        device.resolve(self.device)  # its errors come first
        self._stack()._layers(fresh=True)  # so do those of parameters with a value for each layer
        recipient = copy(self) if fresh else self  # validate_data writes on its estimator
        data = _training_data.of(recipient, X, sample_weight, reset=fresh)
        fitted: dict[str, Any] = {"n_iter": 0, "history": [], "home": data.home, "updates": 0, "velocity": None}
        fitted["features"] = {name: value for name, value in vars(recipient).items() if name.endswith("_in_")}
        if not fresh:
            self._machine()  # attributes set by hand fit together
            sizes = [*(len(bias) for bias in self.intercepts_), self._n_features_out]
            if self._stack()._sizes() != sizes:
                raise ValueError(
                    f"hidden_layer_sizes={self.hidden_layer_sizes} does not match the layers already fitted, {sizes}; "
                    "fit anew, with warm_start=False, to change it"
                )
            fitted |= {"n_iter": self.n_iter_, "history": list(self.history_), "greedy": self.pretraining_history_}
            fitted |= {"updates": self._updates, "velocity": self._velocity, "top": self.top_, "seed": self._seed}
        fitted["device"] = device.resolve(self.device, data.sample)
        return data, fitted

    def _begin(self, X, data, sample_weight, fitted, labels, n_iter=None) -> tuple[State, dict]:
        """Return the training state that up–down begins with, all copies, after greedy training where there is none yet."""
        home = fitted["device"]
        if "top" in fitted:
            machine, top = self._machine(), fitted["top"]
        else:
            rows = data.sample if n_iter == 0 else getattr(data, "X", X)  # checked; batches that come once are not to be lost
            machine, top, of_first, records = self._greedy(rows, sample_weight, labels, n_iter)
            fitted |= {"top": top, "greedy": records, "seed": of_first._seed, "warned": of_first.n_iter_ > 0}
        data.move(home)
        machine = dbn.moved(machine, lambda array: device.to_device(array, home).astype(np.float32, order="C", copy=True))
        velocity = fitted["velocity"] and tuple(
            tuple(Layer(*(device.to_device(array, home).copy() for array in layer)) for layer in layers)
            for layers in fitted["velocity"]
        )
        state = top._state(home)._replace(n_labels=data.n_labels, ladder=None)
        return up_down.init(machine, state, velocity, fitted["updates"]), fitted

    def _greedy(self, X, sample_weight, labels, n_iter):
        """Train layer on layer; return the network of them, the machine on top, the lowest one, and the records of all passes.

        The machine on top is trained as the others, on the means of the layer below it, and on the labels.
        """
        stack = self._stack() if n_iter is None else self._stack().set_params(n_iter=n_iter)
        layers = stack._layers(fresh=True)
        known = self._top_class().get_params()
        layers[-1] = self._top_class(**{name: value for name, value in layers[-1].get_params().items() if name in known})

        def fit(number, rows):
            if self.verbose:
                tqdm.write(f"[{type(self).__name__}] Layer {number}, {layers[number].n_components} hidden units")
            seed(layers, number)
            layers[number]._fit(rows, sample_weight, **(labels if number == len(layers) - 1 else {}))

        greedy.train(len(layers), X, fit, partial(means_above, layers))
        records = [{"layer": number, **record} for number, layer in enumerate(layers) for record in layer.history_]
        return dbn.untied([layer._machine() for layer in layers]), layers[-1], layers[0], records

    def _stack(self) -> StackedRBM:
        """Return the stack that greedy training trains, but for its top."""
        return StackedRBM(**{name: getattr(self, name) for name in ("hidden_layer_sizes", "random_state", *PER_LAYER, *GREEDY)})

    def _set_fitted(self, state: State, fitted):
        """Set all fitted attributes from a training state; arrays go to where the data came from."""
        home, last = fitted["home"], fitted["top"]

        def bring(array):
            return device.to_device(array, home)

        features = {name: value for name, value in vars(last).items() if name.endswith("_in_") or name == "classes_"}
        dtype, self.top_ = _validation.float_of(last.components_), copy(last)
        self.top_._set_fitted(
            state.top, seed=last._seed, n_iter=last.n_iter_, dtype=dtype, features=features, device=fitted["device"], home=home,
            gibbs_updates=last._gibbs_updates, history=last.history_,
        )  # fmt: skip
        if "feature_names_in_" not in fitted["features"]:
            vars(self).pop("feature_names_in_", None)
        vars(self).update(fitted["features"])
        up, down = ([learner.exact.layer for learner in learners] for learners in state[:2])
        arrays = (
            [layer.weights for layer in up], [layer.bias for layer in up],
            [layer.weights for layer in down], [layer.bias for layer in down],
        )  # fmt: skip
        for name, of_layers in zip(ARRAYS, arrays, strict=True):
            setattr(self, name, [bring(array.astype(dtype)) for array in of_layers])
        lasts = [[learner.velocity for learner in learners] for learners in state[:2]]
        self._velocity = None
        if all(velocity is not None for velocities in lasts for velocity in velocities):
            self._velocity = tuple(tuple(Layer(*map(bring, last or ())) for last in of_side) for of_side in lasts)
        self.n_iter_, self.history_, self.pretraining_history_ = fitted["n_iter"], list(fitted["history"]), fitted["greedy"]
        self._seed, self._updates, self.device_ = fitted["seed"], state.updates, fitted["device"]
        return self
