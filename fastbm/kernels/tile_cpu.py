"""A tile of a matrix product in registers, and the packing of what it reads, as intrinsics on addresses: plain LLVM.

Matrices are float32, given by their addresses and by their widths, the distances of their rows in numbers. The first argument
is a number whose type says which level's registers and instructions are used, so that a process can hold kernels of all levels.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbm.kernels.llvm_cpu import (
    F32,
    I8,
    I32,
    I64,
    call,
    load,
    load_some,
    loop,
    multiply_add,
    number,
    splat,
    spot,
    store,
    transposed,
)  # fmt: skip


class Tile(NamedTuple):
    """A tile of `height` rows and `n_vectors` vectors of `lanes` columns; its height fits in `lines`, a power of two."""

    level: np.generic
    height: int
    n_vectors: int
    lanes: int
    lines: int

    @property
    def width(self) -> int:
        return self.n_vectors * self.lanes


TILES = {
    "portable": Tile(np.uint8(0), 6, 2, 4, 8),
    "avx2": Tile(np.uint16(0), 6, 2, 8, 8),
    "avx512": Tile(np.uint32(0), 14, 2, 16, 16),
}
"""Sums fill all but a few of the registers, which are sixteen of 4 numbers, sixteen of 8, and thirty-two of 16."""


def tile_of(level) -> Tile:
    """Return the tile of the level that a numba type stands for."""
    return next(tile for tile in TILES.values() if 8 * tile.level.itemsize == level.bitwidth)


@intrinsic
def multiply_tile(
    typingctx, level, height, out, out_width, start, start_width, a, a_width, b, b_width, depth, ahead, ahead_width
):  # fmt: skip
    """out[r, j] = start[r, j] + Σ_k a[k, r] b[k, j], for r < height and all columns j of a tile, in the order of k < depth.

    On the way the first number of each of `depth` rows that begin at `ahead` is brought into the second cache.
    """
    signature, tile = types.void(level, *[types.intp] * 12), tile_of(level)

    def codegen(context, builder, signature, arguments):
        _, height, out, out_width, start, start_width, a, a_width, b, b_width, depth, ahead, ahead_width = arguments
        columns = [number(v * tile.lanes) for v in range(tile.n_vectors)]

        def places(matrix, width, n_rows):
            rows = [spot(builder, matrix, builder.mul(number(r), width)) for r in range(n_rows)]
            return [spot(builder, row, column) for row in rows for column in columns]

        def multiply(n_rows):
            def body(k, carried):
                left, right, there, *totals = carried
                _prefetch(builder, there)
                vectors = [load(builder, spot(builder, right, column), tile.lanes) for column in columns]
                new = []
                for r in range(n_rows):
                    factor = splat(builder, builder.load(spot(builder, left, number(r)), align=4), tile.lanes)
                    some = totals[r * tile.n_vectors : (r + 1) * tile.n_vectors]
                    new += [multiply_add(builder, factor, vector, total) for vector, total in zip(vectors, some, strict=True)]
                return [spot(builder, left, a_width), spot(builder, right, b_width), spot(builder, there, ahead_width), *new]

            totals = [load(builder, place, tile.lanes) for place in places(start, start_width, n_rows)]
            before = [spot(builder, matrix) for matrix in (a, b, ahead)]
            _, _, _, *totals = loop(builder, number(0), depth, [*before, *totals], body)
            for total, place in zip(totals, places(out, out_width, n_rows), strict=True):
                store(builder, total, place)

        end = builder.append_basic_block()
        choice = builder.switch(height, end)
        for n_rows in range(1, tile.height + 1):
            choice.add_case(number(n_rows), block := builder.append_basic_block())
            builder.position_at_end(block)
            multiply(n_rows)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def pack_lines(typingctx, level, out, out_width, lines, lines_width, n_lines, depth):
    """out[k, i] = lines[i, k] for i < n_lines and k < depth.

    Whole blocks are written, as wide and as high as the tile's `lines`; what lies beyond is no number that matters.
    """
    signature, n = types.void(level, *[types.intp] * 6), tile_of(level).lines

    def codegen(context, builder, signature, arguments):
        _, out, out_width, lines, lines_width, n_lines, depth = arguments
        starts = [spot(builder, lines, builder.mul(line, lines_width)) for line in _lines_there(builder, n, n_lines)]
        _write_lines(builder, out, out_width, starts, depth)
        return context.get_dummy_value()

    return signature, codegen


def _lines_there(builder, n, n_lines):
    """The numbers of n lines, of which only so many are there; the last of them stands for the others."""
    last = builder.sub(n_lines, number(1))
    return [builder.select(builder.icmp_signed("<", number(i), n_lines), number(i), last) for i in range(n)]


def _write_lines(builder, out, out_width, starts, depth):
    """Write out[k, i] = number k of the line that begins at starts[i], for k < depth, whole blocks of them."""
    n = len(starts)

    def write(begin, rows):
        for k, row in enumerate(transposed(builder, rows)):
            store(builder, row, spot(builder, out, builder.mul(builder.add(begin, number(k)), out_width)))

    def body(block, carried):
        begin = builder.mul(block, number(n))
        write(begin, [load(builder, spot(builder, start, begin), n) for start in starts])
        return []

    whole = builder.udiv(depth, number(n))
    loop(builder, number(0), whole, [], body)
    begin = builder.mul(whole, number(n))
    rest = builder.sub(depth, begin)
    with builder.if_then(builder.icmp_signed(">", rest, number(0))):
        write(begin, [load_some(builder, spot(builder, start, begin), n, rest) for start in starts])


@intrinsic
def pack_pixels(typingctx, level, out, out_width, places, n_lines, depth):
    """As `pack_lines`, of lines that begin at the addresses which are held, as int64, at `places`."""
    signature, n = types.void(level, *[types.intp] * 5), tile_of(level).lines

    def codegen(context, builder, signature, arguments):
        _, out, out_width, places, n_lines, depth = arguments
        starts = [_place(builder, places, line) for line in _lines_there(builder, n, n_lines)]
        _write_lines(builder, out, out_width, starts, depth)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def copy_pixels(typingctx, level, out, places, offset, n_columns, depth):
    """out[k, j] = number offset + j of the line at the k-th address of `places`, 0 beyond n_columns, for k < depth."""
    signature, n = types.void(level, *[types.intp] * 5), tile_of(level).lines

    def codegen(context, builder, signature, arguments):
        _, out, places, offset, n_columns, depth = arguments

        def body(k, carried):
            line = spot(builder, _place(builder, places, k), offset)
            store(builder, load_some(builder, line, n, n_columns), spot(builder, out, builder.mul(k, number(n))))
            return []

        loop(builder, number(0), depth, [], body)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def copy_line(typingctx, level, out, given, n):
    """out[k] = given[k] for k < n."""
    signature, lanes = types.void(level, *[types.intp] * 3), tile_of(level).lanes

    def codegen(context, builder, signature, arguments):
        _, out, given, n = arguments

        def body(block, carried):
            at = builder.mul(block, number(lanes))
            store(builder, load(builder, spot(builder, given, at), lanes), spot(builder, out, at))
            return []

        whole = builder.udiv(n, number(lanes))
        loop(builder, number(0), whole, [], body)
        begin = builder.mul(whole, number(lanes))

        def one(k, carried):
            builder.store(builder.load(spot(builder, given, k)), spot(builder, out, k))
            return []

        loop(builder, begin, n, [], one)
        return context.get_dummy_value()

    return signature, codegen


def _place(builder, places, index):
    """A pointer to the numbers at an address out of a list of them."""
    pointer = builder.gep(builder.inttoptr(places, I64.as_pointer()), [index])
    return builder.inttoptr(builder.load(pointer, align=8), F32.as_pointer())


def _copy_rows(vectors_of):
    """Return what copies rows, of so many vectors of so many lanes, given the tile."""

    @intrinsic
    def copy_rows(typingctx, level, out, out_width, rows, rows_width, n_columns, depth):
        """out[k, j] = rows[k, j] for j < n_columns, and 0 for the others, for k < depth."""
        signature = types.void(level, *[types.intp] * 6)
        n_vectors, lanes = vectors_of(tile_of(level))

        def codegen(context, builder, signature, arguments):
            _, out, out_width, rows, rows_width, n_columns, depth = arguments

            def body(k, carried):
                to, given = carried
                for at in (number(v * lanes) for v in range(n_vectors)):
                    store(
                        builder,
                        load_some(builder, spot(builder, given, at), lanes, builder.sub(n_columns, at)),
                        spot(builder, to, at),
                    )
                return [spot(builder, to, out_width), spot(builder, given, rows_width)]

            loop(builder, number(0), depth, [spot(builder, out), spot(builder, rows)], body)
            return context.get_dummy_value()

        return signature, codegen

    return copy_rows


copy_sliver, copy_panel = _copy_rows(lambda tile: (tile.n_vectors, tile.lanes)), _copy_rows(lambda tile: (1, tile.lines))


@intrinsic
def copy_block(typingctx, out, out_width, given, given_width, n_rows, n_columns):
    """out[r, j] = given[r, j] for r < n_rows and j < n_columns, and no more is read or written."""

    def codegen(context, builder, signature, arguments):
        out, out_width, given, given_width, n_rows, n_columns = arguments

        def row(r, carried):
            to, source = (spot(builder, at, builder.mul(r, width)) for at, width in ((out, out_width), (given, given_width)))

            def one(j, carried):
                builder.store(builder.load(spot(builder, source, j)), spot(builder, to, j))
                return []

            loop(builder, number(0), n_columns, [], one)
            return []

        loop(builder, number(0), n_rows, [], row)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), codegen


@intrinsic
def floats_at(typingctx, address):
    """The numbers at an address."""

    def codegen(context, builder, signature, arguments):
        return spot(builder, arguments[0])

    return types.CPointer(types.float32)(types.intp), codegen


def _prefetch(builder, pointer):
    """Bring a line into the second cache, to be read."""
    hints = [ir.Constant(I32, hint) for hint in (0, 2, 1)]
    call(builder, "llvm.prefetch.p0", ir.VoidType(), [builder.bitcast(pointer, I8.as_pointer()), *hints])
