"""Steps of parameters down their gradients, each in one pass over flat arrays."""

import numpy as np
from numba import njit

from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.threads_cpu import share_out

PART = 2048
"""Parameters that are handed out together."""
COST_OF_A_PARAMETER = 0.6
"""Rough nanoseconds: memory is waited for."""
ZERO, ONE, SMALLEST = np.float32(0), np.float32(1), np.float32(1e-37)


def adam(parameters, gradients, first, second, *, rate, beta_1, beta_2, scale, epsilon, l2, n_decayed):
    share_out(
        run_adam, -(-parameters.size // PART), COST_OF_A_PARAMETER * PART, parameters, gradients, first, second,
        *numbers_of_adam(rate, beta_1, beta_2, scale, epsilon, l2, n_decayed),
    )  # fmt: skip


def numbers_of_adam(rate, beta_1, beta_2, scale, epsilon, l2, n_decayed):
    """Return what a kernel needs to know of a step of Adam."""
    numbers = (rate, 1 - beta_1, beta_2, 1 - beta_2, scale, epsilon, l2)
    return *map(np.float32, numbers), n_decayed


def descend(parameters, gradients, velocity, *, rate, momentum, l2, n_decayed):
    numbers = [np.float32(number) for number in (rate, momentum, l2)]
    share_out(
        run_descend, -(-parameters.size // PART), COST_OF_A_PARAMETER * PART, parameters, gradients, velocity, *numbers,
        n_decayed,
    )  # fmt: skip


@kernel
def run_adam(
    begin, end, parameters, gradients, first, second, rate, one_less_beta_1, beta_2, one_less_beta_2, scale, epsilon, l2,
    n_decayed,
):  # fmt: skip
    for part in range(begin, end):
        low, high = PART * part, min(PART * part + PART, parameters.size)
        middle = min(max(low, n_decayed), high)
        numbers = (rate, one_less_beta_1, beta_2, one_less_beta_2, scale, epsilon)
        step_of_adam(parameters[low:middle], gradients[low:middle], first[low:middle], second[low:middle], l2, numbers)
        step_of_adam(parameters[middle:high], gradients[middle:high], first[middle:high], second[middle:high], ZERO, numbers)


@njit(error_model="numpy")
def step_of_adam(parameters, gradients, first, second, l2, numbers):
    rate, one_less_beta_1, beta_2, one_less_beta_2, scale, epsilon = numbers
    for k in range(parameters.size):
        g = gradients[k] + l2 * parameters[k]
        m = first[k] + one_less_beta_1 * (g - first[k])
        v = beta_2 * second[k] + one_less_beta_2 * (g * g)
        m = ZERO if abs(m) < SMALLEST else m
        v = ZERO if v < SMALLEST else v
        first[k], second[k] = m, v
        parameters[k] -= rate * m / (scale * np.sqrt(v) + epsilon)


@kernel
def run_descend(begin, end, parameters, gradients, velocity, rate, momentum, l2, n_decayed):
    for part in range(begin, end):
        low, high = PART * part, min(PART * part + PART, parameters.size)
        middle = min(max(low, n_decayed), high)
        step_of_descent(parameters[low:middle], gradients[low:middle], velocity[low:middle], l2, rate, momentum)
        step_of_descent(parameters[middle:high], gradients[middle:high], velocity[middle:high], ZERO, rate, momentum)


@njit
def step_of_descent(parameters, gradients, velocity, l2, rate, momentum):
    for k in range(parameters.size):
        step = momentum * velocity[k] - rate * (gradients[k] + l2 * parameters[k])
        step = ZERO if abs(step) < SMALLEST else step
        velocity[k] = step
        parameters[k] += step
