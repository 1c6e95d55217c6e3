"""Steps up a gradient: plain, with momentum, with weight decay."""

from __future__ import annotations

from fastbm.device import namespace


def init(parameters, momentum: float):
    """Return the state of `step`: the last steps, a tuple like `parameters`, or None where there is no momentum."""
    if momentum == 0.0:
        return None
    return type(parameters)(*(namespace(array).zeros_like(array) for array in parameters))


def step(parameters, gradient, velocity, *, learning_rate, momentum):
    """Move `parameters`, in place, by velocity ← momentum · velocity + learning_rate · gradient; return the velocity.

    The momentum is not multiplied by the learning rate, and `gradient` is overwritten. Section 9 of [1]_.

    References
    ----------
    .. [1] Hinton, "A practical guide to training restricted Boltzmann machines", 2012.
    """
    if velocity is None:
        velocity = init(parameters, momentum)
    for index, (array, ascent) in enumerate(zip(parameters, gradient, strict=True)):
        ascent *= ascent.dtype.type(learning_rate)
        if velocity is not None:
            velocity[index][...] *= ascent.dtype.type(momentum)
            velocity[index][...] += ascent
            ascent = velocity[index]
        array += ascent
    return velocity


def decay(weights, gradient, *, l1: float, l2: float) -> None:
    """Subtract the gradient of l1 Σ|w| + l2/2 Σw² from `gradient`, in place."""
    if l2:
        gradient -= gradient.dtype.type(l2) * weights
    if l1:
        gradient -= gradient.dtype.type(l1) * namespace(weights).sign(weights)
