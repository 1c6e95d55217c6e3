"""Maxout layers: each unit is the largest of some linear pieces [1]_.

References
----------
.. [1] Goodfellow, Warde-Farley, Mirza, Courville & Bengio, "Maxout networks", ICML 2013.
"""

from __future__ import annotations

from typing import NamedTuple

from fastbm.device import namespace, on_gpu
from fastbm.kernels import networks
from fastbm.nn.activations import is_compiled
from fastbm.nn.products import product
from fastbm.nn.workspace import Run

MOST_PIECES = 256
"""Pieces of a unit that can be told apart by a byte."""


class Maxout(NamedTuple):
    """y_u = max_k (x Wᵀ + b)_ku; the weights of piece k of unit u are row k n_outputs + u of W."""

    n_inputs: int
    n_outputs: int
    n_pieces: int = 5

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        width = self.n_pieces * self.n_outputs
        return {"weights": (width, self.n_inputs), "bias": (width,)}

    def forward(self, own, x, run: Run, at: int, out=None):
        """Return y and backward, as ``Dense.forward`` does."""
        n_rows, width = x.shape[0], self.n_pieces * self.n_outputs
        y = run.space.rows((at, "y"), n_rows, self.n_outputs) if out is None else out
        pieces = run.space.rows((at, "pieces"), n_rows, width)
        chosen = run.space.rows((at, "chosen"), n_rows, self.n_outputs, run.space.xp.uint8)
        product(x, own["weights"], pieces, transpose_right=True, bias=own["bias"])
        choose(pieces, y, chosen)

        def backward(gradient, wanted, rows):
            if is_compiled(y) and not on_gpu(y):  # one piece of each unit has a gradient
                if wanted:
                    networks.chosen_weights(x, gradient, chosen, wanted["weights"], wanted["bias"])
                return None if rows is None else self._below(gradient[rows, :], chosen[rows, :], own["weights"], run, at)
            bias_gradient = wanted["bias"] if wanted else run.space.nothing
            choose_backward(gradient, chosen, pieces, bias_gradient)  # the pieces are not needed any more
            if wanted:
                product(pieces, x, wanted["weights"], transpose_left=True)
            if rows is None:
                return None
            out = run.space.rows((at, "gradient"), pieces[rows, :].shape[0], self.n_inputs)
            product(pieces[rows, :], own["weights"], out)
            return out

        return y, backward

    def _below(self, gradient, chosen, weights, run: Run, at: int):
        out = run.space.rows((at, "gradient"), gradient.shape[0], self.n_inputs)
        networks.chosen_inputs(gradient, chosen, weights, out)
        return out


def choose(pieces, y, chosen) -> None:
    """Write the largest of the pieces of each unit to `y`, and its number to `chosen`."""
    if is_compiled(y):
        networks.maxout(pieces, y, chosen)
        return
    n_units, chosen[...] = y.shape[1], 0
    y[...] = pieces[:, :n_units]
    for piece in range(1, pieces.shape[1] // n_units):
        values = pieces[:, piece * n_units : (piece + 1) * n_units]
        chosen[values > y] = piece
        y[...] = namespace(y).where(values > y, values, y)


def choose_backward(gradient, chosen, out, bias_gradient) -> None:
    """Write the gradient of the pieces to `out`, and its sums over rows to `bias_gradient`, if it is not of size 0."""
    if is_compiled(out):
        networks.maxout_backward(gradient, chosen, out, bias_gradient)
        return
    xp, n_units = namespace(out), gradient.shape[1]
    for piece in range(out.shape[1] // n_units):
        out[:, piece * n_units : (piece + 1) * n_units] = xp.where(chosen == piece, gradient, 0 * gradient)
    if bias_gradient.size:
        bias_gradient[...] = xp.sum(out, axis=0)
