"""What a GAN learns in one dimension and in two: its samples approach the data, its discriminator one half; modes are found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "quality"))

import dcgan_faces
import gan_1d
import modes

from fastbm import DCGAN


def distances(seed):
    """Wasserstein distance of samples from new rows, and mean |D - 1/2| on both."""
    model = gan_1d.model_of("normal", random_state=seed).fit(gan_1d.rows_of("normal", 1))
    samples, fresh = model.sample(10_000, random_state=0), gan_1d.rows_of("normal", 2)
    d = model.discriminate(np.concatenate([samples, fresh]))
    return wasserstein_distance(samples[:, 0], fresh[:, 0]), np.abs(d - 0.5).mean()


def test_a_normal_distribution_is_learnt():
    distance, apart = distances(0)
    assert distance < 0.1
    assert apart < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_it_is_learnt_from_other_seeds(seed):
    distance, apart = distances(seed)
    assert distance < 0.1
    assert apart < 0.06


def test_modes_are_counted_by_the_protocol():
    rows = modes.rows_of("grid", 2500, 0)
    n_found, good = modes.found("grid", rows)
    assert n_found == 25
    assert abs(good - (1 - np.exp(-4.5))) < 4 * np.sqrt(np.exp(-4.5) / 2500)  # of a normal distribution, within 3 deviations
    assert modes.found("ring", np.array([[1.0, 0.0], [1.0, 0.029], [0.0, 1.0], [0.0, 0.9]])) == (2, 0.75)


@pytest.mark.slow
def test_modes_of_a_ring_are_found():
    how = {"units": 128, "layers": 2, "activation": "leaky_relu", "initial": "he", "passes": 10, "rate": 1e-3}
    options = type("Options", (), how | {"rows": modes.N_ROWS})
    assert modes.one("ring", 1, 0, options) >= 7


@pytest.mark.slow
def test_attributes_are_transferred_between_faces(data_folder, monkeypatch):
    """Drawn faces of 16×16: results have the attribute, what they began with has not, and the person stays."""
    monkeypatch.setenv("FASTBM_DATA", str(data_folder))
    data = dcgan_faces.faces("pixelart16")
    model = DCGAN(100, base_channels=32, n_iter=10, prior="normal", random_state=0).fit(data["x_train"])
    for judge in dcgan_faces.classifiers(data).values():
        found = dcgan_faces.sums(model, judge)
        assert found["with_before"] <= 0.2
        assert found["with_after"] >= 0.75  # of 200, four fifths less one and a half standard errors
        assert found["same_person"] >= 0.75
