"""Naive twins of kernels and formulas: loops and enumeration, in float64, written to be obviously right."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fastbm import chain
from fastbm.kernels import llvm_cpu


def all_states(n_units):
    """Every state of n_units binary units, shape (2**n_units, n_units)."""
    return ((np.arange(2**n_units)[:, None] >> np.arange(n_units)) & 1).astype(np.float64)


def log_sum_exp(x):
    largest = x.max()
    return largest + np.log(np.exp(x - largest).sum())


def joint(weights, visible_bias, hidden_bias, beta=1.0):
    """Visible states, hidden states and the joint log-probabilities (2**n_visible, 2**n_hidden) of a small machine."""
    v, h = all_states(weights.shape[0]), all_states(weights.shape[1])
    minus_energy = beta * (v @ weights @ h.T + (v @ visible_bias)[:, None] + h @ hidden_bias)
    return v, h, minus_energy - log_sum_exp(minus_energy)


def log_partition(weights, visible_bias, hidden_bias):
    """log Z by enumeration of the hidden side: visible units are summed out in closed form."""
    h = all_states(weights.shape[1])
    return log_sum_exp(h @ hidden_bias + np.logaddexp(0, h @ weights.T + visible_bias).sum(axis=1))


def log_likelihood(weights, visible_bias, hidden_bias, X):
    """Exact log p(v) of rows."""
    minus_free_energy = X @ visible_bias + np.logaddexp(0, X @ weights + hidden_bias).sum(axis=1)
    return minus_free_energy - log_partition(weights, visible_bias, hidden_bias)


def gradient(weights, visible_bias, hidden_bias, X):
    """Gradient of the mean log-likelihood, by enumeration: for weights, visible and hidden biases."""

    def moments(v, p, weight):
        return (v * weight[:, None]).T @ p, weight @ v, weight @ p

    def hidden(v):
        return 1 / (1 + np.exp(-(v @ weights + hidden_bias)))

    v, _, log_p = joint(weights, visible_bias, hidden_bias)
    data = moments(X, hidden(X), np.full(len(X), 1 / len(X)))
    model = moments(v, hidden(v), np.exp(log_p).sum(axis=1))
    return [a - b for a, b in zip(data, model, strict=True)]


def pseudo_likelihood(weights, visible_bias, hidden_bias, X):
    """Σ_i log p(v_i | rest) from free energies, one unit and row at a time; the flip of v_i is 1 - v_i."""

    def free_energy(v):
        return -v @ visible_bias - np.logaddexp(0, v @ weights + hidden_bias).sum()

    total = np.zeros(len(X))
    for row, v in enumerate(np.asarray(X, np.float64)):
        for unit in range(len(v)):
            flipped = v.copy()
            flipped[unit] = 1 - v[unit]
            total[row] -= np.logaddexp(0, free_energy(v) - free_energy(flipped))
    return total


def ascend(
    weights, velocity, data, chains, means, offsets=None, factors=None, *, learning_rate, momentum=0.0, l1=0.0, l2=0.0,
    offset_rate=0.0, fused=False,
):  # fmt: skip
    """A step of the weights up the gradient, row after row, in float32: new weights, velocity, and gradients of the biases.

    `data` and `chains` are rows, a number a unit; `means` the hidden probabilities of both; `velocity` may be None, and so may
    the `offsets` of visible and of hidden units, which change in place; `factors` are what rows count, all alike when None.
    With `fused`, products of the data are added as `product` does.
    """
    learning_rate, momentum, l1, l2, offset_rate = map(np.float32, (learning_rate, momentum, l1, l2, offset_rate))
    if factors is None:
        factors = np.float32([1 / len(data)] * len(data) + [-1 / len(chains)] * len(chains))
    gradients = [np.zeros(shape, np.float32) for shape in (weights.shape, *weights.shape)]
    for k, (row, factor, hidden) in enumerate(zip([*data, *chains], factors, means, strict=True)):
        visible = np.float32(row) * factor
        if fused and k < len(data):
            gradients[0][:] = multiply_add(visible[:, None], hidden, gradients[0])
        else:
            gradients[0] += visible[:, None] * hidden
        gradients[1] += visible
        gradients[2] += factor * hidden
    gradient, visible_gradient, hidden_gradient = gradients
    if offsets is not None:
        for offset, rows in zip(offsets, (data, means[: len(data)]), strict=True):
            mean = np.zeros_like(offset)
            for row, factor in zip(rows, factors, strict=False):
                mean += factor * np.float32(row)
            offset += offset_rate * (mean - offset)
        visible_offset, hidden_offset = offsets
        gradient -= visible_offset[:, None] * hidden_gradient + visible_gradient[:, None] * hidden_offset
        visible_gradient = visible_gradient - folded(gradient * hidden_offset, 64)
        for first in range(0, len(gradient), 32):
            pull = np.zeros_like(hidden_gradient)
            for unit in range(first, min(first + 32, len(gradient))):
                pull += visible_offset[unit] * gradient[unit]
            hidden_gradient = hidden_gradient - pull
    if l1 or l2:
        gradient = gradient - (l2 * weights + l1 * np.sign(weights))
    step = learning_rate * gradient
    if velocity is not None:
        step = velocity = momentum * velocity + step
    return weights + step, velocity, visible_gradient, hidden_gradient


def folded(terms, n_lanes):
    """Sums of the rows of float32 terms: first of every n_lanes-th term, then by halves, each sum rounded."""
    lanes = np.zeros((len(terms), n_lanes), np.float32)
    for begin in range(0, terms.shape[1], n_lanes):
        some = terms[:, begin : begin + n_lanes]
        lanes[:, : some.shape[1]] += some
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def contrastive_divergence(machine, X, chains, *, key, n_steps, learning_rate):
    """One PCD update in float64 with the reference chain; chains are (visible, hidden, updates), packed."""
    weights, visible_bias, hidden_bias = (np.asarray(array, np.float64) for array in machine)
    n_visible = weights.shape[0]
    visible, hidden, updates = chains
    arguments, exponent = reference_arguments([weights], [visible_bias, hidden_bias], [visible, hidden])
    numbers = {"exponent": exponent, "key": key, "first_chain": 0}
    chain.gibbs(**arguments, **numbers, start=updates, stop=updates + 2 * n_steps - 1)
    v = chain.unpack(visible, n_visible, np.float64)
    sigmoid = [1 / (1 + np.exp(-(rows @ weights + hidden_bias))) for rows in (X, v)]
    chain.gibbs(**arguments, **numbers, start=updates + 2 * n_steps - 1, stop=updates + 2 * n_steps)
    weights = weights + learning_rate * (X.T @ sigmoid[0] / len(X) - v.T @ sigmoid[1] / len(v))
    visible_bias = visible_bias + learning_rate * (X.mean(axis=0) - v.mean(axis=0))
    hidden_bias = hidden_bias + learning_rate * (sigmoid[0].mean(axis=0) - sigmoid[1].mean(axis=0))
    return (weights, visible_bias, hidden_bias), (visible, hidden, updates + 2 * n_steps)


def reference_arguments(weights, biases, layers):
    """The arguments of chain.gibbs for a chain of layers, nothing clamped, β = 1; and the exponent.

    `weights` are those between each layer and the next, (sizes[l], sizes[l + 1]), `layers` packed states.
    """
    rounded, exponent = round_together(weights)
    sizes = [len(bias) for bias in biases]
    return {
        "layers": tuple(layers),
        "up": tuple(pad(between) for between in rounded),
        "down": tuple(pad(between.T) for between in rounded),
        "biases": tuple(pad(np.asarray(bias, np.float32)) for bias in biases),
        "beta": np.ones(1, np.float32),
        "free": tuple(chain.pack(np.ones((1, size))) for size in sizes),
    }, exponent


def random_arguments(sizes, n_chains, *, scale=0.5, beta="one", clamp="none", seed=0):
    """As `reference_arguments`, for a random machine with layers of these sizes and chains in random states.

    `beta` is "one" for all chains or for "each"; `clamp` is "none", or units clamped in all chains alike, "one", or in "each".
    """
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=pair) * scale for pair in pairwise(sizes)]
    biases = [rng.normal(size=size) for size in sizes]
    arguments, exponent = reference_arguments(weights, biases, [chain.pack(rng.random((n_chains, n)) < 0.4) for n in sizes])
    if beta == "each":
        arguments["beta"] = rng.uniform(0, 2, n_chains).astype(np.float32)
    if clamp != "none":
        rows = 1 if clamp == "one" else n_chains
        arguments["free"] = tuple(chain.pack(rng.random((rows, size)) < 0.6) for size in sizes)
    return arguments, exponent


def run(function, arguments, **numbers):
    """Run a gibbs function on copies of the layers; return them."""
    layers = tuple(states.copy() for states in arguments["layers"])
    function(**arguments | numbers | {"layers": layers})
    return layers


def round_together(weights):
    """The couplings of a chain of layers as integers, and the exponent: the largest for which no unit's sum reaches 2**27."""
    for exponent in range(24, 7, -1):
        rounded = [np.rint(np.ldexp(np.asarray(between, np.float64), exponent)) for between in weights]
        below = [0, *(np.abs(between).sum(axis=0) for between in rounded)]
        above = [*(np.abs(between).sum(axis=1) for between in rounded), 0]
        if max(np.max(total) for total in map(np.add, below, above)) < 2**27:
            return [between.astype(np.int32) for between in rounded], exponent
    raise ValueError("weights that cannot be rounded")


