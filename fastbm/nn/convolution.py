"""Convolutions and transposed convolutions of images that lie in rows, channels last, and their gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastbm.device import namespace
from fastbm.kernels import formulas, networks
from fastbm.nn.activations import activate_backward, is_compiled
from fastbm.nn.workspace import Run


class Window(NamedTuple):
    """What a convolution looks at: images (height, width, n_channels), 0 beyond their borders, by windows `stride` apart."""

    height: int
    width: int
    n_channels: int
    kernel: tuple[int, int] = (4, 4)
    stride: int = 2
    padding: int = 1

    @property
    def image(self) -> tuple[int, int, int]:
        """The shape of an image."""
        return self.height, self.width, self.n_channels

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        rows, columns = (
            (size + 2 * self.padding - taps) // self.stride + 1 for size, taps in zip(self.image, self.kernel, strict=False)
        )
        return rows, columns


class Convolution(NamedTuple):
    """y = f(x * W + b): windows of the images times weights (rows, columns, n_channels, n_maps); rows of pixels of n_maps."""

    window: Window
    n_maps: int
    activation: str = "identity"
    slope: float = 0.2
    has_bias: bool = True

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        return {"weights": weights_shape(self), "bias": (self.n_maps * self.has_bias,)}

    def forward(self, own, x, run: Run, at: int, out=None):
        """Return y and backward, as ``Dense.forward`` does."""
        shape = (*self.window.grid, self.n_maps)
        y, images = rows_for(shape, x, run, (at, "y"), out), as_images(x, self.window.image)
        convolve(images, own["weights"], own["bias"], as_images(y, shape), **how(self))

        def backward(gradient, wanted, rows):
            maps = backward_of_bias(self, gradient, y, wanted, run, shape)
            if wanted:
                convolution_weights(images, maps, wanted["weights"], self.window)
            if rows is None:
                return None
            below = rows_for(self.window.image, gradient[rows, :], run, (at, "gradient"), None)
            plain = how(self._replace(activation="identity"))
            deconvolve(maps[rows, ...], own["weights"], run.space.nothing, as_images(below, self.window.image), **plain)
            return below

        return y, backward


class TransposedConvolution(NamedTuple):
    """y = f(x *ᵀ W + b), the adjoint of a convolution: from maps, a pixel for each window, to the images of `window`."""

    window: Window
    n_maps: int
    activation: str = "identity"
    slope: float = 0.2
    has_bias: bool = True

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters."""
        return {"weights": weights_shape(self), "bias": (self.window.n_channels * self.has_bias,)}

    def forward(self, own, x, run: Run, at: int, out=None):
        """Return y and backward, as ``Dense.forward`` does."""
        shape = (*self.window.grid, self.n_maps)
        y, maps = rows_for(self.window.image, x, run, (at, "y"), out), as_images(x, shape)
        deconvolve(maps, own["weights"], own["bias"], as_images(y, self.window.image), **how(self))

        def backward(gradient, wanted, rows):
            images = backward_of_bias(self, gradient, y, wanted, run, self.window.image)
            if wanted:
                convolution_weights(images, maps, wanted["weights"], self.window)
            if rows is None:
                return None
            below = rows_for(shape, gradient[rows, :], run, (at, "gradient"), None)
            plain = how(self._replace(activation="identity"))
            convolve(images[rows, ...], own["weights"], run.space.nothing, as_images(below, shape), **plain)
            return below

        return y, backward


def weights_shape(layer) -> tuple[int, ...]:
    """Return (rows, columns, channels of images, maps), of either kind of layer."""
    return *layer.window.kernel, layer.window.n_channels, layer.n_maps


def how(layer) -> dict[str, Any]:
    """Return what a layer's products need to know beside arrays."""
    return {"window": layer.window, "activation": layer.activation, "slope": layer.slope}


def as_images(rows, shape):
    """Return rows as images of a shape; no copy."""
    return namespace(rows).reshape(rows, (rows.shape[0], *shape))


def rows_for(shape, x, run: Run, name, out):
    """Return rows for as many images of a shape as there are rows of x."""
    height, width, n_channels = shape
    return run.space.rows(name, x.shape[0], height * width * n_channels) if out is None else out


def backward_of_bias(layer, gradient, y, wanted, run: Run, shape):
    """Turn the gradient of outputs into that of sums, in place, write that of the bias, and return the former as images."""
    of_sums, outputs = (namespace(y).reshape(each, (-1, shape[2])) for each in (gradient, y))
    of_bias = wanted["bias"] if wanted else run.space.nothing
    activate_backward(of_sums, outputs, of_bias, layer.activation, layer.slope)
    return as_images(gradient, shape)


# ------------------------------------------------------------------------------------------------------- products


def convolve(images, weights, bias, maps, *, window: Window, activation: str, slope: float) -> None:
    """maps ← f(bias + images * weights), as ``kernels.networks.convolve``, for arrays of any library and type."""
    if is_compiled(maps):
        numbers = {"stride": window.stride, "padding": window.padding, "activation": activation, "slope": slope}
        networks.convolve(images, weights, bias, maps, **numbers)
        return
    padded, total = padded_images(images, window), namespace(maps).zeros_like(maps)
    for row, column, part in windows(window):
        total = total + namespace(maps).matmul(padded[:, *part, :], weights[row, column, :, :])
    maps[...] = formulas.activate(total + bias if bias.shape[0] else total, activation, slope)


def deconvolve(maps, weights, bias, images, *, window: Window, activation: str, slope: float) -> None:
    """images ← f(bias + the adjoint of the convolution, of maps), as ``kernels.networks.deconvolve``."""
    if is_compiled(images):
        numbers = {"stride": window.stride, "padding": window.padding, "activation": activation, "slope": slope}
        networks.deconvolve(maps, weights, bias, images, **numbers)
        return
    padded = padded_images(namespace(images).zeros_like(images), window)
    parts: Any = windows(window)
    for row, column, part in parts:
        padded[:, *part, :] += namespace(maps).matmul(maps, weights[row, column, :, :].T)
    inside = (slice(window.padding, window.padding + size) for size in window.image[:2])
    total = padded[:, *inside, :]
    images[...] = formulas.activate(total + bias if bias.shape[0] else total, activation, slope)


def convolution_weights(images, maps, out, window: Window) -> None:
    """Write the gradient of weights, as ``kernels.networks.convolution_weights``."""
    if is_compiled(out):
        networks.convolution_weights(images, maps, out, stride=window.stride, padding=window.padding)
        return
    xp, padded = namespace(out), padded_images(images, window)
    pixels = xp.reshape(maps, (-1, maps.shape[3]))
    for row, column, part in windows(window):
        out[row, column, :, :] = xp.matmul(xp.reshape(padded[:, *part, :], (-1, images.shape[3])).T, pixels)


def padded_images(images, window: Window):
    """Return images with zeros around them."""
    xp, (height, width, n_channels), margin = namespace(images), window.image, window.padding
    padded = xp.zeros((images.shape[0], height + 2 * margin, width + 2 * margin, n_channels), dtype=images.dtype)
    padded[:, margin : margin + height, margin : margin + width, :] = images
    return padded


def windows(window: Window):
    """Yield row and column of each tap, and the slices of padded images that it meets."""
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            part = (
                slice(at, at + window.stride * (n - 1) + 1, window.stride)
                for at, n in zip((row, column), window.grid, strict=True)
            )
            yield row, column, tuple(part)
