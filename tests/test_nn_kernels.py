"""Kernels of layered networks against their twins and formulas: on the CPU, and on the GPU or as built for the host."""

from __future__ import annotations

import naive
import numpy as np
import pytest

from fastbm import chain
from fastbm.kernels import formulas, networks, simd_cpu
from fastbm.nn import activations
from fastbm.nn.losses import logistic_loss

KEY = chain.stream_key(3, chain.Purpose.TRAINING)
SIZES = [(1, 1), (7, 33), (12, 300)]
TALL = [(1100, 33), (20_000, 1)]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def xp(request, always_threads):
    """NumPy, on as many threads as there are, and CuPy or its stand-in."""
    return request.getfixturevalue("gpu") if request.param == "gpu" else np


def back(array):
    return array.get() if hasattr(array, "get") else array


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
@pytest.mark.parametrize("size", [*SIZES, *TALL])
def test_activations(xp, size, activation):
    x, bias, gradient = 3 * numbers(0, *size), numbers(1, size[1]), numbers(2, *size)
    y = xp.asarray(x.copy())
    networks.activate(y, xp.asarray(bias), activation=activation, slope=0.2)
    exact = formulas.activate((x + bias).astype(float), activation, 0.2)
    np.testing.assert_allclose(back(y), exact, **CLOSE)
    given, sums = xp.asarray(gradient.copy()), xp.asarray(bias.copy())
    networks.activate_backward(given, y, sums, activation=activation, slope=0.2)
    expected = gradient * activations.derivative(back(y).astype(float), activation, 0.2)
    np.testing.assert_allclose(back(given), expected, **CLOSE)
    np.testing.assert_allclose(back(sums), expected.sum(axis=0), rtol=1e-4, atol=1e-6 * np.abs(expected).sum(axis=0).max())
    nothing = xp.zeros(0, np.float32)
    again, other = xp.asarray(x.copy()), xp.asarray(gradient.copy())
    networks.activate(again, nothing, activation=activation, slope=0.2)
    networks.activate_backward(other, y, nothing, activation=activation, slope=0.2)
    np.testing.assert_allclose(back(again), formulas.activate(x.astype(float), activation, 0.2), **CLOSE)
    np.testing.assert_array_equal(back(other), back(given))


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
def test_extreme_inputs(xp, activation):
    x = np.float32([[0.0, -0.0, 1e-30, -1e-30, 100.0, -100.0, 1e30, -1e30, np.nan]])
    y = xp.asarray(x.copy())
    networks.activate(y, xp.zeros(0, np.float32), activation=activation, slope=0.2)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(back(y), formulas.activate(x.astype(float), activation, 0.2), **CLOSE)


LAYERS = {
    "one": [(5, 1, "identity")],
    "three": [(2, 33, "leaky_relu"), (33, 17, "relu"), (17, 1, "identity")],
    "curved, no bias": [(3, 40, "tanh"), (40, 64, "sigmoid"), (64, 2, "tanh")],
}
"""Inputs, outputs and the activation of each layer."""


