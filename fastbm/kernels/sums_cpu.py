"""Sums of rows, and a transposition, all in registers, as intrinsics: plain LLVM, which finds instructions on any processor."""

from numba import types
from numba.extending import intrinsic

from fastbm.kernels.llvm_cpu import I64, Memory, loop, multiply_add, multiply_then_add, number, splat, sum_of, transposed


def _add_rows(n_vectors):
    """Return `add_rows` for that many vectors of 16 columns."""

    @intrinsic
    def add_rows(typingctx, sums, at, rows, listed, begin, end, column):
        """sums[at + k] += Σ_i rows[listed[i], column + k] for 0 <= k < 16 n_vectors and begin <= i < end, in the order of i."""
        signature = types.void(sums, types.intp, rows, listed, types.intp, types.intp, types.intp)
        return signature, _row_sums(n_vectors)

    return add_rows


def _add_multiples(n_vectors, fused):
    """Return `add_multiples` for that many vectors of 16 columns, products rounded before they are added, or `fused`."""

    @intrinsic
    def add_multiples(typingctx, sums, at, rows, listed, line, begin, end, column, factors):
        """As `add_rows` of listed[line], each row times factors[line, i]: float32."""
        signature = types.void(sums, types.intp, rows, listed, types.intp, types.intp, types.intp, types.intp, factors)
        return signature, _row_sums(n_vectors, multiply_add if fused else multiply_then_add)

    return add_multiples


def _row_sums(n_vectors, add=None):
    """Return what emits `add_rows`, or, where `add` says how a row times its factor is added, `add_multiples`."""

    def codegen(context, builder, signature, arguments):
        at = arguments[1]
        begin, end, column = arguments[-4:-1] if add else arguments[-3:]
        out, row, index = (Memory(context, builder, signature.args[k], arguments[k]) for k in (0, 2, 3))
        offsets, line = [number(16 * k) for k in range(n_vectors)], number(0)
        if add:
            factors, line = Memory(context, builder, signature.args[-1], arguments[-1]), builder.mul(arguments[4], index.width)

        def body(i, totals):
            i = builder.add(line, i)
            start = builder.add(builder.mul(builder.zext(index.load(i), I64), row.width), column)
            terms = [row.load(builder.add(start, offset), 16) for offset in offsets]
            if add:
                factor = splat(builder, factors.load(i), 16)
                return [add(builder, factor, term, total) for total, term in zip(totals, terms, strict=True)]
            return [sum_of(builder, total, term) for total, term in zip(totals, terms, strict=True)]

        totals = [out.load(builder.add(at, offset), 16) for offset in offsets]
        for total, offset in zip(loop(builder, begin, end, totals, body), offsets, strict=True):
            out.store(total, builder.add(at, offset))
        return context.get_dummy_value()

    return codegen


add_rows_4, add_rows_8 = _add_rows(4), _add_rows(8)
add_multiples_4, add_multiples_16 = (_add_multiples(n, fused=False) for n in (4, 16))
fuse_multiples_1, fuse_multiples_4, fuse_multiples_16 = (_add_multiples(n, fused=True) for n in (1, 4, 16))


@intrinsic
def transpose_16(typingctx, source, row, column, target):
    """target[column + k, row + i] = source[row + i, column + k] for 0 <= i, k < 16; int32."""
    signature = types.void(source, types.intp, types.intp, target)

    def codegen(context, builder, signature, arguments):
        _, row, column, _ = arguments
        taken, given = (Memory(context, builder, signature.args[k], arguments[k]) for k in (0, 3))

        def place(memory, i, k):
            return builder.add(builder.mul(i, memory.width), k)

        rows = [taken.load(place(taken, builder.add(row, number(i)), column), 16) for i in range(16)]
        for k, line in enumerate(transposed(builder, rows)):
            given.store(line, place(given, builder.add(column, number(k)), row))
        return context.get_dummy_value()

    return signature, codegen
