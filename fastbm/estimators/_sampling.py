"""Running the chains that users ask for: a start, clamps, sweeps in short turns, rows at the end."""

from __future__ import annotations

import numpy as np
from tqdm.auto import tqdm

from fastbm import chain
from fastbm.chain import Purpose
from fastbm.device import home_of, namespace, to_device
from fastbm.machines.rbm import Chains, RoundedRBM, advance, all_free, empty_chains, sweeps_a_turn


def fair_coins(machine: RoundedRBM, n_chains: int, seed: int, n_labels: int = 0) -> Chains:
    """Return chains whose visible units are fair coins, and the last `n_labels` a fair die: one visible update at β = 0."""
    xp, key = namespace(machine.to_hidden), chain.stream_key(seed, Purpose.SAMPLING_START)
    chains = empty_chains(n_chains, machine.to_hidden.shape[0], machine.to_visible.shape[0], xp)
    advance(machine, chains._replace(updates=1), 1, key=key, beta=xp.zeros(1, np.float32), n_labels=n_labels)
    return chains


def clamp_units(chains: Chains, clamp: np.ndarray | None, n_visible: int):
    """Set clamped units to their values, in place; return the kernels' `visible_free`."""
    home = home_of(chains.visible)
    if clamp is None:
        return all_free(n_visible, home)
    free = to_device(chain.pack(np.isnan(clamp)), home)
    chains.visible[...] = (chains.visible & free) | to_device(chain.pack(np.nan_to_num(clamp)), home)
    return free


def with_clamped(rows, clamp: np.ndarray | None):
    """Return rows (n, n_units) with units at the values of `clamp` where it is not NaN; it may have labels after the units."""
    if clamp is None:
        return rows
    xp, values = namespace(rows), to_device(clamp[:, : rows.shape[1]], home_of(rows))
    return xp.where(xp.isnan(values), rows, values.astype(rows.dtype))


def sweep(machine, chains: Chains, n_steps: int, *, key, beta, visible_free, verbose, advance=advance) -> Chains:
    """Run `n_steps` sweeps in short turns, with a progress bar when `verbose`; `advance` is that of the machine's module."""
    turn = sweeps_a_turn(machine, chains.visible.shape[0])
    with tqdm(total=n_steps, disable=not verbose, desc="sampling", unit="sweep", leave=False, mininterval=0.5) as bar:
        for done in range(0, n_steps, turn):
            n_sweeps = min(turn, n_steps - done)
            chains = advance(machine, chains, 2 * n_sweeps, key=key, beta=beta, visible_free=visible_free)
            bar.update(n_sweeps)
    return chains
