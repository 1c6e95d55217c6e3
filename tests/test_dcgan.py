"""DCGAN: layers, shapes, PyTorch's steps, images in and out, files, resuming, errors, devices; what GAN has is tested there."""

from __future__ import annotations

import inspect
import tracemalloc
from functools import partial

import naive
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator
from test_docstrings import documented_names

from fastbm import DCGAN, chain
from fastbm.estimators import _validation
from fastbm.kernels.threads_cpu import limited_to
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


# -------------------------------------------------------------------------------------------------------- estimator


@pytest.mark.parametrize("shape", [(28, 28), (27, 33), (32, 32, 3), (9, 8, 1)])
def test_images_come_out_as_they_went_in(shape):
    images = np.random.default_rng(0).random((20, *shape))
    model = maker(n_iter=1).fit(images)
    samples = model.sample(4, random_state=0)
    assert samples.shape == (4, *shape)
    assert samples.dtype == np.float32
    assert ((samples >= 0) & (samples <= 1)).all()
    assert model.image_shape_ == shape
    assert model.discriminate(images).shape == (20,)


def test_bytes_are_levels():
    model = maker().fit(X)
    other = maker().fit(X / np.float32(255))
    assert_same(model, other)
    assert_array_equal(model.discriminate(X), other.discriminate(X / np.float32(255)))
    assert model.score(X) == pytest.approx(model.score(X / 255.0), rel=1e-5)
    with pytest.warns(UserWarning, match="images are expected as uint8, or with values between 0 and 1"):
        maker(n_iter=1).fit(X / 127.5 - 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_step_allocates_less_than_a_minibatch(dtype):
    """Only its rows, out of the data as they are, and room that depends on tiles, not on how many images there are."""
    images, peaks, begun = np.zeros((5 * 512, 28, 28), dtype), [], []

    def schedule(fraction):
        now, peak = tracemalloc.get_traced_memory()
        peaks.append(peak - begun[-1] if begun else 0)
        begun.append(now)
        tracemalloc.reset_peak()
        return 1.0

    model = DCGAN(3, base_channels=8, batch_size=512, n_iter=1, random_state=0, learning_rate_schedule=schedule)
    with limited_to(1):
        tracemalloc.start(1)
        model.fit(images)
        tracemalloc.stop()
    gathered, numbers = images[:512].nbytes, 4 * images[:512].size
    assert len(peaks) == 5
    assert max(peaks[2:]) < gathered + numbers / 2  # the first steps make arrays that are kept


def test_a_sample_depends_on_its_latent_alone():
    model = maker(prior="normal").fit(X)
    z = model.sample_latent(70, random_state=5)
    samples = model.sample(z=z)
    assert_array_equal(model.sample(70, random_state=5), samples)
    assert_array_equal(model.sample(z=z[67:]), samples[67:])
    with pytest.raises(ValueError, match="n_samples=5 does not match z of 2 rows"):
        model.sample(5, z=z[:2])
    assert_array_equal(model.sample(1, random_state=5), samples[:1])
    assert (model.sample(2, random_state=6) != samples[:2]).any()


def test_moments_of_samples_are_those_of_the_population():
    """A minibatch of very many latents is nearly the population: samples are what training would have drawn."""
    model = maker(n_iter=4).fit(X)
    z = model.sample_latent(2000, random_state=1)
    run = adversarial.Run(adversarial.Workspace(z))
    shown, _ = model.generator_.forward(z, run)
    np.testing.assert_allclose(model.sample(z=z).reshape(2000, -1), (shown + 1) / 2, atol=0.01)


def test_noise_on_what_the_discriminator_sees(device_name):
    """Fits repeat, and those on other devices agree within rounding; without noise the networks are others."""
    model = maker(instance_noise=0.3, device=device_name).fit(X)
    again, without = maker(instance_noise=0.3).fit(X), maker().fit(X)
    of_models = [each.discriminator_.parameters for each in (model, again, without)]
    np.testing.assert_allclose(of_models[0], of_models[1], atol=1e-3)
    assert np.abs(of_models[1] - of_models[2]).max() > 1e-3
    assert_array_equal(again.sample(3, random_state=0), maker(instance_noise=0.3).fit(X).sample(3, random_state=0))


def test_packed_steps_of_the_discriminator_and_the_other_loss():
    model = maker(pack=2, n_discriminator_steps=2, loss="minimax", optimizer="sgd", label_smoothing=0.1).fit(X)
    assert model.discriminate(X).shape == (20,)
    assert_array_equal(model.discriminate(X[2:4]), model.discriminate(X)[1:2])
    with pytest.raises(ValueError, match="X has 3 images, which is no multiple of pack=2"):
        model.discriminate(X[:3])


def test_files_warm_starts_and_batches_go_on_bit_for_bit(tmp_path):
    whole = maker(n_iter=4).fit(X)
    half = maker(n_iter=2, warm_start=True).fit(X)
    half.save(tmp_path / "half")
    loaded = DCGAN.load(tmp_path / "half")
    assert loaded.image_shape_ == (9, 8, 3)
    assert_same(loaded, half)
    for model in (half, loaded):
        assert_same(model.fit(X), whole)
    maker_of_two = partial(maker, n_iter=1, shuffle=False, batch_size=20)
    straight, batches = maker_of_two().fit(X), [X[:20], X[20:]]
    for given in (batches, iter(batches)):
        assert_same(maker_of_two().fit(given), straight)
    stepwise = maker()
    for batch in batches:
        stepwise.partial_fit(batch)
    assert_same(stepwise, straight)


def test_files_of_other_shapes(tmp_path):
    from fastbm.estimators import _persistence

    maker(n_iter=0).fit(X).save(tmp_path / "good")
    arrays, header = _persistence.read(tmp_path / "good", "DCGAN")
    header = {name: value for name, value in header.items() if name not in ("format", "class")}
    for shape in ([9, 8], [216.0, 1], "x", [9, 8, 3, 1]):
        _persistence.write(tmp_path / "bad", "DCGAN", arrays, header | {"image_shape_": shape})
        with pytest.raises(ValueError, match="was tampered with"):
            DCGAN.load(tmp_path / "bad")


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (X.reshape(40, -1), {}, r"X must be images of shape \(n, height, width\) or"),
        (X[:0], {}, "X must be images of shape"),
        ("x", {}, "X must be images of shape"),
        ([X, X[:, :8]], {}, r"batch 1 of X has images of shape \(8, 8, 3\), those before it \(9, 8, 3\)"),
        ([], {}, "X must be images"),
        (iter([]), {}, "X is an iterable of batches, but it gave none"),
        (X, {"n_layers": 4}, "images of 9×8 cannot be halved 4 times with kernel_size=4"),
        (X[:, :1], {}, "images of 1×8 cannot be halved 1 times"),
        (X, {"kernel_size": 1}, "The 'kernel_size' parameter of DCGAN must be"),
        (X, {"n_layers": "many"}, "The 'n_layers' parameter of DCGAN must be"),
        (X, {"initial": "glorot"}, "The 'initial' parameter of DCGAN must be"),
        (X, {"pack": 41}, "fewer than pack=41"),
        (np.where(np.arange(40 * 72).reshape(40, 9, 8) == 1000, np.nan, 0.5), {}, "contains NaN"),
    ],
)
def test_bad_input(images, options, message):
    model = maker(n_iter=1)
    with pytest.raises(ValueError, match=message):
        model.set_params(**options).fit(images)
    assert not [name for name in vars(model) if name.endswith("_")]


