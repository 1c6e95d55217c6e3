"""How adversarial networks are fitted: passes over minibatches, records of each, and an end where they diverge."""

from __future__ import annotations

import math
import sys
import time
from copy import copy
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from tqdm.auto import tqdm

from fastbm import chain, device
from fastbm.chain import Purpose
from fastbm.estimators import _monitoring, _training_data, _validation
from fastbm.estimators._adversarial_fitted import FittedAdversary, moved_moments
from fastbm.machines.gan import PRIORS, Hidden
from fastbm.nn import initializers
from fastbm.nn.maxout import MOST_PIECES
from fastbm.nn.network import CHUNK, Network
from fastbm.training import adversarial, schedules
from fastbm.training.adversarial import Rule, State
from fastbm.training.descent import Adam, Momentum

OPTIMIZERS = ("adam", "sgd")
RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "identity": (-np.inf, np.inf)}
"""What generators with these outputs can draw."""
HIDDEN = ("relu", "leaky_relu", "tanh", "sigmoid", "maxout")
LARGEST = float(np.finfo(np.float32).max)
"""The largest number that networks can be shown."""
RECORDED = 256
"""Steps after which figures come to the host, and are looked at."""
POPULATION = 10_000
"""Rows, of data or drawn, that the moments of batch normalisation are estimated from."""
CONSTRAINTS: dict[str, list] = {
    "latent_dim": [Interval(Integral, 1, None, closed="left")],
    "generator_layer_sizes": ["array-like"],
    "discriminator_layer_sizes": ["array-like"],
    "loss": [StrOptions(set(adversarial.LOSSES))],
    "prior": [StrOptions(set(PRIORS))],
    "output": [StrOptions(set(RANGES))],
    "generator_activation": [StrOptions(set(HIDDEN))],
    "discriminator_activation": [StrOptions(set(HIDDEN))],
    "leaky_slope": [Interval(Real, 0, 1, closed="both")],
    "n_maxout_pieces": [Interval(Integral, 2, MOST_PIECES, closed="both")],
    "batch_norm": ["boolean"],
    "discriminator_batch_norm": ["boolean"],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "initial": [StrOptions(set(initializers.NAMES)), Interval(Real, 0, None, closed="neither")],
    "optimizer": [StrOptions(set(OPTIMIZERS))],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "discriminator_learning_rate": [Interval(Real, 0, None, closed="neither"), None],
    "learning_rate_schedule": [StrOptions(set(schedules.SCHEDULES)), callable],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "momentum": [Interval(Real, 0, 1, closed="left")],
    "l2": [Interval(Real, 0, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "n_iter": [Interval(Integral, 0, None, closed="left")],
    "shuffle": ["boolean"],
    "verbose": ["verbose"],
    "random_state": ["random_state"],
    "callbacks": [callable, list, tuple, None],
    "warm_start": ["boolean"],
    "device": [str],
}
"""Constraints of the parameters that all adversarial networks have."""


class AdversarialTraining(FittedAdversary):
    """The training of an estimator; public methods stand with it.

    An estimator has `_step`, the training rule, `_figures`, what that reports, and `_layers(n_features)`, the layers of each
    of its networks.
    """

    _step: Any
    _figures: tuple[str | None, ...]

    _n_population = POPULATION

    pack = 1
    n_discriminator_steps = 1
    label_smoothing = 0.0
    instance_noise = 0.0
    loss: str
    output: str
    leaky_slope: float
    n_maxout_pieces: int
    batch_norm: bool
    discriminator_batch_norm: bool
    dropout: float
    initial: Any
    optimizer: str
    learning_rate: float
    discriminator_learning_rate: float | None
    learning_rate_schedule: Any
    beta_1: float
    beta_2: float
    momentum: float
    l2: float
    batch_size: int
    n_iter: int
    shuffle: bool
    verbose: int
    callbacks: Any
    warm_start: bool

    def _layers(self, n_features: int) -> tuple[list, ...]:
        raise NotImplementedError

    def _estimate(self, machine, rows, key) -> None:
        raise NotImplementedError

    def _shown(self, rows, space=None):
        """Return rows of the data as the networks see them, in an array of `space` where one is needed and that is given."""
        return rows

    def _outside(self, low: float, high: float, dtype) -> str:
        """Return what to say of data with values between these, which samples cannot have; nothing where they can."""
        least, most = RANGES[self.output]
        if low >= least - _validation.ROUNDING and high <= most + _validation.ROUNDING:
            return ""
        return (
            f"a generator with output={self.output!r} draws values between {least:g} and {most:g} (scale X, or choose another "
            "output)"
        )

    def _hidden(self, activation: str, batch_norm: bool, dropout: float = 0.0) -> Hidden:
        """Return what the hidden layers of a network are made of."""
        return Hidden(activation, float(self.leaky_slope), bool(batch_norm), float(dropout), int(self.n_maxout_pieces))

    def _sizes(self, name: str) -> tuple[int, ...]:
        """Return the sizes of hidden layers; ValueError when they are none."""
        try:
            sizes = np.asarray(getattr(self, name))
        except ValueError:  # rows of different lengths
            sizes = np.empty((0, 0))
        if sizes.ndim != 1 or (sizes.size and (sizes.dtype.kind not in "iu" or (sizes < 1).any())):
            raise ValueError(f"{name} must be integers of at least 1, one for each hidden layer, got {getattr(self, name)!r}")
        return tuple(int(size) for size in sizes)

    def _rule(self) -> Rule:
        if self.optimizer == "adam":
            optimizer: Adam | Momentum = Adam(float(self.beta_1), float(self.beta_2))
        else:
            optimizer = Momentum(float(self.momentum))
        return Rule(
            int(self.n_discriminator_steps), self.loss, self.prior, int(self.pack), 1.0 - float(self.label_smoothing),
            float(self.l2), optimizer, float(self.instance_noise),
        )  # fmt: skip

    def _rates(self, fraction: float) -> tuple[float, ...]:
        """Return the learning rate of each network, the discriminator's last, when this fraction of a fit is done."""
        factor = schedules.factor(self.learning_rate_schedule, fraction)
        of_discriminator = self.learning_rate if self.discriminator_learning_rate is None else self.discriminator_learning_rate
        others = (float(self.learning_rate) * factor,) * (len(self._networks) - 1)
        return *others, float(of_discriminator) * factor

    # ----------------------------------------------------------------------------------------------------------- passes

    def _fit(self, X):
        """Fit to data; an earlier fit is untouched when the first pass fails."""
        fresh = not (self.warm_start and hasattr(self, "generator_"))
        data, fitted = self._take(X, fresh)
        with device.using(fitted["device"]):
            return self._set_fitted(self._train(data, fitted, fresh), **fitted)

    def _train(self, data, fitted, fresh: bool) -> State:
        """Make `n_iter` passes, or fewer where a callback ends them; return the state after them."""
        n_iter, size, callbacks = int(self.n_iter), int(self.batch_size), _monitoring.check_callbacks(self.callbacks)
        training, n_batches = Training(self, data, fitted, fresh), data.count(size)
        total = n_batches and n_iter * n_batches
        with tqdm(total=total, disable=not self.verbose, desc="fitting", unit="batch", mininterval=0.5) as bar:
            for iteration in range(n_iter):
                if self.shuffle:
                    data.shuffle(fitted["seed"], fitted["n_iter"])
                for rows, _, _, fraction in data.minibatches(size):
                    training.update(rows, (iteration + fraction) / n_iter)
                    bar.update()
                if training.after_pass(callbacks):
                    break
        return training.finished()

    def _partial_fit(self, X):
        """Make one step, or, where `X` is an iterable, one for each batch."""
        fresh = not hasattr(self, "generator_")
        data, fitted = self._take(X, fresh)
        with device.using(fitted["device"]):
            training = Training(self, data, fitted, fresh)
            for rows, _, _, _ in data.minibatches(sys.maxsize):
                training.update(rows, 0.0)
            training.look()
            return self._set_fitted(training.finished(), **fitted)

    def _take(self, X, fresh: bool) -> tuple[Any, dict[str, Any]]:
        """Return the data, and what will be fitted besides the training state; the estimator is not changed."""
        device.resolve(self.device)  # its errors come first
        recipient = copy(self) if fresh else self  # validate_data writes on its estimator
        data = _training_data.of(recipient, X, reset=fresh)
        fitted: dict[str, Any] = {"n_iter": 0, "history": [], "home": data.home}
        fitted["device"] = device.resolve(self.device, data.sample)
        fitted["features"] = {name: value for name, value in vars(recipient).items() if name.endswith("_in_")}
        if fresh:
            return data, fitted | {"seed": _validation.resolve_seed(self.random_state)}
        return data, fitted | {"seed": self._seed, "n_iter": self.n_iter_, "history": list(self.history_)}

    def _begin(self, n_features: int, fitted, fresh: bool) -> State:
        """Return a training state on the device, all copies: a fit that fails changes nothing."""
        layers = tuple(tuple(each) for each in self._layers(n_features))
        if fresh:
            initial = self.initial if isinstance(self.initial, str) else float(self.initial)
            seeds = [
                np.random.SeedSequence(fitted["seed"], spawn_key=(int(Purpose.INITIALIZATION), number))
                for number in range(len(layers))
            ]
            networks = [Network.initial(*each, initial) for each in zip(layers, seeds, strict=True)]
            return adversarial.init(self._kind(*(network.to(fitted["device"]) for network in networks)), self._rule())
        machine = self._machine()
        if tuple(network.layers for network in machine) != layers:
            raise ValueError(
                "the layers that the parameters ask for are not those already fitted; fit anew, with warm_start=False, to "
                "change them"
            )
        machine = self._kind(*(network.copy().to(fitted["device"]) for network in machine))
        state = adversarial.init(machine, self._rule())
        moments = moved_moments(self._moments, fitted["device"])
        if [each.second.shape for each in moments] != [each.second.shape for each in state.moments]:
            return state._replace(updates=self._updates)  # another optimizer, which begins anew
        return state._replace(moments=moments, updates=self._updates).copy()


class Training:
    """One call of `fit` or `partial_fit`: its state, what its steps report, and the state after the last good pass."""

    def __init__(self, estimator: AdversarialTraining, data, fitted: dict[str, Any], fresh: bool):
        self.estimator, self.data, self.fitted, self.rule = estimator, data, fitted, estimator._rule()
        data.move(fitted["device"])
        self.state = estimator._begin(data.n_features, fitted, fresh)
        self.key = chain.stream_key(fitted["seed"], Purpose.TRAINING)
        xp = device.module_of(fitted["device"])
        self.figures = xp.zeros((RECORDED, len(estimator._figures)), np.float32)
        self.kept: tuple[State, dict] | None = None
        self.sums, self.n_seen, self.n_figures, self.warned = np.zeros(len(estimator._figures)), 0, 0, False
        self.rates, self.begin = (0.0,), time.perf_counter()

    def update(self, rows, fraction: float) -> None:
        """Make a step with a minibatch, of which rows that fill no pack are left out."""
        rows, pack = self._prepare(rows), self.rule.pack
        if len(rows) < pack:
            raise ValueError(f"a minibatch has {len(rows)} rows, fewer than pack={pack}; batch_size must be at least so many")
        self.rates = self.estimator._rates(fraction)
        self.state, _ = self.estimator._step(
            self.state, rows[: len(rows) // pack * pack], rule=self.rule, key=self.key, learning_rates=self.rates,
            figures=self.figures[self.n_figures],
        )  # fmt: skip
        self.n_figures += 1
        if self.n_figures == RECORDED:
            self.look()

    def _prepare(self, rows):
        """Return a minibatch as numbers on the device; ValueError when one is not finite."""
        estimator, data = self.estimator, self.data
        rows = device.to_device(rows.toarray() if hasattr(rows, "toarray") else rows, self.fitted["device"])
        low, high = data.range or _training_data.extent(rows)
        if not (math.isfinite(low) and math.isfinite(high)):
            _validation.check_finite(estimator, rows)
        if max(-low, high) > LARGEST:
            raise ValueError(f"X has values between {low:g} and {high:g}, of which float32 cannot hold some; scale X")
        if not self.warned and (words := estimator._outside(low, high, rows.dtype)):
            _validation.warn(f"X has values between {low:g} and {high:g}; {words}")
            self.warned = True
        return estimator._shown(rows, self.state.spaces[-1])

    def look(self) -> None:
        """Add what the last steps reported; ValueError when it is not finite, the last good pass being kept."""
        figures = device.to_host(self.figures[: self.n_figures]).astype(np.float64)
        bad = ~np.isfinite(figures).all(axis=1)
        if bad.any():
            self._diverged(self.state.updates - self.n_figures + int(bad.argmax()) + 1)
        self.sums, self.n_seen, self.n_figures = self.sums + figures.sum(axis=0), self.n_seen + len(figures), 0

    def _diverged(self, step: int):
        if self.kept is not None:
            self.state, fitted = self.kept
            self.estimator._set_fitted(self.finished(), **fitted)
        kept = "" if self.kept is None else f"; the networks are those after pass {self.kept[1]['n_iter']}"
        raise ValueError(
            f"training diverged: a loss of step {step} is not finite; try a lower learning_rate, a larger batch_size, or "
            f"smaller initial weights{kept}"
        )

    def after_pass(self, callbacks) -> bool:
        """Add a record to the history, and show it to who wants to see it; return whether training is to end."""
        self.look()
        self.fitted["n_iter"] += 1
        record: dict[str, Any] = {"iteration": self.fitted["n_iter"], "learning_rate": self.rates[0]}
        record |= self._means()
        record["seconds"], self.begin = time.perf_counter() - self.begin, time.perf_counter()
        self.fitted["history"].append(record)
        if self.estimator.verbose:
            name, shown = type(self.estimator).__name__, ("discriminator_loss", "generator_loss", "sample_probability")
            words = ", ".join(f"{each.replace('_', ' ')} {record[each]:.3f}" for each in shown)
            tqdm.write(f"[{name}] Iteration {record['iteration']}, {words}, time = {record['seconds']:.2f}s")
        self.kept = self.state.copy(), self.fitted | {"history": list(self.fitted["history"])}
        if not callbacks:
            return False
        snapshot = copy(self.estimator)._set_fitted(self.finished(), **self.fitted)
        return _monitoring.says_stop(callbacks, snapshot, record)

    def _means(self) -> dict[str, float]:
        """Return the means of a pass by name: those of a generator over the steps that it made."""
        k, n, updates = self.rule.n_discriminator_steps, self.n_seen, self.state.updates
        n_moves = updates // k - (updates - n) // k
        means = {
            name: float(total / max(1, n if number < 4 else n_moves))
            for number, (name, total) in enumerate(zip(self.estimator._figures, self.sums, strict=True)) if name
        }  # fmt: skip
        self.sums, self.n_seen = np.zeros_like(self.sums), 0
        return {"discriminator_loss": means.pop("data_loss") + means.pop("sample_loss")} | means

    def finished(self) -> State:
        """Return the state with the moments of batch normalisation estimated anew."""
        estimator, machine = self.estimator, self.state.machine
        if any(network.has_batch_norm for network in machine) and self.state.updates:
            rows, _ = self.data.some(estimator._n_population)
            rows = device.to_device(rows.toarray() if hasattr(rows, "toarray") else rows, self.fitted["device"])
            estimator._estimate(machine, rows, chain.stream_key(self.fitted["seed"], Purpose.POPULATION))
        return self.state


def chunks(n_rows: int) -> list[slice]:
    """Return slices of rows that networks are given together."""
    return [slice(begin, min(begin + CHUNK, n_rows)) for begin in range(0, n_rows, CHUNK)]
