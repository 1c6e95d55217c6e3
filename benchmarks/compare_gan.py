"""Steps of adversarial training against the same in PyTorch: ``python benchmarks/compare_gan.py`` prints them as a table.

PyTorch is written well: Adam fused, activations in place, rows and samples shown to the discriminator together, no gradient of
the discriminator's weights in the generator's step, none of its input in its own. Both have the same number of threads, compute
in float32 and take turns in one process. A ratio is taken within each round; median, lowest and highest are printed.
"""

from __future__ import annotations

import argparse
from statistics import median
from typing import NamedTuple

import numpy as np

from fastbm import GAN, BiGAN, chain
from fastbm.commands import bench
from fastbm.kernels.threads_cpu import limited_to, n_threads
from fastbm.training import adversarial

RATES = (2e-4, 2e-4, 2e-4)
KEY = chain.stream_key(0, chain.Purpose.TRAINING)


class Row(NamedTuple):
    """A workload: an estimator that says which networks, the shape of a minibatch, and the ratio to reach."""

    title: str
    model: GAN | BiGAN
    n_rows: int
    n_features: int
    bar: float


def sizes(*hidden, encoder: bool = False) -> dict:
    """Return the same sizes for all networks."""
    names = ["generator", "discriminator", *["encoder"] * encoder]
    return {f"{name}_layer_sizes": hidden for name in names}


ROWS = {
    "gan": Row(
        "GAN 100–1200–1200–784, maxout 240×5 twice, dropout, batch 100",
        GAN(100, generator_layer_sizes=(1200, 1200), discriminator_layer_sizes=(240, 240), discriminator_activation="maxout",
            dropout=0.5), 100, 784, 1.3,
    ),
    "bigan": Row(
        "BiGAN, 1,024 units twice, z 50, batch normalisation, batch 128",
        BiGAN(50, **sizes(1024, 1024, encoder=True), batch_norm=True), 128, 784, 1.3,
    ),
    "grid": Row(
        "2-D toy, 64 units twice, batch 100",
        GAN(2, **sizes(64, 64), output="identity", prior="normal"), 100, 2, 3.0,
    ),
    "grid-128": Row(
        "2-D toy, 128 units twice, batch 100",
        GAN(2, **sizes(128, 128), output="identity", prior="normal"), 100, 2, 3.0,
    ),
    "line": Row(
        "1-D toy, 32 tanh units twice, batch 200",
        GAN(1, **sizes(32, 32), output="identity", prior="normal", generator_activation="tanh",
            discriminator_activation="tanh"), 200, 1, 3.0,
    ),
}  # fmt: skip


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
        print("\n| step | fastbm | PyTorch over fastbm | bar |\n|---|---:|---:|---:|", flush=True)
        for name in options.only:
            row = ROWS[name]
            runs = {"fastbm": ours(row), "PyTorch": torchs(row, n)}
            times = bench.measured(runs, options.seconds, options.rounds)
            ratios = bench.ratios(times, "fastbm")["PyTorch"]
            seconds, spread = median(times["fastbm"]), f"{median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
            print(f"| {row.title} | {1e3 * seconds:.2f} ms | {spread} | {row.bar:g} |", flush=True)


def batch(row: Row) -> np.ndarray:
    """Return rows to train on."""
    return np.random.default_rng(0).random((row.n_rows, row.n_features), np.float32)


def ours(row: Row):
    """Return a function that makes steps of the training rule."""
    fitted = {"seed": 0, "device": "cpu"}
    state, rule, rows = row.model._begin(row.n_features, fitted, True), row.model._rule(), batch(row)
    figures = np.empty(len(row.model._figures), np.float32)
    rates = RATES if isinstance(row.model, BiGAN) else RATES[:2]

    def run(n_steps):
        nonlocal state
        for _ in range(n_steps):
            state, _ = row.model._step(state, rows, rule=rule, key=KEY, learning_rates=rates, figures=figures)
        return state

    return run