def test_other_images_than_those_fitted():
    model = maker(n_iter=1, warm_start=True).fit(X)
    with pytest.raises(ValueError, match=r"X has images of shape \(9, 8\), expected \(9, 8, 3\)"):
        model.discriminate(X[..., 0])
    with pytest.raises(ValueError, match=r"but those that were fitted before have \(9, 8, 3\)"):
        model.fit(X[..., 0])
    with pytest.raises(ValueError, match="the layers that the parameters ask for are not those already fitted"):
        model.set_params(base_channels=5).fit(X)


def test_divergence_names_the_step():
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="training diverged: a loss of step"):
        maker(n_iter=20, optimizer="sgd", learning_rate=1e30).fit(X)


@pytest.mark.gpu
def test_a_gpu_trains_as_the_cpu_does(gpu):
    """Latents are the same bit for bit; float32 sums differ in their order."""
    model, other = maker(pack=2).fit(X), maker(pack=2, device="cuda").fit(X)
    assert other.device_ == "cuda:0"
    for name in ("generator_", "discriminator_"):
        a, b = (getattr(each, name).parameters for each in (model, other))
        np.testing.assert_allclose(a, b, atol=2e-4)
    np.testing.assert_allclose(other.sample(5, random_state=0), model.sample(5, random_state=0), atol=2e-3)
    there = other.to("cuda").sample(2, random_state=0)
    assert type(there) is gpu.ndarray
    assert there.shape == (2, 9, 8, 3)
    assert type(other.discriminate(gpu.asarray(X))) is gpu.ndarray
    on_device = maker(pack=2).fit(gpu.asarray(X))
    assert type(on_device.generator_.parameters) is gpu.ndarray
    np.testing.assert_allclose(on_device.sample(2, random_state=0).get(), there.get(), atol=1e-4)


# ------------------------------------------------------------------------------------- scikit-learn's checks, of lines


class Lines(DCGAN):
    """Rows of a matrix as images of one line: so scikit-learn's checks, which know only matrices, can be made."""

    def fit(self, X, y=None):
        return super().fit(self._lines(X, True))

    def partial_fit(self, X, y=None):
        return super().partial_fit(self._lines(X, not hasattr(self, "generator_")))

    def discriminate(self, X):
        return super().discriminate(self._lines(X, False))

    def score_samples(self, X, **more):
        return super().score_samples(self._lines(X, False), **more)

    def _lines(self, X, reset):
        X = _validation.check_rows(self, X, reset=reset)
        return X.reshape(len(X), 1, -1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = True, False
        return tags


def checks():
    estimator = Lines(3, base_channels=4, kernel_size=3, n_iter=2)
    for made, check in estimator_checks_generator(estimator, legacy=True):
        yield pytest.param(made, check, id=getattr(check, "func", check).__name__)


@pytest.mark.filterwarnings("ignore")  # scikit-learn's checks feed values outside [0, 1]
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learn_check(estimator, check):
    check(clone(estimator))


def test_there_are_many_checks():
    assert len(list(checks())) > 35


def test_attributes_are_documented():
    model = maker(n_iter=1).fit(X)
    fitted = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    assert sorted(documented_names(inspect.getdoc(DCGAN), "Attributes")) == sorted(fitted)
