"""DCGAN: layers, shapes, PyTorch's steps, images in and out, files, resuming, errors, devices; what GAN has is tested there."""

from __future__ import annotations

from functools import partial

import naive
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from fastbm import DCGAN, chain
from fastbm.machines import dcgan, gan
from fastbm.nn.batch_norm import BatchNorm
from fastbm.nn.beside import Beside
from fastbm.nn.convolution import Convolution, TransposedConvolution
from fastbm.nn.dense import Dense
from fastbm.nn.network import Network
from fastbm.training import adversarial
from fastbm.training.adversarial import Rule
from fastbm.training.descent import Adam

KEY = chain.stream_key(3, chain.Purpose.TRAINING)
X = np.random.default_rng(0).integers(256, size=(40, 9, 8, 3), dtype=np.uint8)
maker = partial(DCGAN, 3, base_channels=4, batch_size=16, n_iter=2, random_state=0)


def assert_same(model, other):
    for name in ("generator_", "discriminator_"):
        assert_array_equal(getattr(model, name).parameters, getattr(other, name).parameters)
    assert_array_equal(model.sample(3, random_state=1), other.sample(3, random_state=1))


# ---------------------------------------------------------------------------------------------------------- layers


@pytest.mark.parametrize(
    ("image", "kernel_size", "n_layers", "grid"),
    [((28, 28, 1), 4, 2, (7, 7)), ((32, 32, 3), 4, 3, (4, 4)), ((64, 64, 3), 4, 4, (4, 4)), ((27, 33, 1), 4, 2, (6, 8)),
     ((16, 16, 3), 4, 2, (4, 4)), ((27, 33, 3), 5, 2, (7, 9)), ((9, 8, 1), 4, 1, (4, 4))],
)  # fmt: skip
def test_layers_are_those_of_the_specification(image, kernel_size, n_layers, grid):
    design = dcgan.Design(image, 8, dcgan.auto_layers(image, kernel_size), kernel_size)
    assert design.n_layers == n_layers
    g, d = dcgan.generator(5, design), dcgan.discriminator(design)
    assert [type(each) for each in g] == [Dense, BatchNorm] + [TransposedConvolution, BatchNorm] * (n_layers - 1) + [
        TransposedConvolution
    ]
    assert [type(each) for each in d] == [Convolution] + [Convolution, BatchNorm] * (n_layers - 1) + [Dense]
    assert {each.activation for each in g if isinstance(each, BatchNorm)} == {"relu"}
    assert {each.activation for each in d if isinstance(each, BatchNorm)} <= {"leaky_relu"}
    assert (g[-1].activation, g[-1].has_bias, d[0].activation, d[0].has_bias) == ("tanh", True, "leaky_relu", True)
    assert g[-1].window == d[0].window
    assert g[2].window.grid == grid
    networks = [Network.initial(each, 0, 0.02) for each in (g, d)]
    z = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    images = networks[0].evaluate(z)
    assert images.shape == (2, np.prod(image))
    assert networks[1].evaluate(images).shape == (2, 1)
    weights = np.concatenate([own["weights"].ravel() for network in networks for own in network.views if "weights" in own])
    assert abs(weights.std() / 0.02 - 1) < 4 / np.sqrt(2 * weights.size)
    assert abs(weights.mean()) < 4 * 0.02 / np.sqrt(weights.size)


def test_packed_images_are_channels():
    layer = Beside(2, 6, 3)
    network, x = Network.initial([layer], 0), np.random.default_rng(0).normal(size=(4, 36)).astype(np.float32)
    run = adversarial.Run(adversarial.Workspace(x))
    y, backward = network.forward(x, run)
    assert_array_equal(y.reshape(4, 6, 2, 3), np.stack([x[:, :18], x[:, 18:]], 1).reshape(4, 2, 6, 3).swapaxes(1, 2))
    assert_array_equal(backward(y.copy(), False, slice(1, 3)), x[1:3])
    assert dcgan.discriminator(dcgan.Design((8, 8, 3), 4, 1, pack=2))[1].window.n_channels == 6


# --------------------------------------------------------------------------------------------------------- PyTorch


