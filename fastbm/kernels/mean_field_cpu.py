"""Mean field on the CPU: a thread takes some rows through all their updates, and waits for nobody.

Couplings are packed once, in both orientations, into slivers as wide as a tile of ``tile_cpu``. A thread keeps the rows in work
in as many slots as stay in its second cache; a row that is done leaves its slot to the next one, or to the last in work, so
that tiles stay full.
"""

from typing import NamedTuple

import numpy as np
from numba import carray, float32, njit

from fastbm.device import namespace
from fastbm.kernels import formulas, simd_cpu
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import ONE, SMALLEST_LOGIT, exp_negative
from fastbm.kernels.product_cpu import COST_OF_A_TERM, address, aligned, cut, has_plain_rows, pack_sliver
from fastbm.kernels.threads_cpu import n_threads, share_out, worth
from fastbm.kernels.tile_cpu import TILES, copy_block, floats_at, multiply_tile, pack_lines

PANELS = {"portable": 8, "avx2": 8, "avx512": 4}
"""Panels of rows in work at a time, each as high as a tile."""
RUNS_A_THREAD = 4
"""Runs of rows for each thread, where there are rows enough: some take longer than others."""
LARGEST_RUN = 1024
"""Rows of a run: a fraction of a second's, so that Ctrl-C is heard in between."""
EXPECTED_UPDATES = 10
COST_OF_A_PACKED_NUMBER = 0.3
"""Nanoseconds to pack a coupling."""


