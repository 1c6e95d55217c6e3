"""Couplings and masks that users give: each as arrays of pairs of units, or an error that says what is wrong with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbm.device import adopt, to_host
from fastbm.estimators._validation import LARGEST_BIAS
from fastbm.machines.layout import Graph, complete


def is_sparse(matrix) -> bool:
    """Whether this is a sparse matrix or array of scipy's."""
    return hasattr(matrix, "tocoo")


def graph_of_mask(mask, n_visible: int, n_units: int) -> Graph:
    """Return the graph with the couplings that a mask allows; with all of them for None.

    ValueError unless the mask is symmetric, (n_units, n_units), of False and True (or 0 and 1), and False on the diagonal.
    """
    if mask is None:
        return complete(n_visible, n_units)
    first, second, allowed, shape = _pairs(mask, "mask")
    if shape != (n_units, n_units):
        raise ValueError(
            f"mask must have shape ({n_units}, {n_units}), for {n_visible} visible and {n_units - n_visible} hidden units, "
            f"got {shape}"
        )
    if not ((allowed == 0) | (allowed == 1)).all():
        raise ValueError("mask must hold only False and True, or 0 and 1; for couplings see from_couplings")
    first, second, _ = _one_way(first, second, allowed, "mask")
    return Graph(n_visible, n_units, first, second)


def check_couplings(couplings) -> tuple[Graph, np.ndarray]:
    """Return the graph, all of whose units are visible, and the couplings, float64, of a symmetric matrix, dense or sparse."""
    first, second, values, shape = _pairs(couplings, "couplings")
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"couplings must be a square matrix, (n_units, n_units), got shape {shape}")
    wrong = values[~np.isfinite(values)]
    if wrong.size:
        raise ValueError(f"couplings must be finite, got {wrong[0]:g} (in {wrong.size} places)")
    first, second, values = _one_way(first, second, values, "couplings")
    return Graph(shape[0], shape[0], first, second), values


def check_bias(bias, n_units: int) -> np.ndarray:
    """Return biases as float64, (n_units,)."""
    try:
        bias = _numbers(to_host(adopt(bias)), "bias").copy()
    except (TypeError, ValueError) as error:
        raise ValueError(f"bias must be an array of shape ({n_units},), got {bias!r}") from error
    if bias.shape != (n_units,):
        raise ValueError(f"bias must have shape ({n_units},) to match the couplings, got {bias.shape}")
    wrong = bias[~(np.abs(bias) < LARGEST_BIAS)]
    if wrong.size:
        raise ValueError(f"bias must be finite and below {LARGEST_BIAS:g} in magnitude, got {wrong[0]:g}")
    return bias


def _pairs(matrix, name: str) -> tuple[Any, Any, Any, tuple]:
    """Return rows, columns and values that are not 0, and the shape."""
    if is_sparse(matrix):
        stored = matrix.tocoo()
        _check_matrix(stored, name)
        first, second = (np.asarray(ends, np.int64) for ends in (stored.row, stored.col))
        _check_duplicates(first, second, stored.shape, name)
        values = _numbers(stored.data, name)
        there = values != 0
        return first[there], second[there], values[there], stored.shape
    dense = _numbers(to_host(adopt(matrix)), name)
    _check_matrix(dense, name)
    first, second = np.nonzero(dense)
    return first, second, dense[first, second], dense.shape


def _check_matrix(matrix, name: str) -> None:
    if len(matrix.shape) != 2:
        raise ValueError(f"{name} must be a matrix, (n_units, n_units), got shape {matrix.shape}")


def _numbers(values, name: str) -> np.ndarray:
    """Return float64; complex numbers are refused, of which NumPy would keep the real part."""
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex numbers")
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        got = getattr(values, "dtype", type(values).__name__)
        raise ValueError(f"{name} must be real numbers, dense or in a sparse matrix of scipy's, got {got}") from error


def _check_duplicates(first, second, shape, name: str) -> None:
    flat = np.sort(first * shape[1] + second)
    twice = flat[1:][flat[1:] == flat[:-1]]
    if twice.size:
        row, column = divmod(int(twice[0]), shape[1])
        raise ValueError(f"{name} names the coupling of units {row} and {column} more than once (sum_duplicates adds them up)")


def _one_way(first, second, values, name: str):
    """Return each coupling once, from the smaller unit to the larger, ascending; ValueError when they are not symmetric."""
    loops = first[first == second]
    if loops.size:
        raise ValueError(f"{name} must be 0 on the diagonal, but unit {loops[0]} is coupled to itself; use a bias for that")
    above, below = first < second, first > second
    up = np.lexsort((second[above], first[above]))
    down = np.lexsort((first[below], second[below]))
    low, high, forth = first[above][up], second[above][up], values[above][up]
    of_below = second[below][down], first[below][down]
    if not all(map(np.array_equal, (low, high), of_below)):
        raise ValueError(f"{name} must be symmetric, each coupling in both directions; of a triangle T give T + T.T")
    back = values[below][down]
    if not np.array_equal(forth, back):
        odd = np.flatnonzero(forth != back)[0]
        raise ValueError(
            f"{name} must be symmetric, but that of units {low[odd]} and {high[odd]} is {float(forth[odd])!r} in one direction "
            f"and {float(back[odd])!r} in the other; where rounding does that, give (J + J.T) / 2"
        )
    return low.astype(np.int32), high.astype(np.int32), forth
