"""Samples of a deep belief network: the top machine is sampled, and one pass down makes visible rows of what it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from fastbm import chain, kernels
from fastbm.chain import Purpose
from fastbm.device import home_of, namespace, to_device, using
from fastbm.estimators import _validation
from fastbm.estimators._dbn_fitted import FittedDBN, generation_keys, recognition_keys
from fastbm.machines import dbn, rbm
from fastbm.machines.dbn import RoundedDBN
from fastbm.machines.rbm import Chains
from fastbm.machines.rows import Rows, of_states
from fastbm.units import bernoulli


class DBNSampling(FittedDBN):
    """What `sample` of the network and of the classifier share.

    A subclass that has labels says how its top machine is clamped and run.
    """

    def _top_chains(self, n_samples: int, n_steps: int, clamp, init, beta, seed: int, y) -> Chains:
        """Return chains of the top machine after their sweeps; `clamp` and `init` are of the units under it."""
        return self.top_._sampled(n_samples, n_steps, clamp, init, beta, seed)

    def _sample(self, n_samples, *, n_steps, clamp, init, beta, return_mean, random_state, y=None) -> tuple[Any, Chains]:
        """Return visible rows, and the chains of the top machine that they come from."""
        check_is_fitted(self, "top_")
        n_samples = _validation.check_count(n_samples, "n_samples", 1)
        n_steps = _validation.check_count(n_steps, "n_steps", 0)
        beta = _validation.check_beta(beta, n_samples)
        if clamp is not None:
            clamp = _validation.check_clamp(clamp, n_samples, self.n_features_in_)
        if init is not None and not isinstance(init, str):
            init = _validation.check_start(init, n_samples, self.n_features_in_)
        seed = _validation.resolve_seed(self.random_state if random_state is None else random_state)
        with using(self.device_):
            exact = dbn.rounded(self._machine_on(self.device_))
            if clamp is not None and self.coefs_:
                chains, rows = self._completed(exact, n_samples, n_steps, clamp, init, beta, seed, y, return_mean)
            else:
                start = init if init is None or isinstance(init, str) else self._drawn_up(exact, init, seed)
                chains = self._top_chains(n_samples, n_steps, clamp, start, beta, seed, y)
                rows = self._down_from(exact, chains, seed, 2 * n_steps, return_mean)
            visible = self._numbers(rows, chains, return_mean)
            if clamp is not None:
                held = to_device(np.broadcast_to(clamp, visible.shape), self.device_)
                visible = namespace(visible).where(namespace(held).isnan(held), visible, held.astype(visible.dtype))
            return to_device(visible, home_of(self.top_.components_)), chains

    def _drawn_up(self, exact: RoundedDBN, rows, seed: int):
        """Return states of the units under the top machine, as numbers, drawn given visible rows of 0 and 1."""
        states = to_device(chain.pack(rows), self.device_)
        if not self.coefs_:
            return rows
        drawn = dbn.ascend(exact.recognition, of_states(states), keys=recognition_keys(seed, len(self.coefs_)), update=0)
        return kernels.unpack(drawn[-1].states, self.top_.n_features_in_, np.float64)

    def _down_from(self, exact: RoundedDBN, chains: Chains, seed: int, update: int, grey: bool) -> Rows:
        """Return visible rows given where the chains of the top machine are: states, or means where `grey`."""
        states = dbn.without_labels(chains.visible, self.top_.n_features_in_)
        keys = generation_keys(seed, len(self.coefs_))
        return dbn.descend(exact.generative, states, keys=keys, update=update, grey=grey)[0]

    def _numbers(self, rows: Rows, chains: Chains, mean: bool):
        """Return visible rows as numbers of the dtype of the fitted attributes."""
        dtype = _validation.float_of(self.top_.components_)
        if len(rows.grey):
            return rows.grey.astype(dtype, copy=False)
        if not mean:
            return kernels.unpack(rows.states, self.n_features_in_, dtype)
        machine, n = self.top_._machine_on(self.device_), self.n_features_in_  # the top machine is all there is
        hidden = kernels.unpack(chains.hidden, machine.hidden_bias.size, dtype)
        return bernoulli.mean(hidden @ machine.weights[:n].T + machine.visible_bias[:n])

    def _completed(self, exact: RoundedDBN, n_samples, n_steps, clamp, init, beta, seed, y, grey) -> tuple[Chains, Rows]:
        """Complete clamped rows: again and again up by recognition, a sweep of the top machine, and down."""
        start = init if isinstance(init, str) else None
        chains = self._top_chains(n_samples, 0, None, start, beta, seed, y)
        free, held = (to_device(chain.pack(part), self.device_) for part in (np.isnan(clamp), np.nan_to_num(clamp)))
        if init is None or isinstance(init, str):
            states = self._down_from(exact, chains, seed, 0, grey=False).states
        else:
            states = to_device(chain.pack(init), self.device_)
        keys, n_under = recognition_keys(seed, len(self.coefs_)), self.top_.n_features_in_
        rows, beta = of_states((states & free) | held), to_device(beta, self.device_)
        if grey and not n_steps:  # no sweep that would end in means
            if start is None and init is not None:
                _put(dbn.ascend(exact.recognition, rows, keys=keys, update=0)[-1].states, n_under, chains.visible)
            return chains, self._down_from(exact, chains, seed, 0, grey)
        for number in tqdm(range(n_steps), disable=not self.verbose, desc="sampling", unit="sweep", leave=False):
            drawn = dbn.ascend(exact.recognition, rows, keys=keys, update=2 * number)[-1].states
            _put(drawn, n_under, chains.visible)
            chains = self._swept(exact, chains, beta, seed, y)
            rows = self._down_from(exact, chains, seed, 2 * number + 2, grey and number == n_steps - 1)
            if not len(rows.grey):
                rows = of_states((rows.states & free) | held)
        return chains, rows

    def _swept(self, exact: RoundedDBN, chains: Chains, beta, seed: int, y) -> Chains:
        """Return the chains of the top machine after one more sweep."""
        return rbm.advance(exact.top, chains, 2, key=chain.stream_key(seed, Purpose.SAMPLING), beta=beta)


def _put(states, n_units: int, into) -> None:
    """Put packed states of the first `n_units` units into those of more units."""
    words = states.shape[1]
    into[:, :words] = (into[:, :words] & ~rbm.all_free(n_units, home_of(into))) | states
