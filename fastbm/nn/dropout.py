"""Dropout [1]_, with masks of counters: the same on every device, and drawn again for the backward pass, not kept.

References
----------
.. [1] Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, "Dropout", JMLR 15, 2014.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastbm import chain
from fastbm.device import namespace
from fastbm.kernels import networks
from fastbm.nn.activations import is_compiled
from fastbm.nn.workspace import Run


class Dropout(NamedTuple):
    """y = x / (1 - rate) where a unit is kept, 0 where it is dropped, which it is with probability `rate`; x after training."""

    n_units: int
    rate: float

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        return {}

    def forward(self, own, x, run: Run, at: int, out=None):
        """Return y and backward, as ``Dense.forward`` does; backward returns the gradient of all rows, if of any."""
        if not run.training:
            return x, None
        y = run.space.rows((at, "y"), x.shape[0], self.n_units) if out is None else out
        counters = {"key": run.key, "first_row": 0, "update": run.update, "block": run.block + at}
        drop(x, y, self.rate, **counters)

        def backward(gradient, wanted, rows):
            drop(gradient, gradient, self.rate, **counters)
            return None if rows is None else gradient[rows, :]

        return y, backward


def drop(x, y, rate: float, **counters) -> None:
    """Write `x` with units dropped to `y`; counters as in ``kernels.networks.drop``."""
    if is_compiled(y):
        networks.drop(x, y, rate=rate, **counters)
        return
    rows = counters["first_row"] + np.arange(x.shape[0])
    width = -(-x.shape[1] // 4) * 4
    words = chain.random_words(width, rows, counters["update"], counters["block"], counters["key"])[:, : x.shape[1]]
    kept = namespace(x).asarray((words >= np.uint32(rate * 2.0**32)).astype(np.float64), dtype=x.dtype)
    y[...] = x * kept / (1 - rate)
