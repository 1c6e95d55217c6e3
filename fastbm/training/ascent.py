"""Stochastic ascent of the log-likelihood of restricted Boltzmann machines: one update from one minibatch.

The gradient of the mean log-likelihood is the statistics of the data minus the statistics of the model. The model's come from a
*negative phase*, a function that can be exchanged: ``contrastive_divergence.from_data``, ``contrastive_divergence.persistent``
and ``tempering.tempered``. The gradient may be centred [1]_: states then enter the statistics less offsets, which follow the
mean states of the data. A sparsity target [2]_ pulls the mean activity of hidden units to it.

References
----------
.. [1] Melchior, Fischer & Wiskott, "How to center deep Boltzmann machines", JMLR 17, 2016.
.. [2] Hinton, "A practical guide to training restricted Boltzmann machines", 2012, section 11.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.device import aligned_zeros, home_of, namespace, to_device
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains, RoundedRBM
from fastbm.training import minibatches, optimizers
from fastbm.training.minibatches import Rows

OFFSET_RATE = 0.01
"""The fraction of the way to a minibatch's mean states that offsets move at each update, as in [1]_."""
ACTIVITY_RATE = 0.05
"""The fraction of the way to a minibatch's mean hidden states that the activity moves, which a sparsity target is for."""
LINE = 16
"""Numbers in a line of the cache: rows of means are one longer than needed, so that columns do not fall on the same lines."""


class Space(NamedTuple):
    """Arrays that every update writes anew, so that it has none to allocate."""

    rows: Rows
    means: np.ndarray
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
    makes one sweep; `chains.updates` is odd: the hidden states were the last to be drawn. `activity` are the mean hidden states
    that a sparsity target is compared with, `ladder` what ``tempering`` knows of its chains. The last `n_labels` visible units
    are a softmax group: one of them is on in every row and chain.
    """

    machine: RBM
    exact: RoundedRBM
    velocity: RBM | None
    chains: Chains
    space: Space
    offsets: Offsets | None = None
    activity: np.ndarray | None = None
    ladder: Any = None
    n_labels: int = 0


class Info(NamedTuple):
    """The hidden means that an update used, of data and of chains: views, which the next update overwrites.

    Those of the data are less what a sparsity target takes away.
    """

    positive: np.ndarray
    negative: np.ndarray


NegativePhase = Callable[..., tuple[State, np.ndarray]]
"""``phase(state, rows, *, key, n_steps)``: run the chains, and return the state and the hidden means that an update needs.

