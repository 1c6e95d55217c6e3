"""Steps and samples of DCGANs against the same in PyTorch: ``python benchmarks/compare_dcgan.py`` prints them as a table.

PyTorch is written well: images and weights channels last, Adam fused, activations in place, images and samples normalised
apart in one pass of the convolutions, no gradient of the discriminator's weights in the generator's step, none of its input in
its own. Both have the same number of threads, compute in float32 and take turns in one process. A ratio is taken within each
round; median, lowest and highest are printed.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import NamedTuple

import numpy as np

from fastbm import DCGAN, chain
from fastbm.commands import bench
from fastbm.kernels.threads_cpu import limited_to, n_threads

RATE = 2e-4
KEY = chain.stream_key(0, chain.Purpose.TRAINING)


class Row(NamedTuple):
    """A workload: an estimator, the shape of an image, of a minibatch so many, whether samples alone are made, and the bar."""

    title: str
    model: DCGAN
    image: tuple[int, int, int]
    n_images: int
    samples: bool
    bar: float


ROWS = {
    "step-28": Row("step, 28×28 grey, base 32, batch 64", DCGAN(base_channels=32), (28, 28, 1), 64, False, 1.0),
    "sample-28": Row("512 samples, 28×28 grey, base 32", DCGAN(base_channels=32), (28, 28, 1), 512, True, 1.0),
    "step-64": Row("step, 64×64 RGB, base 64, batch 64", DCGAN(base_channels=64), (64, 64, 3), 64, False, 0.8),
    "sample-64": Row("64 samples, 64×64 RGB, base 64", DCGAN(base_channels=64), (64, 64, 3), 64, True, 1.0),
    "step-32": Row("step, 32×32 RGB, base 32, batch 64", DCGAN(base_channels=32), (32, 32, 3), 64, False, 1.0),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    n = min(options.threads, n_threads())
    with limited_to(n):
        print("\n".join(f"- {name}: {value}" for name, value in (bench.facts() | {"threads": f"{n} of each"}).items()))
        print("\n| work | fastbm | PyTorch over fastbm | bar |\n|---|---:|---:|---:|", flush=True)
        for name in options.only:
            row = ROWS[name]
            times = bench.measured({"fastbm": ours(row), "PyTorch": torchs(row, n)}, options.seconds, options.rounds)
            ratios = bench.ratios(times, "fastbm")["PyTorch"]
            seconds, spread = median(times["fastbm"]), f"{median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
            print(f"| {row.title} | {1e3 * seconds:.1f} ms | {spread} | {row.bar:g} |", flush=True)


def begun(row: Row):
    """Return a training state."""
    fitted = {"seed": 0, "device": "cpu", "features": {"image_shape_": row.image}}
    return row.model._begin(int(np.prod(row.image)), fitted, True)


def ours(row: Row):
    """Return a function that makes steps of the training rule, or samples."""
    state, rule = begun(row), row.model._rule()
    rows = np.random.default_rng(0).random((row.n_images, int(np.prod(row.image))), np.float32) * 2 - 1
    figures, z = np.empty(len(row.model._figures), np.float32), rows[:, : row.model.latent_dim].copy()

    def sample(n):
        for _ in range(n):
            state.machine.generator.evaluate(z)

    def step(n):
        nonlocal state
        for _ in range(n):
            state, _ = row.model._step(state, rows, rule=rule, key=KEY, learning_rates=(RATE, RATE), figures=figures)

    return sample if row.samples else step


def torchs(row: Row, n: int):
    """Return a function that does the same in PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(n)
    torch.manual_seed(0)
    last, (height, width, n_channels) = torch.channels_last, row.image
    generator, discriminator = (
        modules(nn, network.layers, row.n_images).to(memory_format=last) for network in begun(row).machine
    )
    images = (torch.rand(row.n_images, n_channels, height, width) * 2 - 1).to(memory_format=last)
    softplus, m = nn.functional.softplus, row.n_images
    of_generator, of_discriminator = (
        torch.optim.Adam(network.parameters(), RATE, (0.5, 0.999), fused=True) for network in (generator, discriminator)
    )

    def latents():
        return torch.empty(m, row.model.latent_dim).uniform_(-1, 1)

    def step(n):
        for _ in range(n):
            for parameter in discriminator.parameters():
                parameter.requires_grad_(True)
            with torch.no_grad():
                samples = generator(latents())
            logits = discriminator(torch.cat([images, samples]))
            of_discriminator.zero_grad()
            (softplus(-logits[:m]).mean() + softplus(logits[m:]).mean()).backward()
            of_discriminator.step()
            for parameter in discriminator.parameters():
                parameter.requires_grad_(False)
            of_generator.zero_grad()
            softplus(-discriminator(generator(latents()))).mean().backward()
            of_generator.step()

    def sample(n):
        generator.eval()
        z = latents()
        with torch.inference_mode():
            for _ in range(n):
                generator(z)

    return sample if row.samples else step


def modules(nn, layers, m: int):
    """Return the same layers as a module of PyTorch; the discriminator normalises images and samples apart."""
    import torch

    class Maps(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.shape = shape

        def forward(self, x):
            return x.view(len(x), *self.shape).contiguous(memory_format=torch.channels_last)

    class Apart(nn.Module):
        def __init__(self, norm, m):
            super().__init__()
            self.norm, self.m = norm, m

        def forward(self, x):
            halves = x.split(len(x) // 2) if len(x) > self.m else (x,)
            return torch.cat([self.norm(half) for half in halves])

    activations = {
        "identity": list, "relu": lambda: [nn.ReLU(inplace=True)], "leaky_relu": lambda: [nn.LeakyReLU(0.2, inplace=True)],
        "tanh": lambda: [nn.Tanh()],
    }  # fmt: skip
    made: list = []
    looks = type(layers[0]).__name__ == "Convolution"
    for at, layer in enumerate(layers):
        kind, activation = type(layer).__name__, activations[layer.activation]()
        if kind == "Dense":
            made += [*([nn.Flatten()] * looks), nn.Linear(layer.n_inputs, layer.n_outputs, layer.has_bias), *activation]
        elif kind == "BatchNorm" and at == 1 and not looks:
            maps = layers[2].n_maps
            rows, columns = layers[2].window.grid
            made += [nn.BatchNorm1d(layer.n_units), *activation, Maps((maps, rows, columns))]
        elif kind == "BatchNorm":
            norm = nn.BatchNorm2d(layer.n_units)
            made += [Apart(norm, m) if looks else norm, *activation]
        else:
            window, n_channels = layer.window, layer.window.n_channels
            ends = (n_channels, layer.n_maps) if looks else (layer.n_maps, n_channels)
            how = (window.kernel, window.stride, window.padding)
            made += [(nn.Conv2d if looks else nn.ConvTranspose2d)(*ends, *how, bias=layer.has_bias), *activation]
    return nn.Sequential(*made)


if __name__ == "__main__":
    main()
