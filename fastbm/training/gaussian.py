"""Learning of the restricted Boltzmann machine with Gaussian visible units: ``ascent``'s step, and its negative phases.

The log-likelihood is climbed in the coordinates of x = (v - origin) / σ, see ``machines.gaussian_rbm``: weights W, the origin,
the biases c of the hidden units where x is 0, and log σ. There the gradient is

* ⟨x (h - λ)⟩ of the data less the model's, for W;
* ⟨h⟩ of the data less the model's, for c;
* ⟨x - W (p - λ)⟩ of the data, for origin / σ;
* ⟨x (x - W (p - λ))⟩ of the data, less 1, for log σ;

p being the hidden probabilities of the data: given h, x less its mean is a standard normal number, so that the model's part of
the last two is known, 0 and 1, and no chain's noise enters. They are centred [1]_, [2]_: λ, the offset, follows the mean hidden
states of the data (it is 0 when the gradient is not to be centred). Steps of the origin are in units of σ, so that no scale of
the data changes what is learnt. log σ has a rate of its own [2]_; a step of it is cut at 0.1, and σ is kept from vanishing.

References
----------
.. [1] Melchior, Fischer & Wiskott, "How to center deep Boltzmann machines", JMLR 17, 2016.
.. [2] Cho, Ilin & Raiko, "Improved learning of Gaussian-Bernoulli restricted Boltzmann machines", ICANN 2011.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbm import kernels
from fastbm.device import home_of, namespace, to_device, to_host
from fastbm.machines import gaussian_rbm, rbm
from fastbm.machines.gaussian_rbm import GaussianRBM, RoundedGaussianRBM
from fastbm.machines.rbm import Chains
from fastbm.training import ascent, optimizers, tempering
from fastbm.training.ascent import OFFSET_RATE, Info, Offsets, State

SMALLEST_SIGMA = np.float32(1e-3)
LARGEST_STEP = 0.1
"""What log σ may change by in one update: a row far out moves it no further."""


def init(machine: GaussianRBM, n_chains: int) -> State:
    """Return a state whose chains have all hidden units off, as if that were their first draw."""
    chains = gaussian_rbm.empty_chains(gaussian_rbm.rounded(machine), n_chains)
    return resume(machine, None, chains._replace(updates=1))


def resume(machine: GaussianRBM, velocity, chains: Chains, offsets=None, activity=None, ladder=None) -> State:
    """Return a state that goes on from what another carried, all of which it may change; see ``ascent.State``.

    `velocity` is a GaussianRBM of last steps, those of `visible_bias` in units of σ, those of `sigma` of log σ.
    """
    exact: Any = gaussian_rbm.rounded(machine, offsets and offsets.hidden)
    of_machine: Any = machine
    space = ascent.space(of_machine, 0, len(chains.visible))
    return State(of_machine, exact, velocity, chains, space, offsets, activity, ladder)


def step(
    state: State, rows, *, phase, key, n_steps, learning_rate, momentum=0.0, l1=0.0, l2=0.0, centered=True,
    sparsity_target=None, sparsity_cost=0.0, weights=None, sigma_rate=0.0, smallest_sigma: Any = SMALLEST_SIGMA,
) -> tuple[State, Info]:  # fmt: skip
    """Make one update of the parameters from one minibatch of real numbers, shape (n, n_visible); see ``ascent.step``.

    Parameters
    ----------
    sigma_rate : float
        Step of log σ along its gradient; 0 keeps σ as it is.
    smallest_sigma : float32, or array of shape (n_visible,)
        What σ is kept from falling below.
    """
    state = ascent.with_space(state, len(rows))
    if not centered or state.offsets is None:
        state = _with_center(state, _first_center(state, rows) if centered else None)
    machine: Any = state.machine
    x = gaussian_rbm.to_standard(_exact(state), rows)
    state, means = phase(state, x, key=key, n_steps=n_steps)
    factors, share = ascent.row_factors(len(rows), len(means), weights, home_of(x))
    n_hidden, activity = len(machine.hidden_bias), state.activity
    of_data = means[: len(rows), :n_hidden]
    gradients = _gradients(_exact(state), x, of_data, factors[: len(rows)], of_sigma=sigma_rate > 0)
    center = namespace(x).sum(of_data * factors[: len(rows), None], axis=0)
    if sparsity_target is not None:
        activity = ascent.pull_to_target(of_data, factors, activity, sparsity_target, sparsity_cost)
    velocity = state.velocity or optimizers.init(machine, momentum)
    state = state._replace(velocity=velocity, activity=activity)
    ascend = {"learning_rate": learning_rate * share, "momentum": momentum}
    hidden_bias, exact = _ascend(state, x, means, factors, l1=l1, l2=l2, **ascend)
    changes = _steps(velocity, *gradients, sigma_rate=sigma_rate * share, **ascend)
    machine = _moved(machine, _exact(state), state.offsets, hidden_bias, *changes, smallest_sigma=smallest_sigma)
    if state.offsets is not None:
        state.offsets.hidden[...] += OFFSET_RATE * (center - state.offsets.hidden)
    exact = gaussian_rbm.with_parameters(exact, machine, state.offsets and state.offsets.hidden)
    info = Info(of_data, means[len(rows) :, :n_hidden])
    return state._replace(machine=machine, exact=exact), info


def _exact(state: State) -> RoundedGaussianRBM:
    exact: Any = state.exact
    return exact


def _first_center(state: State, rows):
    """Return the mean hidden states of the first minibatch, where the offset starts."""
    _, means = gaussian_rbm.infer(_exact(state), gaussian_rbm.to_standard(_exact(state), rows))
    return namespace(means).mean(means[:, : len(state.machine.hidden_bias)], axis=0)


def _with_center(state: State, center) -> State:
    """Return the state with the offset λ at `center`, or, if that is None, with none."""
    if center is None and state.offsets is None:
        return state
    machine: Any = state.machine
    exact: Any = gaussian_rbm.with_parameters(_exact(state), machine, center)
    offsets = None if center is None else Offsets(namespace(center).zeros_like(machine.visible_bias), center)
    return state._replace(exact=exact, offsets=offsets)


def _gradients(exact: RoundedGaussianRBM, x, p, factors, *, of_sigma):
    """Return the gradients of origin / σ, and of log σ or None, from rows of x and their hidden probabilities."""
    xp = namespace(x)
    if not of_sigma:
        x, p = (xp.sum(rows * factors[:, None], axis=0)[None] for rows in (x, p))
        return (x - _visible_means(exact, p))[0], None
    errors = (x - _visible_means(exact, p)) * factors[:, None]
    return xp.sum(errors, axis=0), xp.sum(x * errors, axis=0) - xp.float32(1)


def _visible_means(exact: RoundedGaussianRBM, p):
    """Return W (p - λ) for rows of hidden probabilities: sums in a fixed order."""
    xp, n_visible = namespace(p), exact.weights.shape[0]
    means, unused = (xp.empty((len(p), exact.visible_bias.size), np.float32) for _ in range(2))
    weights = xp.ascontiguousarray(exact.weights.T)
    kernels.grey_infer(xp.ascontiguousarray(p), weights, exact.visible_bias, means, unused)
    return means[:, :n_visible]


def _ascend(state: State, x, means, factors, *, learning_rate, momentum, l1, l2):
    """Move the weights, and return c after its step and the rounding with the new couplings."""
    machine, exact, velocity, chains, space, offsets, *_ = state
    xp, n_hidden = namespace(x), len(machine.hidden_bias)
    no_velocity, centers = ascent.nothing(xp)
    if offsets is not None:
        centers = Offsets(xp.zeros_like(offsets.visible), offsets.hidden)  # x is centred as it is
    all_x = xp.concatenate([x, chains.visible[: len(means) - len(x)]])
    exponent = kernels.ascend(
        machine.weights, no_velocity if velocity is None else velocity.weights, exact.to_hidden, exact.to_visible,
        space.visible_gradient, space.hidden_gradient, *centers, chains.hidden[:0, :1], all_x, chains.hidden[:0, :1],
        means, factors, exact.tables, exponent=exact.exponent, learning_rate=learning_rate, momentum=momentum, l1=l1, l2=l2,
        offset_rate=0.0, both=True,
    )  # fmt: skip
    hidden_bias = exact.hidden_bias[:n_hidden].copy()
    optimizers.step(
        hidden_bias, space.hidden_gradient, velocity and velocity.hidden_bias, learning_rate=learning_rate, momentum=momentum
    )  # fmt: skip
    return hidden_bias, _exact(state)._replace(exponent=exponent)


def _steps(velocity, of_origin, of_sigma, *, learning_rate, momentum, sigma_rate):
    """Return the steps of origin / σ, and of log σ or None."""
    xp = namespace(of_origin)
    origin = xp.zeros_like(of_origin)
    optimizers.step(origin, of_origin, velocity and velocity.visible_bias, learning_rate=learning_rate, momentum=momentum)
    if of_sigma is None:
        return origin, None
    log_sigma = xp.zeros_like(of_sigma)
    optimizers.step(log_sigma, of_sigma, velocity and velocity.sigma, learning_rate=sigma_rate, momentum=momentum)
    return origin, xp.clip(log_sigma, -LARGEST_STEP, LARGEST_STEP)


def _moved(machine: GaussianRBM, exact: RoundedGaussianRBM, offsets, hidden_bias, origin, log_sigma, *, smallest_sigma):
    """Return the machine that has these weights, c = `hidden_bias`, and the origin and σ after their steps."""
    xp, sigma = namespace(origin), machine.sigma
    origin = exact.origin + sigma * origin
    if log_sigma is not None:
        sigma = xp.maximum(sigma * xp.exp(log_sigma), smallest_sigma)
    shift = 0.0 if offsets is None else xp.sum(machine.weights * offsets.hidden, axis=1)
    hidden_bias = hidden_bias - xp.sum(machine.weights * (origin / sigma)[:, None], axis=0)
    return GaussianRBM(machine.weights, origin - sigma * shift, hidden_bias, sigma)


# -------------------------------------------------------------------------------------------------- negative phases


def persistent(state: State, x, *, key, n_steps):
    """Run `n_steps` sweeps of the chains, from where they are; see ``ascent.NegativePhase``."""
    exact, home = _exact(state), home_of(x)
    chains = gaussian_rbm.advance(exact, state.chains, 2 * n_steps - 1, key=key, beta=rbm.untempered(home))
    means = state.space.means[: len(x) + len(chains.visible)]
    kernels.grey_infer(x, exact.weights, exact.hidden_bias, means, means)
    logits, of_chains = gaussian_rbm.infer(exact, chains.visible)
    means[len(x) :, : of_chains.shape[1]] = of_chains
    free = rbm.all_free(exact.weights.shape[1], home)
    kernels.draw(chains.hidden, logits, free, key=key, first_chain=0, update=chains.updates)
    return state._replace(chains=chains._replace(updates=chains.updates + 1)), means


def from_data(state: State, x, *, key, n_steps):
    """Run `n_steps` sweeps of one chain for each row, from there; see ``ascent.NegativePhase``."""
    exact = _exact(state)
    chains = gaussian_rbm.empty_chains(exact, len(x))._replace(visible=x.copy(), updates=state.chains.updates + 1)
    chains = gaussian_rbm.advance(exact, chains, 1, key=key, beta=rbm.untempered(home_of(x)))
    return persistent(state._replace(chains=chains), x, key=key, n_steps=n_steps)


def tempered(state: State, x, *, key, n_steps):
    """Run `n_steps` sweeps of chains at several β, each with a round of exchanges; see ``tempering``.

    β multiplies what is not x²/2, so that x has variance 1 at every β, and at 0 there is nothing left to explore.
    """
    exact, chains, ladder, home = _exact(state), state.chains, state.ladder, home_of(x)
    n_chains = len(chains.visible) // len(ladder.betas)
    of_chains, sources = chains.visible, np.arange(len(chains.visible))
    for _ in range(n_steps):
        beta = to_device(np.repeat(ladder.betas, n_chains).astype(np.float32), home)
        chains = gaussian_rbm.advance(exact, chains, 2, key=key, beta=beta, whole=False)
        logits, of_chains = gaussian_rbm.infer(exact, chains.visible)
        energies = _energies(exact, chains, logits)
        ladder, sources = tempering.exchange(ladder, to_host(energies), chains.updates // 2, key)
        order = to_device(sources, home)
        chains.visible[...], chains.hidden[...] = chains.visible[order], chains.hidden[order]
    means = state.space.means[: len(x) + n_chains]
    kernels.grey_infer(x, exact.weights, exact.hidden_bias, means, means)
    means[len(x) :, : of_chains.shape[1]] = of_chains[to_device(sources[:n_chains], home)]
    return state._replace(chains=chains, ladder=ladder), means


def _energies(exact: RoundedGaussianRBM, chains: Chains, logits):
    """Return what β multiplies, -(h (x W + c) - x W λ), of each chain, float64."""
    xp, (n_visible, n_hidden) = namespace(logits), exact.weights.shape
    h = kernels.unpack(chains.hidden, n_hidden, np.float32)
    of_x = xp.sum(chains.visible * exact.visible_bias[:n_visible], axis=1, dtype=np.float64)
    return -xp.sum(h * logits[:, :n_hidden], axis=1, dtype=np.float64) - of_x
