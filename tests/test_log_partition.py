"""log Z against enumeration: exactly, by annealing forward and in reverse, and by their bridge; and the traps on the way."""

from __future__ import annotations

import math
import os
import pickle
import warnings

import joblib
import naive
import numpy as np
import pytest

from fastbm import BernoulliRBM, chain, evaluation, kernels
from fastbm.evaluation import annealing, beta_schedule, bridge
from fastbm.evaluation.bridge import Estimate
from fastbm.evaluation.exact import exact_log_partition
from fastbm.evaluation.partition import Annealing, LogPartition, anneal, bracket, log_partition
from fastbm.evaluation.paths import annealed, rbm_path
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM

KEY = chain.stream_key(0, chain.Purpose.ANNEALING)
SIGMAS = 3
"""Standard errors that an estimate may be off, in 95 of 100 seeds: 99.7 % of them would be, were it normal."""


def random_machine(n_visible, n_hidden, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return RBM(rng.normal(size=(n_visible, n_hidden)) * scale, rng.normal(size=n_visible), rng.normal(size=n_hidden))


@pytest.fixture(scope="module")
def trained(digits):
    """A machine of 64 visible and 20 hidden units, trained on digits, and its log Z by enumeration."""
    machine = BernoulliRBM(20, n_iter=60, batch_size=50, n_chains=100, learning_rate=0.05, centered=True, random_state=0)
    return machine.fit(digits[0]), digits[0]


# ------------------------------------------------------------------------------------------------------------- exact


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("size", [(1, 1), (6, 5), (3, 12), (12, 3), (1, 33), (11, 13)])
def test_exact_is_enumeration(size, scale):
    machine = random_machine(*size, scale)
    smaller = machine if size[0] > size[1] else RBM(machine[0].T, machine[2], machine[1])
    assert log_partition(machine).method == "exact"
    np.testing.assert_allclose(exact_log_partition(machine), naive.log_partition(*smaller), rtol=1e-13)


def test_exact_of_independent_units():
    bias = np.linspace(-700, 700, 40)
    machine = RBM(np.zeros((40, 3)), bias, np.zeros(3))
    expected = math.fsum(np.logaddexp(0, bias)) + 3 * math.log(2)
    np.testing.assert_allclose(exact_log_partition(machine), expected, rtol=1e-14)


def test_exact_counts_every_state_of_many_blocks():
    """More states than are looked at at once: 2^18, of which 2^8 in the kernel."""
    machine = random_machine(18, 30, 0.3)
    np.testing.assert_allclose(
        exact_log_partition(machine), naive.log_partition(machine[0].T, machine[2], machine[1]), rtol=1e-13
    )


def test_exact_agrees_with_log_likelihoods_that_sum_to_one():
    machine = random_machine(8, 5)
    total = np.exp(evaluation.log_likelihood(machine, naive.all_states(8))).sum()
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)


def test_exact_refuses_what_is_too_large():
    with pytest.raises(ValueError, match="at most 25 units; this machine has 26"):
        log_partition(random_machine(26, 30), "exact")


# ---------------------------------------------------------------------------------------------------------- annealing


def misses(machine, exact, seeds, **settings):
    """Return how often each estimate was off by more than three of its own standard errors."""
    found = [anneal(machine, random_state=seed, **settings) for seed in seeds]
    of = {name: [getattr(each, name) for each in found] for name in ("forward", "reverse", "bridge")}
    return {name: sum(abs(value - exact) > SIGMAS * stderr for value, stderr in each) for name, each in of.items()}


MOST_MISSES = 5
SMALL = [(8, 8), (10, 6), (12, 4), (5, 3)]


@pytest.mark.parametrize("size", SMALL)
def test_small_machines(size):
    machine = random_machine(*size)
    missed = misses(machine, exact_log_partition(machine), range(10), n_chains=64, n_betas=200)
    assert max(missed.values()) <= 1  # 0.03 of ten are expected


@pytest.mark.slow
@pytest.mark.parametrize("size", SMALL)
def test_small_machines_in_a_hundred_seeds(size):
    machine = random_machine(*size)
    missed = misses(machine, exact_log_partition(machine), range(100), n_chains=100, n_betas=300)
    assert max(missed.values()) <= MOST_MISSES, missed


