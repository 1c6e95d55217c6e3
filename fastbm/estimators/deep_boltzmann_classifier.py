"""DeepBoltzmannClassifier: a deep Boltzmann machine with labels above its top layer, behind scikit-learn's interface."""

from __future__ import annotations

from typing import Any

from sklearn.base import _fit_context

from fastbm.estimators import _labels
from fastbm.estimators._dbm_files import check_layers
from fastbm.estimators._dbm_labels import LabelledDBM
from fastbm.estimators._dbm_perceptrons import DBMPerceptrons
from fastbm.estimators._dbm_training import DBM_CONSTRAINTS


class DeepBoltzmannClassifier(LabelledDBM, DBMPerceptrons):
    """TODO."""

    _parameter_constraints: dict = DBM_CONSTRAINTS

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Train the machine on `X` and its labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, between 0 and 1. Minibatches of only 0 and 1 are treated as states, others as probabilities.
        y : array-like of shape (n_samples,)
            Labels: integers or strings, of at least two classes. With `warm_start` they must be among `classes_`.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts; only their ratios matter.

        Returns
        -------
        self : DeepBoltzmannClassifier

        Raises
        ------
        ValueError
            When `X`, `y` or a parameter is not valid, or training diverges; an earlier fit is then untouched.
        """
        return self._fit(X, sample_weight, y=y)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Make one update of all layers, with all rows of `X` as one minibatch; there is no greedy training.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,), default=None
            All labels that there will be; needed in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts; only their ratios matter.

        Returns
        -------
        self : DeepBoltzmannClassifier

        Raises
        ------
        ValueError
            When an argument is not valid, or a label is none of the classes.
        """
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be passed in the first call of partial_fit: all the labels that there will be")
        return self._partial_fit(X, sample_weight, y=y, classes=classes)

    @classmethod
    def from_weights(cls, weights, biases, classes=None, **parameters):
        """Return a fitted machine with the given parameters, to sample or to train further.

        Parameters
        ----------
        weights : list of array-like of shape (n_units_below, n_units_above)
            One for each two layers, from the visible layer up; the last leads from the top hidden layer to the labels.
        biases : list of array-like of shape (n_units,)
            One for each layer, the visible one first, that of the labels last.
        classes : array-like of shape (n_classes,), default=None
            The labels, in order; 0, 1, … when None.
        **parameters
            Constructor parameters; `hidden_layer_sizes` is that of the weights.

        Returns
        -------
        machine : DeepBoltzmannClassifier

        Raises
        ------
        ValueError
            When shapes do not match, or a value is not finite or too large to be sampled.
        """
        machine = check_layers(weights, biases)
        if len(machine.weights) < 2:
            raise ValueError("weights must be at least 2, the last of which lead to the labels, got 1")
        sizes, features = [bias.size for bias in machine.biases[1:-1]], {"n_features_in_": machine.biases[0].size}
        features["classes_"] = _labels.classes_given(classes, machine.biases[-1].size)
        return cls._from_machine(machine, sizes, parameters, features)

    def sample(
        self, n_samples=1, *, y=None, n_steps=1000, clamp=None, init=None, beta=1.0, return_mean=False, random_state=None
    ):  # fmt: skip
        """Draw visible rows and their labels by block Gibbs sampling of all layers, one chain a row.

        Row i does not depend on `n_samples`, nor on threads or hardware. Fitted attributes are not changed.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        y : label or array-like of shape (n_samples,), default=None
            The class to draw rows of, one for all or one a row; None draws labels too.
        n_steps : int, default=1000
            Sweeps to run; a sweep draws all free units of the odd layers, then of the even ones, the visible among them.
        clamp : array-like of shape (n_features,) or (n_samples, n_features), or dict of such, default=None
            0 or 1 where a visible unit is held at that value, NaN where it is free. With a dict, of the layers whose numbers
            are its keys: 0 is the visible layer, 1 the lowest hidden one.
        init : None, "chains" or array-like of shape (n_features,) or (n_samples, n_features), default=None
            Where chains start: at fair coins in all layers; at the persistent chains of training (used again in turn when there
            are fewer than `n_samples`); or at visible rows of 0 and 1, the hidden layers drawn from their mean field.
        beta : float or array-like of shape (n_samples,), default=1.0
            Inverse temperature, one for all or one a chain.
        return_mean : bool, default=False
            Whether the visible units are their means given the layer above, grey levels, instead of states.
        random_state : int, RandomState instance or None, default=None
            Seed; None takes the estimator's own `random_state`. Two calls with one seed use the same random numbers.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows of 0 and 1, or means, of the dtype of the fitted attributes.
        y : ndarray of shape (n_samples,)
            Their labels: those that were given, or those that were drawn.

        Raises
        ------
        ValueError
            When an argument is not valid, or a label is none of `classes_`.
        """
        rows, chains = self._sample(
            n_samples, n_steps=n_steps, clamp=clamp, init=init, beta=beta, return_mean=return_mean, random_state=random_state,
            y=y,
        )  # fmt: skip
        return rows, self._labels_of(chains)

    def __sklearn_tags__(self):
        tags: Any = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # as RBMClassifier's
        return tags
