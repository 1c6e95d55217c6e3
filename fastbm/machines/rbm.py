"""The restricted Boltzmann machine: parameters, energies, and its rounding for the chain.

energy(v, h) = -(v W h + a v + b h), with weights W, visible biases a and hidden biases b; p(v, h) = exp(-energy) / Z.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.device import aligned_zeros, home_of, namespace, to_device
from fastbm.units import bernoulli

UNTEMPERED = np.ones(1, np.float32)
"""The kernels' `beta` for chains at inverse temperature 1, on the CPU."""
COST_OF_A_TURN = 10_000_000_000
"""Couplings times chains times sweeps of one call of the kernel."""
COST_OF_A_UNIT = 100
"""What drawing a unit costs, in couplings."""


class RBM(NamedTuple):
    """Parameters: weights (n_visible, n_hidden), visible_bias (n_visible,), hidden_bias (n_hidden,)."""

    weights: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray


def hidden_logits(machine: RBM, v):
    """Return v W + b, the logits of the hidden units, shape (n_samples, n_hidden); `v` may be sparse."""
    return v @ machine.weights + machine.hidden_bias


def visible_logits(machine: RBM, h):
    """Return h Wᵀ + a, the logits of the visible units, shape (n_samples, n_visible)."""
    return h @ machine.weights.T + machine.visible_bias


def energy(machine: RBM, v, h):
    """Return the energy of each row of joint states, shape (n_samples,)."""
    xp = namespace(h)
    return -(xp.sum(v @ machine.weights * h, axis=1) + v @ machine.visible_bias + h @ machine.hidden_bias)


def free_energy(machine: RBM, v):
    """Return -log Σ_h exp(-energy(v, h)) = -a v - Σ_j log(1 + exp(b_j + Σ_i v_i w_ij)), shape (n_samples,)."""
    softplus = bernoulli.log_partition(hidden_logits(machine, v))
    return -(v @ machine.visible_bias) - namespace(softplus).sum(softplus, axis=1)


class RoundedRBM(NamedTuple):
    """The machine that is sampled: couplings rounded to integers, biases in float32, all padded to whole words."""

    to_hidden: np.ndarray
    to_visible: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray
    exponent: Any  # an int; on the GPU an array of one number
    tables: dict  # what kernels have built from the couplings


class Chains(NamedTuple):
    """Packed states of chains, and how many block updates each has had: its position in the random stream."""

    visible: np.ndarray
    hidden: np.ndarray
    updates: int


def rounded(machine: RBM, previous: RoundedRBM | None = None) -> RoundedRBM:
    """Round a machine for sampling; ValueError when its weights are too large or not finite.

    With `previous`, a rounding of a machine of the same shape, its arrays are overwritten and its exponent is tried first.
    """
    n_visible, n_hidden = machine.weights.shape
    if previous is None:
        xp = namespace(machine.weights)
        to_hidden = aligned_zeros((n_visible, chain.padded(n_hidden)), np.int32, xp)
        to_visible = aligned_zeros((n_hidden, chain.padded(n_visible)), np.int32, xp)
        biases = aligned_zeros(to_visible.shape[1:], np.float32, xp), aligned_zeros(to_hidden.shape[1:], np.float32, xp)
        previous = RoundedRBM(to_hidden, to_visible, *biases, None, {})
    weights = namespace(machine.weights).ascontiguousarray(machine.weights)
    previous.tables.clear()
    exponent = kernels.round_couplings(weights, previous.to_hidden, previous.to_visible, guess=previous.exponent)
    exact = with_biases(previous._replace(exponent=exponent), machine)
    check(exact, machine)
    return exact


def check(exact: RoundedRBM, machine: RBM) -> None:
    """Raise the errors of a rounding that the GPU puts off, so that it waits for nothing: ValueError as by `rounded`."""
    if namespace(machine.weights) is not np:
        kernels.check_exponent(exact.exponent, machine.weights)
        _check_biases(exact, machine)


