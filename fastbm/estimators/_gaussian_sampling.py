"""What a fitted machine with Gaussian visible units can do: conditionals, sampling, scores, all in the units of the data."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastbm import chain, kernels
from fastbm.chain import Purpose
from fastbm.device import home_of, namespace, to_device, to_host, using
from fastbm.estimators import _sampling, _validation
from fastbm.estimators._gaussian_training import GaussianTraining, scaled
from fastbm.estimators._rbm_sampling import RBMSampling, _position_lock
from fastbm.evaluation.gaussian_pseudo_likelihood import gaussian_pseudo_likelihood
from fastbm.machines import gaussian_rbm, rbm
from fastbm.machines.rbm import Chains


class GaussianSampling(RBMSampling, GaussianTraining):
    """Methods of a fitted machine; they read the fitted attributes, which may have been set by hand."""

    def _scaled(self, rows):
        return scaled(rows.toarray() if hasattr(rows, "toarray") else rows, self._scaling())

    def _unscaled(self, rows):
        """Return rows of the machine in the units of the data."""
        scaling = self._scaling()
        if scaling is None:
            return rows
        mean, scale = (to_device(array, home_of(rows)) for array in scaling)
        return (rows * scale + mean).astype(rows.dtype, copy=False)

    def _log_scales(self) -> float:
        """Return Σ log scale_, by which logarithms of densities in the units of the data are less."""
        return 0.0 if self._scaling() is None else float(np.log(self.scale_).sum())

    def _chain_rows(self):
        _, offsets, _ = self._carried()
        with using(home_of(self.components_)):
            exact = gaussian_rbm.rounded(self._machine(), offsets and offsets.hidden)
            return gaussian_rbm.from_standard(exact, self._visible_chains)

    def _visible_means(self, machine, H):
        return self._unscaled(gaussian_rbm.visible_means(machine, H))

    def _pseudo_likelihood(self, machine, rows, scaling=None):
        scaling = self._scaling() if scaling is None else scaling
        rows = scaled(rows.toarray() if hasattr(rows, "toarray") else rows, scaling)
        return gaussian_pseudo_likelihood(machine, rows) - (0.0 if scaling is None else float(np.log(scaling[1]).sum()))

    # ---------------------------------------------------------------------------------------------------- conditionals

    def inverse_transform(self, H):
        """Return the means of the visible units given h = H.

        Parameters
        ----------
        H : array-like of shape (n_samples, n_components)
            Hidden states or probabilities.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Means, not samples: those have deviations `sigma_` around them.
        """
        return super().inverse_transform(H)

    def reconstruct(self, X):
        """Return the means of the visible units given the hidden probabilities of `X`: up and down, nothing drawn.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
        """
        return super().reconstruct(X)

    # -------------------------------------------------------------------------------------------------------- sampling

    def gibbs(self, v):
        """Make one Gibbs step from each row: h from p(h | v), then v from p(v | h). Each call draws afresh.

        Parameters
        ----------
        v : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        v_new : ndarray of shape (n_samples, n_features)
            Samples. To run many steps, `sample` is faster.
        """
        check_is_fitted(self, "_seed")
        X = self._check_rows(v)
        with _position_lock:  # two threads must not draw the same
            start = self._gibbs_updates
            self._gibbs_updates += 2
        key, home, exact = chain.stream_key(self._seed, Purpose.GIBBS), self.device_, self._rounded()
        with using(home):
            x = gaussian_rbm.to_standard(exact, to_device(self._scaled(X), home))
            chains = gaussian_rbm.empty_chains(exact, len(x))._replace(visible=x, updates=start)
            chains = gaussian_rbm.advance(exact, chains, 2, key=key, beta=rbm.untempered(home))
            rows = self._unscaled(gaussian_rbm.from_standard(exact, chains.visible))
            return to_device(rows.astype(X.dtype, copy=False), home_of(X))

    def sample(self, n_samples=1, *, n_steps=1000, clamp=None, init=None, beta=1.0, return_mean=False, random_state=None):
        """Draw visible rows by block Gibbs sampling, one chain a row.

        Each row is drawn from p(v | h) of its last hidden states. Row i does not depend on `n_samples`, nor on threads. Fitted
        attributes are not changed.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        n_steps : int, default=1000
            Sweeps to run; a sweep draws all hidden units, then all visible units that are free.
        clamp : array-like of shape (n_features,) or (n_samples, n_features), default=None
            A number where a visible unit is held at that value, NaN where it is free.
        init : None, "chains" or array-like of shape (n_features,) or (n_samples, n_features), default=None
            Where chains start: at normal numbers with means `intercept_visible_` and deviations `sigma_`; at the persistent
            chains of training (used again in turn when there are fewer than `n_samples`); or at rows.
        beta : float or array-like of shape (n_samples,), default=1.0
            Inverse temperature, above 0, one for all or one a chain: it multiplies the energy, so that the variance given the
            hidden units is sigma_² / beta.
        return_mean : bool, default=False
            Whether the rows are the means that the last ones were drawn from; of no steps, the start.
        random_state : int, RandomState instance or None, default=None
            Seed; None takes the estimator's own `random_state`, so that an estimator with an int repeats the same rows. Two
            calls with one seed use the same random numbers: to go on from rows that were sampled, give another one.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows, or means, in the units of the data, of the dtype of the fitted attributes.

        Raises
        ------
        ValueError
            When an argument is not valid.
        """
        check_is_fitted(self, "_seed")
        n_samples = _validation.check_count(n_samples, "n_samples", 1)
        n_steps = _validation.check_count(n_steps, "n_steps", 0)
        betas = _validation.check_beta(beta, n_samples)
        if not (betas > 0).all():
            raise ValueError(f"beta must be above 0, where the variance of Gaussian units is finite, got {beta!r}")
        if clamp is not None:
            clamp = _validation.check_clamp(clamp, n_samples, self.n_features_in_, real=True)
        seed = _validation.resolve_seed(self.random_state if random_state is None else random_state)
        machine, key = self._rounded(), chain.stream_key(seed, Purpose.SAMPLING)
        with using(self.device_):
            chains = self._start(init, n_samples, machine, seed)
            free = self._clamp_units(machine, chains, clamp)
            at = rbm.untempered(self.device_) if betas.tolist() == [1.0] else to_device(betas, self.device_)
            chains = _sampling.sweep(
                machine, chains, n_steps, key=key, beta=at, visible_free=free, verbose=self.verbose,
                advance=gaussian_rbm.advance,
            )  # fmt: skip
            x = chains.visible
            if return_mean and n_steps:
                x = gaussian_rbm.infer_visible(machine, chains.hidden, rbm.untempered(self.device_))[:, : x.shape[1]]
            return to_device(self._rows(machine, x, clamp), home_of(self.components_))

    def _clamp_units(self, machine, chains: Chains, clamp):
        """Set clamped units to their values, in place; return the kernels' `visible_free`."""
        if clamp is None:
            return rbm.all_free(self.n_features_in_, self.device_)
        x = gaussian_rbm.to_standard(machine, to_device(self._scaled(clamp), self.device_))
        xp = namespace(x)
        chains.visible[...] = xp.where(xp.isnan(x), chains.visible, x)
        return to_device(chain.pack(np.isnan(clamp)), self.device_)

    def _rows(self, machine, x, clamp):
        """Return visible units, given as `x`, in the units of the data; clamped units have their values to the last bit."""
        rows = self._unscaled(gaussian_rbm.from_standard(machine, x).astype(np.float64))
        return _sampling.with_clamped(rows, clamp).astype(_validation.float_of(self.components_))

    def _start(self, init, n_samples, machine, seed) -> Chains:
        chains, key = gaussian_rbm.empty_chains(machine, n_samples), chain.stream_key(seed, Purpose.SAMPLING_START)
        one = rbm.untempered(self.device_)
        if init is None:
            means = namespace(chains.visible).zeros((n_samples, machine.visible_bias.size), np.float32)
            free = rbm.all_free(self.n_features_in_, self.device_)
            kernels.draw_normal(chains.visible, means, one, free, key=key, first_chain=0, update=1)
        elif not isinstance(init, str):
            rows = _validation.check_start(init, n_samples, self.n_features_in_, real=True)
            rows = to_device(self._scaled(rows), self.device_)
            chains = chains._replace(visible=gaussian_rbm.to_standard(machine, rows))
        elif init != "chains":
            raise ValueError(f"init must be None, 'chains' or rows of numbers, got {init!r}")
        elif self._updates < 2:
            raise ValueError("init='chains' needs the chains of training, but this machine was never trained; use init=None")
        else:
            hidden = chain.pack(np.asarray(to_host(self.h_samples_)))
            hidden = to_device(hidden[np.arange(n_samples) % len(hidden)], self.device_)
            gaussian_rbm.advance(machine, chains._replace(hidden=hidden, updates=1), 1, key=key, beta=one)
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
            ``-free_energy - log Z`` is the logarithm of the density in the units of `X`, Z being that of the machine of
            `components_`, `intercept_visible_`, `intercept_hidden_` and `sigma_`.
        """
        return super().free_energy(X) + self._log_scales()

    def score_samples(self, X):
        """Return the pseudo-likelihood Σ_i log p(v_i | all other v) of each row, in nats: deterministic.

        Logarithms of densities in the units of `X`. Given the others, a visible unit is a mixture of normal distributions, as
        many as there are hidden states; its density is normalised by a sum that is exact to about 1e-8. This takes an
        exponential for each row, feature, hidden unit and point of that sum, some tens: score some rows of a large `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        pseudo_likelihood : ndarray of shape (n_samples,)
        """
        return super().score_samples(X)