@pytest.mark.parametrize("settings", [{}, {"init": "chains"}, {"betas": "uniform"}, {"X": "data"}])
def test_a_trained_machine(trained, settings):
    machine, X = trained
    settings = settings | ({"X": X} if "X" in settings else {})
    missed = misses(machine, log_partition(machine).log_z, range(3), n_chains=64, n_betas=500, **settings)
    assert max(missed.values()) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("init", [None, "ends"])
@pytest.mark.parametrize("n_hidden", [10, 20])
def test_trained_machines_in_a_hundred_seeds(digits, n_hidden, init):
    machine = BernoulliRBM(n_hidden, n_iter=60, batch_size=50, n_chains=100, learning_rate=0.05, centered=True, random_state=0)
    machine.fit(digits[0])
    missed = misses(machine, log_partition(machine).log_z, range(100), n_chains=100, n_betas=1000, init=init)
    assert max(missed.values()) <= MOST_MISSES, missed


@pytest.mark.slow
def test_mnist_in_a_hundred_seeds(data_folder):
    from fastbm import datasets

    X = datasets.binarise(datasets.load_mnist(data_folder / "mnist")[0][:20_000])
    machine = BernoulliRBM(20, n_iter=10, batch_size=100, n_chains=100, learning_rate=0.05, random_state=0).fit(X)
    missed = misses(machine, log_partition(machine).log_z, range(100), n_chains=100, n_betas=1000)
    assert max(missed.values()) <= MOST_MISSES, missed


def test_the_bracket_holds_and_the_result_is_named(trained):
    machine, X = trained
    exact = log_partition(machine)
    assert exact == LogPartition(exact.log_z, 0.0, exact.log_z, exact.log_z, math.inf, "exact")
    found = log_partition(machine, "ais", n_chains=64, n_betas=500, X=X, random_state=0)
    assert found._fields == ("log_z", "stderr", "lower", "upper", "effective_sample_size", "method")
    assert found.method == "ais"
    assert found.lower <= found.log_z <= found.upper
    assert found.lower <= exact.log_z <= found.upper
    assert 0 < found.stderr < 0.2
    assert 32 < found.effective_sample_size <= 64


def test_estimates_that_contradict_each_other_have_a_bracket():
    def found(forward, reverse):
        return Annealing(Estimate(forward, 0.1), Estimate(reverse, 0.1), Estimate((forward + reverse) / 2, 0.1), 10.0)

    assert bracket(found(190.0, 191.0), 190.5) == pytest.approx((189.8, 191.2))
    assert bracket(found(191.9, 188.7), 190.3) == pytest.approx((188.9, 191.7))


def test_more_betas_lower_the_error(trained):
    errors = [anneal(trained[0], n_chains=64, n_betas=n, random_state=0).bridge.stderr for n in (50, 2000)]
    assert errors[1] < errors[0] / 2


def test_disagreement_is_warned_of():
    settings = {"n_chains": 16, "n_betas": 2, "betas": "uniform", "X": np.full((1, 40), 0.5)}
    with pytest.warns(UserWarning, match="differ by .* nats"):
        log_partition(random_machine(40, 30, 0.6), "ais", **settings, random_state=0)


def test_agreement_is_not_warned_of(trained):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_partition(trained[0], "ais", n_chains=32, n_betas=1000, random_state=0)


# ---------------------------------------------------------------------------------------------------------- the traps


def test_estimates_are_means_of_weights_not_of_logarithms():
    log_weights = np.array([0.0, 1000.0, 1000.0, -1000.0])
    found = bridge.log_mean_exp(log_weights)
    assert found.value == pytest.approx(1000 + math.log(0.5), abs=1e-12)
    assert found.stderr == pytest.approx(math.sqrt(4 / 3) / 2, rel=1e-12)  # weights 0, 1, 1, 0 of mean 1/2
    assert bridge.effective_number(log_weights) == pytest.approx(2.0, rel=1e-12)


