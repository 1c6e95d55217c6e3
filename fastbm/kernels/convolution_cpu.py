"""Convolutions as products of tiles: windows are packed as they are read, some hundred pixels at a time, and never written out.

A transposed convolution is one of stride 1 for each remainder of the output's row and column by the stride. Where images are
thin, its sums would fill few lanes: the products with all taps are made, and added up where they overlap.
"""

import numpy as np
from numba import carray, float32, njit

from fastbm.kernels import ACTIVATIONS, simd_cpu, windows_cpu
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.product_cpu import COST_OF_A_TERM, aligned, cut, finish, pack_sliver
from fastbm.kernels.threads_cpu import share_out
from fastbm.kernels.tile_cpu import TILES, copy_line, copy_pixels, copy_sliver, floats_at, multiply_tile, pack_pixels
from fastbm.kernels.windows_cpu import DEPTH

FLOAT = np.dtype(np.float32)
MOST_FOLDED = 250_000
"""Products of an image and all taps, in numbers, that are held while they are added up."""


def convolve(images, weights, bias, maps, *, stride, padding, activation, slope):
    check(images, weights, bias, maps, stride, padding, maps)
    tile = TILES[simd_cpu.LEVEL]
    plan = windows_cpu.of_convolution(
        len(images), maps.shape[1:3], weights.shape, padding, tile.height, tile.width
    )  # fmt: skip
    multiply(tile, plan, images, weights, bias, maps, False, stride, 1, activation, slope)


def deconvolve(maps, weights, bias, images, *, stride, padding, activation, slope):
    check(images, weights, bias, maps, stride, padding, images)
    tile, (n_rows, n_columns, n_channels, _) = TILES[simd_cpu.LEVEL], weights.shape
    n_products, n_pixels = n_rows * n_columns * n_channels, maps.shape[1] * maps.shape[2]
    if n_channels < tile.width and n_products * n_pixels <= MOST_FOLDED:
        fold(tile, maps, weights, bias, images, stride, padding, activation, slope)
        return
    plan = windows_cpu.of_transposed(
        len(maps), images.shape[1:3], weights.shape, stride, padding, tile.height, tile.width
    )  # fmt: skip
    multiply(tile, plan, maps, weights, bias, images, True, 1, stride, activation, slope)


def convolution_weights(images, maps, out, *, stride, padding):
    check(images, out, np.empty(0, np.float32), maps, stride, padding, out)
    tile = TILES[simd_cpu.LEVEL]
    shares = windows_cpu.of_weights(out.shape, padding, tile.height)
    cost = COST_OF_A_TERM * maps.size * out.size / out.shape[3]
    share_out(
        run_weights, len(shares.parts), cost / len(shares.parts), tile.level, tile.height, tile.width, tile.lines, images, maps,
        out, *shares, stride,
    )  # fmt: skip


