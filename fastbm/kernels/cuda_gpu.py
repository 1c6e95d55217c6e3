"""CUDA sources, compiled by CuPy when they are first used, how they are launched, and what never changes on a device."""

import re
from functools import cache
from pathlib import Path

import cupy
import numpy as np

OPTIONS = ("--fmad=false", "-std=c++17")
"""The chain rounds after every operation: no fused multiply-adds."""
THREADS = 128
"""Threads of a block; a multiple of 16, of which one word of states is made."""
INCLUDE = re.compile(r'#include "(\w+\.cuh)"')


def source(name: str) -> str:
    """Return the text of NAME.cu, complete: with the headers that it includes."""
    folder = Path(__file__).parent
    return INCLUDE.sub(lambda found: (folder / found[1]).read_text(), (folder / f"{name}.cu").read_text())


@cache
def _function(file: str, name: str, device: int):
    return cupy.RawModule(code=source(file), options=OPTIONS).get_function(name)


def function(file: str, name: str):
    """Return a kernel of FILE.cu, for the current device."""
    return _function(file, name, cupy.cuda.Device().id)


def on_device(exponent):
    """Return an exponent, where it is a number, as `round_couplings` gives it: an int32 array of one, not to be written to."""
    return constant(exponent, "int32") if isinstance(exponent, int) else exponent


def constant(value, dtype: str):
    """Return an array of one number on the current device; shared, not to be written to."""
    return _constant(value, dtype, cupy.cuda.Device().id)


@cache
def _constant(value, dtype: str, device: int):
    return cupy.full(1, value, dtype)


def launch(file: str, name: str, n_items: int, *arguments, threads: int = THREADS, bytes_a_thread: int = 0) -> None:
    """Call a kernel with a thread for each of `n_items`; floats are float32, ints int32, other arguments as they are."""
    if n_items == 0:
        return
    values = tuple(np.int32(a) if type(a) is int else np.float32(a) if type(a) is float else a for a in arguments)
    function(file, name)((-(-n_items // threads),), (threads,), values, shared_mem=bytes_a_thread * threads)
