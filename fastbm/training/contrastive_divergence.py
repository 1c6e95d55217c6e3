"""Contrastive divergence [1]_ and its persistent form [2]_ for restricted Boltzmann machines.

The gradient of the mean log-likelihood is the statistics of the data minus the statistics of the model; the model's are taken
from chains that run a few sweeps: from the data (CD), or from where the last update left them (PCD). The gradient may be
centred [3]_: states then enter the statistics less offsets, which follow the mean states of the data.

References
----------
.. [1] Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14, 2002.
.. [2] Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML 2008.
.. [3] Melchior, Fischer & Wiskott, "How to center deep Boltzmann machines", JMLR 17, 2016.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.device import aligned_zeros, home_of, namespace
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains, RoundedRBM
from fastbm.training import minibatches, optimizers
from fastbm.training.minibatches import Rows

OFFSET_RATE = 0.01
"""The fraction of the way to a minibatch's mean states that offsets move at each update, as in [3]_."""
LINE = 16
"""Numbers in a line of the cache: rows of means are one longer than needed, so that columns do not fall on the same lines."""


class Space(NamedTuple):
    """Arrays that every update writes anew, so that it has none to allocate."""

    rows: Rows
    means: np.ndarray
    factors: np.ndarray
    visible_gradient: np.ndarray
    hidden_gradient: np.ndarray


class Offsets(NamedTuple):
    """What is taken away from states when the gradient is centred: their means over the data, more or less."""

    visible: np.ndarray
    hidden: np.ndarray


@cache
def nothing(xp):
    """Return the kernel's `velocity` where there is no momentum, and its offsets when the gradient is plain."""
    return xp.empty((0, 0), np.float32), Offsets(xp.empty(0, np.float32), xp.empty(0, np.float32))


class State(NamedTuple):
    """All that training carries from one update to the next; arrays are changed in place.

    `machine` has float32 parameters, and `exact` is its rounding, of which ``to_visible`` may be out of date while each update
    makes one sweep; `chains.updates` is odd: the hidden states were the last to be drawn.
    """

    machine: RBM
    exact: RoundedRBM
    velocity: RBM | None
    chains: Chains
    space: Space
    offsets: Offsets | None = None


class Info(NamedTuple):
    """The hidden probabilities that an update used, of data and of chains: views, which the next update overwrites."""

    positive: np.ndarray
    negative: np.ndarray


def init(machine: RBM, n_chains: int) -> State:
    """Return a state whose chains have all hidden units off, as if that were their first draw."""
    n_visible, n_hidden = machine.weights.shape
    chains = rbm.empty_chains(n_chains, n_visible, n_hidden, namespace(machine.weights))
    return resume(machine, None, chains._replace(updates=1))


def resume(machine: RBM, velocity: RBM | None, chains: Chains, offsets: Offsets | None = None) -> State:
    """Return a state that goes on from these parameters, last steps, chains and offsets, all of which it may change."""
    return State(machine, rbm.rounded(machine), velocity, chains, space(machine, 0, len(chains.visible)), offsets)


def space(machine: RBM, n_rows: int, n_chains: int) -> Space:
    """Return the arrays for updates with up to `n_rows` rows, and `n_chains` chains."""
    (n_visible, n_hidden), xp = machine.weights.shape, namespace(machine.weights)
    means = aligned_zeros((n_rows + n_chains, chain.padded(n_hidden) + LINE), np.float32, xp)
    gradients = (xp.empty(size, np.float32) for size in (n_visible, n_hidden))
    return Space(minibatches.space(n_rows, n_visible, xp), means, xp.empty(len(means), np.float32), *gradients)


def prepare(state: State, rows, binary: bool | None = None) -> tuple[State, Rows]:
    """Return a minibatch as `step` takes it, and the state, whose space it lies in; `binary`: see `minibatches.prepare`."""
    state = with_space(state, rows.shape[0])
    return state, minibatches.prepare(rows, state.space.rows, binary)


def with_space(state: State, n_rows: int) -> State:
    """Return the state with space for at least `n_rows` rows."""
    if n_rows <= len(state.space.rows.states):
        return state
    n_chains = max(len(state.chains.visible), n_rows)  # contrastive divergence has as many chains as rows
    return state._replace(space=space(state.machine, n_rows, n_chains))


