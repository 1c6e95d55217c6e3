"""Matrix products of our own: the same bits for any number of threads, and for a row alone or among others.

A block of rows of one matrix is packed into panels, as high as a tile, and a few columns of the other into a sliver, as wide as
a tile: both are then read in the order in which they lie. All that a tile reads stays in the caches, which is why the sums are
taken over `DEPTH` terms at a time.
"""

import numpy as np
from numba import carray, float32, int64, njit

from fastbm.kernels import ACTIVATIONS, formulas, simd_cpu
from fastbm.kernels.bends_cpu import bend
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.draw_cpu import ONE, exp_negative, write_means
from fastbm.kernels.threads_cpu import share_out, worth
from fastbm.kernels.tile_cpu import TILES, copy_block, copy_panel, copy_sliver, floats_at, multiply_tile, pack_lines

DEPTH, ROWS = 256, 336
"""Terms of the sums that are added at a time, and rows of one block, whose panels then stay in the second cache."""
RUNS_A_THREAD = 2
"""Parts for each thread: few, because every part packs its rows and columns for itself."""
NARROW = 4
"""Columns up to which rows and columns change places, as most of a tile's columns would be empty."""
COST_OF_A_TERM = 0.02
"""Nanoseconds to multiply and add."""
FLOAT, SIGMOID, TANH = np.dtype(np.float32), ACTIVATIONS.index("sigmoid"), ACTIVATIONS.index("tanh")
T0, T1, T2, T3, T4 = map(float32, (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1))
"""Coefficients of tanh(x) / x - 1 in x² for |x| < 0.625: S. L. Moshier, Cephes, tanhf."""


def product(a, b, out, *, transpose_a=False, transpose_b=False, accumulate=False, bias=None, activation="identity", slope=0.2):
    if out.dtype == np.float64:
        formulas.product(
            a, b, out, transpose_a=transpose_a, transpose_b=transpose_b, accumulate=accumulate, bias=bias,
            activation=activation, slope=slope,
        )  # fmt: skip
        return
    check(a, b, out, bias, transpose_a, transpose_b)
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    slope = float(slope) if activation == "leaky_relu" else 0.0
    multiply(a, b, out, out, bias, ACTIVATIONS.index(activation), slope, int(transpose_a), int(transpose_b), int(accumulate))


def check(a, b, out, bias, transpose_a, transpose_b):
    """Raise ValueError unless these are arrays that can be multiplied: they are read, and written to, by address."""
    for array in (a, b, out):
        if array.dtype != FLOAT or array.ndim != 2 or not has_plain_rows(array):
            name = "out" if array is out else "a" if array is a else "b"
            raise ValueError(
                f"{name} must be a float32 matrix, the numbers of each row side by side, got {array.dtype} of shape "
                f"{array.shape} with strides {array.strides}"
            )
    left, right = a.shape[::-1] if transpose_a else a.shape, b.shape[::-1] if transpose_b else b.shape
    if left[1] != right[0] or out.shape != (left[0], right[1]):
        raise ValueError(f"a, {left}, b, {right}, and out, {out.shape}, are not the shapes of a product")
    if bias is not None and (bias.dtype != FLOAT or bias.ndim != 1 or bias.size < right[1] or not bias.flags.c_contiguous):
        raise ValueError(
            f"bias must be {right[1]} float32 numbers side by side, or more, got {bias.dtype} of shape {bias.shape}"
        )
    if not out.flags.writeable:
        raise ValueError("out is read-only")


def has_plain_rows(array):
    step, one = array.strides
    return (one == 4 and not step & 3) or array.shape[1] <= 1 or array.size == 0


def multiply(a, b, out, result, bias, activation, slope, transpose_a, transpose_b, accumulate):
    """As `product`, but what the activation makes of the sums is written to `result`; `b` may be narrower than `out`."""
    if out.size == 0:
        return
    (n_rows, n_columns), n_terms, tile = out.shape, a.shape[not transpose_a], TILES[simd_cpu.LEVEL]
    cost = COST_OF_A_TERM * n_rows * n_columns * n_terms
    row_parts, column_parts = parts_of(n_rows, n_columns, tile, worth(cost))
    n_parts = row_parts * column_parts
    sums = address(out), out.strides[0] >> 2
    values = sums if result is out else (address(result), result.strides[0] >> 2)
    arguments = (
        tile.level, tile.height, tile.width, tile.lines, *sums, *values, n_rows, n_columns, n_terms, address(a),
        a.strides[0] >> 2, transpose_a, address(b),
        b.strides[0] >> 2, transpose_b, b.shape[not transpose_b], accumulate, 0 if bias is None else address(bias), activation,
        slope, row_parts, column_parts,
    )  # fmt: skip
    if n_parts == 1:
        run_product(0, 1, *arguments)
    else:
        share_out(run_product, n_parts, cost / n_parts, *arguments, run=1)