def check(images, weights, bias, maps, stride, padding, written):
    """Raise ValueError unless these are arrays that belong together: they are read, and written to, by address."""
    for name, array in (("images", images), ("weights", weights), ("maps", maps)):
        if array.dtype != FLOAT or array.ndim != 4 or not array.flags.c_contiguous:
            raise ValueError(
                f"{name} must be float32 of four axes, C-contiguous, got {array.dtype} of shape {array.shape} with strides "
                f"{array.strides}"
            )
    sizes = tuple((n + 2 * padding - k) // stride + 1 for n, k in zip(images.shape[1:3], weights.shape[:2], strict=True))
    if maps.shape != (len(images), *sizes, weights.shape[3]) or images.shape[3] != weights.shape[2]:
        raise ValueError(
            f"images, {images.shape}, weights, {weights.shape}, and maps, {maps.shape}, are not the shapes of a convolution of "
            f"stride {stride} and padding {padding}"
        )
    if bias.size not in (0, written.shape[3]) or bias.dtype != FLOAT or not bias.flags.c_contiguous:
        raise ValueError(f"bias must be {written.shape[3]} float32 numbers, or none, got {bias.dtype} of shape {bias.shape}")
    if not written.flags.writeable:
        raise ValueError("what is to be written is read-only")


def multiply(tile, plan, source, weights, bias, out, transposed, source_step, out_step, activation, slope):
    """Multiply what the plan says, and write what the activation makes of the sums."""
    if out.size == 0:
        return
    cost = COST_OF_A_TERM * source.size * weights.size / source.shape[3] / (1 if transposed else source_step**2)
    share_out(
        run_pixels, len(plan.items), cost / len(plan.items), tile.level, tile.height, tile.width, tile.lines, source, weights,
        bias, out, transposed, source_step, out_step, *plan, ACTIVATIONS.index(activation), slope_of(activation, slope),
    )  # fmt: skip


def slope_of(activation, slope):
    return float32(slope if activation == "leaky_relu" else 0.0)


@kernel
def run_pixels(
    first, last, level, height, width, lines, source, weights, bias, out, transposed, source_step, out_step, phases, blocks,
    runs, items, deepest, most_rows, activation, slope,
):  # fmt: skip
    room = make_room(height, width, lines, deepest, most_rows, out.shape[3])
    (ys, xs, starts, outs), line, scratch = lists(most_rows), aligned(out.shape[3]), aligned(out.shape[3])
    at_out, at_bias, at_line = out.ctypes.data, bias.ctypes.data if bias.size else 0, line.ctypes.data
    at_sums, sums_width = room[0].ctypes.data, room[1]
    for item in range(first, last):
        phase, begin, end = phases[items[item, 0]], items[item, 1], items[item, 2]
        n_rows = end - begin
        find_windows(ys, xs, starts, source, begin, n_rows, phase[2], phase[3], source_step)
        for r in range(n_rows):
            image, pixel = divmod(begin + r, phase[2] * phase[3])
            i, j = divmod(pixel, phase[3])
            y, x = phase[0] + i * out_step, phase[1] + j * out_step
            outs[r] = at_out + 4 * ((image * out.shape[1] + y) * out.shape[2] + x) * out.shape[3]
        multiply_rows(
            level, height, width, lines, n_rows, ys, xs, starts, source, weights, transposed, out.shape[3], runs,
            blocks[phase[4] : phase[5]], room,
        )  # fmt: skip
        finished = at_bias != 0 or activation != 0
        n_panels = -(-n_rows // height)
        for panel in range(n_panels):
            start, stop = cut(n_rows, panel, n_panels)
            for r in range(start, stop):
                to = at_line if finished else outs[r]
                copy_sums(level, to, at_sums, panel, r - start, height, width, sums_width, out.shape[3])
                if finished:
                    finish(at_line, outs[r], at_bias, out.shape[3], activation, slope, scratch)
    return line.size + scratch.size + room[0].size


@njit
def find_windows(ys, xs, starts, source, begin, n, n_rows, n_columns, step):
    """Find where the windows of pixels begin, in rows and columns of the images, and as addresses."""
    of_row = 4 * source.shape[2] * source.shape[3]
    image, pixel = divmod(begin, n_rows * n_columns)
    i, j = divmod(pixel, n_columns)
    for r in range(n):
        ys[r], xs[r] = i * step, j * step
        starts[r] = source.ctypes.data + image * source.shape[1] * of_row + i * step * of_row + 4 * j * step * source.shape[3]
        j += 1
        if j == n_columns:
            i, j = i + 1, 0
        if i == n_rows:
            image, i = image + 1, 0


@njit(forceinline=True)
def copy_sums(level, to, sums, panel, row, height, width, sums_width, n_columns):
    """Copy the sums of a row of a panel, which lie in tiles."""
    at = sums + 4 * (panel * sums_width * height + row * width)
    for c in range(0, n_columns, width):
        copy_line(level, to + 4 * c, at + 4 * c * height, min(width, n_columns - c))


@njit
def lists(n):
    """Return four lists of n whole numbers, 0 at first."""
    return np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)


@njit
def make_room(height, width, lines, deepest, most_rows, n_columns):
    """Return sums, how many a row has, panels, their size, a sliver, addresses, lines at borders, and zeros.

    Sums lie tile by tile: what is added to often then falls into few sets of the cache.
    """
    sums_width, depth = -(-n_columns // width) * width, deepest + lines
    sliver, zeros = aligned(depth * width), aligned(max(DEPTH, width))
    sliver[:], zeros[:] = float32(0), float32(0)
    panels = aligned((most_rows // height + 1) * depth * lines)
    places, borders = np.empty(lines, np.int64), aligned(lines * DEPTH)
    return (
        aligned((most_rows // height + 1) * height * sums_width),
        sums_width,
        panels,
        depth * lines,
        sliver,
        places,
        borders,
        zeros,
    )


@njit
def multiply_rows(
    level, height, width, lines, n_rows, ys, xs, starts, source, weights, transposed, n_columns, runs, blocks, room
):  # fmt: skip
    """Write the sums of rows, pixels whose windows begin at ys, xs, at these addresses, by columns of the weights."""
    sums, sums_width, panels, panel_size, sliver, places, borders, zeros = room
    at_sums, at_panels, at_sliver, at_places = sums.ctypes.data, panels.ctypes.data, sliver.ctypes.data, places.ctypes.data
    at_weights, at_zeros, n_maps, n_panels = weights.ctypes.data, zeros.ctypes.data, weights.shape[3], -(-n_rows // height)
    if len(blocks) == 0:
        sums[: n_panels * height * sums_width] = float32(0)
    for block in range(len(blocks)):
        for panel in range(n_panels):
            (begin, stop), target = cut(n_rows, panel, n_panels), at_panels + 4 * panel_size * panel
            for number in range(blocks[block, 0], blocks[block, 1]):
                find_lines(places, begin, stop, ys, xs, starts, source, runs[number], borders, at_zeros)
                pack_pixels(level, target, lines, at_places, stop - begin, runs[number, 5])
                target += 4 * lines * runs[number, 5]
        depth = 0
        for number in range(blocks[block, 0], blocks[block, 1]):
            depth += runs[number, 5]
        for c in range(0, n_columns, width):
            target, given, n_given = at_sliver, 0, min(width, n_columns - c)
            if transposed:
                for number in range(blocks[block, 0], blocks[block, 1]):
                    given = at_weights + 4 * (runs[number, 4] + c * n_maps)
                    pack_sliver(level, target, width, lines, given, n_maps, True, n_given, runs[number, 5])
                    target += 4 * width * runs[number, 5]
            else:
                given = at_weights + 4 * (runs[blocks[block, 0], 4] + c)
                copy_sliver(level, at_sliver, width, given, n_maps, n_given, depth)
            coming = 0  # the rows of the next sliver, brought nearer while this one is used
            if not transposed and c + width < n_columns:
                coming = given + 4 * width
            elif not transposed and block + 1 < len(blocks):
                coming = at_weights + 4 * runs[blocks[block + 1, 0], 4]
            for panel in range(n_panels):
                begin, stop = cut(n_rows, panel, n_panels)
                at = at_sums + 4 * height * (panel * sums_width + c)
                start, start_width = (at_zeros, 0) if block == 0 else (at, width)
                ahead, ahead_width = at_sliver, 0
                if coming and 16 * panel < width:
                    ahead, ahead_width = coming + 64 * panel, n_maps
                multiply_tile(
                    level, stop - begin, at, width, start, start_width, at_panels + 4 * panel_size * panel, lines, at_sliver,
                    width, depth, ahead, ahead_width,
                )  # fmt: skip
    return sums.size + panels.size + sliver.size + places.size + borders.size + zeros.size


@njit
def find_lines(places, begin, stop, ys, xs, starts, source, run, borders, at_zeros):
    """Write the addresses at which a run begins for some pixels: in the images, or, at their borders, of copies with zeros."""
    n_rows, n_columns, n_channels, dy, dx, n_pixels = source.shape[1], source.shape[2], source.shape[3], run[0], run[1], run[2]
    ahead = 4 * ((dy * n_columns + dx) * n_channels + run[3])
    if n_pixels == 1:
        for r in range(begin, stop):
            y, x = ys[r] + dy, xs[r] + dx
            inside = (y >= 0) & (y < n_rows) & (x >= 0) & (x < n_columns)
            places[r - begin] = starts[r] + ahead if inside else at_zeros
        return
    for r in range(begin, stop):
        y, x = ys[r] + dy, xs[r] + dx
        if y < 0 or y >= n_rows or x <= -n_pixels or x >= n_columns:
            places[r - begin] = at_zeros
        elif x >= 0 and x + n_pixels <= n_columns:
            places[r - begin] = starts[r] + ahead
        else:
            line = borders[(r - begin) * DEPTH : (r - begin + 1) * DEPTH]
            copy_border(line, starts[r] + ahead - 4 * x * n_channels, x, n_pixels, n_columns, n_channels)
            places[r - begin] = line.ctypes.data


@njit
def copy_border(line, row, x, n_pixels, n_columns, n_channels):
    """Copy the pixels from x on of a row at an address, and zeros where there are none."""
    given = carray(floats_at(row), (n_columns * n_channels,))
    for pixel in range(n_pixels):
        inside = 0 <= x + pixel < n_columns
        for channel in range(n_channels):
            line[pixel * n_channels + channel] = given[(x + pixel) * n_channels + channel] if inside else float32(0)


# ---------------------------------------------------------------------------------------------------- thin images


def fold(tile, maps, weights, bias, images, stride, padding, activation, slope):
    """Make the products of maps with all taps, some images at a time, and add them up."""
    if images.size == 0:
        return
    n_products, n_pixels = weights.size // weights.shape[3], maps.shape[1] * maps.shape[2]
    n_together = min(len(maps), max(1, windows_cpu.ROWS // n_pixels))
    plan = windows_cpu.of_products(n_together * n_pixels, weights.shape[3], n_products, tile.height, tile.width)
    n_groups = -(-len(maps) // n_together)
    share_out(
        run_folded, n_groups, COST_OF_A_TERM * maps.size * n_products / n_groups, tile.level, tile.height, tile.width,
        tile.lines, maps, weights, bias, images, n_together, plan.blocks, plan.runs, plan.deepest, stride, padding,
        ACTIVATIONS.index(activation), slope_of(activation, slope),
    )  # fmt: skip


@kernel
def run_folded(
    first, last, level, height, width, lines, maps, weights, bias, images, n_together, blocks, runs, deepest, stride, padding,
    activation, slope,
):  # fmt: skip
    n_pixels, n_products = maps.shape[1] * maps.shape[2], weights.shape[0] * weights.shape[1] * weights.shape[2]
    room = make_room(height, width, lines, deepest, n_together * n_pixels + height, n_products)
    ys, xs, starts, _ = lists(n_together * n_pixels)
    (n_rows, n_columns, n_channels), taps = images.shape[1:], weights.shape[:2]
    reached = (max((maps.shape[2] - 1) * stride + taps[1], n_columns + padding)) * n_channels
    line, scratch, products = aligned(reached), aligned(n_columns * n_channels), aligned(n_together * n_pixels * n_products)
    at_sums, sums_width, at_products = room[0].ctypes.data, room[1], products.ctypes.data
    for group in range(first, last):
        begin, end = group * n_together, min((group + 1) * n_together, len(maps))
        total = (end - begin) * n_pixels
        for r in range(total):
            starts[r] = maps.ctypes.data + 4 * (begin * n_pixels + r) * maps.shape[3]
        multiply_rows(
            level, height, width, lines, total, ys, xs, starts, maps, weights, True, n_products, runs, blocks, room
        )  # fmt: skip
        n_panels = -(-total // height)
        for panel in range(n_panels):
            start, stop = cut(total, panel, n_panels)
            for r in range(start, stop):
                to = at_products + 4 * r * n_products
                copy_sums(level, to, at_sums, panel, r - start, height, width, sums_width, n_products)
        for image in range(begin, end):
            own = products[(image - begin) * n_pixels * n_products :]
            for y in range(n_rows):
                add_taps(line, own, y, maps.shape[1], maps.shape[2], taps[0], taps[1] * n_channels, n_channels, stride, padding)
                inside = line[padding * n_channels :]
                if bias.size:
                    add_bias(inside, bias, n_columns)
                at = images.ctypes.data + 4 * (image * n_rows + y) * n_columns * n_channels
                if activation != 0:
                    finish(inside.ctypes.data, at, 0, n_columns * n_channels, activation, slope, scratch)
                else:
                    copy_line(level, at, inside.ctypes.data, n_columns * n_channels)
    return line.size + scratch.size + products.size + room[0].size


@njit
def add_taps(line, products, y, n_rows, n_columns, tap_rows, span, n_channels, stride, padding):
    """Add up a row of an image, its margin before it: a row of taps of a pixel of maps lies side by side there too."""
    line[:] = float32(0)
    for tap in range(tap_rows):
        row = y + padding - tap
        if row >= 0 and row % stride == 0 and row // stride < n_rows:
            for column in range(n_columns):
                at, to = ((row // stride * n_columns + column) * tap_rows + tap) * span, column * stride * n_channels
                for k in range(span):
                    line[to + k] += products[at + k]


@njit
def add_bias(line, bias, n_pixels):
    for pixel in range(n_pixels):
        for channel in range(bias.size):
            line[pixel * bias.size + channel] += bias[channel]


# ------------------------------------------------------------------------------------------------------- weights


@kernel
def run_weights(first, last, level, height, width, lines, images, maps, out, runs, panels, parts, most_rows, stride):
    (n_rows, n_columns, n_maps), n_pixels = maps.shape[1:], maps.shape[0] * maps.shape[1] * maps.shape[2]
    sums_width, most_panels = -(-n_maps // width) * width, 1
    for part in range(first, last):
        most_panels = max(most_panels, parts[part, 1] - parts[part, 0])
    sums, packed, sliver, zeros = (
        aligned(most_panels * height * sums_width),
        aligned(most_panels * DEPTH * lines),
        aligned(DEPTH * width),
        aligned(DEPTH),
    )
    ys, xs, starts, places = lists(DEPTH)
    borders = aligned(DEPTH * DEPTH) if runs[0, 2] > 1 else aligned(1)
    sliver[:], zeros[:] = float32(0), float32(0)
    at_sums, at_packed, at_sliver, at_zeros = sums.ctypes.data, packed.ctypes.data, sliver.ctypes.data, zeros.ctypes.data
    for part in range(first, last):
        n_panels = parts[part, 1] - parts[part, 0]
        sums[:] = float32(0)
        for begin in range(0, n_pixels, DEPTH):
            depth = min(DEPTH, n_pixels - begin)
            find_windows(ys, xs, starts, images, begin, depth, n_rows, n_columns, stride)
            before = -1
            for number in range(n_panels):
                panel = panels[parts[part, 0] + number]
                if panel[0] != before:
                    find_lines(places, 0, depth, ys, xs, starts, images, runs[panel[0]], borders, at_zeros)
                    before = panel[0]
                at = at_packed + 4 * DEPTH * lines * number
                copy_pixels(level, at, places.ctypes.data, panel[1], panel[2], depth)
            for c in range(0, n_maps, width):
                n_given, place = min(width, n_maps - c), maps.ctypes.data + 4 * (begin * n_maps + c)
                right, right_width = place, n_maps
                if n_given < width or n_panels > 2:
                    right, right_width = at_sliver, width
                    copy_sliver(level, at_sliver, width, place, n_maps, n_given, depth)
                for number in range(n_panels):
                    panel = panels[parts[part, 0] + number]
                    at = at_sums + 4 * height * (number * sums_width + c)
                    multiply_tile(
                        level, panel[2], at, width, at, width, at_packed + 4 * DEPTH * lines * number, lines, right,
                        right_width, depth, at_sliver, 0,
                    )  # fmt: skip
        for number in range(n_panels):
            panel = panels[parts[part, 0] + number]
            for row in range(panel[2]):
                to = out.ctypes.data + 4 * (panel[3] + row) * n_maps
                copy_sums(level, to, at_sums, number, row, height, width, sums_width, n_maps)
    return sums.size + packed.size + sliver.size + zeros.size + borders.size
