"""The two-dimensional Ising model on a periodic 64 × 64 lattice, against Onsager's energy and Yang's magnetisation."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

QUALITY = Path(__file__).parents[1] / "benchmarks" / "quality"
SLOW = pytest.mark.slow
BELOW = [1.8, 2.1, *(pytest.param(temperature, marks=SLOW) for temperature in (1.6, 2.0, 2.2))]


@pytest.fixture(scope="module")
def ising():
    """The script that measures."""
    sys.path.insert(0, str(QUALITY))
    import ising

    sys.path.remove(str(QUALITY))
    return ising


@pytest.fixture(scope="module")
def machine(ising):
    return ising.machine_of(64)


def test_the_exact_values_are_those_of_the_literature(ising):
    """The critical energy is -√2, those of low and of high temperatures are -2 and -2 tanh(1 / T), but for higher orders."""
    np.testing.assert_allclose(ising.energy(ising.CRITICAL * (1 + 1e-9)), -np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(ising.energy(0.3), -2 + 8 * np.exp(-8 / 0.3), rtol=1e-9)
    np.testing.assert_allclose(ising.energy(100.0), -2 * np.tanh(0.01), rtol=1e-3)
    np.testing.assert_allclose(ising.magnetisation(1.0), 0.99928, atol=1e-5)
    assert ising.magnetisation(2.3) == 0


@pytest.mark.parametrize("temperature", BELOW)
def test_energy_and_magnetisation_below_the_critical_temperature(ising, machine, temperature):
    size = {"n_chains": 32, "n_sweeps": 1200} if temperature < 2.2 else {"n_chains": 128, "n_sweeps": 4000}
    found, errors = ising.measure(machine, 64, temperature, **size)
    exact = np.array([ising.energy(temperature), ising.magnetisation(temperature)])
    print(f"T = {temperature}: found {found.round(5)}, ± {errors.round(5)}, exact {exact.round(5)}")
    assert (errors < 0.0025 * abs(exact)).all()  # so that 1 % is four of them
    np.testing.assert_allclose(found, exact, rtol=0.01)


@pytest.mark.parametrize("temperature", [2.6, pytest.param(3.2, marks=SLOW)])
def test_energy_above_the_critical_temperature(ising, machine, temperature):
    found, errors = ising.measure(machine, 64, temperature, n_chains=32, n_sweeps=600)
    assert errors[0] < 0.0025 * abs(found[0])
    np.testing.assert_allclose(found[0], ising.energy(temperature), rtol=0.01)


def test_a_lattice_has_two_blocks_and_four_neighbours(ising):
    couplings = ising.lattice(6)
    assert (couplings.sum(axis=1) == 4).all()
    assert (abs(couplings - couplings.T)).nnz == 0
    layout = ising.machine_of(6)._layout()
    assert layout.sizes.tolist() == [18, 18]


def test_a_picture_is_saved(ising, tmp_path):
    ising.draw_picture(tmp_path / "ising.png", 16, 10)
    assert (tmp_path / "ising.png").stat().st_size > 1000
