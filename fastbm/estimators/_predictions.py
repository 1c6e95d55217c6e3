"""What classifiers predict of rows, from logarithms of what is proportional to the probability of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from fastbm.device import home_of, namespace, to_host
from fastbm.estimators import _labels
from fastbm.units import softmax


class Predictions(ClassifierMixin):
    """Predictions of an estimator that has `_class_logits(X)`, shape (n_samples, n_classes)."""

    classes_: np.ndarray

    def _class_logits(self, X) -> Any:
        raise NotImplementedError

    def predict(self, X):
        """Return the most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        logits = self._class_logits(X)
        return _labels.decode(namespace(logits).argmax(logits, axis=1), self.classes_, home_of(logits))

    def predict_log_proba(self, X):
        """Return the logarithm of `predict_proba`, which does not underflow.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        log_P : ndarray of shape (n_samples, n_classes)
        """
        logits = self._class_logits(X)
        return logits - softmax.log_partition(logits)[:, None]

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
