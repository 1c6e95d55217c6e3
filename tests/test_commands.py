"""`python -m fastbm`: what it prints, what it draws, and what it says when it cannot."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from test_datasets import idx

from fastbm import __version__, chain
from fastbm.__main__ import main
from fastbm.commands import bench, demo, graphs
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM


@pytest.fixture
def mnist_like(tmp_path):
    rng = np.random.default_rng(0)
    for name, n_images in (("train", 120), ("t10k", 60)):
        images = rng.integers(0, 256, (n_images, 6, 6), np.uint8)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.zeros(n_images, np.uint8)))
    return tmp_path


def test_demo_trains_and_draws(tmp_path, capsys):
    picture = tmp_path / "picture.png"
    assert main(["demo", "--epochs", "3", "--output", str(picture)]) == 0
    out, err = capsys.readouterr()
    assert picture.read_bytes()[:4] == b"\x89PNG"
    for words in ("1,500 cases", "128 hidden units", "3 passes", "pseudo-likelihood", "chain-steps per second", str(picture)):
        assert words in out
    before, after = (float(word) for word in out.split("pseudo-likelihood ")[1].replace(" before,", "").split()[:2])
    assert after > before + 10
    assert "fitting" in err  # the progress bar


def test_demo_on_idx_files(mnist_like, capsys, monkeypatch):
    monkeypatch.setattr(demo, "N_SAMPLES", 4)
    assert main(["demo", "--data", str(mnist_like), "--epochs", "1", "--output", str(mnist_like / "a.png")]) == 0
    assert "120 cases to train on, 60 held out" in capsys.readouterr().out
    assert (mnist_like / "a.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--data", "/nowhere"], "python -m fastbm demo: there is no file /nowhere/train-images-idx3-ubyte, nor"),
        (["demo", "--output", "/nowhere/a.png"], "python -m fastbm demo: --output /nowhere/a.png: there is no folder /nowhere"),
        (["demo", "--output", "a.txt"], "--output must name a .png file, got 'a.txt'"),
        (["bench", "--shapes", "3x"], "python -m fastbm bench: "),
        (["bench", "--seconds", "inf"], "--seconds must lie between 0 and 3600, got inf"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    err = capsys.readouterr().err.strip().splitlines()
    assert len(err) == 1
    assert message in err[0]


def test_demo_says_at_once_when_matplotlib_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["demo"]) == 1
    out, err = capsys.readouterr()
    assert "pip install matplotlib" in err
    assert "trained" not in out


def test_bench_prints_a_row_for_each_device_and_peer(capsys):
    assert main(["bench", "--shapes", "64x8x3", "--seconds", "0.01", "--peers", "scikit-learn", "jax"]) == 0
    out = capsys.readouterr().out
    for words in ("fastbm cpu", "1 thread", "fastbm cuda", "scikit-learn", "jax", "chain-steps/s", "3 chains"):
        assert words in out
    assert max(map(len, out.splitlines())) <= bench.WIDTH


def test_peers_that_cannot_run_say_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for shape, name, message in [((3, 2), "torch.rand", "not installed: "), ((1000, 600), "thrml", "not measured: ")]:
        machine = RBM(*(np.zeros(n, np.float32) for n in (shape, *shape)))
        reason = bench.peer_gibbs(name, machine, rbm.empty_chains(1, *shape))
        assert reason.startswith(message)


@pytest.mark.parametrize("epochs", ["0", "-1", "2.5", "many"])
def test_passes_are_at_least_one(epochs, capsys):
    with pytest.raises(SystemExit):
        main(["demo", f"--epochs={epochs}"])
    assert "argument --epochs: must be an integer of at least 1, got" in capsys.readouterr().err


def test_as_a_program():
    done = subprocess.run([sys.executable, "-m", "fastbm", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"fastbm {__version__}"
    done = subprocess.run([sys.executable, "-m", "fastbm"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "demo" in done.stderr


def test_bench_of_graphs(monkeypatch, capsys):
    """A table for each general machine, and why a peer has no row in it."""
    small = {"lattice": lambda: graphs.lattice(16), "dense": lambda: graphs.dense(30, 5)}
    monkeypatch.setattr(graphs, "WORKLOADS", small)
    assert main(["bench", "--shapes", "--seconds", "0.001", "--graphs", "lattice", "dense", "--peers", "numpy"]) == 0
    out = capsys.readouterr().out
    for words in ("Ising lattice 16 × 16, 1 chain\n", "dense machine, 30 units, 5 chains", "flips/ns", "cuda", "nearly empty"):
        assert words in out
    assert max(map(len, out.splitlines())) <= bench.WIDTH


def test_the_dense_peer_samples_the_same_distribution():
    """Mean products of neighbouring spins after 30 sweeps, each within five standard errors of the kernel's."""
    workload = graphs.dense(12, 4000)._replace(couplings=np.linspace(-0.5, 0.5, 66))
    spins = graphs.peer_sweeps("numpy", workload)(30)
    states = chain.unpack(graphs.fastbm_sweeps(workload)(30), 12, np.float64).T * 2 - 1
    theirs, ours = (((s[:-1] * s[1:]).mean(axis=1)) for s in (spins, states))
    assert np.abs(theirs - ours).max() < 5 * np.sqrt(2 / 4000)
