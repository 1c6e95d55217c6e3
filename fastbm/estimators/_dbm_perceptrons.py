"""Perceptrons that begin with a deep Boltzmann machine, its mean-field features beside the rows [1]_.

References
----------
.. [1] Salakhutdinov & Hinton, "Deep Boltzmann machines", AISTATS 2009, section 3.3.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted

from fastbm.device import adopt, home_of, to_host
from fastbm.estimators import _layers
from fastbm.estimators._dbm_fitted import FittedDBM
from fastbm.estimators._perceptrons import are_labels, begun


class MeanFieldFeatures(TransformerMixin, BaseEstimator):
    """Rows, and beside them the mean-field probabilities of the second hidden layer of a machine, where it has one.

    Parameters
    ----------
    machine : estimator
        A fitted deep Boltzmann machine.
    """

    def __init__(self, machine):
        self.machine = machine

    def fit(self, X, y=None):
        """Do nothing: the machine is fitted.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        self : MeanFieldFeatures
        """
        check_is_fitted(self.machine, "coefs_")
        return self

    def transform(self, X):
        """Return the rows and the features, side by side, on the host.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        features : ndarray of shape (n_samples, n_features + n_units of the second hidden layer)
        """
        rows = self.machine._check_rows(X)
        if self.machine.n_layers_ == 1:
            return to_host(rows)
        means = to_host(self.machine._all(rows, lambda means, part: means[1]))
        rows = rows.toarray() if sparse.issparse(rows) else to_host(rows)
        return np.concatenate([rows, means.astype(rows.dtype, copy=False)], axis=1)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns: those of the rows, then those of the units of the second hidden layer.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the rows' columns; they must be those that the machine was fitted with, if it knows any.

        Returns
        -------
        names : ndarray of str objects
        """
        check_is_fitted(self)
        chosen = [0] if self.machine.n_layers_ == 1 else [0, 2]
        return np.asarray(_layers.names(self.machine, chosen, input_features), dtype=object)

    def __sklearn_is_fitted__(self):
        return hasattr(self.machine, "coefs_")


class DBMPerceptrons(FittedDBM):
    """fine_tune."""

    def fine_tune(self, X, y, *, task="auto", learning_rate_init=0.003, max_iter=1000, **parameters):
        """Return a pipeline with a multi-layer perceptron that begins with the machine, fitted by back-propagation [1]_.

        Its input are the rows and, beside them, the mean-field probabilities μ² of the second hidden layer, which are worked
        out once; its hidden layers are logistic. At the start the first is σ(v W¹ + μ² W²ᵀ + b¹), what mean field would give
        it; the layers above have the machine's weights and biases; the output layer is as scikit-learn makes it. With one
        hidden layer there are no features. The machine is copied, not changed; labels of a classifier are no part of it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        task : {"auto", "classification", "regression"}, default="auto"
            What `y` is: "auto" takes integers, strings and indicator matrices for labels, other numbers for numbers.
        learning_rate_init : float, default=0.003
            Size of the perceptron's first steps.
        max_iter : int, default=1000
            Its passes over the rows at the most; by its own `tol` it ends earlier.
        **parameters
            Other constructor parameters of :class:`sklearn.neural_network.MLPClassifier`, or MLPRegressor.

        Returns
        -------
        model : Pipeline
            Steps "features" and "perceptron"; it predicts and scores raw rows. A clone of it would start anew.

        Raises
        ------
        ValueError
            When an argument is not valid.

        References
        ----------
        .. [1] Salakhutdinov & Hinton, "Deep Boltzmann machines", AISTATS 2009, section 3.3.
        """
        check_is_fitted(self, "coefs_")
        parameters |= {"learning_rate_init": learning_rate_init, "max_iter": max_iter}
        y = to_host(adopt(y))
        labels, several = are_labels(y, task), np.ndim(y) == 2 and np.shape(y)[1] > 1
        targets: Any = np.zeros((1, np.shape(y)[1]) if several else 1)
        if labels:
            targets = np.ones((1, np.shape(y)[1]), int) if several else unique_labels(np.ravel(y))
        coefs, biases = list(map(to_host, self.coefs_)), self.intercepts_
        if len(coefs) > 1:
            coefs[0] = np.concatenate([coefs[0], coefs[1].T])
        perceptron = begun(MLPClassifier if labels else MLPRegressor, targets, parameters, coefs, biases, owner="machine")
        features = MeanFieldFeatures(deepcopy(self) if home_of(self.coefs_[0]) == "cpu" else deepcopy(self).to("cpu"))
        return Pipeline([("features", features), ("perceptron", perceptron)]).fit(to_host(adopt(X)), y)