def torch_network(torch, network):
    """The same layers in PyTorch, from the same weights: a function of rows, and the parameters by layer."""
    functional = torch.nn.functional
    parameters = [{name: torch.tensor(own[name].copy(), requires_grad=True) for name in layer.shapes if own[name].size}
                  for layer, own in zip(network.layers, network.views, strict=True)]  # fmt: skip
    applied = {
        "identity": lambda x, slope: x, "relu": lambda x, slope: functional.relu(x), "tanh": lambda x, slope: torch.tanh(x),
        "leaky_relu": functional.leaky_relu,
    }  # fmt: skip

    def maps_of(x, shape):
        return x.reshape(len(x), *shape).permute(0, 3, 1, 2)

    def rows_of(x):
        return x.permute(0, 2, 3, 1).reshape(len(x), -1)

    def forward(x):
        for layer, own in zip(network.layers, parameters, strict=True):
            if isinstance(layer, Dense):
                x = functional.linear(x, own["weights"].T, own.get("bias"))
            elif isinstance(layer, BatchNorm):
                units = x.reshape(-1, layer.n_units)
                x = functional.batch_norm(units, None, None, own["gain"], own["offset"], training=True, eps=layer.epsilon)
                x = x.reshape(len(units) // layer.n_pixels, -1)
            elif isinstance(layer, Convolution):
                how = {"stride": 2, "padding": layer.window.padding}
                x = functional.conv2d(
                    maps_of(x, layer.window.image), own["weights"].permute(3, 2, 0, 1), own.get("bias"), **how
                )
                x = rows_of(x)
            else:
                window, how = layer.window, {"stride": 2, "padding": layer.window.padding}
                taps = window.kernel[0] - 2 * window.padding
                left = [n - (2 * (m - 1) + taps) for n, m in zip(window.image, window.grid, strict=False)]
                maps, weights = maps_of(x, (*window.grid, layer.n_maps)), own["weights"].permute(3, 2, 0, 1)
                x = rows_of(functional.conv_transpose2d(maps, weights, own.get("bias"), output_padding=left, **how))
            x = applied[layer.activation](x, layer.slope)
        return x

    return forward, [each for own in parameters for each in own.values()], parameters


@pytest.mark.parametrize(
    ("image", "loss"),
    [((9, 14, 3), "non_saturating"), pytest.param((16, 16, 1), "minimax", marks=pytest.mark.slow),
     pytest.param((28, 28, 1), "non_saturating", marks=pytest.mark.slow)],
)  # fmt: skip
def test_five_steps_are_those_of_pytorch(image, loss):
    torch = pytest.importorskip("torch", reason="torch: not installed")
    design = dcgan.Design(image, 6, 2)
    layers = dcgan.generator(4, design), dcgan.discriminator(design)
    machine, before = (gan.GAN(*(Network.initial(each, k, 0.1) for k, each in enumerate(layers))) for _ in range(2))
    rule, figures, m, rate = Rule(loss=loss, optimizer=Adam(0.5, 0.999)), np.empty(6, np.float32), 6, 2e-3
    state, entropy = adversarial.init(machine, rule), torch.nn.functional.binary_cross_entropy_with_logits
    (generator, of_g, g), (discriminator, of_d, d) = (torch_network(torch, network) for network in machine)
    step_g, step_d = (torch.optim.Adam(each, lr=rate, betas=(0.5, 0.999)) for each in (of_g, of_d))

    def latents(update, block):
        return torch.tensor(naive.draw_latent(m, 4, normal=False, key=KEY, first_row=0, update=update, block=block))

    for update in range(5):
        rows = np.random.default_rng(update).uniform(-1, 1, (m, np.prod(image))).astype(np.float32)
        state, _ = adversarial.step(state, rows, rule=rule, key=KEY, learning_rates=(rate, rate), figures=figures)
        with torch.no_grad():
            samples = generator(latents(update, 0))
        logits = discriminator(torch.tensor(rows)), discriminator(samples)
        step_d.zero_grad()
        sum(entropy(x, torch.full_like(x, target)) for x, target in zip(logits, (1.0, 0.0), strict=True)).backward()
        step_d.step()
        fooled = discriminator(generator(latents(update, 1)))
        target, weight = adversarial.LOSSES[loss]
        step_g.zero_grad()
        (weight * entropy(fooled, torch.full_like(fooled, target))).backward()
        step_g.step()
    for network, theirs, old in zip(machine, (g, d), before, strict=True):
        for own, parameters, start in zip(network.views, theirs, old.views, strict=True):
            for name, value in parameters.items():  # Adam makes much of gradients that are all rounding: norms, not each number
                moved, apart = own[name] - start[name], own[name] - value.detach().numpy()
                assert np.linalg.norm(moved) > 1e-4
                assert np.linalg.norm(apart) < 2e-3 * np.linalg.norm(moved)
