"""Networks: layers one after the other, whose parameters are views of one flat array, and so are their gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastbm.device import aligned_zeros, home_of, namespace, to_device
from fastbm.nn import initializers
from fastbm.nn.batch_norm import BatchNorm
from fastbm.nn.convolution import Convolution, TransposedConvolution
from fastbm.nn.maxout import Maxout
from fastbm.nn.merged import merged
from fastbm.nn.perceptron import Perceptron
from fastbm.nn.workspace import Run, Workspace

MULTIPLIED = ("weights", "gain")
"""Parameters that inputs are multiplied by: they stand first, and they alone decay."""
MOMENTS = ("mean", "variance")
ALIGNED = 16
"""Each parameter begins at a multiple of so many numbers."""
CHUNK, CHUNK_OF_IMAGES = 256, 64
"""Rows that are computed together after training; the last ones with rows of zeros behind them, so that none depends on how
many there are."""


class Network:
    """Layers and their parameters, a flat array, and the moments that batch normalisation takes after training, another one."""

    def __init__(self, layers: Iterable, parameters, statistics):
        self.layers, self.parameters, self.statistics = tuple(layers), parameters, statistics
        self.perceptron = Perceptron.of(self.layers, layout(self.layers, "parameters"))
        self._views: Any = None
        self._gradients: Any = None
        self._n_decayed: int | None = None

    @classmethod
    def initial(cls, layers, seed, initial: str | float = "glorot", dtype: Any = np.float32) -> Network:
        """Return a network with random weights; biases and offsets are 0, gains 1, and so are variances."""
        layers, rng = tuple(layers), np.random.default_rng(seed)
        network = cls(
            layers, *(aligned_zeros((size_of(layout(layers, kind)),), dtype) for kind in ("parameters", "statistics"))
        )
        for layer, own in zip(layers, network.views, strict=True):
            if "weights" in own:
                initializers.fill(own["weights"].T if isinstance(layer, Maxout) else own["weights"], rng, initial)
            for name in ("gain", "variance"):
                if name in own:
                    own[name][...] = 1.0
        return network

    @property
    def views(self) -> list[dict[str, Any]]:
        """The parameters and moments of each layer by name."""
        if self._views is None:
            self._views = views_of(self.layers, self.parameters, "parameters")
            for own, moments in zip(self._views, views_of(self.layers, self.statistics, "statistics"), strict=True):
                own.update(moments)
        return self._views

    @property
    def gradients(self):
        """The gradients of all parameters, flat; made when they are first asked for."""
        return self._wanted[0]

    @property
    def _wanted(self) -> tuple[Any, list[dict[str, Any]]]:
        if self._gradients is None:
            flat = namespace(self.parameters).zeros_like(self.parameters)
            self._gradients = flat, views_of(self.layers, flat, "parameters")
        return self._gradients

    @property
    def n_decayed(self) -> int:
        """How many parameters, the first ones, decay: those that inputs are multiplied by."""
        if self._n_decayed is None:
            others = [begin for _, name, begin, _ in layout(self.layers, "parameters") if name not in MULTIPLIED]
            self._n_decayed = min(others, default=self.parameters.shape[0])
        return self._n_decayed

    @property
    def has_batch_norm(self) -> bool:
        """Whether what is computed of a row depends, in training, on the others."""
        return any(isinstance(layer, BatchNorm) for layer in self.layers)

    def forward(self, x, run: Run, out=None):
        """Return the output of the last layer, in `out` where it is given, and backward.

        backward(gradient, parameters, rows) overwrites the gradient of the output; with `parameters` it writes those of the
        parameters to ``self.gradients``; it returns that of some `rows` of x, a slice, or nothing where `rows` is None. It may
        be called again before the next forward of the same workspace.
        """
        if self.perceptron is not None and self.perceptron.takes(x.shape[0], self.parameters, x):
            return self.perceptron.forward(self, x, run, out)
        backwards, last = [], len(self.layers) - 1
        for at, (layer, own) in enumerate(zip(self.layers, self.views, strict=True)):
            x, back = layer.forward(own, x, run, at, out if at == last else None)
            backwards.append(back)

        def backward(gradient, parameters: bool, rows: slice | None):
            wanted = self._wanted[1] if parameters else None
            for at in range(last, -1, -1):
                asked = rows if at == 0 else slice(None)
                gradient = backwards[at](gradient, wanted[at] if wanted else None, asked)
            return gradient

        return x, backward

    @property
    def chunk(self) -> int:
        """How many rows are computed together after training: fewer where they are images, whose maps take room."""
        is_image = any(isinstance(layer, Convolution | TransposedConvolution) for layer in self.layers)
        return CHUNK_OF_IMAGES if is_image else CHUNK

    def evaluate(self, x, side=None):
        """Return the outputs for rows after training, as a new array; no row's depends on the others."""
        out: Any = None
        xp, run = namespace(self.parameters), Run(Workspace(self.parameters), training=False)
        n_rows, chunk, forward = x.shape[0], self.chunk, part_of(*merged(self.layers, self.views)).forward
        if type(self.parameters) is np.ndarray and self.parameters.dtype == np.float32:
            chunk = min(chunk, n_rows)  # sums of our own kernels do not depend on how many rows there are
        pairs = [
            (rows, xp.zeros((chunk, rows.shape[1]), dtype=self.parameters.dtype)) for rows in (x, side) if rows is not None
        ]
        for begin in range(0, n_rows, chunk):
            end = min(begin + chunk, n_rows)
            for rows, some in pairs:
                some[: end - begin, :] = rows[begin:end, :]
                some[end - begin :, :] = 0.0
            y, _ = forward(pairs[0][1], run._replace(side=pairs[-1][1]))
            out = xp.empty((n_rows, y.shape[1]), dtype=y.dtype) if out is None else out
            out[begin:end, :] = y[: end - begin, :]
        return out

    def estimate(self, inputs) -> None:
        """Set the moments of the population, layer after layer: those of what reaches it, by the moments of those before.

        `inputs` is called for each layer anew, and gives pairs of rows and, for a `Join`, of their side, or None.
        """
        run = Run(Workspace(self.parameters), training=False)
        for at, layer in enumerate(self.layers):
            if isinstance(layer, BatchNorm):
                before = part_of(self.layers[:at], self.views[:at])
                reached = (before.forward(x, run._replace(side=side))[0] for x, side in inputs())
                moments = moments_of(namespace(x).reshape(x, (-1, layer.n_units)) for x in reached)
                for name, moment in zip(MOMENTS, moments, strict=True):
                    self.views[at][name][...] = moment.astype(self.parameters.dtype)

    def copy(self) -> Network:
        """Return a network with copies of the parameters."""
        return Network(self.layers, self.parameters.copy(), self.statistics.copy())

    def to(self, home: str) -> Network:
        """Return the network on a device; itself where it is there."""
        if home_of(self.parameters) == home:
            return self
        return Network(self.layers, to_device(self.parameters, home), to_device(self.statistics, home))

    def __getstate__(self):
        return self.layers, self.parameters, self.statistics

    def __setstate__(self, state):
        self.__init__(*state)


