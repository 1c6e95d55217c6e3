"""``python -m fastbm bench``: chain-steps per second of fastbm and of other libraries, side by side.

Machines are noisy, so the rows of a table take turns in one process, and what is compared is the ratio of two rows in the same
round. The functions that make and measure rows are shared with the benchmark suite.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import textwrap
import time
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from fastbm import __version__, chain, device, kernels
from fastbm.commands import graphs, peers
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains

HELP = "measure block Gibbs sampling of restricted and general machines, against other libraries where they are installed"
WIDTH = 100
ROUNDS = 5
BURN_IN = 200
PAUSE = 0.02
"""Seconds between two measurements, in which idle threads of the last library go to sleep."""

Run = peers.Run
PEERS = [*peers.GIBBS, *(name for name in peers.GRAPHS if name not in peers.GIBBS)]


class Shape(NamedTuple):
    """The size of a machine, and how many chains sample it."""

    n_visible: int
    n_hidden: int
    n_chains: int

    def __str__(self):
        return f"{self.n_visible}x{self.n_hidden}-{self.n_chains}chains"


SHAPES = (Shape(784, 500, 1024), Shape(784, 500, 1), Shape(64, 256, 1024))

# --------------------------------------------------------------------------------------------------------- command


def add_arguments(parser):
    """Add the options of the command."""
    shapes = ["x".join(map(str, shape)) for shape in SHAPES]
    parser.add_argument(
        "--shapes", nargs="*", default=shapes, metavar="SHAPE",
        help=f"visible x hidden units x chains (default: {' '.join(shapes)})",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, default=0.3, help=f"time of a row in each of {ROUNDS} rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, default=PEERS, metavar="PEER",
        help=f"what to compare with (default: {' '.join(PEERS)})",
    )  # fmt: skip
    parser.add_argument(
        "--graphs", nargs="*", choices=list(graphs.WORKLOADS), default=list(graphs.WORKLOADS), metavar="GRAPH",
        help=f"general machines (default: {' '.join(graphs.WORKLOADS)})",
    )  # fmt: skip


def run(options):
    """Run the command."""
    if not 0 < options.seconds < 3600:
        raise ValueError(f"--seconds must lie between 0 and 3600, got {options.seconds}")
    main([parse_shape(text) for text in options.shapes], options.seconds, options.peers)
    main_graphs([graphs.WORKLOADS[name]() for name in options.graphs], options.seconds, options.peers)


def parse_shape(text: str) -> Shape:
    """Return the shape that "784x500x1024" stands for; ValueError when it stands for none."""
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"a shape is visible x hidden units x chains, such as 784x500x1024; got {text!r}")
    return Shape(*map(int, parts))


def main(shapes, seconds: float, names):
    """Print what the machine is, then a table for each shape: fastbm, and the peers that are named."""
    for name, value in facts().items():
        print(textwrap.fill(value, WIDTH, initial_indent=f"{name:10}", subsequent_indent=" " * 10))
    for shape in shapes:
        print(f"\n{shape.n_visible} × {shape.n_hidden} units, {shape.n_chains:,} chain{'s'[: shape.n_chains > 1]}", flush=True)
        X = digits(shape.n_visible)
        machine = trained(X, shape.n_hidden)
        rows = gibbs_rows(machine, burnt_in(machine, X, shape.n_chains), names)
        print("\n".join(table(rows, measured(rows, seconds, ROUNDS), shape.n_chains)), flush=True)


def main_graphs(workloads, seconds: float, names):
    """Print a table for each general machine: fastbm, and the peers that are named."""
    for workload in workloads:
        print(f"\n{workload.title}, {workload.n_chains:,} chain{'s'[: workload.n_chains > 1]}", flush=True)
        rows = graphs.rows_of(workload, names)
        lines = table(rows, measured(rows, seconds, ROUNDS), workload.flips * 1e-9, "flips/ns", ",.4f")
        print("\n".join(lines), flush=True)


def table(
    rows: dict[str, Run | str], times: dict[str, list[float]], amount: float, unit: str = "chain-steps/s", form: str = ",.0f"
) -> list[str]:
    """Return the lines of a table: how much is done in a second, `amount` in a step; rows are compared with the first one."""
    lines = [f"{'':24}{unit:>16}{'time over 1st':>16}{'lowest – highest':>24}"]
    relative = ratios(times, next(iter(rows)))
    for name, row in rows.items():
        if isinstance(row, str):
            lines += textwrap.wrap(row, WIDTH, initial_indent=f"{name:27}", subsequent_indent=" " * 27)
            continue
        spread = f"{min(relative[name]):.2f} – {max(relative[name]):.2f}"
        rate = format(amount / median(times[name]), form)
        lines.append(f"{name:24}{rate:>16}{median(relative[name]):>16.2f}{spread:>24}")
    return lines


# ------------------------------------------------------------------------------------------------------------ rows


def training_rows(n_visible: int, folder: Path | None = None) -> np.ndarray:
    """Return rows of 0 and 1 to train on, float32: binarised MNIST when `folder` has it and it fits, else `digits`."""
    file = folder and folder / "binarized-mnist" / "binarized_mnist_packed.npz"
    if n_visible != 784 or not file or not file.is_file():
        return digits(n_visible)
    with np.load(file) as arrays:
        return np.unpackbits(arrays["x_train"], axis=1, count=784).astype(np.float32, order="C")


def digits(n_visible: int) -> np.ndarray:
    """Return scikit-learn's digits as rows of 0 and 1, enlarged to the smallest square of at least `n_visible` pixels."""
    return (grey_digits(n_visible) > 7 / 16).astype(np.float32)


