"""How a machine is annealed: the protocol that any kind of machine joins, and the restricted machine's way.

A *path* is a family of distributions p_β(v) = p*_β(v) / Z_β, from β = 0, the *base*, which can be drawn from exactly and whose
Z is known, to β = 1, the machine. A kind of machine joins by ``annealed.register(ItsParameters)``, a function that returns
an object with the methods of `Path`; all of annealing and tracing is then written once.
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastbm import kernels
from fastbm.device import aligned_zeros, home_of, namespace, to_device
from fastbm.evaluation.given import check_binary, check_unit_interval, unsupported
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains, RoundedRBM
from fastbm.units import bernoulli

SMOOTHING = 0.01
"""How far from 0 and 1 the mean activities of the base are kept."""


class Path(Protocol):
    """What a kind of machine must be able to do to be annealed. States are of its own kind, one row a chain.

    Row r is chain first_chain + r of the run, so that nothing depends on how chains are shared out.
    """

    def log_base(self) -> float:
        """Return log Z at β = 0."""
        ...

    def prepare(self, n_chains: int, n_sweeps: int) -> None:
        """Get ready for so many sweeps of so many chains."""
        ...

    def start(self, n_chains: int, *, key, first_chain: int) -> Any:
        """Return states drawn from the base, exactly: sweep number 0 of the stream."""
        ...

    def enter(self, rows) -> Any:
        """Return states with these visible rows."""
        ...

    def sweep(self, states, beta: float, number: int, *, key, first_chain: int) -> Any:
        """Return the states after sweep `number` of the stream, which leaves p_β as it is; the old ones may be overwritten."""
        ...

    def add_log_ratios(self, out, states, before: float, after: float) -> None:
        """Add log p*_after(v) - log p*_before(v) of each row to `out`, in float64."""
        ...

    def join(self, parts: list) -> Any:
        """Return the states of all parts, one behind the other."""
        ...

    def take(self, states, rows) -> Any:
        """Return copies of the states of these rows."""
        ...

    def rows(self, states) -> Any:
        """Return the visible units as rows of numbers."""
        ...

    def free_energy(self, states) -> Any:
        """Return -log p*_1(v) of each row, in float64."""
        ...

    def energy(self, states) -> Any:
        """Return the energy of each joint state, in float64."""
        ...


@singledispatch
def annealed(machine, rows=None) -> Path:
    """Return the path of a machine; its base is fitted to visible rows, or where there are none, taken from the machine."""
    raise unsupported(machine, "log_partition")


@annealed.register
def _(machine: RBM, rows=None) -> Path:
    """Log odds of smoothed mean activities [1]_, or the machine's own visible biases."""
    bias = machine.visible_bias
    if rows is not None:
        rows = check_unit_interval(rows, "X", bias.size)
        bias = to_device(_log_odds((rows.mean(axis=0) + SMOOTHING) / (1 + 2 * SMOOTHING)), home_of(bias))
    return rbm_path(rbm.rounded(machine), bias)


def _log_odds(p):
    xp = namespace(p)
    return xp.log(p) - xp.log1p(-p)


def rbm_path(exact: RoundedRBM, base) -> AnnealedRBM:
    """Return the path from these visible biases, taken as float32, to a rounded machine."""
    base = base.astype(np.float32).astype(np.float64)
    return AnnealedRBM(exact, base, exact.visible_bias[: base.size].astype(np.float64) - base)


