"""Limits: the logit from which on a unit is on, given its random word, roughly; so that a draw is one comparison.

With m the distance of a unit's uniform number from the nearer end of the unit interval, the limit is log(m / (1 - m)), or,
where that end is 1, its negative. Logits nearer to it than `WINDOW` decide nothing: such units are drawn as ``lanes_cpu`` does.
"""

import math

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbm.kernels.lanes_cpu import FLOATS, INTEGERS, LANES, MAGNITUDE, SIGN
from fastbm.kernels.llvm_cpu import F32, I16, I32, Memory, constant, number, splat

COEFFICIENTS = (-0.0543709335555871, 0.43393244200672443, -1.4405921621322573, 2.792836515601201, -1.7317264411435938)
"""Of a polynomial that is log f for f in [1, 2], the highest power first; absolute error below 8e-5."""
WINDOW = 2e-4
"""The error of a limit, at most: of the polynomial, and 4e-5 for the rounding of numbers up to 23."""
SHIFT, ONE_AS_BITS, MANTISSA = 23, 0x3F800000, 0x7FFFFF


@intrinsic
def write_limits(typingctx, limits, words):
    """Write the limit that each of 64 random words sets."""
    signature = types.void(limits, words)

    def codegen(context, builder, signature, arguments):
        out, random = (Memory(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
        for part in range(4):
            word = random.load(number(LANES * part), LANES)
            m = builder.or_(builder.and_(word, constant(I32, LANES, MAGNITUDE)), constant(I32, LANES, 1))
            m = builder.fmul(builder.sitofp(m, FLOATS), constant(F32, LANES, 2.0**-32))
            log = _log(builder, builder.fdiv(m, builder.fsub(constant(F32, LANES, 1.0), m)))
            sign = builder.and_(word, constant(I32, LANES, SIGN))
            out.store(builder.bitcast(builder.xor(builder.bitcast(log, INTEGERS), sign), FLOATS), number(LANES * part))
        return context.get_dummy_value()

    return signature, codegen


def _log(builder, x):
    """log x, roughly, of normal numbers above 0."""
    bits = builder.bitcast(x, INTEGERS)
    exponent = builder.sub(builder.lshr(bits, constant(I32, LANES, SHIFT)), constant(I32, LANES, 127))
    f = builder.or_(builder.and_(bits, constant(I32, LANES, MANTISSA)), constant(I32, LANES, ONE_AS_BITS))
    f = builder.bitcast(f, FLOATS)
    y = constant(F32, LANES, COEFFICIENTS[0])
    for coefficient in COEFFICIENTS[1:]:
        y = builder.fadd(builder.fmul(y, f), constant(F32, LANES, coefficient))
    return builder.fadd(builder.fmul(builder.sitofp(exponent, FLOATS), constant(F32, LANES, math.log(2.0))), y)


@intrinsic
def compare_sixteen(typingctx, inputs, shifts, limits, scale, at):
    """The states of 16 units with logits inputs[at + c] * scale + shifts[at + c], as bits, and 16 more for those in doubt."""
    signature = types.uint32(inputs, shifts, limits, types.float32, types.intp)

    def codegen(context, builder, signature, arguments):
        totals, added, bounds = (Memory(context, builder, signature.args[k], arguments[k]) for k in range(3))
        at, window = arguments[4], constant(F32, LANES, WINDOW)
        x = builder.fmul(builder.sitofp(totals.load(at, LANES), FLOATS), splat(builder, arguments[3], LANES))
        distance = builder.fsub(builder.fadd(x, added.load(at, LANES)), bounds.load(at, LANES))
        on = builder.fcmp_ordered(">", distance, window)
        off = builder.fcmp_ordered("<", distance, constant(F32, LANES, -WINDOW))
        doubtful = builder.not_(builder.or_(on, off))
        bits = [builder.zext(builder.bitcast(mask, I16), I32) for mask in (on, doubtful)]
        return builder.or_(bits[0], builder.shl(bits[1], ir.Constant(I32, 16)))

    return signature, codegen