def grey_digits(n_visible: int) -> np.ndarray:
    """Return scikit-learn's digits as grey levels, float32, enlarged to the smallest square of at least `n_visible` pixels."""
    from fastbm.datasets import load_digits

    side = max(8, int(np.ceil(np.sqrt(n_visible))))
    scale, margin = side // 8, side % 8
    images = load_digits()[0].reshape(-1, 8, 8).repeat(scale, axis=1).repeat(scale, axis=2)
    padding = (margin // 2, margin - margin // 2)
    return np.pad(images, ((0, 0), padding, padding)).reshape(len(images), -1)[:, :n_visible]


def trained(rows: np.ndarray, n_hidden: int, n_updates: int = 600) -> RBM:
    """Return a machine after some training: random weights would flip far more units than those that people sample."""
    from fastbm.estimators import BernoulliRBM

    n_used = n_updates * 20
    model = BernoulliRBM(
        n_hidden, batch_size=20, learning_rate=0.05, n_iter=max(1, n_used // len(rows)), random_state=0, device="cpu"
    ).fit(rows[:n_used])
    parameters = (model.components_.T, model.intercept_visible_, model.intercept_hidden_)
    return RBM(*(np.array(array, np.float32, order="C") for array in parameters))


def burnt_in(machine: RBM, rows: np.ndarray, n_chains: int, n_steps: int = BURN_IN) -> Chains:
    """Return chains that began at training rows, as those of training do, and have left them."""
    visible = chain.pack(rows[np.arange(n_chains) % len(rows)])
    start = rbm.empty_chains(n_chains, *machine.weights.shape)._replace(visible=visible)
    key = chain.stream_key(0, chain.Purpose.SAMPLING_START)
    return rbm.advance(rbm.rounded(machine), start, 2 * n_steps, key=key, beta=rbm.UNTEMPERED)


def gibbs_rows(machine: RBM, chains: Chains, names) -> dict[str, Run | str]:
    """Return the rows of a table: what makes sweeps of all chains, or the reason why it cannot."""
    from fastbm.kernels.threads_cpu import n_threads

    n = n_threads()
    rows: dict[str, Run | str] = {f"fastbm cpu ({n} thread{'s'[: n > 1]})": fastbm_gibbs(machine, chains)}
    if n > 1:
        rows["fastbm cpu (1 thread)"] = limited(fastbm_gibbs(machine, chains), 1)
    rows["fastbm cuda"] = device.why_no_cuda() or fastbm_gibbs(machine, chains, device.resolve("cuda"))
    return rows | {name: peer_gibbs(name, machine, chains) for name in names}


def fastbm_gibbs(machine: RBM, chains: Chains, home: str = "cpu") -> Run:
    """Return what makes sweeps of a copy of `chains` on a device."""
    exact = rbm.rounded(RBM(*(device.to_device(array, home) for array in machine)))
    key, beta = chain.stream_key(0, chain.Purpose.SAMPLING), rbm.untempered(home)
    visible, hidden = (device.to_device(states.copy(), home) for states in chains[:2])
    chains = Chains(visible, hidden, 0)

    def run(n_steps):
        nonlocal chains
        chains = rbm.advance(exact, chains, 2 * n_steps, key=key, beta=beta)
        return device.to_host(kernels.unpack(chains.visible, machine.weights.shape[0], np.uint8))

    return run


def limited(run: Run, n: int) -> Run:
    """Return a run of fastbm's on `n` threads."""
    from fastbm.kernels.threads_cpu import limited_to

    def run_limited(n_steps):
        with limited_to(n):
            return run(n_steps)

    return run_limited


def peer_gibbs(name: str, machine: RBM, chains: Chains) -> Run | str:
    """Return a peer that makes sweeps beginning at `chains`, or the reason why it cannot."""
    if name == "thrml" and machine.weights.size > peers.LARGEST_GRAPH:
        return f"not measured: its graph of {machine.weights.size:,} couplings would take minutes to make"
    v0 = chain.unpack(chains.visible, machine.weights.shape[0], np.float32)
    try:
        return peers.GIBBS[name](*machine, v0)
    except ImportError as error:
        return f"not installed: {error}"


def fastbm_pcd(X, n_hidden: int, batch_size: int, device: str = "auto"):
    """Return what trains a new machine by PCD-1 for one pass over `X`."""
    from fastbm.estimators import BernoulliRBM

    model = BernoulliRBM(
        n_hidden, learning_rate=peers.LEARNING_RATE, batch_size=batch_size, n_iter=1, random_state=0, device=device
    )
    return lambda: model.fit(X)


# ------------------------------------------------------------------------------------------------------- measuring


def measured(rows: dict[str, Run | str], seconds: float, rounds: int) -> dict[str, list[float]]:
    """Return seconds per step of each row that can run, in each round; a round gives every row about `seconds`."""
    runs = {name: row for name, row in rows.items() if not isinstance(row, str)}
    return interleaved(runs, {name: calibrated(row, seconds) for name, row in runs.items()}, rounds)


def interleaved(runs: dict[str, Run], n_steps: dict[str, int], rounds: int) -> dict[str, list[float]]:
    """Return seconds per step of each run in each round; every round begins with another run."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for _ in range(rounds):
        for name in order:
            times[name].append(timed(runs[name], n_steps[name]) / n_steps[name])
        order.append(order.pop(0))
    return times


def calibrated(run: Run, seconds: float) -> int:
    """Return how many steps take about `seconds`, after a first step that compiles what has to be compiled."""
    run(1)
    n_steps, taken = 1, timed(run, 1)
    while taken < seconds / 4:
        n_steps *= 2
        taken = timed(run, n_steps)
    return max(1, round(n_steps * seconds / taken))


def timed(run: Run, n_steps: int) -> float:
    """Return the seconds that a run takes, measured after a pause."""
    time.sleep(PAUSE)
    begin = time.perf_counter()
    run(n_steps)
    return time.perf_counter() - begin


def ratios(times: dict[str, list[float]], base: str) -> dict[str, list[float]]:
    """Return how many times as long as `base` each run took, round by round."""
    return {name: [a / b for a, b in zip(values, times[base], strict=True)] for name, values in times.items()}


# ----------------------------------------------------------------------------------------------------------- facts


def facts() -> dict[str, str]:
    """Return what a published table has to say about itself: hardware, versions, date, command."""
    return {
        "cpu": f"{cpu_name()}, {n_cores()}, {memory()}",
        "system": platform.platform(),
        "versions": versions(),
        "date": date.today().isoformat(),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
    }


def cpu_name() -> str:
    """Return the model of the processor, as well as the system knows it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        named = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if named:
            return named[0].partition(":")[2].strip()
    if sys.platform == "darwin":
        return subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], text=True).strip()
    return platform.processor() or platform.machine()


def n_cores() -> str:
    """Return how many logical cores this process may use."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{n} logical cores"


def memory() -> str:
    """Return the size of the memory, where the system tells."""
    try:
        return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):
        return "memory unknown"


def versions() -> str:
    """Return the versions of everything that is measured."""
    found = [f"fastbm {__version__}", f"Python {platform.python_version()}"]
    for package in ("numpy", "numba", "scipy", "scikit-learn", "torch", "jax", "thrml"):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
