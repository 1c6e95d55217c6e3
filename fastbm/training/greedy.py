"""Greedy training of a stack of layers [1]_: each learns the hidden means of the layer below, the first one the data.

References
----------
.. [1] Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", Neural Computation 18, 2006.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbm.device import home_of, module_of, namespace, to_device
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM
from fastbm.training import minibatches

ROWS_AT_ONCE = 4096


def train(n_layers: int, rows, fit: Callable[[int, Any], object], up: Callable[[int, Any], Any]) -> None:
    """Train layers 0 to n_layers - 1: ``fit(layer, rows)`` trains one on its rows, ``up(layer, rows)`` returns its means."""
    for layer in range(n_layers):
        if layer:
            rows = up(layer - 1, rows)
        fit(layer, rows)


def hidden_means(machine: RBM, rows) -> Any:
    """Return p(h = 1 | v) of all rows, float32 of shape (n_rows, n_hidden), where they live; some are in work at a time.

    They are what `rbm.infer` gives, on the device of the machine: no number of threads changes a bit. `rows` may be sparse.
    """
    home, (n_visible, n_hidden) = home_of(machine.weights), machine.weights.shape
    exact, xp = rbm.rounded(machine), namespace(rows)
    means = xp.empty((rows.shape[0], n_hidden), np.float32)
    space = minibatches.space(min(rows.shape[0], ROWS_AT_ONCE), n_visible, module_of(home))
    for part in minibatches.slices(rows.shape[0], ROWS_AT_ONCE):
        _, some = rbm.infer(machine, exact, minibatches.prepare(rows[part], space))
        means[part] = to_device(some[:, :n_hidden], home_of(means))
    return means
