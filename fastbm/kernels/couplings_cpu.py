"""Couplings of a chain of layers, packed for mean field: in float32, and rounded to pairs of int16."""

from itertools import pairwise

import numpy as np
from llvmlite import ir
from numba import float32, types
from numba.extending import intrinsic

from fastbm.kernels import COARSE_BITS
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.formulas import exponent_below
from fastbm.kernels.llvm_cpu import F32, I16, I32, call, constant, load_some, loop, number, splat, spot, store, store_some
from fastbm.kernels.product_cpu import address, has_plain_rows, pack_sliver
from fastbm.kernels.threads_cpu import share_out
from fastbm.kernels.tile_cpu import tile_of

LANES = 16
COST_OF_A_NUMBER = 0.5
"""Nanoseconds to round or to pack a coupling."""


def pack_couplings(weights, tile, *, coarse):
    """Return couplings in slivers, flat; where those of float32 begin, where the pairs; and what a sum of 1 of these is worth.

    Those up, to the layer above, are packed, and those down: where they begin is of shape (2, number of pairs of layers). A sum
    is worth 0 when there are no pairs: they are not wanted, or couplings are too large.
    """
    weights = [array if has_plain_rows(array) or has_plain_rows(array.T) else np.ascontiguousarray(array) for array in weights]
    exponent = coarse_exponent(weights) if coarse else -1
    sizes = np.zeros((3, 2, len(weights)), np.int64)
    for level, array in enumerate(weights):
        for way, (depth, n_columns) in enumerate((array.shape, array.shape[::-1])):
            sizes[0, way, level] = sliver_size(depth, n_columns, tile)
            sizes[1, way, level] = sliver_size(-(-depth // 2), n_columns, tile) if exponent >= 0 else 0
        n_rows, n_columns = array.shape if has_plain_rows(array) else array.shape[::-1]
        sizes[2, 0, level] = n_rows * -(-n_columns // LANES) * LANES // 2 if exponent >= 0 else 0
    starts = np.cumsum(sizes.reshape(-1)).reshape(sizes.shape) - sizes
    packed = np.empty(int(sizes.sum()) + 16, np.float32)  # of NumPy's, whose large arrays lie in large pages
    starts += (-address(packed) % 64) // 4
    for level, array in enumerate(weights):
        if has_plain_rows(array):
            up, down, lying = (array, False), (array, True), array
        else:
            up, down, lying = (array.T, True), (array.T, False), array.T
        for way, (source, turned) in enumerate((up, down)):
            pack_matrix(source, turned, tile, packed, starts[0, way, level])
        if exponent >= 0:
            across, along = starts[1, :, level] if lying is array else starts[1, ::-1, level]
            pack_pairs(lying, exponent, tile, packed, across, along, starts[2, 0, level])
    return packed, starts[0], starts[1], 2.0 ** -(exponent + COARSE_BITS) if exponent >= 0 else 0.0


def sliver_size(depth, n_columns, tile):
    return -(-n_columns // tile.width) * tile.width * -(-depth // tile.lines) * tile.lines


def pack_matrix(source, turned, tile, packed, start):
    """Pack an array or, turned, its transpose."""
    depth, n_columns = source.shape[::-1] if turned else source.shape
    share_out(
        run_pack, -(-n_columns // tile.width), COST_OF_A_NUMBER * tile.width * depth, tile.level, tile.width, tile.lines,
        packed, start, address(source), source.strides[0] >> 2, turned, depth, n_columns,
    )  # fmt: skip


@kernel
def run_pack(first, last, level, width, lines, packed, start, b, b_width, turned, depth, n_columns):
    size = width * (-(-depth // lines) * lines)
    for sliver in range(first, last):
        begin, column = start + size * sliver, width * sliver
        if n_columns - column < width:
            packed[begin : begin + size] = float32(0)
        place = b + 4 * (column * b_width if turned else column)
        at = packed.ctypes.data + 4 * begin
        pack_sliver(level, at, width, lines, place, b_width, turned, min(width, n_columns - column), depth)


def pack_pairs(array, exponent, tile, packed, across, along, rounded):
    """Pack couplings times 2**exponent as pairs: those of two rows, from `across` on, and of two columns, from `along` on.

    By way of `rounded`, where they lie as in the array.
    """
    n_rows, n_columns = array.shape
    share_out(
        run_round, -(-n_rows // 2), 2 * COST_OF_A_NUMBER * n_columns, tile.level, tile.width, tile.lines, address(array),
        array.strides[0] >> 2, n_rows, n_columns, np.float32(2.0**exponent), address(packed), across, rounded,
    )  # fmt: skip
    width = -(-n_columns // LANES) * LANES // 2
    pairs = packed[rounded : rounded + n_rows * width].reshape(n_rows, width)[:, : -(-n_columns // 2)]
    pack_matrix(pairs, True, tile, packed, along)


@kernel
def run_round(first, last, level, width, lines, rows, row_width, n_rows, n_columns, scale, packed, across, rounded):
    size, wide = width * (-(-((n_rows + 1) // 2) // lines) * lines), -(-n_columns // LANES) * LANES // 2
    for pair in range(first, last):
        low, high = 2 * pair, min(2 * pair + 1, n_rows - 1)
        factor = scale if high > low else float32(0)
        low_halves, high_halves = packed + 4 * (rounded + low * wide), packed + 4 * (rounded + high * wide)
        place, low, high = packed + 4 * (across + width * pair), rows + 4 * low * row_width, rows + 4 * high * row_width
        round_rows(level, low, high, n_columns, scale, factor, place, size, high_halves, low_halves)


@intrinsic
def round_rows(typingctx, level, low, high, n, scale, factor, pairs, size, high_halves, low_halves):
    """Round `n` numbers of two rows, times a scale each, to int16: pair by pair into slivers of this size, and row by row.

    The row below is written last, since the other one may not be there, and then is the same.
    """
    tile = tile_of(level)
    signature = types.void(level, *[types.intp] * 3, types.float32, types.float32, *[types.intp] * 4)

    def codegen(context, builder, signature, arguments):
        _, low, high, n, scale, factor, pairs, size, high_halves, low_halves = arguments
        integers, shorts = (ir.VectorType(kind, LANES) for kind in (I32, I16))

        def rounded(row, at, factor):
            numbers = load_some(builder, spot(builder, row, at), LANES, builder.sub(n, at))
            scaled = builder.fmul(numbers, splat(builder, factor, LANES))
            return builder.fptosi(call(builder, f"llvm.rint.v{LANES}f32", scaled.type, [scaled]), integers)

        def body(block, carried):
            at = builder.mul(block, number(LANES))
            one, other = rounded(low, at, scale), rounded(high, at, factor)
            both = builder.or_(builder.shl(other, constant(I32, LANES, 16)), builder.and_(one, constant(I32, LANES, 0xFFFF)))
            for first in range(0, LANES, min(tile.width, LANES)):  # a sliver may be narrower than a block
                lanes = [*range(first, first + min(tile.width, LANES))]
                column = builder.add(at, number(first))
                sliver = builder.mul(builder.udiv(column, number(tile.width)), size)
                place = spot(builder, pairs, builder.add(sliver, builder.urem(column, number(tile.width))))
                part = builder.shuffle_vector(both, both, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))
                with builder.if_then(builder.icmp_signed("<", column, n)):
                    store(builder, part, place)
            for halves, numbers in ((high_halves, other), (low_halves, one)):
                place = builder.gep(builder.inttoptr(halves, I16.as_pointer()), [at])
                builder.store(builder.trunc(numbers, shorts), builder.bitcast(place, shorts.as_pointer()), align=2)
            return []

        blocks = builder.udiv(builder.add(n, number(LANES - 1)), number(LANES))
        loop(builder, number(0), blocks, [], body)
        return context.get_dummy_value()

    return signature, codegen


def coarse_exponent(weights):
    """As ``formulas.coarse_exponent``, in one pass over the couplings."""
    if not weights:
        return -1
    shapes = [array.shape for array in weights]
    sums = [np.zeros(n, np.float32) for n in (*(n for n, _ in shapes), shapes[-1][1])]
    largest = 0.0
    for array, (below, above) in zip(weights, pairwise(sums), strict=True):
        if has_plain_rows(array):
            largest = max(largest, add_sizes(array, below, above))
        else:
            largest = max(largest, add_sizes(array.T, above, below))
    room = 2.0 ** (31 - COARSE_BITS) - max(map(len, sums)) - 1  # see there
    most = max(float(np.concatenate(sums).max()) / room, largest / (2**15 - 1))
    return exponent_below(most)


@kernel
def add_sizes(array, of_rows, of_columns):
    """Add the sizes of the numbers of each row and of each column; return the largest, or NaN where one is not finite."""
    largest, columns = float32(0), of_columns.ctypes.data
    n_rows, n_columns = array.shape
    for row in range(n_rows):
        total, most = add_row(array.ctypes.data + row * array.strides[0], columns, n_columns)
        of_rows[row] += total
        largest = max(largest, most)
    return largest


@intrinsic
def add_row(typingctx, row, columns, n):
    """Add |row[k]| to columns[k], for k < n; return their sum, and the largest."""
    signature = types.UniTuple(types.float32, 2)(*[types.intp] * 3)

    def codegen(context, builder, signature, arguments):
        row, columns, n = arguments
        floats = ir.VectorType(F32, LANES)

        def body(block, carried):
            at = builder.mul(block, number(LANES))
            left = builder.sub(n, at)
            size = call(builder, f"llvm.fabs.v{LANES}f32", floats, [load_some(builder, spot(builder, row, at), LANES, left)])
            place = spot(builder, columns, at)
            store_some(builder, builder.fadd(load_some(builder, place, LANES, left), size), place, left)
            largest = builder.select(builder.fcmp_ordered(">", size, carried[1]), size, carried[1])
            return [builder.fadd(carried[0], size), largest]

        zeros = ir.Constant(floats, [0.0] * LANES)
        blocks = builder.udiv(builder.add(n, number(LANES - 1)), number(LANES))
        total, largest = loop(builder, number(0), blocks, [zeros, zeros], body)
        total = call(builder, f"llvm.vector.reduce.fadd.v{LANES}f32", F32, [ir.Constant(F32, 0.0), total])
        largest = call(builder, f"llvm.vector.reduce.fmax.v{LANES}f32", F32, [largest])
        return context.make_tuple(builder, signature.return_type, [total, largest])

    return signature, codegen