The means, (n_rows + n, at least n_hidden) in ``state.space.means``, are those of the rows, then those of the first n chains,
which are the model's sample.
"""


def init(machine: RBM, n_chains: int) -> State:
    """Return a state whose chains have all hidden units off, as if that were their first draw."""
    n_visible, n_hidden = machine.weights.shape
    chains = rbm.empty_chains(n_chains, n_visible, n_hidden, namespace(machine.weights))
    return resume(machine, None, chains._replace(updates=1))


def resume(
    machine: RBM, velocity: RBM | None, chains: Chains, offsets: Offsets | None = None, activity=None, ladder=None
) -> State:
    """Return a state that goes on from what another carried, all of which it may change."""
    of_updates = rbm.rounded(machine), velocity, chains, space(machine, 0, len(chains.visible))
    return State(machine, *of_updates, offsets, activity, ladder)


def space(machine: RBM, n_rows: int, n_chains: int) -> Space:
    """Return the arrays for updates with up to `n_rows` rows, and `n_chains` chains."""
    (n_visible, n_hidden), xp = machine.weights.shape, namespace(machine.weights)
    means = aligned_zeros((n_rows + n_chains, chain.padded(n_hidden) + LINE), np.float32, xp)
    gradients = (xp.empty(size, np.float32) for size in (n_visible, n_hidden))
    return Space(minibatches.space(n_rows, n_visible, xp), means, *gradients)


def prepare(state: State, rows, binary: bool | None = None, labels=None) -> tuple[State, Rows]:
    """Return a minibatch as `step` takes it, and the state, whose space it lies in.

    `binary` and `labels`, which a machine with labels needs: see `minibatches.prepare`.
    """
    state = with_space(state, rows.shape[0])
    return state, minibatches.prepare(rows, state.space.rows, binary, labels)


def with_space(state: State, n_rows: int) -> State:
    """Return the state with space for at least `n_rows` rows."""
    if n_rows <= len(state.space.rows.states):
        return state
    n_chains = max(len(state.chains.visible), n_rows)  # contrastive divergence has as many chains as rows
    return state._replace(space=space(state.machine, n_rows, n_chains))


def step(
    state: State, rows: Rows, *, phase: NegativePhase, key, n_steps, learning_rate, momentum=0.0, l1=0.0, l2=0.0,
    centered=False, sparsity_target=None, sparsity_cost=0.0, weights=None,
) -> tuple[State, Info]:  # fmt: skip
    """Make one update of the parameters from one minibatch.

    Parameters
    ----------
    state : State
        All that it holds is changed in place.
    rows : Rows
        The minibatch, from `prepare`.
    phase : NegativePhase
        How the model is sampled.
    key : (uint32, uint32)
        The random stream of the training.
    n_steps : int
        Sweeps between data, or the last update, and the statistics.
    centered : bool
        Whether the gradient is centred; offsets start at the mean states of the first minibatch.
    sparsity_target : float, optional
        The activity that hidden units are pulled to, by the gradient of `sparsity_cost` times the cross-entropy between them.
    weights : ndarray of shape (n_rows,), optional
        What each row counts, 1 on the average over the data. The data's statistics are averaged by them, and the step is as
        long as their mean says, so that its expectation is the step of the weighted data.

    Raises
    ------
    ValueError
        When the weights have grown beyond what can be sampled, or are no longer finite; on the GPU `rbm.check` says so.
    """
    state, means = phase(with_space(state, len(rows)), rows, key=key, n_steps=n_steps)
    machine, exact, velocity, chains, space, offsets, activity, *_ = state
    factors, share = row_factors(len(rows), len(means), weights, home_of(machine.weights))
    n_hidden = len(machine.hidden_bias)
    if sparsity_target is not None:
        activity = pull_to_target(means[: len(rows), :n_hidden], factors, activity, sparsity_target, sparsity_cost)
    no_velocity, no_offsets = nothing(namespace(machine.weights))
    offsets = offsets if centered else None
    offset_rate = OFFSET_RATE if offsets else 1.0
    if centered and offsets is None:
        offsets = Offsets(*map(namespace(machine.weights).zeros_like, machine[1:]))
    velocity = velocity or optimizers.init(machine, momentum)
    ascent = {"learning_rate": learning_rate * share, "momentum": momentum}
    exponent = kernels.ascend(
        machine.weights, no_velocity if velocity is None else velocity.weights, exact.to_hidden, exact.to_visible,
        space.visible_gradient, space.hidden_gradient, *(offsets or no_offsets), *rows,
        chains.visible[: len(means) - len(rows)], means, factors, exact.tables,
        exponent=exact.exponent, l1=l1, l2=l2, offset_rate=offset_rate, both=n_steps > 1, **ascent,
    )  # fmt: skip
    exact = exact._replace(exponent=exponent)
    rbm.step_biases(machine, exact, (space.visible_gradient, space.hidden_gradient), velocity, **ascent)
    info = Info(means[: len(rows), :n_hidden], means[len(rows) :, :n_hidden])
    return state._replace(exact=exact, velocity=velocity, offsets=offsets, activity=activity), info


def row_factors(n_rows: int, n_means: int, weights: np.ndarray | None, home: str):
    """Return the factors of the rows and of the chains, if any, not to be written to, and what a step is multiplied by."""
    total = 0.0 if weights is None else float(weights.sum(dtype=np.float64))
    share = 1.0 if weights is None else total / n_rows
    if weights is None or total == 0:
        return _even_factors(n_rows, n_means, home), share
    factors = _factors_of_chains(n_rows, n_means)
    factors[:n_rows] = weights / total
    return to_device(factors, home), share


@lru_cache(maxsize=16)
def _even_factors(n_rows: int, n_means: int, home: str):
    factors = _factors_of_chains(n_rows, n_means)
    factors[:n_rows] = 1 / n_rows
    return to_device(factors, home)


def _factors_of_chains(n_rows: int, n_means: int) -> np.ndarray:
    return np.full(n_means, -1 / max(n_means - n_rows, 1), np.float32)


def pull_to_target(means, factors, activity, target, cost):
    """Take the gradient of the penalty away from the means of the data, in place; return the activity."""
    xp = namespace(means)
    now = xp.sum(means * factors[: len(means), None], axis=0)
    activity = now if activity is None else activity + ACTIVITY_RATE * (now - activity)
    means -= xp.float32(cost) * (activity - xp.float32(target))
    return activity
