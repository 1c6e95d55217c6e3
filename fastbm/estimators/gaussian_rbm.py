"""GaussianRBM: the restricted Boltzmann machine with Gaussian visible units behind scikit-learn's interface."""

from __future__ import annotations

from numbers import Real
from typing import Any

from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval

from fastbm.estimators import _validation
from fastbm.estimators._gaussian_sampling import GaussianSampling
from fastbm.estimators._likelihood import Likelihood
from fastbm.estimators._training import CONSTRAINTS
from fastbm.machines.gaussian_rbm import GaussianRBM as Machine


class GaussianRBM(Likelihood, GaussianSampling):
    """Restricted Boltzmann machine with Gaussian visible and binary hidden units, for real-valued data.

    p(v, h) = exp(-Σ_i (v_i - a_i)² / (2σ_i²) + Σ_ij (v_i / σ_i) w_ij h_j + b h) / Z: given the hidden units, each visible one
    is normal with mean a_i + σ_i Σ_j w_ij h_j and deviation σ_i [7]_. Trained as :class:`BernoulliRBM` is; results depend on
    `random_state` alone, not on the number of threads. Features should have a mean of about 0 and a deviation of about 1:
    standardise them, or let `standardize` do it, because float32 loses what is finer than 1e-7 of the mean. All rows that are
    given or returned are in the units of the data then, too.

    Parameters
    ----------
    n_components : int, default=256
        Number of hidden units.
    learning_rate : float, default=0.01
        Step of the parameters along the gradient of the mean log-likelihood; of the visible biases in units of σ².
    sigma : float or array-like of shape (n_features,), default=1.0
        Deviations σ of the visible units given the hidden ones, as fractions of the features' own deviations with
        `standardize`; where training starts with `learn_sigma`.
    learn_sigma : bool, default=False
        Whether σ is learnt, through its logarithm [7]_. It stays above a hundredth of `sigma`. Where clusters of the data lie
        many σ apart, chains do not cross from one to the other, and ``algorithm="pt"`` is needed to weigh them.
    sigma_learning_rate : float, default=None
        Step of log σ along its gradient; `learning_rate` when None.
    standardize : bool, default=False
        Whether features are first brought to mean 0 and deviation 1, those of the data of the first call of `fit` or
        `partial_fit`; of the first batch where `X` is an iterable. Constant features are only shifted.
    batch_size : int, default=10
        Rows in a minibatch.
    n_iter : int, default=10
        Passes over the training data.
    verbose : int, default=0
        When not 0, shows a progress bar and prints the pseudo-likelihood of up to 200 rows of `X` after each pass.
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
        often [6]_, or themselves, from 1 down. They multiply what is not the visible units' own (v - a)² / (2σ²), so that
        each visible unit keeps its deviation at all of them.
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
        Whether the gradient is centred [4]_: hidden states enter the statistics less their means over the data, which are
        followed at a rate of 0.01 an update. Visible units are always taken from where the hidden ones leave them.
    early_stopping : bool, default=False
        Whether to hold out rows, to end when their pseudo-likelihood does not rise, and to keep the parameters it was highest
        at.
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the rows that early stopping holds out; it scores up to 1,000 of them after each pass.
    n_iter_no_change : int, default=50
        Passes without a gain of more than `tol` after which early stopping ends the training.
    tol : float, default=1e-4
        Gain of the mean pseudo-likelihood, in nats.
    callbacks : callable or list of callables, default=None
        Each is called after every pass as ``callback(machine, record)``, with an estimator that is fitted so far, whose arrays
        the training goes on to change, and a copy of the pass's record in `history_`. When one returns True, training ends.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit instead of starting anew.
    device : {"auto", "cpu", "cuda", "cuda:1", ...}, default="auto"
        Where to compute: "auto" is the GPU where `X` lives on one, as an array of CuPy's or of what speaks DLPack, else the
        CPU. Samples and training agree within rounding.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Weights; ``components_.T`` is W. Float32 inside: a fit to float64 data shows the same numbers as float64. Where data
        are standardised, these four are parameters of the standardised features.
    intercept_hidden_ : ndarray of shape (n_components,)
        Hidden biases b.
    intercept_visible_ : ndarray of shape (n_features,)
        Visible biases a.
    sigma_ : ndarray of shape (n_features,)
        Deviations σ.
    mean_ : ndarray of shape (n_features,)
        What is taken away from rows; with `standardize` only, as the next.
    scale_ : ndarray of shape (n_features,)
        What rows are then divided by: the features' deviations, 1 where a feature is constant.
    h_samples_ : ndarray of shape (n_chains, n_components)
        Hidden states of the chains.
    n_iter_ : int
        Passes over data made by `fit`, those before a warm start included.
    history_ : list of dict
        A record of each pass: "iteration", "learning_rate" and "n_gibbs_steps" of its last update, "seconds"; with `verbose`
        or callbacks "pseudo_likelihood", the mean of up to 200 training rows; with early stopping "validation_score"; with "pt"
        "swap_rate", that of the neighbours that exchange least. ``pandas.DataFrame(history_)`` is a table of it.
    betas_ : ndarray of shape (n_betas,)
        The inverse temperatures; with "pt" only, as the next.
    swap_rates_ : ndarray of shape (n_betas - 1,)
        How often neighbours exchanged their states in the last 100 rounds between two changes of the inverse temperatures.
    n_features_in_ : int
        Number of visible units.
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
    .. [7] Cho, Ilin & Raiko, "Improved learning of Gaussian-Bernoulli restricted Boltzmann machines", ICANN 2011.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastbm import GaussianRBM
    >>> X = load_iris().data
    >>> machine = GaussianRBM(n_components=8, learn_sigma=True, standardize=True, random_state=0).fit(X)
    >>> machine.sample(5, n_steps=100, random_state=0).shape
    (5, 4)
    """

    _parameter_constraints: dict = {
        **CONSTRAINTS,
        "sigma": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "learn_sigma": ["boolean"],
        "sigma_learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "standardize": ["boolean"],
    }

    def __init__(
        self,
        n_components=256,
        *,
        learning_rate=0.01,
        sigma=1.0,
        learn_sigma=False,
        sigma_learning_rate=None,
        standardize=False,
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
        n_iter_no_change=50,
        tol=1e-4,
        callbacks=None,
        warm_start=False,
        device="auto",
    ):
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.sigma = sigma
        self.learn_sigma = learn_sigma
        self.sigma_learning_rate = sigma_learning_rate
        self.standardize = standardize
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
        self.warm_start = warm_start
        self.device = device

    # ------------------------------------------------------------------------------------------------------- training

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the machine to `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or iterable of such batches
            Training data, real numbers; sparse minibatches are made dense. Arrays,
            those mapped from a file too, are never copied as a whole. Batches of an iterable, which may be larger than memory
            together, are cut into minibatches of at most `batch_size` rows; a generator allows ``n_iter=1`` only.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts; only their ratios matter. The weighted mean log-likelihood is then what is climbed.

        Returns
        -------
        self : GaussianRBM

        Raises
        ------
        ValueError
            When `X` or a parameter is not valid, or training diverges; an earlier fit is then untouched.
        """
        return self._fit(X, sample_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Make one update of the parameters, with all rows of `X` as one minibatch.

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
        self : GaussianRBM
        """
        return self._partial_fit(X, sample_weight)

    @classmethod
    def from_weights(cls, weights, visible_bias, hidden_bias, **parameters):
        """Return a fitted machine with the given parameters, to sample or to train further.

        Parameters
        ----------
        weights : array-like of shape (n_visible, n_hidden)
            The transpose of `components_`.
        visible_bias : array-like of shape (n_visible,)
        hidden_bias : array-like of shape (n_hidden,)
        **parameters
            Constructor parameters; `n_components` is n_hidden, and `sigma` gives the deviations. Nothing is standardised.

        Returns
        -------
        machine : GaussianRBM

        Raises
        ------
        ValueError
            When shapes do not match, or a value is not finite or too large to be sampled.
        """
        arrays = _validation.check_parameters(weights, visible_bias, hidden_bias)
        sigma = _validation.check_sigma(parameters.get("sigma", 1.0), len(arrays[1]))
        fields: Any = (*arrays, sigma.astype(arrays[0].dtype))
        return cls._from_machine(Machine(*fields), parameters)

    def __sklearn_tags__(self):
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
