"""save and load: complete, whole or not at all, and never trusting what is read."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from fastbm import BernoulliRBM
from fastbm.estimators import _persistence

FITTED = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")
PARAMETERS = {
    "batch_size": 20,
    "n_chains": 7,
    "momentum": 0.5,
    "l2": 1e-3,
    "centered": True,
    "random_state": 3,
    "warm_start": True,
}


def assert_same(first, second):
    for name in FITTED:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
        assert getattr(first, name).dtype == getattr(second, name).dtype


@pytest.fixture
def saved(digits, tmp_path):
    machine = BernoulliRBM(20, n_iter=2, **PARAMETERS).fit(digits[0][:205])
    path = tmp_path / "machine.safetensors"
    machine.save(path)
    return machine, path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ["pcd", "cd"])
def test_training_goes_on_bit_for_bit(digits, tmp_path, algorithm, dtype):
    X = digits[0][:205].astype(dtype)
    whole = BernoulliRBM(20, n_iter=4, algorithm=algorithm, **PARAMETERS).fit(X)
    machine = BernoulliRBM(20, n_iter=2, algorithm=algorithm, **PARAMETERS).fit(X)
    machine.gibbs(X[:3])
    machine.save(tmp_path / "machine")
    loaded = BernoulliRBM.load(str(tmp_path / "machine"))
    assert loaded.get_params() == machine.get_params()
    assert loaded.n_iter_ == 2
    np.testing.assert_array_equal(loaded.gibbs(X[:9]), machine.gibbs(X[:9]))
    np.testing.assert_array_equal(loaded.sample(4, n_steps=5), machine.sample(4, n_steps=5))
    np.testing.assert_array_equal(loaded.sample(4, n_steps=5, init="chains"), machine.sample(4, n_steps=5, init="chains"))
    assert_same(loaded.fit(X), whole)
    assert_same(loaded.partial_fit(X), whole.partial_fit(X))


def test_numbers_of_numpy_and_names_of_features(digits, tmp_path):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(digits[0][:50], columns=[f"pixel {i}" for i in range(64)])
    machine = BernoulliRBM(np.int64(5), learning_rate=np.float32(0.25), n_iter=1).fit(X)
    machine.save(tmp_path / "machine")
    loaded = BernoulliRBM.load(tmp_path / "machine")
    np.testing.assert_array_equal(loaded.feature_names_in_, machine.feature_names_in_)
    np.testing.assert_array_equal(loaded.transform(X), machine.transform(X))


def test_from_weights_and_generators(tmp_path):
    machine = BernoulliRBM.from_weights(np.eye(3), np.zeros(3), np.zeros(3), random_state=np.random.RandomState(0))
    machine.save(tmp_path / "machine")
    loaded = BernoulliRBM.load(tmp_path / "machine")
    assert loaded.random_state is None
    assert_same(loaded.partial_fit(np.eye(3)), machine.partial_fit(np.eye(3)))


def test_a_function_is_refused(digits, tmp_path):
    machine = BernoulliRBM(3, n_iter=1, learning_rate_schedule=abs).fit(digits[0][:50])
    with pytest.raises(ValueError, match="learning_rate_schedule is a function"):
        machine.save(tmp_path / "machine")
    assert not list(tmp_path.iterdir())


class TestDamage:
    def test_every_truncation_is_an_error(self, saved):
        _, path = saved
        content = path.read_bytes()
        for length in [0, 1, 7, 8, 9, 100, 500, len(content) // 2, len(content) - 1]:
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match="is truncated"):
                BernoulliRBM.load(path)

    def test_any_changed_byte_is_an_error(self, saved):
        _, path = saved
        content = path.read_bytes()
        for position in np.random.default_rng(0).integers(0, len(content), 200):
            changed = bytearray(content)
            changed[position] ^= 0x41
            path.write_bytes(changed)
            with pytest.raises(ValueError, match="truncated|damaged|tampered|foreign"):
                BernoulliRBM.load(path)

    def test_appended_bytes(self, saved):
        _, path = saved
        path.write_bytes(path.read_bytes() + b"more")
        with pytest.raises(ValueError, match="damaged"):
            BernoulliRBM.load(path)

    @pytest.mark.parametrize(
        "content", [b"hello, this is a text file", pickle.dumps(list(range(100))), b"\0" * 100, b"PK\x03\x04" * 20]
    )
    def test_foreign_files(self, saved, content):
        _, path = saved
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is a foreign file: not safetensors|truncated"):
            BernoulliRBM.load(path)

    def test_foreign_safetensors(self, saved):
        _, path = saved
        safetensors.numpy.save_file({"weights": np.zeros((3, 2))}, path)
        with pytest.raises(ValueError, match="is a foreign file: safetensors, but not written by fastbm"):
            BernoulliRBM.load(path)

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            BernoulliRBM.load(tmp_path / "nothing")


class TestTampering:
    """Files whose checksum was made right again."""

    def rewrite(self, path, change):
        arrays, header = _persistence.read(path, "BernoulliRBM")
        kind = header.pop("class")
        version = header.pop("format")
        change(arrays, header)
        _persistence.write(path, header.pop("class", kind), arrays, {"format": version} | header)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda a, h: h.update({"class": "DeepBoltzmannMachine"}), "is of class DeepBoltzmannMachine, not BernoulliRBM"),
            (lambda a, h: h.update(format=99), "has format 99; this version of fastbm reads format 1"),
            (lambda a, h: h["parameters"].update(learning_rate=-1), "tampered with: .*learning_rate"),
            (lambda a, h: h["parameters"].update(surprise=1), "tampered with: .*surprise"),
            (lambda a, h: h.pop("_seed"), "tampered with: .*_seed"),
            (lambda a, h: h.update(_updates=-2), "tampered with: .*_updates"),
            (lambda a, h: h.update(n_iter_="many"), "tampered with: .*n_iter_"),
            (lambda a, h: a.pop("components_"), "tampered with: .*components_"),
            (lambda a, h: a.update(components_=a["components_"][:, 1:].copy()), "tampered with: .*shape"),
            (lambda a, h: a.update(components_=np.full_like(a["components_"], np.nan)), "tampered with: .*NaN"),
            (lambda a, h: a.update({"chains.hidden": a["chains.hidden"][1:].copy()}), "tampered with: arrays|were expected"),
            (lambda a, h: a.pop("velocity.hidden_bias"), "tampered with: .*velocity"),
            (lambda a, h: a.update({"chains.hidden": ~a["chains.hidden"]}), "tampered with: .*units that the machine has not"),
            (lambda a, h: h.update(_updates=2**80 + 1), "tampered with: .*_updates must be odd"),
            (lambda a, h: h["parameters"].update(n_components=21), "tampered with: .*n_components=21"),
            (lambda a, h: h.update(feature_names_in_=["a"]), "tampered with: .*1 feature_names_in_ for 64"),
            (lambda a, h: a.update({"velocity.weights": a["velocity.weights"].astype(np.float64)}), "tampered with"),
        ],
    )
    def test_is_an_error_that_says_what(self, saved, change, message):
        _, path = saved
        self.rewrite(path, change)
        with pytest.raises(ValueError, match=message):
            BernoulliRBM.load(path)

    def test_nothing_changed_is_fine(self, saved):
        machine, path = saved
        self.rewrite(path, lambda arrays, header: None)
        assert_same(BernoulliRBM.load(path), machine)

    def test_loading_runs_no_code(self, saved, tmp_path):
        """A pickle that would write a file, put where numbers are expected, writes none."""
        _, path = saved
        trap = tmp_path / "trap"

        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(trap),)

        content = pickle.dumps(Trap())
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"foreign|truncated"):
            BernoulliRBM.load(path)
        self_made = {"fastbm": json.dumps({"format": 1, "class": "BernoulliRBM", "parameters": {"verbose": content.hex()}})}
        path.write_bytes(safetensors.numpy.save({"x": np.zeros(1)}, self_made | {"sha256": "0"}))
        with pytest.raises(ValueError, match="tampered"):
            BernoulliRBM.load(path)
        assert not trap.exists()


def test_what_is_not_a_file_is_not_replaced(saved, tmp_path):
    machine, path = saved
    with pytest.raises(FileExistsError, match="is not a file"):
        machine.save(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(path)
    path.chmod(0o600)
    machine.partial_fit(np.ones((3, 64))).save(link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert_same(BernoulliRBM.load(path), machine)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        machine.save(tmp_path / "nowhere" / "machine")


class TestInterruption:
    def test_a_failing_write_leaves_the_old_file(self, saved, monkeypatch):
        machine, path = saved
        before = path.read_bytes()
        machine.partial_fit(np.ones((3, 64)))

        def fail(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(_persistence.os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            machine.save(path)
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 needs POSIX")
    def test_a_kill_in_the_middle_leaves_the_old_file(self, saved):
        machine, path = saved
        before = path.read_bytes()
        script = (
            "import os, signal, sys\n"
            "from fastbm import BernoulliRBM\n"
            "machine = BernoulliRBM.load(sys.argv[1])\n"
            "machine.components_ = machine.components_ + 1\n"
            "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
            "machine.save(sys.argv[1])\n"
        )
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert path.read_bytes() == before
        assert_same(BernoulliRBM.load(path), machine)
