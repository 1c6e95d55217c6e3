"""A stand-in for CuPy without a GPU: as strict about what lives where, with kernels built for the host."""

from __future__ import annotations

import operator
import types
from dataclasses import dataclass
from importlib.machinery import ModuleSpec

import numpy as np
from gpu_without_gpu import host

SHARED_MEMORY_WITHOUT_ASKING, MOST_SHARED_MEMORY = 48 * 1024, host.MOST_SHARED_MEMORY
BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")
COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")
UNARY = ("neg", "pos", "invert", "abs")
METHODS = (
    "all", "any", "argmax", "argmin", "astype", "clip", "copy", "cumsum", "dot", "flatten", "max", "mean", "min", "prod",
    "ravel", "repeat", "reshape", "round", "squeeze", "std", "sum", "swapaxes", "take", "transpose", "var", "view",
)  # fmt: skip
ATTRIBUTES = ("dtype", "flags", "itemsize", "nbytes", "ndim", "shape", "size", "strides")
CREATORS = ("arange", "full", "ones", "zeros")
FUNCTIONS = (
    "abs", "add", "all", "any", "argmax", "argmin", "array_equal", "ascontiguousarray", "clip", "concatenate", "cumsum", "dot",
    "exp", "flatnonzero", "full_like", "isfinite", "isnan", "log", "log1p", "matmul", "max", "maximum", "mean", "min",
    "minimum", "ones_like", "outer", "prod", "reshape", "rint", "sign", "sqrt", "square", "stack", "sum", "take", "tanh",
    "transpose", "where", "zeros_like",
)  # fmt: skip
DTYPES = ("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")


class ndarray:  # noqa: N801
    """An array "on the device". It holds a NumPy array and is none, so that NumPy, numba and others cannot take it for one."""

    __array_ufunc__ = None
    count: dict = {}

    def __init__(self, values):
        self._values = values

    def _lift(self, result):
        """Return a result of NumPy on the device; where it is no view of this array, a kernel has written it."""
        tally_written(self.count, result, [self._values])
        return lift(type(self), result)

    def __array__(self, *arguments, **named):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct one explicitly.")

    def __array_function__(self, function, *rest):
        raise TypeError(f"numpy.{function.__name__} of an array on the device; use the function of the same name in CuPy")

    def __dlpack_device__(self):
        return 2, 0  # CUDA, the first GPU

    def __dlpack__(self, **named):
        raise BufferError("a fake array on the device has no memory there")

    def get(self):
        tally(self.count, "to_host")
        return self._values.copy()

    def item(self):
        tally(self.count, "scalars")
        return self._values.item()

    def fill(self, value):
        tally(self.count, "launches")
        self._values.fill(scalar(value))

    @property
    def T(self):
        return self._lift(self._values.T)

    @property
    def device(self):
        return Device(0)

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self._values.ctypes.data)

    def __getitem__(self, key):
        part = self._values[lower(key)]
        if isinstance(part, np.generic):  # as CuPy, a view of no dimensions
            part = self._values[(*lower(key), ...)] if isinstance(key, tuple) else self._values[lower(key), ...]
        return self._lift(part)

    def __setitem__(self, key, value):
        tally(self.count, "launches")
        self._values[lower(key)] = lower(scalar(value))

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return (self[k] for k in range(len(self)))

    def __repr__(self):
        return f"fake {self._values!r}"


def scalar(value):
    """Return what may stand beside an array on the device, another one or a number; refuse lists."""
    if isinstance(value, list | tuple):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def lower(value):
    """Return a value with NumPy arrays for those on the device; refuse NumPy arrays of one dimension or more."""
    if isinstance(value, ndarray):
        return value._values
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {type(value)}: an array on the host among those on the device")
    return type(value)(map(lower, value)) if isinstance(value, list | tuple) else value


def lift(kind: type[ndarray], result):
    """Return a result of NumPy with arrays on the device, of no dimensions for numbers."""
    if isinstance(result, tuple | list):
        return type(result)(lift(kind, each) for each in result)
    return kind(np.asarray(result)) if isinstance(result, np.ndarray | np.generic | bool) else result


def tally(count: dict, what: str) -> None:
    count[what] = count.get(what, 0) + 1


def tally_written(count: dict, result, given) -> None:
    """Count a launch, unless a result is a view of what was given, or empty."""
    if np.size(result) and not any(np.may_share_memory(result, array) for array in given if isinstance(array, np.ndarray)):
        tally(count, "launches")


def _operator(name: str):
    """Return a method for an operator, of two arrays or an array and a number."""

    def apply(self, *others):
        result = getattr(self._values, name)(*[lower(scalar(other)) for other in others])
        if result is not self._values:
            return self._lift(result)
        tally(self.count, "launches")
        return self

    return apply


def _method(name: str):
    """Return a method that does what NumPy's does."""

    def call(self, *arguments, **named):
        result = getattr(self._values, name)(*map(lower, arguments), **{key: lower(value) for key, value in named.items()})
        if named.get("out") is None:
            return self._lift(result)
        tally(self.count, "launches")
        return named["out"]

    return call


for _name in (*BINARY, *("r" + name for name in BINARY), *("i" + name for name in BINARY), *COMPARISONS, *UNARY):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _name, _kind in {"bool": bool, "int": int, "float": float, "index": operator.index}.items():
    setattr(ndarray, f"__{_name}__", lambda self, kind=_kind: kind(self.item()))
for _name in METHODS:
    setattr(ndarray, _name, _method(_name))
for _name in ATTRIBUTES:
    setattr(ndarray, _name, property(lambda self, name=_name: getattr(self._values, name)))


