"""Batch normalisation [1]_: by the moments of the minibatch in training, by those of the population after it.

References
----------
.. [1] Ioffe & Szegedy, "Batch normalization", ICML 2015.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastbm.device import namespace
from fastbm.kernels import formulas, networks
from fastbm.nn.activations import activate, activate_backward, is_compiled
from fastbm.nn.workspace import Run


class BatchNorm(NamedTuple):
    """y = f(gain · (x - mean) / √(variance + epsilon) + offset), each unit for itself; of images, each channel.

    In training, moments are those of each of ``run.n_groups`` equal groups of rows; then those of the population, "mean" and
    "variance", which are no parameters: ``Network.estimate`` sets them. Unless `is_scaled`, gain is 1 and offset 0 for good.
    Rows hold `n_pixels` times the units.
    """

    n_units: int
    activation: str = "identity"
    slope: float = 0.2
    epsilon: float = 1e-5
    is_scaled: bool = True
    n_pixels: int = 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        return {"gain": (self.n_units,), "offset": (self.n_units,)} if self.is_scaled else {}

    def forward(self, own, x, run: Run, at: int, out=None):
        """Return y and backward, as ``Dense.forward`` does; backward returns the gradient of all rows, if of any."""
        space, n_rows, width = run.space, x.shape[0] * self.n_pixels, self.n_pixels * self.n_units
        y = space.rows((at, "y"), x.shape[0], width) if out is None else out
        units, given = self._by_units(y), self._by_units(x)
        own = own if self.is_scaled else own | self._constants(space, at)
        if not run.training:
            scale = own["gain"] / namespace(x).sqrt(own["variance"] + self.epsilon)
            if type(units) is np.ndarray:
                np.multiply(given, scale, out=units)
            else:
                units[...] = given * scale
            activate(units, own["offset"] - own["mean"] * scale, self.activation, self.slope)

            def backward_after_training(gradient, wanted, rows):  # the moments are constants, and nothing learns
                activate_backward(self._by_units(gradient), units, space.nothing, self.activation, self.slope)
                self._by_units(gradient)[...] *= scale
                return None if rows is None else gradient[rows, :]

            return y, backward_after_training
        normal, inverse = space.rows((at, "normal"), n_rows, self.n_units), space.rows((at, "inverse"), *self._groups(run))
        normalise(self, own, given, normal, inverse, units)

        def backward(gradient, wanted, rows):
            is_learnt = wanted and self.is_scaled
            gains, offsets = (wanted["gain"], wanted["offset"]) if is_learnt else (space.nothing, space.nothing)
            normalise_backward(self, own, self._by_units(gradient), units, normal, inverse, gains, offsets)
            return None if rows is None else gradient[rows, :]

        return y, backward

    def _by_units(self, x):
        return namespace(x).reshape(x, (x.shape[0] * self.n_pixels, self.n_units))

    def _constants(self, space, at: int):
        values = {"gain": 1.0, "offset": 0.0}
        arrays = {name: space.rows((at, name), 1, self.n_units)[0, :] for name in values}
        for name, array in arrays.items():
            array[...] = values[name]
        return arrays

    def _groups(self, run: Run) -> tuple[int, int]:
        return run.n_groups, self.n_units


def normalise(layer: BatchNorm, own, x, normal, inverse, y) -> None:
    """Write the normalised rows, what they were multiplied by, and the outputs."""
    if is_compiled(y):
        networks.batch_norm(
            x, own["gain"], own["offset"], normal, inverse, y, epsilon=layer.epsilon, activation=layer.activation,
            slope=layer.slope,
        )  # fmt: skip
        return
    xp, size = namespace(y), x.shape[0] // inverse.shape[0]
    for group in range(inverse.shape[0]):
        rows = slice(group * size, (group + 1) * size)
        apart = x[rows, :] - xp.mean(x[rows, :], axis=0)
        inverse[group, :] = 1 / xp.sqrt(xp.mean(apart * apart, axis=0) + layer.epsilon)
        normal[rows, :] = apart * inverse[group, :]
    y[...] = formulas.activate(normal * own["gain"] + own["offset"], layer.activation, layer.slope)


def normalise_backward(layer: BatchNorm, own, gradient, y, normal, inverse, gains, offsets) -> None:
    """Turn the gradient of the outputs into that of the inputs, in place; write those of gain and offset, if wanted."""
    if is_compiled(y):
        networks.batch_norm_backward(
            gradient, y, normal, inverse, own["gain"], gains, offsets, activation=layer.activation, slope=layer.slope
        )  # fmt: skip
        return
    xp, size = namespace(y), y.shape[0] // inverse.shape[0]
    activate_backward(gradient, y, offsets, layer.activation, layer.slope)
    if gains.size:
        gains[...] = xp.sum(gradient * normal, axis=0)
    for group in range(inverse.shape[0]):
        rows = slice(group * size, (group + 1) * size)
        g, n = gradient[rows, :], normal[rows, :]
        g = g - xp.mean(g, axis=0) - n * xp.mean(g * n, axis=0)
        gradient[rows, :] = own["gain"] * inverse[group, :] * g
