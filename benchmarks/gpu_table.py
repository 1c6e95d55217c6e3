"""The GPU's table: ``python benchmarks/gpu_table.py`` prints chain-steps a second on the GPU, on the CPU and of PyTorch.

All take turns in one process; a ratio is taken within each round, and its median, lowest and highest are printed. PyTorch runs
on the same GPU in float32, with TF32 products and in bfloat16, each with and without a CUDA graph of a sweep. Without a GPU the
reason is printed, and nothing is measured.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np
from materials import Materials

from fastbm import BernoulliRBM, chain, device
from fastbm.commands import bench
from fastbm.commands.bench import Shape

SHAPES = (Shape(784, 500, 8192), Shape(784, 500, 65_536), Shape(64, 256, 8192))
KINDS = ("float32", "tf32", "bfloat16")
EPOCH = {"n_hidden": 500, "batch_size": 1000}
LEARNING_RATE = 0.05


def main():
    """Print the tables."""
    options = parse()
    reason = device.why_no_cuda()
    if reason:
        print(f"no GPU was measured: {reason}")
        return
    import cupy
    import torch

    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    print(f"GPU {name}, CuPy {cupy.__version__}, PyTorch {torch.__version__}, CUDA {cupy.cuda.runtime.runtimeGetVersion()}\n")
    materials = Materials(options.updates)
    print("| row | " + " | ".join(("fastbm cuda", "over PyTorch's best float32", "over its best", "over fastbm cpu")) + " |")
    print("|---|---:|---:|---:|---:|")
    for shape in SHAPES:
        v, h, n = shape
        print(line(f"Gibbs {v}×{h}, {n:,} chains", compete(gibbs_runs(materials, shape), options, n), "chain-steps/s"))
    rows = materials.binary(784)[: options.rows]
    print(line(f"PCD-1 epoch, {len(rows):,}×784, batch 1,000", compete(epoch_runs(rows), options, len(rows)), "rows/s"))


def parse():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="time of each in a round")
    parser.add_argument("--updates", type=int, default=1000, help="training of the machines that are sampled")
    parser.add_argument("--rows", type=int, default=60_000, help="rows of an epoch, at most")
    return parser.parse_args()


def gibbs_runs(materials, shape):
    """Return what makes sweeps, by name."""
    machine, chains = materials.machine(shape.n_visible, shape.n_hidden), materials.chains(shape)
    v0 = chain.unpack(chains.visible, shape.n_visible, np.float32)
    runs = {f"fastbm {home}": bench.fastbm_gibbs(machine, chains, device.resolve(home)) for home in ("cuda", "cpu")}
    for kind in KINDS:
        for graph in (False, True):
            runs[f"{kind}{' graph' * graph}"] = torch_gibbs(kind, graph, *machine, v0)
    return runs


def epoch_runs(rows):
    """Return what trains for `n_steps` epochs, by name; the data lie on the device that trains."""

    def run_on(home):
        model = BernoulliRBM(EPOCH["n_hidden"], batch_size=EPOCH["batch_size"], learning_rate=LEARNING_RATE, device=home)
        model.set_params(random_state=0, warm_start=True)
        there = device.to_device(rows, home)
        return lambda n_steps: model.set_params(n_iter=n_steps).fit(there)

    runs = {f"fastbm {home}": run_on(device.resolve(home)) for home in ("cuda", "cpu")}
    for kind in KINDS:
        for graph in (False, True):
            runs[f"{kind}{' graph' * graph}"] = torch_epoch(kind, graph, rows)
    return runs


def compete(runs, options, n_items):
    """Return items a second of each, a list with a number a round: in turns, each as many steps as fit into the time."""
    rates, steps = {name: [] for name in runs}, {}
    for name, run in runs.items():
        run(1)
        begin = time.perf_counter()
        run(2)
        steps[name] = max(1, int(options.seconds / ((time.perf_counter() - begin) / 2)))
    for _ in range(options.rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            run(steps[name])
            rates[name].append(n_items * steps[name] / (time.perf_counter() - begin))
    return rates


def line(title, rates, unit):
    """Return a line of the table."""
    ours, exact = rates["fastbm cuda"], [name for name in rates if name.startswith("float32")]
    every = [name for name in rates if not name.startswith("fastbm")]
    cells = [
        ratios(ours, [max(some) for some in zip(*(rates[name] for name in names), strict=True)]) for names in (exact, every)
    ]
    return " | ".join(("", title, f"{median(ours):,.0f} {unit}", *cells, ratios(ours, rates["fastbm cpu"]), "")).strip()


def ratios(ours, theirs):
    """Return how many times as fast, round by round, in words."""
    values = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{median(values):.2f} ({min(values):.2f} – {max(values):.2f})"


def torch_gibbs(kind, graph, weights, visible_bias, hidden_bias, v0, home="cuda"):
    """PyTorch's sweeps, with both orientations of the weights contiguous, and a graph of one sweep where asked."""
    import torch

    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    to_hidden, to_visible = (torch.tensor(np.ascontiguousarray(w), dtype=dtype, device=home) for w in (weights, weights.T))
    a, b, v = (torch.tensor(array, dtype=dtype, device=home) for array in (visible_bias, hidden_bias, v0))

    def sweep():
        h = torch.addmm(b, v, to_hidden).sigmoid_()
        h = torch.rand_like(h).lt_(h)
        p = torch.addmm(a, h, to_visible).sigmoid_()
        v.copy_(torch.rand_like(p).lt_(p))

    @torch.inference_mode()
    def run(n_steps):
        nonlocal sweep
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        if graph and not isinstance(sweep, torch.cuda.CUDAGraph):
            sweep = captured(sweep)
        for _ in range(n_steps):
            sweep.replay() if graph else sweep()
        return v.float().cpu()

    return run


