"""Deep belief networks by hand: the twin of an up–down update, and gradients and likelihoods by enumeration."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np

from fastbm import BernoulliRBM, DeepBeliefNetwork, chain
from fastbm.machines import dbn
from fastbm.machines.dbn import DBN
from fastbm.machines.directed import Layer
from fastbm.machines.rbm import RBM
from fastbm.training import ascent

ONE = np.ones(1, np.float32)


def random_rbm(rng, n_visible, n_hidden, scale=1.0) -> RBM:
    arrays = rng.normal(0, scale, (n_visible, n_hidden)), rng.normal(0, scale, n_visible), rng.normal(0, scale, n_hidden)
    return RBM(*(array.astype(np.float32) for array in arrays))


def random_dbn(rng, sizes, n_labels=0, scale=0.7) -> DBN:
    """A network whose recognition and generative weights differ."""
    top = random_rbm(rng, sizes[-2] + n_labels, sizes[-1], scale)
    up, down = (dbn.untied([*(random_rbm(rng, *pair, scale) for pair in pairwise(sizes[:-1])), top]) for _ in range(2))
    return DBN(up.recognition, down.generative, top)


def parameters(machine: DBN) -> list:
    return [array for layers in machine[:2] for layer in layers for array in layer] + list(machine.top)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, float)))


# ---------------------------------------------------------------------------------------------------------------- twin


def draw_directed(layer, given, *, key, update, first_chain=0):
    """Draw a directed layer given rows of 0 and 1, or of other numbers."""
    given = np.asarray(given)
    if ((given == 0) | (given == 1)).all():
        rounded, exponent = chain.round_couplings(layer.weights)
        inputs = (given.astype(np.int64) @ rounded.astype(np.int64)).astype(np.int32)
        logits = chain.logit(inputs, layer.bias, ONE, exponent)
    else:
        logits = (given.astype(float) @ layer.weights + layer.bias).astype(np.float32)
    chains = np.arange(first_chain, first_chain + len(given))
    return chain.draw(logits, chain.random_words(layer.bias.size, chains, update // 2, update % 2, key))


class UpDown:
    """The twin of ``training.up_down``, but for the update of the top machine, which is that of ``training.ascent``."""

    def __init__(self, machine: DBN, n_labels, n_chains, keys, phase):
        def copy(layers):
            return [Layer(*(array.copy() for array in layer)) for layer in layers]

        self.recognition, self.generative = copy(machine.recognition), copy(machine.generative)
        self.top = ascent.init(RBM(*(array.copy() for array in machine.top)), n_chains)._replace(n_labels=n_labels)
        self.n_labels, self.keys, self.phase, self.updates = n_labels, keys, phase, 0
        self.velocity = {}

    @property
    def machine(self) -> DBN:
        return DBN(tuple(self.recognition), tuple(self.generative), self.top.machine)

    def step(self, rows, labels, *, n_steps, learning_rate, top_learning_rate, momentum, l2):
        wake = [rows]
        for level, layer in enumerate(self.recognition):
            wake.append(draw_directed(layer, wake[-1], key=self.keys.wake[level], update=2 * self.updates))
        joint = wake[-1].astype(np.float32)
        if labels is not None:
            joint = np.concatenate([joint, np.eye(self.n_labels)[labels]], axis=1)
        n_units = joint.shape[1] - self.n_labels
        self.top, batch = ascent.prepare(self.top, np.ascontiguousarray(joint, np.float32))
        self.top, _ = ascent.step(
            self.top, batch, phase=self.phase, key=self.keys.top, n_steps=n_steps, learning_rate=top_learning_rate,
            momentum=momentum, l2=l2,
        )  # fmt: skip
        sleep = [chain.unpack(self.top.chains.visible, n_units, bool)]
        for level in reversed(range(len(self.generative))):
            layer = self.generative[level]
            if level == 0 and not ((rows == 0) | (rows == 1)).all():
                sleep.append(sigmoid(sleep[-1] @ layer.weights.astype(float) + layer.bias).astype(np.float32))
            else:
                sleep.append(draw_directed(layer, sleep[-1], key=self.keys.sleep[level], update=2 * self.updates + 1))
        sleep = sleep[::-1]
        how = {"learning_rate": learning_rate, "momentum": momentum, "l2": l2}
        for level in range(len(self.recognition)):
            self._learn("generative", level, wake[level + 1], wake[level], **how)
            self._learn("recognition", level, sleep[level], sleep[level + 1], **how)
        self.updates += 1

    def _learn(self, name, level, given, target, *, learning_rate, momentum, l2):
        layers = getattr(self, name)
        weights, bias = (array.astype(float) for array in layers[level])
        errors = target - sigmoid(given @ weights + bias)
        ascents = np.asarray(given, float).T @ errors / len(given) - l2 * weights, errors.mean(axis=0)
        last = self.velocity.get((name, level), (0.0, 0.0))
        steps = [momentum * before + learning_rate * each for before, each in zip(last, ascents, strict=True)]
        self.velocity[name, level] = steps
        moved = ((old + each).astype(np.float32) for old, each in zip((weights, bias), steps, strict=True))
        layers[level] = Layer(*moved)


# --------------------------------------------------------------------------------------------------------- enumeration


def log_probability(layer, given, target):
    """log p(target | given) of rows, in float64."""
    logits = np.asarray(given, float) @ layer.weights.astype(float) + layer.bias
    return (target * logits - np.logaddexp(0, logits)).sum(axis=-1)


def error_gradient(layer, given, target) -> Layer:
    """The gradient of log p(target | given) of one pair of rows."""
    errors = target - sigmoid(given @ layer.weights.astype(float) + layer.bias)
    return Layer(np.outer(given, errors), errors)


def average(terms) -> Layer:
    """The weighted sum of gradients, from pairs of a weight and a gradient."""
    terms = list(terms)
    return Layer(*(sum(weight * each[k] for weight, each in terms) for k in range(2)))


def wake_gradient(recognition, generative, row) -> Layer:
    """The mean over q(h | v) of the gradient of log p(v | h)."""
    states = naive.all_states(recognition.bias.size)
    weights = np.exp(log_probability(recognition, row[None], states))
    return average((weight, error_gradient(generative, h, row)) for weight, h in zip(weights, states, strict=True))


def sleep_gradient(recognition, generative, top) -> Layer:
    """The mean over p(v, h) of the gradient of log q(h | v), for one directed layer under the top machine."""
    states, rows = (naive.all_states(layer.bias.size) for layer in (recognition, generative))
    weights = np.exp(log_marginal(top))
    terms = []
    for weight, h in zip(weights, states, strict=True):
        of_rows = np.exp(log_probability(generative, h[None], rows))
        terms += [(weight * each, error_gradient(recognition, v, h)) for each, v in zip(of_rows, rows, strict=True)]
    return average(terms)


def log_marginal(top: RBM):
    """log p(h) of all states of the visible side of the top machine."""
    states = naive.all_states(top.visible_bias.size)
    unnormalised = states @ top.visible_bias + np.logaddexp(0, states @ top.weights.astype(float) + top.hidden_bias).sum(axis=1)
    return unnormalised - naive.log_sum_exp(unnormalised)


def log_likelihood(machine: DBN, rows):
    """log p(v) of each row exactly: all hidden states are enumerated, layer by layer from the top."""
    above = log_marginal(machine.top)
    for layer in reversed(machine.generative):
        given = naive.all_states(layer.weights.shape[0])
        below = rows if layer is machine.generative[0] else naive.all_states(layer.bias.size)
        above = np.array([naive.log_sum_exp(above + log_probability(layer, given, target)) for target in below])
    return above


def bound(machine: DBN, rows):
    """The mean over q(h | v) of log p(v, h) - log q(h | v), of each row, by enumeration."""

    def of(row, level, log_q, log_p):
        if level == len(machine.recognition):
            return np.exp(log_q) * (log_p + marginal[tuple(row.astype(int))] - log_q)
        up, down = machine.recognition[level], machine.generative[level]
        total = 0.0
        for h in naive.all_states(up.bias.size):
            more_q = log_probability(up, row[None], h[None])[0]
            more_p = log_probability(down, h[None], row[None])[0]
            total += of(h, level + 1, log_q + more_q, log_p + more_p)
        return total

    states = naive.all_states(machine.top.visible_bias.size).astype(int)
    marginal = dict(zip(map(tuple, states), log_marginal(machine.top), strict=True))
    return np.array([of(row, 0, 0.0, 0.0) for row in rows])


def estimator_of(machine: DBN) -> DeepBeliefNetwork:
    """A fitted network with these parameters."""
    sizes = [layer.bias.size for layer in machine.recognition] + [machine.top.hidden_bias.size]
    network = DeepBeliefNetwork(sizes, n_iter=0, up_down_n_iter=0, random_state=0)
    network.fit(np.eye(machine.recognition[0].weights.shape[0]))
    network.coefs_, network.intercepts_ = ([layer[k] for layer in machine.recognition] for k in range(2))
    network.generative_coefs_, network.generative_intercepts_ = ([layer[k] for layer in machine.generative] for k in range(2))
    network.top_ = BernoulliRBM.from_weights(*machine.top)
    return network
