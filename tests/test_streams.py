"""Training data larger than memory: files mapped to memory, and iterables of batches."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from fastbm import BernoulliRBM

PARAMETERS = {"n_components": 20, "batch_size": 20, "n_iter": 2, "random_state": 0}
FITTED = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")


@pytest.fixture
def X(digits):
    return digits[0][:200]


@pytest.fixture
def whole(X):
    return BernoulliRBM(**PARAMETERS).fit(X)


def assert_same_fit(first, second):
    for name in FITTED:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def mapped(folder, X, dtype):
    """Write rows to a file and map it to memory."""
    file = np.memmap(folder / "rows", dtype=dtype, mode="w+", shape=X.shape)
    file[:] = X
    file.flush()
    return np.memmap(folder / "rows", dtype=dtype, mode="r", shape=X.shape)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int32, np.float16, np.float32, np.float64, ">f8"])
def test_a_mapped_file_is_an_array(tmp_path, X, whole, dtype):
    machine = BernoulliRBM(**PARAMETERS).fit(mapped(tmp_path, X, dtype))
    assert_same_fit(machine, whole)
    assert machine.components_.dtype == (np.float32 if dtype == np.float32 else np.float64)


class Batches:
    """What can be iterated over again and again."""

    def __init__(self, X, size):
        self.X, self.size = X, size

    def __iter__(self):
        return (self.X[begin : begin + self.size] for begin in range(0, len(self.X), self.size))


@pytest.mark.parametrize("size", [20, 100, 200])
@pytest.mark.parametrize("kind", [list, tuple, lambda batches: batches])
def test_batches_are_cut_into_minibatches(X, whole, size, kind):
    assert_same_fit(BernoulliRBM(**PARAMETERS).fit(kind(Batches(X, size))), whole)


def test_smaller_batches_are_minibatches(X):
    small = BernoulliRBM(**PARAMETERS).fit(Batches(X, 5))
    assert_same_fit(small, BernoulliRBM(**PARAMETERS | {"batch_size": 5, "n_chains": 20}).fit(X))


def test_sparse_and_integer_batches(X, whole):
    batches = [sparse.csr_matrix(X[:100]), X[100:].astype(np.int8)]
    assert_same_fit(BernoulliRBM(**PARAMETERS).fit(batches), whole)


def test_a_generator_is_good_for_one_pass(X):
    once = BernoulliRBM(**PARAMETERS | {"n_iter": 1})
    assert_same_fit(once.fit(iter(Batches(X, 40))), BernoulliRBM(**PARAMETERS | {"n_iter": 1}).fit(X))
    with pytest.raises(ValueError, match=r"X is an iterator, which gives its batches once.*use n_iter=1, or an object"):
        BernoulliRBM(**PARAMETERS).fit(iter(Batches(X, 40)))


def test_partial_fit_makes_an_update_for_each_batch(X):
    parts, stream = (BernoulliRBM(**PARAMETERS) for _ in range(2))
    for batch in Batches(X, 30):
        parts.partial_fit(batch)
    assert_same_fit(stream.partial_fit(iter(Batches(X, 30))), parts)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([np.eye(4), np.eye(5)], "X has 5 features, but BernoulliRBM is expecting 4 features"),
        ([np.eye(4), np.full((2, 4), np.nan)], "contains NaN"),
        ([np.eye(4), np.ones(4)], "batch 1 is an array of shape .4,.; give rows alone, without labels"),
        (iter([]), "X is an iterable of batches, but it gave none"),
    ],
)
def test_a_bad_batch_leaves_the_fit_untouched(batches, message):
    machine = BernoulliRBM(n_components=3, n_iter=1, random_state=0).fit(np.eye(4))
    before = machine.components_.copy()
    with pytest.raises(ValueError, match=message):
        machine.fit(batches)
    np.testing.assert_array_equal(machine.components_, before)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lambda X, y: ((rows, y) for rows in (X, X)), "batch 0 is a tuple of 2; give rows alone"),
        (lambda X, y: ((rows,) for rows in (X, X)), "batch 0 is a tuple of 1; give rows alone"),
        (lambda X, y: (X, y), r"batch 1 is an array of shape \(200,\); give rows alone"),
        (lambda X, y: iter(X), r"batch 0 is an array of shape \(64,\); give rows alone"),
        (lambda X, y: [{"X": X}], "."),
    ],
)
def test_what_is_no_batch_is_said(X, batches, message):
    with pytest.raises((ValueError, TypeError), match=message):
        BernoulliRBM(2, n_iter=1).fit(batches(X, np.zeros(len(X))))


def test_batches_with_names_of_features(X):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"pixel {i}" for i in range(X.shape[1])])
    for batches in ([frame[:100], frame[100:]], (frame[i : i + 50] for i in range(0, 200, 50))):
        machine = BernoulliRBM(2, n_iter=1, random_state=0).fit(batches)
        assert list(machine.feature_names_in_) == list(frame.columns)


def test_values_outside_the_unit_interval_are_said_once(X):
    with pytest.warns(UserWarning, match="X has values between -1 and 2") as caught:
        BernoulliRBM(2, n_iter=2, learning_rate=1e-3).fit([3 * X - 1] * 2)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_verbose_streams(X, capsys):
    BernoulliRBM(**PARAMETERS | {"verbose": 1}).fit(Batches(X, 50))
    assert capsys.readouterr().out.count("pseudo-likelihood") == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_memory_of_a_fit_is_that_of_weights_and_chains(tmp_path, dtype):
    """A fit to 63 (uint8: 16) MB of rows allocates no more than a fit to a tenth of them: 1 MB of weights, some copies."""
    X = np.tile(np.random.default_rng(0).random((400, 784)) < 0.2, (50, 1))
    peaks = []
    for n_rows in (2000, 20_000):
        rows = mapped(tmp_path, X[:n_rows], dtype)
        machine = BernoulliRBM(300, batch_size=100, n_iter=1, random_state=0).fit(rows[:100])
        tracemalloc.start()
        machine.fit(rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1e6
    assert peaks[1] < 16e6


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_number_that_is_none_is_refused_in_whatever_minibatch_it_stands(X, value):
    spoilt = X.copy()
    spoilt[150, 7] = value
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        BernoulliRBM(**PARAMETERS).fit(spoilt)