def part_of(layers, views) -> Network:
    """Return a network of these layers with these parameters, by name, to go forward only."""
    network = Network(layers, None, None)
    network._views = views
    return network


def moments_of(batches) -> tuple[Any, Any]:
    """Return mean and variance of the columns of all rows, summed in float64."""
    count, total, squares = 0, 0.0, 0.0
    for rows in batches:
        xp = namespace(rows)
        rows = rows.astype(xp.float64)
        count, total, squares = count + rows.shape[0], total + xp.sum(rows, axis=0), squares + xp.sum(rows * rows, axis=0)
    mean: Any = total / count
    variance: Any = squares / count - mean * mean
    return mean, variance * (variance > 0)


def layout(layers, kind: str) -> list[tuple[int, str, int, tuple[int, ...]]]:
    """Return (number of the layer, name, begin, shape) of each part of a flat array of "parameters" or "statistics"."""
    if kind == "statistics":
        named = [
            (at, name, (layer.n_units,)) for at, layer in enumerate(layers) if isinstance(layer, BatchNorm) for name in MOMENTS
        ]
    else:
        named = [(at, name, shape) for at, layer in enumerate(layers) for name, shape in layer.shapes.items()]
        named.sort(key=lambda entry: entry[1] not in MULTIPLIED)
    places, begin = [], 0
    for at, name, shape in named:
        places.append((at, name, begin, shape))
        begin += -(-math.prod(shape) // ALIGNED) * ALIGNED
    return places


def size_of(places) -> int:
    """Return the size of the flat array that holds these parts."""
    return max((begin + -(-math.prod(shape) // ALIGNED) * ALIGNED for _, _, begin, shape in places), default=0)


def views_of(layers, flat, kind: str) -> list[dict[str, Any]]:
    """Return the parts of a flat array as views, by name, for each layer."""
    views: list[dict[str, Any]] = [{} for _ in layers]
    for at, name, begin, shape in layout(layers, kind):
        views[at][name] = namespace(flat).reshape(flat[begin : begin + math.prod(shape)], shape)
    return views
