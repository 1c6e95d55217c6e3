"""The one file that knows CuPy exists: which device computes, whose functions an array takes, and how arrays cross over."""

from __future__ import annotations

import math
import sys
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import numpy as np

CUDA_KINDS = (2, 13)
"""What DLPack calls memory of CUDA, and memory that CUDA manages."""
INSTALL = "pip install cupy-cuda13x (CUDA 13) or cupy-cuda12x (CUDA 12)"


def resolve(device: str, *arrays) -> str:
    """Return the device, "cpu" or "cuda:0", "cuda:1" …, that ``device="auto" | "cpu" | "cuda" | "cuda:1"`` stands for.

    "auto" is the GPU where one of `arrays` lives, else the CPU.

    Raises
    ------
    ValueError
        When there is no such device, whatever is installed.
    RuntimeError
        When a GPU is asked for and cannot be had; nothing falls back silently.
    """
    if device == "auto":
        return next((home for home in map(home_of, arrays) if home != "cpu"), "cpu")
    kind, colon, number = str(device).partition(":")
    if device != "cpu" and (kind != "cuda" or (colon and not number.isdecimal())):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or, for one of several, such as 'cuda:1'; got {device!r}")
    if device == "cpu":
        return device
    cupy = _needed(device)
    index = int(number) if colon else cupy.cuda.Device().id
    if index >= cupy.cuda.runtime.getDeviceCount():
        raise RuntimeError(f"device={device!r}: there are only {cupy.cuda.runtime.getDeviceCount()} GPUs, counted from 0")
    return f"cuda:{index}"


def why_no_cuda() -> str | None:
    """Return the reason why nothing can run on a GPU here, in one sentence; None when it can."""
    try:
        cupy = _cupy()
    except ImportError:
        return f"it needs CuPy, which is not installed: {INSTALL}"
    if not cupy.cuda.is_available():
        return f"CuPy {cupy.__version__} finds no GPU, or not the driver of one"
    return None


def _needed(device: str) -> Any:
    """Return CuPy, which this device needs; RuntimeError where it cannot be had."""
    reason = why_no_cuda()
    if reason is not None:
        raise RuntimeError(f"device={device!r}: {reason}; device='auto' and device='cpu', and to('cpu'), do without")
    return _cupy()


def _cupy() -> Any:
    import cupy

    return cupy


def namespace(array) -> Any:
    """Return the module, NumPy, CuPy or another of the array API, whose functions take this array."""
    if isinstance(array, np.ndarray | np.generic):
        return np
    cupy = sys.modules.get("cupy")
    if cupy is not None and cupy.get_array_module(array) is cupy:
        return cupy
    return array.__array_namespace__() if hasattr(array, "__array_namespace__") else np


def on_gpu(array) -> bool:
    """Whether this is an array of CuPy's."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray)


def home_of(array) -> str:
    """Return the device that an array lives on, "cpu" for what is no array of CuPy's."""
    return f"cuda:{array.device.id}" if on_gpu(array) else "cpu"


def module_of(device: str) -> ModuleType:
    """Return the module whose arrays live on a resolved device."""
    return np if device == "cpu" else _cupy()


def using(device: str):
    """Return a context in which CuPy's arrays are made, and kernels launched, on a resolved device.

    RuntimeError when it cannot be had, as for a machine that was fitted on a GPU and unpickled where there is none.
    """
    return nullcontext() if device == "cpu" else _needed(device).cuda.Device(int(device.partition(":")[2]))


def adopt(array):
    """Return what lives on a GPU and speaks DLPack, as PyTorch's tensors do, as an array of CuPy with the same memory."""
    if on_gpu(array) or not hasattr(array, "__dlpack_device__") or int(array.__dlpack_device__()[0]) not in CUDA_KINDS:
        return array
    return _needed("cuda").from_dlpack(array)


def to_device(array, device: str):
    """Return an array of either module as one that lives on a resolved device: with `to_host`, the only way across."""
    if home_of(array) == device:
        return array
    if device == "cpu":
        return to_host(array)
    with using(device):
        return _cupy().asarray(array)


def to_host(array):
    """Return an array of either module as one of NumPy's."""
    return array.get() if on_gpu(array) else array


def aligned_zeros(shape, dtype, xp: Any = np):
    """Return zeros that begin at a boundary of 64 bytes, where vectors are loaded fastest; CuPy's do in any case."""
    if xp is not np:
        return xp.zeros(shape, dtype)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    octets = np.zeros(size + 64, np.uint8)
    begin = -octets.ctypes.data % 64
    return octets[begin : begin + size].view(dtype).reshape(shape)
