"""The deep Boltzmann machine: layers of binary units, couplings between neighbouring layers only, none of them directed [1]_.

energy(v, h¹, …, h^L) = -(v W¹ h¹ + h¹ W² h² + … + a v + b¹ h¹ + …). Given the odd layers the units of the even ones are
independent, and the other way round: *folded*, the machine is a restricted one, even layers on one side and odd layers on the
other, and what is known of those holds for it: log Z, free energies with the odd layers summed out, tempering. Given the
visible units alone the hidden ones are not independent; *mean field* is the distribution q(h | v) = Π μ^h (1 - μ)^(1 - h)
nearest to their posterior: it makes the bound log p(v) ≥ E_q[-energy(v, h)] + H(q) - log Z as high as it can be.

References
----------
.. [1] Salakhutdinov & Hinton, "Deep Boltzmann machines", AISTATS 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.device import aligned_zeros, home_of, namespace
from fastbm.kernels import formulas
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM
from fastbm.machines.rows import Rows
from fastbm.units import bernoulli

TOLERANCE, MOST_UPDATES, DAMPING = 1e-4, 100, 0.5
"""Of mean field: the change at which a case has converged, the cap on its updates, and what is left of a mean when damped."""
PATIENCE, FINE_UPDATES = 16, 2
"""Updates that may bring a case no nearer before it is damped, since it goes faster while it leaves one optimum for a better;
and updates that coarse ones leave of the cap: all of them where it is said where to begin."""


class DBM(NamedTuple):
    """Parameters: `weights`, an array (n_k, n_(k+1)) for each two layers, and `biases`, one for each layer, visible first."""

    weights: tuple
    biases: tuple


class RoundedDBM(NamedTuple):
    """The machine that is sampled: couplings rounded to integers at one exponent, biases in float32, all padded to whole words.

    ``up[k]`` and ``down[k]``, from layer k to layer k + 1 and back, are parts of ``into[k + 1]`` and ``into[k]``: the couplings
    that lead to a layer, those from the layer below it first, then those from the one above.
    """

    machine: DBM
    up: tuple
    down: tuple
    into: tuple
    biases: tuple
    exponent: Any  # an int; on the GPU an array of one number
    tables: dict  # what kernels have built from the couplings


class Chains(NamedTuple):
    """Packed states of chains, one array a layer, and how many block updates each has had: its position in the stream."""

    layers: tuple
    updates: int


class MeanField(NamedTuple):
    """The means of the hidden layers, (n_rows, n_units) each, and of each row its number of updates, and its last change."""

    means: tuple
    n_updates: np.ndarray
    change: np.ndarray


def layer_sizes(machine: DBM) -> list[int]:
    """Return the number of units of each layer, the visible one first."""
    return [bias.shape[0] for bias in machine.biases]


# -------------------------------------------------------------------------------------------------------------- energies


def energy(machine: DBM, v, hidden: Sequence):
    """Return the energy of each row of joint states, shape (n_samples,); `hidden` has one array a hidden layer."""
    xp, below = namespace(hidden[0]), v
    total = v @ machine.biases[0]
    for weights, bias, h in zip(machine.weights, machine.biases[1:], hidden, strict=True):
        total = total + xp.sum(below @ weights * h, axis=1) + h @ bias
        below = h
    return -total


def entropy(means: Sequence):
    """Return the entropy of independent units with these means, of each row, in nats, shape (n_samples,); float64."""
    total = 0.0
    for of_layer in means:
        xp = namespace(of_layer)
        p = xp.asarray(of_layer, dtype=xp.float64)
        total = total - xp.sum(_x_log_x(p) + _x_log_x(1.0 - p), axis=1)
    return total


def _x_log_x(p):
    xp = namespace(p)
    return p * xp.log(xp.where(p > 0, p, 1.0))


def variational_bound(machine: DBM, v, means: Sequence):
    """Return E_q[-energy(v, h)] + H(q) of each row, float64: at most log p(v) + log Z, as far as means are off the best q."""
    machine = moved(machine, _in_float64)
    return -energy(machine, _in_float64(v), [_in_float64(each) for each in means]) + entropy(means)


def _in_float64(array):
    xp = namespace(array)
    return array.astype(np.float64) if hasattr(array, "toarray") else xp.asarray(array, dtype=xp.float64)


def moved(machine: DBM, take) -> DBM:
    """Return a machine of the same layers whose arrays are ``take(array)``."""
    return DBM(*(tuple(map(take, arrays)) for arrays in machine))


# ---------------------------------------------------------------------------------------------------------------- folded


def fold(machine: DBM) -> RBM:
    """Return the restricted machine whose visible units are the even layers, v, h², …, and whose hidden units the odd ones."""
    xp = namespace(machine.biases[0])
    return RBM(formulas.fold(machine.weights), *(xp.concatenate(machine.biases[side::2]) for side in (0, 1)))


def unfold(side, sizes: Sequence[int]) -> list:
    """Return the layers of one side of a folded machine, whose sizes are given, from rows (n, sum of the sizes)."""
    ends = np.cumsum(sizes).tolist()
    return [side[:, end - size : end] for size, end in zip(sizes, ends, strict=True)]


# --------------------------------------------------------------------------------------------------------------- sampled


def rounded(machine: DBM, previous: RoundedDBM | None = None) -> RoundedDBM:
    """Round a machine for sampling; ValueError when its weights are too large or not finite.

    With `previous`, a rounding of a machine of the same shape, its arrays are overwritten and its exponent is tried first.
    """
    previous = _empty(machine) if previous is None else previous
    previous.tables.clear()
    weights = tuple(map(_contiguous, machine.weights))
    exponent = kernels.round_layers(weights, previous.up, previous.down, guess=previous.exponent)
    exact = with_biases(previous._replace(exponent=exponent), machine)
    check(exact)
    return exact


def _contiguous(weights):
    plain = weights.flags.c_contiguous or weights.T.flags.c_contiguous
    return weights if plain else namespace(weights).ascontiguousarray(weights)


def _empty(machine: DBM) -> RoundedDBM:
    xp, sizes = namespace(machine.biases[0]), layer_sizes(machine)
    into, up, down = [], [], []
    for layer, size in enumerate(sizes):
        n_below = chain.padded(sizes[layer - 1]) if layer else 0
        n_above = sizes[layer + 1] if layer + 1 < len(sizes) else 0
        couplings = aligned_zeros((n_below + n_above, chain.padded(size)), np.int32, xp)
        into.append(couplings)
        if layer:
            up.append(couplings[: sizes[layer - 1]])
        if n_above:
            down.append(couplings[n_below:])
    biases = tuple(aligned_zeros((chain.padded(size),), np.float32, xp) for size in sizes)
    return RoundedDBM(machine, tuple(up), tuple(down), tuple(into), biases, None, {})


def with_biases(exact: RoundedDBM, machine: DBM) -> RoundedDBM:
    """Copy the biases of a machine to its rounding, and return it; on the CPU, ValueError when one is not finite."""
    for copy, bias in zip(exact.biases, machine.biases, strict=True):
        copy[: bias.size] = bias
    exact = exact._replace(machine=machine)
    if namespace(machine.biases[0]) is np:
        check_biases(exact)
    return exact


def check(exact: RoundedDBM) -> None:
    """Raise the errors of a rounding that the GPU puts off, so that it waits for nothing: ValueError as by `rounded`."""
    if namespace(exact.biases[0]) is not np:
        kernels.check_exponent(exact.exponent, formulas.fold(exact.machine.weights))
        check_biases(exact)


def check_biases(exact: RoundedDBM) -> None:
    """Raise ValueError when a bias is not finite; this waits for the GPU."""
    for bias in exact.biases:
        chain.check_finite(float(abs(bias).max()))


def empty_chains(n_chains: int, sizes: Sequence[int], xp: Any = np) -> Chains:
    """Return chains with every unit off and no update made, as arrays of NumPy or CuPy."""
    return Chains(tuple(xp.zeros((n_chains, chain.padded(size) // chain.WORD), np.uint64) for size in sizes), 0)


def advance(
    exact: RoundedDBM, chains: Chains, n_updates: int, *, key, beta=None, free: Sequence | None = None, first_chain=0
) -> Chains:  # fmt: skip
    """Run `n_updates` more block updates of every chain, in place; two of them are a sweep. Row r is chain first_chain + r.

    Even updates draw the odd layers, odd ones the even layers. `beta` is float32 of shape (n_chains,) or (1,), None for 1;
    `free` has one array a layer, packed, 1 where a unit is not clamped, (n_chains, words) or (1, words), or None where none is.
    """
    layers, start = chains
    home, sizes = home_of(layers[0]), layer_sizes(exact.machine)
    given = [None] * len(sizes) if free is None else free
    free = tuple(rbm.all_free(n, home) if mask is None else mask for n, mask in zip(sizes, given, strict=True))
    beta = rbm.untempered(home) if beta is None else beta
    stop, turn = start + n_updates, 2 * sweeps_a_turn(exact, len(layers[0]))
    for begin in range(start, stop, turn):
        kernels.gibbs(
            layers, exact.up, exact.down, exact.biases, beta, free, exact.tables, exponent=exact.exponent, key=key,
            first_chain=first_chain, start=begin, stop=min(begin + turn, stop),
        )  # fmt: skip
    return Chains(layers, stop)


def sweeps_a_turn(exact: RoundedDBM, n_chains: int) -> int:
    """Return how many sweeps a kernel makes in one call: a fraction of a second's, so that Ctrl-C is heard in between."""
    cost = sum(couplings.size for couplings in exact.up) + rbm.COST_OF_A_UNIT * sum(bias.size for bias in exact.biases)
    return max(1, rbm.COST_OF_A_TURN // (max(n_chains, 1) * cost))


def infer(exact: RoundedDBM, states: Sequence, layer: int, beta=None):
    """Return logits and means of a layer given packed states of all layers, both (n, padded(n_units)) float32, exact."""
    xp, bias = namespace(exact.biases[layer]), exact.biases[layer]
    neighbours = [states[k] for k in (layer - 1, layer + 1) if 0 <= k < len(states)]
    given = neighbours[0] if len(neighbours) == 1 else xp.concatenate(neighbours, axis=1)
    logits, means = (xp.empty((len(given), bias.size), np.float32) for _ in range(2))
    beta = rbm.untempered(home_of(bias)) if beta is None else beta
    kernels.infer(given, exact.into[layer], bias, beta, logits, means, exponent=exact.exponent)
    return logits, means


# ------------------------------------------------------------------------------------------------------------ mean field


def mean_field(
    machine: DBM | RoundedDBM, rows, *, tolerance=TOLERANCE, max_updates=MOST_UPDATES, damping=DAMPING, init=None
) -> MeanField:  # fmt: skip
    """Return the means of the hidden units given rows, updated layer by layer until they have converged, each row for itself.

    μ¹ ← σ(b¹ + v W¹ + μ² W²ᵀ), …, μ^L ← σ(b^L + μ^(L-1) W^L). Each is best for the bound given the others: it never falls, so
    that updates cannot oscillate but by rounding. They begin at the recognition pass, or at `init`.

    Parameters
    ----------
    machine : DBM or RoundedDBM
        Float32, or, of a DBM, float64.
    rows : Rows or array of shape (n_rows, n_visible)
        Packed states, which exact sums are taken of if the machine is rounded, or numbers.
    tolerance : float
        A row has converged when an update would change none of its means by more.
    max_updates : int
        The most updates of a row.
    damping : float
        The part of the old means that updates leave of a row that has come no nearer for `PATIENCE` updates.
    init : sequence of arrays (n_rows, n_units), optional
        Where to begin, one a hidden layer.
    """
    exact = machine if isinstance(machine, RoundedDBM) else None
    plain: DBM = machine.machine if isinstance(machine, RoundedDBM) else machine
    given = visible_input(plain, rows, exact)
    return mean_field_given(plain, given, tolerance=tolerance, max_updates=max_updates, damping=damping, init=init)


def mean_field_given(machine: DBM, given, *, tolerance, max_updates, damping, init=None) -> MeanField:
    """Return the means of the hidden units as `mean_field` does, given v W¹ + b¹, shape (n_rows, n_1)."""
    xp = namespace(given)
    if init is None:
        means = recognise(machine, given)
    else:
        means = tuple(1.0 * xp.asarray(each, dtype=given.dtype) for each in init)
    n_updates, change = xp.zeros(given.shape[0], dtype=xp.int32), xp.zeros(given.shape[0], dtype=xp.float32)
    kernels.mean_field(
        given, machine.weights[1:], machine.biases[2:], means, n_updates, change, tolerance=float(tolerance),
        max_updates=int(max_updates), damping=float(damping), patience=PATIENCE,
        fine_updates=FINE_UPDATES if init is None else int(max_updates),
    )  # fmt: skip
    return MeanField(means, n_updates, change)


def visible_input(machine: DBM, rows, exact: RoundedDBM | None = None):
    """Return v W¹ + b¹, shape (n_rows, n_1); given packed states the exact sums of the rounded machine, in float32."""
    weights, bias = machine.weights[0], machine.biases[1]
    if isinstance(rows, Rows):
        exact = rounded(machine) if exact is None else exact
        logits, _ = rbm.infer_units(weights, exact.up[0], exact.biases[1], exact.exponent, rows)
        return logits[:, : bias.shape[0]]
    return rows @ weights + bias


def recognise(machine: DBM, given) -> tuple:
    """Return a guess at the means given v W¹ + b¹: upward, the input from below doubled for what would come from above [1]_."""
    twice = 2.0 * given - machine.biases[1] if len(machine.weights) > 1 else given
    means = [bernoulli.mean(twice)]
    for layer, (weights, bias) in enumerate(zip(machine.weights[1:], machine.biases[2:], strict=True), start=2):
        doubled = means[-1] if layer == len(machine.weights) else 2.0 * means[-1]
        means.append(_upward(doubled, weights, bias))
    return tuple(means)


def _upward(below, weights, bias):
    """Return σ(below @ weights + bias), by the kernel where it is one's."""
    if below.dtype != namespace(below).float32:
        return bernoulli.mean(below @ weights + bias)
    out, plain = namespace(below).empty((len(below), len(bias)), np.float32), weights.flags.c_contiguous
    right = weights if plain else weights.T
    kernels.product(below, right, out, transpose_b=not plain, bias=bias, activation="sigmoid")
    return out
