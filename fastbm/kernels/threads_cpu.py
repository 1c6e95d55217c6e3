"""Threads for compiled kernels that release the GIL: rows are handed out in runs, and nobody waits in a spin.

A pool of Python threads instead of numba's `prange`, because numba's layers abort a process that forks (libgomp) or that calls
from two threads (workqueue), and libgomp's idle threads spin beside BLAS's; a call costs about 30 microseconds, so small work
stays on the calling thread. The number of threads is numba's: NUMBA_NUM_THREADS or `numba.set_num_threads`.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numba

ROUGH_COST_WORTH_A_THREAD = 100_000
"""Work below this many vector instructions (tens of microseconds) is not worth waking a thread for."""
RUNS_A_THREAD = 4
"""Runs of rows for each thread: enough that a thread that is held up by other work does not hold up the call."""

_pool: ThreadPoolExecutor | None = None


def share_out(kernel, n_rows: int, cost: int, *arguments) -> None:
    """Call ``kernel(first, last, *arguments)`` for runs of rows that together are 0 … n_rows - 1, on all threads.

    `cost` is a rough count of the vector instructions that one row takes. The kernel must give the same result however the
    rows are cut into runs.
    """
    n_threads = min(numba.get_num_threads(), 1 + n_rows * cost // ROUGH_COST_WORTH_A_THREAD, n_rows)
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
