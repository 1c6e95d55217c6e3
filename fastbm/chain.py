"""The chain: what a sample is, defined once, in exact integers and counter-based randomness.

Every kernel, on any device, with any number of threads, computes the chain defined here bit for bit; this module is the
plain NumPy *reference* that the tests compare the kernels with. It is written to be read, not to be fast.

* couplings are rounded once to integers, ``Wq = rint(W * 2**exponent)``;
* the input of a unit, the sum of ``Wq`` over the units that are on, is an exact int32 in any order of summation;
* the logit is ``float32(input) * scale + beta * bias``, each operation rounded to float32, never fused;
* the random word of a unit is Philox4x32-10 of (unit // 4, chain, sweep, block), word unit % 4 [1]_;
* a unit is on when the uniform number that its word stands for lies below the logistic function of its logit;
* of a softmax group one unit is on, chosen by cumulative sums of exponentials in class order.

States are packed: unit i is bit i % 64 of word i // 64, words are uint64, and the padding bits of the last word are 0.

References
----------
.. [1] Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise

import numpy as np

WORD = 64
"""Units in a word of packed states; couplings and biases are padded to a multiple of it."""

LARGEST_EXPONENT = 24
SMALLEST_EXPONENT = 8
INPUT_LIMIT = 2**27
"""No unit's input may reach this magnitude, so that an input has 28 bits."""


class Purpose(IntEnum):
    """What a random stream is for; no two purposes share one."""

    INITIALIZATION = 0
    TRAINING = 1
    SAMPLING_START = 2
    SAMPLING = 3
    GIBBS = 4
    BINARISATION = 5
    HOLDING_OUT = 6
    SHUFFLING = 7
    LAYER = 8
    ANNEALING = 20
    REVERSE_ANNEALING = 21
    PILOT_ANNEALING = 22
    RESAMPLING = 23
    TRACE = 24
    CLAMPED = 30
    INFERENCE = 31
    WAKE = 40
    SLEEP = 41
    TOP = 42
    RECOGNITION = 43
    GENERATION = 44
    POPULATION = 50
    SCORING = 51


# --------------------------------------------------------------------------------------------------- packed states