def pad(array):
    """The array with zeros behind, as many as fill the last word of units."""
    width = [(0, 0)] * (array.ndim - 1) + [(0, chain.padded(array.shape[-1]) - array.shape[-1])]
    return np.ascontiguousarray(np.pad(array, width))


def product(left, right, start=0.0):
    """start + left @ right in float32, terms added one after the other as the kernels on this processor do."""
    total = np.zeros((left.shape[0], right.shape[1]), np.float32) + np.float32(start)
    for k in range(left.shape[1]):
        total = multiply_add(left[:, k, None], right[k], total)
    return total


def multiply_add(a, b, c):
    """a b + c of float32 numbers, rounded once where the processor has fused multiply-adds, else twice.

    In float64 the product is exact. A sum that is not is given a last bit of 1, by the neighbour on the side of the exact sum,
    so that it is no tie between float32 numbers where the exact sum is none.
    """
    if not llvm_cpu.is_fused():
        return c + a * b
    product, c = np.float64(a) * b, np.float64(c)
    total = product + c
    rest = total - product
    missing = (product - (total - rest)) + (c - rest)
    is_even = total.view(np.int64) % 2 == 0
    return np.where((missing != 0) & is_even, np.nextafter(total, np.copysign(np.inf, missing)), total).astype(np.float32)


