"""Mean field on the CPU: a thread takes some rows through all their updates, and waits for nobody.

Couplings are packed once, in both orientations, into slivers as wide as a tile of ``tile_cpu``. A thread keeps the rows in work
in as many slots as stay in its second cache; a row that is done leaves its slot to the next one, or to the last in work, so
that tiles stay full. It takes its rows twice, coarse first: of pairs of int16 twice as many are multiplied at a time.
"""

from typing import NamedTuple

import numpy as np
from numba import float32, njit

from fastbm.device import namespace
from fastbm.kernels import COARSE_PATIENCE, formulas, simd_cpu
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.couplings_cpu import pack_couplings
from fastbm.kernels.draw_cpu import ONE
from fastbm.kernels.product_cpu import COST_OF_A_TERM, address, aligned, cut, has_plain_rows
from fastbm.kernels.relax_cpu import relax_coarse, relax_tile, round_means
from fastbm.kernels.threads_cpu import n_threads, share_out, worth
from fastbm.kernels.tile_cpu import TILES, copy_block, copy_line, multiply_pairs, multiply_tile, pack_lines

PANELS = {"portable": 8, "avx2": 8, "avx512": 4}
"""Panels of rows in work at a time, each as high as a tile."""
RUNS_A_THREAD = 4
"""Runs of rows for each thread, where there are rows enough: some take longer than others."""
LARGEST_RUN = 1024
"""Rows of a run: a fraction of a second's, so that Ctrl-C is heard in between."""
EXPECTED_UPDATES = 10


