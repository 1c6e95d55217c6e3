"""Batch normalisation after training, whose moments are constants, taken into the layer before it: one pass less over maps."""

from __future__ import annotations

from typing import Any

from fastbm.device import namespace
from fastbm.nn.batch_norm import BatchNorm
from fastbm.nn.convolution import Convolution, TransposedConvolution
from fastbm.nn.dense import Dense


def merged(layers, views) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return layers, and their parameters by name, that compute the same but for rounding; those that change are copies."""
    found: list[tuple[Any, dict[str, Any]]] = []
    for layer, own in zip(layers, views, strict=True):
        if isinstance(layer, BatchNorm) and found and takes(found[-1][0], layer):
            found[-1] = normalised(*found[-1], layer, own)
        else:
            found.append((layer, own))
    return [layer for layer, _ in found], [own for _, own in found]


def takes(layer, norm: BatchNorm) -> bool:
    """Whether a layer is a product without an activation, whose every output, or map, is a unit of the normalisation."""
    if isinstance(layer, Dense):
        n_units, n_pixels = layer.n_outputs, 1
    elif isinstance(layer, Convolution):
        n_units, n_pixels = layer.n_maps, layer.window.grid[0] * layer.window.grid[1]
    elif isinstance(layer, TransposedConvolution):
        n_units, n_pixels = layer.window.n_channels, layer.window.height * layer.window.width
    else:
        return False
    return layer.activation == "identity" and (n_units, n_pixels) == (norm.n_units, norm.n_pixels)


def normalised(layer, own, norm: BatchNorm, moments) -> tuple[Any, dict[str, Any]]:
    """Return the layer whose outputs are normalised, and its weights and bias."""
    scale = 1 / namespace(own["weights"]).sqrt(moments["variance"] + norm.epsilon)
    if norm.is_scaled:
        scale = moments["gain"] * scale
    bias = -moments["mean"] * scale
    if norm.is_scaled:
        bias = moments["offset"] + bias
    if layer.has_bias:
        bias = bias + own["bias"] * scale
    of_weights = scale[:, None] if isinstance(layer, TransposedConvolution) else scale
    layer = layer._replace(activation=norm.activation, slope=norm.slope, has_bias=True)
    return layer, {"weights": own["weights"] * of_weights, "bias": bias}