def with_biases(exact: RoundedRBM, machine: RBM) -> RoundedRBM:
    """Copy the biases of a machine to its rounding, and return it; on the CPU, ValueError when one is not finite."""
    exact.visible_bias[: machine.visible_bias.size] = machine.visible_bias
    exact.hidden_bias[: machine.hidden_bias.size] = machine.hidden_bias
    if namespace(machine.visible_bias) is np:
        _check_biases(exact, machine)
    return exact


def step_biases(machine: RBM, exact: RoundedRBM, gradients, velocity: RBM | None, *, learning_rate, momentum) -> None:
    """Move the biases up their gradients, in the machine and in its rounding; on the CPU, ValueError when one is not finite."""
    of_visible, of_hidden = gradients
    last_visible, last_hidden = velocity[1:] if velocity else (of_visible[:0], of_hidden[:0])
    kernels.step_biases(
        machine.visible_bias, machine.hidden_bias, of_visible, of_hidden, last_visible, last_hidden, exact.visible_bias,
        exact.hidden_bias, learning_rate=learning_rate, momentum=momentum,
    )  # fmt: skip
    if namespace(machine.visible_bias) is np:
        _check_biases(exact, machine)


def _check_biases(exact: RoundedRBM, machine: RBM) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = exact.visible_bias @ exact.visible_bias + exact.hidden_bias @ exact.hidden_bias
    if not math.isfinite(float(squares)):
        for bias in (machine.visible_bias, machine.hidden_bias):
            chain.check_finite(float(abs(bias).max()))


@cache
def all_free(n_units: int, home: str = "cpu"):
    """Return the `free` argument of the kernels for units none of which is clamped; shared, not to be written to."""
    return to_device(chain.pack(np.ones((1, n_units), bool)), home)


@cache
def untempered(home: str = "cpu"):
    """Return the kernels' `beta` for chains at inverse temperature 1; shared, not to be written to."""
    return to_device(UNTEMPERED, home)


def infer(machine: RBM, exact: RoundedRBM, rows):
    """Return logits and means of the hidden units given a minibatch of rows, see `infer_units`."""
    return infer_units(machine.weights, exact.to_hidden, exact.hidden_bias, exact.exponent, rows)


def infer_units(weights, couplings, bias, exponent, rows):
    """Return logits and means of the units that couplings lead to, given a minibatch of rows, both (n, bias.size) float32.

    Given packed states they are exact, by the rounded `couplings`; given grey values they are float32 sums of the `weights`.
    """
    logits, means = (namespace(bias).empty((len(rows), bias.size), np.float32) for _ in range(2))
    if len(rows.grey):
        _grey_infer(weights, bias, rows.grey, logits, means)
    else:
        kernels.infer(rows.states, couplings, bias, untempered(home_of(bias)), logits, means, exponent=exponent)
    return logits, means


def infer_visible(exact: RoundedRBM, hidden, beta):
    """Return the means of the visible units given packed hidden states, (n, padded(n_visible)) float32, exact."""
    logits, means = (namespace(hidden).empty((len(hidden), exact.visible_bias.size), np.float32) for _ in range(2))
    kernels.infer(hidden, exact.to_visible, exact.visible_bias, beta, logits, means, exponent=exact.exponent)
    return means


def grey_infer(machine: RBM, exact: RoundedRBM, rows, logits, means) -> None:
    """Write logits and means of the hidden units given rows of real numbers; `means` may be `logits`, which are then lost."""
    _grey_infer(machine.weights, exact.hidden_bias, rows, logits, means)


def _grey_infer(weights, bias, rows, logits, means) -> None:
    kernels.grey_infer(rows, namespace(rows).ascontiguousarray(weights, np.float32), bias, logits, means)