def test_weights_do_not_overflow_and_are_not_float32():
    log_weights = 1e6 + np.log(np.arange(1.0, 5.0))
    assert bridge.log_mean_exp(log_weights).value == pytest.approx(1e6 + math.log(2.5), abs=1e-9)
    _, weights = annealing.forward(annealed(random_machine(5, 3)), beta_schedule.uniform(5), 0, 2, key=KEY)
    assert weights.dtype == np.float64


def test_a_very_large_log_partition():
    """Tens of thousands of nats: float32 would be off by a thousandth of each, exponentials would overflow."""
    machine = RBM(np.full((300, 8), 0.01), np.full(300, 200.0), np.zeros(8))
    exact = exact_log_partition(machine)
    assert exact > 60_000
    found = log_partition(machine, "ais", n_chains=16, n_betas=50, random_state=0)
    assert abs(found.log_z - exact) < 3 * found.stderr + 1e-6


def test_machines_without_couplings_are_exact_at_any_seed():
    """Base and machine are one where the base is told the biases; weights have no variance but the couplings'."""
    machine = RBM(np.zeros((70, 3)), np.linspace(-2, 2, 70), np.zeros(3))
    path = rbm_path(rbm.rounded(machine), machine.visible_bias)
    _, weights = annealing.forward(path, beta_schedule.uniform(20), 0, 8, key=KEY)
    np.testing.assert_allclose(weights, 0.0, atol=1e-5)  # the base is rounded to float32
    np.testing.assert_allclose(path.log_base(), exact_log_partition(machine), rtol=1e-6)


def test_log_ratios_are_those_of_the_documented_path():
    machine = RBM(*(np.float64(np.float32(each)) for each in random_machine(7, 4)))
    base = np.float64(np.float32(np.linspace(-1, 1, 7)))
    path = rbm_path(rbm.rounded(machine), base)
    v = naive.all_states(7)
    weights = path.exact.to_hidden[:, :4] * 2.0**-path.exact.exponent

    def log_p(beta):
        return v @ ((1 - beta) * base + beta * machine[1]) + np.logaddexp(0, beta * (v @ weights + machine[2])).sum(axis=1)

    states = path.enter(v)
    np.testing.assert_array_equal(path.rows(states), v)
    out = np.zeros(len(v))
    path.add_log_ratios(out, states, 0.25, 0.75)
    np.testing.assert_allclose(out, log_p(0.75) - log_p(0.25), atol=1e-12)
    np.testing.assert_allclose(path.free_energy(states), -log_p(1.0), atol=1e-12)
    np.testing.assert_allclose(path.log_base(), naive.log_sum_exp(log_p(0.0)), rtol=1e-13)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_a_sweep_leaves_its_distribution_as_it_is(beta):
    """20,000 chains drawn exactly from p_β, one sweep: total variation within 4 Monte-Carlo floors."""
    machine, base, n = random_machine(6, 4), np.linspace(-1, 1, 6), 20_000
    path = rbm_path(rbm.rounded(machine), base)
    v = naive.all_states(6)
    log_p = v @ ((1 - beta) * base + beta * machine[1]) + np.logaddexp(0, beta * (v @ machine[0] + machine[2])).sum(axis=1)
    p = np.exp(log_p - naive.log_sum_exp(log_p))
    if beta == 0.0:
        states = path.start(n, key=KEY, first_chain=0)
    else:
        states = path.enter(v[np.random.default_rng(0).choice(64, n, p=p)])
        states = path.sweep(states, float(np.float32(beta)), 1, key=KEY, first_chain=0)
    frequency = np.bincount(states.visible[:, 0].astype(np.int64), minlength=64) / n
    floor = 0.5 * np.sqrt(2 / np.pi * p * (1 - p) / n).sum()
    assert 0.5 * np.abs(frequency - p).sum() < 4 * floor


# -------------------------------------------------------------------------------------------------------------- bridge


