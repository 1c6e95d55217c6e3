"""Rows of units, as layers take them: packed states where all are 0 or 1, else numbers."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from fastbm.device import home_of, to_device


class Rows(NamedTuple):
    """A minibatch: packed states, or float32 numbers of shape (n, n_units); the other array has no rows."""

    states: np.ndarray
    grey: np.ndarray

    def __len__(self):
        return len(self.states) + len(self.grey)


def of_states(states) -> Rows:
    """Return packed states as rows."""
    return Rows(states, _no_numbers(64 * states.shape[1], home_of(states)))


@cache
def _no_numbers(n_units: int, home: str):
    return to_device(np.empty((0, n_units), np.float32), home)
