"""DeepBoltzmannMachine: layers of binary units, none of whose connections is directed, behind scikit-learn's interface."""

from __future__ import annotations

from sklearn.base import _fit_context

from fastbm.estimators._dbm_files import DBMFiles, check_layers
from fastbm.estimators._dbm_perceptrons import DBMPerceptrons
from fastbm.estimators._dbm_training import DBM_CONSTRAINTS


class DeepBoltzmannMachine(DBMPerceptrons, DBMFiles):
    """Deep Boltzmann machine: layers of binary units, couplings between neighbouring layers, none of them directed [1]_.

    p(v, h¹, …, h^L) = exp(v W¹ h¹ + h¹ W² h² + … + a v + b¹ h¹ + …) / Z. Each layer hears from both its neighbours. Learning
    compares the data, whose hidden units are inferred by mean field, with persistent chains of the whole machine. It starts at
    small random weights, with the gradient centred [2]_, or after greedy training of the layers as restricted machines with
    doubled weights [1]_. With one hidden layer it is a :class:`fastbm.BernoulliRBM`, bit for bit.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of shape (n_layers,), default=(500, 1000)
        Numbers of hidden units, the lowest layer first.
    learning_rate : float, default=0.02
        Step of the parameters along the gradient.
    batch_size : int, default=10
        Rows in a minibatch.
    n_iter : int, default=10
        Passes over the training data of the joint learning of all layers.
    verbose : int, default=0
        When not 0, shows progress bars and prints the error of reconstruction of up to 200 rows after each pass.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights and of all that is drawn; an int repeats the same results.
    n_gibbs_steps : int, default=1
        Sweeps of the persistent chains for each update.
    n_chains : int, default=100
        Number of persistent chains; `batch_size` when None.
    momentum : float in [0, 1), default=0.0
        Fraction of the last step that is added to each step.
    l1, l2 : float, default=0.0
        Decay of the weights: the objective is reduced by l1 Σ|w| + l2/2 Σw².
    max_norm : float, default=None
        The largest Euclidean norm of the weights that lead to a hidden unit from below; longer ones are shortened to it. None
        is no limit.
    learning_rate_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        What `learning_rate` is multiplied by when a fraction t of a call of `fit` is done: 1; 1 - t; 1 / (1 + 9 t); or a
        function of t. `partial_fit` uses its value at 0.
    n_gibbs_steps_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        What `n_gibbs_steps` is multiplied by, the same way: 1; t; 1 / (1 + 9 (1 - t)); or a function of t. The number of
        sweeps is rounded, and at least 1.
    centered : bool, default=True
        Whether the gradient is centred [2]_: states enter the statistics less their means over the data, which are followed at
        a rate of 0.01 an update. Without greedy training a machine of several layers learns hardly anything otherwise.
    initial_hidden_bias : float, default=0.0
        Where the biases of hidden units begin, without greedy training. Below 0, such as -2, few units are on, and large layers
        do not turn each other on whatever the row.
    mean_field_tol : float, default=1e-3
        Mean field of a row has converged when no mean changes by more; in training and afterwards.
    mean_field_max_updates : int, default=30
        Mean-field updates of a row, at the most.
    mean_field_damping : float in [0, 1), default=0.5
        Part of the old means that updates keep of a row that has come no nearer to its end for sixteen of them.
    pretraining_n_iter : int, or one a layer, default=0
        Greedy training: passes over the data. 0 starts joint learning at small random weights.
    pretraining_learning_rate : float, or one a layer, default=0.05
        Greedy training: step, which falls to 0 linearly.
    pretraining_n_gibbs_steps : int, or one a layer, default=1
        Greedy training: sweeps of the chains, which start at the data, for each update.
    pretraining_momentum : float in [0, 1), or one a layer, default=0.0
        Greedy training: fraction of the last step that is added to each step.
    pretraining_sparsity_target : float in (0, 1), or one a layer, default=None
        Greedy training: the mean activity that each hidden unit is pulled to.
    pretraining_sparsity_cost : float, or one a layer, default=0.01
        Greedy training: how hard.
    shuffle : bool, default=True
        Whether each pass takes the rows in an order of its own. Batches of an iterable come as they are.
    callbacks : callable or list of callables, default=None
        Each is called after every pass of joint learning as ``callback(machine, record)``, with an estimator that is fitted so
        far, and a copy of the pass's record in `history_`. When one returns True, training ends.
    warm_start : bool, default=False
        Whether `fit` goes on with joint learning from the last fit instead of starting anew.
    device : {"auto", "cpu", "cuda", "cuda:1", ...}, default="auto"
        Where to compute: "auto" is the GPU where `X` lives on one, as an array of CuPy's or of what speaks DLPack, else the
        CPU. Samples are the same everywhere; training agrees within rounding.

    Attributes
    ----------
    coefs_ : list of ndarray of shape (n_units_below, n_units_above)
        Weights, the lowest first. Float32 inside: a fit to float64 data shows the same numbers as float64.
    intercepts_ : list of ndarray of shape (n_units,)
        Biases of the hidden layers, the lowest first.
    intercept_visible_ : ndarray of shape (n_features,)
        Visible biases.
    n_layers_ : int
        Number of hidden layers.
    n_iter_ : int
        Passes of joint learning that `fit` has made, those before a warm start included.
    history_ : list of dict
        A record of each pass: "iteration", "learning_rate" and "n_gibbs_steps" of its last update, "mean_field_updates", the
        mean over the rows, and "mean_field_change", the largest change of a row's last update, "seconds"; with `verbose` or
        callbacks "reconstruction_error", that of up to 200 training rows.
    pretraining_history_ : list of dict
        A record of each pass of greedy training: "layer", from 1, and what the `history_` of a BernoulliRBM holds.
    n_mean_field_updates_ : float
        Mean-field updates of a row, the mean over the last pass; NaN before any.
    mean_field_change_ : float
        The largest change of a last mean-field update in that pass: above `mean_field_tol` where `mean_field_max_updates` were
        not enough.
    n_features_in_ : int
        Number of visible units.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, when `X` had them.
    device_ : str
        The device that was used, such as "cpu" or "cuda:0"; sampling goes on there. The arrays above live where `X` did.

    Notes
    -----
    Means between layers in greedy training are float32, held in memory: 4 bytes a row and hidden unit.

    There is no `score`: log p(v) is not known, and its bound, ``log_likelihood_bound(X, log_z).mean()``, wants log Z.

    References
    ----------
    .. [1] Salakhutdinov & Hinton, "Deep Boltzmann machines", AISTATS 2009.
    .. [2] Montavon & Müller, "Deep Boltzmann machines and the centering trick", in Neural Networks: Tricks of the Trade, 2012;
       Melchior, Fischer & Wiskott, "How to center deep Boltzmann machines", JMLR 17, 2016.

    Examples
    --------
    >>> from fastbm import DeepBoltzmannMachine, datasets
    >>> X, y = datasets.load_digits()
    >>> machine = DeepBoltzmannMachine((50, 40), batch_size=100, n_iter=3, random_state=0).fit(X)
    >>> machine.transform(X).shape
    (1797, 40)
    >>> machine.sample(5, n_steps=100).shape
    (5, 64)
    """

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
