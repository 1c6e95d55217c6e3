"""Vector instructions that numba has no name for, as intrinsics: each emits a short loop of LLVM vector code.

`look_up` needs AVX-512 (vpermw, tables of uint16) or AVX2 (vpshufb, tables of uint8); the others are plain LLVM, which finds
instructions on any processor. `LEVEL` is what this process uses: the best that the processor has, or what the environment
variable FASTBM_SIMD names. At level "portable" nothing is looked up.
"""

import os

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LEVELS = ("portable", "avx2", "avx512")


def levels_here() -> tuple[str, ...]:
    """Return the levels that this processor has, the best last."""
    features = get_host_cpu_features()
    has = {"portable": True, "avx2": features.get("avx2"), "avx512": features.get("avx512bw")}
    return tuple(level for level in LEVELS if has[level])


def _chosen() -> str:
    here = levels_here()
    level = os.environ.get("FASTBM_SIMD") or here[-1]
    if level not in here:
        raise ValueError(
            f"the environment variable FASTBM_SIMD must be one of {', '.join(here)} on this processor, got {level!r}"
        )
    return level


LEVEL = _chosen()

UNITS_AT_ONCE = 4
"""Units whose sums `look_up` keeps in registers: those of one Philox counter."""

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


# ------------------------------------------------------------------------------------------------- pieces of LLVM


def _number(value):
    return ir.Constant(I64, value)


def _constant(kind, lanes, value):
    return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes)


