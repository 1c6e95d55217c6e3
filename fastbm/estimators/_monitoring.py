"""What is looked at after each pass over the data: history, progress lines, callbacks, early stopping."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from fastbm import device
from fastbm.training.ascent import State

SCORED_ROWS = 200
"""Rows that the pseudo-likelihood of a pass is the mean over."""
HELD_OUT_ROWS = 1000
"""Rows, at the most, that early stopping scores."""


class Monitor:
    """Takes the notes of one call of `fit`, and says when it is to end."""

    def __init__(self, estimator, data, fitted: dict[str, Any]):
        self.estimator, self.data, self.fitted, self.measure = estimator, data, fitted, estimator._measure
        self.callbacks = check_callbacks(estimator.callbacks)
        self.held_out = None
        if estimator.early_stopping:
            self.held_out = data.hold_out(float(estimator.validation_fraction), HELD_OUT_ROWS, fitted["seed"])
        self.best: State | None = None
        self.best_score, self.passes_without_gain, self.begin = -np.inf, 0, time.perf_counter()

    def after_pass(self, state: State, learning_rate: float, n_steps: int) -> bool:
        """Add a record to the history, show it to who wants to see it; return whether training is to end."""
        seconds, self.begin = time.perf_counter() - self.begin, time.perf_counter()
        self.fitted["n_iter"] += 1
        record = {"iteration": self.fitted["n_iter"], "learning_rate": learning_rate, "n_gibbs_steps": n_steps}
        if state.ladder is not None and np.isfinite(state.ladder.rates).all():
            record["swap_rate"] = float(state.ladder.rates.min())
        if self.estimator.verbose or self.callbacks:
            record[self.measure] = self._score(state, *self.data.some(SCORED_ROWS))
        if self.held_out is not None:
            record["validation_score"] = self._score(state, *self.held_out)
        record["seconds"] = seconds
        self.fitted["history"].append(record)
        if self.estimator.verbose:
            name = type(self.estimator).__name__
            score = f"{self.measure.replace('_', '-')} = {record[self.measure]:.{self.estimator._digits}f}"
            tqdm.write(f"[{name}] Iteration {record['iteration']}, {score}, time = {seconds:.2f}s")
        stop = self._is_enough(state, record)
        return self._call(state, record) or stop

    def final(self, state: State) -> State:
        """Return the state that was best on the held-out rows; without any, the last one."""
        return state if self.best is None else self.estimator._rule.resume(*_carried(self.best))

    def _score(self, state: State, rows, labels) -> float:
        rows = rows.toarray() if hasattr(rows, "toarray") else rows
        rows = device.to_device(rows, device.home_of(state.machine.weights))
        return self.estimator._measured(state, rows, labels, self.data.scaling)

    def _is_enough(self, state: State, record) -> bool:
        """Note the best state; return whether there was none for `n_iter_no_change` passes."""
        if self.held_out is None:
            return False
        score = record["validation_score"]
        self.passes_without_gain = 0 if score > self.best_score + self.estimator.tol else self.passes_without_gain + 1
        if score > self.best_score:
            self.best_score, self.best = score, _copy(state)
        return self.passes_without_gain >= self.estimator.n_iter_no_change

    def _call(self, state: State, record) -> bool:
        """Call the callbacks with a fitted estimator and a record; return whether one of them said True."""
        if not self.callbacks:
            return False
        machine = self.estimator._snapshot(state, self.fitted)
        return says_stop(self.callbacks, machine, record)


def says_stop(callbacks, machine, record) -> bool:
    """Call callbacks, each with a record of its own; return whether one of them said True."""
    answers = [callback(machine, dict(record)) for callback in callbacks]
    return any(isinstance(answer, bool | np.bool_) and bool(answer) for answer in answers)


def check_callbacks(callbacks) -> tuple:
    """Return the callbacks that a parameter names; ValueError when one cannot be called."""
    callbacks = callbacks or ()
    callbacks = (callbacks,) if callable(callbacks) else tuple(callbacks)
    for index, callback in enumerate(callbacks):
        if not callable(callback):
            raise ValueError(f"callbacks[{index}] must be callable, got {callback!r}")
    return callbacks


def _carried(state: State) -> tuple:
    return state.machine, state.velocity, state.chains, state.offsets, state.activity, state.ladder


def _copy(state: State) -> State:
    """Return a copy of all that training changes in place, but for what can be made anew."""

    def copies(arrays):
        return arrays and type(arrays)(*(array if isinstance(array, int) else array.copy() for array in arrays))

    machine, velocity, chains, offsets, activity, ladder = _carried(state)
    return state._replace(
        machine=copies(machine), velocity=copies(velocity), chains=copies(chains), offsets=copies(offsets),
        activity=None if activity is None else activity.copy(), ladder=ladder,
    )  # fmt: skip
