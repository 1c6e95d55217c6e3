"""The kernels' contracts, and their dispatch: arrays in, arrays out, nothing allocated but what is said.

Words used below, see ``fastbm.chain``:

* *packed states*: shape (n_rows, padded(n_units) // 64), uint64, padding bits 0;
* *couplings*: rounded, int32, shape (n_from, padded(n_to)), padding columns 0, as `round_couplings` gives them;
* *bias*: float32, shape (padded(n_units),), padding 0; *beta*: float32, shape (n_rows,) or (1,);
* *free*: packed, shape (n_rows, words) or (1, words): a unit whose bit is 0 keeps its state (clamped units, and padding);
* *key*: two uint32, a random stream; row r is chain number first_chain + r.

No result depends on the number of threads or on how rows are cut into tiles. ``NAME_cpu.py`` holds the numba version of a
kernel, ``NAME_gpu.py`` the one for arrays of CuPy, whose states are the same bit for bit, and whose float32 sums agree within
rounding; importing this package imports none of them.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

from fastbm.device import on_gpu

ACTIVATIONS = ("identity", "sigmoid", "tanh", "relu", "leaky_relu")
"""What `product` can make of its sums: x; 1 / (1 + exp(-x)); tanh(x); max(x, 0); x where it is above 0, else slope · x."""

COARSE_BITS, COARSE_PATIENCE = 11, 2
"""Of `mean_field`: the bits of coarse means, and how many coarse updates may bring a row no nearer."""


def round_couplings(weights, to_hidden, to_visible, *, guess):
    """Round couplings to integers in both orientations; return the exponent.

    `weights` (n_visible, n_hidden) float32 or float64, C-contiguous. Written: `to_hidden` (n_visible, padded(n_hidden)) and
    `to_visible` (n_hidden, padded(n_visible)), but not their padding; `to_visible` may be of shape (0, 0): it is then not
    wanted, as for directed layers. `guess` is an exponent that is likely to be right, or None. Reference and errors:
    ``fastbm.chain.round_couplings``. Cost: one pass over the weights when the guess is right, else three.

    On the GPU the exponent stays there, an int32 array of one number, which all kernels take as it is: nothing waits for it,
    and errors are left to `check_exponent`.
    """
    return _for(weights, "rounding").round_couplings(weights, to_hidden, to_visible, guess=guess)


def round_layers(weights, up, down, *, guess):
    """Round the couplings of a machine with a chain of layers, all at one exponent; return the exponent.

    `weights` is a tuple with an array (n_k, n_(k+1)) for each two layers, float32 or float64, C-contiguous, or the transpose of
    one that is. Written: `up[k]` (n_k, padded(n_(k+1))) and `down[k]` (n_(k+1), padded(n_k)), but not their padding. A unit's
    input comes from both sides. Otherwise as `round_couplings`, whose result it is for two layers. Reference:
    ``fastbm.chain.round_layers``.
    """
    return _for(weights[0], "rounding").round_layers(weights, up, down, guess=guess)


def check_exponent(exponent, weights):
    """Raise the errors of `round_couplings` and `ascend` that were put off: of weights not finite, or too large.

    On the CPU none is; on the GPU one number comes to the host.
    """
    _for(weights, "rounding").check_exponent(exponent, weights)


def gibbs(layers, up, down, biases, beta, free, tables, *, exponent, key, first_chain, start, stop):
    """Run block updates `start` … `stop` - 1 of a machine with a chain of layers; the states change in place.

    `layers` are packed states, a tuple with one array a layer, the visible layer first; `up[l]` are the couplings from layer l
    to layer l + 1, `down[l]` those from layer l + 1 to layer l; `biases` and `free` have one array a layer. `tables` is a dict
    that belongs to these couplings, empty at first: what is built from them is kept in it.

    Update u is of sweep u // 2; even ones draw the odd layers given the even ones, odd ones the even layers. A restricted
    machine has two layers. Counters used: (unit // 4, chain, u // 2, layer ^ 1). Reference: ``fastbm.chain.gibbs``. Cost: a
    random word and an exponential for each unit; for few chains, one row of couplings for each unit that changes; for many, a
    look-up for each coupling and three or five units, of 16 or 32 chains at once.
    """
    _for(layers[0], "gibbs").gibbs(
        layers, up, down, biases, beta, free, tables, exponent=exponent, key=key, first_chain=first_chain, start=start,
        stop=stop,
    )  # fmt: skip


def draw_softmax(
    states, given, couplings, bias, beta, loose, *, layer, first, n_classes, exponent, key, first_chain, update
):  # fmt: skip
    """Draw a softmax group of units, of which one is on, given the layers next to theirs; its bits change in place.

    The group are units `first` … `first` + `n_classes` - 1 of layer number `layer`, whose packed states are `states`, and whose
    biases are `bias`; it may begin at any unit. `given` is a tuple of the packed states of one or two neighbouring layers, and
    `couplings` one of the couplings from this layer to each: (n_units, padded(n_neighbours)), of which only the rows of the
    group are read. `loose` (n_rows,) or (1,) uint8 says in which chains the group is free; in others it keeps its state.

    It belongs to block update number `update`: call it before `gibbs` or `phases` runs that update with the bits of the group
    cleared in `free`. Counters used: (first // 4, chain, update // 2, layer ^ 1), word first % 4. Reference:
    ``fastbm.chain.draw_softmax``. Cost: an addition for each coupling of the group, and an exponential for each class.
    """
    _for(states, "softmax").draw_softmax(
        states, given, couplings, bias, beta, loose, layer=layer, first=first, n_classes=n_classes, exponent=exponent, key=key,
        first_chain=first_chain, update=update,
    )  # fmt: skip


def gibbs_with_labels(
    layers, up, down, biases, beta, free, loose, tables, *, n_labels, exponent, key, first_chain, start, stop
):  # fmt: skip
    """Run block updates of a restricted machine whose last `n_labels` visible units are a softmax group, as `gibbs` does.

    Arguments as of `gibbs`, for two layers; the bits of the group are cleared in ``free[0]``, and `loose` (n_rows,) or (1,)
    uint8 says in which chains it is drawn. Counters used: those of `gibbs`, and of `draw_softmax`. Reference: ``draw_softmax``
    before each visible update of ``fastbm.chain.gibbs``. Cost: as of both; on the CPU chains that follow flips draw the group
    from inputs that they have.
    """
    _for(layers[0], "labels").gibbs_with_labels(
        layers, up, down, biases, beta, free, loose, tables, n_labels=n_labels, exponent=exponent, key=key,
        first_chain=first_chain, start=start, stop=stop,
    )  # fmt: skip


def graph_gibbs(
    states, indptr, indices, data, bias, beta, free, starts, sizes, numbers, tables, *, exponent, key, first_chain, start, stop
):  # fmt: skip
    """Run sweeps `start` … `stop` - 1 of a machine on a sparse graph; the states change in place.

    Units lie in *slots*, block after block in the order in which the blocks are drawn: block b has the slots ``starts[b]`` …
    ``starts[b] + sizes[b] - 1``, in the order of its units. Each block begins at a multiple of 64, the slots between are
    padding. No unit has a coupling to one of its own block.

    `states` are packed, (n_chains, n_slots // 64), n_slots a multiple of 64; `indptr` (n_slots + 1,), `indices` and `data`
    (n_entries,), all int32, are the couplings in compressed rows: the neighbours of slot s are
    ``indices[indptr[s] : indptr[s + 1]]``, ascending, and `data` their rounded couplings; each coupling is there in both
    directions, padding has none. `bias` (n_slots,) float32; `free` packed, (n_chains, n_slots // 64) or of one row, 0 in the
    padding. `beta` float32, (n_chains or 1, stop - start or 1): one for each sweep, or for all. `starts`, `sizes` and
    `numbers` (n_blocks,) int32 live on the host. `tables` is a dict that belongs to these couplings, empty at first: what is
    built from them is kept in it.

    Counters used: (position // 4, chain, sweep, number of the block), the position of a unit being its slot less its block's
    first. Reference: ``fastbm.chain.graph_gibbs``. Cost: a random word and an exponential for each unit, an addition for each
    coupling and direction.
    """
    _for(states, "graph").graph_gibbs(
        states, indptr, indices, data, bias, beta, free, starts, sizes, numbers, tables,
        exponent=exponent, key=key, first_chain=first_chain, start=start, stop=stop,
    )  # fmt: skip


def dense_gibbs(
    states, couplings, bias, beta, free, starts, sizes, numbers, tables, *, exponent, key, first_chain, start, stop
):  # fmt: skip
    """Run sweeps `start` … `stop` - 1 of a machine with a matrix of couplings; the states change in place.

    As `graph_gibbs`, but for the slots, which have no padding between the blocks, n_units in all, and the couplings,
    `couplings` (n_units, padded(n_units)) int32, symmetric, with zeros on the diagonal, inside the blocks and in the padding.
    `bias` (padded(n_units),) float32; most blocks have one unit. Reference: ``fastbm.chain.dense_gibbs``. Cost: a random word
    and an exponential for each unit, a row of couplings for each unit that flips.
    """
    _for(states, "dense").dense_gibbs(
        states, couplings, bias, beta, free, starts, sizes, numbers, tables,
        exponent=exponent, key=key, first_chain=first_chain, start=start, stop=stop,
    )  # fmt: skip


def infer(states, couplings, bias, beta, logits, means, *, exponent):
    """Write the logits and the means, given packed states, of the units that `couplings` lead to.

    `logits` (n_rows, bias.size) and `means` (n_rows, at least bias.size) float32. Reference: ``fastbm.chain.logit`` of the
    exact integer inputs, and ``fastbm.chain.mean``. Cost: a row of couplings and an exponential for each unit that is on.
    """
    _for(states, "infer").infer(states, couplings, bias, beta, logits, means, exponent=exponent)


def grey_infer(rows, weights, bias, logits, means):
    """Write logits ``rows @ weights + bias`` and means of units given real numbers instead of states.

    `rows` (n_rows, n_from) and `weights` (n_from, n_to) float32, C-contiguous; `bias` (padded(n_to),), `logits` and `means`
    (n_rows, at least padded(n_to)) float32. Terms are added in the order of n_from, as by `product`, the bias last.
    Cost: a row of weights for each number that is not 0, or, where many are not, a multiply-add for each coupling.
    """
    _for(rows, "grey").grey_infer(rows, weights, bias, logits, means)


def product(a, b, out, *, transpose_a=False, transpose_b=False, accumulate=False, bias=None, activation="identity", slope=0.2):
    """Write f(a @ b + bias) to `out`, or f(out + a @ b + bias) where `accumulate`; `a` or `b` may be transposed first.

    All are float32. `a` (n_rows, n_terms), or (n_terms, n_rows) where `transpose_a`; `b` (n_terms, n_columns), or (n_columns,
    n_terms) where `transpose_b`; `out` (n_rows, n_columns). The numbers of a row lie side by side, the rows at any distance, so
    that slices of columns will do; `out` shares no memory with `a` and `b`. `bias` (at least n_columns,), contiguous, or None
    for none; `activation` f is one of `ACTIVATIONS`, and `slope` that of "leaky_relu". σ(x W + y V + c) takes two calls: the
    second accumulates, and has the bias and the activation.

    A sum begins with 0, or with what `out` holds; its terms are added in their order, each by a fused multiply-add, or, on
    processors without any, rounded before it is added; the bias comes last. So a row is the same, bit for bit, alone or among
    others, with any number of threads. Means are those of ``fastbm.chain.mean``, bit for bit; the relative error of tanh is
    below 3e-7. On the GPU cuBLAS adds in an order of its own: within rounding of the sum of magnitudes. Float64 arrays, which
    gradients are tested with, are multiplied by the formula over NumPy or CuPy. Twin: ``naive.product`` in the tests.

    Raises ValueError for shapes that do not fit, other dtypes, and rows whose numbers do not lie side by side. Cost: a
    multiply-add for each term, sixteen of them at once with AVX-512; 4 µs for a call.
    """
    _for(out, "product").product(
        a, b, out, transpose_a=transpose_a, transpose_b=transpose_b, accumulate=accumulate, bias=bias, activation=activation,
        slope=slope,
    )  # fmt: skip


def mean_field(
    given, weights, biases, means, n_updates, change, *, tolerance, max_updates, damping, patience, fine_updates=2
):  # fmt: skip
    """Update the means of a chain of layers, in place, each row until it has converged.

    One update of a row takes the layers in their order, μ_l ← μ_l + (1 - d) (σ(x_l) - μ_l), with x_0 = given + μ_1 W_0ᵀ,
    x_l = μ_(l-1) W_(l-1) + μ_(l+1) W_lᵀ + b_l, and on top x = μ W + b. A row is done when no mean is further than `tolerance`
    from what it is updated to, or after `max_updates`, all of which are made where `tolerance` is below 0; then it costs no
    more. d is 0, and `damping` once `patience` updates in a row have brought a row no nearer than it has been.

    `given` (n_rows, n_0) float32 or float64 is the input of the first layer from what is known, its bias included. `weights` is
    a tuple of one array (n_l, n_(l+1)) for each two layers, `biases` has one (n_l,) for each layer but the first, `means` one
    (n_rows, n_l) for each layer: where to begin. Written, besides: `n_updates` (n_rows,) int32, and `change` (n_rows,) float32,
    the largest distance at a row's last update. Twin: ``naive.mean_field`` in the tests. Cost: two multiply-adds for each
    coupling, row and update.

    Of float32 the first updates are *coarse*: products are of couplings and means rounded to integers of 16 bits, whose sums
    are exact in 32, so that twice as many are multiplied at a time. They go on until one changes no mean by more than
    ``formulas.coarse_tolerance``, or two have brought the row no nearer, and leave `fine_updates` of the cap; they are not
    damped. Those that follow are as written, and say when a row is done.
    """
    _for(given, "mean_field").mean_field(
        given, weights, biases, means, n_updates, change, tolerance=tolerance, max_updates=max_updates, damping=damping,
        patience=patience, fine_updates=fine_updates,
    )  # fmt: skip


def draw(states, logits, free, *, key, first_chain, update):
    """Draw the packed `states`, in place, from `logits` (n_rows, padded(n_units)) as block update number `update`.

    Counters used: (unit // 4, chain, update // 2, update % 2). Reference: ``fastbm.chain.draw``.
    """
    _for(states, "infer").draw(states, logits, free, key=key, first_chain=first_chain, update=update)


def draw_normal(values, means, beta, free, *, key, first_chain, update):
    """Draw real `values`, in place, from normal distributions of these means and variance 1 / β, as block update `update`.

    `values` (n_rows, n_units) and `means` (n_rows, padded(n_units)) float32; `beta` above 0. A value whose unit is not free
    stays. Counters used: (unit // 4, chain, update // 2, update % 2). Reference: ``fastbm.chain.draw_normal``, bit for bit.
    Cost: a random word for each unit; a logarithm, a sine and a cosine for every two.
    """
    _for(values, "normal").draw_normal(values, means, beta, free, key=key, first_chain=first_chain, update=update)


def pack(rows, out):
    """Write which numbers of `rows` are not 0 as packed states to `out`; return whether the others are all 1.

    `rows` (n_rows, n_units) float32 or float64, C-contiguous. On the GPU the answer stays there until it is asked for.
    Reference: ``fastbm.chain.pack``. Cost: one pass over the rows.
    """
    return _for(rows, "packing").pack(rows, out)


def unpack(states, n_units, dtype):
    """Return packed states as rows of 0 and 1, shape (n_rows, n_units). Reference: ``fastbm.chain.unpack``."""
    return _for(states, "packing").unpack(states, n_units, dtype)


def subtract_means(states, means, *, n_units):
    """Write states less means, means ← s - means, where the means of the first `n_units` units are; `states` are packed.

    `means` (n_rows, at least n_units) float32. Reference: ``fastbm.chain.unpack``. Cost: one pass over the means.
    """
    _for(means, "packing").subtract_means(states, means, n_units=n_units)


def phases(
    rows, visible, hidden, means, to_hidden, to_visible, visible_bias, hidden_bias, visible_free, hidden_free, tables,
    *, exponent, key, update,
):  # fmt: skip
    """Do what an update needs of its data and of its chains: infer the hidden units of both, after a sweep of the chains.

    `rows` are packed states, and so are `visible` and `hidden`, the chains, which change in place: update number `update` draws
    the visible units, the next one the hidden units. `means` (n_rows + n_chains, at least padded(n_hidden)) float32 gets the
    probabilities of the hidden units, first those of the rows, then those that the chains were drawn from. `visible_free` and
    `hidden_free` have one row; all hidden units are free. `tables` is the dict of these couplings.

    Counters used: (unit // 4, chain, update // 2, 1) and (unit // 4, chain, (update + 1) // 2, 0). Reference:
    ``fastbm.chain.gibbs`` and ``fastbm.chain.mean``. Cost: a row of couplings for each unit that is on, but of the chains'
    hidden units only where there are too few chains to look their inputs up; a random word and two exponentials for each unit
    of a chain.
    """
    _for(means, "phases").phases(
        rows, visible, hidden, means, to_hidden, to_visible, visible_bias, hidden_bias, visible_free, hidden_free, tables,
        exponent=exponent, key=key, update=update,
    )  # fmt: skip


def ascend(
    weights, velocity, to_hidden, to_visible, visible_gradient, hidden_gradient, visible_offset, hidden_offset, rows, grey,
    visible, means, factors, tables, *, exponent, learning_rate, momentum, l1, l2, offset_rate, both,
):  # fmt: skip
    """Move the weights up the gradient of the log-likelihood, and round them again; return the exponent.

    The data are `rows`, packed states, or `grey` (n_rows, n_visible) float32, and the other one has no rows; `visible` are the
    packed states of the chains. `means` are the hidden probabilities of the data, then those of the chains, as `phases` writes
    them, and `factors` (n_rows + n_chains,) float32 what each row counts: the data 1 in all, the chains -1.

    Written: `weights` (n_visible, n_hidden) float32; `velocity`, of the same shape, or (0, 0) where there is no momentum;
    `to_hidden` and `to_visible`, as by `round_couplings`, where `exponent` is tried first, but `to_visible` only if `both`, or
    if `phases` will look at it; `visible_gradient` (n_visible,) and `hidden_gradient` (n_hidden,) float32, the gradients of the
    biases. `tables` is emptied, but for what the next `phases` needs, and a note "one way": whether `to_visible` was left out.
    There may be no chains, `visible` of no rows: then this is the step of a directed layer whose targets less its means are
    `means`; and `to_visible` may be of shape (0, 0). Where `to_hidden` is too, nothing is rounded, and `exponent` is returned.

    Means are summed in the order of their rows, each times its state and its factor: that is the gradient G of the weights.
    Terms are rounded before they are added, but those of grey data of which few numbers are 0 are added as by `product`. The
    gradients a and b of the biases are the mean states of the data less those of the chains. Where there are offsets μ,
    `visible_offset` (n_visible,), and λ, `hidden_offset` (n_hidden,) float32, not of size 0, the gradients are centred: the
    offsets first move to the mean states of the data by the fraction `offset_rate`; then G ← G - μ bᵀ - a λᵀ, a ← a - G λ,
    b ← b - Gᵀ μ.

    Then velocity ← momentum · velocity + learning_rate · (G - l2 · w - l1 · sign(w)), and w ← w + velocity. Twin:
    ``naive.ascend`` in the tests. Cost: a row of means for each unit that is on, in the data and in the chains, or a
    multiply-add for each coupling and row, of grey data of which few numbers are 0; one pass over weights and roundings.
    """
    return _for(weights, "ascent").ascend(
        weights, velocity, to_hidden, to_visible, visible_gradient, hidden_gradient, visible_offset, hidden_offset, rows, grey,
        visible, means, factors, tables, exponent=exponent, learning_rate=learning_rate, momentum=momentum, l1=l1, l2=l2,
        offset_rate=offset_rate, both=both,
    )  # fmt: skip


def step_biases(
    visible_bias, hidden_bias, visible_gradient, hidden_gradient, visible_velocity, hidden_velocity, visible_copy, hidden_copy,
    *, learning_rate, momentum,
):  # fmt: skip
    """Move both biases up their gradients, in place, and copy them to where they are sampled from.

    velocity ← momentum · velocity + learning_rate · gradient, and bias ← bias + velocity. Velocities are of size 0 where there
    is no momentum; copies are at least as long as the biases; all are float32. There may be no visible units, as for a directed
    layer. Reference: ``training.optimizers.step``.
    """
    _for(visible_bias, "biases").step_biases(
        visible_bias, hidden_bias, visible_gradient, hidden_gradient, visible_velocity, hidden_velocity, visible_copy,
        hidden_copy, learning_rate=learning_rate, momentum=momentum,
    )  # fmt: skip


def add_log_ratios(states, couplings, bias, offset, out, *, exponent, before, after):
    """Add log p*_after(v) - log p*_before(v) to `out` for every row v of packed states, the steps of annealed weights.

    log p*_β(v) = β Σ_i offset_i v_i + Σ_j log(1 + exp(β x_j)) + terms without β, with x_j = bias_j + Σ_i v_i couplings_ij
    2^(-exponent), all in float64 from exact integer inputs. `offset` (n_visible,) and `out` (n_rows,) float64; `before` and
    `after` are at least 0.
    Twin: ``naive.add_log_ratios`` in the tests; agrees within a few units of the last place of the sum of all that is added.
    Cost: a row of couplings for each unit that is on, and two exponentials for each unit they lead to.
    """
    _for(out, "annealing").add_log_ratios(
        states, couplings, bias, offset, out, exponent=exponent, before=before, after=after
    )  # fmt: skip


def prepare(up, down, tables, *, n_chains, n_updates):
    """Build, into `tables`, what `gibbs` should keep of these couplings for calls of a sweep each, so many updates together.

    One such call alone would not be worth it. On the GPU nothing is built.
    """
    _for(up[0], "gibbs").prepare(up, down, tables, n_chains=n_chains, n_updates=n_updates)


def flip_ratios(rows, off, on, factors, out, *, stride):
    """Write log prod_j (q_j + p_j f_ji) for every row and unit i of `rows`, with p and q exchanged where the unit is on.

    `rows` (n, n_visible) bool; `on` and `off` (n, n_hidden) float64, the hidden probabilities p and q = 1 - p; `factors`
    (n_hidden, n_visible) float64, the exponentials of the weights; `out` (n, n_visible) float64. A logarithm is taken every
    `stride` factors; the caller sees to it that no product of so many overflows. Cost: one multiply-add and one product for
    each row and coupling.
    """
    _for(out, "pseudo_likelihood").flip_ratios(rows, off, on, factors, out, stride=stride)


def grey_flip_ratios(changes, off, on, weights, out, *, stride):
    """Write log prod_j (q_j + p_j exp(change_i w_ji)) for every row and unit i of `changes` (n, n_visible) float64.

    As `flip_ratios`, for units that change by any amount; `weights` (n_hidden, n_visible) float64, no product of a change and
    a weight above 80. Relative error of a factor 2e-7. Cost: an exponential for each row and coupling.
    """
    _for(out, "pseudo_likelihood").grey_flip_ratios(changes, off, on, weights, out, stride=stride)


def n_threads():
    """Return the number of threads that kernels on the CPU, called from this thread, use."""
    return _module("fastbm.kernels.threads_cpu").n_threads()


def limited_to(n):
    """Return a context in which kernels on the CPU, called from this thread, use `n` threads, at most NUMBA_NUM_THREADS."""
    return _module("fastbm.kernels.threads_cpu").limited_to(n)


def _for(array, name: str) -> ModuleType:
    return _module(f"fastbm.kernels.{name}_{'gpu' if on_gpu(array) else 'cpu'}")


@cache
def _module(name: str) -> ModuleType:
    return import_module(name)
