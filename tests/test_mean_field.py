"""Learning by mean field and persistent chains: gradients, and what a machine with one hidden layer learns; pre-training."""

from __future__ import annotations

import numpy as np
import pytest
from test_deep_boltzmann import SIZES, enumerated, log_likelihood, machine_of

from fastbm import chain
from fastbm.machines import dbm, rbm
from fastbm.machines.dbm import DBM
from fastbm.machines.rbm import RBM
from fastbm.training import ascent, contrastive_divergence, doubled, mean_field, minibatches

KEY = chain.stream_key(0, chain.Purpose.TRAINING)


def rows_of(n_rows, n_visible, grey=False, seed=0):
    rows = np.random.default_rng(seed).random((n_rows, n_visible)).astype(np.float32)
    return rows if grey else (rows < 0.5).astype(np.float32)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_gradient_is_that_of_the_bound(sizes, centered):
    """Chains drawn exactly: each entry within five Monte-Carlo errors of the statistics, those of biases of their sums."""
    machine, n, X = machine_of(sizes, 0.7), 40_000, rows_of(50, sizes[0])
    layers, log_p, _ = enumerated(machine)
    p = np.exp(log_p)
    drawn = np.random.default_rng(1).choice(len(p), n, p=p / p.sum())
    state = mean_field.resume(machine, None, dbm.Chains(tuple(chain.pack(layer[drawn]) for layer in layers), 1))
    data = [X, *dbm.mean_field(machine, X, tolerance=1e-6, max_updates=500).means]
    offsets = [each.mean(axis=0) * centered for each in data]
    state, rows = mean_field.prepare(state, X)
    state, _ = mean_field.step(
        state, rows, key=KEY, n_steps=1, learning_rate=1.0, centered=centered, tolerance=1e-6, max_updates=500
    )
    error, gradients = 5 * 0.5 / np.sqrt(n), []
    for k, weights in enumerate(machine.weights):
        below, above = (
            (each[k] - offsets[k] for each in (data, layers)),
            (each[k + 1] - offsets[k + 1] for each in (data, layers)),
        )
        (data_below, below), (data_above, above) = below, above
        gradients.append(data_below.T @ data_above / len(X) - (below * p[:, None]).T @ above)
        np.testing.assert_allclose(state.machine.weights[k] - weights, gradients[k], atol=error)
    for k, bias in enumerate(machine.biases):
        expected = data[k].mean(axis=0) - p @ layers[k]
        terms = 1
        if k:
            expected, terms = expected - gradients[k - 1].T @ offsets[k - 1], terms + len(offsets[k - 1])
        if k + 1 < len(sizes):
            expected, terms = expected - gradients[k] @ offsets[k + 1], terms + len(offsets[k + 1])
        np.testing.assert_allclose(state.machine.biases[k] - bias, expected, atol=error * (terms if centered else 1))


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("n_steps", [1, 3])
def test_with_one_hidden_layer_it_is_a_restricted_machine(grey, centered, n_steps, n_threads):
    """The same chain, the same gradient and the same weights, bit for bit, over several updates."""
    machine, X = machine_of((70, 33), 0.1), rows_of(50, 70, grey)
    restricted = ascent.init(RBM(machine.weights[0].copy(), machine.biases[0].copy(), machine.biases[1].copy()), 40)
    deep = mean_field.init(machine, 40)
    how = {"key": KEY, "n_steps": n_steps, "learning_rate": 0.1, "momentum": 0.5, "l2": 0.001, "centered": centered}
    for _ in range(4):
        restricted, rows = ascent.prepare(restricted, X)
        restricted, expected = ascent.step(restricted, rows, phase=contrastive_divergence.persistent, **how)
        deep, rows = mean_field.prepare(deep, X)
        deep, info = mean_field.step(deep, rows, **how)
        np.testing.assert_array_equal(info.positive.means[0], expected.positive)
        np.testing.assert_array_equal(info.negative[1][:, :33], expected.negative)
    for got, of_rbm in zip((*deep.machine.weights, *deep.machine.biases), restricted.machine, strict=True):
        np.testing.assert_array_equal(got, of_rbm)
    for got, of_rbm in zip(deep.chains.layers, restricted.chains, strict=False):
        np.testing.assert_array_equal(got, of_rbm)


