"""Up–down, the contrastive form of wake–sleep: fine-tuning of a deep belief network [1]_.

One update from one minibatch::

    wake    draw the hidden layers upward, by the recognition weights, from the data
    top     from there and the labels, n_steps of Gibbs sampling in the top machine: contrastive divergence moves it
    sleep   draw the layers downward, by the generative weights, from where the top machine has come to
    learn   each generative layer moves up the gradient of log p(layer below | layer above) of what was drawn in wake,
            each recognition layer up the gradient of log q(layer above | layer below) of what was drawn in sleep

References
----------
.. [1] Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", Neural Computation 18, 2006, appendix B.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.chain import Purpose
from fastbm.device import home_of, namespace, to_device
from fastbm.machines import dbn, directed, rbm
from fastbm.machines.dbn import DBN
from fastbm.machines.directed import Layer, RoundedLayer
from fastbm.machines.rows import Rows
from fastbm.training import ascent, minibatches, optimizers
from fastbm.training.ascent import NegativePhase


class Keys(NamedTuple):
    """The random streams: of each recognition layer, of each generative layer, and of the top machine."""

    wake: tuple
    sleep: tuple
    top: tuple


class Learner(NamedTuple):
    """A directed layer, rounded, and its last step, None where there is no momentum."""

    exact: RoundedLayer
    velocity: Layer | None = None


class State(NamedTuple):
    """All that training carries from one update to the next; arrays are changed in place.

    `recognition` and `generative` are the directed layers, from the visible one up, `top` is the training state of the top
    machine, and `updates` counts the updates made.
    """

    recognition: tuple[Learner, ...]
    generative: tuple[Learner, ...]
    top: ascent.State
    updates: int = 0


def keys(seed: int, n_layers: int) -> Keys:
    """Return the random streams for training a network with so many directed layers."""
    wake, sleep = (
        tuple(chain.stream_key(seed, purpose, level) for level in range(n_layers)) for purpose in (Purpose.WAKE, Purpose.SLEEP)
    )
    return Keys(wake, sleep, chain.stream_key(seed, Purpose.TOP))


def init(machine: DBN, top: ascent.State, velocity=None, updates: int = 0) -> State:
    """Return a state that goes on from a network and the training state of its top machine, all of which it may change.

    `velocity` are the last steps of the recognition and of the generative layers, two tuples of Layer, or None.
    """
    none = (None,) * len(machine.recognition)
    recognition, generative = (
        tuple(Learner(directed.rounded(layer), last) for layer, last in zip(layers, lasts, strict=True))
        for layers, lasts in zip(machine[:2], velocity or (none, none), strict=True)
    )
    return State(recognition, generative, top, updates)


def machine_of(state: State) -> DBN:
    """Return the network that is trained; training goes on to change it."""
    recognition, generative = (tuple(learner.exact.layer for learner in learners) for learners in state[:2])
    return DBN(recognition, generative, state.top.machine)


def check(state: State) -> None:
    """Raise ValueError when weights are too large to be sampled, or not finite: what `step` has put off."""
    for learner in (*state.recognition, *state.generative):
        directed.check(learner.exact)
    rbm.check(state.top.exact, state.top.machine)


def step(
    state: State, rows: Rows, labels=None, *, phase: NegativePhase, keys: Keys, n_steps, learning_rate, top_learning_rate,
    weights=None, **ascent_of,
) -> State:  # fmt: skip
    """Make one update of all parameters from one minibatch.

    Parameters
    ----------
    state : State
        All that it holds is changed in place.
    rows : Rows
        The data of the minibatch, without labels.
    labels : ndarray of shape (n_rows,), optional
        The number of each row's class, where the last visible units of the top machine are labels.
    phase : NegativePhase
        How the top machine is sampled: ``contrastive_divergence.from_data``, or ``persistent`` chains.
    keys : Keys
        The random streams of the training.
    n_steps : int
        Sweeps of the top machine.
    learning_rate, top_learning_rate : float
        Of the directed layers, and of the top machine.
    weights : ndarray of shape (n_rows,), optional
        What each row counts, 1 on the average over the data; the dreams count alike.
    momentum, l2 : float, default=0.0
        Of all parts.

    Raises
    ------
    ValueError
        When weights have grown beyond what can be sampled, or are no longer finite; on the GPU `check` says so.
    """
    recognition, generative = ([learner.exact for learner in learners] for learners in state[:2])
    update = 2 * state.updates
    awake = dbn.ascend(recognition, rows, keys=keys.wake, update=update)
    top, dream = contrast(
        state.top, awake[-1], labels, phase=phase, key=keys.top, n_steps=n_steps, learning_rate=top_learning_rate,
        weights=weights, **ascent_of,
    )  # fmt: skip
    asleep = dbn.descend(generative, dream, keys=keys.sleep, update=update + 1, grey=len(rows.grey) > 0)
    ascent_of["learning_rate"] = learning_rate
    return State(
        tuple(learn(*of_layer, **ascent_of) for of_layer in zip(state.recognition, asleep[:-1], asleep[1:], strict=True)),
        tuple(
            learn(*of_layer, weights=weights, **ascent_of)
            for of_layer in zip(state.generative, awake[1:], awake[:-1], strict=True)
        ),
        top,
        state.updates + 1,
    )


def contrast(top: ascent.State, rows: Rows, labels=None, **how):
    """Make the update of the top machine; return its state, and the packed states, without labels, its chains have come to."""
    n_units = len(top.machine.visible_bias) - top.n_labels
    top = ascent.with_space(top, len(rows))
    top, info = ascent.step(top, joined(top, rows, n_units, labels), **how)
    return top, dbn.without_labels(top.chains.visible[: len(info.negative)], n_units)


def joined(top: ascent.State, rows: Rows, n_units: int, labels) -> Rows:
    """Return rows with their labels behind them, in the space of the top machine; without labels the rows themselves."""
    if labels is None:
        return rows
    states, grey = (space[: len(part)] for space, part in zip(top.space.rows, rows, strict=True))
    states[:, rows.states.shape[1] :] = 0
    states[:, : rows.states.shape[1]], grey[:, :n_units] = rows.states, rows.grey[:, :n_units]
    minibatches.put_labels(Rows(states, grey), n_units, to_device(labels, home_of(states)))
    return Rows(states, grey)


def learn(learner: Learner, given: Rows, target: Rows, *, learning_rate, momentum=0.0, l2=0.0, weights=None) -> Learner:
    """Move a directed layer up the gradient of the mean of log p(target | given).

    The delta rule of logistic units: x (y - p)ᵀ for the weights, y - p for the biases, with p the means given the rows x.
    """
    (layer, couplings, bias, exponent), velocity = learner
    xp = namespace(bias)
    velocity = velocity or optimizers.init(layer, momentum)
    last: tuple = velocity or (xp.empty((0, 0), np.float32), xp.empty(0, np.float32))
    _, errors = directed.infer(learner.exact, given)
    _subtract(target, errors, layer.bias.size)
    factors, share = ascent.row_factors(len(given), len(given), weights, home_of(bias))
    of_given, of_target, none = (xp.empty(size, np.float32) for size in (*layer.weights.shape, 0))
    ascent_of = {"learning_rate": learning_rate * share, "momentum": momentum}
    exponent = kernels.ascend(
        layer.weights, last[0], couplings, directed.one_way(xp), of_given, of_target, none, none, *given, given.states[:0],
        errors, factors, {}, exponent=exponent, l1=0.0, l2=l2, offset_rate=1.0, both=False, **ascent_of,
    )  # fmt: skip
    kernels.step_biases(none, layer.bias, none, of_target, none, last[1], none, bias, **ascent_of)
    return Learner(RoundedLayer(layer, couplings, bias, exponent), velocity)


def _subtract(target: Rows, means, n_units: int) -> None:
    """means ← target - means."""
    if len(target.grey):
        means[:, :n_units] -= target.grey
        means *= -1.0
    else:
        kernels.subtract_means(target.states, means, n_units=n_units)
