"""RBMClassifier: a restricted Boltzmann machine of features and labels, behind scikit-learn's interface."""

from __future__ import annotations

from typing import Any

from sklearn.base import _fit_context

from fastbm import device
from fastbm.estimators import _labels, _validation
from fastbm.estimators._rbm_files import RBMFiles
from fastbm.estimators._rbm_labels import LabelledRBM, join
from fastbm.estimators._training import CONSTRAINTS
from fastbm.machines import labels
from fastbm.machines.rbm import RBM


class RBMClassifier(LabelledRBM, RBMFiles):
    """Classifier that is a generative model: a restricted Boltzmann machine whose visible units are features and labels.

    p(v, y, h) = exp(v W h + a v + U_y h + d_y + b h) / Z: a softmax group of label units, one of them on, is joined to the
    features [7]_. Predictions are exact, from free energies; rows can be sampled given a label, and labels with rows. It is
    trained as :class:`fastbm.BernoulliRBM` is, on rows and labels together: the gradient is that of log p(v, y).

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.
    learning_rate : float, default=0.1
        Step of the parameters along the gradient of the mean log-likelihood.
    batch_size : int, default=10
        Rows in a minibatch.
    n_iter : int, default=10
        Passes over the training data.
    verbose : int, default=0
        When not 0, shows a progress bar and prints the accuracy on up to 200 rows of `X` after each pass.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights and of all chains; an int repeats the same results.
    algorithm : {"pcd", "cd", "pt"}, default="pcd"
        How the model is sampled for its statistics: by chains that persist between updates [1]_; by chains that start at each
        minibatch [2]_; or by parallel tempering [5]_, persistent chains at several inverse temperatures which exchange their
        states.
    n_gibbs_steps : int, default=1
        Sweeps of the chains for each update.
    n_chains : int, default=None
        Number of persistent chains; `batch_size` when None. With "cd" there is one for each row of the minibatch, with "pt"
        one at each inverse temperature for each of them.
    betas : int or array-like of shape (n_betas,), default=10
        Inverse temperatures of "pt": so many between 1 and 0, which are moved until all neighbours exchange their states as
        often [6]_, or themselves, from 1 down.
    momentum : float in [0, 1), default=0.0
        Fraction of the last step that is added to each step [3]_.
    l1, l2 : float, default=0.0
        Decay of the weights: the objective is reduced by l1 Σ|w| + l2/2 Σw².
    sparsity_target : float in (0, 1), default=None
        The mean activity that each hidden unit is pulled to [3]_; None pulls at none.
    sparsity_cost : float, default=0.01
        The objective is reduced by so much times the cross-entropy between the target and the mean activity, which is followed
        at a rate of 0.05 an update.
    learning_rate_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        What `learning_rate` is multiplied by when a fraction t of a call of `fit` is done: 1; 1 - t; 1 / (1 + 9 t); or a
        function of t. `partial_fit` uses its value at 0.
    n_gibbs_steps_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        What `n_gibbs_steps` is multiplied by, the same way: 1; t; 1 / (1 + 9 (1 - t)); or a function of t. The number of
        sweeps is rounded, and at least 1.
    centered : bool, default=True
        Whether the gradient is centred [4]_: states enter the statistics less their means over the data, which are followed
        at a rate of 0.01 an update. Dark images on white are then learnt as well as white ones on dark, and most data better,
        though the first passes seem slower.
    early_stopping : bool, default=False
        Whether to hold out rows, to end when the accuracy on them does not rise, and to keep the parameters it was highest at.
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the rows that early stopping holds out; it scores up to 1,000 of them after each pass.
    n_iter_no_change : int, default=10
        Passes without a gain of more than `tol` after which early stopping ends the training.
    tol : float, default=1e-4
        Gain of the accuracy.
    callbacks : callable or list of callables, default=None
        Each is called after every pass as ``callback(machine, record)``, with an estimator that is fitted so far, whose arrays
        the training goes on to change, and a copy of the pass's record in `history_`. When one returns True, training ends.
    shuffle : bool, default=True
        Whether each pass takes the rows in an order of its own; otherwise they come as they stand, which data sorted by class
        are not fit for.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit instead of starting anew.
    device : {"auto", "cpu", "cuda", "cuda:1", ...}, default="auto"
        Where to compute: "auto" is the GPU where `X` lives on one, as an array of CuPy's or of what speaks DLPack, else the
        CPU. Samples are the same everywhere; training agrees within rounding.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Weights; ``components_.T`` is W. Float32 inside: a fit to float64 data shows the same numbers as float64.
    intercept_hidden_ : ndarray of shape (n_components,)
        Hidden biases b.
    intercept_visible_ : ndarray of shape (n_features,)
        Biases a of the features.
    class_components_ : ndarray of shape (n_components, n_classes)
        Weights of the label units; ``class_components_.T`` is U.
    intercept_class_ : ndarray of shape (n_classes,)
        Biases d of the label units.
    classes_ : ndarray of shape (n_classes,)
        The labels, in order.
    h_samples_ : ndarray of shape (n_chains, n_components)
        Hidden states of the chains.
    n_iter_ : int
        Passes over data made by `fit`, those before a warm start included.
    history_ : list of dict
        A record of each pass: "iteration", "learning_rate" and "n_gibbs_steps" of its last update, "seconds"; with `verbose`
        or callbacks "accuracy", that on up to 200 training rows; with early stopping "validation_score"; with "pt" "swap_rate",
        that of the neighbours that exchange least. ``pandas.DataFrame(history_)`` is a table of it.
    betas_ : ndarray of shape (n_betas,)
        The inverse temperatures; with "pt" only, as the next.
    swap_rates_ : ndarray of shape (n_betas - 1,)
        How often neighbours exchanged their states in the last 100 rounds between two changes of the inverse temperatures.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, when `X` had them.
    device_ : str
        The device that was used, such as "cpu" or "cuda:0"; sampling goes on there. The arrays above live where `X` did.

    Notes
    -----
    Kernels are compiled when they are first used, and kept on disk. They use as many threads as NUMBA_NUM_THREADS, or
    ``numba.set_num_threads``, says; all cores by default.

    References
    ----------
    .. [1] Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML 2008.
    .. [2] Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14, 2002.
    .. [3] Hinton, "A practical guide to training restricted Boltzmann machines", 2012.
    .. [4] Melchior, Fischer & Wiskott, "How to center deep Boltzmann machines", JMLR 17, 2016.
    .. [5] Desjardins, Courville, Bengio, Vincent & Delalleau, "Tempered Markov chain Monte Carlo for training of restricted
       Boltzmann machines", AISTATS 2010.
    .. [6] Syed, Bouchard-Côté, Deligiannidis & Doucet, "Non-reversible parallel tempering", JRSS B 84, 2022.
    .. [7] Larochelle & Bengio, "Classification using discriminative restricted Boltzmann machines", ICML 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbm import RBMClassifier
    >>> X = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])
    >>> y = ["left", "left", "right", "right"]
    >>> machine = RBMClassifier(n_components=4, n_iter=2000, random_state=0).fit(X, y)
    >>> machine.predict([[0, 1, 0, 0], [0, 0, 1, 0]]).tolist()
    ['left', 'right']
    >>> rows, labels = machine.sample(5, y="left", n_steps=100)
    >>> rows.shape, labels.shape
    ((5, 4), (5,))
    """

    _parameter_constraints: dict = CONSTRAINTS | {"shuffle": ["boolean"]}
    _measure, _digits = "accuracy", 4

    def __init__(
        self,
        n_components=256,
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
        self.n_components = n_components
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
    def fit(self, X, y, sample_weight=None):
        """Fit the machine to `X` and its labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, between 0 and 1. Minibatches of only 0 and 1 are treated as states, others as probabilities. Arrays,
            those mapped from a file too, are never copied as a whole.
        y : array-like of shape (n_samples,)
            Labels: integers or strings, of at least two classes. With `warm_start` they must be among `classes_`.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts; only their ratios matter.

        Returns
        -------
        self : RBMClassifier

        Raises
        ------
        ValueError
            When `X`, `y` or a parameter is not valid, or training diverges; an earlier fit is then untouched.
        """
        return self._fit(X, sample_weight, y=y)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Make one update of the parameters, with all rows of `X` as one minibatch.

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
        self : RBMClassifier

        Raises
        ------
        ValueError
            When an argument is not valid, or a label is none of the classes.
        """
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError("classes must be passed in the first call of partial_fit: all the labels that there will be")
        return self._partial_fit(X, sample_weight, y=y, classes=classes)

    def _take(self, X, sample_weight=None, *, fresh, y=None, classes=None):
        """Return the data with their labels, and what will be fitted besides the training state."""
        y = _labels.check(y)
        data, fitted = super()._take(X, sample_weight, fresh=fresh)
        numbers, classes = _labels.numbered(y, classes, self.classes_ if "gibbs_updates" in fitted else None)
        data.label(numbers, len(classes))
        fitted["features"]["classes_"] = classes
        return data, fitted

    def _measured(self, state, rows, numbers, scaling) -> float:
        predicted = device.to_host(labels.class_logits(state.machine, rows, state.n_labels).argmax(axis=1))
        return float((predicted == numbers).mean())

    # ----------------------------------------------------------------------------------------- from and to other places

    @classmethod
    def from_weights(cls, weights, visible_bias, hidden_bias, class_weights, class_bias, classes=None, **parameters):
        """Return a fitted machine with the given parameters, to predict, to sample or to train further.

        Parameters
        ----------
        weights : array-like of shape (n_features, n_hidden)
            The transpose of `components_`.
        visible_bias : array-like of shape (n_features,)
        hidden_bias : array-like of shape (n_hidden,)
        class_weights : array-like of shape (n_classes, n_hidden)
            The transpose of `class_components_`.
        class_bias : array-like of shape (n_classes,)
        classes : array-like of shape (n_classes,), default=None
            The labels, in order; 0 … n_classes - 1 when None.
        **parameters
            Constructor parameters; `n_components` is n_hidden.

        Returns
        -------
        machine : RBMClassifier

        Raises
        ------
        ValueError
            When shapes do not match, labels are not in order, or a value is not finite or too large to be sampled.
        """
        machine = _joint(weights, visible_bias, hidden_bias, class_weights, class_bias)
        n_classes = len(class_bias)
        features = {"n_features_in_": len(visible_bias), "classes_": _labels.classes_given(classes, n_classes)}
        return cls._from_machine(machine, parameters, features)

    def _saved_classes(self) -> dict:
        return _labels.to_header(self.classes_)

    @classmethod
    def _machine_of_file(cls, arrays):
        components, visible_bias, hidden_bias, class_components, class_bias = (arrays[name] for name in cls._parameters)
        return _joint(components.T, visible_bias, hidden_bias, class_components.T, class_bias)

    @classmethod
    def _features_of_file(cls, header, machine):
        classes = _labels.from_header(header)
        return {"n_features_in_": machine.weights.shape[0] - len(classes), "classes_": classes}

    def __sklearn_tags__(self):
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.classifier_tags.poor_score = True  # as BernoulliNB's: its checks' features are not between 0 and 1
        return tags


def _joint(weights, visible_bias, hidden_bias, class_weights, class_bias) -> RBM:
    """Return the machine of parameters given by hand, labels last, after checking them."""
    features = RBM(*_validation.check_parameters(weights, visible_bias, hidden_bias))
    names = ("class_weights", "class_bias", "hidden_bias")
    class_weights, class_bias, _ = _validation.check_parameters(class_weights, class_bias, hidden_bias, names)
    return join(features, class_weights, class_bias)
