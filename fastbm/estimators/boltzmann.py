"""BoltzmannMachine: the general Boltzmann machine, on any graph, behind scikit-learn's interface."""

from __future__ import annotations

from typing import Any

from sklearn.base import _fit_context

from fastbm.estimators._boltzmann_files import BoltzmannFiles
from fastbm.estimators._boltzmann_inference import BoltzmannInference
from fastbm.estimators._boltzmann_training import CONSTRAINTS


class BoltzmannMachine(BoltzmannInference, BoltzmannFiles):
    """Boltzmann machine with binary visible and hidden units, coupled as any graph has it.

    p(s) = exp(Σ_{i<j} w_ij s_i s_j + Σ_i b_i s_i) / Z, s being visible units, then hidden ones. Trained by the gradient of the
    log-likelihood [1]_: moments over the data less moments over the model, whose chains persist between updates [2]_. Without
    hidden units it is an Ising model, and training solves the inverse problem.

    Units without couplings among them are drawn together. Graphs of the two sides of a restricted machine, or of layers, are
    recognised, and give the chains of these machines, bit for bit.

    Parameters
    ----------
    n_hidden : int, default=0
        Number of hidden units.
    mask : {array-like, sparse matrix} of shape (n_units, n_units), default=None
        True where two units may be coupled: symmetric, False on the diagonal, visible units first. None couples all.
        With a sparse one `couplings_` is sparse.
    spin : bool, default=False
        Whether rows hold -1 and 1 instead of 0 and 1, in and out. The parameters are those for 0 and 1 in any case; see
        `spin_parameters`.
    learning_rate : float, default=0.1
        Step of the parameters along the gradient of the mean log-likelihood.
    batch_size : int, default=100
        Rows in a minibatch.
    n_iter : int, default=10
        Passes over the training data.
    verbose : int, default=0
        When not 0, shows a progress bar and prints the pseudo-likelihood of up to 200 rows of `X` after each pass.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights and of all chains; an int repeats the same results.
    n_chains : int, default=100
        Number of persistent chains.
    n_gibbs_steps : int, default=1
        Sweeps of the persistent chains for each update.
    data_phase : {"gibbs", "mean_field"}, default="gibbs"
        Where hidden units come from that are coupled to each other, given the data: a chain for each row, from fair coins, or
        mean-field probabilities, which are biased. Hidden units without couplings among them have their exact probabilities,
        and with "gibbs" up to 8 that have some.
    n_data_steps : int, default=10
        Sweeps of the hidden units with the data clamped, for "gibbs".
    hidden_first : float in [0, 1), default=0.3
        Fraction of a first call of `fit` in which couplings between visible units stay as they are, in machines with hidden
        units and with at least half of these couplings: when all learn at once, they match the moments of pairs before the
        hidden units have learnt anything, whose gradient then vanishes.
    momentum : float in [0, 1), default=0.0
        Fraction of the last step that is added to each step.
    l1, l2 : float, default=0.0
        Decay of the weights: the objective is reduced by l1 Σ|w| + l2/2 Σw².
    learning_rate_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        What `learning_rate` is multiplied by when a fraction t of a call of `fit` is done: 1; 1 - t; 1 / (1 + 9 t); or a
        function of t. `partial_fit` uses its value at 0.
    n_gibbs_steps_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        What `n_gibbs_steps` is multiplied by, the same way: 1; t; 1 / (1 + 9 (1 - t)); or a function of t.
    centered : bool, default=True
        Whether the gradient is centred [3]_: states enter the statistics less their means over the data.
    early_stopping : bool, default=False
        Whether to hold out rows, to end when their pseudo-likelihood does not rise, and to keep the parameters it was highest
        at.
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the rows that early stopping holds out; it scores up to 1,000 of them after each pass.
    n_iter_no_change : int, default=10
        Passes without a gain of more than `tol` after which early stopping ends the training.
    tol : float, default=1e-4
        Gain of the mean pseudo-likelihood, in nats.
    callbacks : callable or list of callables, default=None
        Each is called after every pass as ``callback(machine, record)``, with an estimator that is fitted so far, whose arrays
        the training goes on to change, and a copy of the pass's record in `history_`. When one returns True, training ends.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit instead of starting anew.
    device : {"auto", "cpu", "cuda", "cuda:1", ...}, default="auto"
        Where to compute: "auto" is the GPU where `X` lives on one, else the CPU. Samples are the same everywhere.

    Attributes
    ----------
    weights_ : ndarray of shape (n_couplings,)
        Couplings, each once.
    edges_ : ndarray of shape (n_couplings, 2)
        The two units of each coupling, the smaller first, ascending; visible units are numbered first.
    couplings_ : {ndarray, sparse array} of shape (n_units, n_units)
        The same as a symmetric matrix, made when it is asked for.
    intercept_visible_ : ndarray of shape (n_features,)
        Visible biases.
    intercept_hidden_ : ndarray of shape (n_hidden,)
        Hidden biases.
    n_iter_ : int
        Passes over data made by `fit`, those before a warm start included.
    history_ : list of dict
        A record of each pass: "iteration", "learning_rate" and "n_gibbs_steps" of its last update, "seconds"; with `verbose`
        or callbacks "pseudo_likelihood", the mean of up to 200 training rows; with early stopping "validation_score".
    n_features_in_ : int
        Number of visible units.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, when `X` had them.
    device_ : str
        The device that was used, such as "cpu" or "cuda:0"; sampling goes on there.

    References
    ----------
    .. [1] Ackley, Hinton & Sejnowski, "A learning algorithm for Boltzmann machines", Cognitive Science 9, 1985.
    .. [2] Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", ICML 2008.
    .. [3] Montavon & Müller, "Deep Boltzmann machines and the centering trick", 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbm import BoltzmannMachine
    >>> ring = np.roll(np.eye(6), 1, axis=1) + np.roll(np.eye(6), -1, axis=1)
    >>> magnet = BoltzmannMachine.from_couplings(0.5 * ring, spin=True, random_state=0)
    >>> magnet.sample(3, n_steps=100).shape
    (3, 6)
    >>> float(np.round(magnet.marginals([1, np.nan, np.nan, np.nan, np.nan, np.nan]).probabilities[1], 3))
    0.739
    """

    _parameter_constraints: dict = CONSTRAINTS

    def __init__(
        self,
        n_hidden=0,
        *,
        mask=None,
        spin=False,
        learning_rate=0.1,
        batch_size=100,
        n_iter=10,
        verbose=0,
        random_state=None,
        n_chains=100,
        n_gibbs_steps=1,
        data_phase="gibbs",
        n_data_steps=10,
        hidden_first=0.3,
        momentum=0.0,
        l1=0.0,
        l2=0.0,
        learning_rate_schedule="constant",
        n_gibbs_steps_schedule="constant",
        centered=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        callbacks=None,
        warm_start=False,
        device="auto",
    ):
        self.n_hidden = n_hidden
        self.mask = mask
        self.spin = spin
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state
        self.n_chains = n_chains
        self.n_gibbs_steps = n_gibbs_steps
        self.data_phase = data_phase
        self.n_data_steps = n_data_steps
        self.hidden_first = hidden_first
        self.momentum = momentum
        self.l1 = l1
        self.l2 = l2
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
            Training data of 0 and 1 (±1 of spins). Numbers between are probabilities: states are drawn with them, anew each
            time. Batches of an iterable, which may be larger than memory together, are cut into minibatches of at most
            `batch_size` rows; a generator allows ``n_iter=1`` only.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts; only their ratios matter. The weighted mean log-likelihood is then what is climbed.

        Returns
        -------
        self : BoltzmannMachine

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
        self : BoltzmannMachine
        """
        return self._partial_fit(X, sample_weight)

    def __sklearn_tags__(self):
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
