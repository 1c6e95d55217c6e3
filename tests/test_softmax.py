"""Softmax groups: their draw has the right frequencies; the kernels equal the reference; sweeps with labels do not drift."""

from __future__ import annotations

from types import SimpleNamespace

import naive
import numpy as np
import pytest

from fastbm import chain, kernels
from fastbm.machines import labels, rbm
from fastbm.machines.rbm import RBM
from fastbm.training import ascent, contrastive_divergence, minibatches, tempering
from fastbm.units import softmax

KEY = chain.stream_key(7, chain.Purpose.SAMPLING)
SHAPES = [(0, 2, 1), (5, 3, 1), (62, 33, 17), (784, 10, 500), (127, 100, 65), (60, 130, 64)]
"""First unit of the group, classes, units of the neighbouring layer."""


# ------------------------------------------------------------------------------------------------------- the definition


def drawn_by_definition(logits, word):
    """The class for one row of logits, in plain Python: every operation rounded to float32."""
    e = [chain.exp_negative(np.float32([max(x - max(logits), np.float32(-87))]))[0] for x in logits]
    sums, total = [], np.float32(0)
    for term in e:
        total = np.float32(total + term)
        sums.append(total)
    u = np.float32((int(word) >> 8) | 1) * np.float32(2.0**-24)
    return sum(s <= np.float32(u * total) for s in sums)


def test_class_by_hand():
    logits = np.log(np.float32([[1, 2, 1]]))  # probabilities 1/4, 1/2, 1/4
    for share, expected in ((0.0, 0), (0.2499, 0), (0.2501, 1), (0.7499, 1), (0.7501, 2), (1.0, 2)):
        word = np.uint32(min(int(share * 2**32), 2**32 - 1))
        assert chain.draw_class(logits, np.array([word]))[0] == expected


@pytest.mark.parametrize("n_classes", [2, 3, 33, 100])
def test_class_follows_the_definition(n_classes):
    rng = np.random.default_rng(n_classes)
    logits = (rng.normal(size=(200, n_classes)) * rng.choice([0, 1, 30], (200, 1))).astype(np.float32)
    words = rng.integers(0, 2**32, 200, dtype=np.uint32)
    words[:4] = [0, 2**32 - 1, 255, 2**31]
    expected = [drawn_by_definition(row, word) for row, word in zip(logits, words, strict=True)]
    np.testing.assert_array_equal(chain.draw_class(logits, words), expected)


