"""Deep Boltzmann machines: folded, a restricted one, of whose log Z the odd layers, its hidden side, are summed out."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbm.device import home_of, namespace, using
from fastbm.evaluation.given import check_shape, has_chains, machine_of, seed_of
from fastbm.machines import dbm
from fastbm.machines.dbm import DBM
from fastbm.machines.rbm import RBM


class Folded:
    """A deep machine as evaluation knows restricted ones: parameters, and persistent chains where it was trained."""

    def __init__(self, machine: DBM, estimator: Any = None):
        self.machine, self.estimator = machine, estimator
        self._updates = estimator._updates if has_chains(estimator) else 0

    def _machine(self) -> RBM:
        return dbm.fold(self.machine)

    def _chain_rows(self):
        return self.estimator._chain_rows()


def is_deep(given) -> bool:
    """Whether this is a deep machine: its parameters, or an estimator of one without labels."""
    if hasattr(given, "classes_"):
        return False
    return isinstance(machine_of(given), DBM)


def folded(given, X=None, init=None, random_state=None) -> tuple[Folded, Any, Any]:
    """Return a deep machine as a restricted one, and rows of its visible layer as rows of all even layers.

    Hidden even layers have their mean-field probabilities given a row of `X`, and are drawn from them for `init`.
    """
    estimator = given if hasattr(given, "_machine") else None
    machine = estimator._machine() if estimator is not None else given
    with using(home_of(machine.biases[0])):
        if X is not None:
            X = even_layers(machine, check_shape(X, "X", machine.biases[0].shape[0]))
        if init is not None and not isinstance(init, str):
            rows = check_shape(init, "init", machine.biases[0].shape[0])
            means = even_layers(machine, rows)
            uniform = np.random.default_rng(seed_of(random_state)).random(means.shape)
            init = (namespace(means).asarray(uniform) < means).astype(np.float64)
            init[:, : rows.shape[1]] = rows
    return Folded(machine, estimator), X, init


def even_layers(machine: DBM, rows):
    """Return rows and the mean field of the even hidden layers given them, side by side, float64."""
    xp = namespace(machine.biases[0])
    rows = xp.asarray(rows, dtype=np.float64)
    machine = dbm.moved(machine, lambda array: xp.asarray(array, dtype=np.float64))
    found = dbm.mean_field(machine, rows)
    return xp.concatenate([rows, *found.means[1::2]], axis=1)