def parts_of(n_rows, n_columns, tile, n_threads):
    """Return into how many parts rows and columns are cut: the more of them, the more is packed more than once."""
    row_parts, column_parts = -(-n_rows // ROWS), 1
    wanted = n_threads * RUNS_A_THREAD if n_threads > 1 else 1
    if row_parts < wanted and n_rows <= n_columns:
        column_parts = min(-(-wanted // row_parts), -(-n_columns // tile.width))
    elif wanted > 1:
        row_parts = min(-(-row_parts // wanted) * wanted, -(-n_rows // tile.height))
    return row_parts, column_parts


@kernel
def address(array):
    return int64(array.ctypes.data)


@kernel
def run_product(
    first, last, level, height, width, lines, out, out_width, result, result_width, n_rows, n_columns, n_terms, a, a_width,
    transpose_a, b, b_width, transpose_b, b_columns, accumulate, bias, activation, slope, row_parts, column_parts,
):  # fmt: skip
    is_turned = n_columns <= NARROW and n_columns < n_rows and b_columns == n_columns
    sums, sums_width, turned = out, out_width, aligned(n_rows * n_columns if is_turned else 0)
    if is_turned:
        a, a_width, transpose_a, b, b_width, transpose_b = b, b_width, 1 - transpose_b, a, a_width, 1 - transpose_a
        n_rows, n_columns, row_parts, column_parts, b_columns = n_columns, n_rows, 1, row_parts, n_rows
        out, out_width = turned.ctypes.data, n_columns
    n_blocks, n_slivers = max(-(-n_terms // DEPTH), 1), -(-n_columns // width)
    deepest = -(-n_terms // (n_blocks * lines)) * lines
    panel_size, most_panels = 4 * deepest * lines, (n_rows // row_parts + 1) // height + 1
    panels, sliver = aligned(most_panels * deepest * lines), aligned(deepest * width)
    edge, zeros, sliver[:] = aligned(height * width), np.zeros(width, np.float32), float32(0)
    room = aligned(n_columns)
    at_panels, at_sliver, at_edge, at_zeros = panels.ctypes.data, sliver.ctypes.data, edge.ctypes.data, zeros.ctypes.data
    for part in range(first, last):
        row, last_row = cut(n_rows, part // column_parts, row_parts)
        column, last_column = cut(n_slivers, part % column_parts, column_parts)
        column, last_column, n_panels = width * column, min(width * last_column, n_columns), -(-(last_row - row) // height)
        if is_turned and accumulate:
            for r in range(n_rows):
                line, there = out + 4 * (r * out_width + column), sums + 4 * (column * sums_width + r)
                turn(there, sums_width, line, last_column - column, False)
        for block in range(n_blocks):
            k, end = cut(n_terms, block, n_blocks)
            depth, fresh = end - k, block == 0 and not accumulate
            start_of_a, step = (a + 4 * k * a_width, 4) if transpose_a else (a + 4 * k, 4 * a_width)
            for panel in range(n_panels):
                begin, stop = cut(last_row - row, panel, n_panels)
                place = start_of_a + step * (row + begin)
                pack_panel(level, at_panels + panel_size * panel, lines, place, a_width, transpose_a, stop - begin, depth)
            start_of_b, step = (b + 4 * k, 4 * b_width) if transpose_b else (b + 4 * k * b_width, 4)
            for c in range(column, last_column, width):
                n_written, n_given = min(width, last_column - c), min(width, b_columns - c)
                place, right, right_width = start_of_b + step * c, at_sliver, width
                if n_panels == 1 and n_given == width and not transpose_b:
                    right, right_width = place, b_width  # read once, where it lies
                else:
                    pack_sliver(level, at_sliver, width, lines, place, b_width, transpose_b, n_given, depth)
                for panel in range(n_panels):
                    begin, stop = cut(last_row - row, panel, n_panels)
                    at = out + 4 * ((row + begin) * out_width + c)
                    target, target_width = (at, out_width) if n_written == width else (at_edge, width)
                    start, start_width = (at_zeros, 0) if fresh else (target, target_width)
                    ahead, ahead_width = at_sliver, 0
                    if 16 * panel < width and c + width < last_column and not transpose_b:  # a line of the next sliver's rows
                        ahead, ahead_width = place + 4 * (2 * width - 1 - 16 * panel), b_width
                    if n_written < width and not fresh:
                        copy_block(at_edge, width, at, out_width, stop - begin, n_written)
                    multiply_tile(
                        level, stop - begin, target, target_width, start, start_width, at_panels + panel_size * panel, lines,
                        right, right_width, depth, ahead, ahead_width,
                    )  # fmt: skip
                    if n_written < width:
                        copy_block(at, out_width, at_edge, width, stop - begin, n_written)
        if is_turned:
            for r in range(n_rows):
                line, n = out + 4 * (r * out_width + column), last_column - column
                if bias != 0:
                    add(line, bias + 4 * r, n)
                if result != sums:
                    turn(sums + 4 * (column * sums_width + r), sums_width, line, n, True)
                if activation != 0:
                    finish(line, line, 0, n, activation, slope, room)
                turn(result + 4 * (column * result_width + r), result_width, line, n, True)
        elif bias != 0 or activation != 0:
            for r in range(row, last_row):
                given, values = out + 4 * (r * out_width + column), result + 4 * (r * result_width + column)
                finish(given, values, bias and bias + 4 * column, last_column - column, activation, slope, room)
    return panels.size + sliver.size + edge.size + zeros.size + turned.size  # numba lets go of what is not named any more


@njit(forceinline=True)
def pack_panel(level, out, lines, a, a_width, transposed, n_rows, depth):
    """Pack a few rows: all their first numbers, then all their second numbers."""
    if transposed:
        copy_panel(level, out, lines, a, a_width, n_rows, depth)
    else:
        pack_lines(level, out, lines, a, a_width, n_rows, depth)


@njit(forceinline=True)
def pack_sliver(level, out, width, lines, b, b_width, transposed, n_columns, depth):
    """Pack a few columns, row after row."""
    if transposed:
        for line in range(0, n_columns, lines):
            pack_lines(level, out + 4 * line, width, b + 4 * line * b_width, b_width, min(lines, n_columns - line), depth)
    else:
        copy_sliver(level, out, width, b, b_width, n_columns, depth)


@njit(forceinline=True)
def cut(n, part, n_parts):
    """Where a part of n things begins, and where it ends; the parts differ by one at most."""
    return part * n // n_parts, (part + 1) * n // n_parts


@njit
def aligned(size):
    """Room for so many numbers, at a boundary of 64 bytes."""
    room = np.empty(size + 16, np.float32)
    skipped = (-room.ctypes.data % 64) // 4
    return room[skipped : skipped + size]


@njit
def turn(column, width, line, n, back):
    """Copy n numbers that lie `width` numbers apart to a line of them, or `back`."""
    apart, close = carray(floats_at(column), (n * width,)), carray(floats_at(line), (n,))
    for k in range(n):
        if back:
            apart[k * width] = close[k]
        else:
            close[k] = apart[k * width]


@njit
def add(line, bias, n):
    """Add one number to n."""
    x, added = carray(floats_at(line), (n,)), carray(floats_at(bias), (1,))[0]
    for k in range(n):
        x[k] += added


@njit
def finish(sums, result, bias, n, activation, slope, room):
    """Add the bias to n sums, and write what the activation makes of them; sigmoid and tanh by way of `room`."""
    if activation != SIGMOID and activation != TANH:
        bend(result, sums, bias, n, activation == 0, float32(slope))
        return
    x, y = carray(floats_at(sums), (n,)), carray(floats_at(result), (n,))
    if bias == 0:
        for k in range(n):
            room[k] = x[k]
    else:
        added = carray(floats_at(bias), (n,))
        for k in range(n):
            room[k] = x[k] + added[k]
    if result != sums:
        for k in range(n):
            x[k] = room[k]
    if activation == SIGMOID:
        write_means(y, room)
    else:
        write_tanh(y, room)


@njit(error_model="numpy")
def write_tanh(y, x):
    for k in range(y.size):
        size, square = abs(x[k]), x[k] * x[k]
        near = x[k] + x[k] * (square * ((((T0 * square + T1) * square + T2) * square + T3) * square + T4))
        e = exp_negative(max(float32(-2) * size, float32(-87)))
        far = (ONE - e) / (ONE + e)
        y[k] = near if size < float32(0.625) else (far if x[k] > float32(0) else -far)
