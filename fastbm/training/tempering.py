"""Parallel tempering [1]_: a negative phase of chains at several inverse temperatures, which exchange their states.

A *ladder* is one chain at each β from 1 down. After every sweep neighbours in a ladder exchange their states with probability
min(1, exp((β - β') (E - E'))), E being the energy of visible and hidden states at β = 1: the product of their distributions
stays as it is. Pairs take turns, even and odd ones. The inverse temperatures between the ends are moved, now and then, so that
all pairs exchange as often [2]_. Chains at small β move freely, and bring the one at β = 1 from mode to mode.

References
----------
.. [1] Desjardins, Courville, Bengio, Vincent & Delalleau, "Tempered Markov chain Monte Carlo for training of restricted
   Boltzmann machines", AISTATS 2010.
.. [2] Syed, Bouchard-Côté, Deligiannidis & Doucet, "Non-reversible parallel tempering", JRSS B 84, 2022: the communication
   barrier, and its even division.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.device import home_of, namespace, to_device, to_host
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains, RoundedRBM
from fastbm.training.ascent import State
from fastbm.training.minibatches import Rows

ROUNDS = 100
"""Rounds of exchanges from one change of the inverse temperatures to the next; each pair takes part in half of them."""
BLOCK = 2
"""The block of the random words of exchanges; those of the units are 0 and 1."""
SMALLEST_BARRIER = 1e-3
"""So that inverse temperatures which never refuse keep some distance."""


class Ladder(NamedTuple):
    """The inverse temperatures `betas`, float64, from 1 down, and how often neighbours have exchanged states.

    Chain ``level * n_ladders + k`` is the one of ladder k at ``betas[level]``. `accepted` are sums of probabilities of
    exchanges since the inverse temperatures were last moved, `rounds` rounds ago, one a pair; `rates` are those of the time
    before, NaN where there was none. Unless `adapted`, the inverse temperatures stay.
    """

    betas: np.ndarray
    accepted: np.ndarray
    rounds: int
    rates: np.ndarray
    adapted: bool


def init(betas, *, adapted: bool) -> Ladder:
    """Return a ladder of these inverse temperatures."""
    betas = np.array(betas, np.float64)
    pairs = len(betas) - 1
    return Ladder(betas, np.zeros(pairs), 0, np.full(pairs, np.nan), adapted)


def tempered(state: State, rows: Rows, *, key, n_steps):
    """Run `n_steps` sweeps of all chains, each with a round of exchanges; see ``ascent.NegativePhase``."""
    machine, exact, chains, ladder = state.machine, state.exact, state.chains, state.ladder
    exact = rbm.rounded(machine, exact) if exact.tables.get("one way") else exact
    n_chains, width = len(chains.visible) // len(ladder.betas), exact.hidden_bias.size
    logits, of_chains = (namespace(exact.to_hidden).empty((len(chains.visible), width), np.float32) for _ in range(2))
    sources = np.arange(len(chains.visible))
    for _ in range(n_steps):
        chains, ladder, sources = sweep_and_exchange(machine, exact, chains, ladder, logits, of_chains, key, state.n_labels)
    means = state.space.means[: len(rows) + n_chains]
    means[: len(rows), :width] = rbm.infer(machine, exact, rows)[1]
    means[len(rows) :, :width] = of_chains[to_device(sources[:n_chains], home_of(of_chains))]
    return state._replace(exact=exact, chains=chains, ladder=ladder), means


def sweep_and_exchange(machine: RBM, exact: RoundedRBM, chains: Chains, ladder: Ladder, logits, means, key, n_labels: int = 0):
    """Make a sweep and a round of exchanges; return the chains, the ladder, and which chain each state came from.

    `logits` and `means` get those of the hidden units at β = 1, before the exchanges.
    """
    home, n_chains = home_of(exact.to_hidden), len(chains.visible) // len(ladder.betas)
    beta = to_device(np.repeat(ladder.betas, n_chains).astype(np.float32), home)
    chains = rbm.advance(exact, chains, 2, key=key, beta=beta, n_labels=n_labels)
    kernels.infer(
        chains.visible, exact.to_hidden, exact.hidden_bias, rbm.untempered(home), logits, means, exponent=exact.exponent
    )
    ladder, sources = exchange(ladder, to_host(energies(machine, chains, logits)), chains.updates // 2, key)
    order = to_device(sources, home)
    chains.visible[...], chains.hidden[...] = chains.visible[order], chains.hidden[order]
    return chains, ladder, sources


def energies(machine: RBM, chains: Chains, logits):
    """Return the energies -(a v + Σ_j h_j x_j) of chains, float64, given the hidden logits x at their visible states."""
    xp, (n_visible, n_hidden) = namespace(logits), machine.weights.shape
    v, h = kernels.unpack(chains.visible, n_visible, np.float32), kernels.unpack(chains.hidden, n_hidden, np.float32)
    return -xp.sum(v * machine.visible_bias, axis=1, dtype=np.float64) - xp.sum(
        h * logits[:, :n_hidden], axis=1, dtype=np.float64
    )


def exchange(ladder: Ladder, energies: np.ndarray, sweep: int, key):
    """Choose which chains exchange their states after a sweep; return the ladder, and the chain that each state comes from.

    Counters used: (pair // 4, ladder, sweep, 2).
    """
    n_chains = len(energies) // len(ladder.betas)
    lower = np.arange(sweep % 2, len(ladder.betas) - 1, 2)
    of_levels = energies.reshape(len(ladder.betas), n_chains)
    ratios = (ladder.betas[lower] - ladder.betas[lower + 1])[:, None] * (of_levels[lower] - of_levels[lower + 1])
    chances = np.exp(np.minimum(ratios, 0.0))
    words = chain.random_words(len(lower), np.arange(n_chains), sweep, BLOCK, key).T
    levels, ladders = np.nonzero((words + 0.5) * 2.0**-32 < chances)
    first, second = lower[levels] * n_chains + ladders, (lower[levels] + 1) * n_chains + ladders
    sources = np.arange(len(energies))
    sources[first], sources[second] = second, first
    accepted = ladder.accepted.copy()
    accepted[lower] += chances.mean(axis=1)
    return _counted(ladder, accepted), sources


def _counted(ladder: Ladder, accepted: np.ndarray) -> Ladder:
    """Return the ladder after one more round, its inverse temperatures moved where the time has come."""
    if ladder.rounds + 1 < ROUNDS:
        return ladder._replace(accepted=accepted, rounds=ladder.rounds + 1)
    rates = accepted / (ROUNDS // 2)
    betas = evened(ladder.betas, rates) if ladder.adapted else ladder.betas
    return Ladder(betas, np.zeros_like(accepted), 0, rates, ladder.adapted)


def evened(betas: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Return inverse temperatures with the same ends, half way to those at which all pairs would be refused as often.

    The barrier between two inverse temperatures is the rate at which exchanges are refused; it adds up, so that its even
    division makes the rates even [2]_.
    """
    barrier = np.concatenate([[0.0], np.cumsum(np.maximum(1.0 - rates, SMALLEST_BARRIER))])
    even = np.interp(np.linspace(0.0, barrier[-1], len(betas)), barrier, betas)
    even[[0, -1]] = betas[[0, -1]]
    return (betas + even) / 2
