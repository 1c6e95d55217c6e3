"""CuPy's stand-in, complete with the one function of cuBLAS that fastbm calls by itself, for the whole test session."""

from __future__ import annotations

import ctypes
import types
from functools import cache

import numpy as np
from gpu_without_gpu import fake_cupy

HALF, BFLOAT, FLOAT, COMPUTE_FLOAT = 2, 14, 0, 68
COUNT: dict[str, int] = {}
"""How often arrays went to the device, to the host, and numbers to the host, and how often a kernel was launched."""


def at(address: int, dtype, shape) -> np.ndarray:
    """Return the memory at an address as an array."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)


def gemm_ex(
    handle, trans_a, trans_b, m, n, k, alpha, a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc, compute, algorithm
):  # fmt: skip
    """C ← α A B + β C by columns, or with Aᵀ or Bᵀ, summed in floats, as cublasGemmEx does; anything else is refused."""
    if (handle, b_type, c_type, compute) != (1, a_type, FLOAT, COMPUTE_FLOAT) or not {trans_a, trans_b} <= {0, 1}:
        raise ValueError("a product of another kind than fastbm needs")
    if lda < (k if trans_a else m) or ldb < (n if trans_b else k) or ldc < m or min(m, n, k) < 1:
        raise ValueError(f"leading dimensions {lda}, {ldb}, {ldc} of a product of {m}x{k} and {k}x{n}")
    left = floats_at(b, b_type, (k, ldb))[:, :n].T if trans_b else floats_at(b, b_type, (n, ldb))[:, :k]
    right = floats_at(a, a_type, (m, lda))[:, :k].T if trans_a else floats_at(a, a_type, (k, lda))[:, :m]
    out, (factor,), (kept,) = at(c, np.float32, (n, ldc))[:, :m], at(alpha, np.float32, 1), at(beta, np.float32, 1)
    product = factor * (left @ right)
    out[:] = product + kept * out if kept else product  # with β = 0, C need not hold numbers
    fake_cupy.tally(COUNT, "launches")


def floats_at(address: int, kind: int, shape) -> np.ndarray:
    """Return the halves, bfloat16 or float32 numbers at an address as float32."""
    if kind == BFLOAT:
        return (at(address, np.uint16, shape).astype(np.uint32) << 16).view(np.float32)
    return at(address, {HALF: np.float16, FLOAT: np.float32}[kind], shape).astype(np.float32)


@cache
def modules() -> dict[str, types.ModuleType]:
    """Return the modules to put into ``sys.modules``; always the same, because kernels keep what they were imported with."""
    cupy = fake_cupy.module(COUNT)
    cupy.cuda.device = types.SimpleNamespace(get_cublas_handle=lambda: 1)
    names = ("cupy_backends", "cupy_backends.cuda", "cupy_backends.cuda.libs")
    packages = {name: types.ModuleType(name) for name in names}
    packages[names[-1]].cublas = types.SimpleNamespace(
        gemmEx=gemm_ex, setPointerMode=lambda handle, mode: None, CUBLAS_POINTER_MODE_HOST=0, CUBLAS_OP_N=0, CUBLAS_OP_T=1,
        CUBLAS_COMPUTE_32F=COMPUTE_FLOAT, CUBLAS_GEMM_DEFAULT=-1,
    )  # fmt: skip
    return {"cupy": cupy, **packages}
