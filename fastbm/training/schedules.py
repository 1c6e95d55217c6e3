"""Learning-rate schedules: what the learning rate is multiplied by, given the fraction of the training that is done."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda fraction: 1.0,
    "linear": lambda fraction: 1.0 - fraction,
}


def factor(schedule: str | Callable[[float], float], fraction: float) -> float:
    """Return the factor of a named schedule, or of a function of the fraction done, which lies in [0, 1)."""
    function = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    value = function(fraction)
    if not isinstance(value, Real) or not 0.0 <= value < float("inf"):
        raise ValueError(f"learning_rate_schedule({fraction:.3g}) must be a finite number of at least 0, got {value!r}")
    return float(value)
