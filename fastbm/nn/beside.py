"""A layer that puts images which are shown together into the channels of one."""

from __future__ import annotations

from typing import NamedTuple

from fastbm.device import namespace
from fastbm.nn.workspace import Run


class Beside(NamedTuple):
    """y[p, k, c] = x[k, p, c] of each row: `n_images` images, one after the other, as channels of the same pixels."""

    n_images: int
    n_pixels: int
    n_channels: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        return {}

    def forward(self, own, x, run: Run, at: int, out=None):
        """Return y and backward, as ``Dense.forward`` does."""
        y = run.space.rows((at, "y"), *x.shape) if out is None else out
        for image in range(self.n_images):
            self._mixed(y)[:, :, image, :] = self._apart(x)[:, image, :, :]

        def backward(gradient, wanted, rows):
            if rows is None:
                return None
            below = run.space.rows((at, "gradient"), *gradient[rows, :].shape)
            for image in range(self.n_images):
                self._apart(below)[:, image, :, :] = self._mixed(gradient[rows, :])[:, :, image, :]
            return below

        return y, backward

    def _mixed(self, rows):
        return namespace(rows).reshape(rows, (rows.shape[0], self.n_pixels, self.n_images, self.n_channels))

    def _apart(self, rows):
        return namespace(rows).reshape(rows, (rows.shape[0], self.n_images, self.n_pixels, self.n_channels))