def mean_field(given, weights, biases, means, n_updates, change, *, tolerance, max_updates, damping, patience):
    if given.dtype != namespace(given).float32 or not all(map(has_plain_rows, (given, *means))):
        formulas.mean_field(
            given, weights, biases, means, n_updates, change, tolerance=tolerance, max_updates=max_updates, damping=damping,
            patience=patience,
        )  # fmt: skip
        return
    n_rows, tile = len(given), TILES[simd_cpu.LEVEL]
    sizes = np.array([array.shape[1] for array in means], np.int64)
    cost = COST_OF_A_TERM * EXPECTED_UPDATES * 2 * sum(array.size for array in weights) + 1.0
    packed, starts = pack_weights(weights, tile)
    slots = PANELS[simd_cpu.LEVEL] * tile.height
    least = -(-n_rows // (n_threads() if n_rows * cost > 0 and worth(n_rows * cost) > 1 else 1))
    run = max(min(least, slots), min(-(-least // RUNS_A_THREAD), LARGEST_RUN))
    places = np.array([[array.ctypes.data, array.strides[0] >> 2] for array in means], np.int64)
    biases = np.concatenate([np.zeros(0, np.float32), *biases])
    share_out(
        run_mean_field, n_rows, cost, tile.level, tile.height, tile.width, tile.lines, slots, sizes, address(given),
        given.strides[0] >> 2, packed, starts, biases, places, n_updates, change, np.float32(tolerance), max_updates,
        np.float32(damping), patience, run=run,
    )  # fmt: skip


def pack_weights(weights, tile):
    """Return couplings in slivers, a flat array, and where those to the layer above and those to the layer below begin."""
    starts, total = np.zeros((2, len(weights)), np.int64), 0
    for level, array in enumerate(weights):
        for way, (depth, n_columns) in enumerate((array.shape, array.shape[::-1])):
            starts[way, level] = total
            total += -(-n_columns // tile.width) * tile.width * -(-depth // tile.lines) * tile.lines
    packed = aligned(total)
    for level, array in enumerate(weights):
        plain = has_plain_rows(array)
        array = array if plain or has_plain_rows(array.T) else np.ascontiguousarray(array)
        plain = has_plain_rows(array)
        lying = array if plain else array.T
        for way in range(2):
            depth, n_columns = array.shape[:: 1 - 2 * way]
            share_out(
                run_pack, -(-n_columns // tile.width), COST_OF_A_PACKED_NUMBER * tile.width * depth, tile.level, tile.width,
                tile.lines, packed, starts[way, level], address(lying), lying.strides[0] >> 2, plain == bool(way), depth,
                n_columns,
            )  # fmt: skip
    return packed, starts


@kernel
def run_pack(first, last, level, width, lines, packed, start, b, b_width, transposed, depth, n_columns):
    size = width * (-(-depth // lines) * lines)
    for sliver in range(first, last):
        begin, column = start + size * sliver, width * sliver
        if n_columns - column < width:
            packed[begin : begin + size] = float32(0)
        place = b + 4 * (column * b_width if transposed else column)
        at = packed.ctypes.data + 4 * begin
        pack_sliver(level, at, width, lines, place, b_width, transposed, min(width, n_columns - column), depth)


class Work(NamedTuple):
    """What a thread has in work: a slot holds a row's means, all layers side by side, each padded to whole tiles."""

    values: np.ndarray
    inputs: np.ndarray  # of the first layer, from what is known
    added: np.ndarray  # to the inputs of the other layers: their biases
    panels: np.ndarray  # the means again, as products read them
    tile: np.ndarray
    lanes: np.ndarray  # the largest distances of an update, of every so many units
    begins: np.ndarray  # of the layers in a slot, and where the last one ends
    numbers: np.ndarray
    counts: np.ndarray
    since: np.ndarray
    nearest: np.ndarray
    kept: np.ndarray


@kernel
def run_mean_field(
    first, last, level, height, width, lines, slots, sizes, given, given_width, packed, starts, biases, places, n_updates,
    change, tolerance, max_updates, damping, patience,
):  # fmt: skip
    work = new_work(min(slots, last - first), height, width, lines, sizes, biases)
    n_active, row, fresh = 0, first, True
    while max_updates > 0:
        while n_active < work.numbers.size and row < last:
            take(work, n_active, row, sizes, places, given + 4 * row * given_width)
            n_active, row, fresh = n_active + 1, row + 1, True
        if n_active == 0:
            break
        n_panels = -(-n_active // height)
        if fresh:
            pack_panels(level, lines, work, sizes, n_active, n_panels)
        work.lanes[:] = float32(0)
        for layer in range(sizes.size):
            update_layer(level, width, lines, work, sizes, packed, starts, layer, n_active, n_panels)
        fresh = False
        for slot in range(n_active - 1, -1, -1):
            if settle(work, slot, tolerance, max_updates, damping, patience):
                number = work.numbers[slot]
                n_updates[number], change[number] = work.counts[slot], work.lanes[slot].max()
                store(work, slot, sizes, places)
                n_active, fresh = n_active - 1, True
                move(work, n_active, slot)
    return work.values.size + work.inputs.size + work.panels.size + work.added.size + work.tile.size  # alive until here


@njit
def new_work(n_slots, height, width, lines, sizes, biases):
    begins = np.zeros(sizes.size + 1, np.int64)
    for layer in range(sizes.size):
        begins[layer + 1] = begins[layer] + -(-sizes[layer] // width) * width
    values, inputs = aligned(n_slots * begins[-1]), aligned(n_slots * begins[1])
    panels, added = aligned((-(-n_slots // height) + 1) * lines * begins[-1]), aligned(begins[-1])
    added[:], values[:], inputs[:], panels[:] = float32(0), float32(0), float32(0), float32(0)
    at = 0
    for layer in range(1, sizes.size):
        added[begins[layer] : begins[layer] + sizes[layer]] = biases[at : at + sizes[layer]]
        at += sizes[layer]
    numbers, counts, since = np.zeros(n_slots, np.int64), np.zeros(n_slots, np.int64), np.zeros(n_slots, np.int64)
    nearest, kept = np.zeros(n_slots, np.float32), np.zeros(n_slots, np.float32)
    tile, lanes = aligned(height * width), np.zeros((n_slots, width), np.float32)
    return Work(values, inputs, added, panels, tile, lanes, begins, numbers, counts, since, nearest, kept)


@njit
def take(work, slot, row, sizes, places, given):
    """Take a row into a slot."""
    for layer in range(sizes.size):
        source = carray(floats_at(places[layer, 0] + 4 * row * places[layer, 1]), (sizes[layer],))
        begin = slot * work.begins[-1] + work.begins[layer]
        work.values[begin : begin + sizes[layer]] = source
    begin = slot * work.begins[1]
    work.inputs[begin : begin + sizes[0]] = carray(floats_at(given), (sizes[0],))
    work.numbers[slot], work.counts[slot], work.since[slot] = row, 0, 0
    work.nearest[slot], work.kept[slot] = float32(np.inf), float32(0)


@njit
def store(work, slot, sizes, places):
    """Write the means of a slot to where they belong."""
    for layer in range(sizes.size):
        target = carray(floats_at(places[layer, 0] + 4 * work.numbers[slot] * places[layer, 1]), (sizes[layer],))
        begin = slot * work.begins[-1] + work.begins[layer]
        for k in range(sizes[layer]):
            target[k] = work.values[begin + k]


@njit
def move(work, slot, to):
    """Move what a slot holds to another one, or to itself."""
    for numbers, width in ((work.values, work.begins[-1]), (work.inputs, work.begins[1])):
        for k in range(width):
            numbers[to * width + k] = numbers[slot * width + k]
    work.numbers[to], work.counts[to], work.since[to] = work.numbers[slot], work.counts[slot], work.since[slot]
    work.nearest[to], work.kept[to] = work.nearest[slot], work.kept[slot]


@njit
def settle(work, slot, tolerance, max_updates, damping, patience):
    """Note how an update of a slot has gone; return whether it was the last."""
    largest = work.lanes[slot].max()
    work.counts[slot] += 1
    work.since[slot] = 0 if largest < work.nearest[slot] else work.since[slot] + 1
    work.nearest[slot] = min(work.nearest[slot], largest)
    if work.since[slot] >= patience:
        work.kept[slot] = damping
    return not largest > tolerance or work.counts[slot] >= max_updates


@njit
def pack_panels(level, lines, work, sizes, n_active, n_panels):
    """Pack the means that the first layer of an update, and those after it, begin with."""
    row_width, panel_size = work.begins[-1], lines * work.begins[-1]
    for panel in range(n_panels):
        begin, end = cut(n_active, panel, n_panels)
        for layer in range(1, sizes.size):
            place = work.values.ctypes.data + 4 * (begin * row_width + work.begins[layer])
            out = work.panels.ctypes.data + 4 * (panel * panel_size + lines * work.begins[layer])
            pack_lines(level, out, lines, place, row_width, end - begin, sizes[layer])


@njit
def update_layer(level, width, lines, work, sizes, packed, starts, layer, n_active, n_panels):
    """Move the means of a layer of all rows in work, a tile at a time, and pack them again."""
    row_width, panel_size, own = work.begins[-1], lines * work.begins[-1], work.begins[layer]
    at_tile, at_panels, at_packed = work.tile.ctypes.data, work.panels.ctypes.data, packed.ctypes.data
    at_values, at_inputs, at_added = work.values.ctypes.data, work.inputs.ctypes.data, work.added.ctypes.data
    for column in range(0, sizes[layer], width):
        n_columns = min(width, sizes[layer] - column)
        for panel in range(n_panels):
            begin, end = cut(n_active, panel, n_panels)
            start, start_width = at_added + 4 * (own + column), 0
            if layer == 0:
                start, start_width = at_inputs + 4 * (begin * work.begins[1] + column), work.begins[1]
            if sizes.size == 1:
                copy_block(at_tile, width, start, start_width, end - begin, n_columns)
            for way in range(2):
                other = layer - 1 if way == 0 else layer + 1
                if other < 0 or other >= sizes.size:
                    continue
                depth = -(-sizes[other] // lines) * lines
                sliver = at_packed + 4 * (starts[way, layer - 1 + way] + column * depth)
                ahead, ahead_width = at_tile, 0
                if 16 * panel < width and column + width < sizes[layer]:  # a line of the next sliver's rows
                    ahead, ahead_width = sliver + 4 * (depth * width + 16 * panel), width
                multiply_tile(
                    level, end - begin, at_tile, width, start, start_width,
                    at_panels + 4 * (panel * panel_size + lines * work.begins[other]), lines, sliver, width, sizes[other],
                    ahead, ahead_width,
                )  # fmt: skip
                start, start_width = at_tile, width
            for slot in range(begin, end):
                at, part = slot * row_width + own + column, ONE - work.kept[slot]
                relax(work.tile, (slot - begin) * width, work.values, at, work.lanes[slot], n_columns, part)
            pack_lines(
                level, at_panels + 4 * (panel * panel_size + lines * (own + column)), lines,
                at_values + 4 * (begin * row_width + own + column), row_width, end - begin, n_columns,
            )  # fmt: skip


@njit(error_model="numpy")  # no test for a division by zero
def relax(logits, first, means, at, lanes, n, part):
    """Move `n` means the `part` of the way to those of their logits, and note the largest distances in lanes."""
    x, y = logits[first : first + n], means[at : at + n]
    for k in range(n):
        e = exp_negative(max(-abs(x[k]), SMALLEST_LOGIT))
        distance = (ONE if x[k] > float32(0) else e) / (ONE + e) - y[k]
        y[k] += part * distance
        lanes[k] = max(lanes[k], abs(distance))
