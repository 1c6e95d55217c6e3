"""DeepBoltzmannMachine: layers of binary units, none of whose connections is directed, behind scikit-learn's interface."""

from __future__ import annotations

from sklearn.base import _fit_context

from fastbm.estimators._dbm_files import DBMFiles, check_layers
from fastbm.estimators._dbm_perceptrons import DBMPerceptrons
from fastbm.estimators._dbm_training import DBM_CONSTRAINTS


class DeepBoltzmannMachine(DBMPerceptrons, DBMFiles):
    """TODO."""

    _parameter_constraints: dict = DBM_CONSTRAINTS

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Train the machine on `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or iterable of such batches
            Training data, between 0 and 1. Minibatches of only 0 and 1 are treated as states, others as probabilities. With
            greedy training an iterable must be one that can be iterated over again.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts; only their ratios matter.

        Returns
        -------
        self : DeepBoltzmannMachine

        Raises
        ------
        ValueError
            When `X` or a parameter is not valid, or training diverges; an earlier fit is then untouched.
        """
        return self._fit(X, sample_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Make one update of all layers, with all rows of `X` as one minibatch; there is no greedy training.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or iterable of such batches
            With an iterable, one update is made for each batch.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts; only their ratios matter.

        Returns
        -------
        self : DeepBoltzmannMachine
        """
        return self._partial_fit(X, sample_weight)

    @classmethod
    def from_weights(cls, weights, biases, **parameters):
        """Return a fitted machine with the given parameters, to sample or to train further.

        Parameters
        ----------
        weights : list of array-like of shape (n_units_below, n_units_above)
            One for each two layers, from the visible layer up.
        biases : list of array-like of shape (n_units,)
            One for each layer, the visible one first.
        **parameters
            Constructor parameters; `hidden_layer_sizes` is that of the weights.

        Returns
        -------
        machine : DeepBoltzmannMachine

        Raises
        ------
        ValueError
            When shapes do not match, or a value is not finite or too large to be sampled.
        """
        machine = check_layers(weights, biases)
        sizes = [bias.size for bias in machine.biases[1:]]
        return cls._from_machine(machine, sizes, parameters, {"n_features_in_": machine.biases[0].size})

    def sample(
        self, n_samples=1, *, n_steps=1000, clamp=None, init=None, beta=1.0, return_mean=False, random_state=None
    ):  # fmt: skip
        """Draw visible rows by block Gibbs sampling of all layers, one chain a row.

        Row i does not depend on `n_samples`, nor on threads or hardware. Fitted attributes are not changed.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
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

        Raises
        ------
        ValueError
            When an argument is not valid.
        """
        rows, _ = self._sample(
            n_samples, n_steps=n_steps, clamp=clamp, init=init, beta=beta, return_mean=return_mean, random_state=random_state
        )
        return rows
