"""Products of matrices: the one place where layers multiply."""

from __future__ import annotations

import numpy as np

from fastbm import kernels
from fastbm.device import on_gpu
from fastbm.kernels import formulas


def product(
    left, right, out, *, transpose_left: bool = False, transpose_right: bool = False, bias=None, activation: str = "identity",
    slope: float = 0.2,
) -> None:  # fmt: skip
    """out ← f(left @ right + bias), with either matrix transposed first; a `bias` of size 0, or None, is none."""
    multiply = kernels.product if type(out) is np.ndarray or on_gpu(out) else formulas.product
    bias = None if bias is None or bias.shape[0] == 0 else bias
    multiply(
        left, right, out, transpose_a=transpose_left, transpose_b=transpose_right, bias=bias, activation=activation, slope=slope
    )  # fmt: skip
