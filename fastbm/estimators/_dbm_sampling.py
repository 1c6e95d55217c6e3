"""Samples of a deep Boltzmann machine: starts, clamps and sweeps of all its layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from fastbm import chain, kernels
from fastbm.chain import Purpose
from fastbm.device import home_of, module_of, namespace, to_device, to_host, using
from fastbm.estimators import _sampling, _validation
from fastbm.estimators._dbm_fitted import FittedDBM
from fastbm.machines import dbm, rbm
from fastbm.machines.dbm import Chains, RoundedDBM
from fastbm.training import minibatches

SMALLEST = 1e-30
"""Means are drawn from no nearer to 0 and 1."""


class DBMSampling(FittedDBM):
    """What `sample` of the machine and of the classifier share.

    A subclass that has labels says how they are started, held and drawn.
    """

    def _label_start(self, exact: RoundedDBM, chains: Chains, init, y, seed: int) -> Any:
        """Set the labels of chains, whose other layers have begun, in place; return the mask of the label layer, if any."""
        return None

    def _advance(self, exact: RoundedDBM, chains: Chains, n_updates: int, *, y, **how) -> Chains:
        """Return the chains after some block updates more."""
        return dbm.advance(exact, chains, n_updates, **how)

    def _sample(self, n_samples, *, n_steps, clamp, init, beta, return_mean, random_state, y=None) -> tuple[Any, Chains]:
        """Return visible rows, and the chains that they are of."""
        check_is_fitted(self, "coefs_")
        n_samples = _validation.check_count(n_samples, "n_samples", 1)
        n_steps = _validation.check_count(n_steps, "n_steps", 0)
        beta = _validation.check_beta(beta, n_samples)
        clamps = self._check_clamps(clamp, n_samples)
        if init is not None and not isinstance(init, str):
            init = _validation.check_start(init, n_samples, self.n_features_in_)
        seed = _validation.resolve_seed(self.random_state if random_state is None else random_state)
        home = self.device_
        with using(home):
            exact = self._rounded(home)
            chains = self._start(init, n_samples, exact, seed)
            of_labels = self._label_start(exact, chains, init, y, seed)
            free = [_held(states, clamps.get(layer), home) for layer, states in enumerate(chains.layers)]
            free[-1] = free[-1] if of_labels is None else of_labels
            key, beta = chain.stream_key(seed, Purpose.SAMPLING), to_device(beta, home)
            chains = self._run(exact, chains, n_steps, key=key, beta=beta, free=free, y=y)
            rows = self._rows_of(exact, chains, beta, clamps.get(0), return_mean)
            return to_device(rows, home_of(self.coefs_[0])), chains

    def _run(self, exact: RoundedDBM, chains: Chains, n_steps: int, **how) -> Chains:
        """Run sweeps in short turns, with a progress bar when `verbose`."""
        turn = dbm.sweeps_a_turn(exact, len(chains.layers[0]))
        with tqdm(total=n_steps, disable=not self.verbose, desc="sampling", unit="sweep", leave=False, mininterval=0.5) as bar:
            for done in range(0, n_steps, turn):
                n_sweeps = min(turn, n_steps - done)
                chains = self._advance(exact, chains, 2 * n_sweeps, **how)
                bar.update(n_sweeps)
        return chains

    def _rows_of(self, exact: RoundedDBM, chains: Chains, beta, clamp, mean: bool):
        """Return the visible rows of chains, or the means that they are drawn from, as numbers of the fitted dtype."""
        dtype, n = _validation.float_of(self.coefs_[0]), self.n_features_in_
        if not mean:
            return kernels.unpack(chains.layers[0], n, dtype)
        return _sampling.with_clamped(dbm.infer(exact, chains.layers, 0, beta)[1][:, :n].astype(dtype), clamp)

    # ---------------------------------------------------------------------------------------------------------- clamps

    def _check_clamps(self, clamp, n_samples: int) -> dict[int, np.ndarray]:
        """Return clamped values by layer, given those of the visible one, or a dict of them; ValueError when they are none."""
        sizes = dbm.layer_sizes(self._machine())
        if not isinstance(clamp, dict):
            clamp = {} if clamp is None else {0: clamp}
        checked = {}
        for layer, rows in clamp.items():
            if isinstance(layer, bool) or not isinstance(layer, int | np.integer) or not 0 <= layer < len(sizes):
                raise ValueError(f"clamp must be by the numbers of layers, 0 (visible) to {len(sizes) - 1}, got {layer!r}")
            try:
                checked[int(layer)] = _validation.check_clamp(rows, n_samples, sizes[layer])
            except ValueError as error:
                raise ValueError(f"{error}" if layer == 0 else f"{error} (layer {layer} of clamp)") from error
        return checked

    # ---------------------------------------------------------------------------------------------------------- starts

    def _start(self, init, n_samples: int, exact: RoundedDBM, seed: int) -> Chains:
        """Return chains before their first update, which draws the odd layers given the even ones."""
        home, sizes = self.device_, dbm.layer_sizes(exact.machine)
        chains = dbm.empty_chains(n_samples, sizes, module_of(home))
        key = chain.stream_key(seed, Purpose.SAMPLING_START)
        if init is None:  # fair coins: an update of each side at β = 0
            for update in (1, 2):
                at_zero = to_device(np.zeros(1, np.float32), home)
                dbm.advance(exact, chains._replace(updates=update), 1, key=key, beta=at_zero)
        elif isinstance(init, str):
            self._copy_training_chains(init, chains)
        else:
            chains.layers[0][...] = to_device(chain.pack(init), home)
            self._draw_hidden(exact, chains, init, key)
        return chains

    def _copy_training_chains(self, init: str, chains: Chains) -> None:
        if init != "chains":
            raise ValueError(f"init must be None, 'chains' or rows of 0 and 1, got {init!r}")
        if self._updates < 2:
            raise ValueError("init='chains' needs the chains of training, but this machine was never trained; use init=None")
        for states, trained in zip(chains.layers, self._chains.layers, strict=True):
            trained = to_host(trained)
            states[...] = to_device(trained[np.arange(len(states)) % len(trained)], home_of(states))

    def _draw_hidden(self, exact: RoundedDBM, chains: Chains, rows, key) -> None:
        """Draw all hidden layers of chains, in place, from the mean field of visible rows."""
        home, n_samples = home_of(chains.layers[0]), len(rows)
        for part in minibatches.slices(n_samples, 4096):
            some = minibatches.prepare(to_device(np.ascontiguousarray(rows[part]), home))
            for layer, means in enumerate(self._inferred(exact, some).means, start=1):
                draw_means(chains.layers[layer][part], means, key=key, first_chain=part.start, update=2 * layer)


def draw_means(states, means, *, key, first_chain: int, update: int) -> None:
    """Draw packed states, in place, of units that are on with these probabilities, (n_rows, n_units)."""
    xp, (n_rows, n_units) = namespace(means), means.shape
    logits = xp.zeros((n_rows, chain.padded(n_units)), dtype=np.float32)
    logits[:, :n_units] = xp.log(xp.maximum(means, SMALLEST)) - xp.log(xp.maximum(1 - means, SMALLEST))
    kernels.draw(
        states, logits, rbm.all_free(n_units, home_of(states)), key=key, first_chain=first_chain, update=update
    )  # fmt: skip


def _held(states, clamp: np.ndarray | None, home: str):
    """Set clamped units of a layer to their values, in place; return the kernels' `free`, or None where no unit is clamped."""
    if clamp is None:
        return None
    free = to_device(chain.pack(np.isnan(clamp)), home)
    states[...] = (states & free) | to_device(chain.pack(np.nan_to_num(clamp)), home)
    return free
