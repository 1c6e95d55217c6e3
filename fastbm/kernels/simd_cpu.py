"""Lookups, of which numba has no name for the instructions, as intrinsics: each emits a short loop of LLVM vector code.

`look_up` needs AVX-512 (vpermw, tables of uint16) or AVX2 (vpshufb, tables of uint8). `LEVEL` is what this process uses: the
best that the processor has, or what the environment variable FASTBM_SIMD names. At level "portable" nothing is looked up.
"""

import os

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbm.kernels.llvm_cpu import I1, I16, I32, Memory, call, constant, features_here, loop, number, splat

LEVELS = ("portable", "avx2", "avx512")


def levels_here() -> tuple[str, ...]:
    """Return the levels that numba compiles for, the best last."""
    features = features_here()
    needs = {"portable": (), "avx2": ("avx2", "fma"), "avx512": ("avx512bw", "avx512dq", "fma")}
    return tuple(level for level in LEVELS if all(features.get(name) for name in needs[level]))


def permutes_bytes() -> bool:
    """Return whether there are vpermi2b and its like: those of AVX-512 VBMI, which not all processors at that level have."""
    return levels_here()[-1] == "avx512" and bool(features_here().get("avx512vbmi"))


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


def level_of(tables) -> str:
    """Return the level that tables of this numba type are for."""
    return "avx2" if tables.dtype == types.uint8 else "avx512"


def _vpermw(builder, table, index):
    """Thirty-two entries of 16 bits, looked up by the low five bits of 32 indices."""
    return call(builder, "llvm.x86.avx512.permvar.hi.512", table.type, [table, index])


def _vpshufb(builder, table, index):
    """Eight entries of two bytes, all low bytes before the high ones, looked up by 16 indices that hold the bytes i, 8 + i."""
    twice = builder.shuffle_vector(table, table, ir.Constant(ir.VectorType(I32, 32), [*range(16)] * 2))
    found = call(builder, "llvm.x86.avx2.pshuf.b", twice.type, [twice, builder.bitcast(index, twice.type)])
    return builder.bitcast(found, index.type)


def _pairs_of(builder, couplings, at):
    """For each five couplings a … e of the fifteen from `at` on, the eight numbers a, b, a + b, c, d, c + d, e, 0."""
    word = builder.insert_element(couplings.load(at, 16), ir.Constant(I16, 0), ir.Constant(I32, 15))
    terms = []
    for places in ((0, None, 0, 2, None, 2, 4, None), (None, 1, 1, None, 3, 3, None, None)):
        lanes = [15 if place is None else 5 * group + place for group in range(3) for place in places]
        terms.append(_shuffled(builder, word, [*lanes, *[15] * 8]))
    return builder.add(*terms)


def _table_of(builder, pairs, group):
    """A table of the sums of five couplings, entry e those of which the bit is set in e, from what `_pairs_of` returned."""
    table = None
    for sums, shift in (((7, 0, 1, 2), 0), ((7, 3, 4, 5), 2), ((7, 6), 4)):  # where those of two bits lie, or of the fifth
        part = _shuffled(builder, pairs, [8 * group + sums[(entry >> shift) % len(sums)] for entry in range(32)])
        table = part if table is None else builder.add(table, part)
    return table


def _shuffled(builder, vector, lanes):
    return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def _look_up(n_vectors):
    """Return `look_up` for that many vectors of chains: 32 chains each with tables of uint16, 16 with tables of uint8."""

    @intrinsic
    def look_up(typingctx, sums, tables, starts, unit, part, indices, first, last, chain):
        """sums[q, chain + c] += starts[unit + q, part] + Σ_r Σ_g tables[unit + q, r, g][indices[r, chain + c] >> 5 g].

        For four units q, and r from `first` to `last` - 1; the added sum is taken modulo 2**16, and sums begin anew at
        part 0. Tables of uint16 are indexed by the low five bits, three tables g for each index; tables of uint8 as `_vpshufb`
        says, one for each. Instead of tables there can be coarse couplings, int16 (units, 15 rows), of which tables of 16 bits
        are made on the way, in registers.
        """
        signature = types.void(sums, tables, starts, types.intp, types.intp, indices, types.intp, types.intp, types.intp)
        live, level = tables.dtype == types.int16, level_of(tables)
        lanes, lookup, n_groups = (16, _vpshufb, 1) if level == "avx2" else (32, _vpermw, 3)

        def codegen(context, builder, signature, arguments):
            if level not in levels_here():  # compiled on the way, never called
                return context.get_dummy_value()
            kinds = signature.args
            _, _, _, unit, part, _, first, last, chain = arguments
            out, table, start, index = (Memory(context, builder, kinds[k], arguments[k]) for k in (0, 1, 2, 5))
            a_row = number(15 if live else n_groups * lanes)
            units = [builder.add(unit, number(q)) for q in range(UNITS_AT_ONCE)]
            bases = [builder.mul(u, table.shape[1] if live else builder.mul(table.shape[1], a_row)) for u in units]
            carried = []
            for u in units:
                begin = start.load(builder.add(builder.mul(u, start.width), part))
                carried += [splat(builder, begin, lanes)] * n_vectors

            def body(row, carried):
                at = builder.add(builder.mul(row, index.width), chain)
                looked = [index.load(builder.add(at, number(c * lanes)), lanes) for c in range(n_vectors)]
                places = [builder.add(base, builder.mul(row, a_row)) for base in bases]
                pairs = [_pairs_of(builder, table, place) if live else None for place in places]
                for group in range(n_groups):
                    for q in range(UNITS_AT_ONCE):
                        at = builder.add(places[q], number(group * lanes))
                        values = _table_of(builder, pairs[q], group) if live else table.load(at, lanes)
                        for c in range(n_vectors):
                            k = q * n_vectors + c
                            carried[k] = builder.add(carried[k], lookup(builder, values, looked[c]))
                    looked = [builder.lshr(vector, constant(I16, lanes, 5)) for vector in looked]
                return carried

            carried = loop(builder, first, last, carried, body)
            fresh = builder.icmp_signed("==", part, number(0))
            for q in range(UNITS_AT_ONCE):
                for c in range(n_vectors):
                    at = builder.add(builder.mul(number(q), out.width), builder.add(chain, number(c * lanes)))
                    wide = builder.zext(carried[q * n_vectors + c], ir.VectorType(I32, lanes))
                    before = builder.select(fresh, constant(I32, lanes, 0), out.load(at, lanes))
                    out.store(builder.add(before, wide), at)
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
        coupling, word = (Memory(context, builder, signature.args[k], arguments[k]) for k in (0, 2))
        row = builder.sub(builder.mul(unit, coupling.width), builder.mul(first, number(15)))
        bits = builder.mul(chain, word.width)
        vector, zero = ir.VectorType(I32, 16), constant(I32, 16, 0)

        def body(w, total):
            mask = builder.bitcast(word.load(builder.add(bits, w)), ir.VectorType(I1, 16))
            place = coupling.pointer(builder.add(row, builder.mul(w, number(15))), vector)
            found = call(builder, "llvm.masked.load.v16i32.p0", vector, [place, ir.Constant(I32, 4), mask, zero])
            return [builder.add(total[0], found)]

        (total,) = loop(builder, first, last, [zero], body)
        return call(builder, "llvm.vector.reduce.add.v16i32", I32, [total])

    return signature, codegen
