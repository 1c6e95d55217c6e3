"""Contracts of the kernels of layered networks, and their dispatch, as in ``fastbm.kernels``.

All arrays are float32 and C-contiguous, rows of a minibatch by units; ``fastbm.nn`` has the same as formulas, for arrays of
other types and of other libraries. `activation` is one of ``kernels.ACTIVATIONS``, and `slope` that of "leaky_relu".
Derivatives are taken from outputs. NaN goes through all of them, so that it is seen in the loss.
"""

from __future__ import annotations

from fastbm.kernels import ACTIVATIONS as ACTIVATIONS
from fastbm.kernels import _for


def activate(y, bias, *, activation, slope):
    """y ← f(y + bias), in place; `y` (n_rows, n_units), `bias` (n_units,) or (0,) where there is none.

    Reference: ``fastbm.nn.activations``; tanh and sigmoid by the exponential of the chain, absolute error 2e-7. Cost: one pass.
    """
    _for(y, "activation").activate(y, bias, activation=activation, slope=slope)


def activate_backward(gradient, y, bias_gradient, *, activation, slope):
    """gradient ← gradient · f'(x), in place, with f' from the outputs y = f(x); its sums over rows go to `bias_gradient`.

    `bias_gradient` (n_units,), or (0,) where it is not wanted. Rows are added in an order that depends on the shape alone.
    Reference: ``fastbm.nn.activations``. Cost: one pass over both.
    """
    _for(y, "activation").activate_backward(gradient, y, bias_gradient, activation=activation, slope=slope)


def perceptron(x, parameters, hidden, out, *, layers, slopes):
    """Pass rows through dense layers one after the other: y_0 = x, y_l ← f(y_(l-1) W_l + b_l), the last one to `out`.

    `layers` (n_layers, 5) int64 has a row for each: numbers of its inputs and of its outputs, where in `parameters`, flat, its
    weights (n_inputs, n_outputs) begin, and where its bias does, -1 where there is none, and which of `ACTIVATIONS` it has;
    `slopes` (n_layers,) float64 are those of "leaky_relu", 0 elsewhere. `x` (n_rows, n_inputs) and `out` (n_rows, n_outputs)
    may have rows at any distance. `hidden` is flat: the outputs of the other layers go there, one matrix after the other.

    On the CPU only, on one thread, and for small networks: one call instead of one for each layer. Bit for bit what
    ``kernels.product`` makes of each layer. Twin: ``naive.perceptron`` in the tests.
    """
    _for(out, "perceptron").perceptron(x, parameters, hidden, out, layers=layers, slopes=slopes)


def perceptron_backward(gradient, x, hidden, out, parameters, gradients, room, below, *, layers, slopes, first_row):
    """Take the gradient of `out` back through the layers of `perceptron`; it is overwritten.

    Those of the parameters are written to `gradients`, flat like them, or of size 0 where they are not wanted; that of the rows
    from `first_row` on of `x` to `below` (n, n_inputs), which may have no rows. `room` is flat, twice as large as the widest
    matrix of hidden units. Sums over rows are in their order. Twin: ``naive.perceptron_backward`` in the tests.
    """
    _for(out, "perceptron").perceptron_backward(
        gradient, x, hidden, out, parameters, gradients, room, below, layers=layers, slopes=slopes, first_row=first_row
    )  # fmt: skip


def adversarial_step(
    both, z, room, generator, discriminator, moments, figures, *, pack, normal, key, update, real_target, target, weight,
    of_generator, of_discriminator, moves,
):  # fmt: skip
    """Make a step of ``training.adversarial`` with two networks of dense layers and with Adam: what it does, bit for bit.

    `both` (2 n_rows, n_features) holds rows of data, and gets as many samples; `z` (n_rows, latent_dim) gets latents, drawn as
    `draw_latent` does with the blocks 0 and 1. Each network is a tuple of what `perceptron_backward` has by these names:
    parameters, gradients, hidden, room, layers, slopes; `moments` are two of the generator's and two of the other's. `room`
    (4 n_rows // pack + n_rows n_features,) is overwritten; `figures` (6,) gets what `logistic_loss` reports. `real_target` is
    that of data, `target` and `weight` those of the generator, which `moves` or does not. `of_generator` and `of_discriminator`
    are tuples: rate, beta_1, beta_2, scale, epsilon, l2 and n_decayed of `adam`.

    On the CPU only, on one thread, and for small networks. Twin: ``training.adversarial`` without it.
    """
    _for(both, "adversarial").adversarial_step(
        both, z, room, generator, discriminator, moments, figures, pack=pack, normal=normal, key=key, update=update,
        real_target=real_target, target=target, weight=weight, of_generator=of_generator, of_discriminator=of_discriminator,
        moves=moves,
    )  # fmt: skip