@pytest.mark.parametrize("sizes", [(33, 17), (33, 17, 65), (20, 9, 8, 7)])
def test_chains_of_training_are_those_of_sampling(sizes):
    """Two updates of two sweeps, the machine held, are four sweeps; means are those that odd layers were drawn from."""
    state = mean_field.init(machine_of(sizes, 0.3), 20)
    start = tuple(each.copy() for each in state.chains.layers)
    for _ in range(2):
        state, means = mean_field.persistent(state, key=KEY, n_steps=2)
    expected = dbm.advance(state.exact, dbm.Chains(start, 1), 8, key=KEY)
    assert state.chains.updates == expected.updates
    for one, two in zip(state.chains.layers, expected.layers, strict=True):
        np.testing.assert_array_equal(one, two)
    for layer, of_layer in means.items():
        np.testing.assert_array_equal(of_layer, dbm.infer(state.exact, state.chains.layers, layer)[1])


@pytest.mark.parametrize("sizes", [(33, 17, 65), (20, 9, 8, 7)])
def test_updates_do_not_depend_on_threads_and_can_be_resumed(sizes, always_threads):
    from fastbm.kernels.threads_cpu import limited_to

    X, found = rows_of(60, sizes[0]), []
    how = {"key": KEY, "n_steps": 2, "learning_rate": 0.1, "momentum": 0.5, "l1": 1e-4, "centered": True, "max_norm": 1.5}
    for n in (1, 2):
        with limited_to(n):
            state = mean_field.init(machine_of(sizes, 0.1), 20)
            for update in range(6):
                if n == 2 and update == 3:
                    state = mean_field.resume(state.machine, state.velocity, state.chains, state.offsets)
                state, rows = mean_field.prepare(state, X)
                state, _ = mean_field.step(state, rows, **how)
            found.append([*state.machine.weights, *state.machine.biases, *state.chains.layers])
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    norms = [np.sqrt((weights**2).sum(axis=0)).max() for weights in found[0][: len(sizes) - 1]]
    assert max(norms) <= 1.5 * (1 + 1e-6)


def test_rows_of_no_weight_do_not_count():
    X = rows_of(40, 33)
    found = []
    for rows, weights in ((X, np.repeat([2.0, 0.0], 20)), (X[:20], None)):
        state, rows = mean_field.prepare(mean_field.init(machine_of((33, 17, 65), 0.1), 20), rows)
        state, _ = mean_field.step(state, rows, key=KEY, n_steps=1, learning_rate=0.1, weights=weights, centered=True)
        found.append(state.machine)
    for one, two in zip((*found[0].weights, *found[0].biases), (*found[1].weights, *found[1].biases), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_weights_that_grow_too_large_are_an_error():
    state, rows = mean_field.prepare(mean_field.init(machine_of((33, 17, 65), 0.1), 20), rows_of(40, 33))
    with pytest.raises(ValueError, match="sum to|NaN or infinity"):
        mean_field.step(state, rows, key=KEY, n_steps=1, learning_rate=1e9)


@pytest.mark.parametrize("pretrained", [False, True])
def test_the_likelihood_rises(pretrained):
    """From small weights, centred, and from restricted machines with doubled weights: by more than biases alone can give."""
    rng = np.random.default_rng(0)
    X = np.repeat(np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0]], np.float32), 20, axis=0)
    X = np.where(rng.random(X.shape) < 0.05, 1 - X, X).astype(np.float32)
    start = machine_of((6, 4, 3), 0.1)
    if pretrained:
        start, up = pretrain(X, (6, 4, 3)), log_likelihood(machine_of((6, 4, 3), 0.1), X).mean()
        assert log_likelihood(start, X).mean() > up
    state = mean_field.init(start, 60)
    for update in range(400):
        state, rows = mean_field.prepare(state, X)
        state, _ = mean_field.step(state, rows, key=KEY, n_steps=1, learning_rate=0.2 * (1 - update / 400), centered=True)
    p = X.mean(axis=0)
    by_biases = (p * np.log(p) + (1 - p) * np.log(1 - p)).sum()
    assert log_likelihood(state.machine, X).mean() > by_biases + 1.0


