"""Naive twins of kernels and formulas: loops and enumeration, in float64, written to be obviously right."""

from __future__ import annotations

import numpy as np


def all_states(n_units):
    """Every state of n_units binary units, shape (2**n_units, n_units)."""
    return ((np.arange(2**n_units)[:, None] >> np.arange(n_units)) & 1).astype(np.float64)


def log_sum_exp(x):
    largest = x.max()
    return largest + np.log(np.exp(x - largest).sum())


def joint(weights, visible_bias, hidden_bias, beta=1.0):
    """Visible states, hidden states and the joint log-probabilities (2**n_visible, 2**n_hidden) of a small machine."""
    v, h = all_states(weights.shape[0]), all_states(weights.shape[1])
    minus_energy = beta * (v @ weights @ h.T + (v @ visible_bias)[:, None] + h @ hidden_bias)
    return v, h, minus_energy - log_sum_exp(minus_energy)


def log_partition(weights, visible_bias, hidden_bias):
    """log Z by enumeration of the hidden side: visible units are summed out in closed form."""
    h = all_states(weights.shape[1])
    return log_sum_exp(h @ hidden_bias + np.logaddexp(0, h @ weights.T + visible_bias).sum(axis=1))


def log_likelihood(weights, visible_bias, hidden_bias, X):
    """Exact log p(v) of rows."""
    minus_free_energy = X @ visible_bias + np.logaddexp(0, X @ weights + hidden_bias).sum(axis=1)
    return minus_free_energy - log_partition(weights, visible_bias, hidden_bias)


def gradient(weights, visible_bias, hidden_bias, X):
    """Gradient of the mean log-likelihood, by enumeration: for weights, visible and hidden biases."""

    def moments(v, p, weight):
        return (v * weight[:, None]).T @ p, weight @ v, weight @ p

    def hidden(v):
        return 1 / (1 + np.exp(-(v @ weights + hidden_bias)))

    v, _, log_p = joint(weights, visible_bias, hidden_bias)
    data = moments(X, hidden(X), np.full(len(X), 1 / len(X)))
    model = moments(v, hidden(v), np.exp(log_p).sum(axis=1))
    return [a - b for a, b in zip(data, model, strict=True)]


def pseudo_likelihood(weights, visible_bias, hidden_bias, X):
    """Σ_i log p(v_i | rest) from free energies, one unit and row at a time; the flip of v_i is 1 - v_i."""

    def free_energy(v):
        return -v @ visible_bias - np.logaddexp(0, v @ weights + hidden_bias).sum()

    total = np.zeros(len(X))
    for row, v in enumerate(np.asarray(X, np.float64)):
        for unit in range(len(v)):
            flipped = v.copy()
            flipped[unit] = 1 - v[unit]
            total[row] -= np.logaddexp(0, free_energy(v) - free_energy(flipped))
    return total


def statistics(states, values, out, totals, *, weight):
    """out += weight · statesᵀ values, rows in their order, in float32; states are rows of 0 and 1."""
    for unit in range(states.shape[1]):
        total, count = np.zeros(out.shape[1], np.float32), 0
        for row in range(states.shape[0]):
            if states[row, unit]:
                total += values[row, : out.shape[1]]
                count += 1
        out[unit] += np.float32(weight) * total
        totals[unit] += np.float32(weight) * np.float32(count)


def contrastive_divergence(machine, X, chains, *, key, n_steps, learning_rate):
    """One PCD update in float64 with the reference chain; chains are (visible, hidden, updates), packed."""
    from fastbm import chain

    weights, visible_bias, hidden_bias = (np.asarray(array, np.float64) for array in machine)
    n_visible = weights.shape[0]
    visible, hidden, updates = chains
    arguments = reference_arguments(weights, visible_bias, hidden_bias, visible, hidden)
    exponent = arguments.pop("exponent")
    numbers = {"exponent": exponent, "key": key, "first_chain": 0}
    chain.gibbs(**arguments, **numbers, start=updates, stop=updates + 2 * n_steps - 1)
    v = chain.unpack(visible, n_visible, np.float64)
    sigmoid = [1 / (1 + np.exp(-(rows @ weights + hidden_bias))) for rows in (X, v)]
    chain.gibbs(**arguments, **numbers, start=updates + 2 * n_steps - 1, stop=updates + 2 * n_steps)
    weights = weights + learning_rate * (X.T @ sigmoid[0] / len(X) - v.T @ sigmoid[1] / len(v))
    visible_bias = visible_bias + learning_rate * (X.mean(axis=0) - v.mean(axis=0))
    hidden_bias = hidden_bias + learning_rate * (sigmoid[0].mean(axis=0) - sigmoid[1].mean(axis=0))
    return (weights, visible_bias, hidden_bias), (visible, hidden, updates + 2 * n_steps)


def reference_arguments(weights, visible_bias, hidden_bias, visible, hidden):
    """The arguments of chain.gibbs for a machine and packed chains, nothing clamped, β = 1."""
    from fastbm import chain

    rounded, exponent = chain.round_couplings(weights)
    n_visible, n_hidden = weights.shape

    def pad(array, n_units):
        width = [(0, 0)] * (array.ndim - 1) + [(0, chain.padded(n_units) - n_units)]
        return np.ascontiguousarray(np.pad(array, width))

    return {
        "visible": visible,
        "hidden": hidden,
        "to_hidden": pad(rounded, n_hidden),
        "to_visible": pad(rounded.T, n_visible),
        "visible_bias": pad(np.asarray(visible_bias, np.float32), n_visible),
        "hidden_bias": pad(np.asarray(hidden_bias, np.float32), n_hidden),
        "beta": np.ones(1, np.float32),
        "visible_free": chain.pack(np.ones((1, n_visible))),
        "hidden_free": chain.pack(np.ones((1, n_hidden))),
        "hidden_means": np.zeros((visible.shape[0], chain.padded(n_hidden)), np.float32),
        "exponent": exponent,
    }


def ordered_product(left, right):
    """left @ right in float32, terms added one after the other, each product and sum rounded."""
    total = np.zeros((left.shape[0], right.shape[1]), np.float32)
    for k in range(left.shape[1]):
        total += left[:, k, None] * right[k]
    return total
