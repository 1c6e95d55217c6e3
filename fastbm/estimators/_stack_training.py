"""How a stack of restricted machines is fitted: its layers are estimators, each trained by its own `fit`."""

from __future__ import annotations

from copy import copy
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from tqdm.auto import tqdm

from fastbm import device
from fastbm.chain import Purpose
from fastbm.device import namespace, using
from fastbm.estimators import _monitoring, _training_data, _validation
from fastbm.estimators._stack_fitted import FittedStack
from fastbm.estimators._training import CONSTRAINTS
from fastbm.estimators.rbm import BernoulliRBM
from fastbm.training import greedy

PER_LAYER = (
    "learning_rate", "n_iter", "algorithm", "n_gibbs_steps", "momentum", "l1", "l2", "sparsity_target", "sparsity_cost",
)  # fmt: skip
"""Parameters that may have one value for each layer."""
SHARED = (
    "batch_size", "verbose", "n_chains", "betas", "learning_rate_schedule", "n_gibbs_steps_schedule", "centered",
    "early_stopping", "validation_fraction", "n_iter_no_change", "tol", "shuffle", "warm_start", "device",
)  # fmt: skip
"""Parameters that all layers have alike."""
STACK_CONSTRAINTS: dict[str, list] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    **{name: [*CONSTRAINTS[name], "array-like"] for name in PER_LAYER},
    **{name: CONSTRAINTS[name] for name in (*SHARED, "random_state", "callbacks") if name != "shuffle"},
    "shuffle": ["boolean"],
}