def pretrain(X, sizes):
    machines = []
    for layer in range(len(sizes) - 1):
        parameters = machine_of(sizes[layer : layer + 2], 0.1, seed=layer)
        up, down = doubled.factors(layer, len(sizes) - 1)
        state = ascent.init(RBM(*parameters.weights, *parameters.biases), len(X))
        for _ in range(200):
            state, rows = ascent.prepare(state, X)
            phase = doubled.phase(up, down)
            state, _ = ascent.step(state, rows, phase=phase, key=KEY, n_steps=1, learning_rate=0.1)
        X = doubled.infer(state.machine, state.exact, minibatches.prepare(X), up)[1][:, : sizes[layer + 1]].copy()
        machines.append(state.machine)
    return doubled.joined(machines)


class TestDoubled:
    @pytest.mark.parametrize("grey", [False, True])
    @pytest.mark.parametrize("up", [1.0, 2.0])
    def test_logits(self, grey, up):
        machine, X = machine_of((33, 17), 0.3), rows_of(9, 33, grey)
        restricted = RBM(*machine.weights, *machine.biases)
        logits, means = doubled.infer(restricted, rbm.rounded(restricted), minibatches.prepare(X), up)
        expected = up * (X @ machine.weights[0].astype(float)) + machine.biases[1]
        np.testing.assert_allclose(logits[:, :17], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(means[:, :17], 1 / (1 + np.exp(-expected)), rtol=1e-4)

    @pytest.mark.parametrize("n_steps", [1, 3])
    def test_by_one_it_is_contrastive_divergence(self, n_steps):
        machine, X, found = machine_of((33, 17), 0.3), rows_of(20, 33), []
        for phase in (contrastive_divergence.from_data, doubled.phase(1.0, 1.0)):
            state = ascent.init(RBM(machine.weights[0].copy(), machine.biases[0].copy(), machine.biases[1].copy()), 20)
            for _ in range(3):
                state, rows = ascent.prepare(state, X)
                state, _ = ascent.step(state, rows, phase=phase, key=KEY, n_steps=n_steps, learning_rate=0.1)
            found.append((*state.machine, state.chains.visible, state.chains.hidden))
        for one, two in zip(*found, strict=True):
            np.testing.assert_array_equal(one, two)

    def test_two_copies_of_units_share_their_weights(self):
        """A machine with its visible units twice, states of both copies alike, has the same hidden logits."""
        machine, X = machine_of((33, 17), 0.3), rows_of(9, 33)
        twice = RBM(np.concatenate([machine.weights[0]] * 2), np.concatenate([machine.biases[0]] * 2), machine.biases[1])
        restricted = RBM(*machine.weights, *machine.biases)
        logits, _ = doubled.infer(restricted, rbm.rounded(restricted), minibatches.prepare(X), 2.0)
        expected = rbm.hidden_logits(twice, np.concatenate([X, X], axis=1))
        np.testing.assert_allclose(logits[:, :17], expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
    def test_the_joined_machine_is_the_mean_of_what_its_parts_say(self, n_layers):
        sizes = (5, 4, 3, 6, 2)[: n_layers + 1]
        parts = [machine_of(sizes[k : k + 2], dtype=np.float64, seed=k) for k in range(n_layers)]
        machines = [RBM(*part.weights, *part.biases) for part in parts]
        joined, rng = doubled.joined(machines), np.random.default_rng(0)
        layers = [rng.random((7, size)) for size in sizes]
        for k in range(1, n_layers):
            (_, up), (down, _) = doubled.factors(k - 1, n_layers)[::-1], doubled.factors(k, n_layers)[::-1]
            below = layers[k - 1] @ machines[k - 1].weights * up + machines[k - 1].hidden_bias
            above = layers[k + 1] @ machines[k].weights.T * down + machines[k].visible_bias
            given = layers[k - 1] @ joined.weights[k - 1] + layers[k + 1] @ joined.weights[k].T + joined.biases[k]
            np.testing.assert_allclose(given, (below + above) / 2, rtol=1e-12)
        assert isinstance(joined, DBM)
