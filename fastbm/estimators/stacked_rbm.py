"""StackedRBM: restricted Boltzmann machines on top of one another, behind scikit-learn's interface."""

from __future__ import annotations

from typing import Any

from sklearn.base import _fit_context

from fastbm.estimators._perceptrons import Perceptrons
from fastbm.estimators._stack_files import StackFiles
from fastbm.estimators._stack_training import STACK_CONSTRAINTS


class StackedRBM(Perceptrons, StackFiles):
    """Restricted Boltzmann machines on top of one another, each trained on the hidden means of the one below.

    Layer l, a :class:`fastbm.BernoulliRBM`, is trained greedily [1]_: when the layers below are, on p(h = 1 | means below) of
    layer l - 1, the first on the data. `transform` gives the means of the top layer, or of any other. The weights are a good
    start for a multi-layer perceptron that has few labels to learn from [2]_: `fine_tune`, `to_mlp_classifier` and
    `to_mlp_regressor` give scikit-learn's. A parameter marked "or one a layer" may be a sequence with a value for each layer.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of shape (n_layers,), default=(500, 500, 2000)
        Numbers of hidden units, the lowest layer first.
    learning_rate : float, or one a layer, default=0.1
        Step of the parameters along the gradient of the mean log-likelihood.
    batch_size : int, default=10
        Rows in a minibatch.
    n_iter : int, or one a layer, default=10
        Passes over the training data.
    verbose : int, default=0
        When not 0, shows a progress bar and prints the pseudo-likelihood of up to 200 rows after each pass of a layer.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights and of all chains; an int repeats the same results. The first layer has this
        `random_state`, those above ints that follow from its seed: no two layers share a random number.
    algorithm : {"pcd", "cd", "pt"}, or one a layer, default="pcd"
        How a layer is sampled for its statistics: by chains that persist between updates; by chains that start at each
        minibatch; or by parallel tempering, persistent chains at several inverse temperatures which exchange their states.
    n_gibbs_steps : int, or one a layer, default=1
        Sweeps of the chains for each update.
    n_chains : int, default=None
        Number of persistent chains of each layer; `batch_size` when None. With "cd" there is one for each row of the minibatch,
        with "pt" one at each inverse temperature for each of them.
    betas : int or array-like of shape (n_betas,), default=10
        Inverse temperatures of "pt": so many between 1 and 0, which are moved until all neighbours exchange their states as
        often, or themselves, from 1 down.
    momentum : float in [0, 1), or one a layer, default=0.0
        Fraction of the last step that is added to each step [3]_.
    l1, l2 : float, or one a layer, default=0.0
        Decay of the weights: the objective is reduced by l1 Σ|w| + l2/2 Σw².
    sparsity_target : float in (0, 1), or one a layer, default=None
        The mean activity that each hidden unit is pulled to [3]_; None pulls at none.
    sparsity_cost : float, or one a layer, default=0.01
        The objective is reduced by so much times the cross-entropy between the target and the mean activity, which is followed
        at a rate of 0.05 an update.
    learning_rate_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        What `learning_rate` is multiplied by when a fraction t of the training of a layer is done: 1; 1 - t; 1 / (1 + 9 t); or
        a function of t. `partial_fit` uses its value at 0.
    n_gibbs_steps_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        What `n_gibbs_steps` is multiplied by, the same way: 1; t; 1 / (1 + 9 (1 - t)); or a function of t. The number of
        sweeps is rounded, and at least 1.
    centered : bool, default=True
        Whether the gradient is centred [4]_: states enter the statistics less their means over the data, which are followed
        at a rate of 0.01 an update.
    early_stopping : bool, default=False
        Whether each layer holds out rows, ends when their pseudo-likelihood does not rise, and keeps the parameters it was
        highest at.
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the rows that early stopping holds out; it scores up to 1,000 of them after each pass.
    n_iter_no_change : int, default=10
        Passes without a gain of more than `tol` after which early stopping ends the training of a layer.
    tol : float, default=1e-4
        Gain of the mean pseudo-likelihood, in nats.
    callbacks : callable or list of callables, default=None
        Each is called after every pass of a layer as ``callback(stack, record)``, with a stack of the layers that are fitted so
        far, the number of the one in training being ``record["layer"]``, and a copy of the pass's record in `history_`. When
        one returns True, the training of that layer ends.
    shuffle : bool, default=True
        Whether each pass takes the rows in an order of its own, another in each layer. Batches of an iterable come as they are.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit, layer by layer, instead of starting anew.
    device : {"auto", "cpu", "cuda", "cuda:1", ...}, default="auto"
        Where to compute: "auto" is the GPU where `X` lives on one, as an array of CuPy's or of what speaks DLPack, else the
        CPU. Samples are the same everywhere; training agrees within rounding.

    Attributes
    ----------
    rbms_ : list of BernoulliRBM
        The layers, fitted, the lowest first. What follows, but for the features, is worked out from them.
    coefs_ : list of ndarray of shape (n_units_below, n_units)
        Weights of each layer; ``torch.nn.Linear`` takes ``torch.tensor(coef.T)`` of each as its weight.
    intercepts_ : list of ndarray of shape (n_units,)
        Hidden biases of each layer.
    intercepts_visible_ : list of ndarray of shape (n_units_below,)
        Visible biases of each layer, for the way down.
    n_layers_ : int
        Number of layers.
    n_iter_ : list of int
        Passes over data that `fit` has made with each layer, those before a warm start included.
    history_ : list of dict
        A record of each pass, layer by layer: "layer", from 0, and what the `history_` of a BernoulliRBM holds.
    n_features_in_ : int
        Number of visible units.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, when `X` had them.
    device_ : str
        The device that was used, such as "cpu" or "cuda:0". The arrays of the layers live where `X` did.

    Notes
    -----
    Means between layers are float32, worked out once for each layer, and held in memory: 4 bytes a row and hidden unit.

    References
    ----------
    .. [1] Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", Neural Computation 18, 2006.
    .. [2] Hinton & Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 313, 2006.
    .. [3] Hinton, "A practical guide to training restricted Boltzmann machines", 2012.
    .. [4] Melchior, Fischer & Wiskott, "How to center deep Boltzmann machines", JMLR 17, 2016.

    Examples
    --------
    >>> from fastbm import StackedRBM, datasets
    >>> X, y = datasets.load_digits()
    >>> stack = StackedRBM((50, 20), batch_size=100, n_iter=(3, 5), random_state=0).fit(X)
    >>> stack.transform(X).shape
    (1797, 20)
    >>> stack.transform(X, layers=1).shape
    (1797, 50)
    """

    _parameter_constraints: dict = STACK_CONSTRAINTS

    def __init__(
        self,
        hidden_layer_sizes=(500, 500, 2000),
        *,
        learning_rate=0.1,
        batch_size=10,
        n_iter=10,
        verbose=0,
        random_state=None,
        algorithm="pcd",
        n_gibbs_steps=1,
        n_chains=None,
        betas=10,
        momentum=0.0,
        l1=0.0,
        l2=0.0,
        sparsity_target=None,
        sparsity_cost=0.01,
        learning_rate_schedule="constant",
        n_gibbs_steps_schedule="constant",
        centered=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        callbacks=None,
        shuffle=True,
        warm_start=False,
        device="auto",
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state
        self.algorithm = algorithm
        self.n_gibbs_steps = n_gibbs_steps
        self.n_chains = n_chains
        self.betas = betas
        self.momentum = momentum
        self.l1 = l1
        self.l2 = l2
        self.sparsity_target = sparsity_target
        self.sparsity_cost = sparsity_cost
        self.learning_rate_schedule = learning_rate_schedule
        self.n_gibbs_steps_schedule = n_gibbs_steps_schedule
        self.centered = centered
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.shuffle = shuffle
        self.warm_start = warm_start
        self.device = device

    # ------------------------------------------------------------------------------------------------------- training

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Train the layers on `X`, one after the other.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or iterable of such batches
            Training data, between 0 and 1. Minibatches of only 0 and 1 are treated as states, others as probabilities. An
            iterable of batches must be one that can be iterated over again, and again; the means of all its batches, as one
            more iteration gives them, are what the second layer is trained on.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts, in all layers; only their ratios matter.

        Returns
        -------
        self : StackedRBM

        Raises
        ------
        ValueError
            When `X` or a parameter is not valid, or training diverges; an earlier fit is then untouched.
        """
        return self._fit(X, sample_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Make one update of every layer, the lowest first, with all rows of `X` as one minibatch.

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
        self : StackedRBM
        """
        return self._partial_fit(X, sample_weight)

    def __sklearn_tags__(self):
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
