"""Processor instructions on single words that numba has no name for, as intrinsics; each works in vectorised loops too."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def count_ones(typingctx, word):
    """The number of bits set in a uint64."""
    return types.uint64(types.uint64), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@intrinsic
def lowest_one(typingctx, word):
    """The index of the lowest bit set in a uint64 that is not zero."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@intrinsic
def bits_to_float(typingctx, word):
    """The float32 that has the bits of an int32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def bits_to_double(typingctx, word):
    """The float64 that has the bits of an int64."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@intrinsic
def float_to_bits(typingctx, number):
    """The int32 that has the bits of a float32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), codegen
