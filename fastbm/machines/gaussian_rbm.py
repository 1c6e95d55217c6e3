"""The restricted Boltzmann machine with Gaussian visible units: parameters, energies, log Z, and its rounding for the chain.

energy(v, h) = Σ_i (v_i - a_i)² / (2σ_i²) - Σ_ij (v_i / σ_i) w_ij h_j - b h [1]_, with weights W, visible biases a, hidden
biases b and deviations σ. So p(h_j = 1 | v) is the logistic function of b_j + Σ_i (v_i / σ_i) w_ij, and v_i given h is normal
with mean a_i + σ_i Σ_j w_ij h_j and deviation σ_i.

Chains, and learning, see the visible units as x = (v - origin) / σ, where the origin is the mean of v at certain hidden states
λ: x given h is normal with mean W (h - λ) and deviation 1, and the logits of h are x W + c with c = b + (origin / σ) W. Then no
number is larger than it need be, wherever the data lie.

References
----------
.. [1] Cho, Ilin & Raiko, "Improved learning of Gaussian-Bernoulli restricted Boltzmann machines", ICANN 2011.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastbm import chain, kernels
from fastbm.device import home_of, namespace, to_host
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains, RoundedRBM
from fastbm.units import bernoulli, gaussian

MOST_HIDDEN = 25
"""Hidden units that `log_partition` sums over, at most."""
STATES_AT_A_TIME = 2**13


class GaussianRBM(NamedTuple):
    """Parameters: weights (n_visible, n_hidden), visible_bias (n_visible,), hidden_bias (n_hidden,), sigma (n_visible,)."""

    weights: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray
    sigma: np.ndarray


def hidden_logits(machine: GaussianRBM, v):
    """Return (v / σ) W + b, the logits of the hidden units, shape (n_samples, n_hidden)."""
    x = (v - machine.visible_bias) / machine.sigma
    return x @ machine.weights + hidden_bias_at(machine, machine.visible_bias)


def visible_means(machine: GaussianRBM, h):
    """Return a + σ (h Wᵀ), the means of the visible units, shape (n_samples, n_visible)."""
    return machine.visible_bias + machine.sigma * (h @ machine.weights.T)


def hidden_bias_at(machine: GaussianRBM, v):
    """Return b + (v / σ) W for one row v: added in the order of the visible units, whatever the number of threads."""
    xp = namespace(machine.weights)
    return machine.hidden_bias + xp.sum(machine.weights * (v / machine.sigma)[:, None], axis=0)


def energy(machine: GaussianRBM, v, h):
    """Return the energy of each row of joint states, shape (n_samples,)."""
    xp, (weights, visible_bias, hidden_bias, sigma) = namespace(h), machine
    x = (v - visible_bias) / sigma
    return xp.sum(0.5 * x**2 - v / sigma * (h @ weights.T), axis=1) - h @ hidden_bias


def free_energy(machine: GaussianRBM, v):
    """Return Σ_i (v_i - a_i)² / (2σ_i²) - Σ_j log(1 + exp(b_j + Σ_i (v_i / σ_i) w_ij)), shape (n_samples,)."""
    xp, softplus = namespace(v), bernoulli.log_partition(hidden_logits(machine, v))
    x = (v - machine.visible_bias) / machine.sigma
    return 0.5 * xp.sum(x**2, axis=1) - xp.sum(softplus, axis=1)


# ----------------------------------------------------------------------------------------------------------- log Z


def log_partition(machine: GaussianRBM, beta: float = 1.0) -> float:
    """Return log Z = log Σ_h ∫ exp(-β energy(v, h)) dv in nats, exactly: hidden states are enumerated, in float64 on the CPU.

    The integral over v is Π_i √(2π/β) σ_i exp(β (a_i m_i / σ_i + m_i² / 2)) with m = W h, so that what is left is
    Σ_h exp(β (c h + h WᵀW h / 2)), c = b + (a / σ) W.

    Raises
    ------
    ValueError
        When there are more than 25 hidden units.
    """
    n_visible, n_hidden = machine.weights.shape
    if n_hidden > MOST_HIDDEN:
        raise ValueError(f"log Z is summed over the states of at most {MOST_HIDDEN} hidden units, this machine has {n_hidden}")
    machine = GaussianRBM(*(np.asarray(to_host(array), np.float64) for array in machine))
    bias, couplings = hidden_bias_at(machine, machine.visible_bias), machine.weights.T @ machine.weights
    parts = (beta * (h @ bias + 0.5 * ((h @ couplings) * h).sum(axis=1)) for h in _all_states(n_hidden))
    sums = np.array([np.logaddexp.reduce(part) for part in parts])
    return float(np.logaddexp.reduce(sums) + n_visible * gaussian.log_partition(0.0, beta) + np.log(machine.sigma).sum())


def _all_states(n_units: int) -> Iterator[np.ndarray]:
    """Yield all states of binary units, some thousand rows at a time."""
    for begin in range(0, 2**n_units, STATES_AT_A_TIME):
        numbers = np.arange(begin, min(begin + STATES_AT_A_TIME, 2**n_units))
        yield ((numbers[:, None] >> np.arange(n_units)) & 1).astype(np.float64)


# -------------------------------------------------------------------------------------------------------- sampling


class RoundedGaussianRBM(NamedTuple):
    """The machine that is sampled: the rounding of the machine of x, and what leads from there to v = origin + σ x.

    `visible_bias` is -W λ, `hidden_bias` is c; `weights` are float32. For the other fields see ``rbm.RoundedRBM``.
    """

    to_hidden: np.ndarray
    to_visible: np.ndarray
    visible_bias: np.ndarray
    hidden_bias: np.ndarray
    exponent: Any
    tables: dict
    weights: np.ndarray
    origin: np.ndarray
    sigma: np.ndarray


def rounded(machine: GaussianRBM, center=None) -> RoundedGaussianRBM:
    """Round a machine for sampling; ValueError when its weights are too large or not finite.

    `center` are the hidden states λ at which x is 0, by default all off.
    """
    standard, *rest = _standard(machine, center)
    return _joined(rbm.rounded(standard), rest)


def with_parameters(exact: RoundedGaussianRBM, machine: GaussianRBM, center=None) -> RoundedGaussianRBM:
    """Return a rounding whose couplings are those of the machine already, with all the rest; its biases are overwritten."""
    standard, *rest = _standard(machine, center)
    fields: Any = exact[: len(RoundedRBM._fields)]
    return _joined(rbm.with_biases(RoundedRBM(*fields), standard), rest)


def _joined(exact: RoundedRBM, rest) -> RoundedGaussianRBM:
    fields: Any = (*exact, *rest)
    return RoundedGaussianRBM(*fields)


def _standard(machine: GaussianRBM, center):
    """Return the machine of x, and float32 weights, the origin, and σ."""
    xp = namespace(machine.weights)
    shift = xp.zeros_like(machine.visible_bias) if center is None else xp.sum(machine.weights * center, axis=1)
    origin = machine.visible_bias + machine.sigma * shift
    standard = RBM(machine.weights, -shift, hidden_bias_at(machine, origin))
    return standard, xp.ascontiguousarray(machine.weights, np.float32), origin, machine.sigma


def to_standard(machine: RoundedGaussianRBM, v):
    """Return x = (v - origin) / σ, float32, C-contiguous."""
    return namespace(v).ascontiguousarray((v - machine.origin) / machine.sigma, np.float32)


def from_standard(machine: RoundedGaussianRBM, x):
    """Return v = origin + σ x."""
    return machine.origin + machine.sigma * x


def empty_chains(machine: RoundedGaussianRBM, n_chains: int) -> Chains:
    """Return chains at x = 0 with every hidden unit off; `visible` is x, float32 of shape (n_chains, n_visible)."""
    n_visible, xp = machine.weights.shape[0], namespace(machine.weights)
    hidden = xp.zeros((n_chains, machine.hidden_bias.size // chain.WORD), np.uint64)
    return Chains(xp.zeros((n_chains, n_visible), np.float32), hidden, 0)


def infer(machine: RoundedGaussianRBM, x):
    """Return logits and means of the hidden units given x, both (n, padded(n_hidden)) float32."""
    xp = namespace(x)
    logits, means = (xp.empty((len(x), machine.hidden_bias.size), np.float32) for _ in range(2))
    kernels.grey_infer(x, machine.weights, machine.hidden_bias, logits, means)
    return logits, means


def infer_visible(machine: RoundedGaussianRBM, hidden, beta):
    """Return β W (h - λ), means of x, given packed hidden states, (n, padded(n_visible)) float32: exact sums of integers."""
    means, unused = (namespace(hidden).empty((len(hidden), machine.visible_bias.size), np.float32) for _ in range(2))
    kernels.infer(hidden, machine.to_visible, machine.visible_bias, beta, means, unused, exponent=machine.exponent)
    return means


def advance(
    machine: RoundedGaussianRBM, chains: Chains, n_updates: int, *, key, beta, visible_free=None, hidden_free=None,
    whole=True, first_chain=0,
) -> Chains:  # fmt: skip
    """Run `n_updates` more block updates of every chain, in place; two of them are a sweep, even ones draw the hidden units.

    `beta` is float32 of shape (n_chains,) or (1,); it multiplies the `whole` energy, and is above 0, or only what is not x²/2,
    so that x has variance 1 at every β. Row r is chain number first_chain + r. `visible_free` and `hidden_free` are packed, 1
    where a unit is not clamped, shape (n_chains, words) or (1, words), or None where no unit is.
    """
    visible, hidden, start = chains
    home, (n_visible, n_hidden) = home_of(visible), machine.weights.shape
    visible_free = rbm.all_free(n_visible, home) if visible_free is None else visible_free
    hidden_free = rbm.all_free(n_hidden, home) if hidden_free is None else hidden_free
    one = rbm.untempered(home)
    of_means, of_variances = (one, beta) if whole else (beta, one)
    for update in range(start, start + n_updates):
        position: dict[str, Any] = {"key": key, "first_chain": first_chain, "update": update}
        if update % 2 == 0:
            logits, _ = infer(machine, visible)
            if beta is not one:
                logits *= beta[:, None]
            kernels.draw(hidden, logits, hidden_free, **position)
        else:
            kernels.draw_normal(visible, infer_visible(machine, hidden, of_means), of_variances, visible_free, **position)
    return Chains(visible, hidden, start + n_updates)
