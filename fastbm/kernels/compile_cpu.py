"""How kernels are compiled: by numba, on first use, without the GIL, and kept on disk."""

from numba import njit


def kernel(function):
    """Return `function` compiled; where no folder can be written to, as in a read-only container, in each process anew."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no place for its cache: neither beside the file, nor in the user's folder
        return njit(nogil=True)(function)
