"""CUDA sources compiled by NVRTC, which needs no GPU and no driver."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

OPTIONS = ("--fmad=false", "-ftz=true", "-std=c++17")


@cache
def find() -> Path | None:
    """Return the newest NVRTC of the pip packages of NVIDIA, if there is one."""
    package = find_spec("nvidia")
    folders = package.submodule_search_locations if package else []
    found = [path for folder in folders or [] for path in Path(folder).glob("**/libnvrtc.so*")]
    return max(found, key=lambda path: path.name, default=None)


NEEDS_NVRTC = pytest.mark.skipif(find() is None, reason="no NVRTC: pip install nvidia-cuda-nvrtc")


@cache
def _library() -> ctypes.CDLL:
    if find() is None:
        raise RuntimeError("no NVRTC: pip install nvidia-cuda-nvrtc")
    return ctypes.CDLL(str(find()))


def compile(source: str, arch: str) -> bytes:
    """Return the machine code of a source for an architecture such as "sm_90"; RuntimeError with the log when it fails."""
    nvrtc, program = _library(), ctypes.c_void_p()
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None))
    try:
        options = [option.encode() for option in (*OPTIONS, f"-arch={arch}")]
        if nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options)):
            raise RuntimeError(f"NVRTC failed for {arch}:\n{_text(program, 'ProgramLog').decode(errors='replace')}")
        return _text(program, "CUBIN")
    finally:
        _check(nvrtc.nvrtcDestroyProgram(ctypes.byref(program)))


def _text(program: ctypes.c_void_p, what: str) -> bytes:
    """Return what NVRTC holds of a program: "ProgramLog" or "CUBIN"."""
    size = ctypes.c_size_t()
    _check(getattr(_library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(_library(), f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _check(code: int) -> None:
    if code:
        raise RuntimeError(f"NVRTC returned error {code}")
