"""Products of matrices: the one place where layers multiply."""

from __future__ import annotations

from fastbm.device import namespace


def product(left, right, out, *, transpose_left: bool = False, transpose_right: bool = False) -> None:
    """out ← left @ right, with either one transposed first; nothing is copied or, by NumPy and CuPy, allocated."""
    left, right = (left.T if transpose_left else left), (right.T if transpose_right else right)
    xp = namespace(out)
    if hasattr(out, "__array_namespace__") and xp.__name__.startswith("array_api"):  # matmul of the standard has no `out`
        out[...] = xp.matmul(left, right)
    else:
        xp.matmul(left, right, out=out)
