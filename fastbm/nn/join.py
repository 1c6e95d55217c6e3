"""A layer at which other rows join: how latents enter a discriminator of pairs."""

from __future__ import annotations

from typing import NamedTuple

from fastbm.nn.workspace import Run


class Join(NamedTuple):
    """y = (x, side), side by side; the rows of `side` come with the run."""

    n_units: int
    n_side: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        return {}

    def forward(self, own, x, run: Run, at: int, out=None):
        """Return y and backward, as ``Dense.forward`` does; backward writes ``run.side_gradient``, unless it is None."""
        y = run.space.rows((at, "y"), x.shape[0], self.n_units + self.n_side) if out is None else out
        y[:, : self.n_units] = x
        y[:, self.n_units :] = run.side

        def backward(gradient, wanted, rows):
            if run.side_gradient is not None:
                run.side_gradient[...] = gradient[:, self.n_units :]
            if rows is None:
                return None
            below = run.space.rows((at, "gradient"), x.shape[0], self.n_units)[rows, :]
            below[...] = gradient[rows, : self.n_units]
            return below

        return y, backward
