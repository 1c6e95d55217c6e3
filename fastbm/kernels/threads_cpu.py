"""Threads for compiled kernels that release the GIL: rows are handed out in runs, and nobody waits in a spin.

Python threads instead of numba's `prange`, because numba's layers abort a process that forks (libgomp) or that calls from two
threads (workqueue), and libgomp's idle threads spin beside BLAS's; and queues written in C instead of an executor, whose locks
a Ctrl-C can leave held. Waking a thread costs up to 100 microseconds, so small work stays on the calling thread. The number of
threads is numba's: NUMBA_NUM_THREADS or `numba.set_num_threads`.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import contextmanager, suppress
from functools import cache
from queue import SimpleQueue
from threading import Thread

import numba
from numba.np.ufunc import parallel

WORTH_A_THREAD = 200_000.0
"""Nanoseconds of work for which it is worth waking one more thread."""
COST_OF_A_COUPLING = 0.015
"""Rough nanoseconds for each coupling when inputs are summed: a part of the units is on, and eight are added at once."""
COST_OF_A_DRAW = 3.0
"""Rough nanoseconds to draw a unit: random word, exponential, packing."""
RUNS_A_THREAD = 4
"""Runs of rows for each thread: enough that a thread that is held up by other work does not hold up the call."""

_tasks: SimpleQueue | None = None


def n_threads() -> int:
    """Return the number of threads that kernels called from this thread use."""
    return _number()()


@cache
def _number():
    """Return the function that says what `numba.get_num_threads` does.

    That one takes a lock at each call, which a Ctrl-C can leave held, and then no other thread comes past it any more.
    """
    numba.get_num_threads()  # numba starts its threads
    return getattr(parallel, "_get_num_threads", numba.get_num_threads)


@contextmanager
def limited_to(n: int):
    """Let kernels called from this thread use `n` threads, at most NUMBA_NUM_THREADS, inside a ``with`` block."""
    before = n_threads()
    numba.set_num_threads(n)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def worth(cost: float) -> int:
    """Return the number of threads that work of `cost` nanoseconds is worth."""
    return 1 if cost < WORTH_A_THREAD else min(n_threads(), 1 + int(cost / WORTH_A_THREAD))


def share_out(kernel, n_rows: int, cost: float, *arguments, run: int | None = None) -> None:
    """Call ``kernel(first, last, *arguments)`` for runs of rows that together are 0 … n_rows - 1, on all threads.

    `cost` is roughly how many nanoseconds one row takes; `run` is the largest number of rows in a run, chosen here when None.
    The kernel must give the same result however the rows are cut into runs. When the call is interrupted, runs that have begun
    are waited for, and the others are not made.
    """
    n_helpers = max(min(worth(n_rows * cost), -(-n_rows // (run or 1))) - 1, 0)
    if n_helpers == 0 and (run is None or n_rows <= run):
        kernel(0, n_rows, *arguments)
        return
    run = run or -(-n_rows // ((1 + n_helpers) * RUNS_A_THREAD))
    starts = deque(range(0, n_rows, run))

    def work(take):
        while starts:
            try:
                first = take()
            except IndexError:  # another thread took the last one
                return
            kernel(first, min(first + run, n_rows), *arguments)

    # from both ends: from call to call, the same thread takes the same rows, which are in its cache
    tasks = _queue()
    helpers = [_Helper(lambda: work(starts.pop)) for _ in range(n_helpers if tasks else 0)]
    try:
        for helper in helpers:
            tasks.put(helper)
        work(starts.popleft)
    finally:
        starts.clear()
        for helper in helpers:
            if helper.active:  # one that has not begun finds nothing to do
                helper.ended.get()
    for helper in helpers:
        if helper.error is not None:
            raise helper.error


class _Helper:
    """A part of a call that another thread may take."""

    def __init__(self, work):
        self.work, self.active, self.error, self.ended = work, False, None, SimpleQueue()

    def run(self):
        self.active = True
        try:
            self.work()
        except BaseException as error:  # raised again in the thread that called
            self.error = error
        self.active = False
        self.ended.put(None)


def _queue() -> SimpleQueue | None:
    """Return the queue that the threads take helpers from; the threads are started with it. None when none can be started."""
    global _tasks
    if _tasks is None:
        tasks, n_started = SimpleQueue(), 0
        with suppress(RuntimeError):  # no thread starts while the interpreter ends; the caller then does all the work
            for number in range(numba.config.NUMBA_NUM_THREADS):
                Thread(target=_serve, args=(tasks,), name=f"fastbm-{number}", daemon=True).start()
                n_started += 1
        _tasks = tasks if n_started else None
    return _tasks


def _serve(tasks: SimpleQueue) -> None:
    while True:
        tasks.get().run()


def _forget_threads() -> None:
    global _tasks
    _tasks = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)  # threads do not survive a fork
