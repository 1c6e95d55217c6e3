"""Contrastive divergence [1]_ and its persistent form [2]_ for restricted Boltzmann machines.

The gradient of the mean log-likelihood is the statistics of the data minus the statistics of the model; the model's are taken
from chains that run a few sweeps: from the data (CD), or from where the last update left them (PCD).

References
----------
.. [1] Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14, 2002.
.. [2] Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML 2008.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains, RoundedRBM
from fastbm.training import optimizers


class State(NamedTuple):
    """All that training carries from one update to the next; arrays are changed in place.

    `machine` has float32 parameters, and `exact` is its rounding; `chains.updates` is odd: the hidden states were the last to
    be drawn.
    """

    machine: RBM
    exact: RoundedRBM
    velocity: RBM | None
    chains: Chains


class Info(NamedTuple):
    """What an update did: the mean hidden probabilities of data and chains."""

    positive: np.ndarray
    negative: np.ndarray


def init(machine: RBM, n_chains: int) -> State:
    """Return a state whose chains have all hidden units off, as if that were their first draw."""
    chains = rbm.empty_chains(n_chains, *machine.weights.shape)
    return State(machine, rbm.rounded(machine), None, chains._replace(updates=1))


def step(state: State, rows, *, key, persistent, n_steps, learning_rate, momentum=0.0, l1=0.0, l2=0.0) -> tuple[State, Info]:
    """Make one update of the parameters from one minibatch.

    Parameters
    ----------
    state : State
        Its parameters, velocity and chains are changed in place.
    rows : ndarray
        The minibatch from ``minibatches.prepare``: packed states or float32 of shape (n, n_visible).
    key : (uint32, uint32)
        The random stream of the training.
    persistent : bool
        Whether the chains go on from where they are (PCD), or start at the data (CD).
    n_steps : int
        Sweeps between data, or the last update, and the statistics.

    Raises
    ------
    ValueError
        When the weights have grown beyond what can be sampled, or are no longer finite.
    """
    machine, exact, velocity, chains = state
    logits, positive = rbm.infer(machine, exact, rows)
    if not persistent:
        chains = rbm.start_at(exact, logits, key=key, update=chains.updates + 1)
    negative = np.empty((chains.visible.shape[0], positive.shape[1]), np.float32)
    chains = rbm.advance(exact, chains, 2 * n_steps, key=key, beta=rbm.UNTEMPERED, hidden_means=negative)
    gradient, info = _gradient(machine, rows, positive, chains.visible, negative)
    optimizers.decay(machine.weights, gradient.weights, l1=l1, l2=l2)
    velocity = optimizers.step(machine, gradient, velocity, learning_rate=learning_rate, momentum=momentum)
    return State(machine, rbm.rounded(machine, exact), velocity, chains), info


def _gradient(machine: RBM, rows, positive, visible, negative) -> tuple[RBM, Info]:
    """Statistics of the data minus those of the chains, each a mean over its own rows."""
    n_hidden = len(machine.hidden_bias)
    gradient = RBM(*(np.zeros_like(array) for array in machine))
    statistics = kernels.statistics if chain.is_packed(rows) else kernels.grey_statistics
    statistics(rows, positive, gradient.weights, gradient.visible_bias, weight=1 / rows.shape[0])
    kernels.statistics(visible, negative, gradient.weights, gradient.visible_bias, weight=-1 / visible.shape[0])
    info = Info(*(means.mean(axis=0, dtype=np.float64)[:n_hidden] for means in (positive, negative)))
    gradient.hidden_bias[...] = info.positive - info.negative
    return gradient, info
