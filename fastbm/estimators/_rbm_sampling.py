"""What a fitted restricted Boltzmann machine can do: conditionals, sampling, scores."""

from __future__ import annotations

import threading

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from fastbm import chain, kernels
from fastbm.chain import Purpose
from fastbm.device import adopt, home_of, module_of, to_device, to_host, using
from fastbm.estimators import _sampling, _validation
from fastbm.estimators._fitted import FittedRBM
from fastbm.evaluation.pseudo_likelihood import pseudo_likelihood
from fastbm.machines import rbm
from fastbm.machines.rbm import Chains
from fastbm.training import minibatches
from fastbm.units import bernoulli

_position_lock = threading.Lock()


class RBMSampling(ClassNamePrefixFeaturesOutMixin, TransformerMixin, FittedRBM):
    """Methods of a fitted machine; they read the fitted attributes, which may have been set by hand.

    TransformerMixin stands here, not with the estimator, because it wraps the `transform` of its own subclass only.
    """

    # what estimators of another machine do otherwise

    def _scaled(self, rows):
        """Return rows as the machine knows them."""
        return rows

    def _unscaled(self, rows):
        """Return rows of the machine in the units of the data."""
        return rows

    def _log_scales(self) -> float:
        """Return what logarithms of densities in the units of the data are less by."""
        return 0.0

    def _visible_means(self, machine, H):
        """Return the means of the visible units given rows of hidden states or probabilities."""
        return bernoulli.mean(rbm.visible_logits(machine, H))

    def _pseudo_likelihood(self, machine, rows, scaling=None):
        """Return the pseudo-likelihood of each row; `scaling` is that of the training data, while there is no other."""
        return pseudo_likelihood(machine, rows)

    # ---------------------------------------------------------------------------------------------------- conditionals

    def transform(self, X):
        """Return the hidden probabilities p(h = 1 | v = X).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        H : ndarray of shape (n_samples, n_components)
        """
        rows = self._check_rows(X)
        with using(home_of(rows)):
            return bernoulli.mean(self._model.hidden_logits(self._machine_on(home_of(rows)), self._scaled(rows)))

    def inverse_transform(self, H):
        """Return the visible probabilities p(v = 1 | h = H).

        Parameters
        ----------
        H : array-like of shape (n_samples, n_components)
            Hidden states or probabilities.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        H, home = adopt(H), home_of(adopt(H))
        with using(home):
            if home == "cpu":
                H = check_array(H, dtype=_validation.FLOATS, input_name="H")
            else:
                _validation.check_matrix_of_gpu(H, "H", "n_components")
                H = _validation.finite_floats_of_gpu(H, "H")
            if H.shape[1] != self.components_.shape[0]:
                raise ValueError(f"H has {H.shape[1]} columns, but the machine has n_components={self.components_.shape[0]}")
            return self._visible_means(self._machine_on(home), H)

    def reconstruct(self, X):
        """Return the visible probabilities given the hidden probabilities of `X`: up and down, nothing drawn.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
        """
        return self.inverse_transform(self.transform(X))

    # -------------------------------------------------------------------------------------------------------- sampling

    def gibbs(self, v):
        """Make one Gibbs step from each row: h from p(h | v), then v from p(v | h). Each call draws afresh.

        Parameters
        ----------
        v : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        v_new : ndarray of shape (n_samples, n_features)
            Rows of False and True, as scikit-learn's are. To run many steps, `sample` is faster.
        """
        check_is_fitted(self, "_seed")
        X = self._check_rows(v)
        with _position_lock:  # two threads must not draw the same
            start = self._gibbs_updates
            self._gibbs_updates += 2
        key, home, exact = chain.stream_key(self._seed, Purpose.GIBBS), self.device_, self._rounded()
        with using(home):
            rows = minibatches.prepare(X, minibatches.space(X.shape[0], X.shape[1], module_of(home)))
            logits, _ = rbm.infer(self._machine_on(home), exact, rows)
            chains = rbm.start_at(exact, logits, key=key, update=start)
            chains = rbm.advance(exact, chains, 1, key=key, beta=rbm.untempered(home))
            return to_device(kernels.unpack(chains.visible, self.n_features_in_, bool), home_of(X))

    def sample(self, n_samples=1, *, n_steps=1000, clamp=None, init=None, beta=1.0, return_mean=False, random_state=None):
        """Draw visible rows by block Gibbs sampling, one chain a row.

        Row i does not depend on `n_samples`, nor on threads or hardware. Fitted attributes are not changed.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        n_steps : int, default=1000
            Sweeps to run; a sweep draws all hidden units, then all visible units that are free.
        clamp : array-like of shape (n_features,) or (n_samples, n_features), default=None
            0 or 1 where a visible unit is held at that value, NaN where it is free.
        init : None, "chains" or array-like of shape (n_features,) or (n_samples, n_features), default=None
            Where chains start: at fair coins, at the persistent chains of training (used again in turn when there are fewer
            than `n_samples`), or at rows of 0 and 1. From fair coins a machine that was trained for long, or for too short,
            may not reach the states of its data in any reasonable number of steps; "chains" are there already.
        beta : float or array-like of shape (n_samples,), default=1.0
            Inverse temperature, one for all or one a chain: 0 gives fair coins, larger values the likeliest rows.
        return_mean : bool, default=False
            Whether the rows are the means that the last ones were drawn from, grey levels; of no steps, the start.
        random_state : int, RandomState instance or None, default=None
            Seed; None takes the estimator's own `random_state`, so that an estimator with an int repeats the same rows.

            Two calls with one seed use the same random numbers, step by step. To go on from rows that were sampled, or to
            compare two starts, give each call a seed of its own: with the same one chains soon meet and stand still.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows of 0 and 1, or means, of the dtype of the fitted attributes.

        Raises
        ------
        ValueError
            When an argument is not valid.
        """
        check_is_fitted(self, "_seed")
        n_samples = _validation.check_count(n_samples, "n_samples", 1)
        n_steps = _validation.check_count(n_steps, "n_steps", 0)
        beta = _validation.check_beta(beta, n_samples)
        if clamp is not None:
            clamp = _validation.check_clamp(clamp, n_samples, self.n_features_in_)
        seed = _validation.resolve_seed(self.random_state if random_state is None else random_state)
        with using(self.device_):
            chains = self._sampled(n_samples, n_steps, clamp, init, beta, seed)
            return self._visible_rows(chains, beta, clamp, return_mean and n_steps > 0)

    def _sampled(self, n_samples: int, n_steps: int, clamp, init, beta, seed: int) -> Chains:
        """Return chains after their sweeps, on the device of the machine, given checked arguments of `sample`."""
        machine, key = self._rounded(), chain.stream_key(seed, Purpose.SAMPLING)
        chains, beta = self._start(init, n_samples, machine, seed), to_device(beta, self.device_)
        free = _sampling.clamp_units(chains, clamp, self.n_features_in_)
        return _sampling.sweep(machine, chains, n_steps, key=key, beta=beta, visible_free=free, verbose=self.verbose)

    def _start(self, init, n_samples, machine, seed) -> Chains:
        if init is None:
            return _sampling.fair_coins(machine, n_samples, seed)
        n_features, home = self.n_features_in_, self.device_
        chains = rbm.empty_chains(n_samples, n_features, self.components_.shape[0], module_of(home))
        if not isinstance(init, str):
            chains.visible[...] = to_device(chain.pack(_validation.check_start(init, n_samples, n_features)), home)
        elif init != "chains":
            raise ValueError(f"init must be None, 'chains' or rows of 0 and 1, got {init!r}")
        elif self._updates < 2:
            raise ValueError("init='chains' needs the chains of training, but this machine was never trained; use init=None")
        else:
            states = to_host(self._visible_chains)
            chains.visible[...] = to_device(states[np.arange(n_samples) % len(states)], home)
        return chains

    # ---------------------------------------------------------------------------------------------------------- scores

    def free_energy(self, X):
        """Return the free energy -log Σ_h exp(-energy(v, h)) of each row, in nats.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        free_energy : ndarray of shape (n_samples,)
            ``-free_energy - log Z`` is the log-likelihood.
        """
        rows = self._check_rows(X)
        with using(home_of(rows)):
            return self._model.free_energy(self._machine_on(home_of(rows)), self._scaled(rows))

    def score_samples(self, X):
        """Return the pseudo-likelihood Σ_i log p(v_i | all other v) of each row, in nats: exact and deterministic.

        It takes a product for each row, feature and hidden unit, so that scikit-learn's estimate from one random feature a
        row is cheaper: score some rows of a large `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        pseudo_likelihood : ndarray of shape (n_samples,)
        """
        rows = self._check_rows(X)
        with using(home_of(rows)):
            return self._pseudo_likelihood(self._machine_on(home_of(rows)), rows)

    def score(self, X, y=None):
        """Return the mean pseudo-likelihood of the rows, in nats; larger is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        score : float
        """
        return float(self.score_samples(X).mean())
