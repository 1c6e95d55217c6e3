"""Pictures: what is drawn is where it should be."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fastbm import GAN, BernoulliRBM, DeepBoltzmannMachine, plotting


@pytest.fixture(scope="module")
def machine(digits):
    return BernoulliRBM(12, n_iter=1, random_state=0).fit(digits[0][:100])


def drawn(ax):
    return ax.images[0].get_array()


def test_images_stand_in_rows():
    images = np.arange(3 * 6).reshape(3, 6) / 18
    page = drawn(plotting.plot_images(images, image_shape=(2, 3), n_columns=2, title="three"))
    assert page.shape == (2 * 3 + 1, 2 * 4 + 1)
    np.testing.assert_allclose(page[1:3, 1:4], images[0].reshape(2, 3))
    np.testing.assert_allclose(page[1:3, 5:8], images[1].reshape(2, 3))
    np.testing.assert_allclose(page[4:6, 1:4], images[2].reshape(2, 3))
    assert np.ma.getmaskarray(page)[4:6, 5:8].all()
    assert np.ma.getmaskarray(page)[0].all()


def test_weights_are_symmetric_in_colour(machine):
    ax = plotting.plot_weights(machine, n_units=9)
    low, high = ax.images[0].get_clim()
    assert low == -high < 0
    assert drawn(ax).shape == (3 * 9 + 1, 3 * 9 + 1)
    assert ax.get_title() == "weights of 9 of 12 hidden units"


def test_reconstructions_stand_below_their_images(machine, digits):
    X = digits[1][:7]
    page = drawn(plotting.plot_reconstructions(machine, X, n_columns=5))
    assert page.shape == (4 * 9 + 1, 5 * 9 + 1)
    np.testing.assert_allclose(page[1:9, 10:18], X[1].reshape(8, 8))
    np.testing.assert_allclose(page[10:18, 10:18], machine.reconstruct(X)[1].reshape(8, 8))
    np.testing.assert_allclose(page[19:27, 1:9], X[5].reshape(8, 8))
    assert np.ma.getmaskarray(page)[19:27, 28:36].all()


def test_all_on_one_page(machine, digits, tmp_path):
    figure = plotting.plot_machine(machine, digits[1][:20], machine.sample(16, n_steps=10))
    figure.savefig(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes()[:4] == b"\x89PNG"
    assert len(figure.axes) == 3
    assert [ax.get_title() for ax in figure.axes][::2] == ["weights of all 12 hidden units", "samples"]


def test_figures_are_those_of_pyplot(machine, digits):
    from matplotlib import pyplot

    pyplot.close("all")
    ax = plotting.plot_samples(digits[0][:4])
    assert pyplot.gca() is ax
    pyplot.close("all")


def test_axes_of_the_users_own(machine, digits):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert plotting.plot_samples(digits[0][:4], ax=ax) is ax


@pytest.mark.parametrize("images", [np.zeros(64), np.zeros((0, 64)), np.zeros((2, 63))])
def test_what_is_no_image(images):
    with pytest.raises(ValueError, match="images must have shape|image_shape"):
        plotting.plot_images(images)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        plotting.plot_images(np.zeros((1, 64)))


def test_history_has_a_curve_for_each_score(digits):
    machine = BernoulliRBM(5, n_iter=3, early_stopping=True, callbacks=lambda machine, record: None).fit(digits[0])
    ax = plotting.plot_history(machine)
    for line, name in zip(ax.lines, ("pseudo_likelihood", "validation_score"), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), [record[name] for record in machine.history_])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training rows", "held-out rows"]
    assert len(plotting.plot_history(machine.set_params(callbacks=None).fit(digits[0])).lines) == 1


def test_history_without_scores(machine):
    with pytest.raises(ValueError, match="history_ has no scores; fit with verbose=1, callbacks"):
        plotting.plot_history(machine)


def test_history_of_a_deep_boltzmann_machine(digits):
    machine = DeepBoltzmannMachine((4, 3), n_iter=2, callbacks=lambda machine, record: None, random_state=0).fit(digits[0])
    (line,) = plotting.plot_history(machine).lines
    np.testing.assert_array_equal(line.get_ydata(), [record["reconstruction_error"] for record in machine.history_])


def test_networks_have_no_weights_to_draw():
    with pytest.raises(TypeError, match="plot_weights draws components_ or coefs_, and GAN has neither"):
        plotting.plot_weights(GAN(2))


NOT_ADVERSARIAL = "model must be a fitted GAN, DCGAN or BiGAN, got BernoulliRBM"


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda machine, X: plotting.plot_images("x"), ValueError, "images must be numbers, rows or images, got 'x'"),
        (lambda machine, X: plotting.plot_images(X[:, :7]), ValueError, "images have 7 pixels, which make no square; give"),
        (lambda machine, X: plotting.plot_images(X, image_shape=8), ValueError, r"image_shape must be \(.*\), got 8"),
        (lambda machine, X: plotting.plot_images(X, image_shape="x"), ValueError, "image_shape must be .*, got 'x'"),
        (lambda machine, X: plotting.plot_images(X, n_columns=0), ValueError, "n_columns must be .* at least 1, got 0"),
        (lambda machine, X: plotting.plot_weights(machine, n_units=0), ValueError, "n_units must be .* at least 1, got 0"),
        (lambda machine, X: plotting.plot_history("x"), TypeError, "plot_history draws history_, which str has not"),
        (lambda machine, X: plotting.plot_reconstructions(GAN(2), X), TypeError, "needs a machine with reconstruct, got GAN"),
        (lambda machine, X: plotting.plot_reconstructions(machine, X[:0]), ValueError, "0 sample"),
        (lambda machine, X: plotting.plot_densities(machine, X), TypeError, NOT_ADVERSARIAL),
        (lambda machine, X: plotting.plot_arithmetic(machine, [X[:1]], []), TypeError, NOT_ADVERSARIAL),
    ],
)
def test_what_cannot_be_drawn_is_said(machine, digits, call, kind, message):
    with pytest.raises(kind, match=message):
        call(machine, digits[0][:4])


def test_densities_and_what_the_discriminator_makes_of_them():
    X = np.random.default_rng(0).normal(3.0, 0.5, (200, 1)).astype(np.float32)
    sizes = {"generator_layer_sizes": (4,), "discriminator_layer_sizes": (4,)}
    model = GAN(1, output="identity", n_iter=2, random_state=0, **sizes).fit(X)
    ax = plotting.plot_densities(model, X, limits=(0, 6), n_samples=500)
    data, samples, d = ax.lines[:3]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["data", "samples", "D(x)"]
    assert data.get_ydata().sum() * 6 / 80 == pytest.approx(1.0)
    expected = np.histogram(model.sample(500, random_state=0), np.linspace(0, 6, 81))[0] / (500 * 6 / 80)
    np.testing.assert_allclose(samples.get_ydata(), expected)
    np.testing.assert_allclose(d.get_ydata(), model.discriminate(d.get_xdata()[:, None].astype(np.float32)), rtol=1e-5)
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 1\)"):
        plotting.plot_densities(model, np.zeros((3, 2)))
    losses = plotting.plot_history(model)
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["discriminator", "generator"]
    assert losses.get_ylabel() == "loss, nats"
