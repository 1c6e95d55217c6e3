"""Multi-layer perceptrons of scikit-learn's whose hidden layers are those of a stack."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted

from fastbm.device import adopt, to_host
from fastbm.estimators import _validation
from fastbm.estimators._stack_fitted import FittedStack

CLASSES = ("binary", "multiclass", "multilabel-indicator")
"""Types of y that are for a classifier."""
TASKS = ("auto", "classification", "regression")
OF_THE_STACK = ("hidden_layer_sizes", "activation", "warm_start")


class Perceptrons(FittedStack):
    """to_mlp_classifier, to_mlp_regressor and fine_tune."""

    def to_mlp_classifier(self, classes, **parameters):
        """Return scikit-learn's multi-layer perceptron with the layers of the stack, to be fitted to labels.

        Its hidden layers are logistic, and have the stack's weights and hidden biases; its output layer is as scikit-learn
        makes it. It has ``warm_start=True``, so that `fit`, and `partial_fit`, start from there; a clone of it would not.

        Parameters
        ----------
        classes : array-like of shape (n_classes,) or (n_rows, n_classes)
            All the labels that `fit` will see, which may be its y; for several labels a row, an indicator matrix such as its y.
        **parameters
            Constructor parameters of :class:`sklearn.neural_network.MLPClassifier`.

        Returns
        -------
        perceptron : MLPClassifier

        Raises
        ------
        ValueError
            When a parameter is one that the stack decides, or is not valid.
        """
        check_is_fitted(self)
        if np.ndim(classes) == 2 and np.shape(classes)[1] > 1:
            return self._perceptron(MLPClassifier, np.ones((1, np.shape(classes)[1]), int), parameters)
        return self._perceptron(MLPClassifier, unique_labels(np.ravel(classes)), parameters)

    def to_mlp_regressor(self, n_outputs=1, **parameters):
        """Return scikit-learn's multi-layer perceptron with the layers of the stack, to be fitted to numbers.

        See `to_mlp_classifier`.

        Parameters
        ----------
        n_outputs : int, default=1
            Columns of y.
        **parameters
            Constructor parameters of :class:`sklearn.neural_network.MLPRegressor`.

        Returns
        -------
        perceptron : MLPRegressor

        Raises
        ------
        ValueError
            When a parameter is one that the stack decides, or is not valid.
        """
        check_is_fitted(self)
        n_outputs = _validation.check_count(n_outputs, "n_outputs", 1)
        return self._perceptron(MLPRegressor, np.zeros((1, n_outputs) if n_outputs > 1 else 1), parameters)

    def fine_tune(self, X, y, *, task="auto", learning_rate_init=0.003, max_iter=1000, **parameters):
        """Return a multi-layer perceptron that starts from the stack, fitted to `X` and `y` by back-propagation.

        The stack is not changed.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows that have labels, or numbers to be predicted: many fewer, as a rule, than the stack was fitted to.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        task : {"auto", "classification", "regression"}, default="auto"
            What `y` is: "auto" takes integers, strings and indicator matrices for labels, other numbers for numbers.
        learning_rate_init : float, default=0.003
            Size of the perceptron's first steps.
        max_iter : int, default=1000
            Its passes over the rows at the most; by its own `tol` it ends earlier.
        **parameters
            Other constructor parameters of scikit-learn's MLPClassifier, or MLPRegressor.

        Returns
        -------
        perceptron : MLPClassifier or MLPRegressor

        Raises
        ------
        ValueError
            When an argument is not valid.
        """
        check_is_fitted(self)
        parameters |= {"learning_rate_init": learning_rate_init, "max_iter": max_iter}
        X, y = to_host(adopt(X)), to_host(adopt(y))
        if are_labels(y, task):
            return self.to_mlp_classifier(y, **parameters).fit(X, y)
        columns = np.shape(y)[1:]
        return self.to_mlp_regressor(columns[0] if columns else 1, **parameters).fit(X, y)

    def _perceptron(self, kind, targets, parameters) -> Any:
        """Return a perceptron to be fitted to such targets, which begins with the stack's layers."""
        perceptron = begun(kind, targets, parameters, self.coefs_, self.intercepts_, owner="stack")
        if hasattr(self, "feature_names_in_"):
            perceptron.feature_names_in_ = self.feature_names_in_
        return perceptron


def begun(kind, targets, parameters, coefs, biases, *, owner: str) -> Any:
    """Return a perceptron as the first call of its `fit`, to such targets, would make it, then with these hidden layers.

    `coefs` (n_units_below, n_units_above) and `biases`, one for each hidden layer, come from `owner`, which errors name.
    scikit-learn has no public way to give initial weights: `_validate_input` notes features and classes, `_initialize` makes
    all the layers and what its solvers remember.
    """
    for name in OF_THE_STACK:
        if name in parameters:
            raise ValueError(f"{name} is decided by the {owner}, got {name}={parameters[name]!r}")
    coefs, biases = ([to_host(array) for array in arrays] for arrays in (coefs, biases))
    dtype, sizes, n_features = np.result_type(*coefs), [len(bias) for bias in biases], len(coefs[0])
    perceptron: Any = kind(hidden_layer_sizes=tuple(sizes), activation="logistic", warm_start=True, **parameters)
    perceptron._validate_params()
    rows = np.zeros((len(targets), n_features), dtype)
    _, targets = perceptron._validate_input(rows, targets, incremental=False, reset=True)
    targets = targets.reshape(len(rows), -1)
    perceptron._random_state = check_random_state(perceptron.random_state)
    perceptron._initialize(targets, [n_features, *sizes, targets.shape[1]], dtype)
    perceptron.coefs_[: len(sizes)] = [np.array(coef, dtype, order="C") for coef in coefs]
    perceptron.intercepts_[: len(sizes)] = [np.array(bias, dtype) for bias in biases]
    return perceptron


def are_labels(y, task: str) -> bool:
    """Whether targets are labels, for a classifier, as `task` says, or "auto", as they look; ValueError for another task."""
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(map(repr, TASKS))}, got {task!r}")
    return task == "classification" or (task == "auto" and type_of_target(y, input_name="y") in CLASSES)
