"""BoltzmannMachine as users see it: equivalences, spins, schedules, clamps, masks, files, errors."""

from __future__ import annotations

import pickle

import naive
import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array
from sklearn.base import clone

from fastbm import BernoulliRBM, BoltzmannMachine
from fastbm.machines.layout import layout_of


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    coins = np.repeat(rng.random((400, 3)) < 0.5, 2, axis=1)
    return (coins ^ (rng.random((400, 6)) < 0.1)).astype(np.float64)


def random_couplings(n_units, share=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return naive.symmetric(rng, n_units, share), rng.normal(size=n_units)


# ------------------------------------------------------------------------------------------------------- equivalences


@pytest.mark.parametrize(("n_visible", "n_hidden"), [(7, 5), (70, 3), (1, 1)])
def test_on_a_bipartite_mask_it_is_the_restricted_machine(n_visible, n_hidden):
    rng = np.random.default_rng(0)
    weights, a, b = rng.normal(size=(n_visible, n_hidden)), rng.normal(size=n_visible), rng.normal(size=n_hidden)
    couplings = np.zeros((n_visible + n_hidden,) * 2)
    couplings[:n_visible, n_visible:] = weights
    couplings += couplings.T
    restricted = BernoulliRBM.from_weights(weights, a, b, random_state=0)
    clamp = np.where(rng.random((9, n_visible)) < 0.3, 1.0, np.nan)
    start = rng.integers(0, 2, (9, n_visible))
    for given in (couplings, csr_array(couplings)):
        machine = BoltzmannMachine.from_couplings(given, np.r_[a, b], n_visible, random_state=0)
        for options in ({}, {"beta": 0.5, "clamp": clamp}, {"beta": np.linspace(0, 2, 9), "init": start}):
            expected = restricted.sample(9, n_steps=20, **options)
            np.testing.assert_array_equal(machine.sample(9, n_steps=20, **options), expected)
        for _ in range(2):
            np.testing.assert_array_equal(machine.gibbs(start), restricted.gibbs(start))
        restricted._gibbs_updates = 0
        np.testing.assert_allclose(machine.transform(start), restricted.transform(start), rtol=1e-9)
        np.testing.assert_allclose(machine.score_samples(start), restricted.score_samples(start), rtol=1e-6)
        np.testing.assert_allclose(machine.free_energy(start), restricted.free_energy(start), rtol=1e-9)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_row_i_does_not_depend_on_how_many_are_asked_for(share):
    machine = BoltzmannMachine.from_couplings(*random_couplings(20, share), n_visible=15, random_state=0)
    many = machine.sample(40, n_steps=7)
    np.testing.assert_array_equal(machine.sample(3, n_steps=7), many[:3])
    assert not (machine.sample(3, n_steps=7, random_state=1) == many[:3]).all()


# --------------------------------------------------------------------------------------------------- spins, schedules


@pytest.mark.parametrize("sparse", [False, True])
def test_spins_are_converted_exactly(sparse):
    couplings, fields = random_couplings(6)
    machine = BoltzmannMachine.from_couplings(csr_array(couplings) if sparse else couplings, fields, spin=True, random_state=0)
    x = naive.all_states(6)
    s = 2 * x - 1
    spin_energy = -(0.5 * np.einsum("si,ij,sj->s", s, couplings, s) + s @ fields)
    shift = machine.free_energy(s) - spin_energy
    np.testing.assert_allclose(shift, shift[0], rtol=1e-12)
    p = np.exp(-spin_energy) / np.exp(-spin_energy).sum()
    np.testing.assert_allclose(machine.log_likelihood(s), np.log(p), rtol=1e-9)
    np.testing.assert_allclose(machine.marginals().probabilities, p @ x, rtol=1e-9)
    given = np.array([-1, 1, np.nan, np.nan, np.nan, np.nan])
    kept = (s[:, :2] == [-1, 1]).all(axis=1)
    np.testing.assert_allclose(machine.marginals(given).probabilities, p[kept] @ x[kept] / p[kept].sum(), rtol=1e-9)
    rows = machine.sample(4000, n_steps=200, clamp=given)
    assert set(np.unique(rows)) == {-1, 1}
    assert (rows[:, :2] == [-1, 1]).all()
    np.testing.assert_allclose(rows.mean(axis=0), p[kept] @ s[kept] / p[kept].sum(), atol=5 / np.sqrt(4000))
    assert set(np.unique(machine.gibbs(rows[:3]))) <= {-1, 1}
    back, back_fields = machine.spin_parameters()
    np.testing.assert_allclose(back.toarray() if sparse else back, couplings, rtol=1e-12)
    np.testing.assert_allclose(back_fields, fields, rtol=1e-9, atol=1e-12)


def test_spins_are_learnt_from():
    rng = np.random.default_rng(0)
    first = rng.choice([-1, 1], 1000)
    X = np.stack([first, first * rng.choice([-1, 1], 1000, p=[0.1, 0.9]), rng.choice([-1, 1], 1000)], axis=1)
    schedule = {"learning_rate": 0.3, "learning_rate_schedule": "linear", "n_iter": 150}
    machine = BoltzmannMachine(spin=True, **schedule, random_state=0).fit(X)
    couplings, _ = machine.spin_parameters()
    np.testing.assert_allclose(couplings[0, 1], np.arctanh(np.corrcoef(X[:, 0], X[:, 1])[0, 1]), atol=0.1)
    assert abs(couplings[0, 2]) < 0.15


@pytest.mark.parametrize("seed", range(5))
def test_annealing_finds_ground_states(seed):
    """A spin glass of 14 units, of 2^14 states: the best of 20 chains is the lowest."""
    rng = np.random.default_rng(seed)
    couplings = np.sign(naive.symmetric(rng, 14))
    machine = BoltzmannMachine.from_couplings(couplings, rng.normal(size=14) * 0.1, spin=True)
    lowest = machine.free_energy(2 * naive.all_states(14) - 1).min()
    rows = machine.sample(20, beta=np.linspace(0, 4, 300), random_state=seed)
    np.testing.assert_allclose(machine.free_energy(rows).min(), lowest, rtol=1e-12)


def test_a_schedule_is_one_beta_a_sweep():
    machine = BoltzmannMachine.from_couplings(*random_couplings(12, 0.5), random_state=0)
    betas = np.linspace(0.2, 3, 9)
    rows = machine.sample(5, beta=betas)
    np.testing.assert_array_equal(machine.sample(5, n_steps=9, beta=betas), rows)
    np.testing.assert_array_equal(machine.sample(5, beta=np.tile(betas, (5, 1))), rows)
    assert not (machine.sample(5, n_steps=9) == rows).all()
    alike = np.full((5, 9), 0.7)
    np.testing.assert_array_equal(machine.sample(5, beta=alike), machine.sample(5, n_steps=9, beta=0.7))
    np.testing.assert_array_equal(machine.sample(5, n_steps=9, beta=alike[:, 0]), machine.sample(5, n_steps=9, beta=0.7))
    with pytest.raises(ValueError, match="one for each chain or one for each sweep"):
        machine.sample(5, n_steps=5, beta=np.ones(5))
    for wrong in (np.ones(3), np.ones((5, 4)), [[1, 2], [3]], -1.0, [np.nan] * 9):
        with pytest.raises(ValueError, match="beta"):
            machine.sample(5, n_steps=9, beta=wrong)


# -------------------------------------------------------------------------------------------------------------- masks


def test_the_mask_is_never_violated(X):
    mask = np.zeros((8, 8), bool)
    mask[0, 1] = mask[2, 3] = mask[1, 6] = mask[5, 7] = mask[6, 7] = True
    mask |= mask.T
    for given in (mask, csr_array(mask)):
        machine = BoltzmannMachine(2, mask=given, n_iter=5, momentum=0.5, l2=1e-3, random_state=0).fit(X)
        couplings = machine.couplings_
        couplings = couplings.toarray() if hasattr(couplings, "toarray") else couplings
        np.testing.assert_array_equal(couplings != 0, mask)
        np.testing.assert_array_equal(couplings, couplings.T)
        np.testing.assert_array_equal(couplings[tuple(machine.edges_.T)], machine.weights_)
    assert abs(couplings[0, 1]) > 0.3


def test_couplings_outside_the_mask_are_an_error():
    couplings, bias = random_couplings(4)
    allowed = np.abs(np.subtract.outer(np.arange(4), np.arange(4))) == 1
    with pytest.raises(ValueError, match="units 0 and 2 are coupled, but mask"):
        BoltzmannMachine.from_couplings(couplings, bias, mask=allowed)
    machine = BoltzmannMachine.from_couplings(np.zeros((4, 4)), bias, mask=allowed)
    np.testing.assert_array_equal(machine.edges_, [[0, 1], [1, 2], [2, 3]])


WRONG = {
    "self-coupling": (np.eye(3), "unit 0 is coupled to itself"),
    "asymmetric": (np.triu(np.ones((3, 3)), 1), "symmetric"),
    "unequal": (np.array([[0, 1, 0], [2, 0, 0], [0, 0, 0]]), "symmetric"),
    "not finite": (np.array([[0, np.nan, 0], [np.nan, 0, 0], [0, 0, 0]]), "finite"),
    "infinite": (np.array([[0, np.inf, 0], [np.inf, 0, 0], [0, 0, 0]]), "finite"),
    "not square": (np.zeros((3, 2)), "square"),
    "not a matrix": (np.zeros(3), "matrix"),
    "no numbers": ([["a", "b"], ["c", "d"]], "real numbers"),
    "too large": (1e6 * (np.ones((3, 3)) - np.eye(3)), "sum to"),
    "duplicates": (coo_array(([1.0, 1, 1, 1], ([0, 0, 1, 1], [1, 1, 0, 0])), shape=(3, 3)), "units 0 and 1 more than once"),
    "sparse self-coupling": (csr_array(np.eye(3)), "unit 0 is coupled to itself"),
    "sparse asymmetric": (csr_array(np.triu(np.ones((3, 3)), 1)), "symmetric"),
}


@pytest.mark.parametrize(("couplings", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_couplings_are_errors(couplings, message):
    with pytest.raises(ValueError, match=message):
        BoltzmannMachine.from_couplings(couplings, np.zeros(3))


@pytest.mark.parametrize(
    ("bias", "options", "message"),
    [
        (np.zeros(4), {}, r"bias must have shape \(3,\)"),
        ([0, np.nan, 0], {}, "bias must be finite"),
        (["a", "b", "c"], {}, "bias must be an array"),
        (np.zeros(3), {"n_visible": 4}, "n_visible must be at most 3"),
        (np.zeros(3), {"n_visible": 0}, "n_visible"),
        (np.zeros(3), {"n_hidden": 1}, "do not match"),
    ],
)
def test_wrong_biases_and_sizes_are_errors(bias, options, message):
    with pytest.raises(ValueError, match=message):
        BoltzmannMachine.from_couplings(np.zeros((3, 3)), bias, **options)


WRONG_MASKS = {
    "shape": (np.ones((3, 3), bool) & ~np.eye(3, dtype=bool), r"mask must have shape \(7, 7\)"),
    "diagonal": (np.eye(7, dtype=bool), "coupled to itself"),
    "asymmetric": (np.triu(np.ones((7, 7), bool), 1), "symmetric"),
    "numbers": (2.0 * (np.ones((7, 7)) - np.eye(7)), "only False and True"),
    "nan": (np.where(np.eye(7) == 1, 0, np.nan), "only False and True"),
    "one dimension": (np.ones(7), "matrix"),
}


@pytest.mark.parametrize(("mask", "message"), WRONG_MASKS.values(), ids=WRONG_MASKS.keys())
def test_wrong_masks_are_errors_and_leave_the_last_fit(mask, message, X):
    machine = BoltzmannMachine(1, n_iter=1, random_state=0).fit(X)
    before = machine.weights_.copy()
    with pytest.raises(ValueError, match=message):
        machine.set_params(mask=mask).fit(X)
    np.testing.assert_array_equal(machine.weights_, before)


# ----------------------------------------------------------------------------------------------- clamps, starts, errors


def test_hidden_units_may_be_clamped_too():
    couplings, bias = random_couplings(8)
    machine = BoltzmannMachine.from_couplings(couplings, bias, n_visible=5, random_state=0)
    clamp = np.r_[np.full(5, np.nan), [1, 0, 1]]
    states, p = naive.distribution(couplings, bias, given=clamp)
    rows = machine.sample(4000, n_steps=100, clamp=clamp)
    np.testing.assert_allclose(rows.mean(axis=0), (p @ states)[:5], atol=5 * 0.5 / np.sqrt(4000))


def test_starts(X):
    machine = BoltzmannMachine(2, n_chains=7, n_iter=2, random_state=0)
    with pytest.raises(ValueError, match="never trained"):
        BoltzmannMachine.from_couplings(np.zeros((3, 3)), np.zeros(3)).sample(init="chains")
    machine.fit(X)
    rows = machine.sample(16, n_steps=0, init="chains")
    np.testing.assert_array_equal(rows[:7], rows[7:14])
    np.testing.assert_array_equal(machine.sample(3, n_steps=0, init=X[:3]), X[:3])
    np.testing.assert_array_equal(machine.sample(2, n_steps=0, init=X[0]), X[[0, 0]])
    full = np.concatenate([X[:3], np.ones((3, 2))], axis=1)
    assert machine.sample(3, n_steps=1, init=full).shape == (3, 6)
    for wrong in ("data", X[:2], X[:3] + 0.5, np.full(6, np.nan), "abc"):
        with pytest.raises(ValueError, match="init"):
            machine.sample(3, init=wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.sample(0), "n_samples"),
        (lambda m: m.sample(n_steps=-1), "n_steps"),
        (lambda m: m.sample(clamp=np.ones(5)), "clamp"),
        (lambda m: m.sample(clamp=np.full(6, 2.0)), "clamp must hold 0 and 1, and NaN where a unit is free, got 2"),
        (lambda m: m.sample(clamp=np.ones(6, bool)), "booleans"),
        (lambda m: m.marginals(np.ones(5)), "clamp"),
        (lambda m: m.marginals(method="magic"), "method must be one of"),
        (lambda m: m.marginals(beta=-1.0), "beta"),
        (lambda m: m.marginals(method="gibbs", n_chains=1), "n_chains"),
        (lambda m: m.marginals(method="mean_field", damping=1.0), "damping"),
        (lambda m: m.gibbs(np.full((2, 6), 0.5)), "only states"),
        (lambda m: m.transform(np.full((2, 6), np.nan)), "NaN"),
        (lambda m: m.score(np.ones((2, 5))), "features"),
    ],
)
def test_wrong_arguments_are_errors(call, message, X):
    machine = BoltzmannMachine(2, n_iter=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match=message):
        call(machine)


def test_attributes_set_by_hand_are_used_and_checked(X):
    machine = BoltzmannMachine(n_iter=1, random_state=0).fit(X)
    machine.sample(2)
    machine.weights_ = np.zeros(15)
    machine.intercept_visible_ = np.r_[30.0, np.full(5, -30.0)]
    np.testing.assert_array_equal(machine.sample(2), [[1, 0, 0, 0, 0, 0]] * 2)
    machine.weights_ = np.zeros(14)
    with pytest.raises(ValueError, match="weights_"):
        machine.sample(2)


def test_a_fit_that_diverges_is_an_error_and_leaves_the_last_one(X):
    machine = BoltzmannMachine(2, n_iter=2, random_state=0).fit(X)
    before = machine.weights_.copy()
    with pytest.raises(ValueError, match="learning rate"):
        machine.set_params(learning_rate=1e30, l2=1e10).fit(X)
    np.testing.assert_array_equal(machine.weights_, before)
    for name, value in (("n_hidden", 3), ("n_chains", 5)):
        with pytest.raises(ValueError, match=name):
            clone(machine).set_params(learning_rate=0.1, l2=0).fit(X).set_params(**{name: value}).partial_fit(X)


# ------------------------------------------------------------------------------------------------------------ on disk


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_hidden": 2, "momentum": 0.5},
        {"n_hidden": 2, "data_phase": "mean_field", "centered": False},
        {"mask": csr_array(np.ones((6, 6)) - np.eye(6))},
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["file", "pickle"])
def test_training_goes_on_bit_for_bit(options, way, X, tmp_path):
    machine = BoltzmannMachine(**options, n_iter=2, warm_start=True, random_state=np.random.RandomState(0)).fit(X)
    if way == "file":
        machine.save(tmp_path / "machine")
        other = BoltzmannMachine.load(tmp_path / "machine")
    else:
        other = pickle.loads(pickle.dumps(machine))
    for each in (machine, other):
        each.fit(X).partial_fit(X[:50])
    for name in ("weights_", "edges_", "intercept_visible_", "intercept_hidden_"):
        np.testing.assert_array_equal(getattr(other, name), getattr(machine, name))
    np.testing.assert_array_equal(other.sample(3, n_steps=5, init="chains", random_state=1), machine.sample(
        3, n_steps=5, init="chains", random_state=1))  # fmt: skip
    np.testing.assert_array_equal(other.gibbs(X[:5]), machine.gibbs(X[:5]))
    assert [{**record, "seconds": 0} for record in other.history_] == [{**record, "seconds": 0} for record in machine.history_]
    assert type(other.couplings_) is type(machine.couplings_)


