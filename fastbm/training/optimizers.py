"""Steps up a gradient: plain, or with momentum."""

from __future__ import annotations

from fastbm.device import namespace


def init(parameters, momentum: float):
    """Return the state of `step`: the last steps, a tuple like `parameters`, or None where there is no momentum."""
    if momentum == 0.0:
        return None
    return type(parameters)(*(namespace(array).zeros_like(array) for array in parameters))


def step(parameter, gradient, velocity, *, learning_rate, momentum) -> None:
    """Move one array of parameters, in place, by velocity ← momentum · velocity + learning_rate · gradient.

    The momentum is not multiplied by the learning rate, `gradient` is overwritten, and `velocity` is None where there is no
    momentum. Section 9 of [1]_.

    References
    ----------
    .. [1] Hinton, "A practical guide to training restricted Boltzmann machines", 2012.
    """
    gradient *= float(learning_rate)
    if velocity is not None:
        velocity *= float(momentum)
        velocity += gradient
        gradient = velocity
    parameter += gradient