@pytest.mark.parametrize("word", [0, 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("likely", [0, 1, 2])
def test_impossible_classes_are_not_drawn(likely, word):
    logits = np.full((1, 3), -1e4, np.float32)
    logits[0, likely] = 1e4
    assert chain.draw_class(logits, np.array([word], np.uint32))[0] == likely


def test_frequencies_are_the_softmax():
    n, logits = 200_000, np.float32([-3.0, 0.0, 1.5, -40.0, 0.4])
    words = chain.random_words(n, np.array([0]), 0, 0, KEY)[0]
    drawn = chain.draw_class(np.broadcast_to(logits, (n, 5)), words)
    p = softmax.mean(logits.astype(float))
    frequency = np.bincount(drawn, minlength=5) / n
    assert (np.abs(frequency - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()


# ---------------------------------------------------------------------------------------------------------- the kernels


def random_group(shape, n_chains, *, beta="one", loose="all", n_neighbours=1, scale=0.5):
    """Arguments of draw_softmax for a random layer with a group, and random neighbours."""
    first, n_classes, n_given = shape
    rng = np.random.default_rng(n_chains)
    n_units = first + n_classes + 2
    weights = [rng.normal(size=(n_units, n_given + 3 * k)) * scale for k in range(n_neighbours)]
    rounded, exponent = naive.round_together(weights[:1])
    rounded += [np.rint(each * 2.0**exponent / 4).astype(np.int32) for each in weights[1:]]
    return {
        "states": chain.pack(rng.random((n_chains, n_units)) < 0.5),
        "given": tuple(chain.pack(rng.random((n_chains, each.shape[1])) < 0.4) for each in weights),
        "couplings": tuple(map(naive.pad, rounded)),
        "bias": naive.pad(rng.normal(size=n_units).astype(np.float32)),
        "beta": np.ones(1, np.float32) if beta == "one" else rng.uniform(0, 2, n_chains).astype(np.float32),
        "loose": np.ones(1, np.uint8) if loose == "all" else rng.integers(0, 2, n_chains, dtype=np.uint8),
    }, {"layer": 0, "first": first, "n_classes": n_classes, "exponent": exponent, "key": KEY, "first_chain": 0, "update": 5}


def drawn_by(function, arguments, numbers):
    states = arguments["states"].copy()
    function(**arguments | {"states": states}, **numbers)
    return states


@pytest.mark.parametrize("loose", ["all", "some"])
@pytest.mark.parametrize("beta", ["one", "each"])
@pytest.mark.parametrize("n_chains", [1, 17])
@pytest.mark.parametrize("shape", SHAPES)
class TestEqualsReference:
    def test_on_the_cpu(self, shape, n_chains, beta, loose, n_threads):
        arguments, numbers = random_group(shape, n_chains, beta=beta, loose=loose)
        expected = drawn_by(chain.draw_softmax, arguments, numbers)
        np.testing.assert_array_equal(drawn_by(kernels.draw_softmax, arguments, numbers), expected)

    @pytest.mark.gpu
    def test_on_the_gpu(self, gpu, shape, n_chains, beta, loose):
        arguments, numbers = random_group(shape, n_chains, beta=beta, loose=loose)
        assert_same_on_gpu(gpu, arguments, numbers)


def assert_same_on_gpu(gpu, arguments, numbers):
    def put(value):
        return tuple(map(put, value)) if isinstance(value, tuple) else gpu.asarray(value)

    there = {name: put(value) for name, value in arguments.items()}
    kernels.draw_softmax(**there, **numbers)
    np.testing.assert_array_equal(there["states"].get(), drawn_by(chain.draw_softmax, arguments, numbers))


LATE = {"update": 2**33 - 1, "first_chain": 2**32 - 9}
VARIANTS = [LATE, {"layer": 1}, {"layer": 3, "update": 4}, {"first_chain": 1_000_000}]


class TestPlaces:
    """Any position in the stream, any layer, one or two neighbours, wild logits."""

    @pytest.mark.parametrize("n_neighbours", [1, 2])
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_on_the_cpu(self, variant, n_neighbours, n_threads):
        arguments, numbers = random_group((6, 9, 70), 9, n_neighbours=n_neighbours)
        expected = drawn_by(chain.draw_softmax, arguments, numbers | variant)
        np.testing.assert_array_equal(drawn_by(kernels.draw_softmax, arguments, numbers | variant), expected)

    @pytest.mark.gpu
    @pytest.mark.parametrize("n_neighbours", [1, 2])
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_on_the_gpu(self, gpu, variant, n_neighbours):
        arguments, numbers = random_group((6, 9, 70), 9, n_neighbours=n_neighbours)
        assert_same_on_gpu(gpu, arguments, numbers | variant)

    @pytest.mark.parametrize("beta", [0.0, 1.0, 1e6])
    @pytest.mark.parametrize("largest", [88, 1e30])
    def test_wild_biases(self, largest, beta):
        arguments, numbers = random_group((6, 9, 70), 50)
        arguments["bias"][6:15] = np.resize(np.float32([-largest, largest, -88, 88, 0]), 9)
        arguments["beta"] = np.float32([beta])
        expected = drawn_by(chain.draw_softmax, arguments, numbers)
        np.testing.assert_array_equal(drawn_by(kernels.draw_softmax, arguments, numbers), expected)

    def test_other_units_and_held_groups_keep_their_state(self):
        arguments, numbers = random_group((62, 33, 17), 17, loose="some")
        drawn = drawn_by(chain.draw_softmax, arguments, numbers)
        before, after = (chain.unpack(states, 97) for states in (arguments["states"], drawn))
        np.testing.assert_array_equal(after[:, :62], before[:, :62])
        np.testing.assert_array_equal(after[:, 95:], before[:, 95:])
        loose = arguments["loose"] != 0
        np.testing.assert_array_equal(after[~loose], before[~loose])
        assert (after[loose, 62:95].sum(axis=1) == 1).all()


@pytest.mark.parametrize("device", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("n_chains", [7, 90])
def test_phases_hold_clamped_units(n_chains, device, way, request):
    """As drawn before, whether inputs are looked up or summed."""
    arguments, exponent = naive.random_arguments((70, 33), n_chains)
    arguments["free"] = (chain.pack(np.arange(70)[None, :] < 60), arguments["free"][1])
    numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": 3, "stop": 5}
    expected = naive.run(chain.gibbs, arguments, **numbers)
    xp = request.getfixturevalue("gpu") if device == "gpu" else np
    names = ("layers", "up", "down", "biases", "free")
    layers, up, down, biases, free = (tuple(xp.asarray(array.copy()) for array in arguments[name]) for name in names)
    means = xp.zeros((n_chains, 64), xp.float32)
    rows = xp.zeros((0, 2), xp.uint64)
    kernels.phases(rows, *layers, means, *up, *down, *biases, *free, {}, exponent=exponent, key=KEY, update=3)
    for got, states in zip(layers, expected, strict=True):
        np.testing.assert_array_equal(got if xp is np else got.get(), states)


# ------------------------------------------------------------------------------------------------- machines with labels


N_FEATURES, N_LABELS, N_HIDDEN = 5, 3, 4


@pytest.fixture
def small():
    """A machine of 5 features, 3 classes and 4 hidden units, as the float32 that training uses."""
    rng = np.random.default_rng(3)
    weights, visible_bias, hidden_bias = rng.normal(size=(8, 4)), rng.normal(size=8) * 0.5, rng.normal(size=4) * 0.5
    return RBM(*(array.astype(np.float32) for array in (weights, visible_bias, hidden_bias)))


def run_by_reference(machine, chains, n_updates, *, beta, visible_free, n_labels):
    """As rbm.advance, by the reference alone: labels before each visible update."""
    visible, hidden = chains.visible.copy(), chains.hidden.copy()
    n_visible, n_hidden = machine.to_hidden.shape[0], machine.to_visible.shape[0]
    is_label = chain.pack(np.arange(n_visible)[None, :] >= n_visible - n_labels)
    first = n_visible - n_labels
    loose = chain.unpack(visible_free, n_visible)[:, first]
    for update in range(chains.updates, chains.updates + n_updates):
        if update % 2:
            chain.draw_softmax(
                visible, (hidden,), (machine.to_hidden,), machine.visible_bias, beta, loose, layer=0, first=first,
                n_classes=n_labels, exponent=machine.exponent, key=KEY, first_chain=0, update=update,
            )  # fmt: skip
        chain.gibbs(
            (visible, hidden), (machine.to_hidden,), (machine.to_visible,), (machine.visible_bias, machine.hidden_bias), beta,
            (visible_free & ~is_label, chain.pack(np.ones((1, n_hidden)))), exponent=machine.exponent, key=KEY, first_chain=0,
            start=update, stop=update + 1,
        )  # fmt: skip
    return visible, hidden


@pytest.mark.parametrize("clamp", ["none", "some labels", "each"])
@pytest.mark.parametrize("beta", ["one", "each"])
@pytest.mark.parametrize(("n_visible", "n_hidden", "n_labels"), [(5, 1, 2), (70, 33, 10), (130, 65, 100)])
@pytest.mark.parametrize("updates", [0, 3])
def test_advance_equals_the_reference(n_visible, n_hidden, n_labels, beta, clamp, updates, way):
    rng = np.random.default_rng(0)
    machine = rbm.rounded(RBM(rng.normal(size=(n_visible, n_hidden)), rng.normal(size=n_visible), rng.normal(size=n_hidden)))
    chains = rbm.Chains(*(chain.pack(rng.random((50, n)) < 0.4) for n in (n_visible, n_hidden)), updates)
    free = rng.random((50, n_visible)) < (0.6 if clamp == "each" else 1.1)
    free[:, n_visible - n_labels :] = True if clamp == "none" else rng.random((50, 1)) < 0.5
    free, betas = chain.pack(free), np.ones(1, np.float32) if beta == "one" else rng.uniform(0, 2, 50).astype(np.float32)
    expected = run_by_reference(machine, chains, 7, beta=betas, visible_free=free, n_labels=n_labels)
    got = rbm.advance(
        machine, chains, 7, key=KEY, beta=betas, visible_free=None if clamp == "none" else free, n_labels=n_labels
    )
    np.testing.assert_equal(got[:2], expected)
    assert got.updates == updates + 7


@pytest.mark.gpu
def test_advance_on_the_gpu_equals_the_reference(gpu, small):
    machine = rbm.rounded(RBM(*map(gpu.asarray, small)))
    chains = rbm.empty_chains(9, 8, 4)
    expected = run_by_reference(
        rbm.rounded(small), chains, 8, beta=rbm.UNTEMPERED, visible_free=chain.pack(np.ones((1, 8))), n_labels=N_LABELS
    )
    there = rbm.empty_chains(9, 8, 4, gpu)
    got = rbm.advance(machine, there, 8, key=KEY, beta=rbm.untempered("cuda:0"), n_labels=N_LABELS)
    np.testing.assert_equal((got.visible.get(), got.hidden.get()), expected)


def test_held_labels_take_the_plain_path(small):
    """Where every label is clamped, sweeps with a group and without are the same."""
    machine = rbm.rounded(small)
    free = chain.pack(np.arange(8)[None, :] < N_FEATURES)
    one = rbm.advance(machine, rbm.empty_chains(20, 8, 4), 9, key=KEY, beta=rbm.UNTEMPERED, visible_free=free, n_labels=3)
    other = rbm.advance(machine, rbm.empty_chains(20, 8, 4), 9, key=KEY, beta=rbm.UNTEMPERED, visible_free=free)
    np.testing.assert_equal(one, other)


def enumerated(machine, beta=1.0):
    """Features with labels (2**5 * 3 rows of 0 and 1), hidden states, and the log-probability of each pair."""
    features, one_hot = naive.all_states(N_FEATURES), np.eye(N_LABELS)
    v = np.concatenate([np.repeat(features, N_LABELS, axis=0), np.tile(one_hot, (len(features), 1))], axis=1)
    h = naive.all_states(N_HIDDEN)
    weights, visible_bias, hidden_bias = (array.astype(float) for array in machine)
    minus_energy = beta * (v @ weights @ h.T + (v @ visible_bias)[:, None] + h @ hidden_bias)
    return v, h, minus_energy - naive.log_sum_exp(minus_energy)


@pytest.mark.parametrize("n_sweeps", [1, 4, 16])
def test_no_drift_from_an_exact_start(small, n_sweeps):
    """Chains drawn exactly from p stay distributed as p: all 2^5 · 3 visible states, within 4 Monte-Carlo floors."""
    exact, n_chains = rbm.rounded(small), 20_000
    weights = exact.to_hidden[:, :4] / 2.0**exact.exponent
    v, h, log_p = enumerated(RBM(weights, exact.visible_bias[:8], exact.hidden_bias[:4]))
    joint = np.random.default_rng(n_sweeps).choice(log_p.size, n_chains, p=np.exp(log_p).ravel())
    chains = rbm.Chains(chain.pack(v[joint // 16]), chain.pack(h[joint % 16]), 0)
    chains = rbm.advance(exact, chains, 2 * n_sweeps, key=KEY, beta=rbm.UNTEMPERED, n_labels=N_LABELS)
    p = np.exp(log_p).sum(axis=1)
    places = {tuple(row): number for number, row in enumerate(v)}
    found = [places[tuple(row)] for row in chain.unpack(chains.visible, 8, float)]
    frequency = np.bincount(found, minlength=len(v)) / n_chains
    floor = 0.5 * np.sqrt(2 / np.pi * p * (1 - p) / n_chains).sum()
    assert 0.5 * np.abs(frequency - p).sum() < 4 * floor


def test_without_couplings_at_beta_0_classes_are_equally_likely():
    n = 30_000
    machine = rbm.rounded(RBM(np.ones((5, 2)), np.arange(5.0), np.ones(2)))
    chains = rbm.advance(
        machine, rbm.empty_chains(n, 5, 2)._replace(updates=1), 1, key=KEY, beta=np.zeros(1, np.float32), n_labels=3
    )
    frequency = chain.unpack(chains.visible, 5)[:, 2:].mean(axis=0)
    assert (np.abs(frequency - 1 / 3) < 5 * np.sqrt(2 / 9 / n)).all()


@pytest.mark.parametrize("scale", [1.0, 100.0])
class TestFormulas:
    """From free energies, as enumeration has them; with large weights too, for which no product is formed."""

    @pytest.fixture
    def known(self, small, scale):
        machine = RBM(small.weights * scale, *small[1:])
        v, h, log_p = enumerated(machine)
        log_p = log_p.reshape(2**N_FEATURES, N_LABELS, -1)
        return SimpleNamespace(machine=machine, v=v[::N_LABELS, :N_FEATURES], h=h, log_p=log_p, joint=np.exp(log_p))

    def test_class_logits(self, known):
        got = softmax.mean(labels.class_logits(known.machine, known.v, N_LABELS))
        largest = known.log_p.max(axis=(1, 2), keepdims=True)
        joint = np.exp(known.log_p - largest).sum(axis=2)
        np.testing.assert_allclose(got, joint / joint.sum(axis=1, keepdims=True), rtol=1e-6, atol=1e-12)

    def test_free_energy(self, known):
        got = -labels.free_energy(known.machine, known.v, N_LABELS)
        expected = np.array([naive.log_sum_exp(each) for each in known.log_p])
        np.testing.assert_allclose(got - got[0], expected - expected[0], rtol=1e-6, atol=1e-6)

    def test_hidden_means(self, known):
        largest = known.log_p.max(axis=(1, 2), keepdims=True)
        joint = np.exp(known.log_p - largest).sum(axis=1)
        expected = joint @ known.h / joint.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(labels.hidden_means(known.machine, known.v, N_LABELS), expected, rtol=1e-6, atol=1e-12)


# ------------------------------------------------------------------------------------------------------------ learning


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize("phase", [contrastive_divergence.persistent, contrastive_divergence.from_data])
def test_an_update_equals_its_naive_twin(phase, n_steps, grey, way):
    """Rows joined with their labels, the reference's chain, and the gradient in float64."""
    rng = np.random.default_rng(0)
    X, classes, rate = rng.random((9, 70)), rng.integers(0, 10, 9), 0.1
    X = X if grey else (X < 0.4).astype(float)
    machine = RBM(*(rng.normal(size=shape).astype(np.float32) * np.float32(0.3) for shape in ((80, 33), 80, 33)))
    weights, visible_bias, hidden_bias = (array.astype(np.float64) for array in machine)
    exact, joined = rbm.rounded(machine), np.concatenate([X, np.eye(10)[classes]], axis=1)
    state = ascent.init(RBM(*(array.copy() for array in machine)), 9)._replace(n_labels=10)
    chains, beta = rbm.empty_chains(9, 80, 33)._replace(updates=1), rbm.UNTEMPERED
    if phase is contrastive_divergence.from_data:
        logits, _ = rbm.infer(machine, exact, minibatches.prepare(joined))
        chains = rbm.start_at(exact, logits, key=KEY, update=2)
    everything = chain.pack(np.ones((1, 80)))
    visible, _ = run_by_reference(exact, chains, 2 * n_steps - 1, beta=beta, visible_free=everything, n_labels=10)
    hidden = run_by_reference(exact, chains, 2 * n_steps, beta=beta, visible_free=everything, n_labels=10)[1]

    state, rows = ascent.prepare(state, X, labels=classes)
    state, _ = ascent.step(state, rows, phase=phase, key=KEY, n_steps=n_steps, learning_rate=rate)
    np.testing.assert_equal((state.chains.visible, state.chains.hidden), (visible, hidden))
    assert state.chains.updates == chains.updates + 2 * n_steps
    v = chain.unpack(visible, 80, np.float64)
    assert (v[:, 70:].sum(axis=1) == 1).all()
    p = [1 / (1 + np.exp(-(each @ weights + hidden_bias))) for each in (joined, v)]
    expected = [
        weights + rate * (joined.T @ p[0] - v.T @ p[1]) / 9,
        visible_bias + rate * (joined - v).mean(axis=0),
        hidden_bias + rate * (p[0] - p[1]).mean(axis=0),
    ]
    for got, array in zip(state.machine, expected, strict=True):
        np.testing.assert_allclose(got, array, rtol=1e-4, atol=1e-5)


def test_tempered_chains_hold_one_label_each():
    """At every inverse temperature; at 0 classes are equally likely."""
    rng = np.random.default_rng(0)
    machine = RBM(*(rng.normal(size=shape).astype(np.float32) for shape in ((30, 8), 30, 8)))
    ladder = tempering.init([1.0, 0.5, 0.0], adapted=False)
    state = ascent.init(machine, 3 * 1000)._replace(n_labels=3, ladder=ladder)
    state, rows = ascent.prepare(state, np.zeros((5, 27)), labels=np.zeros(5, int))
    state, _ = ascent.step(state, rows, phase=tempering.tempered, key=KEY, n_steps=1, learning_rate=0.1)
    classes = chain.unpack(state.chains.visible, 30)[:, 27:]
    assert (classes.sum(axis=1) == 1).all()


def test_grey_and_sparse_rows_get_their_labels(device_name, request):
    """Behind the features: at the border of a word, and in space that held other rows."""
    xp = np if device_name == "cpu" else request.getfixturevalue("gpu")
    rng = np.random.default_rng(0)
    classes = np.array([0, 2, 1, 2, 0])
    into = minibatches.space(9, 66, xp)
    for X in (rng.random((5, 63)), (rng.random((5, 63)) < 0.5).astype(np.float32)):
        expected = np.concatenate([X, np.eye(3)[classes]], axis=1).astype(np.float32)
        for _ in range(2):
            rows = minibatches.prepare(xp.asarray(X), into, labels=classes)
            if len(rows.grey):
                np.testing.assert_array_equal(rows.grey if xp is np else rows.grey.get(), expected)
            else:
                states = rows.states if xp is np else rows.states.get()
                np.testing.assert_array_equal(chain.unpack(states, 66), expected)
