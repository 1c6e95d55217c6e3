"""Greedy pre-training of deep Boltzmann machines [1]_: restricted machines one on the other, with doubled weights.

In the deep machine a hidden layer has input from both sides, in a restricted one from one side only. So the first machine is
trained with two copies of its visible units that share their weights: what the hidden units get is doubled. The last one has
two copies of its hidden units: what the visible units get is doubled. Those between have both, that is, they are ordinary
machines of twice the weights, which are halved at the end. Biases of a layer that two machines share are averaged: then the
logits of the deep machine are the mean of what the two machines say.

References
----------
.. [1] Salakhutdinov & Hinton, "Deep Boltzmann machines", AISTATS 2009, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from fastbm import kernels
from fastbm.device import home_of, namespace
from fastbm.machines import rbm
from fastbm.machines.dbm import DBM
from fastbm.machines.rbm import RBM
from fastbm.training.ascent import NegativePhase, State
from fastbm.training.minibatches import Rows


def factors(layer: int, n_layers: int) -> tuple[float, float]:
    """Return what the couplings of machine number `layer` of the stack are multiplied by, upward and downward."""
    if n_layers == 1:
        return 1.0, 1.0
    return (2.0 if layer == 0 else 1.0), (2.0 if layer == n_layers - 1 else 1.0)


def phase(up: float, down: float) -> NegativePhase:
    """Return the negative phase of a machine whose couplings are multiplied by these powers of two: see `from_data`."""
    return partial(from_data, up=up, down=down)


def from_data(state: State, rows: Rows, *, key, n_steps, up=1.0, down=1.0):
    """Contrastive divergence with couplings multiplied by `up` and `down`, powers of two; see ``ascent.NegativePhase``."""
    machine, exact, n_rows = state.machine, state.exact, len(rows)
    logits, of_data = infer(machine, exact, rows, up)
    chains = rbm.start_at(exact, logits, key=key, update=state.chains.updates + 1)
    of_chains = of_data
    for _ in range(n_steps):
        logits, _ = _multiplied(chains.hidden, exact.to_visible, exact.visible_bias, exact.exponent, down)
        _draw(chains.visible, logits, len(machine.visible_bias), key, chains.updates)
        logits, of_chains = _multiplied(chains.visible, exact.to_hidden, exact.hidden_bias, exact.exponent, up)
        _draw(chains.hidden, logits, len(machine.hidden_bias), key, chains.updates + 1)
        chains = chains._replace(updates=chains.updates + 2)
    means = state.space.means[: 2 * n_rows]
    means[:n_rows, : of_data.shape[1]], means[n_rows:, : of_data.shape[1]] = of_data, of_chains
    return state._replace(chains=chains), means


def infer(machine: RBM, exact: rbm.RoundedRBM, rows: Rows, up: float):
    """Return logits and means of the hidden units given a minibatch, the couplings multiplied by `up`: see `rbm.infer`."""
    if len(rows.grey):
        return rbm.infer(machine._replace(weights=machine.weights * np.float32(up)), exact, rows)
    return _multiplied(rows.states, exact.to_hidden, exact.hidden_bias, exact.exponent, up)


def _multiplied(states, couplings, bias, exponent, factor: float):
    """Return logits and means of the units that couplings, times a power of two, lead to: by the inverse temperature."""
    xp = namespace(bias)
    logits, means = (xp.empty((len(states), bias.size), np.float32) for _ in range(2))
    beta = xp.full(1, factor, np.float32)
    kernels.infer(states, couplings, bias / np.float32(factor), beta, logits, means, exponent=exponent)
    return logits, means


def _draw(states, logits, n_units: int, key, update: int) -> None:
    kernels.draw(states, logits, rbm.all_free(n_units, home_of(states)), key=key, first_chain=0, update=update)


def joined(machines: Sequence[RBM]) -> DBM:
    """Return the deep machine of restricted ones that were trained one on the other, from the visible layer up."""
    last = len(machines) - 1
    weights = tuple(machine.weights * np.float32(1.0 if layer in (0, last) else 0.5) for layer, machine in enumerate(machines))
    between = [(below.hidden_bias + above.visible_bias) * np.float32(0.5) for below, above in pairwise(machines)]
    return DBM(weights, (1.0 * machines[0].visible_bias, *between, 1.0 * machines[-1].hidden_bias))