def test_bennett_of_normal_weights():
    """w forward ~ N(c - s²/2, s²), in reverse ~ N(c + s²/2, s²): Crooks' relation holds, and the truth is c."""
    rng, c, s, misses = np.random.default_rng(0), 123.4, 2.0, 0
    errors = []
    for _ in range(200):
        forward, reverse = rng.normal(c - s**2 / 2, s, 400), rng.normal(c + s**2 / 2, s, 300)
        value, stderr = bridge.bennett(forward, reverse)
        errors.append((value - c) / stderr)
        misses += abs(value - c) > 3 * stderr
    assert misses <= 4  # 0.5 of 200 are expected
    assert 0.85 < np.std(errors) < 1.15  # 1 within three standard errors, 1/√400 each


def test_bennett_is_far_better_than_either():
    rng, s = np.random.default_rng(1), 3.0
    forward, reverse = rng.normal(-(s**2) / 2, s, 500), rng.normal(s**2 / 2, s, 500)
    assert abs(bridge.bennett(forward, reverse).value) < 0.5


def test_bennett_where_weights_do_not_meet():
    value, stderr = bridge.bennett(np.zeros(10), np.full(10, 1e4))
    assert 0.0 < value < 1e4
    assert math.isfinite(stderr)


def test_families_are_no_independent_chains():
    """Each number ten times over, in one family, is as good as once."""
    x = np.random.default_rng(0).normal(size=50)
    once = bridge.log_mean_exp(x)
    assert bridge.log_mean_exp(np.repeat(x, 10), np.repeat(np.arange(50), 10)) == pytest.approx(once, rel=1e-12)


def test_one_family_tells_no_error():
    assert bridge.log_mean_exp(np.array([1.0, 2.0, 3.0]), np.array([4, 4, 4])).stderr == math.inf


def test_resampling_is_in_proportion_to_the_weights():
    log_weights = np.log([1.0, 2.0, 4.0, 1.0]) + 5000.0
    counts = np.bincount(bridge.resample(log_weights, 80, 0.5), minlength=4)
    np.testing.assert_array_equal(counts, [10, 20, 40, 10])


# ------------------------------------------------------------------------------------------------------------ schedules


def test_adapted_steps_are_dense_where_variance_arises():
    rng, betas = np.random.default_rng(0), np.linspace(0, 1, 101)
    increments = rng.normal(size=(100, 64)) * np.where(betas[:-1] < 0.5, 3.0, 0.1)[:, None]
    found = beta_schedule.adapted(betas, increments, 1000)
    assert 0.7 < (found < 0.5).mean() < 1.0
    assert len(beta_schedule.adapted(betas, np.zeros((100, 64)), 50)) == 50


@pytest.mark.parametrize("betas", [[0, 1, 1], [0.1, 1], [0, 0.5], [0, 1e-9, 1], "often", [[0, 1]], [0, np.nan, 1]])
def test_bad_betas(betas):
    with pytest.raises(ValueError, match=r"betas must"):
        log_partition(random_machine(5, 3), "ais", betas=betas)


def test_given_betas_are_used(monkeypatch):
    seen = []
    original = annealing.forward_group
    monkeypatch.setattr(annealing, "forward_group", lambda *rest: (seen.append(rest[3]), original(*rest))[1])
    given = np.linspace(0, 1, 12) ** 2
    anneal(random_machine(5, 3), betas=given, n_chains=4)
    np.testing.assert_allclose(seen[0], given, rtol=1e-7)


# -------------------------------------------------------------------------------------------------------------- workers


@pytest.fixture(scope="module")
def reference(trained):
    return anneal(trained[0], n_chains=70, n_betas=60, random_state=3)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(trained, reference, n_jobs):
    assert anneal(trained[0], n_chains=70, n_betas=60, random_state=3, n_jobs=n_jobs) == reference


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_backends_of_joblib_change_nothing(trained, reference, backend):
    with joblib.parallel_config(backend=backend, n_jobs=2):
        assert anneal(trained[0], n_chains=70, n_betas=60, random_state=3) == reference


def test_groups_change_nothing(trained, reference, monkeypatch, n_threads):
    monkeypatch.setattr(annealing, "LARGEST_GROUP", 32)
    assert anneal(trained[0], n_chains=70, n_betas=60, random_state=3) == reference


def test_a_chain_does_not_depend_on_how_many_there_are():
    path, betas = annealed(random_machine(20, 30)), beta_schedule.uniform(30)
    _, all_of_them = annealing.forward(path, betas, 0, 50, key=KEY)
    _, some = annealing.forward(path, betas, 17, 20, key=KEY)
    np.testing.assert_array_equal(some, all_of_them[17:20])


