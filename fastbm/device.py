"""The one file that knows CuPy exists: which device computes, and whose functions an array takes."""

from __future__ import annotations

import math
import sys

import numpy as np

INSTALL = "pip install cupy-cuda13x (CUDA 13) or cupy-cuda12x (CUDA 12)"


def resolve(device: str) -> str:
    """Return the device that ``device="auto" | "cpu" | "cuda"`` stands for.

    Raises
    ------
    RuntimeError
        When "cuda" is asked for and cannot be had; nothing falls back silently.
    """
    if device == "cuda":
        raise RuntimeError(f"device='cuda': {why_no_cuda()}")
    return "cpu"


def why_no_cuda() -> str:
    """Return the reason why nothing can run on a GPU here, in one sentence."""
    reason = "this version of fastbm has no CUDA kernels yet; use device='auto' or device='cpu'"
    try:
        import cupy
    except ImportError:
        return f"{reason}. They will need CuPy, which is not installed: {INSTALL}"
    if not cupy.cuda.is_available():
        return f"{reason}. They will need a GPU and its driver, which CuPy {cupy.__version__} does not find"
    return reason


def namespace(array):
    """Return the module, NumPy or CuPy, whose functions take this array."""
    cupy = sys.modules.get("cupy")
    return np if cupy is None or isinstance(array, np.ndarray | np.generic) else cupy.get_array_module(array)


def aligned_zeros(shape, dtype):
    """Return zeros that begin at a boundary of 64 bytes, where vectors are loaded fastest."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    octets = np.zeros(size + 64, np.uint8)
    begin = -octets.ctypes.data % 64
    return octets[begin : begin + size].view(dtype).reshape(shape)
