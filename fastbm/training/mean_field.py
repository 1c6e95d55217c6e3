"""Learning of deep Boltzmann machines [1]_: mean field for the data, persistent chains for the model.

One update from one minibatch::

    data     mean field: the means μ of all hidden layers given each row, from the recognition pass to convergence
    model    n_steps sweeps of the chains, each the even layers given the odd ones, then the odd given the even ones
    learn    W^(k+1) moves up ⟨μ^k μ^(k+1)⟩ of the data less ⟨h^k h^(k+1)⟩ of the chains, and so on for all pairs of layers,
             a bias up ⟨μ⟩ - ⟨h⟩; of the chains, odd layers count by their probabilities given the even ones
    round    the couplings of all layers at one exponent

The gradient may be centred [2]_: states enter the statistics less offsets, which follow the mean states of the data; a machine
then learns from small random weights. With one hidden layer this is persistent contrastive divergence, bit for bit.

References
----------
.. [1] Salakhutdinov & Hinton, "Deep Boltzmann machines", AISTATS 2009.
.. [2] Montavon & Müller, "Deep Boltzmann machines and the centering trick", 2012; Melchior, Fischer & Wiskott, "How to center
   deep Boltzmann machines", JMLR 17, 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.device import aligned_zeros, home_of, namespace
from fastbm.machines import dbm, rbm
from fastbm.machines.dbm import DBM, Chains, MeanField, RoundedDBM
from fastbm.machines.rows import Rows
from fastbm.training import ascent, minibatches
from fastbm.training.ascent import OFFSET_RATE

MOST_DRAWN = 3
"""Layers of which one alone is odd: it is drawn from the logits that its means are made of."""


class State(NamedTuple):
    """All that training carries from one update to the next; arrays are changed in place.

    `exact` is the rounding of `machine`, whose weights lie in memory as couplings from even to odd layers. `velocity` is the
    last step, None where there is no momentum; `offsets` has one array a layer, None where the gradient is plain;
    `chains.updates` is odd: the odd layers were the last to be drawn.
    """

    machine: DBM
    exact: RoundedDBM
    velocity: DBM | None
    chains: Chains
    offsets: tuple | None = None
    space: Rows | None = None


class Info(NamedTuple):
    """What an update used: the mean field of the data, and the means of odd layers, {layer: (n_chains, n_units)}, of chains."""

    positive: MeanField
    negative: dict


NegativePhase = Callable[..., tuple[State, dict]]
"""``phase(state, *, key, n_steps)``: run the chains; return the state and the means of the odd layers given the even ones."""

DataPhase = Callable[..., MeanField]
"""``data_phase(exact, rows, *, tolerance, max_updates, damping)``: the means of all layers but the visible one, given rows."""


def init(machine: DBM, n_chains: int) -> State:
    """Return a state whose chains have all units off, as if that were the first draw of the odd layers."""
    chains = dbm.empty_chains(n_chains, dbm.layer_sizes(machine), namespace(machine.biases[0]))
    return resume(machine, None, chains._replace(updates=1))


def resume(machine: DBM, velocity: DBM | None, chains: Chains, offsets: tuple | None = None) -> State:
    """Return a state that goes on from what another carried; machine and velocity are copied, the other arrays may change."""
    machine = laid_out(machine)
    velocity = None if velocity is None else laid_out(velocity)
    return State(machine, dbm.rounded(machine), velocity, chains, offsets)


def laid_out(machine: DBM) -> DBM:
    """Return a copy, in float32, whose weights lie in memory as couplings from even to odd layers."""
    weights = (_copy(array.T).T if layer % 2 else _copy(array) for layer, array in enumerate(machine.weights))
    return DBM(tuple(weights), tuple(map(_copy, machine.biases)))


def _copy(array):
    xp = namespace(array)
    return xp.array(xp.ascontiguousarray(array), np.float32)


def prepare(state: State, rows, binary: bool | None = None) -> tuple[State, Rows]:
    """Return a minibatch as `step` takes it, and the state, whose space it lies in."""
    if state.space is None or rows.shape[0] > len(state.space.states):
        n_visible, xp = state.machine.biases[0].shape[0], namespace(state.machine.biases[0])
        state = state._replace(space=minibatches.space(rows.shape[0], n_visible, xp))
    return state, minibatches.prepare(rows, state.space, binary)


def persistent(state: State, *, key, n_steps):
    """Run `n_steps` sweeps of the chains, from where they are; see `NegativePhase`."""
    exact, n_layers = state.exact, len(state.chains.layers)
    chains = dbm.advance(exact, state.chains, 2 * n_steps - 1, key=key)
    inferred = {layer: dbm.infer(exact, chains.layers, layer) for layer in range(1, n_layers, 2)}
    if n_layers <= MOST_DRAWN:
        states, (logits, _) = chains.layers[1], inferred[1]
        free = rbm.all_free(state.machine.biases[1].shape[0], home_of(states))
        kernels.draw(states, logits, free, key=key, first_chain=0, update=chains.updates)
        chains = chains._replace(updates=chains.updates + 1)
    else:
        chains = dbm.advance(exact, chains, 1, key=key)
    return state._replace(chains=chains), {layer: means for layer, (_, means) in inferred.items()}


def step(
    state: State, rows: Rows, *, phase: NegativePhase = persistent, data_phase: DataPhase | None = None, key, n_steps,
    learning_rate, momentum=0.0, l1=0.0, l2=0.0, centered=False, max_norm=None, weights=None, **of_mean_field,
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
    data_phase : DataPhase, optional
        How the means of all layers but the visible one are found; mean field when None.
    key : (uint32, uint32)
        The random stream of the training.
    n_steps : int
        Sweeps of the chains between updates.
    centered : bool
        Whether the gradient is centred; offsets start at the mean states of the first minibatch.
    max_norm : float, optional
        The largest Euclidean norm of the weights that lead to a hidden unit from below; longer ones are shortened to it.
    weights : ndarray of shape (n_rows,), optional
        What each row counts, 1 on the average over the data.
    tolerance, max_updates, damping
        Of mean field: see ``dbm.mean_field``.

    Raises
    ------
    ValueError
        When the weights have grown beyond what can be sampled, or are no longer finite; on the GPU `dbm.check` says so.
    """
    positive = (data_phase or dbm.mean_field)(state.exact, rows, **of_mean_field)
    state, negative = phase(state, key=key, n_steps=n_steps)
    machine, exact, velocity, chains, offsets, _ = state
    n_chains = len(next(iter(negative.values())))
    factors, share = ascent.row_factors(len(rows), len(rows) + n_chains, weights, home_of(machine.biases[0]))
    if momentum and velocity is None:
        velocity = dbm.moved(machine, namespace(machine.biases[0]).zeros_like)
    offset_rate = OFFSET_RATE if centered and offsets else 1.0
    if centered and offsets is None:
        offsets = tuple(map(namespace(machine.biases[0]).zeros_like, machine.biases))
    ascent_of = {"learning_rate": learning_rate * share, "momentum": momentum}
    gradients, offsets = _move_weights(
        machine, velocity, rows, positive.means, [states[:n_chains] for states in chains.layers], negative, factors,
        offsets if centered else None, l1=l1, l2=l2, offset_rate=offset_rate, **ascent_of,
    )  # fmt: skip
    if max_norm is not None:
        _shorten(machine.weights, max_norm)
    exact.tables.clear()
    exponent = kernels.round_layers(machine.weights, exact.up, exact.down, guess=exact.exponent)
    _move_biases(machine, exact, velocity, gradients, **ascent_of)
    state = state._replace(exact=exact._replace(exponent=exponent), velocity=velocity, offsets=offsets)
    return state, Info(positive, negative)


