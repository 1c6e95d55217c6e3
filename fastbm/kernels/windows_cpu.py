"""Which numbers of an image a convolution multiplies, and by which rows of its weights: tables that kernels go by.

A *run* is what lies side by side in memory: the channels of a pixel, or, of thin images, those of a row of a window. A *block*
is a few runs, of so many terms as are summed at a time. A *phase* is a grid of output pixels to which the same runs contribute:
all of them, or, of a transposed convolution, those `stride` apart, so that no zero is ever multiplied.
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

DEPTH, ROWS, MOST_SUMS = 256, 336, 180_000
"""Terms that are summed at a time; pixels whose sums are made together, and, for the second cache, numbers that takes."""
THIN = 16
"""Images of fewer channels are read by rows of a window, not by pixels."""


class Plan(NamedTuple):
    """Tables of int64.

    `phases`: first row and column of the output, rows, columns, first and last block; `blocks`: first and last run; `runs`: row
    and column of the first pixel relative to the window, pixels, first channel, place in the weights, numbers; `items`: phase,
    first and last of its pixels.
    """

    phases: np.ndarray
    blocks: np.ndarray
    runs: np.ndarray
    items: np.ndarray
    deepest: int
    most_rows: int


@lru_cache(256)
def of_convolution(n_images, map_shape, weights_shape, padding: int, height: int, width: int) -> Plan:
    """Return the plan of a convolution; tiles have this height and width."""
    grid = [(0, 0, *map_shape, image_runs(weights_shape, padding))]
    return planned(grid, n_images, weights_shape[3], height, width)


@lru_cache(256)
def of_transposed(n_images, image_shape, weights_shape, stride: int, padding: int, height: int, width: int) -> Plan:
    """Return the plan of a transposed convolution: a phase for each remainder of row and column by the stride."""
    n_taps, grids = weights_shape[:2], []
    for row in range(min(stride, image_shape[0])):
        for column in range(min(stride, image_shape[1])):
            taps = [
                [(tap, (at + padding - tap) // stride) for tap in range(n) if (at + padding - tap) % stride == 0]
                for at, n in zip((row, column), n_taps, strict=True)
            ]
            size = [len(range(at, n, stride)) for at, n in zip((row, column), image_shape, strict=True)]
            grids.append((row, column, *size, map_runs(taps, weights_shape)))
    return planned(grids, n_images, weights_shape[2], height, width)


@lru_cache(256)
def of_products(n_rows: int, n_maps: int, n_columns: int, height: int, width: int) -> Plan:
    """Return the plan of products of pixels, each by itself, with the transposed weights of all taps."""
    runs = [(0, 0, 1, first, first, min(DEPTH, n_maps - first)) for first in range(0, n_maps, DEPTH)]
    return planned([(0, 0, n_rows, 1, runs)], 1, n_columns, height, width)


def image_runs(weights_shape, padding: int) -> list[tuple[int, ...]]:
    """Return the runs of a window of an image, in the order of the weights."""
    n_rows, n_columns, n_channels, n_maps = weights_shape
    line = n_columns * n_channels
    if n_channels < THIN and line <= DEPTH:
        return [(row - padding, -padding, n_columns, 0, row * line * n_maps, line) for row in range(n_rows)]
    return [
        (row - padding, column - padding, 1, first, ((row * n_columns + column) * n_channels + first) * n_maps,
         min(DEPTH, n_channels - first))
        for row in range(n_rows) for column in range(n_columns) for first in range(0, n_channels, DEPTH)
    ]  # fmt: skip


def map_runs(taps, weights_shape) -> list[tuple[int, ...]]:
    """Return the runs of the maps that contribute to a phase."""
    _, n_columns, n_channels, n_maps = weights_shape
    return [
        (dy, dx, 1, first, (row * n_columns + column) * n_channels * n_maps + first, min(DEPTH, n_maps - first))
        for row, dy in taps[0] for column, dx in taps[1] for first in range(0, n_maps, DEPTH)
    ]  # fmt: skip


def planned(grids, n_images: int, n_outputs: int, height: int, width: int) -> Plan:
    """Return the tables for these phases."""
    runs, blocks, phases, items, deepest = [], [], [], [], 1
    padded = -(-n_outputs // width) * width
    most = max(min(ROWS, MOST_SUMS // (padded + DEPTH)) // height, 1) * height
    for row, column, n_rows, n_columns, own in grids:
        if n_rows * n_columns == 0:
            continue
        first_block, depth = len(blocks), DEPTH
        for run in own:
            if depth + run[5] > DEPTH:
                blocks.append([len(runs), len(runs)])
                depth = 0
            depth += run[5]
            deepest = max(deepest, depth)
            runs.append(run)
            blocks[-1][1] = len(runs)
        total = n_images * n_rows * n_columns
        n_parts = -(-total // most)
        items += [(len(phases), part * total // n_parts, (part + 1) * total // n_parts) for part in range(n_parts)]
        phases.append((row, column, n_rows, n_columns, first_block, len(blocks)))
    tables = [
        np.array(rows, np.int64).reshape(-1, n)
        for rows, n in ((phases, 6), (blocks or [[0, 0]], 2), (runs or [[0] * 6], 6), (items, 3))
    ]
    return Plan(*tables, deepest, most)


class Shares(NamedTuple):
    """How the gradient of weights is cut: `panels`: run, offset in it, rows, first row; `parts`: first and last panel."""

    runs: np.ndarray
    panels: np.ndarray
    parts: np.ndarray
    most_rows: int


@lru_cache(256)
def of_weights(weights_shape, padding: int, height: int) -> Shares:
    """Return how rows of weights, of all taps and channels, are shared out: a few for each part, panels within a run."""
    runs, panels, row = image_runs(weights_shape, padding), [], 0
    for number, run in enumerate(runs):
        n_panels = -(-run[5] // height)
        cuts = [each * run[5] // n_panels for each in range(n_panels + 1)]
        panels += [(number, begin, end - begin, row + begin) for begin, end in pairwise(cuts)]
        row += run[5]
    most = max(min(ROWS // 2, MOST_SUMS // (weights_shape[3] + DEPTH)), height)
    parts, rows = [], most
    for number, panel in enumerate(panels):
        if rows + panel[2] > most:
            parts.append([number, number])
            rows = 0
        rows += panel[2]
        parts[-1][1] = number + 1
    tables = [np.array(each, np.int64).reshape(-1, n) for each, n in ((runs, 6), (panels, 4), (parts, 2))]
    return Shares(*tables, most)
