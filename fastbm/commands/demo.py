"""Train a restricted Boltzmann machine on digits, say what happened, draw what it learnt: calls what users can call."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

HELP = "train on handwritten digits, print figures, and draw weights, reconstructions and samples into a PNG file"
N_SAMPLES = 64


class Plan(NamedTuple):
    """The data of the demo, and what suits them."""

    name: str
    train: np.ndarray
    held_out: np.ndarray
    parameters: dict
    n_steps: int
    start: str | None


def add_arguments(parser):
    """Add the options of the command."""
    parser.add_argument("--data", metavar="FOLDER", help="a folder with the four files of MNIST instead of embedded digits")
    parser.add_argument("--output", metavar="FILE", default="fastbm-demo.png", help="the picture (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random_state (default: %(default)s)")
    parser.add_argument("--epochs", type=_passes, metavar="N", help="passes over the data (default: 200, or 15 with --data)")


def _passes(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return int(text)


def run(options):
    """Run the demo."""
    from fastbm import plotting
    from fastbm.estimators import BernoulliRBM

    output = Path(options.output)
    if output.is_dir() or output.suffix.lower() != ".png":
        raise ValueError(f"--output must name a .png file, got {options.output!r}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"--output {output}: there is no folder {output.parent}")
    plotting.plot_images(np.zeros((1, 1)))  # a missing matplotlib is said now, not after the training
    begin = time.perf_counter()
    plan = _mnist(options.data) if options.data is not None else _digits()
    parameters = plan.parameters | ({"n_iter": options.epochs} if options.epochs else {})
    machine = BernoulliRBM(**parameters, random_state=options.seed, verbose=1)
    _print_data(plan, machine)
    print("compiling    kernels, on their first use some 25 s:", end=" ", flush=True)
    print(f"{_timed(lambda: _compile(machine, plan)):.1f} s", flush=True)
    before = _untrained(machine, plan).score(plan.held_out)
    with contextlib.redirect_stdout(None):  # the progress bar says enough; a line for every pass would not
        seconds = _timed(lambda: machine.fit(plan.train))
    _print_training(machine, plan, seconds, before)
    machine.set_params(verbose=0)
    samples, seconds = _sample(machine, plan)
    rate = N_SAMPLES * plan.n_steps / seconds
    start = "the training chains" if plan.start else "fair coins"
    print(f"sampled      {N_SAMPLES} chains × {plan.n_steps:,} sweeps from {start} in {seconds:.2f} s: ", end="")
    print(f"{rate:,.0f} chain-steps per second")
    title = f"samples from {start}, as probabilities"
    plotting.plot_machine(machine, plan.held_out[:50], samples, title=title).savefig(output)
    print(f"picture      {output}")
    print(f"in all       {time.perf_counter() - begin:.1f} s, compilation included")


def _digits() -> Plan:
    from fastbm import datasets

    X = datasets.binarise(datasets.load_digits()[0])
    order = np.random.default_rng(0).permutation(len(X))
    parameters = {"n_components": 128, "batch_size": 50, "n_chains": 500, "n_iter": 200}
    parameters |= {"learning_rate": 0.1, "learning_rate_schedule": "linear"}
    return Plan("scikit-learn's digits, 8×8", X[order[:1500]], X[order[1500:]], parameters, 2000, None)


def _mnist(folder) -> Plan:
    from fastbm import datasets

    train, _, test, _ = datasets.load_mnist(folder)
    parameters = {"n_components": 500, "batch_size": 100, "n_chains": 500, "n_iter": 15}
    parameters |= {"learning_rate": 0.05, "learning_rate_schedule": "linear"}
    order = np.random.default_rng(0).permutation(len(train))
    name = f"{folder}, {train.shape[1]} pixels"
    return Plan(name, datasets.binarise(train[order]), datasets.binarise(test), parameters, 1000, "chains")


def _compile(machine, plan):
    """Use all that will be used once, so that what is timed later is not compilation."""
    small = _copy(machine, n_iter=1).fit(plan.train[: machine.batch_size])
    small.sample(N_SAMPLES, n_steps=plan.n_steps, init=plan.start)
    small.score(plan.held_out)


def _untrained(machine, plan):
    return _copy(machine, n_iter=0).fit(plan.train[:1])


def _copy(machine, n_iter):
    return type(machine)(**machine.get_params() | {"n_iter": n_iter, "verbose": 0})


def _timed(function) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def _sample(machine, plan):
    """Draw states; return the probabilities of their pixels given those of their hidden units: grey where it is unsure."""
    begin = time.perf_counter()
    states = machine.sample(N_SAMPLES, n_steps=plan.n_steps, init=plan.start)
    seconds = time.perf_counter() - begin
    return machine.reconstruct(states), seconds


def _print_data(plan, machine):
    print(f"data         {plan.name}: {len(plan.train):,} cases to train on, {len(plan.held_out):,} held out")
    print(f"machine      {plan.train.shape[1]} visible units, {machine.n_components} hidden units, {machine.n_chains} chains")


def _print_training(machine, plan, seconds, before):
    after = machine.score(plan.held_out)
    print(f"trained      {machine.n_iter_} passes in {seconds:.1f} s on {machine.device_}")
    print(f"held out     pseudo-likelihood {before:.2f} before, {after:.2f} after (nats a case; 0 would be perfect)")