def mean_field(
    given, weights, biases, means, n_updates, change, *, tolerance, max_updates, damping, patience, fine_updates=2
):  # fmt: skip
    if given.dtype != namespace(given).float32 or not all(map(has_plain_rows, (given, *means))):
        formulas.mean_field(
            given, weights, biases, means, n_updates, change, tolerance=tolerance, max_updates=max_updates, damping=damping,
            patience=patience,
        )  # fmt: skip
        return
    n_rows, tile = len(given), TILES[simd_cpu.LEVEL]
    sizes = np.array([array.shape[1] for array in means], np.int64)
    cost = COST_OF_A_TERM * EXPECTED_UPDATES * 2 * sum(array.size for array in weights) + 1.0
    packed, starts, coarse_starts, unit = pack_couplings(weights, tile, coarse=max_updates > fine_updates)
    slots = PANELS[simd_cpu.LEVEL] * tile.height
    least = -(-n_rows // (n_threads() if n_rows * cost > 0 and worth(n_rows * cost) > 1 else 1))
    run = max(min(least, slots), min(-(-least // RUNS_A_THREAD), LARGEST_RUN))
    targets = np.array([[array.ctypes.data, array.strides[0] >> 2] for array in means], np.int64)
    biases = np.concatenate([np.zeros(0, np.float32), *biases])
    share_out(
        run_mean_field, n_rows, cost, tile.level, tile.height, tile.width, tile.lines, slots, sizes, address(given),
        given.strides[0] >> 2, address(packed), starts, coarse_starts, np.float32(unit), biases, targets, n_updates, change,
        np.float32(tolerance), np.float32(formulas.coarse_tolerance(tolerance)), max_updates, fine_updates, np.float32(damping),
        patience, COARSE_PATIENCE, run=run,
    )  # fmt: skip


class Work(NamedTuple):
    """What a thread has in work. A slot holds a row's means, all layers side by side, each padded to whole tiles.

    All but `begins` are addresses, of float32 where nothing else is said.
    """

    values: int
    halves: int  # the same, rounded to int16, while updates are coarse
    inputs: int  # of the first layer, from what is known
    added: int  # to the inputs of the other layers: their biases
    panels: int  # the means again, as products read them
    tile: int  # inputs of a few units and rows
    lanes: int  # the largest distances of an update, of every so many units
    zeros: int
    begins: np.ndarray  # of the layers in a slot, and where the last one ends


class Progress(NamedTuple):
    """How far rows in work are, by slots."""

    numbers: np.ndarray
    counts: np.ndarray
    lanes: np.ndarray
    since: np.ndarray
    nearest: np.ndarray
    kept: np.ndarray


@kernel
def run_mean_field(
    first, last, level, height, width, lines, slots, sizes, given, given_width, packed, starts, coarse_starts, unit, biases,
    targets, n_updates, change, tolerance, coarse_tolerance, max_updates, fine_updates, damping, patience, coarse_patience,
):  # fmt: skip
    n_slots, whole = min(slots, last - first), max(width, 2 * lines)
    begins = np.zeros(sizes.size + 1, np.int64)
    for layer in range(sizes.size):
        begins[layer + 1] = begins[layer] + -(-sizes[layer] // whole) * whole
    n_panels, row = -(-n_slots // height), begins[-1]
    parts = np.array([n_slots * row, n_slots * row // 2, n_slots * begins[1], row, (n_panels + 1) * lines * row,
                      height * width, width])  # fmt: skip
    ends = np.cumsum((parts + 15) // 16 * 16)
    room, places = aligned(ends[-1]), np.zeros(parts.size, np.int64)
    room[:], places[1:] = float32(0), ends[:-1]
    at = 0
    for layer in range(1, sizes.size):
        begin = places[3] + begins[layer]
        room[begin : begin + sizes[layer]] = biases[at : at + sizes[layer]]
        at += sizes[layer]
    places = room.ctypes.data + 4 * places
    lanes, nearest, kept = np.zeros((n_slots, width), np.float32), np.zeros(n_slots, np.float32), np.zeros(n_slots, np.float32)
    numbers, counts, since = np.zeros(n_slots, np.int64), np.zeros(n_slots, np.int64), np.zeros(n_slots, np.int64)
    progress = Progress(numbers, counts, lanes, since, nearest, kept)
    work = Work(places[0], places[1], places[2], places[3], places[4], places[5], lanes.ctypes.data, places[6], begins)
    n_updates[first:last] = 0
    if unit > 0:
        iterate(
            work, progress, first, last, level, height, width, lines, sizes, given, given_width, packed, coarse_starts, unit,
            targets, n_updates, change, coarse_tolerance, max_updates - fine_updates, float32(0), coarse_patience,
        )  # fmt: skip
    iterate(
        work, progress, first, last, level, height, width, lines, sizes, given, given_width, packed, starts, float32(0),
        targets, n_updates, change, tolerance, max_updates, damping, patience,
    )  # fmt: skip
    return room.size  # numba lets go of what is not named any more


@njit
def iterate(
    work, progress, first, last, level, height, width, lines, sizes, given, given_width, packed, starts, unit, targets,
    n_updates, change, tolerance, max_updates, damping, patience,
):  # fmt: skip
    """Update rows until they are done; coarse, where a sum of 1 is worth a `unit`, also until they come no nearer."""
    n_active, row, fresh, coarse = 0, first, True, unit > 0
    while max_updates > 0:
        while n_active < progress.numbers.size and row < last:
            take(work, level, n_active, row, sizes, targets, given + 4 * row * given_width, coarse)
            start(progress, n_active, row, n_updates[row])
            n_active, row, fresh = n_active + 1, row + 1, True
        if n_active == 0:
            break
        n_panels = -(-n_active // height)
        if fresh:
            pack_panels(level, lines, work, sizes, n_active, n_panels, coarse)
        progress.lanes[:] = float32(0)
        for layer in range(sizes.size):
            update_layer(level, width, lines, work, progress.kept, sizes, packed, starts, unit, layer, n_active, n_panels)
        fresh = False
        for slot in range(n_active - 1, -1, -1):
            if settle(progress, slot, tolerance, max_updates, damping, patience, coarse):
                number = progress.numbers[slot]
                n_updates[number], change[number] = progress.counts[slot], progress.lanes[slot].max()
                store(work, level, slot, sizes, targets, number)
                n_active, fresh = n_active - 1, True
                if slot < n_active:
                    move(work, progress, level, n_active, slot)


@njit
def take(work, level, slot, row, sizes, targets, given, coarse):
    """Take a row into a slot."""
    for layer in range(sizes.size):
        at = slot * work.begins[-1] + work.begins[layer]
        copy_line(level, work.values + 4 * at, targets[layer, 0] + 4 * row * targets[layer, 1], sizes[layer])
        if coarse:
            round_means(level, work.halves + 2 * at, work.values + 4 * at, sizes[layer])
    copy_line(level, work.inputs + 4 * slot * work.begins[1], given, sizes[0])


@njit
def start(progress, slot, row, n_updates):
    """Note that a row is in a slot now."""
    progress.numbers[slot], progress.counts[slot], progress.since[slot] = row, n_updates, 0
    progress.nearest[slot], progress.kept[slot] = float32(np.inf), float32(0)


@njit
def store(work, level, slot, sizes, targets, row):
    """Write the means of a slot to where they belong."""
    for layer in range(sizes.size):
        source = work.values + 4 * (slot * work.begins[-1] + work.begins[layer])
        copy_line(level, targets[layer, 0] + 4 * row * targets[layer, 1], source, sizes[layer])


@njit
def move(work, progress, level, slot, to):
    """Move what a slot holds to another one."""
    for at, width in ((work.values, work.begins[-1]), (work.halves, work.begins[-1] // 2), (work.inputs, work.begins[1])):
        copy_line(level, at + 4 * to * width, at + 4 * slot * width, width)
    start(progress, to, progress.numbers[slot], progress.counts[slot])
    progress.since[to], progress.nearest[to], progress.kept[to] = (
        progress.since[slot], progress.nearest[slot], progress.kept[slot],
    )  # fmt: skip


@njit
def settle(progress, slot, tolerance, max_updates, damping, patience, coarse):
    """Note how an update of a slot has gone; return whether it was the last."""
    largest = progress.lanes[slot].max()
    progress.counts[slot] += 1
    progress.since[slot] = 0 if largest < progress.nearest[slot] else progress.since[slot] + 1
    progress.nearest[slot] = min(progress.nearest[slot], largest)
    tired = progress.since[slot] >= patience
    if tired:
        progress.kept[slot] = damping
    return not largest > tolerance or progress.counts[slot] >= max_updates or (coarse and tired)


@njit
def pack_panels(level, lines, work, sizes, n_active, n_panels, coarse):
    """Pack the means that the first layer of an update, and those after it, begin with."""
    for panel in range(n_panels):
        begin, end = cut(n_active, panel, n_panels)
        for layer in range(1, sizes.size):
            pack_means(level, lines, work, panel, begin, end - begin, work.begins[layer], sizes[layer], coarse)


@njit
def pack_means(level, lines, work, panel, begin, n_rows, unit, n_units, coarse):
    """Pack the means of some units of the rows of a panel, from number `unit` of a slot on: coarse, in pairs."""
    row_width, values, panel = work.begins[-1], work.values, work.panels + 4 * panel * lines * work.begins[-1]
    if coarse:
        row_width, values, unit, n_units = row_width // 2, work.halves, unit // 2, (n_units + 1) // 2
    pack_lines(level, panel + 4 * lines * unit, lines, values + 4 * (begin * row_width + unit), row_width, n_rows, n_units)


@njit
def update_layer(level, width, lines, work, kept, sizes, packed, starts, unit, layer, n_active, n_panels):
    """Move the means of a layer of all rows in work, a tile at a time, and pack them again."""
    row_width, own, coarse = work.begins[-1], work.begins[layer], unit > 0
    origin, origin_width = (work.inputs, work.begins[1]) if layer == 0 else (work.added + 4 * own, 0)
    for column in range(0, sizes[layer], width):
        n_columns = min(width, sizes[layer] - column)
        for panel in range(n_panels):
            begin, end = cut(n_active, panel, n_panels)
            given = origin + 4 * (begin * origin_width + column)
            multiply(
                level, width, lines, work, sizes, packed, starts, layer, column, panel, end - begin, given, origin_width, coarse
            )
            for slot in range(begin, end):
                at, logits, part = slot * row_width + own + column, work.tile + 4 * (slot - begin) * width, ONE - kept[slot]
                known, largest = origin + 4 * (slot * origin_width + column), work.lanes + 4 * slot * width
                means, halves = work.values + 4 * at, work.halves + 2 * at
                if coarse:
                    relax_coarse(level, logits, known, unit, part, means, halves, largest, n_columns)
                else:
                    relax_tile(level, logits, known, unit, part, means, halves, largest, n_columns)
            pack_means(level, lines, work, panel, begin, end - begin, own + column, n_columns, coarse)


@njit
def multiply(level, width, lines, work, sizes, packed, starts, layer, column, panel, n_rows, given, given_width, coarse):
    """Write the inputs of a tile of a layer: coarse, as integers, and without `given`, what is not from the layers beside."""
    shift, tile, at_panel = 1 if coarse else 0, work.tile, work.panels + 4 * panel * lines * work.begins[-1]
    if sizes.size == 1:
        copy_block(tile, width, given, given_width, n_rows, min(width, sizes[layer] - column))
    if coarse:
        given, given_width = work.zeros, 0
    for way in range(2):
        other = layer - 1 if way == 0 else layer + 1
        if other < 0 or other >= sizes.size:
            continue
        n_terms = (sizes[other] + shift) >> shift
        depth = -(-n_terms // lines) * lines
        sliver = packed + 4 * (starts[way, layer - 1 + way] + column * depth)
        ahead, ahead_width = tile, 0
        if 16 * panel < width and column + width < sizes[layer]:  # a line of the next sliver's rows
            ahead, ahead_width = sliver + 4 * (depth * width + 16 * panel), width
        left = at_panel + 4 * lines * (work.begins[other] >> shift)
        if coarse:
            multiply_pairs(
                level, n_rows, tile, width, given, given_width, left, lines, sliver, width, n_terms, ahead, ahead_width
            )
        else:
            multiply_tile(
                level, n_rows, tile, width, given, given_width, left, lines, sliver, width, n_terms, ahead, ahead_width
            )
        given, given_width = tile, width
