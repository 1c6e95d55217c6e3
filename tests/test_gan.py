"""GAN and BiGAN as estimators: sampling, streams, resuming, files, errors, batch normalisation, devices."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastbm import GAN, BiGAN

X = np.random.default_rng(0).random((60, 6)).astype(np.float32)
NORMED = {"batch_norm": True, "discriminator_batch_norm": True}
SIZES = {f"{name}_layer_sizes": (8, 7) for name in ("generator", "discriminator")}
MAKERS = {
    "GAN": partial(GAN, 3, batch_size=20, n_iter=3, random_state=0, **SIZES),
    "BiGAN": partial(BiGAN, 3, batch_size=20, n_iter=3, random_state=0, encoder_layer_sizes=(8,), **SIZES),
}
NETWORKS = {"GAN": ("generator_", "discriminator_"), "BiGAN": ("generator_", "encoder_", "discriminator_")}
both_kinds = pytest.mark.parametrize("kind", MAKERS)


def parameters(model):
    return [getattr(model, name).parameters for name in NETWORKS[type(model).__name__]]


def assert_same(model, other):
    for a, b in zip(parameters(model), parameters(other), strict=True):
        assert_array_equal(a, b)
    assert_array_equal(model.sample(3, random_state=1), other.sample(3, random_state=1))


def log_of(model):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in model.history_]


# -------------------------------------------------------------------------------------------------------- sampling


@both_kinds
@pytest.mark.parametrize("options", [{}, {**NORMED, "prior": "normal"}])
def test_a_sample_depends_on_its_latent_alone(kind, options):
    model = MAKERS[kind](**options).fit(X)
    z = model.sample_latent(300, random_state=5)
    assert z.shape == (300, 3)
    assert z.dtype == np.float32
    assert options or np.abs(z).max() < 1
    samples = model.sample(z=z)
    assert samples.shape == (300, 6)
    assert ((samples >= 0) & (samples <= 1)).all()
    assert_array_equal(model.sample(300, random_state=5), samples)
    assert_array_equal(model.sample(7, random_state=5), samples[:7])
    assert_array_equal(model.sample(z=z[290:]), samples[290:])
    assert (model.sample(7, random_state=6) != samples[:7]).any()
    assert (model.sample(7) != model.sample(7)).any()


@both_kinds
def test_a_seed_repeats_the_fit(kind):
    model = MAKERS[kind](dropout=0.2)
    first = pickle.loads(pickle.dumps(model.fit(X)))
    assert_same(model.fit(X), first)
    assert (parameters(model.set_params(random_state=1).fit(X))[0] != parameters(first)[0]).any()


@pytest.mark.parametrize("output", ["tanh", "identity"])
def test_outputs(output):
    model = MAKERS["GAN"](output=output).fit(X * 2 - 1)
    samples = model.sample(50, random_state=0)
    assert samples.min() < 0
    assert output == "identity" or np.abs(samples).max() <= 1


def test_probabilities_of_the_discriminator():
    model = MAKERS["GAN"](pack=2).fit(X)
    d = model.discriminate(X)
    assert d.shape == (30,)
    assert ((d > 0) & (d < 1)).all()
    assert_array_equal(model.discriminate(X[2:4]), d[1:2])
    with pytest.raises(ValueError, match="X has 3 rows, which is no multiple of pack=2"):
        model.discriminate(X[:3])


def test_a_bigan_encodes_and_decodes():
    model = MAKERS["BiGAN"]().fit(X)
    Z = model.transform(X)
    assert Z.shape == (60, 3)
    assert np.abs(Z).max() <= 1
    assert_array_equal(model.reconstruct(X), model.inverse_transform(Z))
    assert_array_equal(model.discriminate(X), model.discriminate(X, Z))
    assert (model.discriminate(X, -Z) != model.discriminate(X)).any()
    assert list(model.get_feature_names_out()) == ["bigan0", "bigan1", "bigan2"]
    assert (model.transform(X) != MAKERS["BiGAN"](n_iter=0).fit(X).transform(X)).any()  # the encoder has learnt


@both_kinds
def test_a_number_of_samples_that_is_not_that_of_the_latents(kind):
    model = MAKERS[kind](n_iter=1).fit(X)
    z = model.sample_latent(2, random_state=0)
    assert_array_equal(model.sample(2, z=z), model.sample(z=z))
    with pytest.raises(ValueError, match="n_samples=5 does not match z of 2 rows; leave n_samples out"):
        model.sample(5, z=z)


# -------------------------------------------------------------------------------------------------------- training


def test_latents_of_a_normalised_encoder_are_spread_as_the_prior_is():
    for prior, spread in (("normal", lambda z: z), ("uniform", np.arctanh)):
        model = MAKERS["BiGAN"](batch_norm=True, prior=prior, output="identity", n_iter=9, learning_rate=0.01).fit(100 * X)
        z = spread(model.transform(100 * X).astype(np.float64))
        assert_allclose(z.mean(axis=0), 0.0, atol=1e-4)
        assert_allclose(z.var(axis=0), 1.0, atol=1e-3)


@both_kinds
def test_files_and_warm_starts_go_on_bit_for_bit(kind, tmp_path):
    options = {**NORMED, "shuffle": True}
    whole = MAKERS[kind](n_iter=4, **options).fit(X)
    half = MAKERS[kind](n_iter=2, warm_start=True, **options).fit(X)
    half.save(tmp_path / "half")
    loaded = type(half).load(tmp_path / "half")
    assert_same(loaded, half)
    assert loaded.history_ == half.history_
    for model in (half, loaded, pickle.loads(pickle.dumps(loaded))):
        assert_same(model.fit(X), whole)
        assert model.n_iter_ == 4
        assert log_of(model) == log_of(whole)


@both_kinds
def test_partial_fit_makes_the_steps_of_fit(kind):
    model = MAKERS[kind](n_iter=2, shuffle=False).fit(X)
    by_hand = MAKERS[kind](n_iter=2, shuffle=False)
    for _ in range(2):
        for begin in range(0, 60, 20):
            by_hand.partial_fit(X[begin : begin + 20])
    assert_same(by_hand, model)
    stream = MAKERS[kind]().partial_fit([X[:20], X[20:40], X[40:]] * 2)
    assert_same(stream, model)


def test_history_and_callbacks():
    seen = []

    def callback(model, record):
        seen.append((model.sample(1, random_state=0).shape, record["iteration"]))
        return record["iteration"] == 2

    model = MAKERS["GAN"](n_discriminator_steps=2, callbacks=callback).fit(X)
    assert seen == [((1, 6), 1), ((1, 6), 2)]
    assert model.n_iter_ == 2
    record = model.history_[0]
    assert set(record) == {
        "iteration", "learning_rate", "discriminator_loss", "data_probability", "sample_probability", "generator_loss",
        "fooled_probability", "seconds",
    }  # fmt: skip
    assert 0 < record["data_probability"] < 1
    assert record["generator_loss"] == pytest.approx(-np.log(record["fooled_probability"]), rel=0.1)  # about, at the start


def test_verbose_prints_a_line_for_each_pass(capsys):
    MAKERS["BiGAN"](n_iter=2, verbose=1).fit(X)
    assert capsys.readouterr().out.count("[BiGAN] Iteration") == 2


@both_kinds
def test_divergence_names_the_step_and_keeps_the_last_good_networks(kind):
    model = MAKERS[kind](n_iter=9, optimizer="sgd", learning_rate=1e4, initial=10.0, output="identity")
    calm = MAKERS[kind](n_iter=2, output="identity", warm_start=True).fit(X)

    def explode(model, record):
        if record["iteration"] == 4:
            model.discriminator_.parameters[0] = np.nan  # what is shown is what is trained

    with pytest.raises(
        ValueError, match="loss of step 13 is not finite; try a lower learning_rate.*those after pass 4"
    ) as error:
        MAKERS[kind](n_iter=9, output="identity", callbacks=explode).fit(X)
    assert "minibatch" not in str(error.value)
    calm.set_params(callbacks=explode, n_iter=9)
    with pytest.raises(ValueError, match="not finite"):
        calm.fit(X)
    assert calm.n_iter_ == 4
    assert len(calm.history_) == 4
    assert np.isfinite(calm.sample(3, random_state=0)).all()
    assert_same(calm, MAKERS[kind](n_iter=4, output="identity").fit(X))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="training diverged: a loss of step"):
        model.fit(X)


def test_a_failed_first_pass_leaves_the_last_fit():
    model = MAKERS["GAN"]().fit(X)
    before = pickle.dumps(model)
    for bad in ({"optimizer": "sgd", "learning_rate": 1e30}, {"pack": 21}, {"batch_size": 1, "pack": 2}):
        other = pickle.loads(before).set_params(**bad)
        same = pickle.dumps(other)
        with np.errstate(all="ignore"), pytest.raises(ValueError, match="diverged|pack"):
            other.fit(np.tile(X, (3, 1)) if "optimizer" in bad else X)
        assert pickle.dumps(other) == same


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator_layer_sizes": (0,)}, "generator_layer_sizes must be integers of at least 1"),
        ({"discriminator_layer_sizes": (2.5,)}, "discriminator_layer_sizes must be integers of at least 1"),
        ({"generator_layer_sizes": [[3], [3, 4]]}, "generator_layer_sizes must be integers of at least 1"),
        ({"callbacks": [3]}, r"callbacks\[0\] must be callable"),
        ({"learning_rate_schedule": lambda t: -1.0}, "learning_rate_schedule"),
        ({"loss": "wasserstein"}, "The 'loss' parameter of GAN must be"),
        ({"dropout": 1.0}, "The 'dropout' parameter of GAN must be"),
        ({"pack": 0}, "The 'pack' parameter of GAN must be"),
    ],
)
def test_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        MAKERS["GAN"](**options).fit(X)


def test_data_and_latents():
    model = MAKERS["GAN"](warm_start=True).fit(X)
    for z, message in (
        (np.zeros((2, 4)), r"z must have shape \(n_samples, 3\), got shape \(2, 4\)$"),
        (np.zeros(3), r"got shape \(3,\); one latent is z\[None\]"),
        (np.full((2, 3), np.inf), "finite"),
        (np.full((2, 3), 1e39), "finite"),
        ("x", "z must be numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            model.sample(z=z)
    with pytest.raises(ValueError, match="n_samples must be an integer of at least 1"):
        model.sample(0)
    for n_samples in (0, "5"):
        with pytest.raises(ValueError, match="n_samples must be an integer of at least 1"):
            model.sample(n_samples, z=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="the layers that the parameters ask for are not those already fitted"):
        model.set_params(latent_dim=4).fit(X)
    with pytest.raises(ValueError, match="discriminator_layer_sizes must have at least one size"):
        MAKERS["BiGAN"](discriminator_layer_sizes=()).fit(X)
    with pytest.warns(
        UserWarning, match="X has values between -.* a generator with output='sigmoid' draws values between 0 and 1"
    ):
        MAKERS["GAN"](n_iter=1).fit(X - 0.5)
    spoilt = X.copy()
    spoilt[3, 2] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        MAKERS["GAN"](n_iter=1).fit(spoilt)
    with pytest.raises(ValueError, match="X has values between .* of which float32 cannot hold some"):
        MAKERS["GAN"](n_iter=1, output="identity").fit(X.astype(np.float64) * 1e300)


def test_files_that_are_not_whole(tmp_path):
    model = MAKERS["GAN"](n_iter=1).fit(X)
    model.save(tmp_path / "gan")
    with pytest.raises(ValueError, match="is of class GAN, not BiGAN"):
        BiGAN.load(tmp_path / "gan")
    from fastbm.estimators import _persistence

    arrays, header = _persistence.read(tmp_path / "gan", "GAN")
    header = {name: value for name, value in header.items() if name not in ("format", "class")}
    for name, array in (("generator_.parameters", np.zeros(3, np.float32)), ("discriminator_.first", None)):
        spoilt = arrays | {name: np.full_like(arrays[name], np.nan) if array is None else array}
        _persistence.write(tmp_path / "bad", "GAN", spoilt, header)
        with pytest.raises(ValueError, match="was tampered with"):
            GAN.load(tmp_path / "bad")
    with pytest.raises(ValueError, match="learning_rate_schedule is a function"):
        model.set_params(learning_rate_schedule=lambda t: 1.0).save(tmp_path / "gan")


# ----------------------------------------------------------------------------------------------------------- devices


@both_kinds
@pytest.mark.gpu
def test_a_gpu_trains_as_the_cpu_does(kind, gpu):
    """Latents are the same bit for bit; float32 sums differ in their order."""
    options = {**NORMED, "dropout": 0.2} if kind == "BiGAN" else {"discriminator_activation": "maxout"}
    model, other = MAKERS[kind](**options).fit(X), MAKERS[kind](device="cuda", **options).fit(X)
    assert other.device_ == "cuda:0"
    assert_array_equal(other.sample_latent(5, random_state=0), model.sample_latent(5, random_state=0))
    for a, b in zip(parameters(model), parameters(other), strict=True):
        assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert_allclose(other.sample(5, random_state=0), model.sample(5, random_state=0), atol=1e-3)
    assert_allclose(other.discriminate(X[:4]), model.discriminate(X[:4]), atol=1e-3)
    there = other.to("cuda").sample(2, random_state=0)
    assert type(there) is gpu.ndarray
    assert_array_equal(there.get(), other.to("cpu").sample(2, random_state=0))
    on_device = MAKERS[kind](**options).fit(gpu.asarray(X))
    assert type(on_device.generator_.parameters) is gpu.ndarray
    assert_allclose(on_device.sample(2, random_state=0).get(), there.get(), atol=1e-5)


@pytest.mark.gpu
def test_a_pass_on_a_gpu_brings_nothing_to_the_host_but_its_figures(crossings):
    from sys import modules

    rows = modules["cupy"].asarray(X)
    model = MAKERS["GAN"](n_iter=3).fit(rows)
    crossings.clear()
    model.set_params(warm_start=True, n_iter=5).fit(rows)
    few = dict(crossings)
    crossings.clear()
    model.set_params(n_iter=5, batch_size=5).fit(rows)
    assert crossings.get("to_host", 0) == few.get("to_host", 0)
    assert crossings.get("scalars", 0) == few.get("scalars", 0)
