"""The phases of ``training.mean_field`` for a machine whose last layer are labels: given with the data, drawn in the chains."""

from __future__ import annotations

from functools import partial

from fastbm.machines import dbm, dbm_labels
from fastbm.training.mean_field import DataPhase, State


def clamped(numbers) -> DataPhase:
    """Return the data phase of a minibatch whose rows have classes of these numbers, (n_rows,) on the host."""
    return partial(_clamped, numbers=numbers)


def _clamped(exact, rows, *, numbers, **how):
    return dbm_labels.clamped_mean_field(exact, rows, numbers, **how)


def persistent(state: State, *, key, n_steps) -> tuple[State, dict]:
    """Run `n_steps` sweeps of the chains, labels included; see ``mean_field.NegativePhase``."""
    chains = dbm_labels.advance(state.exact, state.chains, 2 * n_steps, key=key)
    last = len(chains.layers) - 1
    means = {layer: dbm.infer(state.exact, chains.layers, layer)[1] for layer in range(1, last, 2)}
    if last % 2:
        means[last] = dbm_labels.label_means(state.exact, chains.layers)
    return state._replace(chains=chains), means