def _move_weights(machine, velocity, rows, positive, states, negative, factors, offsets, **how):
    """Move all weights; return the gradients of the biases, which are not moved yet, and the new offsets.

    Between two layers it is the step of a restricted machine whose visible units are the even layer.
    """
    xp = namespace(factors)
    no_velocity, no_couplings, no_offset = xp.empty((0, 0), np.float32), xp.empty((0, 0), np.int32), xp.empty(0, np.float32)
    means = {layer: _joined(positive[layer - 1], of_chains) for layer, of_chains in negative.items()}
    data = [rows, *(Rows(states[0][:0], xp.ascontiguousarray(each)) for each in positive)]
    gradients, moved = [[] for _ in machine.biases], list(offsets or ())
    for pair in range(len(machine.weights)):
        even, odd = (pair + 1, pair) if pair % 2 else (pair, pair + 1)
        of_even, of_odd = (xp.empty(machine.biases[layer].size, np.float32) for layer in (even, odd))
        even_offset, odd_offset = (xp.array(offsets[layer]) if offsets else no_offset for layer in (even, odd))
        rows_of_even = data[even]
        kernels.ascend(
            _between(machine, pair), no_velocity if velocity is None else _between(velocity, pair), no_couplings, no_couplings,
            of_even, of_odd, even_offset, odd_offset, rows_of_even.states, rows_of_even.grey, states[even], means[odd], factors,
            {}, exponent=0, both=False, **how,
        )  # fmt: skip
        for layer, gradient, offset in ((even, of_even, even_offset), (odd, of_odd, odd_offset)):
            gradients[layer].append(gradient)
            if offsets:
                moved[layer] = offset
    return [
        each[0] if len(each) == 1 or not offsets else sum(each) - _plain_gradient(layer, data, means, states, factors)
        for layer, each in enumerate(gradients)
    ], tuple(moved) or None


