"""Labels of a deep Boltzmann machine: a softmax group of units, one of them on, as a layer above the top hidden one.

The *joint* machine has the labels as its last layer: energy(v, h, y) = energy(v, h) - h^L u_y - d_y, with u_y the column of its
last weights that belongs to class y. Given a class it is the deep machine without labels whose top biases are b^L + u_y: bounds
of log p(v, y) are those of that machine, and their softmax is an estimate of p(y | v), exact where mean field is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbm import chain, kernels
from fastbm.device import home_of, namespace, to_device
from fastbm.machines import dbm, rbm
from fastbm.machines.dbm import DBM, Chains, MeanField, RoundedDBM
from fastbm.machines.rows import Rows
from fastbm.units import softmax


def given_class(joint: DBM, number: int) -> DBM:
    """Return the machine without labels that is left of the joint one when class `number` is given."""
    *biases, _ = joint.biases
    return DBM(joint.weights[:-1], (*biases[:-1], biases[-1] + joint.weights[-1][:, number]))


def without_labels(joint: DBM) -> DBM:
    """Return the machine of the other layers."""
    return DBM(joint.weights[:-1], joint.biases[:-1])


def one_hot(numbers, n_classes: int):
    """Return rows with a 1 at the number of each row's class, float32, where the numbers live."""
    xp = namespace(numbers)
    return xp.asarray(xp.arange(n_classes)[None, :] == numbers[:, None], dtype=xp.float32)


# ---------------------------------------------------------------------------------------------------------- mean field


def mean_fields(exact: RoundedDBM, rows, *, tolerance, max_updates, damping) -> Iterator[MeanField]:
    """Yield the mean field of the hidden layers given rows and each class in turn; `exact` is the joint machine."""
    given = dbm.visible_input(without_labels(exact.machine), rows, exact)
    for number in range(exact.machine.biases[-1].shape[0]):
        machine = given_class(exact.machine, number)
        shift = exact.machine.weights[-1][:, number] if len(machine.weights) == 1 else None
        yield _converged(machine, given, shift, tolerance=tolerance, max_updates=max_updates, damping=damping)


def clamped_mean_field(exact: RoundedDBM, rows, numbers, *, tolerance, max_updates, damping) -> MeanField:
    """Return the mean field of the hidden layers given rows and the numbers of their classes, then the labels themselves.

    `numbers` (n_rows,) are on the host. Rows of one class are updated together: what a row gives does not depend on others.
    """
    joint, n_classes = exact.machine, exact.machine.biases[-1].shape[0]
    given = dbm.visible_input(without_labels(joint), rows, exact)
    xp, home, numbers = namespace(given), home_of(given), np.asarray(numbers)
    order = np.argsort(numbers, kind="stable")
    classes, begins = np.unique(numbers[order], return_index=True)
    order, back, there = (xp.asarray(to_device(each, home)) for each in (order, np.argsort(order), numbers))
    given = xp.take(given, order, axis=0)
    means = [xp.empty((len(numbers), bias.shape[0]), dtype=given.dtype) for bias in joint.biases[1:-1]]
    n_updates, change = xp.zeros(len(numbers), dtype=xp.int32), xp.zeros(len(numbers), dtype=xp.float32)
    for number, begin, end in zip(classes.tolist(), begins, [*begins[1:], len(numbers)], strict=True):
        machine = given_class(joint, number)
        shift = joint.weights[-1][:, number] if len(machine.weights) == 1 else None
        some = _converged(machine, given[begin:end, ...], shift, tolerance=tolerance, max_updates=max_updates, damping=damping)
        for every, part in zip((*means, n_updates, change), (*some.means, some.n_updates, some.change), strict=True):
            every[begin:end, ...] = part
    *means, n_updates, change = (xp.take(each, back, axis=0) for each in (*means, n_updates, change))
    return MeanField((*means, one_hot(there, n_classes)), n_updates, change)


def _converged(machine: DBM, given, shift, **how) -> MeanField:
    """Return the mean field given v W¹ + b¹, which `shift` is added to where the only hidden layer is joined to the labels."""
    return dbm.mean_field_given(machine, given if shift is None else given + shift, **how)