def test_files_that_were_changed_are_refused(X, tmp_path):
    path = tmp_path / "machine"
    machine = BoltzmannMachine(2, n_iter=1, random_state=0).fit(X)
    machine.save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(ValueError, match="truncated|damaged"):
        BoltzmannMachine.load(path)
    BernoulliRBM(2, n_iter=1).fit(X).save(path)
    with pytest.raises(ValueError, match="BernoulliRBM"):
        BoltzmannMachine.load(path)
    machine.edges_ = machine.edges_[::-1].copy()
    machine.save(path)
    with pytest.raises(ValueError, match="tampered"):
        BoltzmannMachine.load(path)
    with pytest.raises(ValueError, match="schedule is a function"):
        BoltzmannMachine(learning_rate_schedule=lambda t: 1.0, n_iter=1).fit(X).save(path)


# ----------------------------------------------------------------------------------------------------------- the rest


def test_grey_data_are_drawn_anew_each_time():
    X = np.tile([0.2, 0.7, 0.5], (1000, 1))
    machine = BoltzmannMachine(n_iter=30, random_state=0, learning_rate=0.2, learning_rate_schedule="linear").fit(X)
    np.testing.assert_allclose(machine.marginals().probabilities, X[0], atol=0.05)
    with pytest.warns(UserWarning, match="between 0 and 1"):
        BoltzmannMachine(n_iter=1).fit(X * 3)