def add_log_ratios(states, couplings, bias, offset, out, *, exponent, before, after):
    """Add what a step of annealing from one β to another adds to the log weight of each row, one row and unit at a time."""
    for row, v in enumerate(chain.unpack(states, len(offset), np.float64)):
        x = v @ couplings[: len(offset)].astype(np.float64) * 2.0**-exponent + bias.astype(np.float64)
        out[row] += (after - before) * (v @ offset)
        out[row] += sum(np.logaddexp(0, after * each) - np.logaddexp(0, before * each) for each in x)


def symmetric(rng, n_units, share=1.0, scale=1.0):
    """A random symmetric matrix of couplings with zeros on the diagonal, and about this share of the others not 0."""
    upper = np.triu(rng.normal(size=(n_units, n_units)) * scale * (rng.random((n_units, n_units)) < share), 1)
    return upper + upper.T


def distribution(couplings, bias, beta=1.0, given=None):
    """All states of a general machine, and their probabilities, those that differ from `given` where it is not NaN being 0."""
    states = all_states(len(bias))
    minus_energy = beta * (np.einsum("si,ij,sj->s", states, np.triu(couplings, 1), states) + states @ bias)
    if given is not None:
        minus_energy[(states != given)[:, ~np.isnan(given)].any(axis=1)] = -np.inf
    return states, np.exp(minus_energy - log_sum_exp(minus_energy))


# -------------------------------------------------------------------------------------------------------- networks


def perceptron(x, weights, biases, functions):
    """The outputs of dense layers, one after the other."""
    outputs = []
    for w, b, function in zip(weights, biases, functions, strict=True):
        x = function(x @ w + b)
        outputs.append(x)
    return outputs


def perceptron_backward(gradient, x, outputs, weights, slopes):
    """Gradients of the weights and biases of each layer, and of x; `slopes` are the activations' derivatives, by outputs."""
    of_weights, of_biases = [], []
    for layer in reversed(range(len(weights))):
        gradient = gradient * slopes[layer](outputs[layer])
        below = outputs[layer - 1] if layer else x
        of_weights.insert(0, sum(np.outer(a, g) for a, g in zip(below, gradient, strict=True)))
        of_biases.insert(0, sum(gradient))
        gradient = gradient @ weights[layer].T
    return of_weights, of_biases, gradient


