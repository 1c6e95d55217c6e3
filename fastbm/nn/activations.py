"""Activations in place, with the bias before them, and their gradients: compiled where they can be, else the formulas."""

from __future__ import annotations

import numpy as np

from fastbm.device import namespace, on_gpu
from fastbm.kernels import formulas, networks

NAMES = networks.ACTIVATIONS


def is_compiled(array) -> bool:
    """Whether kernels take this array: one of float32, of NumPy or CuPy."""
    return (type(array) is np.ndarray or on_gpu(array)) and array.dtype == np.float32


def activate(y, bias, activation: str, slope: float) -> None:
    """y ← f(y + bias), in place; `bias` may be of size 0."""
    if is_compiled(y):
        networks.activate(y, bias, activation=activation, slope=slope)
        return
    if bias.size:
        y += bias
    if activation != "identity":
        y[...] = formulas.activate(y, activation, slope)


def activate_backward(gradient, y, bias_gradient, activation: str, slope: float) -> None:
    """gradient ← gradient · f', in place, given the outputs y; sums over rows to `bias_gradient`, if it is not of size 0."""
    if is_compiled(y):
        if activation != "identity" or bias_gradient.size:
            networks.activate_backward(gradient, y, bias_gradient, activation=activation, slope=slope)
        return
    if activation != "identity":
        gradient *= derivative(y, activation, slope)
    if bias_gradient.size:
        bias_gradient[...] = namespace(y).sum(gradient, axis=0)


def derivative(y, activation: str, slope: float):
    """Return f'(x) where f(x) = y."""
    xp = namespace(y)
    if activation == "tanh":
        return 1 - y * y
    if activation == "sigmoid":
        return y * (1 - y)
    above = xp.ones_like(y)
    below = {"identity": above, "relu": 0 * above, "leaky_relu": slope * above}[activation]
    return xp.where(y > 0, above, below)