def test_weights_of_rows_count(X):
    weights = np.where(X[:, 0] == 1, 3.0, 0.0)
    options = {"n_iter": 200, "learning_rate": 0.3, "learning_rate_schedule": "linear", "random_state": 0}
    machine = BoltzmannMachine(**options).fit(X, sample_weight=weights)
    assert machine.marginals().probabilities[0] > 0.97
    np.testing.assert_allclose(machine.marginals().probabilities[1:], X[X[:, 0] == 1].mean(axis=0)[1:], atol=0.05)


def test_history_callbacks_and_early_stopping(X):
    seen = []
    machine = BoltzmannMachine(
        1, n_iter=50, early_stopping=True, n_iter_no_change=3, random_state=0, learning_rate=0.5,
        callbacks=lambda fitted, record: seen.append(fitted.score(X)),
    ).fit(X)  # fmt: skip
    assert len(seen) == machine.n_iter_ == len(machine.history_)
    assert {"iteration", "pseudo_likelihood", "validation_score", "seconds"} <= machine.history_[0].keys()
    assert machine.score(X) >= max(seen) - 0.2
    stopped = BoltzmannMachine(n_iter=50, callbacks=lambda *_: True).fit(X)
    assert stopped.n_iter_ == 1


def test_the_layout_is_worked_out_once(X, monkeypatch):
    machine = BoltzmannMachine(2, n_iter=1, random_state=0).fit(X)
    other = pickle.loads(pickle.dumps(machine))
    calls = []
    monkeypatch.setattr("fastbm.estimators._boltzmann_fitted.layout_of", lambda graph: calls.append(graph) or layout_of(graph))
    other.sample(2, n_steps=1)
    other.sample(2, n_steps=1)
    assert len(calls) == 1
