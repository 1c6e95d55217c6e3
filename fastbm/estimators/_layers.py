"""Which layers of a deep machine are meant, and what their columns are called where rows come as data frames."""

from __future__ import annotations

from copy import copy
from numbers import Integral
from typing import Any

from sklearn.utils._set_output import _wrap_data_with_container
from sklearn.utils.validation import _check_feature_names_in


def numbers(layers, n_layers: int, lowest: int = 1) -> list[int]:
    """Return the numbers of the layers meant: "top", "all" hidden ones, or a number from `lowest`; ValueError when none is."""
    if isinstance(layers, str) and layers == "all":
        return list(range(1, n_layers + 1))
    return [_number(layers, n_layers, lowest, "'top', 'all'")]


def number(layers, n_layers: int, lowest: int = 1) -> int:
    """Return the number of the layer meant: "top", or a number from `lowest`; ValueError when none is."""
    return _number(layers, n_layers, lowest, "'top'")


def _number(layers, n_layers: int, lowest: int, words: str) -> int:
    if isinstance(layers, str) and layers == "top":
        return n_layers
    if isinstance(layers, Integral) and not isinstance(layers, bool) and lowest <= int(layers) <= n_layers:
        return int(layers)
    raise ValueError(f"layers must be {words} or the number of a layer, {lowest} to {n_layers}, got {layers!r}")


def names(estimator, chosen: list[int], input_features=None) -> list[str]:
    """Return the names of all units of layers: of the features, number 0, and of the top layer they are scikit-learn's.

    Unit j of a layer between, number l, is class_l_j.
    """
    found: list[str] = []
    for layer in chosen:
        if layer == 0:
            features: Any = _check_feature_names_in(estimator, input_features)
            found += list(features)
        elif layer == estimator.n_layers_:
            found += list(estimator.get_feature_names_out())
        else:
            prefix, n_units = type(estimator).__name__.lower(), len(estimator.intercepts_[layer - 1])
            found += [f"{prefix}_{layer}_{unit}" for unit in range(n_units)]
    return found


def framed(estimator, rows, X, chosen: list[int]) -> Any:
    """Return rows with the units of these layers as columns, in the container that `set_output` asks for; `X` has the index."""
    named = copy(estimator)
    named.get_feature_names_out = lambda: names(estimator, chosen)
    return _wrap_data_with_container("transform", rows, X, named)