def empty_chains(n_chains: int, n_visible: int, n_hidden: int, xp: Any = np) -> Chains:
    """Return chains with every unit off and no update made, as arrays of NumPy or CuPy."""
    visible, hidden = (xp.zeros((n_chains, chain.padded(n) // chain.WORD), np.uint64) for n in (n_visible, n_hidden))
    return Chains(visible, hidden, 0)


def start_at(exact: RoundedRBM, logits, *, key, update: int) -> Chains:
    """Return one chain for each row of `logits`, its hidden states drawn from them as block update number `update`."""
    n_visible, n_hidden = exact.to_hidden.shape[0], exact.to_visible.shape[0]
    chains = empty_chains(logits.shape[0], n_visible, n_hidden, namespace(logits))
    kernels.draw(chains.hidden, logits, all_free(n_hidden, home_of(logits)), key=key, first_chain=0, update=update)
    return chains._replace(updates=update + 1)


def advance(
    machine: RoundedRBM, chains: Chains, n_updates: int, *, key, beta, visible_free=None, hidden_free=None, first_chain=0,
    n_labels: int = 0,
) -> Chains:  # fmt: skip
    """Run `n_updates` more block updates of every chain, in place; two of them are a sweep. Row r is chain first_chain + r.

    `beta` is float32 of shape (n_chains,) or (1,); `visible_free` and `hidden_free` are packed, 1 where a unit is not
    clamped, shape (n_chains, words) or (1, words), or None where no unit is. The last `n_labels` visible units are a softmax
    group, free in the chains where its first unit is. Where all are clamped leave `n_labels` 0: the sweeps are then faster.
    """
    visible, hidden, start = chains
    home, n_visible = home_of(visible), machine.to_hidden.shape[0]
    sweep: Any = kernels.gibbs
    of_labels, numbers = (), {"exponent": machine.exponent, "key": key, "first_chain": first_chain}
    if n_labels:
        loose, visible_free = labels_apart(visible_free, n_visible, n_labels, home)
        sweep, of_labels, numbers["n_labels"] = kernels.gibbs_with_labels, (loose,), n_labels
    visible_free = all_free(n_visible, home) if visible_free is None else visible_free
    hidden_free = all_free(machine.to_visible.shape[0], home) if hidden_free is None else hidden_free
    stop, turn = start + n_updates, 2 * sweeps_a_turn(machine, visible.shape[0])
    for begin in range(start, stop, turn):
        sweep(
            (visible, hidden), (machine.to_hidden,), (machine.to_visible,), (machine.visible_bias, machine.hidden_bias), beta,
            (visible_free, hidden_free), *of_labels, machine.tables, start=begin, stop=min(begin + turn, stop), **numbers,
        )  # fmt: skip
    return Chains(visible, hidden, stop)


def draw_labels(machine: RoundedRBM, chains: Chains, loose, n_labels: int, *, key, beta, first_chain=0) -> None:
    """Draw the softmax group of the last `n_labels` visible units, for the next block update, where `loose` is not 0."""
    kernels.draw_softmax(
        chains.visible, (chains.hidden,), (machine.to_hidden,), machine.visible_bias, beta, loose, layer=0,
        first=machine.to_hidden.shape[0] - n_labels, n_classes=n_labels, exponent=machine.exponent, key=key,
        first_chain=first_chain, update=chains.updates,
    )  # fmt: skip


def labels_apart(visible_free, n_visible: int, n_labels: int, home: str):
    """Return in which chains the labels are free, and which units besides them: the `loose` and `free` of the kernels."""
    others = all_but_labels(n_visible, n_labels, home)
    if visible_free is None:
        return all_loose(home), others
    first = n_visible - n_labels
    bits = visible_free[:, first // chain.WORD] >> np.uint64(first % chain.WORD) & np.uint64(1)
    return bits.astype(np.uint8), visible_free & others


@cache
def all_but_labels(n_visible: int, n_labels: int, home: str = "cpu"):
    """Return a `free` argument of the kernels: all visible units but the last `n_labels`; shared, not to be written to."""
    return to_device(chain.pack(np.arange(n_visible)[None, :] < n_visible - n_labels), home)


@cache
def all_loose(home: str = "cpu"):
    """Return the `loose` argument of the kernels for labels that are free in every chain; shared, not to be written to."""
    return to_device(np.ones(1, np.uint8), home)


def sweeps_a_turn(machine: RoundedRBM, n_chains: int) -> int:
    """Return how many sweeps a kernel makes in one call: a fraction of a second's, so that Ctrl-C is heard in between."""
    cost_of_a_sweep = machine.to_hidden.size + COST_OF_A_UNIT * (machine.visible_bias.size + machine.hidden_bias.size)
    return max(1, COST_OF_A_TURN // (n_chains * cost_of_a_sweep))
