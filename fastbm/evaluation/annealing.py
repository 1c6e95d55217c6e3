"""Annealed importance sampling [1]_, forward and reverse [2]_: the logarithms of the weights of chains.

Forward, a chain begins at an exact draw from the base, and the mean of e^w estimates Z_1 / Z_0 without bias; reverse, it begins
at the machine's own distribution, and the mean of e^(-w) estimates Z_0 / Z_1. Weights stay in logarithms and in float64.
Chains are shared out by joblib in groups; a chain's random numbers are those of its number in the whole run, so that
its weight does not depend on the groups, bit for bit.

References
----------
.. [1] Neal, "Annealed importance sampling", Statistics and Computing 11, 2001.
.. [2] Burda, Grosse & Salakhutdinov, "Accurate and conservative estimates of MRF log-likelihood using reverse annealing",
   AISTATS 2015.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from tqdm.auto import tqdm

from fastbm import kernels
from fastbm.device import home_of, namespace, using

VECTOR = 32
"""Chains that kernels take at once: groups are multiples of it."""
LARGEST_GROUP = 512


def forward(path, betas, first: int, last: int, *, key, verbose=0, increments=None):
    """Anneal chains `first` … `last` - 1 from the base to the machine; return their states and log weights.

    log w = Σ_k log p*_k+1(v_k) - log p*_k(v_k), where v_0 is drawn from the base and v_k from v_k-1 by a sweep at β_k.
    `increments` (len(betas) - 1, n_chains), where given, gets the terms.
    """
    states, n_chains = path.start(last - first, key=key, first_chain=first), last - first
    path.prepare(n_chains, len(betas))
    log_weights = _zeros(states, n_chains)
    for k in _bar(range(1, len(betas)), verbose, "annealing", first, last):
        before = log_weights.copy() if increments is not None else 0.0
        path.add_log_ratios(log_weights, states, betas[k - 1], betas[k])
        if increments is not None:
            increments[k - 1] = log_weights - before
        if k + 1 < len(betas):
            states = path.sweep(states, betas[k], k, key=key, first_chain=first)
    return states, log_weights


def reverse(path, betas, states, first: int, last: int, *, key, n_steps: int, verbose=0):
    """Anneal chains from (nearly) the machine's distribution back to the base; return the same sums as `forward`.

    The chains first make `n_steps` sweeps at β = 1. A sweep of each β is its own reverse: hidden units, then visible units.
    """
    n_chains = last - first
    path.prepare(n_chains, n_steps + len(betas))
    log_weights = _zeros(states, n_chains)
    for k in range(n_steps):
        states = path.sweep(states, 1.0, k, key=key, first_chain=first)
    for k in _bar(range(len(betas) - 1, 0, -1), verbose, "annealing back", first, last):
        path.add_log_ratios(log_weights, states, betas[k - 1], betas[k])
        if k > 1:
            number = n_steps + len(betas) - k
            states = path.sweep(states, betas[k - 1], number, key=key, first_chain=first)
    return log_weights


def in_groups(function, n_chains: int, n_jobs, arguments) -> list:
    """Call ``function(first, last, *arguments(first, last))`` for groups of chains on joblib's workers; return the results.

    Threads, unless ``joblib.parallel_config`` names another backend: kernels release the GIL. Together workers use as many
    threads as kernels called from here would.
    """
    n_workers = effective_n_jobs(n_jobs)
    size = min(LARGEST_GROUP, -(-n_chains // (VECTOR * n_workers)) * VECTOR)
    groups = [(first, min(first + size, n_chains)) for first in range(0, n_chains, size)]
    if n_workers == 1:
        return [function(*group, *arguments(*group)) for group in groups]
    share = max(1, kernels.n_threads() // n_workers)
    tasks = [delayed(_limited)(share, function, *group, *arguments(*group)) for group in groups]
    return list(Parallel(n_jobs=n_jobs, prefer="threads")(tasks))


def _limited(n_threads, function, *arguments):
    """Call a function with as many threads for its kernels as there are for this worker."""
    with kernels.limited_to(min(n_threads, kernels.n_threads())):
        return function(*arguments)


def forward_group(first, last, path, betas, key, verbose):
    with using(home_of(path.base)):
        return forward(path, betas, first, last, key=key, verbose=verbose)


def reverse_group(first, last, path, betas, states, key, n_steps, verbose):
    with using(home_of(path.base)):
        return reverse(path, betas, states, first, last, key=key, n_steps=n_steps, verbose=verbose)


def _zeros(states, n_chains: int) -> Any:
    return namespace(states[0]).zeros(n_chains, dtype=np.float64)


def _bar(steps, verbose, what: str, first: int, last: int):
    name = f"{what}, chains {first} to {last - 1}"
    return tqdm(steps, disable=not verbose, desc=name, unit="sweep", leave=False, mininterval=0.5)
