"""Mean field on the CPU: a thread takes some rows through all their updates, and waits for nobody.

Couplings are packed once, in both orientations, into slivers as wide as a tile of ``tile_cpu``. A thread keeps the rows in work
in as many slots as stay in its second cache; a row that is done leaves its slot to the next one, or to the last in work, so
that tiles stay full.
"""

import numpy as np
from numba import carray, float32, njit

from fastbm.device import namespace
from fastbm.kernels import formulas, simd_cpu
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import ONE, SMALLEST_LOGIT, exp_negative
from fastbm.kernels.product_cpu import COST_OF_A_TERM, address, aligned, cut, has_plain_rows, pack_sliver
from fastbm.kernels.threads_cpu import n_threads, share_out, worth
from fastbm.kernels.tile_cpu import TILES, floats_at, multiply_tile, pack_lines

PANELS = {"portable": 8, "avx2": 8, "avx512": 4}
"""Panels of rows in work at a time, each as high as a tile."""
RUNS_A_THREAD = 4
"""Runs of rows for each thread, where there are rows enough: some take longer than others."""
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
    run = max(min(least, slots), -(-least // RUNS_A_THREAD))
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


@kernel
def run_mean_field(
    first, last, level, height, width, lines, slots, sizes, given, given_width, packed, starts, biases, places, n_updates,
    change, tolerance, max_updates, damping, patience,
):  # fmt: skip
    n_layers, n_slots = sizes.size, min(slots, last - first)
    begins, padded = np.zeros(n_layers + 1, np.int64), np.zeros(n_layers + 1, np.int64)
    for layer in range(n_layers):
        padded[layer] = -(-sizes[layer] // width) * width
        begins[layer + 1] = begins[layer] + padded[layer]
    row_width, most_panels = begins[n_layers], -(-n_slots // height) + 1
    values, inputs = aligned(n_slots * row_width), aligned(n_slots * padded[0])
    panels, added = aligned(most_panels * lines * row_width), aligned(row_width)
    tile, lanes = aligned(height * width), np.zeros((n_slots, width), np.float32)
    at_tile, at_panels, panel_size = tile.ctypes.data, panels.ctypes.data, lines * row_width
    at_values, at_inputs, at_added, at_packed = values.ctypes.data, inputs.ctypes.data, added.ctypes.data, packed.ctypes.data
    added[:], values[:], inputs[:], panels[:] = float32(0), float32(0), float32(0), float32(0)
    at = 0
    for layer in range(1, n_layers):
        added[begins[layer] : begins[layer] + sizes[layer]] = biases[at : at + sizes[layer]]
        at += sizes[layer]
    numbers, counts = np.empty(n_slots, np.int64), np.zeros(n_slots, np.int64)
    nearest, kept, since = np.empty(n_slots, np.float32), np.zeros(n_slots, np.float32), np.zeros(n_slots, np.int64)
    n_active, row, fresh = 0, first, True
    while True:
        while n_active < n_slots and row < last:
            load_row(values, row_width * n_active, begins, sizes, places, row)
            source = carray(floats_at(given + 4 * row * given_width), (sizes[0],))
            inputs[n_active * padded[0] : n_active * padded[0] + sizes[0]] = source
            numbers[n_active], counts[n_active], since[n_active] = row, 0, 0
            nearest[n_active], kept[n_active] = float32(np.inf), float32(0)
            n_active, row, fresh = n_active + 1, row + 1, True
        if n_active == 0 or max_updates <= 0:
            break
        n_panels = -(-n_active // height)
        if fresh:
            for panel in range(n_panels):
                begin, end = cut(n_active, panel, n_panels)
                for layer in range(1, n_layers):
                    place = at_values + 4 * (begin * row_width + begins[layer])
                    pack_lines(
                        level, at_panels + 4 * (panel * panel_size + lines * begins[layer]), lines, place, row_width,
                        end - begin, sizes[layer],
                    )  # fmt: skip
        lanes[:] = float32(0)
        for layer in range(n_layers):
            for column in range(0, sizes[layer], width):
                n_columns = min(width, sizes[layer] - column)
                for panel in range(n_panels):
                    begin, end = cut(n_active, panel, n_panels)
                    start, start_width = at_added + 4 * (begins[layer] + column), 0
                    if layer == 0:
                        start, start_width = at_inputs + 4 * (begin * padded[0] + column), padded[0]
                    if n_layers == 1:
                        copy_tile(tile, width, inputs, begin * padded[0] + column, padded[0], end - begin)
                    for way in range(2):
                        other = layer - 1 if way == 0 else layer + 1
                        if other < 0 or other >= n_layers:
                            continue
                        depth = -(-sizes[other] // lines) * lines
                        sliver = at_packed + 4 * (starts[way, layer - 1 + way] + column * depth)
                        ahead, ahead_width = at_tile, 0
                        if 16 * panel < width and column + width < sizes[layer]:
                            ahead, ahead_width = sliver + 4 * (depth * width + 16 * panel), width
                        multiply_tile(
                            level, end - begin, at_tile, width, start, start_width,
                            at_panels + 4 * (panel * panel_size + lines * begins[other]), lines, sliver, width, sizes[other],
                            ahead, ahead_width,
                        )  # fmt: skip
                        start, start_width = at_tile, width
                    for slot in range(begin, end):
                        at = slot * row_width + begins[layer] + column
                        relax(tile, (slot - begin) * width, values, at, lanes[slot], n_columns, ONE - kept[slot])
                    pack_lines(
                        level, at_panels + 4 * (panel * panel_size + lines * (begins[layer] + column)), lines,
                        at_values + 4 * (begin * row_width + begins[layer] + column), row_width, end - begin, n_columns,
                    )  # fmt: skip
        fresh = False
        slot = n_active - 1
        while slot >= 0:
            largest = lanes[slot].max()
            counts[slot] += 1
            since[slot] = 0 if largest < nearest[slot] else since[slot] + 1
            nearest[slot] = min(nearest[slot], largest)
            if since[slot] >= patience:
                kept[slot] = damping
            if not largest > tolerance or counts[slot] >= max_updates:
                number = numbers[slot]
                n_updates[number], change[number] = counts[slot], largest
                store_row(values, row_width * slot, begins, sizes, places, number)
                n_active, fresh = n_active - 1, True
                if slot < n_active:  # the last row in work takes the place
                    last_slot = n_active
                    values[slot * row_width : (slot + 1) * row_width] = values[
                        last_slot * row_width : (last_slot + 1) * row_width
                    ]
                    inputs[slot * padded[0] : (slot + 1) * padded[0]] = inputs[
                        last_slot * padded[0] : (last_slot + 1) * padded[0]
                    ]
                    numbers[slot], counts[slot] = numbers[last_slot], counts[last_slot]
                    nearest[slot], kept[slot], since[slot] = nearest[last_slot], kept[last_slot], since[last_slot]
            slot -= 1
    return values.size + inputs.size + panels.size + added.size + tile.size  # numba lets go of what is not named any more


@njit
def load_row(values, at, begins, sizes, places, row):
    for layer in range(sizes.size):
        source = carray(floats_at(places[layer, 0] + 4 * row * places[layer, 1]), (sizes[layer],))
        begin = at + begins[layer]
        values[begin : begin + sizes[layer]] = source


@njit
def store_row(values, at, begins, sizes, places, row):
    for layer in range(sizes.size):
        target = carray(floats_at(places[layer, 0] + 4 * row * places[layer, 1]), (sizes[layer],))
        begin = at + begins[layer]
        for k in range(sizes[layer]):
            target[k] = values[begin + k]


@njit
def copy_tile(tile, width, inputs, at, inputs_width, n_rows):
    for r in range(n_rows):
        for k in range(width):
            tile[r * width + k] = inputs[at + r * inputs_width + k]


@njit(error_model="numpy")  # no test for a division by zero
def relax(logits, first, means, at, lanes, n, part):
    """Move `n` means the `part` of the way to those of their logits, and note the largest distances in lanes."""
    x, y = logits[first : first + n], means[at : at + n]
    for k in range(n):
        e = exp_negative(max(-abs(x[k]), SMALLEST_LOGIT))
        distance = (ONE if x[k] > float32(0) else e) / (ONE + e) - y[k]
        y[k] += part * distance
        lanes[k] = max(lanes[k], abs(distance))
