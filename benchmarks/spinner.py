"""Another program that keeps one core busy, which can be let run and be stopped at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

PROGRAM = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
print("pinned", flush=True)
while os.getppid() == int(sys.argv[2]):
    sum(range(100_000))
"""


class Spinner:
    """A process that spins on a core."""

    def __init__(self, core: int):
        command = [sys.executable, "-c", PROGRAM, str(core), str(os.getpid())]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"pinned\n", f"no process could be pinned to core {core}"
        self.stop()

    def go(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def end(self):
        self.process.kill()
        self.process.communicate()


@contextmanager
def spinning_on(core: int):
    """Yield a function that makes of a run one beside which the core is busy."""
    spinner = Spinner(core)

    def beside(run):
        def run_beside(n_steps):
            spinner.go()
            try:
                return run(n_steps)
            finally:
                spinner.stop()

        return run_beside

    try:
        yield beside
    finally:
        spinner.end()


def second_core() -> int | None:
    """Return the second core that this process may use; None where there is none, or it cannot be told."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return cores[1] if len(cores) > 1 else None
