"""Deep convolutional generative adversarial networks: which layers make an image of a latent, and judge one [1]_.

References
----------
.. [1] Radford, Metz & Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
   networks", ICLR 2016.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fastbm.nn.batch_norm import BatchNorm
from fastbm.nn.beside import Beside
from fastbm.nn.convolution import Convolution, TransposedConvolution, Window
from fastbm.nn.dense import Dense

STRIDE = 2
"""Each layer halves, or doubles, the sides of its maps."""
SMALLEST = 8
"""Maps whose smaller side is less are halved no further, where the number of layers is "auto"."""


class Design(NamedTuple):
    """Images (height, width, n_channels), maps next to them, convolutions in each network, and taps of a side of a window."""

    image: tuple[int, int, int]
    base_channels: int = 64
    n_layers: int = 4
    kernel_size: int = 4
    slope: float = 0.2
    pack: int = 1

    def windows(self, n_channels: int) -> list[Window]:
        """Return what each convolution looks at, the images first, of so many channels; each has twice the maps of the last."""
        (height, width, _), found = self.image, []
        for number in range(self.n_layers):
            window = Window(height, width, n_channels, *taps(self.kernel_size))
            found.append(window)
            (height, width), n_channels = window.grid, self.n_maps(number)
        return found

    def n_maps(self, number: int) -> int:
        """Return the maps of convolution `number`."""
        return self.base_channels * 2**number


def taps(kernel_size: int) -> tuple[tuple[int, int], int, int]:
    """Return kernel, stride and padding of a window."""
    return (kernel_size, kernel_size), STRIDE, (kernel_size - 1) // 2


def auto_layers(image, kernel_size: int) -> int:
    """Return how often images are halved until their smaller side is below 8; at least once."""
    height, width, n_channels = image
    n_layers, window = 1, Window(height, width, n_channels, *taps(kernel_size))
    while min(window.grid) >= SMALLEST:
        n_layers, window = n_layers + 1, window._replace(height=window.grid[0], width=window.grid[1])
    return n_layers


def generator(latent_dim: int, design: Design) -> list[Any]:
    """R₁ = ReLU(BN(z M)), a few small maps; R_i = ReLU(BN(R_{i-1} *ᵀ W)); the last is tanh(R *ᵀ W + b)."""
    windows = design.windows(design.image[2])
    n_units = math.prod(windows[-1].grid) * design.n_maps(design.n_layers - 1)
    layers: list[Any] = [Dense(latent_dim, n_units, has_bias=False), BatchNorm(n_units, "relu")]
    for number in range(design.n_layers - 1, 0, -1):
        window = windows[number]
        layers.append(TransposedConvolution(window, design.n_maps(number), has_bias=False))
        layers.append(BatchNorm(window.n_channels, "relu", n_pixels=window.height * window.width))
    return [*layers, TransposedConvolution(windows[0], design.n_maps(0), "tanh")]


def discriminator(design: Design) -> list[Any]:
    """R₁ = LReLU(x * W + b); R_i = LReLU(BN(R_{i-1} * W)); the last is the logit of R M + b. Packed images are channels."""
    height, width, n_channels = design.image
    windows = design.windows(design.pack * n_channels)
    layers: list[Any] = [Beside(design.pack, height * width, n_channels)] * (design.pack > 1)
    layers.append(Convolution(windows[0], design.n_maps(0), "leaky_relu", design.slope))
    for number, window in enumerate(windows[1:], 1):
        n_maps = design.n_maps(number)
        layers.append(Convolution(window, n_maps, has_bias=False))
        layers.append(BatchNorm(n_maps, "leaky_relu", design.slope, n_pixels=math.prod(window.grid)))
    return [*layers, Dense(math.prod(windows[-1].grid) * design.n_maps(design.n_layers - 1), 1)]
