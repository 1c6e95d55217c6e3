"""The scripts run, small, and print their tables; only with ``--benchmark-disable``."""

from __future__ import annotations

import sys

import compare
import compare_dbm
import compare_dcgan
import compare_gan
import compare_stack
import gpu_table
import numpy as np
import pytest
import scaling
from growth import exponents

from fastbm import device

SHORT = ["--quick", "--rounds", "1", "--seconds", "0.01"]


@pytest.fixture
def printed(quick, monkeypatch, capsys):
    """A function that runs a script with options, and returns what it prints."""
    if not quick:
        pytest.skip("a check, nothing to measure")

    def printed(script, *options):
        monkeypatch.setattr(sys, "argv", [script.__name__, *SHORT, *options])
        script.main()
        return capsys.readouterr().out

    return printed


def test_compare(printed):
    out = printed(compare, "--only", "gibbs-64x256|default", "--epoch-rounds", "1")
    assert "| Gibbs 64×256, 256 chains | " in out
    assert "| BernoulliRBM() epoch, 20×784 grey, batch 10 | " in out


def test_compare_without_peers(printed, monkeypatch):
    for package in ("torch", "jax"):
        monkeypatch.setitem(sys.modules, package, None)
    out = printed(compare, "--only", "gibbs-64x256")
    assert "6 (10): not measured" in out
    assert "torch.rand: not installed" in out


def test_steps_of_adversaries(quick, monkeypatch, capsys):
    if not quick:
        pytest.skip("a check, nothing to measure")
    pytest.importorskip("torch", reason="torch: not installed")
    monkeypatch.setattr(sys, "argv", ["compare_gan.py", "--only", "line", "--rounds", "1", "--seconds", "0.01"])
    compare_gan.main()
    assert "| 1-D toy, 32 tanh units twice, batch 200 | " in capsys.readouterr().out


def test_steps_of_dcgans(quick, monkeypatch, capsys):
    if not quick:
        pytest.skip("a check, nothing to measure")
    pytest.importorskip("torch", reason="torch: not installed")
    options = ["--only", "step-28", "sample-28", "--rounds", "1", "--seconds", "0.01"]
    monkeypatch.setattr(sys, "argv", ["compare_dcgan.py", *options])
    compare_dcgan.main()
    out = capsys.readouterr().out
    assert "| step, 28×28 grey, base 32, batch 64 | " in out
    assert "| 512 samples, 28×28 grey, base 32 | " in out


def test_scaling(printed, tmp_path):
    picture = tmp_path / "scaling.png"
    out = printed(scaling, "--only", "gibbs-64x256|growth-couplings", "--output", str(picture))
    for words in ("Two threads against one:", "Two threads while another program", "| 10,000 | "):
        assert words in out or "not measured" in out
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_layers(quick, monkeypatch, capsys):
    if not quick:
        pytest.skip("a check, nothing to measure")
    pytest.importorskip("torch", reason="torch: not installed")
    monkeypatch.setattr(sys, "argv", ["compare_stack.py", "--rows", "250", "--rounds", "1"])
    compare_stack.main()
    out = capsys.readouterr().out
    assert "| layer 2, 500×2000 | " in out
    assert "| all layers | " in out


def test_deep_boltzmann_machines(quick, monkeypatch, capsys):
    if not quick:
        pytest.skip("a check, nothing to measure")
    pytest.importorskip("torch", reason="torch: not installed")
    monkeypatch.setattr(sys, "argv", ["compare_dbm.py", "--rows", "200", "--rounds", "1", "--updates", "3"])
    compare_dbm.main()
    out = capsys.readouterr().out
    assert all(f"| {name} | " in out for name in compare_dbm.BARS)


def test_the_table_of_a_gpu(quick, monkeypatch, capsys):
    """Without a GPU it says why; its runs of PyTorch do what they are for on the CPU too."""
    if not quick:
        pytest.skip("a check, nothing to measure")
    monkeypatch.setattr(sys, "argv", ["gpu_table.py"])
    if device.why_no_cuda():
        gpu_table.main()
        assert capsys.readouterr().out.startswith("no GPU was measured: ")
    pytest.importorskip("torch", reason="torch: not installed")
    rng = np.random.default_rng(0)
    rows = (rng.random((1000, 9)) < 0.5).astype(np.float32)
    for kind in gpu_table.KINDS:
        machine = rng.normal(size=(9, 5)).astype(np.float32), np.zeros(9, np.float32), np.zeros(5, np.float32)
        states = gpu_table.torch_gibbs(kind, False, *machine, rows, home="cpu")(2)
        assert set(states.unique().tolist()) == {0, 1}
        assert gpu_table.torch_epoch(kind, False, rows, home="cpu")(1).isfinite().all()


def test_an_exponent_is_over_a_decade():
    squares = {x: x * x for x in (1, 3, 10, 32, 100)}
    assert exponents(squares) == pytest.approx({10: 2, 32: 2, 100: 2})


def test_an_unknown_row_is_an_error(printed):
    with pytest.raises(SystemExit, match="no such row"):
        printed(compare, "--only", "gibbs-1x1")
