"""Layers and losses against float64 central differences, and networks as a whole."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from fastbm import chain
from fastbm.machines import bigan, gan
from fastbm.nn import initializers
from fastbm.nn.activations import NAMES
from fastbm.nn.batch_norm import BatchNorm
from fastbm.nn.convolution import Convolution, TransposedConvolution, Window
from fastbm.nn.dense import Dense
from fastbm.nn.dropout import Dropout
from fastbm.nn.join import Join
from fastbm.nn.losses import logistic_loss
from fastbm.nn.maxout import Maxout
from fastbm.nn.merged import merged
from fastbm.nn.network import CHUNK, Network
from fastbm.nn.workspace import Run, Workspace

KEY = chain.stream_key(3, chain.Purpose.TRAINING)
LAYERS = {
    **{f"dense, {name}": [Dense(5, 4, name)] for name in NAMES},
    "dense without bias": [Dense(5, 4, has_bias=False)],
    **{f"batch norm, {name}": [Dense(5, 4, has_bias=False), BatchNorm(4, name)] for name in NAMES},
    "encoder": gan.perceptron((5, 7, 4), gan.Hidden("leaky_relu", batch_norm=True), "tanh", looks=True, spreads=True),
    "maxout": [Maxout(5, 4, 3)],
    "dropout": [Dense(5, 6, "tanh"), Dropout(6, 0.4), Dense(6, 4)],
    "join": [Dense(5, 6, "leaky_relu"), Join(6, 3), Dense(9, 4)],
    "generator": gan.perceptron((5, 7, 6, 4), gan.Hidden(batch_norm=True), "sigmoid", looks=False),
    "discriminator": gan.perceptron((5, 7, 6, 4), gan.Hidden("maxout", dropout=0.3), "identity", looks=True),
    "discriminator of pairs": bigan.joint_perceptron(5, 3, (7, 6), gan.Hidden("leaky_relu", batch_norm=True)),
}


def central_differences(function, array, step=1e-6):
    """The gradient of a function of an array, which is changed and put back, entry by entry."""
    gradient = np.zeros_like(array)
    flat, out = array.reshape(-1), gradient.reshape(-1)
    for k in range(flat.size):
        before = flat[k]
        flat[k] = before + step
        above = function()
        flat[k] = before - step
        out[k] = (above - function()) / (2 * step)
        flat[k] = before
    return gradient


def relative_error(got, expected):
    return np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-12)


class Case:
    """A network in float64, rows for it, and what its outputs are multiplied by to make a number of them."""

    def __init__(self, layers, n_rows=6, dtype=np.float64):
        rng = np.random.default_rng(0)
        self.network = Network.initial(layers, 0, 0.7, dtype)
        self.network.parameters += 0.1 * rng.normal(size=self.network.parameters.shape)
        self.x, self.side = rng.normal(size=(n_rows, 5)).astype(dtype), rng.normal(size=(n_rows, 3)).astype(dtype)
        self.of_side = np.zeros_like(self.side)
        space = Workspace(self.network.parameters)
        self.run = Run(space, n_groups=2, key=KEY, update=3, side=self.side, side_gradient=self.of_side)
        self.factors = rng.normal(size=(n_rows, self.forward()[0].shape[1])).astype(dtype)

    def forward(self):
        return self.network.forward(self.x, self.run)

    def value(self):
        return float((self.forward()[0] * self.factors).sum())

    @property
    def has_side(self):
        return any(isinstance(layer, Join) for layer in self.network.layers)


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_gradients_are_central_differences(layers):
    case = Case(layers)
    _, backward = case.forward()
    of_x = backward(case.factors.copy(), True, slice(None)).copy()
    assert relative_error(of_x, central_differences(case.value, case.x)) < 1e-6
    assert relative_error(case.network.gradients, central_differences(case.value, case.network.parameters)) < 1e-6
    if case.has_side:
        assert relative_error(case.of_side, central_differences(case.value, case.side)) < 1e-6


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_only_what_is_asked_for_is_computed(layers):
    """Gradients of some rows are those of all rows; without those of parameters the latter stay; backward can be repeated."""
    case = Case(layers)
    _, backward = case.forward()
    of_x = backward(case.factors.copy(), True, slice(None)).copy()
    parameters = case.network.gradients.copy()
    case.network.gradients[...] = 7.0
    part = backward(case.factors.copy(), False, slice(2, 5))
    np.testing.assert_allclose(part, of_x[2:5], rtol=1e-12)
    assert (case.network.gradients == 7.0).all()
    assert backward(case.factors.copy(), True, None) is None
    used = np.zeros(parameters.shape, bool)
    for own in case.network._wanted[1]:
        for view in own.values():
            at = (view.__array_interface__["data"][0] - case.network.gradients.__array_interface__["data"][0]) // 8
            used[at : at + view.size] = True
    np.testing.assert_array_equal(case.network.gradients[used], parameters[used])


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_kernels_agree_with_the_formulas(layers):
    """A network in float32, which is compiled, beside the same in float64, which is not."""
    exact, case = Case(layers), Case(layers, dtype=np.float32)
    case.network.parameters[...] = exact.network.parameters
    (expected, back), (got, compiled_back) = exact.forward(), case.forward()
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    pair = [function(each.factors.copy(), True, slice(None)) for function, each in ((compiled_back, case), (back, exact))]
    np.testing.assert_allclose(*pair, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(case.network.gradients, exact.network.gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n_rows", [1, 6, 500])
def test_small_dense_layers_in_one_call_are_those_one_after_the_other(n_rows):
    """Bit for bit: outputs, and all gradients; rows may be slices."""
    layers = gan.perceptron((5, 7, 33, 6, 3), gan.Hidden("leaky_relu"), "tanh", looks=True)
    case = Case(layers, n_rows, np.float32)
    x, factors = np.random.default_rng(2).normal(size=(2 * n_rows, 8)).astype(np.float32)[::2, 2:7], case.factors
    results = []
    for perceptron in (case.network.perceptron, None):
        case.network.perceptron = perceptron
        out = np.zeros((n_rows, 3), np.float32)
        y, backward = case.network.forward(x, case.run, out=out)
        assert y is out
        of_x = backward(factors.copy(), True, slice(n_rows // 3, None)).copy()
        results.append((out, of_x, case.network.gradients.copy(), backward(factors.copy(), False, slice(None)).copy()))
        assert backward(factors.copy(), True, None) is None
    assert results[0][1].shape == (n_rows - n_rows // 3, 5)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_which_networks_are_computed_in_one_call():
    small, row = Network.initial([Dense(5, 4)], 0), np.zeros((1, 5), np.float32)
    assert small.perceptron.takes(1000, row)
    assert not small.perceptron.takes(1_000_000, row)
    assert not small.perceptron.takes(1, row, row.astype(float))
    assert not small.perceptron.takes(1, row, None)
    assert Network.initial(LAYERS["dropout"], 0).perceptron is None


def test_nothing_is_allocated_for_a_second_minibatch_and_a_short_one_is_a_view():
    case = Case(LAYERS["discriminator of pairs"], dtype=np.float32)
    _, backward = case.forward()
    backward(case.factors.copy(), True, slice(None))
    arrays = {name: array.ctypes.data for name, array in case.run.space.arrays.items()}
    short = case.run._replace(n_groups=1, side=case.side[:3], side_gradient=case.of_side[:3])
    y, backward = case.network.forward(case.x[:3], short)
    assert backward(case.factors[:3].copy(), True, slice(None)).shape == (3, 5)
    assert y.shape == (3, 1)
    assert {name: array.ctypes.data for name, array in case.run.space.arrays.items()} == arrays


@pytest.mark.parametrize("target", [0.0, 0.9, 1.0])
def test_losses_are_central_differences(target):
    logits, out, figures = np.linspace(-30, 30, 13)[:, None], np.empty((13, 1)), np.empty(2)

    def value():
        logistic_loss(logits, np.empty((13, 1)), figures, target=target, weight=1.7)
        return float(figures[0])

    expected = central_differences(value, logits, 1e-4)
    logistic_loss(logits, out, figures, target=target, weight=1.7)
    assert relative_error(out, expected) < 1e-6


def test_what_decays_stands_first():
    network = Network.initial(LAYERS["discriminator of pairs"], 0)
    decayed = {name for own in network.views for name in own} & {"weights", "gain"}
    assert decayed == {"weights", "gain"}
    network.parameters[...] = 0.0
    network.parameters[: network.n_decayed] = 1.0
    for own in network.views:
        for name, view in own.items():
            assert name in ("mean", "variance") or (view == (name in decayed)).all()


def test_population_moments_are_exact_layer_after_layer():
    rng, layers = np.random.default_rng(0), gan.perceptron((5, 8, 8, 2), gan.Hidden(batch_norm=True), "tanh", looks=False)
    network, x = Network.initial(layers, 0), rng.normal(size=(1000, 5)).astype(np.float32)
    network.estimate(lambda: ((x[begin : begin + 300], None) for begin in range(0, 1000, 300)))
    run = Run(Workspace(network.parameters), n_groups=1)
    whole, _ = network.forward(x, run)  # the minibatch is then the population
    np.testing.assert_allclose(network.evaluate(x), whole, atol=1e-4)


@pytest.mark.parametrize(
    ("layers", "n_left"),
    [
        ([Dense(6, 8), BatchNorm(8, "tanh")], 1),
        ([Dense(6, 8, has_bias=False), BatchNorm(8, "relu", is_scaled=False), Dense(8, 2)], 2),
        ([Dense(6, 8, "relu"), BatchNorm(8)], 2),
        ([Dense(6, 8), BatchNorm(4, n_pixels=2)], 2),
        ([Convolution(Window(3, 2, 1), 5), BatchNorm(5, "leaky_relu", 0.3)], 1),
        ([TransposedConvolution(Window(4, 2, 3), 3, has_bias=False), BatchNorm(3, "relu", n_pixels=8)], 1),
    ],
)
def test_moments_of_the_population_are_taken_into_the_layer_before(layers, n_left):
    """Gains, offsets, biases, means and variances of all sizes; what has an activation, or other units, stays as it is."""
    network, rng = Network.initial(layers, 0, dtype=np.float64), np.random.default_rng(1)
    for numbers in (network.parameters, network.statistics):
        numbers[...] = rng.random(numbers.shape) + 0.5
    before, x = network.parameters.copy(), rng.normal(size=(7, 6))
    assert len(merged(network.layers, network.views)[0]) == n_left
    apart, _ = network.forward(x, Run(Workspace(network.parameters), training=False))
    np.testing.assert_allclose(network.evaluate(x), apart, rtol=1e-12)
    np.testing.assert_array_equal(network.parameters, before)


@pytest.mark.parametrize("n_rows", [1, CHUNK, CHUNK + 1])
def test_rows_do_not_depend_on_each_other_after_training(n_rows):
    case = Case(LAYERS["discriminator of pairs"], dtype=np.float32)
    x, side = (np.random.default_rng(1).normal(size=(600, n)) for n in (5, 3))
    np.testing.assert_array_equal(case.network.evaluate(x[:n_rows], side[:n_rows]), case.network.evaluate(x, side)[:n_rows])


def test_copies_and_pickles_share_nothing():
    network = Case(LAYERS["generator"], dtype=np.float32).network
    for other in (network.copy(), pickle.loads(pickle.dumps(network))):
        assert other.layers == network.layers
        np.testing.assert_array_equal(other.parameters, network.parameters)
        before = network.parameters.copy()
        other.views[0]["weights"][...] = 0.0
        assert (other.parameters != network.parameters).any()
        np.testing.assert_array_equal(network.parameters, before)


def test_initial_weights():
    """Deviations within four standard errors."""
    rng, shape = np.random.default_rng(0), (200, 300)
    for initial, deviation in (("glorot", np.sqrt(2 / 500)), ("he", np.sqrt(2 / 200)), (0.02, 0.02)):
        weights = np.empty(shape, np.float32)
        initializers.fill(weights, rng, initial)
        assert abs(weights.std() / deviation - 1) < 4 / np.sqrt(2 * weights.size)
