"""CUDA sources built by a host compiler, and launched as CUDA launches them, with strictly checked arguments."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

COMPILER = (
    "g++", "-O2", "-ffp-contract=off", "-fno-strict-aliasing", "-fsanitize=alignment", "-std=c++17", "-fPIC",
    "-fvisibility=hidden",
)  # fmt: skip
SHIM = Path(__file__).with_name("shim.h")
TYPES = {
    "u64": np.uint64, "unsigned long long": np.uint64, "long long": np.int64, "u32": np.uint32, "unsigned int": np.uint32,
    "unsigned": np.uint32, "int": np.int32, "unsigned short": np.uint16, "short": np.int16, "u8": np.uint8,
    "unsigned char": np.uint8, "float": np.float32, "double": np.float64,
}  # fmt: skip
"""The types that arguments and what they point to may have."""
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\(\d+\)\s+)?(\w+)\s*\(([^)]*)\)\s*\{')
PARAMETER = re.compile(r"(const\s+)?(\w[\w ]*?)\s*(\*?)\s*(?:__restrict__\s+)?(\w+)")
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
MOST_SHARED_MEMORY = 227 * 1024
LARGEST_GRID, LARGEST_BLOCK, MOST_THREADS = (2**31 - 1, 65535, 65535), (1024, 1024, 64), 1024
FAULTS = {
    1: "some threads of a block ended while others waited at __syncthreads()",
    2: "wrote beyond its shared memory",
    3: "read or wrote at an address that is no multiple of the size of its type",
}
WRAPPER = """
extern "C" __attribute__((visibility("default")))
int launch_{name}(const unsigned* grid, const unsigned* block, size_t bytes, void** arguments) {{
    return shim::launch([](void** a) {{ {name}({values}); }}, grid, block, bytes, arguments);
}}
"""


def have_compiler() -> bool:
    """Return whether there is a compiler for the host."""
    return shutil.which(COMPILER[0]) is not None


NEEDS_COMPILER = pytest.mark.skipif(not have_compiler(), reason="no g++: CUDA sources cannot be built for the host")


class Parameter(NamedTuple):
    """A parameter of a kernel: a number, or a pointer to numbers."""

    name: str
    type: str
    is_pointer: bool
    is_const: bool

    @property
    def dtype(self):
        return np.dtype(TYPES[self.type])

    @property
    def cpp_type(self):
        return f"{'const ' if self.is_const else ''}{self.type}{'*' if self.is_pointer else ''}"


def kernels(source: str) -> dict[str, list[Parameter]]:
    """Return the kernels that a source declares, and their parameters."""
    code = COMMENT.sub(" ", source)
    found = {
        name: [_parameter(name, text) for text in texts.split(",") if text.strip()] for name, texts in KERNEL.findall(code)
    }
    if code.count("__global__") != len(found) or not found:
        raise ValueError(
            f'{code.count("__global__")} __global__, but only {list(found)} as: extern "C" __global__ void NAME(...) {{'
        )
    return found


def _parameter(kernel: str, text: str) -> Parameter:
    found = PARAMETER.fullmatch(" ".join(text.split()))
    if not found or found[2] not in TYPES:
        raise ValueError(f"{kernel}: parameter {text.strip()!r} is not a number or pointer of {list(TYPES)}")
    return Parameter(name=found[4], type=found[2], is_pointer=bool(found[3]), is_const=bool(found[1]))


@cache
def built(source: str, openmp: bool = False) -> HostBuild:
    """Build a source, once, and load it; with `openmp`, a block is a team of threads, ten times slower than fibers."""
    return HostBuild(source, openmp)


class HostBuild:
    """The kernels of a source, built for the host."""

    def __init__(self, source: str, openmp: bool = False):
        self.kernels = kernels(source)
        self._binary = _build(_complete(source, self.kernels, openmp), openmp)

    def launch(self, name: str, grid: tuple, block: tuple, args: tuple, shared_mem: int = 0) -> None:
        """Run a kernel to its end: `args` are arrays for pointers, and NumPy scalars."""
        if name not in self.kernels:
            raise ValueError(f"no kernel {name!r}; there are {list(self.kernels)}")
        grid, block = _check_shapes(name, grid, block, shared_mem)
        values = _check_arguments(name, self.kernels[name], args)
        pointers = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
        sizes = [(ctypes.c_uint * 3)(*size) for size in (grid, block)]
        fault = getattr(self._binary, f"launch_{name}")(*sizes, ctypes.c_size_t(shared_mem), pointers)
        if fault:
            raise RuntimeError(f"{name}: {FAULTS[fault]}")


def _complete(source: str, found: dict, openmp: bool) -> str:
    """Return the source with what CUDA gives before it, and a function that calls each kernel behind it."""
    defined = ["#define HAS_BARRIER"] * ("__syncthreads" in COMMENT.sub(" ", source)) + ["#define OPENMP_TEAM"] * openmp
    wrappers = []
    for name, parameters in found.items():
        values = ", ".join(f"*({parameter.cpp_type}*)a[{k}]" for k, parameter in enumerate(parameters))
        wrappers.append(WRAPPER.format(name=name, values=values))
    return "\n".join([*defined, f'#include "{SHIM}"', '#line 1 "kernel.cu"', source, *wrappers])


def _build(code: str, openmp: bool) -> ctypes.CDLL:
    if not have_compiler():
        raise RuntimeError("no g++ to build CUDA sources for the host")
    with tempfile.TemporaryDirectory() as folder:
        text, parts, binary = (str(Path(folder) / f"kernel.{kind}") for kind in ("cpp", "o", "so"))
        Path(text).write_text(code)
        _run([*COMPILER, *["-fopenmp"] * openmp, "-c", text, "-o", parts])
        _run(["g++", *["-fopenmp"] * openmp, "-shared", parts, "-o", binary])  # without the sanitizer's own library
        return ctypes.CDLL(binary)


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"g++ failed:\n{result.stderr}")


def _check_shapes(kernel: str, grid: tuple, block: tuple, shared_mem: int) -> tuple:
    grid, block = _check_size(kernel, "grid", grid, LARGEST_GRID), _check_size(kernel, "block", block, LARGEST_BLOCK)
    if np.prod(block) > MOST_THREADS:
        raise ValueError(f"{kernel}: block {block} has more than {MOST_THREADS} threads")
    if not 0 <= shared_mem <= MOST_SHARED_MEMORY:
        raise ValueError(f"{kernel}: shared_mem is {shared_mem}; expected 0 to {MOST_SHARED_MEMORY} bytes")
    return grid, block


def _check_size(kernel: str, name: str, size: tuple, largest: tuple) -> tuple:
    if not (isinstance(size, tuple) and 1 <= len(size) <= 3 and all(isinstance(n, int | np.integer) for n in size)):
        raise TypeError(f"{kernel}: {name} is {size!r}; expected a tuple of one to three ints")
    whole = (*map(int, size), *[1] * (3 - len(size)))
    if not all(1 <= n <= most for n, most in zip(whole, largest, strict=True)):
        raise ValueError(f"{kernel}: {name} is {size}; expected 1 to {largest}")
    return whole


def _check_arguments(kernel: str, parameters: list[Parameter], args: tuple) -> list[np.ndarray]:
    """Return the arguments as arrays of one number each: numbers, and addresses."""
    if len(args) != len(parameters):
        names = [parameter.name for parameter in parameters]
        raise TypeError(f"{kernel}: {len(args)} arguments; expected {len(parameters)}: {names}")
    checks = [_address if parameter.is_pointer else _number for parameter in parameters]
    return [check(f"{kernel}: {each.name}", each, value) for check, each, value in zip(checks, parameters, args, strict=True)]


def _number(label: str, parameter: Parameter, value) -> np.ndarray:
    if not isinstance(value, np.generic) or value.dtype != parameter.dtype:
        raise TypeError(
            f"{label} is {value!r} of {type(value).__name__}; expected a np.{parameter.dtype.name} for {parameter.type}"
        )
    return np.array(value)


def _address(label: str, parameter: Parameter, array) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype != parameter.dtype:
        got = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{label} is {got}; expected an array of {parameter.dtype.name} for {parameter.cpp_type}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{label} has strides {array.strides}; expected a C-contiguous array")
    if not parameter.is_const and not array.flags.writeable:
        raise ValueError(f"{label} is read-only; expected an array that the kernel can write")
    return np.array(array.ctypes.data, np.uint64)
