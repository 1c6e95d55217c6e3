"""Greedy training of a deep Boltzmann machine: its layers as restricted machines with doubled weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm.auto import tqdm

from fastbm.chain import Purpose
from fastbm.device import namespace
from fastbm.estimators import _training_data
from fastbm.estimators.rbm import BernoulliRBM
from fastbm.machines.dbm import DBM
from fastbm.training import doubled, greedy


class DoubledRBM(BernoulliRBM):
    """A restricted machine of the stack, trained by contrastive divergence with couplings doubled one way, or neither."""

    _factors: tuple[float, float] = (1.0, 1.0)

    def _phase(self):
        return super()._phase() if self._factors == (1.0, 1.0) else doubled.phase(*self._factors)


def pretrained(estimator, layers: list[DoubledRBM], X, sample_weight, seed: int, home: str) -> tuple[DBM, list[dict]]:
    """Train new layers one on the other; return the deep machine of them, on a device, and the records of all passes."""
    for number, layer in enumerate(layers):
        entropy = np.random.SeedSequence(seed, spawn_key=(int(Purpose.LAYER), number))
        layer.random_state = int(entropy.generate_state(1, np.uint32)[0])
        layer._factors = doubled.factors(number, len(layers))

    def fit(number, rows):
        if estimator.verbose:
            tqdm.write(f"[{type(estimator).__name__}] Layer {number + 1}, {layers[number].n_components} hidden units")
        layers[number]._fit(rows, sample_weight)

    greedy.train(len(layers), X, fit, lambda number, rows: means_above(layers[number], rows))
    records = [{"layer": number, **record} for number, layer in enumerate(layers, 1) for record in layer.history_]
    return doubled.joined([layer._machine_on(home) for layer in layers]), records


def means_above(layer: DoubledRBM, rows) -> Any:
    """Return the hidden means of a fitted layer, float32, of all rows, or of the rows of all batches together."""
    machine = layer._machine_on(layer.device_)
    machine = machine._replace(weights=machine.weights * np.float32(layer._factors[0]))
    if not _training_data.is_batches(rows):
        return greedy.hidden_means(machine, rows)
    parts = [greedy.hidden_means(machine, batch) for batch in _training_data.each(layer, rows)]
    return namespace(parts[0]).concatenate(parts)