class AnnealedRBM(NamedTuple):
    """p*_β(v) = exp(Σ_i ((1 - β) base_i + β a_i) v_i) Π_j (1 + exp(β x_j)), x_j = b_j + Σ_i v_i w_ij [1]_.

    W, a and b are those of the rounded machine, which differ from the given ones by at most 2^(-exponent - 1) and by the
    rounding of float32: chains and weights are of one and the same machine, whose log Z differs by less than the sum of these
    differences over all units that can be on, some 1e-5 where the error of annealing is 1e-2 or more.

    At each β the couplings, and what kernels have built from them, stay as they are; only the visible biases change, to
    a + base (1 - β) / β. `offset` is a - base.

    References
    ----------
    .. [1] Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
    """

    exact: RoundedRBM
    base: np.ndarray
    offset: np.ndarray

    def log_base(self) -> float:
        return float(bernoulli.log_partition(self.base).sum()) + self.exact.to_visible.shape[0] * math.log(2)

    def prepare(self, n_chains, n_sweeps):
        exact = self.exact
        kernels.prepare((exact.to_hidden,), (exact.to_visible,), exact.tables, n_chains=n_chains, n_updates=2 * n_sweeps)

    def start(self, n_chains, *, key, first_chain):
        chains, exact = self._empty(n_chains), self.exact
        logits = aligned_zeros((n_chains, exact.visible_bias.size), np.float32, namespace(self.base))
        logits[:, : self.base.size] = self.base
        free = rbm.all_free(self.base.size, home_of(self.base))
        kernels.draw(chains.visible, logits, free, key=key, first_chain=first_chain, update=1)
        return chains

    def enter(self, rows):
        rows, xp = check_binary(rows, "init", self.base.size), namespace(self.base)
        states = self._empty(rows.shape[0])
        rows = to_device(rows, home_of(self.base)).astype(np.float32)
        kernels.pack(xp.ascontiguousarray(rows), states.visible)
        return states

    def _empty(self, n_chains):
        exact = self.exact
        return rbm.empty_chains(n_chains, exact.to_hidden.shape[0], exact.to_visible.shape[0], namespace(self.base))

    def sweep(self, states, beta, number, *, key, first_chain):
        xp, exact = namespace(self.base), self.exact
        if beta != 1.0:
            bias = xp.zeros_like(exact.visible_bias)
            bias[: self.base.size] = exact.visible_bias[: self.base.size] + self.base * ((1.0 - beta) / beta)
            exact = exact._replace(visible_bias=bias)
        states = states._replace(updates=2 * number)
        return rbm.advance(exact, states, 2, key=key, beta=xp.full(1, beta, np.float32), first_chain=first_chain)

    def add_log_ratios(self, out, states, before, after):
        exact = self.exact
        kernels.add_log_ratios(
            states.visible, exact.to_hidden, exact.hidden_bias, self.offset, out, exponent=exact.exponent, before=before,
            after=after,
        )  # fmt: skip

    def join(self, parts):
        return join(parts)

    def take(self, states, rows):
        return take(states, rows)

    def rows(self, states):
        return kernels.unpack(states.visible, self.base.size, np.float64)

    def free_energy(self, states):
        out = namespace(self.base).zeros(states.visible.shape[0])
        own = self._replace(offset=self.exact.visible_bias[: self.base.size].astype(np.float64))
        own.add_log_ratios(out, states, 0.0, 1.0)
        return -(out + self.exact.to_visible.shape[0] * math.log(2))

    def energy(self, states):
        exact, xp, beta = self.exact, namespace(self.base), rbm.untempered(home_of(self.base))
        logits, means = (xp.empty((states.visible.shape[0], exact.hidden_bias.size), np.float32) for _ in range(2))
        kernels.infer(states.visible, exact.to_hidden, exact.hidden_bias, beta, logits, means, exponent=exact.exponent)
        n_hidden = exact.to_visible.shape[0]
        hidden = kernels.unpack(states.hidden, n_hidden, np.float64)
        inner = (hidden * logits[:, :n_hidden]).sum(axis=1)
        return -(inner + self.rows(states) @ exact.visible_bias[: self.base.size].astype(np.float64))

    def __reduce__(self):
        """Leave tables behind on the way to another process; arrays come out writable and aligned, as kernels expect."""
        return _restore, (*self.exact._replace(tables={}), self.base, self.offset)


def _restore(*parts):
    *arrays, exponent, tables, base, offset = parts
    to_hidden, to_visible, visible_bias, hidden_bias = map(aligned_copy, arrays)
    return AnnealedRBM(RoundedRBM(to_hidden, to_visible, visible_bias, hidden_bias, exponent, tables), base, offset)


def join(parts: list[Chains]) -> Chains:
    """Return the chains of all parts, one behind the other."""
    xp = namespace(parts[0].visible)
    visible, hidden = (xp.concatenate([part[k] for part in parts]) for k in range(2))
    return Chains(visible, hidden, parts[0].updates)


def take(states: Chains, rows) -> Chains:
    """Return copies of the chains of these rows."""
    rows = to_device(rows, home_of(states.visible))
    return Chains(states.visible[rows], states.hidden[rows], states.updates)


def aligned_copy(array):
    """Return a writable copy that begins where kernels expect it."""
    copy = aligned_zeros(array.shape, array.dtype, namespace(array))
    copy[...] = array
    return copy