def _splat(builder, value, lanes):
    """A vector with `value` in all lanes."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, undefined, _constant(I32, lanes, 0))


def _call(builder, name, result, arguments):
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _sum_of(builder, left, right):
    return (builder.fadd if isinstance(left.type.element, ir.FloatType) else builder.add)(left, right)


class _Memory:
    """An array, C-contiguous, as memory: loads and stores of vectors at offsets counted in elements."""

    def __init__(self, context, builder, kind, array):
        self.builder, self.size = builder, kind.dtype.bitwidth // 8
        self.element = context.get_data_type(kind.dtype)
        structure = context.make_array(kind)(context, builder, array)
        self.data, self.shape = structure.data, cgutils.unpack_tuple(builder, structure.shape)
        self.width = self.shape[-1]

    def pointer(self, offset, pointee):
        return self.builder.bitcast(self.builder.gep(self.data, [offset]), pointee.as_pointer())

    def load(self, offset, lanes=None):
        kind = self.element if lanes is None else ir.VectorType(self.element, lanes)
        return self.builder.load(self.pointer(offset, kind), align=self.size)

    def store(self, value, offset):
        self.builder.store(value, self.pointer(offset, value.type), align=self.size)


def _loop(builder, first, last, carried, body):
    """``for index in range(first, last): carried = body(index, carried)``, with the carried values in registers."""
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(I64)
    index.add_incoming(first, before)
    phis = [builder.phi(value.type) for value in carried]
    for phi, value in zip(phis, carried, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", index, last), inside, after)
    builder.position_at_end(inside)
    new = body(index, list(phis))
    index.add_incoming(builder.add(index, _number(1)), builder.block)
    for phi, value in zip(phis, new, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return phis


# -------------------------------------------------------------------------------------------------------- lookups


def _vpermw(builder, table, index):
    """Thirty-two entries of 16 bits, looked up by the low five bits of 32 indices."""
    return _call(builder, "llvm.x86.avx512.permvar.hi.512", table.type, [table, index])


def _vpshufb(builder, table, index):
    """Eight entries of two bytes, all low bytes before the high ones, looked up by 16 indices that hold the bytes i, 8 + i."""
    twice = builder.shuffle_vector(table, table, ir.Constant(ir.VectorType(I32, 32), [*range(16)] * 2))
    found = _call(builder, "llvm.x86.avx2.pshuf.b", twice.type, [twice, builder.bitcast(index, twice.type)])
    return builder.bitcast(found, index.type)


def _table_of(builder, couplings, at):
    """A table of the sums of five couplings: entry e has those of which the bit is set in e."""
    table = zero = _constant(I16, 32, 0)
    for k in range(5):
        bit = ir.Constant(ir.VectorType(I1, 32), [entry >> k & 1 for entry in range(32)])
        coupling = _splat(builder, couplings.load(builder.add(at, _number(k))), 32)
        table = builder.add(table, builder.select(bit, coupling, zero))
    return table


def _look_up(n_vectors):
    """Return `look_up` for that many vectors of chains: 32 chains each with tables of uint16, 16 with tables of uint8."""

    @intrinsic
    def look_up(typingctx, sums, tables, starts, unit, part, indices, first, last, chain):
        """sums[q, chain + c] += starts[unit + q, part] + Σ_r Σ_g tables[unit + q, r, g][indices[r, chain + c] >> 5 g].

        For four units q, and r from `first` to `last` - 1; the added sum is taken modulo 2**16. Tables of uint16 are indexed by
        the low five bits, three tables g for each index; tables of uint8 as `_vpshufb` says, one for each. Instead of tables
        there can be coarse couplings, int16 (units, 15 rows), of which tables of 16 bits are made on the way, in registers.
        """
        signature = types.void(sums, tables, starts, types.intp, types.intp, indices, types.intp, types.intp, types.intp)
        live = tables.dtype == types.int16
        lanes, lookup, n_groups = (16, _vpshufb, 1) if tables.dtype == types.uint8 else (32, _vpermw, 3)

        def codegen(context, builder, signature, arguments):
            kinds = signature.args
            _, _, _, unit, part, _, first, last, chain = arguments
            out, table, start, index = (_Memory(context, builder, kinds[k], arguments[k]) for k in (0, 1, 2, 5))
            entries = 5 if live else lanes
            a_row = _number(n_groups * entries)
            units = [builder.add(unit, _number(q)) for q in range(UNITS_AT_ONCE)]
            bases = [builder.mul(u, table.shape[1] if live else builder.mul(table.shape[1], a_row)) for u in units]
            carried = []
            for u in units:
                begin = start.load(builder.add(builder.mul(u, start.width), part))
                carried += [_splat(builder, begin, lanes)] * n_vectors

            def body(row, carried):
                at = builder.add(builder.mul(row, index.width), chain)
                looked = [index.load(builder.add(at, _number(c * lanes)), lanes) for c in range(n_vectors)]
                for group in range(n_groups):
                    place = builder.add(builder.mul(row, a_row), _number(group * entries))
                    for q in range(UNITS_AT_ONCE):
                        at = builder.add(bases[q], place)
                        values = _table_of(builder, table, at) if live else table.load(at, entries)
                        for c in range(n_vectors):
                            k = q * n_vectors + c
                            carried[k] = builder.add(carried[k], lookup(builder, values, looked[c]))
                    looked = [builder.lshr(vector, _constant(I16, lanes, 5)) for vector in looked]
                return carried

            carried = _loop(builder, first, last, carried, body)
            for q in range(UNITS_AT_ONCE):
                for c in range(n_vectors):
                    at = builder.add(builder.mul(_number(q), out.width), builder.add(chain, _number(c * lanes)))
                    wide = builder.zext(carried[q * n_vectors + c], ir.VectorType(I32, lanes))
                    out.store(builder.add(out.load(at, lanes), wide), at)
            return context.get_dummy_value()

        return signature, codegen

    return look_up


look_up_1, look_up_2, look_up_4 = (_look_up(n) for n in (1, 2, 4))


@intrinsic
def sum_of_units_on(typingctx, couplings, unit, words, chain, first, last):
    """Σ of couplings[unit, 15 (w - first) + k] over the bits k that are set in words[chain, w], for first <= w < last."""
    signature = types.int32(couplings, types.intp, words, types.intp, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        _, unit, _, chain, first, last = arguments
        coupling, word = (_Memory(context, builder, signature.args[k], arguments[k]) for k in (0, 2))
        row = builder.sub(builder.mul(unit, coupling.width), builder.mul(first, _number(15)))
        bits = builder.mul(chain, word.width)
        vector, zero = ir.VectorType(I32, 16), _constant(I32, 16, 0)

        def body(w, total):
            mask = builder.bitcast(word.load(builder.add(bits, w)), ir.VectorType(I1, 16))
            place = coupling.pointer(builder.add(row, builder.mul(w, _number(15))), vector)
            found = _call(builder, "llvm.masked.load.v16i32.p0", vector, [place, ir.Constant(I32, 4), mask, zero])
            return [builder.add(total[0], found)]

        (total,) = _loop(builder, first, last, [zero], body)
        return _call(builder, "llvm.vector.reduce.add.v16i32", I32, [total])

    return signature, codegen


# ----------------------------------------------------------------------------------------------------- sums of rows


def _add_rows(n_vectors):
    """Return `add_rows` for that many vectors of 16 columns."""

    @intrinsic
    def add_rows(typingctx, sums, at, rows, listed, begin, end, column):
        """sums[at + k] += Σ_i rows[listed[i], column + k] for 0 <= k < 16 n_vectors and begin <= i < end, in the order of i."""
        signature = types.void(sums, types.intp, rows, listed, types.intp, types.intp, types.intp)
        return signature, _row_sums(n_vectors, weighted=False)

    return add_rows


def _add_multiples(n_vectors):
    """Return `add_multiples` for that many vectors of 16 columns."""

    @intrinsic
    def add_multiples(typingctx, sums, at, rows, listed, line, begin, end, column, factors):
        """As `add_rows` of listed[line], each row first multiplied by factors[line, i]: float32, product and sum rounded."""
        signature = types.void(sums, types.intp, rows, listed, types.intp, types.intp, types.intp, types.intp, factors)
        return signature, _row_sums(n_vectors, weighted=True)

    return add_multiples


def _row_sums(n_vectors, weighted):
    """Return what emits `add_rows`, or `add_multiples` when `weighted`."""

    def codegen(context, builder, signature, arguments):
        at = arguments[1]
        begin, end, column = arguments[-4:-1] if weighted else arguments[-3:]
        out, row, index = (_Memory(context, builder, signature.args[k], arguments[k]) for k in (0, 2, 3))
        offsets, line = [_number(16 * k) for k in range(n_vectors)], _number(0)
        if weighted:
            factors, line = _Memory(context, builder, signature.args[-1], arguments[-1]), builder.mul(arguments[4], index.width)

        def body(i, totals):
            i = builder.add(line, i)
            start = builder.add(builder.mul(builder.zext(index.load(i), I64), row.width), column)
            terms = [row.load(builder.add(start, offset), 16) for offset in offsets]
            if weighted:
                factor = _splat(builder, factors.load(i), 16)
                terms = [builder.fmul(factor, term) for term in terms]
            return [_sum_of(builder, total, term) for total, term in zip(totals, terms, strict=True)]

        totals = [out.load(builder.add(at, offset), 16) for offset in offsets]
        for total, offset in zip(_loop(builder, begin, end, totals, body), offsets, strict=True):
            out.store(total, builder.add(at, offset))
        return context.get_dummy_value()

    return codegen


add_rows_4, add_rows_8 = _add_rows(4), _add_rows(8)
add_multiples_4, add_multiples_16 = _add_multiples(4), _add_multiples(16)


@intrinsic
def transpose_16(typingctx, source, row, column, target):
    """target[column + k, row + i] = source[row + i, column + k] for 0 <= i, k < 16; int32."""
    signature = types.void(source, types.intp, types.intp, target)

    def codegen(context, builder, signature, arguments):
        _, row, column, _ = arguments
        taken, given = (_Memory(context, builder, signature.args[k], arguments[k]) for k in (0, 3))

        def place(memory, i, k):
            return builder.add(builder.mul(i, memory.width), k)

        rows = [taken.load(place(taken, builder.add(row, _number(i)), column), 16) for i in range(16)]
        for _ in range(4):  # interleaving row i with row i + 8, four times, is a transposition
            mixed = []
            for i in range(8):
                for half in (0, 8):
                    lanes = [half + k // 2 + 16 * (k % 2) for k in range(16)]
                    mixed.append(builder.shuffle_vector(rows[i], rows[i + 8], ir.Constant(ir.VectorType(I32, 16), lanes)))
            rows = mixed
        for k in range(16):
            given.store(rows[k], place(given, builder.add(column, _number(k)), row))
        return context.get_dummy_value()

    return signature, codegen
