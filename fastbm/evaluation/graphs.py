"""General machines: log Z by enumeration, free energies, and pseudo-likelihoods."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastbm.device import home_of, namespace, to_device
from fastbm.evaluation import pseudo_likelihood as of_restricted
from fastbm.evaluation.exact import MOST_UNITS, exact_log_partition, n_enumerated, states_of
from fastbm.evaluation.likelihood import free_energies, pseudo_log_likelihoods
from fastbm.evaluation.paths import annealed
from fastbm.machines import boltzmann, inference
from fastbm.machines.boltzmann import Boltzmann
from fastbm.machines.layout import layout_of
from fastbm.machines.rbm import RBM
from fastbm.units import bernoulli

STATES_AT_ONCE = 2**12
ROWS_AT_ONCE = 1024
NUMBERS_AT_ONCE = 2**22


def split(machine: Boltzmann) -> tuple[np.ndarray, np.ndarray]:
    """Return the units whose states `exact_log_partition` enumerates, and those that are summed out, as numbers of units.

    Summed out are the largest set of units, of those drawn together, that have no couplings among them.
    """
    layout = layout_of(boltzmann.graph_of(machine))
    largest = int(np.argmax(layout.sizes))
    begin = int(layout.starts[largest])
    summed = np.asarray(layout.order[begin : begin + int(layout.sizes[largest])])
    return np.setdiff1d(np.arange(boltzmann.n_units(machine)), summed), summed


@n_enumerated.register
def _(machine: Boltzmann) -> int:
    everything = np.ones(boltzmann.n_units(machine), bool)
    return min(len(split(machine)[0]), inference.largest_component(machine, everything))


@exact_log_partition.register
def _(machine: Boltzmann) -> float:
    """log Σ_s exp(-energy(s)): of each component, or over the states of all units but those of one block."""
    everything = np.ones(boltzmann.n_units(machine), bool)
    xp, home, size = namespace(machine.weights), home_of(machine.weights), len(everything)
    if inference.is_enumerable(machine, everything):
        return float(inference.summed_out(machine, xp.zeros((1, size), dtype=np.float64), everything)[0][0])
    units, summed = split(machine)
    if len(units) > MOST_UNITS:
        raise ValueError(
            f"the exact log partition enumerates the states of all units but those of the largest block, of at most "
            f"{MOST_UNITS} units; of this machine these are {len(units)}"
        )
    free, places = np.isin(np.arange(size), summed), to_device(units, home)
    parts = []
    for begin in range(0, 2 ** len(units), STATES_AT_ONCE):
        some = to_device(states_of(begin, min(begin + STATES_AT_ONCE, 2 ** len(units)), len(units)), home)
        rows = xp.zeros((some.shape[0], size), dtype=np.float64)
        rows[:, places] = some
        terms = inference.summed_out(machine, rows, free)[0]
        highest = float(terms.max())
        parts.append(highest + math.log(float(xp.exp(terms - highest).sum())))
    top = max(parts)
    return top + math.log(math.fsum(math.exp(part - top) for part in parts))


@annealed.register
def _(machine: Boltzmann, rows=None) -> Any:
    raise ValueError(
        f"a general machine is neither annealed nor traced; its log Z is known only by enumeration, method='exact', of at most "
        f"{MOST_UNITS} units, those of the largest block left out; of this machine these are {n_enumerated(machine)}"
    )


@free_energies.register
def _(machine: Boltzmann, X) -> Any:
    rows = X.toarray() if hasattr(X, "toarray") else X
    parts = [inference.free_energy(machine, rows[k : k + ROWS_AT_ONCE]) for k in range(0, rows.shape[0], ROWS_AT_ONCE)]
    return namespace(rows).concatenate(parts)


@pseudo_log_likelihoods.register
def pseudo_likelihood(machine: Boltzmann, v) -> Any:
    """Return Σ_i log p(v_i | all other v) in nats, (n_rows,), float64.

    Exact where hidden units fall into components of at most 12; else hidden units are taken to be independent of each other,
    at their mean-field probabilities given v, which flatters the machine a little. The flip of v_i is 1 - v_i.
    """
    xp = namespace(v)
    rows = xp.ascontiguousarray(v.toarray() if hasattr(v, "toarray") else v, dtype=np.float64)
    parts = [_flips(machine, rows[k : k + ROWS_AT_ONCE]) for k in range(0, rows.shape[0], ROWS_AT_ONCE)]
    return namespace(rows).concatenate([-bernoulli.log_partition(-rise).sum(axis=1) for rise in parts])


def _flips(machine: Boltzmann, rows):
    """Return by how much the free energy rises when visible unit i flips, (n_rows, n_visible)."""
    n_visible = machine.visible_bias.size
    couplings, changes = boltzmann.matrix_of(machine, np.float64), 1 - 2 * rows
    own = rows @ couplings[:n_visible][:, :n_visible] + machine.visible_bias.astype(np.float64)
    if machine.hidden_bias.size == 0:
        return -changes * own
    hidden = np.arange(boltzmann.n_units(machine)) >= n_visible
    between = couplings[:n_visible][:, n_visible:]
    largest = inference.largest_component(machine, hidden)
    if largest == 1 and hasattr(between, "tocoo"):
        return -changes * own - _hidden_change(between, machine.hidden_bias, rows, changes)
    if largest == 1:
        restricted = RBM(between, machine.visible_bias.astype(np.float64), machine.hidden_bias.astype(np.float64))
        return -changes * own - of_restricted.hidden_change(restricted, rows, changes)
    if largest > inference.LOW_UNITS:
        means = inference.hidden_means(machine, rows)
        return -changes * (own + means @ between.T)
    before, rise = inference.free_energy(machine, rows), namespace(rows).zeros_like(rows)
    for unit in range(n_visible):
        flipped = rows.copy()
        flipped[:, unit] = 1 - rows[:, unit]
        rise[:, unit] = inference.free_energy(machine, flipped) - before
    return rise


def _hidden_change(between, hidden_bias, rows, changes):
    """Return the change of Σ_j log(1 + exp(logit j)) when visible unit i changes, (n_rows, n_visible); `between` is sparse."""
    stored, logits = between.tocsr().tocoo(), rows @ between + hidden_bias
    out, size = np.zeros_like(rows), max(1, NUMBERS_AT_ONCE // len(rows))
    for begin in range(0, stored.nnz, size):
        units, hidden, weights = (array[begin : begin + size] for array in (stored.row, stored.col, stored.data))
        seen = logits[:, hidden]
        gain = bernoulli.log_partition(seen + changes[:, units] * weights) - bernoulli.log_partition(seen)
        starts = np.flatnonzero(np.diff(units, prepend=-1))  # units ascend
        out[:, units[starts]] += np.add.reduceat(gain, starts, axis=1)
    return out
