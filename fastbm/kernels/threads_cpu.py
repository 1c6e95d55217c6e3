"""Threads for compiled kernels that release the GIL: rows are handed out in runs, and nobody waits in a spin.

A pool of Python threads instead of numba's `prange`, because numba's layers abort a process that forks (libgomp) or that calls
from two threads (workqueue), and libgomp's idle threads spin beside BLAS's. Waking a thread costs up to 100 microseconds, so
small work stays on the calling thread. The number of threads is numba's: NUMBA_NUM_THREADS or `numba.set_num_threads`.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba

WORTH_A_THREAD = 100_000.0
"""Nanoseconds of work for which it is worth waking one more thread."""
COST_OF_A_COUPLING = 0.015
"""Rough nanoseconds for each coupling when inputs are summed: a part of the units is on, and eight are added at once."""
COST_OF_A_DRAW = 3.0
"""Rough nanoseconds to draw a unit: random word, exponential, packing."""
RUNS_A_THREAD = 4
"""Runs of rows for each thread: enough that a thread that is held up by other work does not hold up the call."""

_pool: ThreadPoolExecutor | None = None


def n_threads() -> int:
    """Return the number of threads that kernels called from this thread use."""
    return numba.get_num_threads()


@contextmanager
def limited_to(n: int):
    """Let kernels called from this thread use `n` threads, at most NUMBA_NUM_THREADS, inside a ``with`` block."""
    before = numba.get_num_threads()
    numba.set_num_threads(n)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def share_out(kernel, n_rows: int, cost: float, *arguments) -> None:
    """Call ``kernel(first, last, *arguments)`` for runs of rows that together are 0 … n_rows - 1, on all threads.

    `cost` is roughly how many nanoseconds one row takes. The kernel must give the same result however the
    rows are cut into runs.
    """
    n_threads = min(numba.get_num_threads(), 1 + int(n_rows * cost / WORTH_A_THREAD), n_rows)
    if n_threads <= 1:
        kernel(0, n_rows, *arguments)
        return
    run = -(-n_rows // (n_threads * RUNS_A_THREAD))
    starts = itertools.count(0, run)

    def work():
        while (first := next(starts)) < n_rows:
            kernel(first, min(first + run, n_rows), *arguments)

    helpers = [_threads().submit(work) for _ in range(n_threads - 1)]
    try:
        work()
    finally:
        running = [helper for helper in helpers if not helper.cancel()]
        for helper in running:
            helper.exception()  # wait: the arrays are being written
    for helper in running:
        helper.result()


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS, thread_name_prefix="fastbm")
    return _pool


def _forget_threads() -> None:
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)  # threads do not survive a fork
