"""Stochastic ascent of the log-likelihood of general Boltzmann machines: their moments are matched with the data's.

The gradient is ⟨s_i s_j⟩ over the data minus ⟨s_i s_j⟩ over the model for a coupling, and ⟨s_i⟩ minus ⟨s_i⟩ for a bias [1]_.
Over the data, visible units are clamped, and hidden ones are drawn by Gibbs sampling, or are at their mean-field
probabilities; where no couplings join them, or where they are few, their moments given the visible ones are exact. Over the
model, chains persist between updates [2]_. The gradient may be centred [3]_.

References
----------
.. [1] Ackley, Hinton & Sejnowski, "A learning algorithm for Boltzmann machines", Cognitive Science 9, 1985.
.. [2] Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML 2008.
.. [3] Montavon & Müller, "Deep Boltzmann machines and the centering trick", 2012.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastbm.device import home_of, namespace, to_device
from fastbm.machines import boltzmann, inference
from fastbm.machines.boltzmann import Boltzmann, Chains, RoundedBoltzmann
from fastbm.machines.layout import Graph, Layout
from fastbm.training.ascent import OFFSET_RATE
from fastbm.units import bernoulli

MOST_UNITS_OF_A_MATRIX = 2048
"""Units whose moments are all computed, as a product of matrices, whatever the number of couplings."""
PAIRS_AT_ONCE = 2**22
MOST_ENUMERATED = 8
"""Coupled hidden units whose states are enumerated: up to there, sums over all states take no longer than sweeps."""


class State(NamedTuple):
    """All that training carries from one update to the next; arrays are changed in place.

    `machine` has float32 parameters, and `exact` is its rounding. `velocity` are the last steps of weights and biases, or None;
    `offsets` (n_units,) what is taken away from states when the gradient is centred; `clamped` how many sweeps have been made
    with the data clamped.
    """

    machine: Boltzmann
    exact: RoundedBoltzmann
    chains: Chains
    velocity: tuple | None = None
    offsets: Any = None
    clamped: int = 0
    ladder: None = None
    activity: None = None


class Rule(NamedTuple):
    """How an update is made: `data_phase` is "gibbs", of `n_data_steps` sweeps, or "mean_field"; the rest is as of `ascent`.

    With "gibbs", up to `MOST_ENUMERATED` hidden units are enumerated instead, given the data and given the model's chains.

    With `hold`, couplings between two visible units stay as they are.
    """

    n_steps: int
    learning_rate: float
    data_phase: str = "gibbs"
    n_data_steps: int = 10
    momentum: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    centered: bool = True
    hold: bool = False


def init(machine: Boltzmann, layout: Layout, n_chains: int) -> State:
    """Return a state whose chains have all units off."""
    exact = boltzmann.rounded(machine, layout)
    return State(machine, exact, boltzmann.empty_chains(exact.layout, n_chains, namespace(machine.weights)))


def step(state: State, v, rule: Rule, *, key, clamped_key, weights: np.ndarray | None = None) -> State:
    """Make one update of the parameters from one minibatch of rows `v` (n_rows, n_visible), float32, 0 or 1.

    `key` and `clamped_key` are the random streams of the model's chains and of the data's, `weights` what rows count, 1 on the
    average over the data. ValueError when the weights have grown beyond what can be sampled, or are no longer finite.
    """
    machine, n_visible = state.machine, v.shape[1]
    few = _are_few(state, rule)
    data, clamped = (v, state.clamped) if few else _data_phase(state, v, rule, clamped_key)
    one = boltzmann.ones(home_of(machine.weights))
    chains = boltzmann.advance(state.exact, state.chains, rule.n_steps, key=key, beta=one)
    model, joint = boltzmann.leave(state.exact.layout, chains.states), None
    if few:
        (data, of_data), (model, of_model) = (_with_enumerated(machine, rows) for rows in (v, model[:, :n_visible]))
        joint = of_data, of_model
    elif not has_coupled_hidden(state.exact.layout.graph):
        model = _with_hidden_means(machine, model[:, :n_visible])
    factors, share = _factors(v.shape[0], weights, home_of(v))
    of_data = (data * factors[:, None]).sum(axis=0)
    of_biases = of_data - model.mean(axis=0)
    offsets = _moved(state.offsets, of_data) if rule.centered else None
    gradient = _pair_moments(machine, data, factors, model)
    if joint:
        gradient = _with_hidden_pairs(machine, gradient, factors @ joint[0] - joint[1].mean(axis=0))
    moving = (machine.second >= n_visible).astype(np.float32) if rule.hold else np.float32(1)
    if offsets is not None:
        gradient, of_biases = _centred(machine, gradient, of_biases, offsets, moving)
    gradient = (gradient - rule.l2 * machine.weights - rule.l1 * namespace(gradient).sign(machine.weights)) * moving
    velocity = _climb(machine, gradient, of_biases, state.velocity, rule.learning_rate * share, rule.momentum)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = boltzmann.rounded(machine, state.exact.layout, state.exact)
    return State(machine, exact, chains, velocity, offsets, clamped)


def has_coupled_hidden(graph: Graph) -> bool:
    """Whether a coupling joins two hidden units; couplings ascend, so that the last one would."""
    return len(graph.first) > 0 and int(graph.first[-1]) >= graph.n_visible


def _with_hidden_means(machine: Boltzmann, v):
    """Return rows of all units, the hidden ones, which have no couplings among them, at their exact probabilities given `v`."""
    n_visible, xp = v.shape[1], namespace(v)
    if machine.hidden_bias.size == 0:
        return v
    couplings = boltzmann.matrix_of(machine, v.dtype)
    return xp.concatenate([v, bernoulli.mean(v @ couplings[:n_visible][:, n_visible:] + machine.hidden_bias)], axis=1)


def _are_few(state: State, rule: Rule) -> bool:
    """Whether the states of the hidden units, which are coupled, are enumerated."""
    few = state.machine.hidden_bias.size <= MOST_ENUMERATED and rule.data_phase == "gibbs"
    return few and has_coupled_hidden(state.exact.layout.graph)


def _with_enumerated(machine: Boltzmann, v):
    """Return rows of all units, the hidden ones at their probabilities given `v`, and p(h | v), (n_rows, 2**n_hidden)."""
    xp, n_visible, states = namespace(v), v.shape[1], _states(machine)
    couplings = boltzmann.matrix_of(machine, v.dtype)
    among = couplings[n_visible:][:, n_visible:]
    among = among.toarray() if hasattr(among, "toarray") else among
    logits = (v @ couplings[:n_visible][:, n_visible:] + machine.hidden_bias) @ states.T
    logits = logits + 0.5 * ((states @ among) * states).sum(axis=1)
    weights = xp.exp(logits - logits.max(axis=1)[:, None])
    joint = weights / weights.sum(axis=1)[:, None]
    return xp.concatenate([v, joint @ states], axis=1), joint


def _states(machine: Boltzmann):
    """Return all states of the hidden units, (2**n_hidden, n_hidden)."""
    states = inference.states_of(machine.hidden_bias.size).astype(np.float32)
    return to_device(states, home_of(machine.weights))


def _with_hidden_pairs(machine: Boltzmann, gradient, weights):
    """Return the gradient with that of couplings between hidden units, Σ_h weights(h) h_i h_j over all their states h."""
    xp, states, n_visible = namespace(gradient), _states(machine), machine.visible_bias.size
    pairs = (states * weights[:, None]).T @ states
    first, second = (xp.maximum(ends - n_visible, 0) for ends in (machine.first, machine.second))
    return xp.where(machine.first >= n_visible, pairs[first, second], gradient)


def _data_phase(state: State, v, rule: Rule, key):
    """Return rows of all units given the visible ones, and how many sweeps were made for that so far."""
    machine, xp = state.machine, namespace(v)
    if not has_coupled_hidden(state.exact.layout.graph):
        return _with_hidden_means(machine, v), state.clamped
    n_visible, n_units = v.shape[1], boltzmann.n_units(machine)
    rows = xp.zeros((v.shape[0], n_units), dtype=np.float32)
    rows[:, :n_visible] = v
    hidden = xp.zeros((1, n_units), dtype=np.float32)
    hidden[:, n_visible:] = 1
    if rule.data_phase == "mean_field":
        return inference.mean_field(machine, rows, hidden != 0, tol=1e-4, max_updates=100).means, state.clamped
    layout = state.exact.layout
    chains = Chains(boltzmann.enter(layout, rows), state.clamped)
    beta = xp.ones((1, rule.n_data_steps + 1), dtype=np.float32)
    beta[:, 0] = 0  # fair coins
    chains = boltzmann.advance(
        state.exact, chains, rule.n_data_steps + 1, key=key, beta=beta, free=boltzmann.enter(layout, hidden)
    )
    return boltzmann.leave(layout, chains.states), chains.sweeps


def _factors(n_rows: int, weights: np.ndarray | None, home: str):
    """Return what rows count, 1 in all, and what a step is multiplied by."""
    total = 0.0 if weights is None else float(weights.sum(dtype=np.float64))
    share = 1.0 if weights is None else total / n_rows
    even = np.full(n_rows, 1 / n_rows, np.float32)
    return to_device(even if weights is None or total == 0 else (weights / total).astype(np.float32), home), share


def _pair_moments(machine: Boltzmann, data, factors, model):
    """Return, for each coupling, the mean of s_i s_j over the data, whose rows count `factors`, less that over the model."""
    xp, (first, second) = namespace(data), (machine.first, machine.second)
    rows = xp.concatenate([data, model])
    signed = xp.concatenate([data * factors[:, None], model * np.float32(-1 / model.shape[0])])
    if rows.shape[1] <= MOST_UNITS_OF_A_MATRIX:
        return (signed.T @ rows)[first, second]
    pairs = xp.zeros(first.size, dtype=np.float32)
    size = max(1, PAIRS_AT_ONCE // rows.shape[0])
    for begin in range(0, pairs.size, size):
        some = slice(begin, begin + size)
        pairs[some] = (signed[:, first[some]] * rows[:, second[some]]).sum(axis=0)
    return pairs


def _moved(offsets, means):
    """Return the offsets, moved a part of the way to the means of a minibatch; at first, all of it."""
    return means.copy() if offsets is None else offsets + np.float32(OFFSET_RATE) * (means - offsets)


def _centred(machine: Boltzmann, gradient, of_biases, offsets, moving):
    """Return the centred gradient: that of couplings between states less offsets μ, and of biases at the same couplings.

    G_ij ← G_ij - μ_i g_j - g_i μ_j, times 0 where a coupling is not `moving`, then g_i ← g_i - Σ_j G_ij μ_j.
    """
    first, second = machine.first, machine.second
    gradient = (gradient - offsets[first] * of_biases[second] - of_biases[first] * offsets[second]) * moving
    as_machine = machine._replace(weights=gradient)
    return gradient, of_biases - boltzmann.matrix_of(as_machine) @ offsets


def _climb(machine: Boltzmann, gradient, of_biases, velocity, learning_rate: float, momentum: float):
    """Move the parameters by velocity ← momentum · velocity + learning_rate · gradient, in place; return the velocity."""
    n_visible = machine.visible_bias.size
    steps = [np.float32(learning_rate) * each for each in (gradient, of_biases[:n_visible], of_biases[n_visible:])]
    if momentum and velocity is not None:
        steps = [np.float32(momentum) * old + new for new, old in zip(steps, velocity, strict=True)]
    for parameter, move in zip(machine[:3], steps, strict=True):
        parameter += move
    return tuple(steps) if momentum else None
