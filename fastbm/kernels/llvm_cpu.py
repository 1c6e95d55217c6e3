"""Pieces of LLVM that the intrinsics of this package are made of."""

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features, get_process_triple
from numba import config
from numba.core import cgutils

from fastbm import chain

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32 = ir.FloatType()


ALWAYS_FUSED = ("aarch64", "arm64")
"""Processors of which all have fused multiply-adds."""


def features_here() -> dict[str, bool]:
    """Return what numba compiles for: this processor's features, unless NUMBA_CPU_FEATURES is set."""
    if config.CPU_FEATURES is None:
        return get_host_cpu_features()
    return {name[1:]: name[0] == "+" for name in config.CPU_FEATURES.split(",") if name}


def is_fused() -> bool:
    """Return whether products are added without being rounded first: by an instruction, never by a slow function."""
    return bool(features_here().get("fma")) or get_process_triple().startswith(ALWAYS_FUSED)


def number(value):
    return ir.Constant(I64, value)


def constant(kind, lanes, value):
    return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes)


def splat(builder, value, lanes):
    """A vector with `value` in all lanes."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, undefined, constant(I32, lanes, 0))


def call(builder, name, result, arguments):
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def sum_of(builder, left, right):
    return (builder.fadd if isinstance(left.type.element, ir.FloatType) else builder.add)(left, right)


def multiply_add(builder, left, right, total):
    """left · right + total of float32 vectors, rounded once where `is_fused`."""
    if is_fused():
        return call(builder, f"llvm.fma.v{total.type.count}f32", total.type, [left, right, total])
    return multiply_then_add(builder, left, right, total)


PAIRS = {
    512: ("avx512bw", "llvm.x86.avx512.pmaddw.d.512"),
    256: ("avx2", "llvm.x86.avx2.pmadd.wd"),
    128: ("sse2", "llvm.x86.sse2.pmadd.wd"),
}
"""What multiplies pairs of int16 and adds both products, and the feature that it needs, for vectors of so many bits."""


def multiply_add_pairs(builder, left, right, total):
    """total + the products of the low and of the high halves of int32 vectors, which are pairs of int16."""
    lanes = total.type.count
    feature, name = PAIRS[32 * lanes]
    if features_here().get(feature):  # and LLVM makes one instruction of both where there is one: vpdpwssd
        left, right = (builder.bitcast(each, ir.VectorType(I16, 2 * lanes)) for each in (left, right))
        return builder.add(total, call(builder, name, total.type, [left, right]))
    half = constant(I32, lanes, 16)
    for each in (lambda pair: builder.ashr(builder.shl(pair, half), half), lambda pair: builder.ashr(pair, half)):
        total = builder.add(total, builder.mul(each(left), each(right)))
    return total


def multiply_then_add(builder, left, right, total):
    """left · right + total of float32 vectors, rounded twice."""
    return builder.fadd(total, builder.fmul(left, right))


def spot(builder, place, *offsets):
    """A pointer to the number of float32 at an address, or at a pointer, so many numbers further."""
    pointer = builder.inttoptr(place, F32.as_pointer()) if place.type == I64 else place
    for offset in offsets:
        pointer = builder.gep(pointer, [offset])
    return pointer


def load(builder, pointer, lanes, element=F32):
    return builder.load(builder.bitcast(pointer, ir.VectorType(element, lanes).as_pointer()), align=4)


def store(builder, vector, pointer):
    builder.store(vector, builder.bitcast(pointer, vector.type.as_pointer()), align=4)


def load_some(builder, pointer, lanes, count):
    """The first `count` of so many numbers, and zeros for the others, which are not read."""
    kind = ir.VectorType(F32, lanes)
    arguments = [builder.bitcast(pointer, kind.as_pointer()), ir.Constant(I32, 4), _first(builder, lanes, count)]
    return call(builder, f"llvm.masked.load.v{lanes}f32.p0", kind, [*arguments, ir.Constant(kind, [0.0] * lanes)])


def store_some(builder, vector, pointer, count):
    """Write the first `count` numbers of a vector, and no others."""
    lanes = vector.type.count
    arguments = [builder.bitcast(pointer, vector.type.as_pointer()), ir.Constant(I32, 4), _first(builder, lanes, count)]
    call(builder, f"llvm.masked.store.v{lanes}f32.p0", ir.VoidType(), [vector, *arguments])


def _first(builder, lanes, count):
    return builder.icmp_signed("<", ir.Constant(ir.VectorType(I64, lanes), [*range(lanes)]), splat(builder, count, lanes))


def exp_negative(builder, x):
    """exp(x) of float32 vectors, for x in [-87, 0]: ``chain``'s and ``draw_cpu.exp_negative``, operation by operation."""
    lanes, integers = x.type.count, ir.VectorType(I32, x.type.count)

    def times(a, b):
        return builder.fmul(a, b if isinstance(b, ir.Instruction) else constant(F32, lanes, float(b)))

    def plus(a, b):
        return builder.fadd(a, b if isinstance(b, ir.Instruction) else constant(F32, lanes, float(b)))

    n = plus(plus(times(x, chain.LOG2_E), chain.ROUNDER), -chain.ROUNDER)
    r = builder.fsub(builder.fsub(x, times(n, chain.LN2_HIGH)), times(n, chain.LN2_LOW))
    y = plus(times(r, chain.EXP_COEFFICIENTS[0]), chain.EXP_COEFFICIENTS[1])
    for coefficient in chain.EXP_COEFFICIENTS[2:]:
        y = plus(times(y, r), coefficient)
    y = plus(plus(times(y, times(r, r)), r), chain.ONE)
    power = builder.add(builder.fptosi(n, integers), constant(I32, lanes, 127))
    return times(y, builder.bitcast(builder.shl(power, constant(I32, lanes, 23)), x.type))


class Memory:
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


def loop(builder, first, last, carried, body):
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
    index.add_incoming(builder.add(index, number(1)), builder.block)
    for phi, value in zip(phis, new, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return phis


def transposed(builder, rows):
    """The columns of as many vectors as each has lanes, a power of two."""
    n = len(rows)
    for _ in range(n.bit_length() - 1):  # interleaving row i with row i + n / 2, log2(n) times
        mixed = []
        for i in range(n // 2):
            for half in (0, n // 2):
                lanes = [half + k // 2 + n * (k % 2) for k in range(n)]
                mixed.append(builder.shuffle_vector(rows[i], rows[i + n // 2], ir.Constant(ir.VectorType(I32, n), lanes)))
        rows = mixed
    return rows
