"""Convolutions: kernels against their naive twins, adjoints, gradients against central differences, and PyTorch's."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from test_nn_layers import KEY, central_differences, relative_error

from fastbm.kernels import networks, simd_cpu, threads_cpu
from fastbm.nn.batch_norm import BatchNorm
from fastbm.nn.convolution import (
    Convolution,
    TransposedConvolution,
    Window,
    convolution_weights,
    convolve,
    deconvolve,
)
from fastbm.nn.network import CHUNK, Network
from fastbm.nn.workspace import Run, Workspace

SHAPES = [
    (Window(7, 6, 3), 5), (Window(8, 8, 1, (5, 5), 2, 2), 33), (Window(5, 9, 17, (3, 4), 1, 1), 7),
    (Window(1, 1, 1, (1, 1), 1, 0), 1), (Window(9, 7, 2, (2, 3), 3, 0), 4), (Window(5, 4, 40, (3, 3), 3, 3), 35),
]  # fmt: skip
LARGE = [(Window(6, 5, 270), 40), (Window(5, 6, 40), 300), (Window(16, 16, 33), 20)]
"""More channels than are summed at a time, and more than a tile has columns."""
NOTHING = np.zeros(0, np.float32)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def xp(request, always_threads):
    """NumPy, on as many threads as there are, and CuPy or its stand-in."""
    return request.getfixturevalue("gpu") if request.param == "gpu" else np


def back(array):
    return array.get() if hasattr(array, "get") else array


def numbers(seed, *shape, dtype=np.float32):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def arrays(window, n_maps, n=3, dtype=np.float32):
    """Images, weights and maps of a convolution."""
    return (
        numbers(0, n, *window.image, dtype=dtype), numbers(1, *window.kernel, window.n_channels, n_maps, dtype=dtype),
        numbers(2, n, *window.grid, n_maps, dtype=dtype),
    )  # fmt: skip


def run(xp, window, images, weights, maps, activation="identity", bias=(NOTHING, NOTHING)):
    """All three kernels: maps, images, weights."""
    how, outs = (
        {"stride": window.stride, "padding": window.padding},
        [xp.empty(x.shape, np.float32) for x in (maps, images, weights)],
    )
    images, weights, maps, *bias = (xp.asarray(each) for each in (images, weights, maps, *bias))
    networks.convolve(images, weights, bias[0], outs[0], activation=activation, slope=0.2, **how)
    networks.deconvolve(maps, weights, bias[1], outs[1], activation=activation, slope=0.2, **how)
    networks.convolution_weights(images, maps, outs[2], **how)
    return [back(out) for out in outs]


def expected(window, images, weights, maps):
    images, weights, maps = (each.astype(np.float64) for each in (images, weights, maps))
    how = window.stride, window.padding
    return (
        naive.convolve(images, weights, *how), naive.deconvolve(maps, weights, window.image[:2], *how),
        naive.convolution_weights(images, maps, window.kernel, *how),
    )  # fmt: skip


def assert_close(got, exact):
    for a, b in zip(got, exact, strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6 * np.abs(b).max(), rtol=0)


class TestKernels:
    @pytest.mark.parametrize(("window", "n_maps"), [*SHAPES, *LARGE])
    def test_equal_their_naive_twins(self, xp, window, n_maps):
        given = arrays(window, n_maps)
        assert_close(run(xp, window, *given), expected(window, *given))

    def test_bias_and_activation(self, xp):
        for window, n_maps in (SHAPES[0], SHAPES[5], (Window(8, 8, 33), 40)):
            given, biases = arrays(window, n_maps), (numbers(4, n_maps), numbers(5, window.n_channels))
            exact = expected(window, *given)
            got = run(xp, window, *given, activation="leaky_relu", bias=biases)
            sums = [a + b for a, b in zip(exact, biases, strict=False)]
            assert_close(got[:2], [np.where(x > 0, x, 0.2 * x) for x in sums])

    @pytest.mark.parametrize("level", simd_cpu.LEVELS)
    @pytest.mark.parametrize(("window", "n_maps"), [SHAPES[1], SHAPES[5]])
    def test_levels(self, level, window, n_maps, monkeypatch):
        if level not in simd_cpu.levels_here():
            pytest.skip(f"{level}: this processor has only {', '.join(simd_cpu.levels_here())}")
        monkeypatch.setattr(simd_cpu, "LEVEL", level)
        given = arrays(window, n_maps)
        assert_close(run(np, window, *given), expected(window, *given))

    @pytest.mark.parametrize(("window", "n_maps"), [(Window(14, 14, 32), 64), (Window(14, 14, 3), 64), (Window(9, 7, 33), 5)])
    def test_an_image_is_the_same_alone_and_on_any_number_of_threads(self, window, n_maps, always_threads):
        images, weights, maps = arrays(window, n_maps, 20)
        results = []
        for n_threads in (1, 2):
            with threads_cpu.limited_to(n_threads):
                results.append(run(np, window, images, weights, maps))
        for one, two in zip(*results, strict=True):
            np.testing.assert_array_equal(one, two)
        alone = run(np, window, images[7:8], weights, maps[7:8])
        for one, all_of_them in zip(alone[:2], results[0], strict=False):
            np.testing.assert_array_equal(one[0], all_of_them[7])

    def test_what_lies_around_is_neither_read_nor_written(self):
        window, n_maps = Window(5, 4, 3), 5
        images, weights, maps = arrays(window, n_maps)
        framed = [np.full((len(x) + 2, *x.shape[1:]), np.nan, np.float32) for x in (images, weights, maps)]
        for frame, x in zip(framed, (images, weights, maps), strict=True):
            frame[1:-1] = x
        got = run(np, window, *(frame[1:-1] for frame in framed))
        assert_close(got, expected(window, images, weights, maps))
        outs = [np.full_like(frame, 7) for frame in (framed[2], framed[0], framed[1])]
        inner, how = [out[1:-1] for out in outs], {"stride": 2, "padding": 1}
        networks.convolve(images, weights, NOTHING, inner[0], activation="relu", slope=0.0, **how)
        networks.deconvolve(maps, weights, NOTHING, inner[1], activation="relu", slope=0.0, **how)
        networks.convolution_weights(images, maps, inner[2], **how)
        for out in outs:
            assert (out[[0, -1]] == 7).all()
            assert np.isfinite(out[1:-1]).all()

    def test_bad_arrays(self):
        images, weights, maps = arrays(*SHAPES[0])
        how = {"activation": "identity", "slope": 0.0}
        with pytest.raises(ValueError, match="are not the shapes of a convolution of stride 3 and padding 1"):
            networks.convolve(images, weights, NOTHING, maps, stride=3, padding=1, **how)
        with pytest.raises(ValueError, match="images must be float32 of four axes, C-contiguous"):
            networks.convolve(images[:, ::-1], weights, NOTHING, maps, stride=2, padding=1, **how)
        with pytest.raises(ValueError, match="bias must be 5 float32 numbers, or none"):
            networks.convolve(images, weights, np.zeros(3, np.float32), maps, stride=2, padding=1, **how)
        maps.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            networks.convolve(images, weights, NOTHING, maps, stride=2, padding=1, **how)


# --------------------------------------------------------------------------------------------------------- layers

GEOMETRIES = [
    *SHAPES, (Window(4, 4, 1), 1), (Window(4, 4, 2), 3), (Window(5, 5, 2), 3), (Window(6, 7, 1), 2), (Window(7, 9, 2), 2),
    (Window(6, 6, 2, (5, 5), 2, 2), 2), (Window(6, 5, 2, (3, 3), 2, 1), 2), (Window(5, 5, 2, (3, 3), 1, 1), 2),
    (Window(5, 6, 2, (2, 2), 2, 0), 3), (Window(7, 8, 1, (4, 4), 3, 1), 2), (Window(8, 5, 1, (3, 5), 4, 2), 2),
    (Window(4, 6, 3, (1, 1), 2, 0), 2), (Window(3, 3, 2, (3, 3), 1, 2), 2), (Window(5, 4, 1, (6, 6), 2, 3), 2),
]  # fmt: skip
KINDS = (Convolution, TransposedConvolution)


class Case:
    """A network in float64, rows for it, and what its outputs are multiplied by to make a number of them."""

    def __init__(self, layers, n_inputs, n_rows=2, dtype=np.float64):
        self.network = Network.initial(layers, 0, 0.7, dtype)
        self.network.parameters += 0.1 * numbers(3, *self.network.parameters.shape, dtype=dtype)
        self.x = numbers(4, n_rows, n_inputs, dtype=dtype)
        self.run = Run(Workspace(self.network.parameters), n_groups=2, key=KEY)
        self.factors = numbers(5, n_rows, self.forward()[0].shape[1], dtype=dtype)

    def forward(self):
        return self.network.forward(self.x, self.run)

    def value(self):
        return float((self.forward()[0] * self.factors).sum())


def case_of(kind, window, n_maps, dtype=np.float64, **more):
    layer = kind(window, n_maps, "leaky_relu", **more)
    image, grid = window.image, (*window.grid, n_maps)
    return Case([layer], int(np.prod(image if kind is Convolution else grid)), dtype=dtype)


def small(window, n_maps):
    return window._replace(n_channels=min(window.n_channels, 3)), min(n_maps, 4)


def test_there_are_twenty_geometries():
    assert len(GEOMETRIES) == 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("window", "n_maps"), GEOMETRIES)
def test_gradients_are_central_differences(kind, window, n_maps):
    case = case_of(kind, *small(window, n_maps))
    _, backward = case.forward()
    of_x = backward(case.factors.copy(), True, slice(None)).copy()
    assert relative_error(of_x, central_differences(case.value, case.x)) < 1e-6
    assert relative_error(case.network.gradients, central_differences(case.value, case.network.parameters)) < 1e-6
    np.testing.assert_allclose(backward(case.factors.copy(), False, slice(1, 2)), of_x[1:], rtol=1e-12)


@pytest.mark.parametrize(("window", "n_maps"), GEOMETRIES)
def test_the_transposed_convolution_is_the_adjoint(window, n_maps):
    """⟨x * W, m⟩ = ⟨x, m *ᵀ W⟩, and neither is 0."""
    images, weights, maps = arrays(window, n_maps, dtype=np.float64)
    forth, gone = np.empty_like(maps), np.empty_like(images)
    how = {"window": window, "activation": "identity", "slope": 0.0}
    convolve(images, weights, np.zeros(0), forth, **how)
    deconvolve(maps, weights, np.zeros(0), gone, **how)
    assert (forth * maps).sum() == pytest.approx((images * gone).sum(), rel=1e-10)
    assert abs((forth * maps).sum()) > 1e-6
    assert_close((forth, gone), expected(window, images, weights, maps)[:2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("window", "n_maps"), GEOMETRIES[:8])
def test_kernels_agree_with_the_formulas(kind, window, n_maps):
    exact, case = (case_of(kind, window, n_maps, dtype) for dtype in (np.float64, np.float32))
    case.network.parameters[...] = exact.network.parameters
    case.x[...], case.factors[...] = exact.x, exact.factors
    (y, back_exactly), (got, back_compiled) = exact.forward(), case.forward()
    pairs = [
        (got, y),
        (back_compiled(case.factors.copy(), True, slice(None)), back_exactly(exact.factors.copy(), True, slice(None))),
        (case.network.gradients, exact.network.gradients),
    ]  # fmt: skip
    for a, b in pairs:
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max(), rtol=0)


def test_batch_normalisation_of_channels():
    """Gradients, and moments of the population, over all pixels."""
    window = Window(6, 5, 2)
    layers = [Convolution(window, 3, has_bias=False), BatchNorm(3, "relu", n_pixels=6)]
    assert window.grid == (3, 2)
    case = Case(layers, 60, n_rows=4)
    _, backward = case.forward()
    of_x = backward(case.factors.copy(), True, slice(None)).copy()
    assert relative_error(of_x, central_differences(case.value, case.x)) < 1e-6
    assert relative_error(case.network.gradients, central_differences(case.value, case.network.parameters)) < 1e-6
    case.network.estimate(lambda: ((case.x[part], None) for part in (slice(0, 3), slice(3, 4))))
    sums = naive.convolve(case.x.reshape(4, *window.image), case.network.views[0]["weights"], 2, 1).reshape(-1, 3)
    np.testing.assert_allclose(case.network.views[1]["mean"], sums.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(case.network.views[1]["variance"], sums.var(axis=0), rtol=1e-10)
    whole, _ = case.network.forward(case.x, case.run._replace(n_groups=1))  # the minibatch is the population
    np.testing.assert_allclose(case.network.evaluate(case.x), whole, rtol=1e-10)


def test_nothing_is_allocated_for_a_second_minibatch():
    layers = [Convolution(Window(8, 8, 3), 8), TransposedConvolution(Window(8, 8, 2), 8)]
    case = Case(layers, 192, n_rows=5, dtype=np.float32)
    case.forward()[1](case.factors.copy(), True, slice(None))
    before = {name: array.ctypes.data for name, array in case.run.space.arrays.items()}
    for n in (5, 2):
        _, backward = case.network.forward(case.x[:n], case.run._replace(n_groups=1))
        assert backward(case.factors[:n].copy(), True, slice(None)).shape == (n, 192)
    assert {name: array.ctypes.data for name, array in case.run.space.arrays.items()} == before


@pytest.mark.parametrize("n_rows", [1, 5])
def test_rows_do_not_depend_on_each_other_after_training(n_rows):
    case = Case([Convolution(Window(8, 8, 3), 8, "relu")], 192, n_rows=CHUNK + 3, dtype=np.float32)
    np.testing.assert_array_equal(case.network.evaluate(case.x[:n_rows]), case.network.evaluate(case.x)[:n_rows])


# -------------------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize(("window", "n_maps"), [*SHAPES, *LARGE])
def test_convolutions_are_those_of_pytorch(window, n_maps):
    torch = pytest.importorskip("torch", reason="torch: not installed")
    functional = torch.nn.functional
    given = arrays(window, n_maps)
    images, maps = (torch.tensor(given[k]).permute(0, 3, 1, 2).requires_grad_() for k in (0, 2))
    weights = torch.tensor(given[1]).permute(3, 2, 0, 1).requires_grad_()
    how = {"stride": window.stride, "padding": window.padding}
    forth = functional.conv2d(images, weights, **how)
    left = [
        size - ((n - 1) * window.stride - 2 * window.padding + taps)
        for size, n, taps in zip(window.image, window.grid, window.kernel, strict=False)
    ]
    theirs = [forth, torch.autograd.grad((forth * maps).sum(), weights)[0]]
    if all(0 <= each < window.stride for each in left):  # the output padding that PyTorch takes
        theirs.append(functional.conv_transpose2d(maps, weights, output_padding=left, **how))
    got = run(np, window, *given)
    to_ours = [lambda x: x.permute(0, 2, 3, 1), lambda x: x.permute(2, 3, 1, 0), lambda x: x.permute(0, 2, 3, 1)]
    for ours, other, permuted in zip((got[0], got[2], got[1]), theirs, to_ours, strict=False):
        np.testing.assert_allclose(ours, permuted(other).detach().numpy(), atol=3e-6 * np.abs(ours).max(), rtol=0)


def test_formulas_on_a_strict_array_api():
    """The formulas take arrays of any library that keeps to the standard."""
    strict = pytest.importorskip("array_api_strict")
    window, n_maps = SHAPES[0]
    given = arrays(window, n_maps, dtype=np.float64)
    images, weights, maps = (strict.asarray(each) for each in given)
    forth, gone, of_weights = (strict.zeros(each.shape, dtype=strict.float64) for each in (maps, images, weights))
    how = {"window": window, "activation": "identity", "slope": 0.0}
    convolve(images, weights, strict.zeros(0), forth, **how)
    deconvolve(maps, weights, strict.zeros(0), gone, **how)
    convolution_weights(images, maps, of_weights, window)
    assert_close([np.asarray(each) for each in (forth, gone, of_weights)], expected(window, *given))
