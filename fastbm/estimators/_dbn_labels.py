"""What a deep belief network with labels does besides: predictions, and labels of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from fastbm.chain import Purpose, stream_key
from fastbm.device import to_host
from fastbm.estimators import _labels
from fastbm.estimators._dbn_training import DBNTraining
from fastbm.machines import rbm
from fastbm.machines.rbm import Chains


class LabelledDBN(ClassifierMixin, DBNTraining):
    """Methods of a network whose machine on top is a classifier."""

    _measure = "accuracy"
    top_: Any

    @property
    def classes_(self) -> np.ndarray:
        """The labels, in order."""
        return self.top_.classes_

    def predict(self, X):
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        h = self._under_top(X)
        return self.top_.predict(h)

    def predict_proba(self, X):
        """Return p(y | h) of the machine on top, exact from free energies, h the means that recognition gives the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Float64; columns are in the order of `classes_`.
        """
        h = self._under_top(X)
        return self.top_.predict_proba(h)

    def predict_log_proba(self, X):
        """Return the logarithm of `predict_proba`, which does not underflow.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        log_P : ndarray of shape (n_samples, n_classes)
        """
        h = self._under_top(X)
        return self.top_.predict_log_proba(h)

    def score(self, X, y, sample_weight=None):
        """Return the accuracy: the fraction of the rows whose predicted class is `y`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
        """
        return float(accuracy_score(_labels.check(y), to_host(self.predict(X)), sample_weight=sample_weight))

    def _measured(self, rows, numbers) -> float:
        got = self.top_._class_logits(self._under_top(rows)).argmax(axis=1)
        return float((to_host(got) == numbers).mean())

    def _labels_of(self, chains: Chains):
        return self.top_._labels_of(chains)

    def _top_chains(self, n_samples, n_steps, clamp, init, beta, seed, y) -> Chains:
        joint = self.top_._joint_clamp(clamp, y, n_samples)
        return self.top_._sampled(n_samples, n_steps, joint, init, beta, seed, draw_labels=y is None)

    def _swept(self, exact, chains: Chains, beta, seed, y) -> Chains:
        n_labels, key = len(self.classes_), stream_key(seed, Purpose.SAMPLING)
        if y is None:
            return rbm.advance(exact.top, chains, 2, key=key, beta=beta, n_labels=n_labels)
        held = rbm.all_but_labels(self.top_.n_features_in_ + n_labels, n_labels, self.device_)
        return rbm.advance(exact.top, chains, 2, key=key, beta=beta, visible_free=held)

    # -------------------------------------------------------------------------------------------------------- training

    def _take(self, X, sample_weight=None, *, fresh, y=None, classes=None):
        """Return the data with their labels, and what will be fitted besides the training state."""
        y = _labels.check(y)
        data, fitted = super()._take(X, sample_weight, fresh=fresh)
        numbers, classes = _labels.numbered(y, classes, None if fresh else self.classes_)
        data.label(numbers, len(classes))
        return data, fitted