def maxout(x, y, chosen):
    """y[r, u] ← the largest x[r, k n_units + u] over the pieces k; `chosen` (n_rows, n_units) uint8 gets its k, the first.

    `x` (n_rows, n_pieces n_units), `y` (n_rows, n_units). Twin: ``naive.maxout`` in the tests. Cost: one pass over `x`.
    """
    _for(y, "maxout").maxout(x, y, chosen)


def maxout_backward(gradient, chosen, out, bias_gradient):
    """Write the gradient of the inputs of `maxout`: that of the output where its piece was chosen, 0 elsewhere.

    `gradient` and `chosen` (n_rows, n_units), `out` (n_rows, n_pieces n_units); `bias_gradient` (n_pieces n_units,) gets the
    sums over rows, or is (0,) where they are not wanted. Twin: ``naive.maxout_backward`` in the tests.
    """
    _for(out, "maxout").maxout_backward(gradient, chosen, out, bias_gradient)


def chosen_weights(x, gradient, chosen, out, bias_gradient):
    """Write the gradient of the weights of maxout units, one row of `out` for each piece of each unit, without its zeros.

    out[k n_units + u] ← Σ_r gradient[r, u] x[r] over the rows r with chosen[r, u] = k, and `bias_gradient` the same without x.
    `x` (n_rows, n_inputs), `gradient` and `chosen` (n_rows, n_units), `out` (n_pieces n_units, n_inputs), `bias_gradient`
    (n_pieces n_units,). Rows are added in their order. On the CPU only: `maxout_backward` and a product do the same. Cost: a
    multiply-add for each input and each gradient that is not 0, which those of dropped units are.
    """
    _for(out, "chosen").chosen_weights(x, gradient, chosen, out, bias_gradient)


def chosen_inputs(gradient, chosen, weights, out):
    """Write the gradient of the inputs of maxout units: out[r] ← Σ_u gradient[r, u] weights[chosen[r, u] n_units + u].

    `out` (n_rows, n_inputs), `weights` (n_pieces n_units, n_inputs); else as `chosen_weights`.
    """
    _for(out, "chosen").chosen_inputs(gradient, chosen, weights, out)


def convolve(images, weights, bias, maps, *, stride, padding, activation, slope):
    """maps[n, i, j, d] ← f(bias[d] + Σ images[n, stride i - padding + y, stride j - padding + x, c] weights[y, x, c, d]).

    `images` (n, height, width, n_channels), 0 beyond their borders, `weights` (n_rows, n_columns, n_channels, n_maps) of any
    size, `maps` (n, (height + 2 padding - n_rows) // stride + 1, likewise the width, n_maps), `bias` (n_maps,) or (0,). Terms
    are added in the order of y, x and c: an image's maps are the same, bit for bit, alone or among others, with any number of
    threads. On the GPU by a product of cuBLAS. Twin: ``naive.convolve`` in the tests. Cost: a multiply-add for each term.

    Raises ValueError for shapes that do not fit, and arrays that are not float32 and C-contiguous.
    """
    _for(maps, "convolution").convolve(
        images, weights, bias, maps, stride=stride, padding=padding, activation=activation, slope=slope
    )  # fmt: skip


def deconvolve(maps, weights, bias, images, *, stride, padding, activation, slope):
    """The transposed convolution: images ← f(bias + the adjoint of `convolve`, of maps), its gradient with respect to images.

    Equal to a convolution of stride 1 of the maps with zeros interlaced, but none is multiplied. `bias` (n_channels,) or (0,);
    else as `convolve`. The size of the images tells how many rows and columns at the end no window reaches: they are f(bias).
    Twin: ``naive.deconvolve`` in the tests.
    """
    _for(images, "convolution").deconvolve(
        maps, weights, bias, images, stride=stride, padding=padding, activation=activation, slope=slope
    )  # fmt: skip


def convolution_weights(images, maps, out, *, stride, padding):
    """Write the gradient of the weights of `convolve`, given that of its sums, `maps`; or of `deconvolve`, given `images`.

    out[y, x, c, d] ← Σ images[n, stride i - padding + y, stride j - padding + x, c] maps[n, i, j, d], in the order of n, i, j.
    Twin: ``naive.convolution_weights`` in the tests.
    """
    _for(out, "convolution").convolution_weights(images, maps, out, stride=stride, padding=padding)


