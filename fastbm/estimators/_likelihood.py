"""How likely rows are to a fitted machine, as methods of its estimator."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator

from fastbm.device import home_of, to_host, using
from fastbm.estimators import _validation
from fastbm.evaluation.likelihood import free_energy_gap, log_likelihood
from fastbm.evaluation.partition import LogPartition, log_partition

_last_log_partition: WeakKeyDictionary[BaseEstimator, tuple[Any, LogPartition]] = WeakKeyDictionary()
"""log Z of each estimator when it was last worked out, and of what parameters."""


class Likelihood:
    """Methods of an estimator that has ``_machine()``, ``_machine_on(home)`` and ``_check_rows(X)``."""

    def log_likelihood(self, X, log_z=None):
        """Return the log-likelihood log p(v) = -free energy(v) - log Z of each row, in nats; of Gaussian units a density's.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of 0 and 1; others have a free energy too, but no probability. With Gaussian units any numbers; the density is
            that in the units of `X`.
        log_z : float or LogPartition, default=None
            log Z, as from :func:`fastbm.evaluation.log_partition`. When None it is worked out by its method "auto", and
            remembered until the parameters change: at once where one side, with Gaussian visible units the hidden one, has up
            to 20 units, else by annealing, which takes a minute for 784 by 500 units and warns when it cannot be trusted.

        Returns
        -------
        log_likelihood : ndarray of shape (n_samples,)
        """
        rows = self._check_rows(X)  # type: ignore[attr-defined]
        if log_z is None:
            log_z = self._log_partition()
        return log_likelihood(self, rows, log_z)

    def _log_partition(self) -> LogPartition:
        machine = self._machine()  # type: ignore[attr-defined]
        with using(home_of(machine[0])):
            parameters: Any = type(machine)(*(np.array(to_host(array)) for array in machine))
        last = _last_log_partition.get(self)  # type: ignore[arg-type]
        if last is not None and all(map(np.array_equal, parameters, last[0])):
            return last[1]
        seed = _validation.resolve_seed(self.random_state)  # type: ignore[attr-defined]
        found = log_partition(self, random_state=seed, verbose=self.verbose)  # type: ignore[attr-defined]
        _last_log_partition[self] = parameters, found  # type: ignore[index]
        return found

    def pseudo_log_likelihood(self, X):
        """Return the pseudo-log-likelihood Σ_i log p(v_i | all other v) of each row, in nats: another name of `score_samples`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        pseudo_log_likelihood : ndarray of shape (n_samples,)
        """
        return self.score_samples(X)  # type: ignore[attr-defined]

    def free_energy_gap(self, train, valid):
        """Return the mean free energy of held-out rows less that of rows that were trained on, in nats.

        log Z cancels. The gap grows when the machine begins to learn its rows by heart.

        Parameters
        ----------
        train : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that were trained on, some thousand of them.
        valid : {array-like, sparse matrix} of shape (n_rows, n_features)
            Rows that were not.

        Returns
        -------
        gap : float
        """
        check = self._check_rows  # type: ignore[attr-defined]
        return free_energy_gap(self, check(train), check(valid))
