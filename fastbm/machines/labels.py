"""Labels of a restricted machine: its last visible units are a softmax group, of which one is on.

With weights W and U of features and of labels, biases a, d and b, and c = v W + b, the free energy of a row with label y is
F(v, y) = -a v - d_y - Σ_j log(1 + exp(c_j + u_yj)); from it p(y | v), F(v) = -log Σ_y exp(-F(v, y)) and p(h | v) follow exactly
[1]_. The product v W is taken once, not once a class; all is float64.

References
----------
.. [1] Larochelle & Bengio, "Classification using discriminative restricted Boltzmann machines", ICML 2008.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastbm import kernels
from fastbm.device import namespace
from fastbm.machines.rbm import RBM, hidden_logits
from fastbm.units import bernoulli, softmax

LARGEST_LOG_PRODUCT = 600.0
"""Natural logarithm of the largest product that the kernel may form; float64 overflows at 709."""
LARGEST_LOG_FACTOR = 80.0
ROWS_AT_A_TIME = 1024


def parts(machine: RBM, n_labels: int) -> tuple[RBM, RBM]:
    """Return the machine of the features and that of the labels, views, with the same hidden biases."""
    n_features = machine.weights.shape[0] - n_labels
    weights, visible_bias, hidden_bias = machine
    features = RBM(weights[:n_features, :], visible_bias[:n_features], hidden_bias)
    return features, RBM(weights[n_features:, :], visible_bias[n_features:], hidden_bias)


def class_logits(machine: RBM, v, n_labels: int):
    """Return log p(y | v) but for a constant of the row, shape (n_samples, n_labels); `v` are the features, dense or sparse."""
    xp, (features, labels) = namespace(machine.weights), _parts_in_float64(machine, n_labels)
    out = xp.empty((v.shape[0], n_labels), dtype=xp.float64)
    for some, logits in _hidden_logits(features, v):
        out[some, :] = _class_logits(labels, logits)
    return out


def free_energy(machine: RBM, v, n_labels: int):
    """Return F(v) = -log Σ_y Σ_h exp(-energy(v, y, h)), shape (n_samples,)."""
    xp, (features, labels) = namespace(machine.weights), _parts_in_float64(machine, n_labels)
    out = xp.empty((v.shape[0],), dtype=xp.float64)
    for some, logits in _hidden_logits(features, v):
        of_hidden = xp.sum(bernoulli.log_partition(logits), axis=1)
        out[some] = -(v[some, :] @ features.visible_bias) - of_hidden - softmax.log_partition(_class_logits(labels, logits))
    return out


def hidden_means(machine: RBM, v, n_labels: int):
    """Return p(h = 1 | v) = Σ_y p(y | v) p(h = 1 | v, y), shape (n_samples, n_hidden): labels are summed out."""
    xp, (features, labels) = namespace(machine.weights), _parts_in_float64(machine, n_labels)
    out = xp.zeros((v.shape[0], features.weights.shape[1]), dtype=xp.float64)
    for some, logits in _hidden_logits(features, v):
        p = softmax.mean(_class_logits(labels, logits))
        for k in range(n_labels):
            out[some, :] += p[:, k : k + 1] * bernoulli.mean(logits + labels.weights[k, :])
    return out


def _parts_in_float64(machine: RBM, n_labels: int) -> tuple[RBM, RBM]:
    xp = namespace(machine.weights)
    return parts(RBM(*(xp.asarray(array, dtype=xp.float64) for array in machine)), n_labels)


def _hidden_logits(features: RBM, v) -> Iterator[tuple]:
    """Yield slices of the rows, and c = v W + b of each."""
    for start in range(0, v.shape[0], ROWS_AT_A_TIME):
        some = slice(start, min(start + ROWS_AT_A_TIME, v.shape[0]))
        yield some, hidden_logits(features, v[some, :])


def _class_logits(labels: RBM, logits):
    """Return d_y + Σ_j log(q_j + p_j exp(u_yj)), with p = σ(c) and q = 1 - p: -F(v, y) but for what no class changes."""
    xp = namespace(logits)
    largest = float(xp.max(xp.abs(labels.weights)))
    if largest > LARGEST_LOG_FACTOR:  # a product could overflow: the plain formula, slower
        without = xp.sum(bernoulli.log_partition(logits), axis=1)
        each = (logits + labels.weights[k, :] for k in range(labels.weights.shape[0]))
        terms = [xp.sum(bernoulli.log_partition(joint), axis=1) - without for joint in each]
        return xp.stack(terms, axis=1) + labels.visible_bias
    on, off = bernoulli.mean(logits), bernoulli.mean(-logits)
    stride = int(min(LARGEST_LOG_PRODUCT / max(largest, 1e-9), logits.shape[1]))
    shape = (logits.shape[0], labels.weights.shape[0])
    no_flips, out = xp.zeros(shape, dtype=bool), xp.empty(shape, dtype=xp.float64)
    kernels.flip_ratios(no_flips, off, on, xp.exp(xp.ascontiguousarray(labels.weights.T)), out, stride=stride)
    return out + labels.visible_bias
