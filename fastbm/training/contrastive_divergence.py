"""Contrastive divergence [1]_ and its persistent form [2]_: negative phases of a few sweeps.

Chains start at the data (CD), or go on from where the last update left them (PCD).

References
----------
.. [1] Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14, 2002.
.. [2] Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML 2008.
"""

from __future__ import annotations

from fastbm import kernels
from fastbm.device import home_of
from fastbm.machines import rbm
from fastbm.training.ascent import State
from fastbm.training.minibatches import Rows


def persistent(state: State, rows: Rows, *, key, n_steps, known=None):
    """Run `n_steps` sweeps of the chains, from where they are; see ``ascent.NegativePhase``.

    `known` are the hidden means of the rows, where they are known already.
    """
    chains, exact = state.chains, state.exact
    if n_steps > 1:
        exact = rbm.rounded(state.machine, exact) if exact.tables.get("one way") else exact
        beta = rbm.untempered(home_of(exact.to_hidden))
        chains = rbm.advance(exact, chains, 2 * (n_steps - 1), key=key, beta=beta, n_labels=state.n_labels)
    return _last_sweep(state._replace(chains=chains, exact=exact), rows, key, known)


def from_data(state: State, rows: Rows, *, key, n_steps):
    """Run `n_steps` sweeps of one chain for each row, from there; see ``ascent.NegativePhase``."""
    logits, means = rbm.infer(state.machine, state.exact, rows)
    chains = rbm.start_at(state.exact, logits, key=key, update=state.chains.updates + 1)
    return persistent(state._replace(chains=chains), rows, key=key, n_steps=n_steps, known=means)


def _last_sweep(state: State, rows: Rows, key, known=None):
    """Sweep the chains once; return the state, and the hidden means of the data and of the chains."""
    machine, exact, chains = state.machine, state.exact, state.chains
    means = state.space.means[: len(rows) + len(chains.visible)]
    n_known = len(rows.grey) if known is None else len(rows)
    if known is not None:
        means[:n_known, : known.shape[1]] = known
    elif n_known:
        rbm.grey_infer(machine, exact, rows.grey, means, means)
    (n_visible, n_hidden), home = machine.weights.shape, home_of(machine.weights)
    if state.n_labels:
        rbm.draw_labels(exact, chains, rbm.all_loose(home), state.n_labels, key=key, beta=rbm.untempered(home))
    visible_free = rbm.all_but_labels(n_visible, state.n_labels, home)
    kernels.phases(
        rows.states[n_known:], chains.visible, chains.hidden, means[n_known:], exact.to_hidden, exact.to_visible,
        exact.visible_bias, exact.hidden_bias, visible_free, rbm.all_free(n_hidden, home), exact.tables,
        exponent=exact.exponent, key=key, update=chains.updates,
    )  # fmt: skip
    return state._replace(chains=chains._replace(updates=chains.updates + 2)), means