def _between(machine: DBM, pair: int):
    """Return the weights between two layers, from the even one to the odd one, as they lie in memory."""
    return machine.weights[pair].T if pair % 2 else machine.weights[pair]


def _joined(of_data, of_chains):
    """Return the means of a layer as the kernel takes them: of data, then of chains, in rows longer than needed."""
    xp, (n_rows, n_units) = namespace(of_data), of_data.shape
    means = aligned_zeros((n_rows + len(of_chains), chain.padded(n_units) + ascent.LINE), np.float32, xp)
    means[:n_rows, :n_units], means[n_rows:, :n_units] = of_data, of_chains[:, :n_units]
    return means


def _plain_gradient(layer: int, data, means, states, factors):
    """Return the mean states of the data less those of the chains, of a hidden layer, which centring changes from two sides."""
    n_units = data[layer].grey.shape[1]
    if layer % 2:
        return factors @ means[layer][:, :n_units]
    of_chains = kernels.unpack(states[layer], n_units, np.float32)
    n_rows = len(data[layer])
    return factors[:n_rows] @ data[layer].grey + factors[n_rows:] @ of_chains


def _shorten(weights, max_norm) -> None:
    for array in weights:
        xp = namespace(array)
        norms = xp.sqrt(xp.sum(array * array, axis=0))
        array *= xp.minimum(1.0, max_norm / xp.maximum(norms, 1e-30)).astype(np.float32)


def _move_biases(machine, exact, velocity, gradients, *, learning_rate, momentum) -> None:
    """Move the biases of all layers, two at a time, in the machine and in its rounding."""
    none = namespace(gradients[0]).empty(0, np.float32)
    last = velocity.biases if velocity else (none,) * len(gradients)
    layers = [*zip(machine.biases, gradients, last, exact.biases, strict=True)]
    if len(layers) % 2:
        layers.insert(0, (none,) * 4)
    for (bias, gradient, step, copy), (other, its_gradient, its_step, its_copy) in zip(layers[::2], layers[1::2], strict=True):
        kernels.step_biases(
            bias, other, gradient, its_gradient, step, its_step, copy, its_copy, learning_rate=learning_rate,
            momentum=momentum,
        )  # fmt: skip
    if namespace(none) is np:
        dbm.check_biases(exact)
