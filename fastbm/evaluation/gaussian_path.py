"""How the restricted machine with Gaussian visible units is annealed: from standard normal numbers and fair coins."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastbm import kernels
from fastbm.device import home_of, namespace, to_device
from fastbm.evaluation.given import check_real
from fastbm.evaluation.paths import Path, aligned_copy, annealed, join, take
from fastbm.machines import gaussian_rbm, rbm
from fastbm.machines.gaussian_rbm import GaussianRBM, RoundedGaussianRBM
from fastbm.units import bernoulli, gaussian

ROWS_AT_A_TIME = 4096


@annealed.register
def _(machine: GaussianRBM, rows=None) -> Path:
    """Centred at the mean hidden states of the rows, or where there are none, with all of them off."""
    xp, n_visible = namespace(machine.weights), machine.visible_bias.size
    machine = GaussianRBM(*(xp.asarray(array, np.float64) for array in machine))
    return gaussian_path(machine, None if rows is None else _mean_hidden(machine, check_real(rows, "X", n_visible)))


def _mean_hidden(machine: GaussianRBM, rows):
    """Return the mean hidden probabilities of the rows: sums in a fixed order."""
    exact, n_hidden = gaussian_rbm.rounded(machine), machine.hidden_bias.size
    total = namespace(machine.weights).zeros(n_hidden)
    for begin in range(0, len(rows), ROWS_AT_A_TIME):
        x = gaussian_rbm.to_standard(exact, to_device(rows[begin : begin + ROWS_AT_A_TIME], home_of(exact.weights)))
        total += gaussian_rbm.infer(exact, x)[1][:, :n_hidden].astype(np.float64).sum(axis=0)
    return total / len(rows)


def gaussian_path(machine: GaussianRBM, center=None) -> AnnealedGaussianRBM:
    """Return the path to a machine of float64 parameters, whose base has its mean where these hidden states lead to."""
    exact = gaussian_rbm.rounded(machine, center)
    return AnnealedGaussianRBM(exact, (exact.origin - machine.visible_bias) / machine.sigma)


class AnnealedGaussianRBM(NamedTuple):
    """p*_β(x) = exp(-|x|²/2 - β s·x) Π_j (1 + exp(β l_j)), l_j = c_j + Σ_i x_i w_ij, for x = (v - origin) / σ.

    The origin is the mean of v at hidden states λ, a + σ s with s = W λ, and c = b + (origin / σ) W. There the machine's energy
    is |x|²/2 + s·x - h (x W + c) + |s|²/2, of which β multiplies all but |x|²/2 and the constant: at every β x given h has
    variance 1, as in the machine. The constant |s|²/2 and Σ log σ, of the change from x to v, belong to the base's log Z.

    Logits l are the float32 ones that chains draw their hidden units from; all further sums are of float64. W, s and c are
    the chains' but for the rounding of float32, and for that of W to integers where visible units are drawn: log Z differs by
    some 1e-5, where the error of annealing is 1e-2 or more.
    """

    exact: RoundedGaussianRBM
    shift: np.ndarray
    """s, shape (n_visible,)."""

    @property
    def base(self):
        """Return the mean of v at β = 0."""
        return self.exact.origin

    def log_base(self) -> float:
        xp, (n_visible, n_hidden) = namespace(self.shift), self.exact.weights.shape
        constants = float(xp.sum(xp.log(self.exact.sigma) - 0.5 * self.shift**2))
        return constants + n_visible * gaussian.log_partition(0.0) + n_hidden * math.log(2)

    def prepare(self, n_chains, n_sweeps):
        """Do nothing: these chains keep no tables."""

    def start(self, n_chains, *, key, first_chain):
        chains, exact, home = gaussian_rbm.empty_chains(self.exact, n_chains), self.exact, home_of(self.shift)
        means = namespace(self.shift).zeros((n_chains, exact.visible_bias.size), np.float32)
        free = rbm.all_free(self.shift.size, home)
        kernels.draw_normal(
            chains.visible, means, rbm.untempered(home), free, key=key, first_chain=first_chain, update=1
        )  # fmt: skip
        return chains

    def enter(self, rows):
        rows = to_device(check_real(rows, "init", self.shift.size), home_of(self.shift))
        return gaussian_rbm.empty_chains(self.exact, len(rows))._replace(visible=gaussian_rbm.to_standard(self.exact, rows))

    def sweep(self, states, beta, number, *, key, first_chain):
        at = namespace(self.shift).full(1, beta, np.float32)
        states = states._replace(updates=2 * number)
        return gaussian_rbm.advance(self.exact, states, 2, key=key, beta=at, whole=False, first_chain=first_chain)

    def add_log_ratios(self, out, states, before, after):
        logits = self._logits(states)
        changes = bernoulli.log_partition(after * logits) - bernoulli.log_partition(before * logits)
        out += changes.sum(axis=1) - (after - before) * self._inner(states)

    def _logits(self, states):
        """Return l, float64 of shape (n_chains, n_hidden)."""
        logits, _ = gaussian_rbm.infer(self.exact, states.visible)
        return logits[:, : self.exact.weights.shape[1]].astype(np.float64)

    def _inner(self, states):
        """Return s·x."""
        return (states.visible * self.shift).sum(axis=1)

    def join(self, parts):
        return join(parts)

    def take(self, states, rows):
        return take(states, rows)

    def rows(self, states):
        return gaussian_rbm.from_standard(self.exact, states.visible)

    def free_energy(self, states):
        return self._squares(states) - bernoulli.log_partition(self._logits(states)).sum(axis=1)

    def energy(self, states):
        hidden = kernels.unpack(states.hidden, self.exact.weights.shape[1], np.float64)
        return self._squares(states) - (hidden * self._logits(states)).sum(axis=1)

    def _squares(self, states):
        """Return |x + s|²/2, what the visible units' own part of the energy is."""
        return 0.5 * ((states.visible + self.shift) ** 2).sum(axis=1)

    def __reduce__(self):
        """Leave tables behind on the way to another process; arrays come out writable and aligned, as kernels expect."""
        return _restore, (self.exact._replace(tables={}), self.shift)


def _restore(exact: RoundedGaussianRBM, shift):
    fields: Any = (aligned_copy(field) if hasattr(field, "shape") else field for field in exact)
    return AnnealedGaussianRBM(RoundedGaussianRBM(*fields), aligned_copy(shift))