def maxout(x, n_units):
    """The largest piece of each unit, and its number."""
    y, chosen = np.zeros((len(x), n_units), x.dtype), np.zeros((len(x), n_units), int)
    for row in range(len(x)):
        for unit in range(n_units):
            pieces = [x[row, column] for column in range(unit, x.shape[1], n_units)]
            chosen[row, unit] = pieces.index(max(pieces))
            y[row, unit] = max(pieces)
    return y, chosen


def maxout_backward(gradient, chosen, n_pieces):
    """Gradient of the pieces, and its sums over rows."""
    n_units = gradient.shape[1]
    out = np.zeros((len(gradient), n_pieces * n_units))
    for row in range(len(gradient)):
        for unit in range(n_units):
            out[row, int(chosen[row, unit]) * n_units + unit] = gradient[row, unit]
    return out, out.sum(axis=0)


def batch_norm(x, gain, offset, n_groups, epsilon):
    """Normalised rows and outputs before the activation, each group of rows by its moments."""
    normal = np.concatenate([(g - g.mean(axis=0)) / np.sqrt(g.var(axis=0) + epsilon) for g in np.split(x, n_groups)])
    return normal, gain * normal + offset


def batch_norm_backward(gradient, x, gain, n_groups, epsilon):
    """Gradient of the inputs by the full Jacobian of each unit, and those of gain and offset."""
    out, size = np.zeros_like(x), len(x) // n_groups
    for begin in range(0, len(x), size):
        for unit in range(x.shape[1]):
            column, g = x[begin : begin + size, unit], gradient[begin : begin + size, unit]
            deviation = np.sqrt(column.var() + epsilon)
            normal = (column - column.mean()) / deviation
            jacobian = (np.eye(size) - 1 / size - np.outer(normal, normal) / size) / deviation
            out[begin : begin + size, unit] = gain[unit] * jacobian @ g
    return out, (gradient * batch_norm(x, 1, 0, n_groups, epsilon)[0]).sum(axis=0), gradient.sum(axis=0)


def adam(parameters, gradients, first, second, *, rate, beta_1, beta_2, scale, epsilon, l2, n_decayed):
    """A step of Adam, one parameter after the other: new parameters and moments."""
    new = [], [], []
    for k, (p, g, m, v) in enumerate(zip(parameters, gradients, first, second, strict=True)):
        g = g + (l2 * p if k < n_decayed else 0)
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g * g
        for out, value in zip(new, (p - rate * m / (scale * np.sqrt(v) + epsilon), m, v), strict=True):
            out.append(value)
    return [np.array(each) for each in new]


def descend(parameters, gradients, velocity, *, rate, momentum, l2, n_decayed):
    """A step with momentum: new parameters and velocity."""
    decayed = np.arange(len(parameters)) < n_decayed
    velocity = momentum * velocity - rate * (gradients + l2 * decayed * parameters)
    return parameters + velocity, velocity