def captured(sweep):
    """Return a CUDA graph of a function of PyTorch's."""
    import torch

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        sweep()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        sweep()
    return graph


def torch_epoch(kind, graph, rows, home="cuda"):
    """PyTorch's epochs of PCD-1, with the data on the device, every update in place, and a graph of one where asked."""
    import torch

    dtype, size = torch.bfloat16 if kind == "bfloat16" else torch.float32, EPOCH["batch_size"]
    X = torch.tensor(rows[: len(rows) // size * size], dtype=dtype, device=home)
    W = 0.01 * torch.randn(X.shape[1], EPOCH["n_hidden"], dtype=dtype, device=home)
    a, b = (torch.zeros(n, dtype=dtype, device=home) for n in W.shape)
    h = torch.zeros(size, W.shape[1], dtype=dtype, device=home)
    batch = torch.empty(size, X.shape[1], dtype=dtype, device=home)

    def update(v_positive):
        h_positive = torch.addmm(b, v_positive, W).sigmoid_()
        p = torch.addmm(a, h, W.T).sigmoid_()
        v_negative = torch.rand_like(p).lt_(p)
        h_negative = torch.addmm(b, v_negative, W).sigmoid_()
        W.addmm_(v_positive.T, h_positive, alpha=LEARNING_RATE / size)
        W.addmm_(v_negative.T, h_negative, alpha=-LEARNING_RATE / size)
        a.add_(v_positive.mean(0) - v_negative.mean(0), alpha=LEARNING_RATE)
        b.add_(h_positive.mean(0) - h_negative.mean(0), alpha=LEARNING_RATE)
        h.copy_(torch.rand_like(h_negative).lt_(h_negative))

    replayed = None

    @torch.inference_mode()
    def run(n_steps):
        nonlocal replayed
        torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
        if graph and replayed is None:
            batch.copy_(X[:size])
            replayed = captured(lambda: update(batch))
        for _ in range(n_steps):
            for some in X.split(size):
                if replayed is None:
                    update(some)
                else:
                    batch.copy_(some)
                    replayed.replay()
        return W.float().cpu()

    return run


if __name__ == "__main__":
    main()
