"""The two-dimensional Ising model on a periodic 64 × 64 lattice, against the exact values of the infinite one.

Energies a spin [1]_ and absolute magnetisations a spin [2]_, at five temperatures below the critical one, 2 / ln(1 + √2) =
2.2692 in units of the coupling, and energies at two above. There a lattice of 64 is as good as an infinite one to far less
than 1 %. Nearer to it the correlation length grows to that of the lattice, and the values of the infinite one do not apply;
above it the magnetisation of the infinite one is 0, and that of a finite one is not.

    python benchmarks/quality/ising.py [--chains 64] [--sweeps 4000] [--picture docs/ising.png]

References
----------
.. [1] Onsager, "Crystal statistics I", Physical Review 65, 1944.
.. [2] Yang, "The spontaneous magnetization of a two-dimensional Ising model", Physical Review 85, 1952.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from report import show

from fastbm import BoltzmannMachine

CRITICAL = 2 / np.log(1 + np.sqrt(2))
TEMPERATURES = (1.6, 1.8, 2.0, 2.1, 2.2)
ABOVE = (2.6, 3.2)


def lattice(side, dtype=np.float64):
    """Return the couplings of a periodic square lattice, 1 between neighbours, as a sparse array."""
    from scipy.sparse import coo_array

    units = np.arange(side * side).reshape(side, side)
    pairs = [(units.ravel(), np.roll(units, step, axis).ravel()) for axis in (0, 1) for step in (1, -1)]
    ends = tuple(np.concatenate(each) for each in zip(*pairs, strict=True))
    return coo_array((np.ones(len(ends[0]), dtype), ends), shape=(units.size, units.size)).tocsr()


def machine_of(side):
    return BoltzmannMachine.from_couplings(lattice(side), np.zeros(side * side), spin=True)


def energy(temperature):
    """Onsager's energy a spin: -coth(2 K) (1 + 2 / π (2 tanh²(2 K) - 1) K1(k)), k = 2 sinh(2 K) / cosh²(2 K), K = 1 / T."""
    x = 2 / temperature
    k = 2 * np.sinh(x) / np.cosh(x) ** 2
    return -(1 + 2 / np.pi * (2 * np.tanh(x) ** 2 - 1) * complete_elliptic(k)) / np.tanh(x)


def complete_elliptic(k):
    """K1(k) = ∫ dθ / √(1 - k² sin² θ) from 0 to π / 2, by the arithmetic-geometric mean."""
    a, b = 1.0, np.sqrt(1 - k * k)
    while abs(a - b) > 1e-15 * a:
        a, b = (a + b) / 2, np.sqrt(a * b)
    return np.pi / (2 * a)


def magnetisation(temperature):
    """Yang's spontaneous magnetisation a spin: (1 - sinh(2 K)^-4)^(1/8) below the critical temperature, 0 above."""
    return max(1 - np.sinh(2 / temperature) ** -4, 0.0) ** 0.125


def measure(machine, side, temperature, *, n_chains, n_sweeps, n_records=20, seed=0):
    """Return energy and absolute magnetisation a spin, and their standard errors, over chains from all spins up.

    Half of the sweeps are left out; states are looked at `n_records` times in the other half.
    """
    rows, values = np.ones((n_chains, side * side)), []
    stride = n_sweeps // 2 // n_records
    for record in range(n_records + 1):
        n_steps = n_sweeps // 2 if record == 0 else stride
        rows = machine.sample(n_chains, n_steps=n_steps, init=rows, beta=1 / temperature, random_state=seed + 1000 * record)
        grids = rows.reshape(n_chains, side, side)
        bonds = grids * (np.roll(grids, 1, 1) + np.roll(grids, 1, 2))
        values.append((-bonds.mean(axis=(1, 2)), abs(grids.mean(axis=(1, 2)))))
    of_chains = np.mean(values[1:], axis=0)  # chains are independent of each other
    return of_chains.mean(axis=1), of_chains.std(axis=1, ddof=1) / np.sqrt(n_chains)


def draw_picture(path, side, n_sweeps):
    """Save one state at the critical temperature, after so many sweeps from fair coins."""
    import matplotlib

    matplotlib.use("agg")
    from fastbm.plotting import plot_images

    rows = machine_of(side).sample(1, n_steps=n_sweeps, beta=1 / CRITICAL, random_state=0)
    title = f"Ising model at its critical temperature, {side} × {side} spins, {n_sweeps} sweeps"
    ax = plot_images((rows + 1) / 2, image_shape=(side, side), title=title)
    ax.figure.set_size_inches(6, 6.3)
    ax.figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--sweeps", type=int, default=4000)
    parser.add_argument("--picture")
    options = parser.parse_args()
    machine = machine_of(options.side)
    for temperature in TEMPERATURES + ABOVE:
        begin = time.perf_counter()
        found, errors = measure(machine, options.side, temperature, n_chains=options.chains, n_sweeps=options.sweeps)
        exact = energy(temperature), magnetisation(temperature)
        show(
            script="ising", side=options.side, temperature=temperature, energy=round(float(found[0]), 5),
            energy_error=round(float(errors[0]), 5), onsager=round(float(exact[0]), 5), magnetisation=round(float(found[1]), 5),
            magnetisation_error=round(float(errors[1]), 5), yang=round(float(exact[1]), 5), chains=options.chains,
            sweeps=options.sweeps, seconds=round(time.perf_counter() - begin, 1),
        )  # fmt: skip
    if options.picture:
        draw_picture(options.picture, 512, 5000)


if __name__ == "__main__":
    main()