class StackTraining(FittedStack):
    """The training of a stack; public methods stand with it."""

    hidden_layer_sizes: Any
    random_state: Any
    callbacks: Any
    warm_start: bool
    verbose: int
    device: str

    def _fit(self, X, sample_weight=None):
        """Fit to data; an earlier fit is untouched when it fails."""
        fresh = not (self.warm_start and hasattr(self, "rbms_"))
        layers, callbacks = self._layers(fresh), _monitoring.check_callbacks(self.callbacks)
        rows, features = (self._batches(X), {}) if _training_data.is_batches(X) else self._take(X, fresh)

        def fit(number, rows):
            if self.verbose:
                tqdm.write(f"[{type(self).__name__}] Layer {number}, {layers[number].n_components} hidden units")
            seed(layers, number)
            layers[number].callbacks = self._reports(callbacks, layers, number, features) if callbacks else None
            layers[number]._fit(rows, sample_weight)
            layers[number].callbacks = None

        greedy.train(len(layers), rows, fit, partial(means_above, layers))
        return self._set_fitted(layers, features)

    def _partial_fit(self, X, sample_weight=None):
        """Make one update of every layer, or, where `X` is an iterable, one for each batch."""
        fresh = not hasattr(self, "rbms_")
        layers, features = self._layers(fresh), {}

        def fit(number, rows):
            seed(layers, number)
            layers[number]._partial_fit(rows, sample_weight)

        is_iterable = _training_data.is_batches(X)
        if is_iterable and sample_weight is not None:
            raise ValueError("sample_weight needs X as rows, but X is an iterable of batches")
        for number, batch in enumerate(X) if is_iterable else [(None, X)]:
            rows, features = self._take(batch, fresh and not features, number)
            greedy.train(len(layers), rows, fit, partial(means_above, layers))
        if not features:
            raise ValueError("X is an iterable of batches, but it gave none")
        return self._set_fitted(layers, features)

    def _take(self, X, fresh: bool, number: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Return rows, those of batch `number` if any, and the attributes of their features; the estimator is not changed."""
        device.resolve(self.device)  # its errors come first
        recipient = copy(self) if fresh else self  # validate_data writes on its estimator
        if number is None:
            rows = _validation.check_rows(recipient, X, reset=fresh, training=True)
        else:
            rows = _training_data.check_batch(recipient, X, number, reset=fresh)
        return rows, {name: value for name, value in vars(recipient).items() if name.endswith("_in_")}

    def _batches(self, X):
        """Return an iterable of batches; ValueError when it gives them once, and layers above the first need them again."""
        if np.size(self.hidden_layer_sizes) > 1 and iter(X) is X:
            raise ValueError(
                "X is an iterator, which gives its batches once, but each layer needs them; "
                "use an object that can be iterated over again, such as a list of batches"
            )
        return X

    def _reports(self, callbacks, layers, number: int, features):
        """Return what a layer calls after each pass: the callbacks, with the stack as it is so far."""

        def report(machine, record):
            machine.callbacks = None
            above = [layer for layer in layers[number + 1 :] if hasattr(layer, "components_")]
            stack = copy(self)._set_fitted([*layers[:number], machine, *above], features)
            return _monitoring.says_stop(callbacks, stack, {"layer": number, **record})

        return report

    def _set_fitted(self, layers: list[BernoulliRBM], features: dict[str, Any]):
        """Set the fitted attributes; batches have noted their features with the first layer."""
        features = features or {name: value for name, value in vars(layers[0]).items() if name.endswith("_in_")}
        if "feature_names_in_" not in features:
            vars(self).pop("feature_names_in_", None)
        vars(self).update(features)
        self.rbms_ = layers
        return self

    # ---------------------------------------------------------------------------------------------------------- layers

    def _layers(self, fresh: bool) -> list[BernoulliRBM]:
        """Return new machines, or copies of the fitted ones, with the parameters of each layer; ValueError names a bad one."""
        sizes = self._sizes()
        if not fresh and sizes != [layer.components_.shape[0] for layer in self.rbms_]:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes} does not match the layers already fitted, "
                f"{[layer.components_.shape[0] for layer in self.rbms_]}; fit anew, with warm_start=False, to change it"
            )
        values = {name: self._values(name, len(sizes)) for name in PER_LAYER}
        layers = []
        for number, size in enumerate(sizes):
            parameters = {name: getattr(self, name) for name in SHARED} | {name: values[name][number] for name in PER_LAYER}
            layer = BernoulliRBM(size, random_state=self.random_state) if fresh else copy(self.rbms_[number])
            layers.append(layer.set_params(**parameters))
            layer._new_ladder()  # its error is better now
        return layers

    def _sizes(self) -> list[int]:
        """Return the numbers of hidden units; ValueError when they are none."""
        sizes = [self.hidden_layer_sizes] if np.ndim(self.hidden_layer_sizes) == 0 else list(self.hidden_layer_sizes)
        if not sizes or not all(isinstance(size, Integral) and not isinstance(size, bool) and int(size) >= 1 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes must be the numbers of units of one layer or more, at least 1 each, "
                f"got {self.hidden_layer_sizes!r}"
            )
        return [int(size) for size in sizes]

    def _values(self, name: str, n_layers: int) -> list:
        """Return a parameter's value for each layer; ValueError when there are more or fewer, or one is not valid."""
        value, caller = getattr(self, name), type(self).__name__
        if np.ndim(value) == 0:
            values = [value]
        else:
            values = list(value)
            if len(values) != n_layers:
                raise ValueError(
                    f"{name} must be one value, or one for each of the {n_layers} layers of hidden_layer_sizes, got "
                    f"{len(values)}: {value!r}"
                )
        for number, each in enumerate(values):
            of = caller if np.ndim(value) == 0 else f"layer {number}"  # of a stack, or of a network
            validate_parameter_constraints({name: CONSTRAINTS[name]}, {name: each}, caller_name=of)
        return values if len(values) == n_layers else values * n_layers


def seed(layers: list[BernoulliRBM], number: int) -> None:
    """Give a new layer above the first a `random_state` of its own, which follows from the seed of the first."""
    layer = layers[number]
    if number and not hasattr(layer, "components_"):
        entropy = np.random.SeedSequence(layers[0]._seed, spawn_key=(int(Purpose.LAYER), number))
        layer.random_state = int(entropy.generate_state(1, np.uint32)[0])


def means_above(layers: list[BernoulliRBM], number: int, rows) -> Any:
    """Return the hidden means of a fitted layer, float32, of all rows, or of the rows of all batches together."""
    layer = layers[number]
    with using(layer.device_):
        machine = layer._machine_on(layer.device_)
        if not _training_data.is_batches(rows):
            return greedy.hidden_means(machine, rows)
        parts = [greedy.hidden_means(machine, batch) for batch in _training_data.each(layer, rows)]
        return namespace(parts[0]).concatenate(parts)
