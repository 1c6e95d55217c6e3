"""Activations, and gradients through them, as intrinsics on addresses: sixteen numbers at a time, whatever a row is long."""

from numba import types
from numba.extending import intrinsic

from fastbm.kernels import ACTIVATIONS
from fastbm.kernels.llvm_cpu import F32, constant, load, load_some, loop, number, splat, spot, store, store_some

LANES = 16
ZERO, ONE = constant(F32, LANES, 0.0), constant(F32, LANES, 1.0)
IDENTITY, RELU, LEAKY_RELU, TANH, SIGMOID = map(ACTIVATIONS.index, ("identity", "relu", "leaky_relu", "tanh", "sigmoid"))


@intrinsic
def bend(typingctx, out, x, bias, n, kept, slope):
    """out[k] = x[k] + bias[k], times `slope` where that is not above 0, unless it is `kept`; bias 0 is none."""

    def codegen(context, builder, signature, arguments):
        out, x, bias, n, kept, slope = arguments
        all_kept, factor = splat(builder, kept, LANES), splat(builder, slope, LANES)

        def bent(total):
            below = builder.fadd(builder.fmul(factor, total), ZERO)
            above = builder.fcmp_ordered(">", total, ZERO)
            return builder.select(builder.or_(above, all_kept), total, below)

        with builder.if_else(builder.icmp_signed("==", bias, number(0))) as (without, with_one):
            with without:
                for_vectors(builder, n, lambda read, write: write(out, bent(read(x))))
            with with_one:
                for_vectors(builder, n, lambda read, write: write(out, bent(builder.fadd(read(x), read(bias)))))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4, types.boolean, types.float32), codegen


def for_vectors(builder, n, body):
    """Call body(read, write), which read and write at addresses, for each sixteen of n numbers, and once for the rest."""

    def whole(block, carried):
        at = builder.mul(block, number(LANES))
        body(
            lambda address: load(builder, spot(builder, address, at), LANES),
            lambda address, vector: store(builder, vector, spot(builder, address, at)),
        )
        return []

    n_whole = builder.udiv(n, number(LANES))
    loop(builder, number(0), n_whole, [], whole)
    at = builder.mul(n_whole, number(LANES))
    rest = builder.sub(n, at)
    with builder.if_then(builder.icmp_signed(">", rest, number(0))):
        body(
            lambda address: load_some(builder, spot(builder, address, at), LANES, rest),
            lambda address, vector: store_some(builder, vector, spot(builder, address, at), rest),
        )


@intrinsic
def bend_back(typingctx, gradient, gradient_width, y, y_width, sums, n_rows, n, activation, slope):
    """gradient[r, k] *= f' at y[r, k], and sums[k] = Σ_r of these, in the order of r, unless their address is 0."""

    def codegen(context, builder, signature, arguments):
        gradient, gradient_width, y, y_width, sums, n_rows, n, activation, slope = arguments
        factor = splat(builder, slope, LANES)
        slope_of = {
            RELU: lambda outputs: None,
            LEAKY_RELU: lambda outputs: builder.select(builder.fcmp_ordered(">", outputs, ZERO), ONE, factor),
            TANH: lambda outputs: builder.fsub(ONE, builder.fmul(outputs, outputs)),
            SIGMOID: lambda outputs: builder.fmul(outputs, builder.fsub(ONE, outputs)),
        }

        def changed(kind, given, outputs):
            if kind == RELU:
                return builder.select(builder.fcmp_ordered(">", outputs, ZERO), given, ZERO)
            return builder.fmul(given, slope_of[kind](outputs))

        def columns(kind):
            def body(read, write):
                def row(r, carried):
                    total, to, outputs = carried
                    vector = read(to)
                    if kind != IDENTITY:
                        vector = changed(kind, vector, read(outputs))
                        write(to, vector)
                    return [builder.fadd(total, vector), spot(builder, to, gradient_width), spot(builder, outputs, y_width)]

                starts = [spot(builder, gradient), spot(builder, y)]
                total, _, _ = loop(builder, number(0), n_rows, [ZERO, *starts], row)
                with builder.if_then(builder.icmp_signed("!=", sums, number(0))):
                    write(sums, total)

            for_vectors(builder, n, body)

        end = builder.append_basic_block()
        choice = builder.switch(activation, end)
        for kind in range(len(ACTIVATIONS)):
            choice.add_case(number(kind), block := builder.append_basic_block())
            builder.position_at_end(block)
            columns(kind)
            builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8, types.float32), codegen