def batch_norm(x, gain, offset, normal, inverse, y, *, epsilon, activation, slope):
    """normal ← (x - mean) inverse and y ← f(gain · normal + offset), with inverse ← 1 / √(variance + epsilon).

    `x`, `normal` and `y` (n_rows, n_units); `gain` and `offset` (n_units,). Mean and variance are those of a group of rows:
    `inverse` (n_groups, n_units) says of how many equal groups, one after the other. `normal` may be `x`. Twin:
    ``naive.batch_norm`` in the tests. Cost: four passes, of some columns, or rows, at a time, which stay in the cache; on the
    GPU two launches that sum over rows, and one over all numbers.
    """
    _for(y, "batch_norm").batch_norm(
        x, gain, offset, normal, inverse, y, epsilon=epsilon, activation=activation, slope=slope
    )  # fmt: skip


def batch_norm_backward(gradient, y, normal, inverse, gain, gain_gradient, offset_gradient, *, activation, slope):
    """gradient ← the gradient of the inputs of `batch_norm`, given that of its outputs `y`, in place.

    With g = gradient · f', and means over a group: gain · inverse · (g - mean(g) - normal · mean(g · normal)). Sums of
    g · normal and of g over all rows go to `gain_gradient` and `offset_gradient` (n_units,), or (0,) where they are not wanted.
    Twin: ``naive.batch_norm_backward`` in the tests.
    """
    _for(y, "batch_norm").batch_norm_backward(
        gradient, y, normal, inverse, gain, gain_gradient, offset_gradient, activation=activation, slope=slope
    )  # fmt: skip


def adam(parameters, gradients, first, second, *, rate, beta_1, beta_2, scale, epsilon, l2, n_decayed):
    """One step of Adam, all in one pass; every array is flat, and of one size.

    g = gradient + l2 · parameter, where l2 counts for the first `n_decayed` parameters only; first ← first + (1 - beta_1)
    (g - first); second ← beta_2 second + (1 - beta_2) g²; parameter ← parameter - rate · first / (scale · √second + epsilon).
    Corrections of the bias are in `rate` and `scale`. Numbers below 1e-37 in the moments become 0, as denormal ones are slow.
    Twin: ``naive.adam`` in the tests.
    """
    _for(parameters, "descent").adam(
        parameters, gradients, first, second, rate=rate, beta_1=beta_1, beta_2=beta_2, scale=scale, epsilon=epsilon, l2=l2,
        n_decayed=n_decayed,
    )  # fmt: skip


def descend(parameters, gradients, velocity, *, rate, momentum, l2, n_decayed):
    """velocity ← momentum · velocity - rate · g, parameter ← parameter + velocity, in one pass, with g as in `adam`.

    Twin: ``naive.descend`` in the tests.
    """
    _for(parameters, "descent").descend(
        parameters, gradients, velocity, rate=rate, momentum=momentum, l2=l2, n_decayed=n_decayed
    )  # fmt: skip


def logistic_loss(logits, gradient, figures, *, target, weight):
    """Write the mean cross-entropy of logits with one target, the mean of σ(logits), and the gradient of the former.

    The loss of a logit x is max(x, 0) - target · x + log(1 + e^-|x|), its gradient (1 - target) σ(x) - target σ(-x),
    precise at both ends; both are multiplied by `weight`, and divided by the number of logits. `logits` and `gradient` (n,),
    `figures` (2,): the loss, and mean σ(x).
    Reference: ``fastbm.nn.losses``. On the GPU nothing is waited for.
    """
    _for(logits, "loss").logistic_loss(logits, gradient, figures, target=target, weight=weight)


def draw_latent(z, *, normal, key, first_row, update, block):
    """Draw latents: standard normal numbers, or, unless `normal`, uniform ones between -1 and 1, both ends left out.

    `z` (n_rows, n_units). Counters used: (unit // 4, row, update, block). A uniform number is (2 i + 1) 2^-24, i being the 24
    upper bits of the word as an integer with a sign; normal ones are ``fastbm.chain.normals``. Bit for bit the same everywhere;
    twin: ``naive.draw_latent`` in the tests.
    """
    _for(z, "latent").draw_latent(z, normal=normal, key=key, first_row=first_row, update=update, block=block)


def drop(x, y, *, rate, key, first_row, update, block):
    """y ← x / (1 - rate) where the random word of a unit is at least rate · 2^32, and 0 elsewhere; `y` may be `x`.

    `x` and `y` (n_rows, n_units); counters as in `draw_latent`. It is its own backward. Twin: ``naive.drop`` in the tests.
    """
    _for(x, "latent").drop(x, y, rate=rate, key=key, first_row=first_row, update=update, block=block)
