"""Dense layers: a product, a bias, an activation."""

from __future__ import annotations

from typing import NamedTuple

from fastbm.nn.activations import activate_backward
from fastbm.nn.products import product
from fastbm.nn.workspace import Run


class Dense(NamedTuple):
    """y = f(x W + b), with weights W (n_inputs, n_outputs) and, unless there is none, bias b (n_outputs,)."""

    n_inputs: int
    n_outputs: int
    activation: str = "identity"
    slope: float = 0.2
    has_bias: bool = True

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        return {"weights": (self.n_inputs, self.n_outputs), "bias": (self.n_outputs if self.has_bias else 0,)}

    def forward(self, own, x, run: Run, at: int, out=None):
        """Return y, in `out` where it is given, and backward(gradient, wanted, rows).

        `own` are the layer's parameters by name, `at` its number. Backward overwrites the gradient of y, writes those of the
        parameters to `wanted`, unless it is None, and returns that of these `rows` of x, None where `rows` is.
        """
        y = run.space.rows((at, "y"), x.shape[0], self.n_outputs) if out is None else out
        product(x, own["weights"], y, bias=own["bias"], activation=self.activation, slope=self.slope)

        def backward(gradient, wanted, rows):
            bias_gradient = wanted["bias"] if wanted else run.space.nothing
            activate_backward(gradient, y, bias_gradient, self.activation, self.slope)
            if wanted:
                product(x, gradient, wanted["weights"], transpose_left=True)
            return None if rows is None else below(gradient, own["weights"], rows, run, at)

        return y, backward


def below(gradient, weights, rows: slice, run: Run, at: int):
    """Return the gradient of some rows of what was multiplied by `weights`."""
    part = gradient[rows, :]
    out = run.space.rows((at, "gradient"), part.shape[0], weights.shape[0])
    product(part, weights, out, transpose_right=True)
    return out
