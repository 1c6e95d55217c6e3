"""DeepBeliefNetwork: directed layers under a restricted Boltzmann machine, behind scikit-learn's interface."""

from __future__ import annotations

from sklearn.base import _fit_context

from fastbm.estimators._dbn_files import DBNFiles
from fastbm.estimators._dbn_training import DBN_CONSTRAINTS
from fastbm.estimators.rbm import BernoulliRBM


class DeepBeliefNetwork(DBNFiles):
    """Deep belief network, trained greedily and fine-tuned by up–down, the contrastive form of wake–sleep [1]_ [2]_.

    p(v, h¹, …, h^L) = p(v | h¹) p(h¹ | h²) … p(h^(L-1), h^L): a restricted Boltzmann machine on top, directed layers of binary
    units below. Layers are first trained one on the other, as those of a :class:`fastbm.StackedRBM`. Then the weights that lead
    up, which recognise, are untied from those that lead down, which generate, and all are adjusted together. With one hidden
    layer, and `up_down_n_iter` 0, it is a :class:`fastbm.BernoulliRBM`.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of shape (n_layers,), default=(500, 500, 2000)
        Numbers of hidden units, the lowest layer first; the last is that of the machine on top.
    learning_rate : float, or one a layer, default=0.1
        Greedy training: step along the gradient of the mean log-likelihood.
    batch_size : int, default=10
        Rows in a minibatch, in all training.
    n_iter : int, or one a layer, default=10
        Greedy training: passes over the data.
    verbose : int, default=0
        When not 0, shows progress bars and prints the error of reconstruction of up to 200 rows after each pass of up–down.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights and of all that is drawn; an int repeats the same results.
    algorithm : {"pcd", "cd", "pt"}, or one a layer, default="pcd"
        Greedy training: how a layer is sampled for its statistics, see :class:`fastbm.BernoulliRBM`.
    n_gibbs_steps : int, or one a layer, default=1
        Greedy training: sweeps of the chains for each update.
    n_chains : int, default=None
        Number of persistent chains of each layer; `batch_size` when None.
    betas : int or array-like of shape (n_betas,), default=10
        Inverse temperatures of "pt".
    momentum : float in [0, 1), or one a layer, default=0.0
        Greedy training: fraction of the last step that is added to each step.
    l1, l2 : float, or one a layer, default=0.0
        Greedy training: decay of the weights.
    sparsity_target : float in (0, 1), or one a layer, default=None
        Greedy training: the mean activity that each hidden unit is pulled to.
    sparsity_cost : float, or one a layer, default=0.01
        Greedy training: how hard.
    learning_rate_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        Greedy training: what `learning_rate` is multiplied by when a fraction t of the training of a layer is done: 1; 1 - t;
        1 / (1 + 9 t); or a function of t.
    n_gibbs_steps_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        Greedy training: what `n_gibbs_steps` is multiplied by: 1; t; 1 / (1 + 9 (1 - t)); or a function of t.
    centered : bool, default=False
        Greedy training: whether the gradient is centred. Centred layers have about half of their units on; plain ones, of data
        that are mostly 0, far fewer, and rows of few units that are on are what up–down is fast for.
    up_down_n_iter : int, default=10
        Up–down: passes over the data. With 0 the network is that of greedy training, its weights untied.
    up_down_learning_rate : float, default=0.05
        Up–down: step of recognition and generative weights.
    top_learning_rate : float, default=None
        Up–down: step of the machine on top; `up_down_learning_rate` when None.
    up_down_learning_rate_schedule : {"constant", "linear", "inverse"} or callable, default="linear"
        What both are multiplied by, as for `learning_rate_schedule`. `partial_fit` uses its value at 0.
    up_down_momentum : float in [0, 1), default=0.0
        Up–down: fraction of the last step that is added to each step.
    up_down_l2 : float, default=0.0
        Up–down: decay of all weights.
    top_algorithm : {"cd", "pcd"}, default="cd"
        Up–down: whether chains of the machine on top start at what was drawn from the data, as in [1]_, or go on from where
        they were. The dreams of the sleep phase begin where they end.
    n_top_gibbs_steps : int, default=3
        Up–down: sweeps of the machine on top for each update.
    n_top_gibbs_steps_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        What that is multiplied by, as for `n_gibbs_steps_schedule`.
    shuffle : bool, default=True
        Whether each pass takes the rows in an order of its own. Batches of an iterable come as they are.
    callbacks : callable or list of callables, default=None
        Each is called after every pass of up–down as ``callback(network, record)``, with an estimator that is fitted so far,
        whose arrays the training may go on to change, and a copy of the pass's record in `history_`. When one returns True,
        training ends.
    warm_start : bool, default=False
        Whether `fit` goes on with up–down from the last fit instead of starting anew.
    device : {"auto", "cpu", "cuda", "cuda:1", ...}, default="auto"
        Where to compute: "auto" is the GPU where `X` lives on one, as an array of CuPy's or of what speaks DLPack, else the
        CPU. Samples are the same everywhere; training agrees within rounding.

    Attributes
    ----------
    coefs_ : list of ndarray of shape (n_units_below, n_units_above)
        Recognition weights, of all hidden layers but the top one, the lowest first.
    intercepts_ : list of ndarray of shape (n_units_above,)
        Recognition biases.
    generative_coefs_ : list of ndarray of shape (n_units_above, n_units_below)
        Generative weights, the lowest layer first.
    generative_intercepts_ : list of ndarray of shape (n_units_below,)
        Generative biases.
    top_ : BernoulliRBM
        The machine on top, fitted: its features are the units of the last layer but one.
    n_layers_ : int
        Number of hidden layers.
    n_iter_ : int
        Passes of up–down that `fit` has made, those before a warm start included.
    history_ : list of dict
        A record of each pass of up–down: "iteration", "learning_rate", "top_learning_rate" and "n_gibbs_steps" of its last
        update, "seconds"; with `verbose` or callbacks "reconstruction_error", that of up to 200 training rows.
    pretraining_history_ : list of dict
        A record of each pass of greedy training: "layer", from 0, and what the `history_` of that machine holds.
    n_features_in_ : int
        Number of visible units.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, when `X` had them.
    device_ : str
        The device that was used, such as "cpu" or "cuda:0"; sampling goes on there. The arrays above live where `X` did.

    Notes
    -----
    Means between layers in greedy training are float32, held in memory: 4 bytes a row and hidden unit.

    References
    ----------
    .. [1] Hinton, Osindero & Teh, "A fast learning algorithm for deep belief nets", Neural Computation 18, 2006.
    .. [2] Hinton, Dayan, Frey & Neal, "The wake-sleep algorithm for unsupervised neural networks", Science 268, 1995.

    Examples
    --------
    >>> from fastbm import DeepBeliefNetwork, datasets
    >>> X, y = datasets.load_digits()
    >>> network = DeepBeliefNetwork((50, 40, 60), batch_size=100, n_iter=3, up_down_n_iter=2, random_state=0).fit(X)
    >>> network.transform(X).shape
    (1797, 60)
    >>> network.sample(5, n_steps=100).shape
    (5, 64)
    """

    _top_class = BernoulliRBM
    _parameter_constraints: dict = DBN_CONSTRAINTS

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Train the layers on `X` greedily, then the whole network by up–down.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or iterable of such batches
            Training data, between 0 and 1. Minibatches of only 0 and 1 are treated as states, others as probabilities; the
            dreams of the sleep phase are then grey too. An iterable must be one that can be iterated over again.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts; only their ratios matter.

        Returns
        -------
        self : DeepBeliefNetwork

        Raises
        ------
        ValueError
            When `X` or a parameter is not valid, or training diverges; an earlier fit is then untouched.
        """
        return self._fit(X, sample_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Make one update of up–down, with all rows of `X` as one minibatch.

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
        self : DeepBeliefNetwork
        """
        return self._partial_fit(X, sample_weight)

    def sample(
        self, n_samples=1, *, n_steps=1000, clamp=None, init=None, beta=1.0, return_mean=False, random_state=None
    ):  # fmt: skip
        """Draw visible rows: Gibbs sampling in the machine on top, one chain a row, then one pass down.

        Row i does not depend on `n_samples`, nor on threads or hardware. Fitted attributes are not changed.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        n_steps : int, default=1000
            Sweeps of the machine on top.
        clamp : array-like of shape (n_features,) or (n_samples, n_features), default=None
            0 or 1 where a visible unit is held at that value, NaN where it is free. Each of the `n_steps` then goes up by the
            recognition weights, makes a sweep of the machine on top, and comes down again: an approximation, as far as
            recognition is one. With one hidden layer it is exact.
        init : None, "chains" or array-like of shape (n_features,) or (n_samples, n_features), default=None
            Where chains of the machine on top start: at fair coins; at those of training; or at what is drawn, by the
            recognition weights, from visible rows of 0 and 1.
        beta : float or array-like of shape (n_samples,), default=1.0
            Inverse temperature of the machine on top, one for all or one a chain; directed layers have none.
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
