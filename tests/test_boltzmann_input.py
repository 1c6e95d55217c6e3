"""What users give a general machine: couplings and masks of any form, spins, wrong input, other masks, threads, long paths."""

from __future__ import annotations

import threading

import naive
import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array

from fastbm import BernoulliRBM, BoltzmannMachine
from fastbm.estimators import _persistence
from fastbm.kernels import runs_cpu

COUPLINGS = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, -2.0], [0.0, -2.0, 0.0]])
FORMS = {
    "integers": COUPLINGS.astype(np.int64),
    "objects": COUPLINGS.astype(object),
    "Fortran": np.asfortranarray(COUPLINGS),
    "unsorted": csr_array(([1.0, -2, 1, -2], [1, 2, 0, 1], [0, 1, 3, 4]), shape=(3, 3)),
    "zeros": csr_array(([1.0, 0, 1, -2, -2, 0], [1, 2, 0, 2, 1, 0], [0, 2, 4, 6]), shape=(3, 3)),
    "a zero in one direction": csr_array(([1.0, 0, 1, -2, -2], [1, 2, 0, 2, 1], [0, 2, 4, 5]), shape=(3, 3)),
    "a zero on the diagonal": csr_array(([0.0, 1, 1, -2, -2], [0, 1, 0, 2, 1], [0, 2, 4, 5]), shape=(3, 3)),
}


@pytest.mark.parametrize("couplings", FORMS.values(), ids=FORMS.keys())
def test_couplings_of_any_form_are_the_same_machine(couplings):
    machine = BoltzmannMachine.from_couplings(couplings, np.zeros(3))
    assert machine.edges_.tolist() == [[0, 1], [1, 2]]
    assert machine.weights_.tolist() == [1, -2]


def test_without_biases_they_are_zeros():
    machine, other = (BoltzmannMachine.from_couplings(COUPLINGS, *bias, spin=True) for bias in ((), (np.zeros(3),)))
    assert machine.spin_parameters()[1].tolist() == [0, 0, 0]
    assert machine.intercept_visible_.tolist() == other.intercept_visible_.tolist()


WRONG = {
    "complex": (COUPLINGS + 0j, np.zeros(3), "couplings must be real numbers"),
    "complex bias": (COUPLINGS, np.zeros(3, complex), "bias must be"),
    "one dimension": (coo_array(np.ones(3)), np.zeros(3), r"matrix, .* got shape \(3,\)"),
    "rounding": (COUPLINGS + 1e-15 * np.eye(3, k=1), np.zeros(3), r"units 0 and 1 is 1\.0000\d+ in one .* \(J \+ J\.T\) / 2"),
    "too large for spins": (5e307 * COUPLINGS, np.zeros(3), "NaN or infinity|sum to"),
}


@pytest.mark.parametrize(("couplings", "bias", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_couplings_are_errors_without_warnings(couplings, bias, message):
    with pytest.raises(ValueError, match=message):
        BoltzmannMachine.from_couplings(couplings, bias, spin=True)


@pytest.mark.parametrize("given", [np.zeros((0, 3)), [[0], [1, 0]], 1.0])
def test_marginals_say_what_clamps_they_take(given):
    with pytest.raises(ValueError, match="clamp must"):
        BoltzmannMachine.from_couplings(COUPLINGS, np.zeros(3)).marginals(given)


def test_bits_given_to_a_machine_of_spins_are_warned_of():
    bits = np.random.default_rng(0).integers(0, 2, (20, 3))
    machine = BoltzmannMachine(n_iter=1, spin=True)
    for wrong in (bits, 3 * bits):
        with pytest.warns(UserWarning, match="spins expect -1 and 1"):
            machine.fit(wrong)
    machine.fit(2 * bits - 1).fit(0.3 * bits)


def test_a_warm_start_keeps_the_mask():
    X = np.random.default_rng(0).integers(0, 2, (20, 3))
    machine = BoltzmannMachine(mask=COUPLINGS != 0, n_iter=1, warm_start=True, random_state=0).fit(X)
    with pytest.raises(ValueError, match="mask allows other couplings"):
        machine.set_params(mask=None).fit(X)
    assert BoltzmannMachine(True, n_iter=1).fit(X).fit(X).intercept_hidden_.shape == (1,)


def test_files_whose_last_step_is_not_finite_are_refused(tmp_path):
    X, path = np.random.default_rng(0).integers(0, 2, (20, 3)), tmp_path / "machine"
    BoltzmannMachine(1, momentum=0.5, n_iter=1).fit(X).save(path)
    arrays, header = _persistence.read(path, "BoltzmannMachine")
    for name in ("velocity.weights_", "offsets"):
        changed = arrays | {name: np.full_like(arrays[name], np.nan)}
        _persistence.write(path, "BoltzmannMachine", changed, {key: header[key] for key in header.keys() - {"format", "class"}})
        with pytest.raises(ValueError, match="tampered"):
            BoltzmannMachine.load(path)


def test_two_threads_sample_from_a_new_machine(monkeypatch):
    """The second begins while the first is building what the kernels read."""
    couplings = csr_array(naive.symmetric(np.random.default_rng(0), 90, 0.03))
    machine = BoltzmannMachine.from_couplings(couplings, np.zeros(90), random_state=0)
    expected = BoltzmannMachine.from_couplings(couplings, np.zeros(90), random_state=0).sample(3, n_steps=2)
    machine._rounded()
    build, begun, both = runs_cpu.runs_of, threading.Event(), []

    def slowly(*arguments):
        if not begun.is_set():
            begun.set()
            both.append(machine.sample(3, n_steps=2))
        return build(*arguments)

    monkeypatch.setattr(runs_cpu, "runs_of", slowly)
    both.append(machine.sample(3, n_steps=2))
    assert len(both) == 2
    for rows in both:
        np.testing.assert_array_equal(rows, expected)


def test_a_long_path_has_two_blocks():
    """Layers would be as many as units, and a kernel would be compiled for that number of them."""
    ends = np.arange(199), np.arange(1, 200)
    path = coo_array((np.ones(199), ends), shape=(200, 200))
    layout = BoltzmannMachine.from_couplings(path + path.T, np.zeros(200), n_visible=1)._layout()
    assert (layout.kind, layout.sizes.tolist()) == ("sparse", [100, 100])


def test_scores_on_large_sparse_graphs_need_no_matrix():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(500, 90)) * (rng.random((500, 90)) < 0.03)
    a, b, X = rng.normal(size=500), rng.normal(size=90), rng.integers(0, 2, (7, 500))
    couplings = np.block([[np.zeros((500, 500)), weights], [weights.T, np.zeros((90, 90))]])
    machine = BoltzmannMachine.from_couplings(csr_array(couplings), np.r_[a, b], n_visible=500)
    np.testing.assert_allclose(machine.score_samples(X), BernoulliRBM.from_weights(weights, a, b).score_samples(X), rtol=1e-9)
    n = 120_000  # a matrix of the couplings between both sides would take 29 GB
    ends = np.arange(n // 2), np.arange(n // 2, n)
    half = coo_array((np.ones(n // 2), ends), shape=(n, n))
    pairs = BoltzmannMachine.from_couplings(half + half.T, np.zeros(n), n_visible=n // 2)
    rises = np.log((1 + np.exp([0.0, 1.0])) / 2)  # of the free energy, as a unit is on
    expected = -np.log1p(np.exp(-(rises[1] - rises[0])))
    np.testing.assert_allclose(pairs.score(np.ones((1, n // 2))), n // 2 * expected, rtol=1e-9)
