"""What follows the products of a mean-field update: logits, means, and how far they moved, as an intrinsic: plain LLVM."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbm import chain
from fastbm.kernels import COARSE_BITS
from fastbm.kernels.llvm_cpu import (
    F32,
    I16,
    I32,
    I64,
    call,
    constant,
    exp_negative,
    load,
    load_some,
    loop,
    multiply_add,
    number,
    splat,
    spot,
    store,
)
from fastbm.kernels.tile_cpu import tile_of


def _exp_negative_fused(builder, x):
    """As `exp_negative`, in half as many instructions: products are added without being rounded where the processor can."""
    lanes, integers = x.type.count, ir.VectorType(I32, x.type.count)

    def plus(a, b, c):
        return multiply_add(builder, a, *(each if isinstance(each, ir.Instruction) else number_of(each) for each in (b, c)))

    def number_of(value):
        return constant(F32, lanes, float(value))

    shifted = plus(x, chain.LOG2_E, chain.ROUNDER)  # whose lowest bits are the power of two
    n = builder.fsub(shifted, number_of(chain.ROUNDER))
    r = plus(n, -chain.LN2_LOW, plus(n, -chain.LN2_HIGH, x))
    y = plus(r, chain.EXP_COEFFICIENTS[0], chain.EXP_COEFFICIENTS[1])
    for coefficient in chain.EXP_COEFFICIENTS[2:]:
        y = plus(y, r, coefficient)
    y = builder.fadd(plus(y, builder.fmul(r, r), r), number_of(chain.ONE))
    power = builder.shl(builder.bitcast(shifted, integers), constant(I32, lanes, 23))
    return builder.bitcast(builder.add(builder.bitcast(y, integers), power), x.type)


def _relaxing(coarse):
    """Return what relaxes a row of a tile: to the means of ``chain``, bit for bit, unless coarse."""
    exponential = _exp_negative_fused if coarse else exp_negative

    @intrinsic
    def relax(typingctx, level, tile, start, unit, part, means, halves, largest, n):
        """Move `n` means the `part` of the way to those of their logits, and note the largest distances in lanes.

        The logits are the row of the tile; or, coarse, its integers, worth a `unit` each, and `start`: the new means then go to
        `halves` as well, as integers of 16 bits up to 2**COARSE_BITS.
        """
        shape = tile_of(level)
        signature = types.void(level, types.intp, types.intp, types.float32, types.float32, *[types.intp] * 4)

        def codegen(context, builder, signature, arguments):
            _, tile, start, unit, part, means, halves, largest, n = arguments
            lanes = shape.lanes
            floats = ir.VectorType(F32, lanes)
            zero, one = constant(F32, lanes, 0.0), constant(F32, lanes, 1.0)
            unit, part = (splat(builder, value, lanes) for value in (unit, part))
            most = load(builder, spot(builder, largest), lanes)
            for v in range(shape.n_vectors):
                at = number(v * lanes)
                if coarse:
                    x = builder.sitofp(load(builder, spot(builder, tile, at), lanes, I32), floats)
                    x = builder.fadd(load(builder, spot(builder, start, at), lanes), builder.fmul(x, unit))
                else:
                    x = load(builder, spot(builder, tile, at), lanes)
                e = exponential(builder, _minus_size(builder, x))
                above = builder.select(builder.fcmp_ordered(">", x, zero), one, e)
                before = load(builder, spot(builder, means, at), lanes)
                distance = builder.fsub(builder.fdiv(above, builder.fadd(one, e)), before)
                units = ir.Constant(ir.VectorType(I64, lanes), [*range(v * lanes, (v + 1) * lanes)])
                here = builder.icmp_signed("<", units, splat(builder, n, lanes))
                distance = builder.select(here, distance, zero)
                after = builder.fadd(before, builder.fmul(part, distance))
                store(builder, after, spot(builder, means, at))
                size = call(builder, f"llvm.fabs.v{lanes}f32", floats, [distance])
                most = builder.select(builder.fcmp_ordered(">", size, most), size, most)  # and NaN is not
                if coarse:
                    _store_rounded(builder, after, halves, at)
            store(builder, most, spot(builder, largest))
            return context.get_dummy_value()

        return signature, codegen

    return relax


relax_tile, relax_coarse = _relaxing(False), _relaxing(True)


def _store_rounded(builder, means, halves, at):
    """Write means, from number `at` on, as integers of 16 bits up to 2**COARSE_BITS."""
    lanes = means.type.count
    scaled = builder.fmul(means, constant(F32, lanes, 2.0**COARSE_BITS))
    whole = builder.fptosi(call(builder, f"llvm.rint.v{lanes}f32", scaled.type, [scaled]), ir.VectorType(I32, lanes))
    place = builder.gep(builder.inttoptr(halves, I16.as_pointer()), [at])
    rounded = builder.trunc(whole, ir.VectorType(I16, lanes))
    builder.store(rounded, builder.bitcast(place, rounded.type.as_pointer()), align=2)


def _minus_size(builder, x):
    """-|x|, but not less than the smallest logit."""
    lanes = x.type.count
    least = constant(F32, lanes, float(chain.SMALLEST_LOGIT))
    size = builder.fneg(call(builder, f"llvm.fabs.v{lanes}f32", x.type, [x]))
    return builder.select(builder.fcmp_unordered(">", size, least), size, least)


@intrinsic
def round_means(typingctx, level, halves, means, n):
    """Write `n` means as integers of 16 bits up to 2**COARSE_BITS, and zeros up to a whole vector of them."""
    signature, lanes = types.void(level, *[types.intp] * 3), tile_of(level).lanes

    def codegen(context, builder, signature, arguments):
        _, halves, means, n = arguments

        def body(block, carried):
            at = builder.mul(block, number(lanes))
            left = builder.sub(n, at)
            _store_rounded(builder, load_some(builder, spot(builder, means, at), lanes, left), halves, at)
            return []

        loop(builder, number(0), builder.udiv(builder.add(n, number(lanes - 1)), number(lanes)), [], body)
        return context.get_dummy_value()

    return signature, codegen