def module(count: dict) -> types.ModuleType:
    """Return a module like CuPy.

    It counts copies of arrays "to_device" and "to_host", "scalars" that were read, and "launches": calls of kernels, and what
    CuPy launches at least one for: operators and functions whose result is no view, assignments, and arrays filled.
    """
    cupy = types.ModuleType("cupy")
    cupy.__spec__, cupy.__version__, cupy.newaxis = ModuleSpec("cupy", None), "14.0.0", None
    cupy.ndarray = type("ndarray", (ndarray,), {"count": count})
    cupy.RawModule, cupy.cuda = type("RawModule", (RawModule,), {"count": count}), _cuda()
    for name in DTYPES:
        setattr(cupy, name, getattr(np, name))
    for name in (*CREATORS, *FUNCTIONS):
        setattr(cupy, name, _function(cupy.ndarray, getattr(np, name)))
    _add_empty(cupy)
    _add_transfers(cupy, count)
    return cupy


def _function(kind: type[ndarray], function):
    """Return a function of NumPy for arrays on the device."""

    def call(*arguments, **named):
        if isinstance(function, np.ufunc):
            arguments = tuple(map(scalar, arguments))
        given = [lower(argument) for argument in arguments]
        result = function(*given, **{key: lower(value) for key, value in named.items()})
        tally_written(kind.count, result, given)
        return named["out"] if named.get("out") is not None else lift(kind, result)

    return call


def _add_empty(cupy) -> None:
    """Give new arrays that hold rubbish, so that who forgets to fill them is found out."""

    def empty(shape, dtype=float, order="C"):
        values = np.empty(shape, dtype, order)
        if values.dtype != bool:
            values.ravel(order="K").view(np.uint8).fill(0xA5)
        return cupy.ndarray(values)

    cupy.empty = empty
    cupy.empty_like = lambda array, dtype=None: empty(array.shape, dtype or array.dtype)


def _add_transfers(cupy, count: dict) -> None:
    """Give what moves arrays to the device and back."""

    def array(values, dtype=None, copy=True):
        if isinstance(values, ndarray):
            return cupy.ndarray(values._values.astype(dtype or values.dtype, copy=copy))
        moved = np.array(values, dtype)
        if moved.dtype.kind not in "biufc":
            raise ValueError(f"Unsupported dtype {moved.dtype}")
        tally(count, "to_device")
        return cupy.ndarray(moved)

    def asarray(values, dtype=None):
        same = isinstance(values, ndarray) and dtype in (None, values.dtype)
        return values if same else array(values, dtype, copy=False)

    def from_dlpack(values):
        if isinstance(values, ndarray):
            return cupy.ndarray(values._values)
        if values.__dlpack_device__()[0] != 2:
            raise TypeError(
                "CPU arrays cannot be directly imported to CuPy. Use `cupy.array(numpy.from_dlpack(input))` instead."
            )
        return cupy.ndarray(np.from_dlpack(values))

    cupy.array, cupy.asarray, cupy.from_dlpack = array, asarray, from_dlpack
    cupy.asnumpy = lambda values: values.get() if isinstance(values, ndarray) else np.asarray(values)
    cupy.get_array_module = lambda *values: cupy if any(isinstance(each, ndarray) for each in values) else np


class RawModule:
    """The kernels of a CUDA source, built for the host."""

    count: dict = {}

    def __init__(self, *, code: str, options: tuple = ()):
        if not isinstance(options, tuple) or "--fmad=false" not in options:
            raise ValueError(f"options are {options!r}; expected a tuple with '--fmad=false': the chain rounds each product")
        self._library = host.built(code)

    def get_function(self, name: str) -> RawKernel:
        if name not in self._library.kernels:
            raise CUDADriverError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return RawKernel(self._library, name, self.count)


class RawKernel:
    """A kernel; shared memory beyond 48 KiB has to be asked for."""

    def __init__(self, library: host.HostBuild, name: str, count: dict):
        self._library, self.name, self._most_shared, self._count = library, name, SHARED_MEMORY_WITHOUT_ASKING, count

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._most_shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if not 0 <= size <= MOST_SHARED_MEMORY:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: {self.name}: {size} bytes of shared memory")
        self._most_shared = size

    def __call__(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> None:
        if shared_mem > max(self._most_shared, SHARED_MEMORY_WITHOUT_ASKING):
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: {self.name}: shared_mem {shared_mem} > {self._most_shared}")
        tally(self._count, "launches")
        self._library.launch(self.name, grid, block, tuple(map(self._value, args)), shared_mem)

    def _value(self, value):
        if isinstance(value, np.ndarray):
            raise TypeError(f"{self.name}: Unsupported type {type(value)}: an array on the host given to a kernel")
        return value._values if isinstance(value, ndarray) else value


class CUDADriverError(RuntimeError):
    """What CuPy raises when the driver refuses."""


@dataclass(frozen=True)
class Device:
    """The only GPU."""

    id: int = 0
    compute_capability: str = "90"

    def __post_init__(self):
        if self.id != 0:
            raise CUDADriverError(f"cudaErrorInvalidDevice: invalid device ordinal {self.id}")

    @property
    def attributes(self) -> dict:
        return {"MaxSharedMemoryPerBlockOptin": MOST_SHARED_MEMORY, "MultiProcessorCount": 132}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def _cuda() -> types.SimpleNamespace:
    cuda, stream = types.SimpleNamespace(), types.SimpleNamespace(ptr=0, synchronize=lambda: None)
    cuda.is_available, cuda.Device, cuda.get_current_stream = lambda: True, Device, lambda: stream
    cuda.runtime = types.SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=CUDADriverError)
    cuda.Stream = types.SimpleNamespace(null=stream)
    return cuda
