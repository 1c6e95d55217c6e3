"""Arithmetic of latents against what it is by hand, and pictures of it."""

from __future__ import annotations

import numpy as np
import pytest

from fastbm import DCGAN, GAN, BernoulliRBM, latent, plotting

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(30, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    return DCGAN(4, base_channels=4, n_iter=3, batch_size=10, random_state=0).fit(IMAGES)


def test_arithmetic_is_that_of_means():
    a, b, c = (RNG.normal(size=(3, 5)) for _ in range(3))
    np.testing.assert_allclose(latent.arithmetic([a, c], [b]), a.mean(axis=0) + c.mean(axis=0) - b.mean(axis=0))
    np.testing.assert_allclose(latent.attribute_vector(a, b), a.mean(axis=0) - b.mean(axis=0))
    np.testing.assert_allclose(latent.arithmetic([a[0]], [b[0], c]), a[0] - b[0] - c.mean(axis=0))
    assert latent.arithmetic([a.astype(np.float32)]).dtype == np.float32


def test_ways_keep_to_the_prior():
    a, b = RNG.normal(size=(2, 50))
    straight, arc = (latent.interpolate(a, b, 7, prior=prior) for prior in ("uniform", "normal"))
    for way in (straight, arc):
        np.testing.assert_allclose(way[[0, -1]], [a, b], atol=1e-12)
        assert way.shape == (7, 50)
    np.testing.assert_allclose(straight[2], a * 2 / 3 + b / 3)
    b = b * np.linalg.norm(a) / np.linalg.norm(b)
    arc = latent.interpolate(a, b, 5, prior="normal")
    np.testing.assert_allclose(np.linalg.norm(arc, axis=1), np.linalg.norm(a))  # on the sphere
    steps = (arc[1:] * arc[:-1]).sum(axis=1)
    np.testing.assert_allclose(steps, steps[0])  # by equal angles
    for other in (2 * a, -a, 0 * a):
        way = latent.interpolate(a, other, 3, prior="normal")
        np.testing.assert_allclose(way[1], (a + other) / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: latent.arithmetic([]), "plus and minus are empty"),
        (lambda: latent.arithmetic([np.zeros(3)], [np.zeros(4)]), "latents of different sizes: 3, 4"),
        (lambda: latent.arithmetic([np.zeros((0, 3))]), r"plus\[0\] must have shape"),
        (lambda: latent.arithmetic([np.zeros(3)], [[np.nan] * 3]), r"minus\[0\] must hold finite numbers"),
        (lambda: latent.arithmetic(["x"]), r"plus\[0\] must be latents"),
        (lambda: latent.interpolate(np.zeros(3), np.zeros(4), 5), "z0 and z1 must have the same shape"),
        (lambda: latent.interpolate(np.zeros(3), np.ones(3), 1), "n must be an integer of at least 2"),
        (lambda: latent.interpolate(np.zeros(3), np.ones(3), 5, prior="cauchy"), "prior must be one of uniform, normal"),
    ],
)
def test_bad_latents(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("prior", ["uniform", "normal"])
def test_latents_of_samples_are_found(prior):
    """Samples are reached to within a tenth of what a latent of the prior is away, and the search repeats itself."""
    model = DCGAN(3, base_channels=4, n_iter=20, batch_size=10, prior=prior, initial=0.2, random_state=0).fit(IMAGES)
    images = model.sample(2, random_state=1)
    z = latent.find_latent(model, images, n_steps=300)
    assert z.shape == (2, 3)
    assert (np.abs(z).max() <= 1) if prior == "uniform" else (np.linalg.norm(z, axis=1) <= np.sqrt(3) + 1e-5).all()
    apart = ((model.sample(z=z) - images) ** 2).mean()
    assert apart < 0.1 * ((model.sample(2, random_state=2) - images) ** 2).mean()
    np.testing.assert_array_equal(latent.find_latent(model, images[:1], n_steps=300), z[:1])


def test_latents_of_rows_are_found_too():
    rows = RNG.random((50, 6)).astype(np.float32)
    sizes = {f"{name}_layer_sizes": (8,) for name in ("generator", "discriminator")}
    model = GAN(2, batch_norm=True, initial=0.5, n_iter=3, random_state=0, **sizes).fit(rows)
    targets = model.sample(2, random_state=3)
    z = latent.find_latent(model, targets, n_steps=200)
    assert np.abs(model.sample(z=z) - targets).max() < 0.05
    for options in ({"n_starts": 0}, {"n_steps": 1.5}, {"learning_rate": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            latent.find_latent(model, targets, **options)
    with pytest.raises(ValueError, match="X has 5 features"):
        latent.find_latent(model, targets[:, :5])
    with pytest.raises(TypeError, match="model must be a fitted GAN, DCGAN or BiGAN, got BernoulliRBM"):
        latent.find_latent(BernoulliRBM(2), targets)


@pytest.mark.gpu
def test_on_a_gpu(gpu, model):
    z = model.sample_latent(6, random_state=0)
    there = gpu.asarray(z)
    np.testing.assert_allclose(latent.arithmetic([there[:3]], [there[3]]).get(), latent.arithmetic([z[:3]], [z[3]]))
    way = latent.interpolate(there[0], there[1], 4, prior="normal")
    np.testing.assert_allclose(way.get(), latent.interpolate(z[0], z[1], 4, prior="normal"), rtol=1e-5)
    images = model.sample(z=z[:1])
    found = latent.find_latent(model, gpu.asarray(images), n_steps=3, n_starts=2)
    assert type(found) is gpu.ndarray
    np.testing.assert_allclose(found.get(), latent.find_latent(model, images, n_steps=3, n_starts=2), atol=1e-4)


# -------------------------------------------------------------------------------------------------------- pictures


def test_images_of_colour(model):
    images = model.sample(3, random_state=0)
    page = plotting.plot_images(images, n_columns=2).images[0].get_array()
    assert page.shape == (2 * 9 + 1, 2 * 9 + 1, 3)
    np.testing.assert_allclose(page[1:9, 10:18], images[1], atol=1e-6)
    np.testing.assert_allclose(page[0, 0], [0x8F / 255, 0xAA / 255, 0xDC / 255])
    np.testing.assert_allclose(page[10:18, 10:18], page[:8, :1].repeat(8, 1))  # where there is none
    of_bytes = plotting.plot_images(IMAGES[:1]).images[0].get_array()
    np.testing.assert_allclose(of_bytes[1:9, 1:9], IMAGES[0] / 255)
    grey = plotting.plot_images(IMAGES[:1, :, :, 0]).images[0].get_array()
    np.testing.assert_allclose(grey[1:9, 1:9], IMAGES[0, :, :, 0] / 255)
    with pytest.raises(ValueError, match="images must have shape"):
        plotting.plot_images(np.zeros((2, 3, 3, 2)))


def test_the_figure_of_arithmetic(model, tmp_path):
    z = model.sample_latent(9, random_state=0).reshape(3, 3, 4)
    figure = plotting.plot_arithmetic(model, [z[0], z[2]], [z[1]], titles=["smiling", "neutral", "another", "another, smiling"])
    assert [ax.get_title() for ax in figure.axes] == ["smiling", "- neutral", "+ another", "= another, smiling"]
    pages = [ax.images[0].get_array() for ax in figure.axes]
    assert [page.shape[0] for page in pages] == [4 * 9 + 1] * 4
    np.testing.assert_allclose(pages[1][1:9, 1:9], model.sample(z=z[1])[0], atol=1e-6)
    np.testing.assert_allclose(pages[1][28:36, 1:9], model.sample(z=z[1].mean(axis=0)[None])[0], atol=1e-6)
    result = model.sample(z=latent.arithmetic([z[0], z[2]], [z[1]])[None])
    np.testing.assert_allclose(pages[3][28:36, 1:9], result[0], atol=1e-6)
    figure.savefig(tmp_path / "figure.png")
    with pytest.raises(ValueError, match="titles must be 4"):
        plotting.plot_arithmetic(model, [z[0], z[2]], [z[1]], titles=["one"])


def test_strips(model):
    ends = model.sample_latent(4, random_state=0)
    strips = [model.sample(z=latent.interpolate(a, b, 5)) for a, b in (ends[:2], ends[2:])]
    page = plotting.plot_interpolations(strips, title="ways").images[0].get_array()
    assert page.shape == (2 * 9 + 1, 5 * 9 + 1, 3)
    np.testing.assert_allclose(page[10:18, 37:45], strips[1][4], atol=1e-6)
    with pytest.raises(ValueError, match="strips must be ways of one length"):
        plotting.plot_interpolations([strips[0], strips[1][:3]])
    losses = plotting.plot_history(model)
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["discriminator", "generator"]