def draw_latent(n_rows, n_units, *, normal, key, first_row, update, block):
    """Latents by the counters of the chain."""
    rows = first_row + np.arange(n_rows)
    words = chain.random_words(-(-n_units // 4) * 4, rows, update, block, key)
    uniform = (2 * (words.view(np.int32) >> 8).astype(np.float64) + 1) * 2.0**-24
    return (chain.normals(words) if normal else uniform.astype(np.float32))[:, :n_units]


def drop(x, *, rate, key, first_row, update, block):
    """Rows with units left out."""
    rows = first_row + np.arange(len(x))
    words = chain.random_words(-(-x.shape[1] // 4) * 4, rows, update, block, key)[:, : x.shape[1]]
    return np.where(words >= rate * 2.0**32, x / np.float32(1 - rate), 0)


def mean_field(given, weights, biases, means, tolerance, max_updates, damping, patience, fine_updates=2):
    """The means of one row after its updates, their number, and the largest distance at the last; in float64.

    Given float32 the first updates are coarse, and leave so many of the cap that are not.
    """
    n_updates, largest, exponent = 0, np.inf, coarse_exponent(weights)
    if given.dtype == np.float32 and exponent >= 0 and max_updates > fine_updates:
        rounded = [np.rint(array * 2.0**exponent) / 2.0**exponent for array in weights]
        coarse = max(8 * tolerance, 1e-4) if tolerance >= 0 else -1.0, max_updates - fine_updates, 0.0, 2
        means, n_updates, largest = updated(
            given, rounded, biases, means, 0, largest, *coarse, lambda x: np.rint(x * 2048) / 2048
        )
    return updated(given, weights, biases, means, n_updates, largest, tolerance, max_updates, damping, patience)


def coarse_exponent(weights):
    """The largest q with which sums of rounded couplings and of means of 11 bits fit in 32 bits."""
    sums = [np.zeros(n) for n in [*(array.shape[0] for array in weights), weights[-1].shape[1]]] if len(weights) else []
    for layer, array in enumerate(weights):
        sums[layer] += abs(array).sum(axis=1)
        sums[layer + 1] += abs(array).sum(axis=0)
    for q in range(24, -1, -1) if any(each.any() for each in sums) else ():
        fit = all(each.max() * 2.0**q < 2.0**20 - max(map(len, sums)) - 1 for each in sums)
        if fit and all(abs(array).max() * 2.0**q < 2**15 - 1 for array in weights):
            return q
    return -1


def updated(given, weights, biases, means, n_updates, largest, tolerance, max_updates, damping, patience, seen=None):
    """As `mean_field`; where products are of means as they are `seen`, until a row comes no nearer, too."""
    means, kept, nearest, since = [np.array(each, np.float64) for each in means], 0.0, np.inf, 0
    look = seen or (lambda x: x)
    while n_updates < max_updates:
        distances, n_updates = [], n_updates + 1
        for layer in range(len(means)):
            x = np.array(given, np.float64) if layer == 0 else biases[layer - 1] + look(means[layer - 1]) @ weights[layer - 1]
            if layer + 1 < len(means):
                x = x + weights[layer] @ look(means[layer + 1])
            distances.append(1 / (1 + np.exp(-x)) - means[layer])
            means[layer] += (1 - kept) * distances[-1]
        largest = max(abs(each).max() for each in distances)
        if largest <= tolerance:
            break
        since = 0 if largest < nearest else since + 1
        nearest = min(nearest, largest)
        if since >= patience:
            kept = damping
            if seen:
                break
    return means, n_updates, largest


def convolve(images, weights, stride, padding):
    """Windows times weights, one output pixel after the other."""
    n_rows, n_columns, _, n_maps = weights.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    size = [(n - k) // stride + 1 for n, k in zip(padded.shape[1:3], (n_rows, n_columns), strict=True)]
    maps = np.zeros((len(images), *size, n_maps), images.dtype)
    for i in range(size[0]):
        for j in range(size[1]):
            window = padded[:, stride * i : stride * i + n_rows, stride * j : stride * j + n_columns]
            maps[:, i, j] = np.tensordot(window, weights, 3)
    return maps


def deconvolve(maps, weights, shape, stride, padding):
    """Zeros interlaced between the maps and around them, then a convolution of stride 1 with the weights turned about."""
    n_rows, n_columns = weights.shape[:2]
    spread = np.zeros((len(maps), shape[0] + n_rows - 1, shape[1] + n_columns - 1, maps.shape[3]), maps.dtype)
    (top, left), (height, width) = (n_rows - 1 - padding, n_columns - 1 - padding), maps.shape[1:3]
    for i in range(height):
        for j in range(width):
            y, x = top + stride * i, left + stride * j
            if 0 <= y < spread.shape[1] and 0 <= x < spread.shape[2]:
                spread[:, y, x] = maps[:, i, j]
    return convolve(spread, weights[::-1, ::-1].transpose(0, 1, 3, 2), 1, 0)


def convolution_weights(images, maps, shape, stride, padding):
    """Products of windows and maps, one pixel after the other."""
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    out = np.zeros((*shape, images.shape[3], maps.shape[3]), images.dtype)
    for i in range(maps.shape[1]):
        for j in range(maps.shape[2]):
            window = padded[:, stride * i : stride * i + shape[0], stride * j : stride * j + shape[1]]
            out += np.tensordot(window, maps[:, i, j], (0, 0))
    return out