def table_of(layers, has_bias):
    """The table of layers, and how many parameters there are; each begins at a multiple of 16."""
    table, begin = [], 0
    for n_inputs, n_outputs, activation in layers:
        bias = begin + -(-n_inputs * n_outputs // 16) * 16
        table.append((n_inputs, n_outputs, begin, bias if has_bias else -1, networks.ACTIVATIONS.index(activation)))
        begin = bias + -(-n_outputs // 16) * 16
    return np.array(table), begin


@pytest.mark.parametrize("level", simd_cpu.LEVELS)
@pytest.mark.parametrize("n_rows", [1, 33, 400])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_in_one_call(name, n_rows, level, monkeypatch):
    """Outputs, and gradients of parameters and of some rows; what is not asked for is not written."""
    if level not in simd_cpu.levels_here():
        pytest.skip(f"{level}: this processor has only {', '.join(simd_cpu.levels_here())}")
    monkeypatch.setattr(simd_cpu, "LEVEL", level)
    layers, has_bias = LAYERS[name], name != "curved, no bias"
    table, n_parameters = table_of(layers, has_bias)
    parameters, x = numbers(0, n_parameters), numbers(1, n_rows, layers[0][0])
    slopes = np.float64([0.2 if activation == "leaky_relu" else 0.0 for _, _, activation in layers])
    widths = [n_outputs for _, n_outputs, _ in layers]
    wide = np.full((n_rows, widths[-1] + 5), np.nan, np.float32)
    hidden, out = np.full(n_rows * sum(widths[:-1]), np.nan, np.float32), wide[:, 2:-3]
    networks.perceptron(x, parameters, hidden, out, layers=table, slopes=slopes)

    weights = [parameters[w : w + n * m].reshape(n, m).astype(float) for n, m, w, _, _ in table]
    biases = [parameters[b : b + m].astype(float) if has_bias else 0.0 for _, m, _, b, _ in table]
    functions = [lambda x, f=f: formulas.activate(x, f, 0.2) for _, _, f in layers]
    outputs = naive.perceptron(x.astype(float), weights, biases, functions)
    np.testing.assert_allclose(out, outputs[-1], rtol=1e-4, atol=1e-4)
    inside = [part.reshape(n_rows, -1) for part in np.split(hidden, n_rows * np.cumsum(widths[:-1]))[:-1]]
    for got, expected in zip(inside, outputs, strict=False):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    assert np.isnan(wide[:, :2]).all()
    assert np.isnan(wide[:, -3:]).all()

    given, derivatives = numbers(2, *out.shape), [lambda y, f=f: activations.derivative(y, f, 0.2) for _, _, f in layers]
    outputs = [each.astype(float) for each in (*inside, out)]
    of_weights, of_biases, of_x = naive.perceptron_backward(given.astype(float), x, outputs, weights, derivatives)
    gradients, room = np.full(n_parameters, 7.0, np.float32), np.empty(2 * n_rows * max([0, *widths[:-1]]), np.float32)
    below, how = np.empty_like(x[: n_rows // 2]), {"layers": table, "slopes": slopes}
    first_row = n_rows - len(below)
    networks.perceptron_backward(
        given.copy(), x, hidden, out, parameters, gradients, room, below, first_row=first_row, **how
    )  # fmt: skip
    for (n, m, w, b, _), of_weight, of_bias in zip(table, of_weights, of_biases, strict=True):
        size = max(1.0, np.abs(of_weight).max())
        np.testing.assert_allclose(gradients[w : w + n * m].reshape(n, m), of_weight, rtol=1e-3, atol=1e-5 * size)
        if has_bias:
            np.testing.assert_allclose(gradients[b : b + m], of_bias, rtol=1e-3, atol=1e-5 * size)
    np.testing.assert_allclose(below, of_x[first_row:], rtol=1e-3, atol=1e-4)
    again = np.empty_like(x)
    networks.perceptron_backward(given.copy(), x, hidden, out, parameters, room[:0], room, again, first_row=0, **how)
    np.testing.assert_array_equal(again[first_row:], below)


def test_layers_in_one_call_are_checked():
    table, n_parameters = table_of([(5, 3, "relu")], True)
    x, parameters, out = numbers(0, 4, 5), numbers(1, n_parameters), np.empty((4, 3), np.float32)
    how = {"layers": table, "slopes": np.zeros(1)}
    with pytest.raises(ValueError, match=r"x must be a float32 matrix of shape \(4, 5\)"):
        networks.perceptron(x.astype(float), parameters, x[:0, 0], out, **how)
    with pytest.raises(ValueError, match=r"out must be a float32 matrix of shape \(4, 3\)"):
        networks.perceptron(x, parameters, x[:0, 0], out[:3], **how)
    with pytest.raises(ValueError, match=r"below must be a float32 matrix of shape \(2, 5\)"):
        networks.perceptron_backward(
            out, x, x[:0, 0], out, parameters, parameters[:0], x[:0, 0], out[:2], first_row=0, **how
        )  # fmt: skip


@pytest.mark.parametrize("n_pieces", [2, 5])
@pytest.mark.parametrize("size", SIZES)
def test_maxout(xp, size, n_pieces):
    x, gradient = numbers(0, size[0], n_pieces * size[1]), numbers(1, *size)
    x[0, :: size[1]] = 1.0  # the first of equals is chosen
    y, chosen = xp.empty(size, np.float32), xp.empty(size, np.uint8)
    networks.maxout(xp.asarray(x), y, chosen)
    expected = naive.maxout(x, size[1])
    np.testing.assert_array_equal(back(y), expected[0])
    np.testing.assert_array_equal(back(chosen), expected[1])
    out, sums = xp.empty(x.shape, np.float32), xp.empty(x.shape[1], np.float32)
    networks.maxout_backward(xp.asarray(gradient), chosen, out, sums)
    expected = naive.maxout_backward(gradient, expected[1], n_pieces)
    np.testing.assert_array_equal(back(out), expected[0])
    np.testing.assert_allclose(back(sums), expected[1], rtol=1e-5, atol=1e-5)
    again = xp.empty(x.shape, np.float32)
    networks.maxout_backward(xp.asarray(gradient), chosen, again, sums[:0])
    np.testing.assert_array_equal(back(again), back(out))


@pytest.mark.parametrize("n_inputs", [1, 33, 64, 336])
@pytest.mark.parametrize("size", SIZES)
def test_gradients_through_chosen_pieces(size, n_inputs, n_threads):
    """Equal to the products of what `maxout_backward` gives, with zeros as dropout leaves them."""
    x, gradient, weights = numbers(0, size[0], n_inputs), numbers(1, *size), numbers(2, 3 * size[1], n_inputs)
    gradient[numbers(3, *size) > 0.5] = 0.0
    chosen = np.random.default_rng(4).integers(3, size=size).astype(np.uint8)
    pieces, sums = naive.maxout_backward(gradient, chosen, 3)
    out, biases = np.empty_like(weights), np.empty(3 * size[1], np.float32)
    networks.chosen_weights(x, gradient, chosen, out, biases)
    np.testing.assert_allclose(out, pieces.T @ x, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(biases, sums, rtol=1e-5, atol=1e-5)
    below = np.empty_like(x)
    networks.chosen_inputs(gradient, chosen, weights, below)
    np.testing.assert_allclose(below, pieces @ weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["identity", "relu", "tanh"])
@pytest.mark.parametrize(("size", "n_groups"), [((1, 1), 1), ((7, 33), 1), ((12, 300), 2), ((1800, 33), 2), ((300, 1), 1)])
def test_batch_norm(xp, size, n_groups, activation):
    x, gain, offset, gradient = 2 + 3 * numbers(0, *size), numbers(1, size[1]), numbers(2, size[1]), numbers(3, *size)
    here = [xp.asarray(each) for each in (x, gain, offset)]
    normal, y, inverse = xp.empty(size, np.float32), xp.empty(size, np.float32), xp.empty((n_groups, size[1]), np.float32)
    how = {"activation": activation, "slope": 0.2}
    networks.batch_norm(*here, normal, inverse, y, epsilon=1e-5, **how)
    exact = naive.batch_norm(x.astype(float), gain, offset, n_groups, 1e-5)
    np.testing.assert_allclose(back(normal), exact[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(back(y), formulas.activate(exact[1], activation, 0.2), rtol=1e-4, atol=1e-5)
    slopes = activations.derivative(back(y).astype(float), activation, 0.2)
    expected = naive.batch_norm_backward(gradient * slopes, x.astype(float), gain, n_groups, 1e-5)
    given, *sums = xp.asarray(gradient.copy()), *(xp.empty(size[1], np.float32) for _ in range(2))
    networks.batch_norm_backward(given, y, normal, inverse, here[1], *sums, **how)
    for got, value in zip((given, *sums), expected, strict=True):
        np.testing.assert_allclose(back(got), value, rtol=1e-3, atol=1e-4)
    again = xp.asarray(gradient.copy())
    networks.batch_norm_backward(again, y, normal, inverse, here[1], sums[0][:0], sums[1][:0], **how)
    np.testing.assert_array_equal(back(again), back(given))


@pytest.mark.gpu
@pytest.mark.parametrize(("size", "n_groups"), [((4098, 3), 2), ((2601, 20), 3), ((9000, 1), 1), ((513, 70), 1)])
def test_sums_over_pixels_on_the_gpu_agree_with_those_on_the_cpu(gpu, size, n_groups):
    """Chunks that are full and chunks that are not; units that fill no warp, one, and more."""
    x, gain, offset, gradient = 2 + 3 * numbers(0, *size), numbers(1, size[1]), numbers(2, size[1]), numbers(3, *size)
    how, forward, backward = {"activation": "leaky_relu", "slope": 0.2}, [], []
    for xp in (np, gpu):
        normal, y, inverse = xp.empty(size, np.float32), xp.empty(size, np.float32), xp.empty((n_groups, size[1]), np.float32)
        networks.batch_norm(*map(xp.asarray, (x, gain, offset)), normal, inverse, y, epsilon=1e-5, **how)
        forward.append([back(each) for each in (normal, inverse, y)])
        normal, inverse, y = map(xp.asarray, forward[0])  # the CPU's, as slopes jump where a unit is about 0
        given, sums = [xp.asarray(gradient.copy()) for _ in range(2)], [xp.empty(size[1], np.float32) for _ in range(3)]
        networks.batch_norm_backward(given[0], y, normal, inverse, xp.asarray(gain), *sums[:2], **how)
        networks.activate_backward(given[1], y, sums[2], **how)
        backward.append([back(each) for each in (*given, *sums)])
    for expected, got in [*zip(*forward, strict=True), *zip(*backward, strict=True)]:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.gpu
@pytest.mark.parametrize("n_units", [1, 2, 3, 16, 31, 32, 33, 1000])
@pytest.mark.parametrize("n_rows", [1, 100, 255, 256, 257, 40_000, 10_000_000])
def test_chunks_cover_the_rows(gpu, n_rows, n_units):
    from fastbm.kernels import chunks_gpu

    n_chunks, size, width = chunks_gpu.chunks_of(n_rows, n_units)
    assert (n_chunks - 1) * size < n_rows <= n_chunks * size
    assert n_chunks <= chunks_gpu.MOST_CHUNKS
    assert chunks_gpu.THREADS % width == 0
    assert width & (width - 1) == 0
    assert width == min(chunks_gpu.WIDEST, width) >= min(n_units, chunks_gpu.WIDEST)


@pytest.mark.parametrize("size", [1, 33, 5000])
def test_steps(xp, size):
    p, g, m = (numbers(seed, size) for seed in range(3))
    v = numbers(3, size) ** 2
    g[size // 2], m[size // 2], v[size // 2] = 0.0, 1e-38, 1e-38  # what would become denormal is 0
    how = {"rate": 0.01, "l2": 0.1, "n_decayed": size // 3}
    more = {"beta_1": 0.5, "beta_2": 0.9, "scale": 1.5, "epsilon": 1e-8}
    here = [xp.asarray(each.copy()) for each in (p, g, m, v)]
    networks.adam(*here, **how, **more)
    for got, value in zip(
        (here[0], *here[2:]), naive.adam(*(x.astype(float) for x in (p, g, m, v)), **how, **more), strict=True
    ):
        np.testing.assert_allclose(back(got), value, **CLOSE)
    assert size < 2 or (back(here[2])[size // 2], back(here[3])[size // 2]) == (0.0, 0.0)
    here = [xp.asarray(each.copy()) for each in (p, g, m)]
    networks.descend(*here, momentum=0.5, **how)
    for got, value in zip((here[0], here[2]), naive.descend(p, g, m, momentum=0.5, **how), strict=True):
        np.testing.assert_allclose(back(got), value, **CLOSE)


@pytest.mark.parametrize("target", [0.0, 1.0, 0.9])
def test_losses(xp, target):
    """Precise at both ends, where probabilities round to 0 and 1."""
    logits = np.float32([0.0, -1.5, 3.0, 80.0, -80.0, 25.0, -25.0, *numbers(0, 200)])
    gradient, figures = xp.empty(logits.size, np.float32), xp.empty(2, np.float32)
    networks.logistic_loss(xp.asarray(logits), gradient, figures, target=target, weight=-2.0)
    exact = logits.astype(np.longdouble)
    on, off = 1 / (1 + np.exp(-exact)), 1 / (1 + np.exp(exact))
    loss = -target * np.log(on) - (1 - target) * np.log(off)
    np.testing.assert_allclose(back(gradient), -2 * ((1 - target) * on - target * off) / logits.size, rtol=1e-5)
    np.testing.assert_allclose(back(figures), [-2 * loss.mean(), on.mean()], rtol=1e-5)
    formula = np.empty((logits.size, 1)), np.empty(2)
    logistic_loss(logits.astype(float)[:, None], *formula, target=target, weight=-2.0)
    np.testing.assert_allclose(back(gradient), formula[0][:, 0], rtol=1e-5)
    np.testing.assert_allclose(back(figures), formula[1], rtol=1e-5)


@pytest.mark.parametrize("normal", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (5, 33), (3, 100)])
def test_latents_and_masks_are_the_chains(xp, size, normal):
    counters = {"key": KEY, "first_row": 2**32 - 2, "update": 7, "block": 1}
    z = xp.empty(size, np.float32)
    networks.draw_latent(z, normal=normal, **counters)
    np.testing.assert_array_equal(back(z), naive.draw_latent(*size, normal=normal, **counters))
    x = numbers(0, *size)
    for rate in (0.0, 0.3, 0.5):
        y = xp.empty(size, np.float32)
        networks.drop(xp.asarray(x), y, rate=rate, **counters)
        np.testing.assert_allclose(back(y), naive.drop(x, rate=rate, **counters), rtol=1e-6)


def test_results_do_not_depend_on_threads(n_threads):
    x, gain, gradient = numbers(0, 40, 700), numbers(1, 700), numbers(2, 40, 700)
    sums = np.empty(700, np.float32)
    networks.activate_backward(gradient, x, sums, activation="tanh", slope=0.0)
    y, normal, inverse = np.empty_like(x), np.empty_like(x), np.empty((2, 700), np.float32)
    networks.batch_norm(x, gain, gain, normal, inverse, y, epsilon=1e-5, activation="relu", slope=0.0)
    digest = [float(np.abs(each).sum(dtype=np.float64)) for each in (sums, y, inverse)]
    assert digest == DIGESTS.setdefault("first", digest)


DIGESTS: dict[str, list[float]] = {}


def test_uniform_latents_are_uniform():
    """Moments within four standard errors, and nothing at or beyond the ends."""
    z = np.empty((5000, 40), np.float32)
    networks.draw_latent(z, normal=False, key=KEY, first_row=0, update=0, block=0)
    assert np.abs(z).max() < 1
    assert abs(z.mean()) < 4 / np.sqrt(3 * z.size)
    assert abs((z.astype(float) ** 2).mean() - 1 / 3) < 4 * np.sqrt(4 / 45 / z.size)
