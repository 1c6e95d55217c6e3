"""Sums and exact draws of 64 units or chains at once, a lane each, of which a word holds the states, as intrinsics.

What is emitted are vectors of LLVM of sixteen lanes, with no instruction of any one processor but in `sum_picked`: a word is
the mask of four of them. Arithmetic follows ``fastbm.chain`` operation by operation.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbm import chain
from fastbm.kernels.llvm_cpu import F32, I1, I8, I16, I32, I64, Memory, call, constant, exp_negative, loop, number, splat
from fastbm.kernels.simd_cpu import permutes_bytes

LANES = 16
PARTS = range(4)
"""Vectors of a word."""
MAGNITUDE, SIGN = 2**31 - 1, -(2**31)
FLOATS, INTEGERS, MASKS = (ir.VectorType(kind, LANES) for kind in (F32, I32, I1))
BYTES = ir.VectorType(I8, 64)


def _masks_at(builder, words, offset):
    """The four masks of the word at an offset of an array of words."""
    place = builder.bitcast(words.pointer(offset, I64), I16.as_pointer())
    halves = [builder.load(builder.gep(place, [number(part)]), align=2) for part in PARTS]
    return [builder.bitcast(half, MASKS) for half in halves]


def _word_of(builder, masks):
    """The word that four masks make."""
    word = ir.Constant(I64, 0)
    for part, mask in zip(PARTS, masks, strict=True):
        bits = builder.zext(builder.bitcast(mask, I16), I64)
        word = builder.or_(word, builder.shl(bits, number(LANES * part)))
    return word


def _vectors(builder, array, at):
    return [array.load(builder.add(at, number(LANES * part)), LANES) for part in PARTS]


@intrinsic
def sum_neighbours(typingctx, sums, states, neighbours, couplings, first, last):
    """sums[c] = Σ_k couplings[k] over the k, first <= k < last, for which bit c of states[neighbours[k]] is set."""
    signature = types.void(sums, states, neighbours, couplings, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        out, words, sources, terms = (
            Memory(context, builder, kind, array) for kind, array in zip(signature.args[:4], arguments[:4], strict=True)
        )

        def body(k, carried):
            masks = _masks_at(builder, words, builder.zext(sources.load(k), I64))
            return _added_where(builder, carried, masks, [splat(builder, terms.load(k), LANES)] * 4)

        carried = loop(builder, arguments[4], arguments[5], [constant(I32, LANES, 0)] * 4, body)
        for part in PARTS:
            out.store(carried[part], number(LANES * part))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def sum_runs(typingctx, sums, words, offsets, masks, rows, couplings, first, last):
    """sums[p] = Σ_k couplings[rows[k], p] over the k, first <= k < last, for which bit p is set in masks[k] and in a cut.

    The cut is the 64 bits from bit offsets[k] of `words` on.
    """
    signature = types.void(sums, words, offsets, masks, rows, couplings, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        out, states, places, kept, numbers, terms = (
            Memory(context, builder, kind, array) for kind, array in zip(signature.args[:6], arguments[:6], strict=True)
        )

        def body(k, carried):
            mask = builder.and_(_cut(builder, states, places.load(k)), kept.load(k))
            row = builder.mul(builder.zext(numbers.load(k), I64), terms.width)
            return _added_where(builder, carried, _masks_of(builder, mask), _vectors(builder, terms, row))

        carried = loop(builder, arguments[6], arguments[7], [constant(I32, LANES, 0)] * 4, body)
        for part in PARTS:
            out.store(carried[part], number(LANES * part))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def sum_picked(typingctx, sums, words, octets, bits, couplings, pieces, begins, masks, first, last):
    """sums[p] = Σ_k couplings[k, p] over the k, first <= k < last, for which a state is on that is picked out of `words`.

    It is the one at bits[k, p] of byte octets[k, p] of a stretch of sixteen words: that from word begins[i] on for the lanes p
    that are set in masks[i], pieces[k] <= i < pieces[k + 1]. By vpermi2b: see `simd_cpu.permutes_bytes`.
    """
    signature = types.void(sums, words, octets, bits, couplings, pieces, begins, masks, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        if not permutes_bytes():  # compiled on the way, never called
            return context.get_dummy_value()
        out, states, octet, bit, terms, piece, begin, mask = (
            Memory(context, builder, kind, array) for kind, array in zip(signature.args[:8], arguments[:8], strict=True)
        )

        def pick(k, found):
            place = states.pointer(begin.load(k), BYTES)
            low, high = (builder.load(builder.gep(place, [number(half)]), align=8) for half in range(2))
            picked = call(builder, "llvm.x86.avx512.vpermi2var.qi.512", BYTES, [low, found[0], high])
            return [builder.select(builder.bitcast(mask.load(k), ir.VectorType(I1, 64)), picked, found[0])]

        def body(k, carried):
            at, stop = builder.mul(k, number(64)), piece.load(builder.add(k, number(1)))
            (states_there,) = loop(builder, carried[4], stop, [octet.load(at, 64)], pick)
            on = builder.icmp_unsigned("!=", builder.and_(states_there, bit.load(at, 64)), constant(I8, 64, 0))
            lanes = [ir.Constant(INTEGERS, [*range(LANES * part, LANES * part + LANES)]) for part in PARTS]
            masks = [builder.shuffle_vector(on, on, some) for some in lanes]
            return [*_added_where(builder, carried[:4], masks, _vectors(builder, terms, at)), stop]

        zeros = [constant(I32, LANES, 0)] * 4
        carried = loop(builder, arguments[8], arguments[9], [*zeros, piece.load(arguments[8])], body)
        for part in PARTS:
            out.store(carried[part], number(LANES * part))
        return context.get_dummy_value()

    return signature, codegen


def _cut(builder, words, offset):
    """The 64 bits of an array of words from an offset on."""
    word, bit = builder.lshr(offset, number(6)), builder.and_(offset, number(63))
    low = builder.lshr(words.load(word), bit)
    high = builder.shl(words.load(builder.add(word, number(1))), number(1))
    return builder.or_(low, builder.shl(high, builder.xor(bit, number(63))))


def _masks_of(builder, word):
    """The four masks that a word makes."""
    parts = [builder.trunc(builder.lshr(word, number(LANES * part)), I16) for part in PARTS]
    return [builder.bitcast(part, MASKS) for part in parts]


def _added_where(builder, sums, masks, terms):
    zero = constant(I32, LANES, 0)
    kept = [builder.select(mask, term, zero) for mask, term in zip(masks, terms, strict=True)]
    return [builder.add(total, term) for total, term in zip(sums, kept, strict=True)]


@intrinsic
def draw_word(typingctx, logits, words, logits_at, at):
    """The states, as a word, of 64 units with logits[logits_at + c] and random words[at + c]."""
    signature = types.uint64(logits, words, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        numbers, random = (Memory(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
        pairs = zip(_vectors(builder, numbers, arguments[2]), _vectors(builder, random, arguments[3]), strict=True)
        return _word_of(builder, [_drawn(builder, logit, word) for logit, word in pairs])

    return signature, codegen


@intrinsic
def add_listed(typingctx, sums, row, couplings, rows, n_added, n_listed, column):
    """sums[row, column + p] += Σ_k couplings[rows[row, k], p] for 64 p and k < n_added, less the others listed."""
    signature = types.void(sums, types.intp, couplings, rows, types.intp, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        kinds = signature.args
        totals, terms, places = (Memory(context, builder, kinds[k], arguments[k]) for k in (0, 2, 3))
        row, column = arguments[1], arguments[6]
        listed = builder.mul(row, places.width)
        at = builder.add(builder.mul(row, totals.width), column)

        def along(first, last, carried, combine):
            def body(k, carried):
                source = builder.zext(places.load(builder.add(listed, k)), I64)
                added = _vectors(builder, terms, builder.mul(source, terms.width))
                return [combine(total, term) for total, term in zip(carried, added, strict=True)]

            return loop(builder, first, last, carried, body)

        carried = along(number(0), arguments[4], _vectors(builder, totals, at), builder.add)
        carried = along(arguments[4], arguments[5], carried, builder.sub)
        for part in PARTS:
            totals.store(carried[part], builder.add(at, number(LANES * part)))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def draw_sixteen(typingctx, logits, words, at):
    """The states, as bits, of 16 units with logits[at + c] and random words[at + c]."""
    signature = types.uint32(logits, words, types.intp)

    def codegen(context, builder, signature, arguments):
        numbers, random = (Memory(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
        drawn = _drawn(builder, *(array.load(arguments[2], LANES) for array in (numbers, random)))
        return builder.zext(builder.bitcast(drawn, I16), I32)

    return signature, codegen


def _drawn(builder, logit, word):
    """The states of sixteen units: ``chain.draw``."""
    magnitude = constant(I32, LANES, MAGNITUDE)
    x = builder.bitcast(builder.or_(builder.bitcast(logit, INTEGERS), constant(I32, LANES, SIGN)), FLOATS)
    smallest, one = constant(F32, LANES, float(chain.SMALLEST_LOGIT)), constant(F32, LANES, 1.0)
    e = exp_negative(builder, builder.select(builder.fcmp_ordered(">", x, smallest), x, smallest))
    distance = builder.sitofp(builder.or_(builder.and_(word, magnitude), constant(I32, LANES, 1)), FLOATS)
    distance = builder.fmul(distance, constant(F32, LANES, float(chain.ULP)))
    near = builder.fcmp_ordered("<", builder.fmul(distance, builder.fadd(one, e)), e)
    likely = builder.fcmp_ordered(">=", logit, constant(F32, LANES, float(chain.SMALLEST_NORMAL)))
    above = builder.icmp_signed("<", word, constant(I32, LANES, 0))
    return builder.xor(likely, builder.and_(near, builder.not_(builder.xor(above, likely))))


@intrinsic
def draw_below(typingctx, sums, words, at, inputs, thresholds, n_inputs):
    """The states, as a word, of 64 units with sums[c], one of `inputs`, and random words[at + c].

    Unit c is on when its uniform number, in steps of 2**-31, lies below the threshold of its input: see `uniform_below`.
    """
    signature = types.uint64(sums, words, types.intp, inputs, thresholds, types.intp)

    def codegen(context, builder, signature, arguments):
        kinds = signature.args
        totals, random, known, limits = (Memory(context, builder, kinds[k], arguments[k]) for k in (0, 1, 3, 4))
        numbers = _vectors(builder, totals, number(0))

        def body(k, carried):
            value, limit = (splat(builder, array.load(k), LANES) for array in (known, limits))
            return [
                builder.select(builder.icmp_signed("==", total, value), limit, before)
                for total, before in zip(numbers, carried, strict=True)
            ]

        found = loop(builder, number(1), arguments[5], [splat(builder, limits.load(number(0)), LANES)] * 4, body)
        uniform = [_uniform(builder, word) for word in _vectors(builder, random, arguments[2])]
        below = [builder.icmp_unsigned("<", u, limit) for u, limit in zip(uniform, found, strict=True)]
        return _word_of(builder, below)

    return signature, codegen


def _uniform(builder, word):
    """The uniform numbers that words stand for, in steps of 2**-31."""
    turned = builder.and_(builder.ashr(word, constant(I32, LANES, 31)), constant(I32, LANES, MAGNITUDE))
    return builder.lshr(builder.xor(word, turned), constant(I32, LANES, 1))