def padded(n_units: int) -> int:
    """Return the number of bits that packed states of `n_units` units occupy: the next multiple of 64."""
    return -(-n_units // WORD) * WORD


def pack(rows: np.ndarray) -> np.ndarray:
    """Pack rows of 0/1 (or False/True), shape (n, n_units), into words, shape (n, padded(n_units) // 64), uint64."""
    rows = np.asarray(rows)
    bits = np.zeros((rows.shape[0], padded(rows.shape[1]) // 8), np.uint8)
    packed = np.packbits(rows != 0, axis=1, bitorder="little")
    bits[:, : packed.shape[1]] = packed
    return bits.view("<u8").astype(np.uint64, copy=False)


def is_packed(rows: np.ndarray) -> bool:
    """Whether these rows are packed states rather than one number a unit."""
    return rows.dtype == np.uint64


def unpack(states: np.ndarray, n_units: int, dtype: np.typing.DTypeLike = np.uint8) -> np.ndarray:
    """Unpack words into rows of 0/1, shape (n, n_units); the inverse of `pack`."""
    octets = np.ascontiguousarray(states.astype("<u8", copy=False)).view(np.uint8)
    return np.unpackbits(octets, axis=1, count=n_units, bitorder="little").astype(dtype, copy=False)


# ------------------------------------------------------------------------------------------------------- couplings


def round_couplings(weights: np.ndarray) -> tuple[np.ndarray, int]:
    """Round couplings to integers, ``rint(weights * 2**exponent)``.

    The exponent is the largest one, at most 24, for which every unit's sum of absolute rounded couplings stays below
    2**27; so the rounded machine differs from the given one by at most ``2**(-exponent - 1)`` in any coupling.

    Parameters
    ----------
    weights : ndarray of shape (n_visible, n_hidden)

    Returns
    -------
    rounded : ndarray of shape (n_visible, n_hidden), int32
    exponent : int

    Raises
    ------
    ValueError
        When a weight is not finite, or a unit's absolute couplings sum to 2**19 = 524288 or more.
    """
    weights = np.asarray(weights, np.float64)
    largest = largest_input(weights)
    exponent = first_exponent(largest, max(weights.shape))
    while exponent >= SMALLEST_EXPONENT:
        rounded = np.rint(np.ldexp(weights, exponent))
        if largest_input(rounded) < INPUT_LIMIT:
            return rounded.astype(np.int32), exponent
        exponent -= 1
    raise too_large(largest)


def round_layers(weights) -> tuple[list[np.ndarray], int]:
    """Round the couplings of a chain of layers, a tuple of arrays (n_k, n_(k+1)), at one exponent, as `round_couplings` does.

    Even layers are one side and odd layers the other: a unit's input comes from the layers below and above it.
    """
    sizes = [len(weights[0]), *(array.shape[1] for array in weights)]
    places = [sum(sizes[layer % 2 : layer : 2]) for layer in range(len(sizes))]
    folded, parts = np.zeros((sum(sizes[::2]), sum(sizes[1::2]))), []
    for layer, array in enumerate(weights):
        even, odd = layer + layer % 2, layer + 1 - layer % 2
        parts.append(np.s_[places[even] : places[even] + sizes[even], places[odd] : places[odd] + sizes[odd]])
        folded[parts[-1]] = array.T if layer % 2 else array
    rounded, exponent = round_couplings(folded)
    return [rounded[part].T if layer % 2 else rounded[part] for layer, part in enumerate(parts)], exponent


def largest_input(weights: np.ndarray) -> float:
    """Return the largest sum of absolute couplings over the units of both sides; ValueError when one is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        magnitudes = np.abs(weights)
        largest = float(max(magnitudes.sum(axis=0).max(), magnitudes.sum(axis=1).max()))
    check_finite(largest)
    return largest


def check_finite(largest: float) -> None:
    """Raise ValueError unless the largest magnitude of what a machine is made of is finite."""
    if not np.isfinite(largest):
        raise ValueError(
            "the weights or biases hold NaN or infinity, so the machine cannot be sampled; "
            "if this happened while fitting, the learning rate is too large"
        )


def first_exponent(largest: float, n_units: int) -> int:
    """Return an exponent no smaller than the right one, from which it is found by counting down."""
    if largest == 0.0:
        return LARGEST_EXPONENT
    bound = np.log2((INPUT_LIMIT + 0.5 * n_units) / largest)  # rounding takes away at most a half from each coupling
    return int(min(LARGEST_EXPONENT, np.ceil(bound)))


def settle_exponent(round_at, largest_input, shape, guess: int | None) -> int:
    """Return the exponent of couplings of this shape, for kernels; the last they rounded at is the right one.

    ``round_at(exponent)`` rounds, and returns the largest sum of absolute couplings, or more where one coupling alone is too
    large; ``largest_input()`` returns roughly that of the weights, NaN or infinity where one is. `guess` is tried first.
    """
    if guess is not None and is_right(guess, round_at(guess), shape):
        return guess
    bound = largest_input()
    check_finite(bound)
    exponent = first_exponent(bound, max(shape))
    while exponent >= SMALLEST_EXPONENT:
        if round_at(exponent) < INPUT_LIMIT:
            return exponent
        exponent -= 1
    raise too_large(bound)


def is_right(exponent: int, largest: int, shape) -> bool:
    """Return whether an exponent, which gave this largest sum of magnitudes, is certainly the one of the reference."""
    # at the next exponent each coupling would be at least twice as large, less one
    is_largest = exponent == LARGEST_EXPONENT or 2 * largest - max(shape) >= INPUT_LIMIT
    return largest < INPUT_LIMIT and is_largest


def too_large(largest: float) -> ValueError:
    """Return the error for couplings that cannot be rounded finely enough."""
    return ValueError(
        f"the absolute couplings of a unit sum to {largest:.6g}; the chain is exact for sums below 524288 (2**19). "
        "Scale the weights down, or, if this happened while fitting, lower the learning rate"
    )


# ------------------------------------------------------------------------------------------------------ randomness


def stream_key(seed: int, purpose: Purpose, *where: int) -> tuple[np.uint32, np.uint32]:
    """Return the 64-bit Philox key, as two words, of the random stream of `seed` for one purpose, in one layer, say."""
    first, second = np.random.SeedSequence(seed, spawn_key=(int(purpose), *where)).generate_state(2, np.uint32)
    return first, second


def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10 of counters (c0, c1, c2, c3) and key (k0, k1), all uint32 and broadcast; four uint32 arrays [1]_."""
    c0, c1, c2, c3, k0, k1 = (np.asarray(word, np.uint32).astype(np.uint64) for word in (c0, c1, c2, c3, k0, k1))
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & low, (p0 >> half) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return tuple(word.astype(np.uint32) for word in np.broadcast_arrays(c0, c1, c2, c3))


def random_words(n_units: int, chains: np.ndarray, sweep: int, block: int, key) -> np.ndarray:
    """Return the random words of units 0 … n_units - 1 of the numbered chains, shape (n_chains, n_units), uint32."""
    groups = np.arange(-(-n_units // 4))
    words = philox(groups[None, :], np.asarray(chains)[:, None], sweep, block, *key)
    return np.stack(words, axis=-1).reshape(len(chains), -1)[:, :n_units]


# ------------------------------------------------------------------------------------------------------------ draw

LOG2_E, ROUNDER = np.float32(1.44269504), np.float32(12582912.0)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
EXP_COEFFICIENTS = tuple(
    np.float32(c)
    for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
SMALLEST_LOGIT = np.float32(-87.0)
ONE, ULP = np.float32(1.0), np.float32(2.0**-32)
SOFTMAX_ULP = np.float32(2.0**-24)
SMALLEST_NORMAL = np.float32(2.0**-126)
"""Smaller numbers count as 0, as they do where a GPU flushes them."""


def exp_negative(x: np.ndarray) -> np.ndarray:
    """exp(x) for float32 x in [-87, 0], by additions, multiplications and shifts alone; relative error below 1e-7."""
    n = (x * LOG2_E + ROUNDER) - ROUNDER
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    y = np.full_like(r, EXP_COEFFICIENTS[0])
    for coefficient in EXP_COEFFICIENTS[1:]:
        y = y * r + coefficient
    y = y * (r * r) + r + ONE
    return y * ((n.astype(np.int32) + np.int32(127)) << np.int32(23)).view(np.float32)


def logit(inputs: np.ndarray, bias: np.ndarray, beta: np.ndarray, exponent: int) -> np.ndarray:
    """float32(inputs) * (beta * 2**-exponent) + beta * bias, in float32, one rounding an operation.

    `inputs` (n, n_units) int32, `bias` (n_units,) float32, `beta` (n,) or (1,) float32.
    """
    scale = beta * np.float32(2.0**-exponent)
    return inputs.astype(np.float32) * scale[:, None] + beta[:, None] * bias


def draw(logits: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return the states (bool) of units with float32 `logits`, given their random words.

    A word's top bit says whether its uniform number lies above one half, the others its distance to the nearer end of
    the unit interval: both tails keep full relative precision, and for one word the state is monotone in the logit.
    """
    above = (words >> np.uint32(31)).astype(bool)
    distance = ((words & np.uint32(0x7FFFFFFF)) | np.uint32(1)).astype(np.float32) * ULP
    e = exp_negative(np.maximum(-np.abs(logits), SMALLEST_LOGIT))
    likely = logits >= SMALLEST_NORMAL
    unlikely_taken = (above == likely) & (distance * (ONE + e) < e)
    return likely != unlikely_taken


def mean(logits: np.ndarray) -> np.ndarray:
    """Return the probability that units with float32 `logits` are on, by the chain's exponential; relative error 2e-7."""
    e = exp_negative(np.maximum(-np.abs(logits), SMALLEST_LOGIT))
    return np.where(logits > 0, ONE, e) / (ONE + e)


def draw_class(logits: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return the class of each softmax group with float32 `logits` (n, n_classes), given one random word each, (n,) uint32.

    e_k = exp(logit k - the largest); the sums e_0, e_0 + e_1, … are formed in class order, each rounded to float32. A word
    stands for u = ((word >> 8) | 1) * 2**-24, and the class is the number of sums that are at most u times the last: since u is
    below 1, that is never beyond the last class.
    """
    below = logits - logits.max(axis=1, keepdims=True)
    e = exp_negative(np.where(below > SMALLEST_LOGIT, below, SMALLEST_LOGIT))
    sums = np.cumsum(e, axis=1, dtype=np.float32)
    uniform = ((words >> np.uint32(8)) | np.uint32(1)).astype(np.float32) * SOFTMAX_ULP
    return (sums <= (uniform * sums[:, -1])[:, None]).sum(axis=1)


# --------------------------------------------------------------------------------------------------------- normals

LOG_COEFFICIENTS = tuple(
    np.float32(c)
    for c in (
        7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
        2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
    )
)  # fmt: skip
SIN_COEFFICIENTS = tuple(np.float32(c) for c in (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1))
COS_COEFFICIENTS = tuple(np.float32(c) for c in (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2))
TURN = np.float32(2 * np.pi * 2.0**-32)
"""Radians for each of the 2**32 parts of a turn."""
HALF_ROOT = 0x3F3504F3
"""The bits of the float32 nearest to the root of one half."""


def polynomial(coefficients, x: np.ndarray) -> np.ndarray:
    """Return the polynomial, the highest power first, by Horner's rule in float32."""
    y = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        y = y * x + coefficient
    return y


def log_uniform(words: np.ndarray) -> np.ndarray:
    """Return log u, below 0, of the uniform numbers u that words stand for (see `draw`); relative error below 3e-7.

    The side of the word decides between log m and log(1 - m) of the distance m, so that u near 1 keeps full precision too.
    """
    above = (words >> np.uint32(31)).astype(bool)
    distance = ((words & np.uint32(0x7FFFFFFF)) | np.uint32(1)).astype(np.float32) * ULP
    u = np.where(above, ONE - distance, distance)
    bits = u.view(np.int32)
    power = (bits - np.int32(HALF_ROOT)) >> np.int32(23)
    t = (bits - (power << np.int32(23))).view(np.float32) - ONE  # u = 2**power * (1 + t), t from -0.29 to 0.41
    t = np.where(above & (power == 0), -distance, t)
    n, square = power.astype(np.float32), t * t
    y = (polynomial(LOG_COEFFICIENTS, t) * t) * square
    y = (y + n * LN2_LOW) - np.float32(0.5) * square
    return (t + y) + n * LN2_HIGH


def normals(words: np.ndarray) -> np.ndarray:
    """Return standard normal numbers, float32, one for each word; `words` have an even number of columns.

    Units 2k and 2k + 1 share two words by the transform of Box and Muller: r cos θ and r sin θ, r = √(-2 log u) of the first
    word, θ = 2π word / 2**32 of the second. A word has 32 bits, so no number exceeds 6.7 in magnitude (beyond are 3e-11 of a
    normal distribution). Additions, multiplications, shifts and a square root, each rounded to float32, never fused.
    """
    radius = np.sqrt(np.float32(-2.0) * log_uniform(words[:, ::2]))
    angle = words[:, 1::2]
    quarter = (angle + np.uint32(1 << 29)) >> np.uint32(30)
    x = (angle - (quarter << np.uint32(30))).view(np.int32).astype(np.float32) * TURN  # from -π/4 to π/4
    square = x * x
    sine = (polynomial(SIN_COEFFICIENTS, square) * square) * x + x
    cosine = ((polynomial(COS_COEFFICIENTS, square) * square) * square - np.float32(0.5) * square) + ONE
    odd = (quarter & np.uint32(1)).astype(bool)
    first, second = np.where(odd, sine, cosine), np.where(odd, cosine, sine)
    first = np.where((quarter == 1) | (quarter == 2), -first, first)
    second = np.where((quarter == 2) | (quarter == 3), -second, second)
    return np.stack([radius * first, radius * second], axis=-1).reshape(len(words), -1)


def draw_normal(means: np.ndarray, beta: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return float32 numbers drawn from normal distributions of these means and variance 1 / β, given their random words.

    `beta` (n,) or (1,) float32, above 0; `means` and `words` (n, n_units).
    """
    deviation = ONE / np.sqrt(beta)
    return means + normals(words) * deviation[:, None]


# ----------------------------------------------------------------------------------------------------------- sweeps


def draw_softmax(
    states, given, couplings, bias, beta, loose, *, layer, first, n_classes, exponent, key, first_chain, update
):  # fmt: skip
    """Draw a softmax group, units that are all off but one, in place: the reference of ``fastbm.kernels.draw_softmax``.

    The word of a group is that of its first unit, which is used for nothing else, since the block update that draws the other
    units of the layer holds the group as if it were clamped. See the kernel's contract for the arguments.
    """
    chains, group = first_chain + np.arange(states.shape[0]), slice(first, first + n_classes)
    inputs = np.zeros((len(chains), n_classes))
    for neighbour, between in zip(given, couplings, strict=True):
        inputs += unpack(neighbour, between.shape[1], np.float64) @ between[group].T
    logits = logit(inputs.astype(np.int32), bias[group], beta, exponent)
    words = random_words(first + 1, chains, update // 2, layer ^ 1, key)[:, first]
    rows = unpack(states, WORD * states.shape[1])
    drawn = rows.copy()
    drawn[:, group] = np.arange(n_classes) == draw_class(logits, words)[:, None]
    states[:] = pack(np.where(loose[:, None] != 0, drawn, rows))


def gibbs(layers, up, down, biases, beta, free, *, exponent, key, first_chain, start, stop):
    """Block Gibbs sampling of a machine with a chain of layers: the reference of ``fastbm.kernels.gibbs``.

    Units have couplings to the layers next to theirs. Block updates `start` … `stop` - 1 are run; update u belongs to sweep
    u // 2: even ones draw the odd layers given the even ones, odd ones draw the even layers. The words of layer l come from
    block l ^ 1, so that the hidden units of a restricted machine, drawn first, are block 0. See the kernel's contract for the
    arguments.
    """
    chains = first_chain + np.arange(layers[0].shape[0])
    for update in range(start, stop):
        for layer in range(1 - update % 2, len(layers), 2):
            inputs = np.zeros((len(chains), biases[layer].size))  # float64 sums of integers are exact
            if layer > 0:
                inputs += unpack(layers[layer - 1], up[layer - 1].shape[0], np.float64) @ up[layer - 1]
            if layer + 1 < len(layers):
                inputs += unpack(layers[layer + 1], down[layer].shape[0], np.float64) @ down[layer]
            logits = logit(inputs.astype(np.int32), biases[layer], beta, exponent)
            words = random_words(biases[layer].size, chains, update // 2, layer ^ 1, key)
            states = pack(draw(logits, words))
            layers[layer][:] = (states & free[layer]) | (layers[layer] & ~free[layer])


def graph_gibbs(
    states, indptr, indices, data, bias, beta, free, starts, sizes, numbers, *, exponent, key, first_chain, start, stop
):  # fmt: skip
    """Block Gibbs sampling of a machine on any graph: the reference of ``fastbm.kernels.graph_gibbs``."""

    def inputs_of(rows, begin, end):
        columns = [rows[:, indices[a:b]] @ data[a:b].astype(np.int64) for a, b in pairwise(indptr[begin : end + 1])]
        return np.stack(columns, axis=1)

    numbered = {"exponent": exponent, "key": key, "first_chain": first_chain, "start": start, "stop": stop}
    _sweep_blocks(states, inputs_of, bias, beta, free, starts, sizes, numbers, **numbered)


def dense_gibbs(
    states, couplings, bias, beta, free, starts, sizes, numbers, *, exponent, key, first_chain, start, stop
):  # fmt: skip
    """Block Gibbs sampling of a machine with a matrix of couplings: the reference of ``fastbm.kernels.dense_gibbs``."""

    def inputs_of(rows, begin, end):
        return rows[:, : len(couplings)] @ couplings[:, begin:end].astype(np.int64)

    numbered = {"exponent": exponent, "key": key, "first_chain": first_chain, "start": start, "stop": stop}
    _sweep_blocks(states, inputs_of, bias, beta, free, starts, sizes, numbers, **numbered)


def _sweep_blocks(
    states, inputs_of, bias, beta, free, starts, sizes, numbers, *, exponent, key, first_chain, start, stop
):  # fmt: skip
    """Run sweeps `start` … `stop` - 1: every block in turn, its units drawn given all others.

    ``inputs_of(rows, begin, end)`` returns the inputs of slots `begin` … `end` - 1. The word of a unit is that of its position
    in its block, at the block's number.
    """
    chains, n_slots = first_chain + np.arange(len(states)), bias.size
    rows, is_free = unpack(states, n_slots, np.int64), unpack(free, n_slots, bool)
    for sweep in range(start, stop):
        beta_now = beta[:, (sweep - start) % beta.shape[1]]
        for begin, size, number in zip(starts, sizes, numbers, strict=True):
            slots = slice(begin, begin + size)
            inputs = inputs_of(rows, begin, begin + size).astype(np.int32)
            drawn = draw(logit(inputs, bias[slots], beta_now, exponent), random_words(size, chains, sweep, number, key))
            rows[:, slots] = np.where(is_free[:, slots], drawn, rows[:, slots])
    states[:] = pack(rows)
