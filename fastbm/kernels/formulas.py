"""Formulas over NumPy's or CuPy's arrays, for what kernels are not written for."""

from __future__ import annotations

from fastbm.device import namespace


def product(a, b, out, *, transpose_a=False, transpose_b=False, accumulate=False, bias=None, activation="identity", slope=0.2):
    """As the kernel of this name, for any dtype, in any order of the terms."""
    total = namespace(out).matmul(a.T if transpose_a else a, b.T if transpose_b else b)
    if accumulate:
        total = total + out
    if bias is not None:
        total = total + bias[: total.shape[1]]
    out[...] = activate(total, activation, slope)


def activate(x, activation: str, slope: float):
    """Return what an activation of ``kernels.ACTIVATIONS`` makes of numbers."""
    xp = namespace(x)
    if activation == "sigmoid":
        e = xp.exp(-xp.abs(x))
        return xp.where(x > 0, xp.ones_like(e), e) / (1 + e)
    if activation == "tanh":
        return xp.tanh(x)
    if activation == "identity":
        return x
    return xp.where(x > 0, x, (slope if activation == "leaky_relu" else 0.0) * x)