def class_bounds(exact: RoundedDBM, rows: Rows, **how) -> tuple[Any, list[MeanField]]:
    """Return lower bounds of log p(v, y) + log Z, (n_rows, n_classes) float64, and the mean field given each class.

    They are ``dbm.variational_bound`` of the machine given each class, and d_y; what no class changes is worked out once.
    """
    found = list(mean_fields(exact, rows, **how))
    joint = dbm.moved(exact.machine, lambda array: namespace(array).asarray(array, dtype=np.float64))
    v = rows.grey if len(rows.grey) else kernels.unpack(rows.states, joint.biases[0].shape[0], np.float32)
    v = v.astype(np.float64)
    alone, given = v @ joint.biases[0], v @ joint.weights[0] + joint.biases[1]
    bounds = []
    for number, each in enumerate(found):
        means = [of_layer.astype(np.float64) for of_layer in each.means]
        total = alone + (given * means[0]).sum(axis=1) + means[-1] @ joint.weights[-1][:, number] + joint.biases[-1][number]
        for below, above, weights, bias in zip(means, means[1:], joint.weights[1:], joint.biases[2:], strict=False):
            total = total + (below @ weights * above).sum(axis=1) + above @ bias
        bounds.append(total + dbm.entropy(means))
    return namespace(given).stack(bounds, axis=1), found


# -------------------------------------------------------------------------------------------------------------- sampled


def advance(exact: RoundedDBM, chains: Chains, n_updates: int, *, key, beta=None, free=None, first_chain=0) -> Chains:
    """Run `n_updates` more block updates of the joint machine, as ``dbm.advance`` does; the labels are drawn in every chain."""
    last, home = len(chains.layers) - 1, home_of(chains.layers[0])
    masks: list = [None] * (last + 1) if free is None else list(free)
    masks[last] = no_unit(exact.machine.biases[-1].shape[0], home)
    beta = rbm.untempered(home) if beta is None else beta
    stop = chains.updates + n_updates
    while chains.updates < stop:
        mine = chains.updates % 2 == 1 - last % 2  # even updates draw the odd layers
        if mine:
            draw(exact, chains.layers, key=key, beta=beta, update=chains.updates, first_chain=first_chain)
        together = min(2 if mine else 1, stop - chains.updates)
        chains = dbm.advance(exact, chains, together, key=key, beta=beta, free=masks, first_chain=first_chain)
    return chains


def no_unit(n_units: int, home: str = "cpu"):
    """Return the kernels' `free` for a layer whose units are all held."""
    return to_device(np.zeros((1, rbm.all_free(n_units).shape[1]), np.uint64), home)


def draw(exact: RoundedDBM, layers, *, key, beta, update: int = 0, first_chain: int = 0) -> None:
    """Draw the labels of all chains, in place, given their top hidden layer."""
    last, home = len(layers) - 1, home_of(layers[0])
    kernels.draw_softmax(
        layers[last], (layers[last - 1],), (exact.down[last - 1],), exact.biases[last], beta, rbm.all_loose(home), layer=last,
        first=0, n_classes=exact.machine.biases[-1].shape[0], exponent=exact.exponent, key=key,
        first_chain=first_chain, update=update,
    )  # fmt: skip


def put(states, numbers) -> None:
    """Set the labels of chains, in place, to the classes of these numbers, (n_chains,)."""
    kernels.pack(namespace(numbers).ascontiguousarray(one_hot(numbers, chain.WORD * states.shape[1])), states)


def numbers_of(states, n_classes: int):
    """Return the number of the class whose label is on, of each chain."""
    return namespace(states).argmax(kernels.unpack(states, n_classes, np.float32), axis=1)


def label_means(exact: RoundedDBM, layers):
    """Return the probabilities of the labels given the top hidden layer of chains, (n_chains, n_classes) float32."""
    logits, _ = dbm.infer(exact, layers, len(layers) - 1)
    return softmax.mean(logits[:, : exact.machine.biases[-1].shape[0]])