def test_workers_share_the_threads():
    """Two workers on two threads have one each."""
    with kernels.limited_to(2):
        seen = annealing.in_groups(lambda first, last: kernels.n_threads(), 128, 2, lambda first, last: ())
    assert seen == [1, 1]


def test_processes_are_processes():
    with joblib.parallel_config(backend="loky", n_jobs=2):
        seen = annealing.in_groups(lambda first, last: os.getpid(), 128, None, lambda first, last: ())
    assert os.getpid() not in seen


def test_a_path_goes_to_another_process_without_its_tables():
    path = annealed(random_machine(40, 20))
    path.exact.tables["large"] = np.zeros(1000)
    back = pickle.loads(pickle.dumps(path))
    assert back.exact.tables == {}
    assert back.exact.to_hidden.ctypes.data % 64 == 0
    for before, after in zip(path.exact[:4], back.exact[:4], strict=True):
        np.testing.assert_array_equal(after, before)


def test_seeds():
    machine = random_machine(10, 8)
    one, same, other = (anneal(machine, n_chains=8, n_betas=20, random_state=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    drawn = [anneal(machine, n_chains=8, n_betas=20, random_state=np.random.RandomState(1)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert anneal(machine, n_chains=8, n_betas=20) != anneal(machine, n_chains=8, n_betas=20)


# ------------------------------------------------------------------------------------------------------------ bad input

BAD = [
    ({"method": "guess"}, "method must be one of auto, exact, ais"),
    ({"n_chains": 1}, "n_chains must be an integer of at least 2"),
    ({"n_betas": 1.5}, "n_betas must be an integer of at least 2"),
    ({"n_steps": -1}, "n_steps must be an integer of at least 0"),
    ({"init": "chains"}, "init must be rows of visible units, or 'chains' where an estimator was trained"),
    ({"init": np.full((3, 5), 0.5)}, "init must hold only 0 and 1"),
    ({"init": np.zeros((3, 4))}, r"init must have shape \(n_rows, 5\)"),
    ({"X": np.full((3, 5), 2.0)}, "X must hold numbers between 0 and 1"),
    ({"X": np.zeros((3, 4))}, r"X must have shape \(n_rows, 5\)"),
    ({"random_state": -1}, "random_state must be"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_arguments(settings, message, monkeypatch):
    """They are found before the chains are annealed."""
    monkeypatch.setattr(annealing, "in_groups", lambda *_: pytest.fail("the work began"))
    with pytest.raises(ValueError, match=message):
        log_partition(random_machine(5, 3), **{"method": "ais"} | settings)


def test_a_machine_of_an_unknown_kind():
    with pytest.raises(TypeError, match="got tuple"):
        log_partition((np.zeros((3, 2)),))


def test_verbose_shows_bars(capfd):
    log_partition(random_machine(5, 3), "ais", n_chains=4, n_betas=20, random_state=0, verbose=1)
    assert "annealing, chains 0 to 3" in capfd.readouterr().err


# ------------------------------------------------------------------------------------------------------------- the GPU


@pytest.mark.gpu
def test_annealing_on_the_gpu(gpu):
    """The same chains; weights agree within rounding."""
    machine = random_machine(20, 9)
    expected = anneal(machine, n_chains=5, n_betas=12, betas="uniform", X=np.full((3, 20), 0.5), init="ends", random_state=0)
    there = RBM(*map(gpu.asarray, machine))
    found = anneal(there, n_chains=5, n_betas=12, betas="uniform", X=gpu.full((3, 20), 0.5), init="ends", random_state=0)
    np.testing.assert_allclose(np.hstack(found), np.hstack(expected), rtol=1e-9)
    np.testing.assert_allclose(exact_log_partition(there), exact_log_partition(machine), rtol=1e-12)
    expected, adapted = (anneal(each, n_chains=5, n_betas=60, random_state=0) for each in (machine, there))
    np.testing.assert_allclose(np.hstack(adapted), np.hstack(expected), rtol=1e-6)