def torchs(row: Row, n: int):
    """Return a function that makes the same steps in PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(n)
    torch.manual_seed(0)
    layers = [torch_network(nn, network.layers) for network in adversarial.init(
        row.model._begin(row.n_features, {"seed": 0, "device": "cpu"}, True).machine, row.model._rule()
    ).machine]  # fmt: skip
    rows, softplus = torch.tensor(batch(row)), nn.functional.softplus

    def adam(*networks):
        return torch.optim.Adam([p for each in networks for p in each.parameters()], 2e-4, (0.5, 0.999), fused=True)

    def latents():
        z = torch.empty(row.n_rows, row.model.latent_dim)
        return z.normal_() if row.model.prior == "normal" else z.uniform_(-1, 1)

    def gan():
        generator, discriminator = layers
        for parameter in discriminator.parameters():
            parameter.requires_grad_(True)
        with torch.no_grad():
            samples = generator(latents())
        logits = discriminator(torch.cat([rows, samples]))
        of_discriminator.zero_grad()
        (softplus(-logits[: row.n_rows]).mean() + softplus(logits[row.n_rows :]).mean()).backward()
        of_discriminator.step()
        for parameter in discriminator.parameters():
            parameter.requires_grad_(False)
        of_generator.zero_grad()
        softplus(-discriminator(generator(latents()))).mean().backward()
        of_generator.step()

    def bigan():
        generator, encoder, discriminator = layers
        z = latents()
        both, side = torch.cat([rows, generator(z)]), torch.cat([encoder(rows), z])
        logits = discriminator((both, side))
        of_data, of_samples = logits[: row.n_rows], logits[row.n_rows :]
        own, others = list(discriminator.parameters()), [*generator.parameters(), *encoder.parameters()]
        loss = softplus(-of_data).mean() + softplus(of_samples).mean()
        gradients = torch.autograd.grad(loss, own, retain_graph=True)
        fooled = torch.autograd.grad(softplus(of_data).mean() + softplus(-of_samples).mean(), others)
        for parameter, gradient in zip(own + others, gradients + fooled, strict=True):
            parameter.grad = gradient
        of_discriminator.step()
        of_generator.step()

    of_discriminator, of_generator = adam(layers[-1]), adam(*layers[:-1])
    step = bigan if isinstance(row.model, BiGAN) else gan

    def run(n_steps):
        for _ in range(n_steps):
            step()

    return run


def torch_network(nn, layers):
    """Return the same layers as a module of PyTorch."""
    import torch

    class Pieces(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.linear, self.shape = (
                nn.Linear(layer.n_inputs, layer.n_outputs * layer.n_pieces),
                (layer.n_pieces, layer.n_outputs),
            )

        def forward(self, x):
            return self.linear(x).view(-1, *self.shape).amax(1)

    class Joined(nn.Module):
        def __init__(self, first, rest):
            super().__init__()
            self.first, self.rest = first, rest

        def forward(self, pair):
            return self.rest(torch.cat([self.first(pair[0]), pair[1]], 1))

    activations = {
        "identity": list, "relu": lambda: [nn.ReLU(inplace=True)], "leaky_relu": lambda: [nn.LeakyReLU(0.2, inplace=True)],
        "tanh": lambda: [nn.Tanh()], "sigmoid": lambda: [nn.Sigmoid()],
    }  # fmt: skip
    modules: list = []
    for at, layer in enumerate(layers):
        kind = type(layer).__name__
        if kind == "Join":
            return Joined(nn.Sequential(*modules), torch_network(nn, layers[at + 1 :]))
        if kind == "Maxout":
            modules.append(Pieces(layer))
        elif kind == "Dropout":
            modules.append(nn.Dropout(layer.rate, inplace=False))
        elif kind == "BatchNorm":
            modules += [
                nn.BatchNorm1d(layer.n_units, affine=layer.is_scaled, track_running_stats=False),
                *activations[layer.activation](),
            ]
        else:
            modules += [nn.Linear(layer.n_inputs, layer.n_outputs, layer.has_bias), *activations[layer.activation]()]
    return nn.Sequential(*modules)


if __name__ == "__main__":
    main()
