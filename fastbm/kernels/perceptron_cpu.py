"""Dense layers, one after the other, in one call: for small networks, whose layers take less time than calls from Python do."""

from numba import float32, int64, njit

from fastbm.kernels import simd_cpu
from fastbm.kernels.bends_cpu import bend_back
from fastbm.kernels.compile_cpu import kernel
from fastbm.kernels.product_cpu import FLOAT, ROWS, address, has_plain_rows, run_product
from fastbm.kernels.tile_cpu import TILES

N_INPUTS, N_OUTPUTS = 0, 1
"""Columns of a table of layers; the others are where weights and bias begin, and the activation."""


def perceptron(x, parameters, hidden, out, *, layers, slopes):
    check(len(x), layers, x=(x, N_INPUTS, 0), out=(out, N_OUTPUTS, -1))
    network = parameters, parameters[:0], hidden, hidden[:0], layers, slopes
    run_forward(tile(), network, len(x), *place_of(x), *place_of(out))


def perceptron_backward(gradient, x, hidden, out, parameters, gradients, room, below, *, layers, slopes, first_row):
    check(len(x), layers, gradient=(gradient, N_OUTPUTS, -1), x=(x, N_INPUTS, 0), out=(out, N_OUTPUTS, -1))
    check(len(below), layers, below=(below, N_INPUTS, 0))
    network, places = (parameters, gradients, hidden, room, layers, slopes), (*place_of(x), *place_of(out))
    wanted = int(gradients.size > 0)
    run_backward(tile(), network, wanted, len(x), *place_of(gradient), *places, address(below), first_row, len(below))


def tile():
    """Return what kernels need to know of the tile of this processor."""
    here = TILES[simd_cpu.LEVEL]
    return here.level, here.height, here.width, here.lines


def place_of(matrix):
    return address(matrix), matrix.strides[0] >> 2


def check(n_rows, layers, **matrices):
    """Raise ValueError unless these are matrices of so many rows, as wide as a layer, which are read by address."""
    for name, (matrix, column, layer) in matrices.items():
        shape = n_rows, int(layers[layer, column])
        if matrix.dtype != FLOAT or matrix.shape != shape or not has_plain_rows(matrix):
            raise ValueError(
                f"{name} must be a float32 matrix of shape {shape}, the numbers of each row side by side, got {matrix.dtype} "
                f"of shape {matrix.shape} with strides {matrix.strides}"
            )


@kernel
def run_forward(tile, network, n_rows, x, x_width, out, out_width):
    parameters, _, hidden, _, layers, slopes = network
    y, last = address(hidden), len(layers) - 1
    for layer in range(len(layers)):
        n_inputs, n_outputs, weights, bias, activation = entry(layers, parameters, layer)
        y, y_width = (out, out_width) if layer == last else (y, n_outputs)
        multiply(
            tile, y, y_width, n_rows, n_outputs, n_inputs, x, x_width, int64(0), weights, n_outputs, int64(0), bias, activation,
            slopes[layer],
        )  # fmt: skip
        x, x_width, y = y, y_width, y + 4 * n_rows * n_outputs


@kernel
def run_backward(
    tile, network, wanted, n_rows, gradient, gradient_width, x, x_width, out, out_width, below, first_row, n_below
):  # fmt: skip
    parameters, gradients, hidden, room, layers, slopes = network
    y, y_width, start = out, out_width, address(hidden) + 4 * n_rows * layers[:-1, N_OUTPUTS].sum()
    for layer in range(len(layers) - 1, -1, -1):
        n_inputs, n_outputs, weights, _, activation = entry(layers, parameters, layer)
        of_weights, of_bias = entry(layers, gradients, layer)[2:4] if wanted else (0, 0)
        if activation != 0 or of_bias != 0:
            slope = float32(slopes[layer])
            bend_back(gradient, gradient_width, y, y_width, of_bias, n_rows, n_outputs, activation, slope)
        start -= 4 * n_rows * n_inputs
        y, y_width = (start, n_inputs) if layer > 0 else (x, x_width)  # what the layer was given
        if wanted:
            multiply(
                tile, of_weights, n_outputs, n_inputs, n_outputs, n_rows, y, y_width, int64(1), gradient, gradient_width,
                int64(0), int64(0), int64(0), 0.0,
            )  # fmt: skip
        out = address(room) + 4 * (layer % 2) * (room.size // 2)
        if layer == 0:
            gradient, n_rows, out = gradient + 4 * first_row * gradient_width, n_below, below
        if n_rows > 0:
            multiply(
                tile, out, n_inputs, n_rows, n_inputs, n_outputs, gradient, gradient_width, int64(0), weights, n_outputs,
                int64(1), int64(0), int64(0), 0.0,
            )  # fmt: skip
        gradient, gradient_width = out, n_inputs


@njit
def entry(layers, flat, layer):
    """Numbers of inputs and of outputs, addresses of weights and bias, 0 if there is none, in a flat array; the activation."""
    start, bias = address(flat), layers[layer, 3]
    weights = start + 4 * layers[layer, 2]
    return layers[layer, 0], layers[layer, 1], weights, start + 4 * bias if bias >= 0 else 0, layers[layer, 4]


# numbers are int64: numba would compile what is called anew for other types, and for each number that is written as such


@njit
def multiply(
    tile, out, out_width, n_rows, n_columns, n_terms, a, a_width, transpose_a, b, b_width, transpose_b, bias, activation, slope
):  # fmt: skip
    level, height, width, lines = tile
    n_parts, none = -(-n_rows // ROWS), int64(0)
    run_product(
        none, n_parts, level, height, width, lines, out, out_width, out, out_width, n_rows, n_columns, n_terms, a, a_width,
        transpose_a, b, b_width, transpose_b, n_columns, none, bias, activation, slope, n_parts, int64(1),
    )  # fmt: skip
