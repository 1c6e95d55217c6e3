"""Networks of dense layers alone, of which all are computed in one call where they are small."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastbm.kernels import networks
from fastbm.nn.dense import Dense
from fastbm.nn.workspace import Run, Workspace

SMALL = 10_000_000
"""Multiply-adds of a layer from which on it is left to `Dense`, whose products are then shared among threads."""


class Perceptron(NamedTuple):
    """What kernels need to know of dense layers: tables as in ``kernels.networks.perceptron``, and how many units are where."""

    layers: np.ndarray
    slopes: np.ndarray
    n_hidden: int
    widest: int
    largest: int

    @classmethod
    def of(cls, layers, places) -> Perceptron | None:
        """Return these layers, whose parameters lie at these places, as ``fastbm.nn.network.layout`` says; None for others."""
        if not layers or not all(type(layer) is Dense for layer in layers):
            return None
        begins = {(at, name): begin for at, name, begin, _ in places}
        table = [
            (
                layer.n_inputs, layer.n_outputs, begins[at, "weights"], begins[at, "bias"] if layer.has_bias else -1,
                networks.ACTIVATIONS.index(layer.activation),
            )
            for at, layer in enumerate(layers)
        ]  # fmt: skip
        slopes = [layer.slope if layer.activation == "leaky_relu" else 0.0 for layer in layers]
        hidden = [layer.n_outputs for layer in layers[:-1]]
        largest = max(layer.n_inputs * layer.n_outputs for layer in layers)
        return cls(np.array(table, np.int64), np.array(slopes, np.float64), sum(hidden), max(hidden, default=0), largest)

    def takes(self, n_rows: int, *arrays) -> bool:
        """Whether so many rows are computed in one call, where these are the arrays of the network and of the rows."""
        return n_rows * self.largest < SMALL and all(type(each) is np.ndarray and each.dtype == np.float32 for each in arrays)

    def arrays(self, space: Workspace, n_rows: int):
        """Return `hidden` and `room` for so many rows."""
        hidden, room = space.rows("hidden", n_rows, self.n_hidden), space.rows("room", 2 * n_rows, self.widest)
        return hidden.reshape(-1), room.reshape(-1)

    def forward(self, network, x, run: Run, out=None):
        """Return the output and backward, as ``Network.forward`` does."""
        n_rows, space, tables = x.shape[0], run.space, {"layers": self.layers, "slopes": self.slopes}
        hidden, room = self.arrays(space, n_rows)
        y = space.rows("y", n_rows, int(self.layers[-1, 1])) if out is None else out
        networks.perceptron(x, network.parameters, hidden, y, **tables)

        def backward(gradient, parameters: bool, rows: slice | None):
            first, stop, _ = (rows or slice(0)).indices(n_rows)
            below: Any = space.rows("gradient", stop - first, x.shape[1])
            gradients = network.gradients if parameters else space.nothing
            networks.perceptron_backward(
                gradient, x, hidden, y, network.parameters, gradients, room, below, first_row=first, **tables
            )  # fmt: skip
            return None if rows is None else below

        return y, backward
