"""The kernels' contracts, and their dispatch: arrays in, arrays out, nothing allocated but what is said.

Words used below, see ``fastbm.chain``:

* *packed states*: shape (n_rows, padded(n_units) // 64), uint64, padding bits 0;
* *couplings*: rounded, int32, shape (n_from, padded(n_to)), padding columns 0, as `round_couplings` gives them;
* *bias*: float32, shape (padded(n_units),), padding 0; *beta*: float32, shape (n_rows,) or (1,);
* *free*: packed, shape (n_rows, words) or (1, words): a unit whose bit is 0 keeps its state (clamped units, and padding);
* *key*: two uint32, a random stream; row r is chain number first_chain + r.

No result depends on the number of threads or on how rows are cut into tiles. ``NAME_cpu.py`` holds the numba version of a
kernel; importing this package imports none of them.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType


def round_couplings(weights, to_hidden, to_visible, *, guess):
    """Round couplings to integers in both orientations; return the exponent.

    `weights` (n_visible, n_hidden) float32 or float64, C-contiguous. Written: `to_hidden` (n_visible, padded(n_hidden)) and
    `to_visible` (n_hidden, padded(n_visible)), but not their padding. `guess` is an exponent that is likely to be right, or
    None. Reference and errors: ``fastbm.chain.round_couplings``. Cost: one pass over the weights when the guess is right,
    else three.
    """
    return _cpu("rounding").round_couplings(weights, to_hidden, to_visible, guess=guess)


def gibbs(
    visible, hidden, to_hidden, to_visible, visible_bias, hidden_bias, beta, visible_free, hidden_free, hidden_means,
    *, exponent, key, first_chain, start, stop,
):  # fmt: skip
    """Run block updates `start` … `stop` - 1 of restricted Boltzmann machines; `visible` and `hidden` change in place.

    Update u is of sweep u // 2; even ones draw the hidden units given the visible, odd ones the visible given the hidden.
    `hidden_means` (n_rows, padded(n_hidden)) float32 gets the probabilities that the last hidden states were drawn from; of
    shape (0, 0) it gets none. Counters used: (unit // 4, chain, u // 2, u % 2). Reference: ``fastbm.chain.gibbs``. Cost: for
    each unit that changes, or at most for each unit that is on, one row of couplings is read; a random word and an
    exponential for each unit.
    """
    _cpu("gibbs").gibbs(
        visible, hidden, to_hidden, to_visible, visible_bias, hidden_bias, beta, visible_free, hidden_free, hidden_means,
        exponent=exponent, key=key, first_chain=first_chain, start=start, stop=stop,
    )  # fmt: skip


def infer(states, couplings, bias, beta, logits, means, *, exponent):
    """Write the logits and the means, given packed states, of the units that `couplings` lead to.

    `logits` and `means` (n_rows, bias.size) float32. Reference: ``fastbm.chain.logit`` of the exact integer inputs, and
    ``fastbm.chain.mean``. Cost: a row of couplings and an exponential for each unit that is on.
    """
    _cpu("infer").infer(states, couplings, bias, beta, logits, means, exponent=exponent)


def grey_infer(rows, weights, bias, logits, means):
    """Write logits ``rows @ weights + bias`` and means of units given real numbers instead of states.

    `rows` (n_rows, n_from) and `weights` (n_from, n_to) float32, C-contiguous; `bias` (padded(n_to),), `logits` and `means`
    (n_rows, padded(n_to)) float32. Terms are added in the order of n_from, the bias last, each rounded to float32. Cost: a
    row of weights for each number that is not 0.
    """
    _cpu("grey").grey_infer(rows, weights, bias, logits, means)


def draw(states, logits, free, *, key, first_chain, update):
    """Draw the packed `states`, in place, from `logits` (n_rows, padded(n_units)) as block update number `update`.

    Counters used: (unit // 4, chain, update // 2, update % 2). Reference: ``fastbm.chain.draw``.
    """
    _cpu("infer").draw(states, logits, free, key=key, first_chain=first_chain, update=update)


def statistics(states, values, out, totals, *, weight):
    """Add ``weight * states.T @ values`` to `out` and ``weight * states.sum(axis=0)`` to `totals`.

    Packed `states`; `values` (n_rows, at least n_to) float32; `out` (n_units, n_to) and `totals` (n_units,) float32. Rows are
    added in their order, the sum is then multiplied by `weight`. Cost: a row of values for each unit that is on.
    """
    _cpu("statistics").statistics(states, values, out, totals, weight=weight)


def grey_statistics(rows, values, out, totals, *, weight):
    """As `statistics`, for `rows` (n_rows, n_units) of float32 numbers instead of packed states."""
    _cpu("grey").grey_statistics(rows, values, out, totals, weight=weight)


def flip_ratios(rows, off, on, factors, out, *, stride):
    """Write log prod_j (q_j + p_j f_ji) for every row and unit i of `rows`, with p and q exchanged where the unit is on.

    `rows` (n, n_visible) bool; `on` and `off` (n, n_hidden) float64, the hidden probabilities p and q = 1 - p; `factors`
    (n_hidden, n_visible) float64, the exponentials of the weights; `out` (n, n_visible) float64. A logarithm is taken every
    `stride` factors; the caller sees to it that no product of so many overflows. Cost: one multiply-add and one product for
    each row and coupling.
    """
    _cpu("pseudo_likelihood").flip_ratios(rows, off, on, factors, out, stride=stride)


def grey_flip_ratios(changes, off, on, weights, out, *, stride):
    """Write log prod_j (q_j + p_j exp(change_i w_ji)) for every row and unit i of `changes` (n, n_visible) float64.

    As `flip_ratios`, for units that change by any amount; `weights` (n_hidden, n_visible) float64, no product of a change and
    a weight above 80. Relative error of a factor 2e-7. Cost: an exponential for each row and coupling.
    """
    _cpu("pseudo_likelihood").grey_flip_ratios(changes, off, on, weights, out, stride=stride)


@cache
def _cpu(name: str) -> ModuleType:
    return import_module(f"fastbm.kernels.{name}_cpu")