def step(
    state: State, rows: Rows, *, key, persistent, n_steps, learning_rate, momentum=0.0, l1=0.0, l2=0.0, centered=False
) -> tuple[State, Info]:
    """Make one update of the parameters from one minibatch.

    Parameters
    ----------
    state : State
        Its parameters, velocity, chains and offsets are changed in place.
    rows : Rows
        The minibatch, from `prepare`.
    key : (uint32, uint32)
        The random stream of the training.
    persistent : bool
        Whether the chains go on from where they are (PCD), or start at the data (CD).
    n_steps : int
        Sweeps between data, or the last update, and the statistics.
    centered : bool
        Whether the gradient is centred; offsets start at the mean states of the first minibatch.

    Raises
    ------
    ValueError
        When the weights have grown beyond what can be sampled, or are no longer finite; on the GPU `rbm.check` says so.
    """
    state = with_space(state, len(rows))
    machine, exact, velocity, chains, _, offsets = state
    home, (no_velocity, no_offsets) = home_of(machine.weights), nothing(namespace(machine.weights))
    offsets = offsets if centered else None
    offset_rate = OFFSET_RATE if offsets else 1.0
    if centered and offsets is None:
        offsets = Offsets(*map(namespace(machine.weights).zeros_like, machine[1:]))
    velocity = velocity or optimizers.init(machine, momentum)
    if not persistent:
        chains = _start_at(state, rows, key)
    if n_steps > 1:
        exact = rbm.rounded(machine, exact) if exact.tables.get("one way") else exact
        chains = rbm.advance(exact, chains, 2 * (n_steps - 1), key=key, beta=rbm.untempered(home))
    chains, means = _phases(state, rows, chains, key)
    factors = state.space.factors[: len(means)]
    factors[: len(rows)], factors[len(rows) :] = 1 / len(rows), -1 / len(chains.visible)
    ascent = {"learning_rate": learning_rate, "momentum": momentum}
    exponent = kernels.ascend(
        machine.weights, no_velocity if velocity is None else velocity.weights, exact.to_hidden, exact.to_visible,
        state.space.visible_gradient, state.space.hidden_gradient, *(offsets or no_offsets), *rows, chains.visible, means,
        factors, exact.tables, exponent=exact.exponent, l1=l1, l2=l2, offset_rate=offset_rate, both=n_steps > 1,
        **ascent,
    )  # fmt: skip
    optimizers.step(machine.visible_bias, state.space.visible_gradient, velocity and velocity.visible_bias, **ascent)
    optimizers.step(machine.hidden_bias, state.space.hidden_gradient, velocity and velocity.hidden_bias, **ascent)
    exact = rbm.with_biases(exact._replace(exponent=exponent), machine)
    n_hidden = len(machine.hidden_bias)
    info = Info(means[: len(rows), :n_hidden], means[len(rows) :, :n_hidden])
    return State(machine, exact, velocity, chains, state.space, offsets), info


def _start_at(state: State, rows: Rows, key) -> Chains:
    """Return one chain for each row, its hidden states drawn given the row."""
    logits, _ = rbm.infer(state.machine, state.exact, rows)
    return rbm.start_at(state.exact, logits, key=key, update=state.chains.updates + 1)


def _phases(state: State, rows: Rows, chains: Chains, key):
    """Sweep the chains once; return them, and the hidden probabilities of the data and of the chains."""
    machine, exact, space = state.machine, state.exact, state.space
    means = space.means[: len(rows) + len(chains.visible)]
    if len(rows.grey):
        rbm.grey_infer(machine, exact, rows.grey, means, means)
    (n_visible, n_hidden), home = machine.weights.shape, home_of(machine.weights)
    kernels.phases(
        rows.states, chains.visible, chains.hidden, means[len(rows.grey) :], exact.to_hidden, exact.to_visible,
        exact.visible_bias, exact.hidden_bias, rbm.all_free(n_visible, home), rbm.all_free(n_hidden, home), exact.tables,
        exponent=exact.exponent, key=key, update=chains.updates,
    )  # fmt: skip
    return chains._replace(updates=chains.updates + 2), means
