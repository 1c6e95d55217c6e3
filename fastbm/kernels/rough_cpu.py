"""The rough draw: a state from a coarse logit and a rough exponential, and whether it could be the wrong one.

With m the distance of a unit's uniform number from the nearer end of the unit interval, and y its logit, turned round when that
end is 1, the exact draw asks whether m exp(-y) < 1 - m. Where the two sides differ by more than the factor exp(window), a logit
that is off by less than `window` gives the same answer. Numbers are scaled by 2**32, so that m is the random word itself.
"""

import math

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from fastbm.kernels.llvm_cpu import F32, I16, I32, Memory, call, constant, loop, number, splat
from fastbm.kernels.simd_cpu import level_of, levels_here
from fastbm.kernels.tables_cpu import LARGEST_ERROR

LOG2_E = 1.4426950408889634
COEFFICIENTS = (0.07802287, 0.22606596, 0.69583592, 0.99992477)
"""Of a polynomial that is 2**f for f in [0, 1), the highest power first; relative error below 8e-5."""
LARGEST_EXPONENT = 90.0
"""Logits beyond ± 90 log 2 decide every draw, for any window."""
ROUGHNESS = 2e-4
"""What the rough power and the rounding of the comparison can amount to, as a difference of logits."""
LARGEST_SHIFT, LARGEST_WINDOW = 1e30, 20.0
"""Larger ones could overflow: every draw is then made again."""
SLACK = 2.0**-20
"""What rounding to float32 can amount to, as a fraction of the largest number that enters a logit."""
LANES = 16
FLOATS, INTEGERS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)


def _power(builder, t, level):
    """2**t, roughly, of numbers below 127 in magnitude; with AVX-512 of any, and then beyond it is 0 or infinity."""
    if level == "avx512":  # the imm8 9: t less the largest integer below, quietly
        f = call(
            builder, "llvm.x86.avx512.mask.reduce.ps.512", FLOATS,
            [t, ir.Constant(I32, 9), t, ir.Constant(I16, -1), ir.Constant(I32, 4)],
        )  # fmt: skip
    else:
        whole = call(builder, "llvm.floor.v16f32", FLOATS, [t])
        f = builder.fsub(t, whole)
    y = constant(F32, LANES, COEFFICIENTS[0])
    for coefficient in COEFFICIENTS[1:]:
        y = _multiply_add(builder, y, f, constant(F32, LANES, coefficient))
    if level == "avx512":
        return call(builder, "llvm.x86.avx512.mask.scalef.ps.512", FLOATS, [y, t, y, ir.Constant(I16, -1), ir.Constant(I32, 4)])
    exponent = builder.shl(builder.fptosi(whole, INTEGERS), constant(I32, LANES, 23))
    return builder.bitcast(builder.add(builder.bitcast(y, INTEGERS), exponent), FLOATS)


def _multiply_add(builder, a, b, c):
    return call(builder, "llvm.fma.v16f32", FLOATS, [a, b, c])


def _between(builder, t, limit):
    for name, bound in (("llvm.minnum.v16f32", limit), ("llvm.maxnum.v16f32", -limit)):
        t = call(builder, name, FLOATS, [t, constant(F32, LANES, bound)])
    return t


@intrinsic
def draw_roughly(typingctx, on, doubtful, tables, sums, words, row, beta, scale, shift, margin, bit):
    """Set `bit` in `on` where a chain's unit is on, and a bit in `doubtful` where that could be wrong; return all of those.

    The coarse logits are ``beta * (sums[row] * scale + shift)``, in units of log 2; scale, shift and margin are what
    `bounds_of` returned. A number in `doubtful` is of 32 chains. Tables of uint8 are those of AVX2, others those of AVX-512.
    """
    signature = types.uint32(on, doubtful, tables, sums, words, types.intp, beta, *[types.float32] * 3, types.uint16)
    level = level_of(tables) if "avx512" in levels_here() else "avx2"  # of which the code runs anywhere

    def codegen(context, builder, signature, arguments):
        kinds = signature.args
        states, doubts, coarse, random, betas = (Memory(context, builder, kinds[k], arguments[k]) for k in (0, 1, 3, 4, 6))
        line = builder.mul(arguments[5], coarse.width)
        scale, shift, margin = (splat(builder, value, LANES) for value in arguments[7:10])
        bits = splat(builder, arguments[10], 2 * LANES)
        sign, top = constant(I32, LANES, -(2**31)), constant(F32, LANES, 2.0**32)

        def draw(chain):
            """Which of sixteen chains' units are on, and which are in doubt."""
            at = builder.add(line, chain)
            t = _multiply_add(builder, builder.sitofp(coarse.load(at, LANES), FLOATS), scale, shift)
            t = builder.fmul(betas.load(chain, LANES), t)
            word = builder.bitcast(random.load(at, LANES), INTEGERS)
            turned = builder.and_(builder.not_(word), sign)
            t = builder.bitcast(builder.xor(builder.bitcast(t, INTEGERS), turned), FLOATS)
            if level == "avx2":
                t = _between(builder, t, LARGEST_EXPONENT)
            m = builder.or_(builder.and_(word, constant(I32, LANES, 2**31 - 1)), constant(I32, LANES, 1))
            m = builder.sitofp(m, FLOATS)
            odds, rest = builder.fmul(m, _power(builder, t, level)), builder.fsub(top, m)
            above = builder.icmp_signed("<", word, constant(I32, LANES, 0))
            state = builder.xor(builder.fcmp_ordered("<", odds, rest), above)
            near = builder.fcmp_ordered("<=", rest, builder.fmul(odds, margin))
            return state, builder.and_(near, builder.fcmp_ordered("<", odds, builder.fmul(rest, margin)))

        def body(some, carried):
            chain = builder.mul(some, number(2 * LANES))
            halves = zip(draw(chain), draw(builder.add(chain, number(LANES))), strict=True)
            both = ir.Constant(ir.VectorType(I32, 2 * LANES), [*range(2 * LANES)])
            state, doubt = (builder.shuffle_vector(*pair, both) for pair in halves)
            before = states.load(chain, 2 * LANES)
            states.store(builder.select(state, builder.or_(before, bits), before), chain)
            doubt = builder.bitcast(doubt, I32)
            doubts.store(doubt, some)
            return [builder.or_(carried[0], doubt)]

        return loop(builder, number(0), doubts.width, [ir.Constant(I32, 0)], body)[0]

    return signature, codegen


@njit
def write_bounds(bounds, n_units, bias, steps, starts, n_entries, largest_beta, scale):
    """Write what `draw_roughly` needs to know of each unit, of which `n_entries` numbers off by LARGEST_ERROR steps add up."""
    for unit in range(n_units):
        size = steps[unit] * scale  # of a step, as a logit at β = 1
        reach = size * 65536.0 * starts.shape[1] + abs(float(bias[unit]))
        window = largest_beta * (LARGEST_ERROR * n_entries * size + SLACK * reach) + ROUGHNESS
        shift = float(bias[unit]) - size * starts[unit].sum()
        bounds[0, unit], bounds[1, unit], bounds[2, unit] = bounds_of(size, shift, window)


@njit
def bounds_of(size, shift, window):
    """Return scale and shift of a unit's coarse logits, and its margin, exp(window); all draws are in doubt beyond limits."""
    if abs(shift) > LARGEST_SHIFT or window > LARGEST_WINDOW:
        return 0.0, 0.0, math.inf
    return size * LOG2_E, shift * LOG2_E, math.exp(window)
