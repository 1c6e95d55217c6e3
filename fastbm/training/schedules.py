"""Schedules: what a setting is multiplied by, given the fraction of the training that is done."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

Schedule = Callable[[float], float]
INVERSE = 9.0
"""How much longer than at first a rate that falls inversely would take, at the end, for the same step: less one."""
SCHEDULES: dict[str, Schedule] = {
    "constant": lambda fraction: 1.0,
    "linear": lambda fraction: 1.0 - fraction,
    "inverse": lambda fraction: 1.0 / (1.0 + INVERSE * fraction),
}
"""Of a learning rate: 1; from 1 down to 0; 1 / (1 + 9 t), from 1 down to a tenth."""
GROWTHS: dict[str, Schedule] = {
    "constant": lambda fraction: 1.0,
    "linear": lambda fraction: fraction,
    "inverse": lambda fraction: 1.0 / (1.0 + INVERSE * (1.0 - fraction)),
}
"""Of a number of sweeps, which grows: 1; from 0 up to 1; 1 / (1 + 9 (1 - t)), from a tenth up to 1."""


def factor(
    schedule: str | Schedule, fraction: float, name: str = "learning_rate_schedule", named: dict[str, Schedule] = SCHEDULES
) -> float:
    """Return the factor of one of the `named` schedules, or of a function of the fraction done, which lies in [0, 1)."""
    function = named[schedule] if isinstance(schedule, str) else schedule
    value = function(fraction)
    if not isinstance(value, Real) or not 0.0 <= value < float("inf"):
        raise ValueError(f"{name}({fraction:.3g}) must be a finite number of at least 0, got {value!r}")
    return float(value)


def sweeps(n_steps: int, schedule: str | Schedule, fraction: float, name: str = "n_gibbs_steps_schedule") -> int:
    """Return the number of sweeps of an update: `n_steps` times the factor of the schedule, rounded, at least one."""
    return max(1, round(n_steps * factor(schedule, fraction, name, GROWTHS)))
