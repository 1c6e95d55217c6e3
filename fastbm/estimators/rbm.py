"""BernoulliRBM: the restricted Boltzmann machine behind scikit-learn's interface."""

from __future__ import annotations

import sys
import time
from copy import copy
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from tqdm.auto import tqdm

from fastbm import chain, device
from fastbm.chain import Purpose
from fastbm.estimators import _training_data, _validation
from fastbm.estimators._rbm_files import RBMFiles
from fastbm.estimators._rbm_sampling import RBMSampling
from fastbm.evaluation.pseudo_likelihood import pseudo_likelihood
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains
from fastbm.training import contrastive_divergence, schedules
from fastbm.training.contrastive_divergence import Offsets

LARGEST_FLOAT = float(np.finfo(np.float32).max)
VERBOSE_ROWS = 200
"""Rows that the pseudo-likelihood of a verbose line is the mean over."""


class BernoulliRBM(RBMSampling, RBMFiles):
    """Restricted Boltzmann machine with binary visible and hidden units.

    p(v, h) = exp(v W h + a v + b h) / Z. A drop-in replacement of :class:`sklearn.neural_network.BernoulliRBM`: the
    parameters before `algorithm` and the fitted attributes are scikit-learn's. Trained by persistent contrastive divergence
    [1]_ or contrastive divergence [2]_; results depend on `random_state` alone, not on the number of threads.

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
        When not 0, shows a progress bar and prints the pseudo-likelihood of up to 200 rows of `X` after each pass.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights and of all chains; an int repeats the same results.
    algorithm : {"pcd", "cd"}, default="pcd"
        Whether the chains of the negative phase persist between updates, or start at each minibatch.
    n_gibbs_steps : int, default=1
        Sweeps of the chains for each update.
    n_chains : int, default=None
        Number of persistent chains; `batch_size` when None. With "cd" there is one for each row of the minibatch.
    momentum : float in [0, 1), default=0.0
        Fraction of the last step that is added to each step [3]_.
    l1, l2 : float, default=0.0
        Decay of the weights: the objective is reduced by l1 Σ|w| + l2/2 Σw².
    learning_rate_schedule : {"constant", "linear"} or callable, default="constant"
        What `learning_rate` is multiplied by: 1; from 1 down to 0 in each call of `fit`; or a function of the fraction of
        the call that is done. `partial_fit` uses its value at 0.
    centered : bool, default=False
        Whether the gradient is centred [4]_: states enter the statistics less their means over the data, which are followed
        at a rate of 0.01 an update. Dark images on white are then learnt as well as white ones on dark, and most data better,
        though the first passes seem slower.
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
        Visible biases a.
    h_samples_ : ndarray of shape (n_chains, n_components)
        Hidden states of the chains.
    n_iter_ : int
        Passes over data made by `fit`, those before a warm start included.
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

    Examples
    --------
    >>> import numpy as np
    >>> from fastbm import BernoulliRBM
    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> machine = BernoulliRBM(n_components=2, random_state=0).fit(X)
    >>> machine.sample(5, n_steps=100, random_state=0).shape
    (5, 3)
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "algorithm": [StrOptions({"pcd", "cd"})],
        "n_gibbs_steps": [Interval(Integral, 1, None, closed="left")],
        "n_chains": [Interval(Integral, 1, None, closed="left"), None],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "l1": [Interval(Real, 0, None, closed="left")],
        "l2": [Interval(Real, 0, None, closed="left")],
        "learning_rate_schedule": [StrOptions(set(schedules.SCHEDULES)), callable],
        "centered": ["boolean"],
        "warm_start": ["boolean"],
        "device": [str],
    }

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
        momentum=0.0,
        l1=0.0,
        l2=0.0,
        learning_rate_schedule="constant",
        centered=False,
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
        self.momentum = momentum
        self.l1 = l1
        self.l2 = l2
        self.learning_rate_schedule = learning_rate_schedule
        self.centered = centered
        self.warm_start = warm_start
        self.device = device

    # ------------------------------------------------------------------------------------------------------- training

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Fit the machine to `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or iterable of such batches
            Training data, between 0 and 1. Minibatches of only 0 and 1 are treated as states, others as probabilities. Arrays,
            those mapped from a file too, are never copied as a whole. Batches of an iterable, which may be larger than memory
            together, are cut into minibatches of at most `batch_size` rows; a generator allows ``n_iter=1`` only.
        y : None
            Ignored.

        Returns
        -------
        self : BernoulliRBM

        Raises
        ------
        ValueError
            When `X` or a parameter is not valid, or training diverges; an earlier fit is then untouched.
        """
        data, fitted = self._take(X, fresh=not self.warm_start)
        with device.using(fitted["device"]):
            return self._set_fitted(self._train(data, self._begin(data, fitted), fitted), **fitted)

    def _train(self, data, state, fitted):
        """Make `n_iter` passes; return the state after them."""
        key = chain.stream_key(fitted["seed"], Purpose.TRAINING)
        n_iter, size = int(self.n_iter), int(self.batch_size)  # NumPy's integers would overflow
        n_batches, warned = data.count(size), False
        total = n_batches and n_iter * n_batches
        with tqdm(total=total, disable=not self.verbose, desc="fitting", unit="batch", mininterval=0.5) as bar:
            for iteration in range(n_iter):
                begin = time.perf_counter()
                for rows, fraction in data.minibatches(size):
                    state, grey = self._update(state, data, rows, key, (iteration + fraction) / n_iter)
                    warned = warned or self._warn(data, rows, grey, 5)
                    bar.update()
                rbm.check(state.exact, state.machine)
                fitted["n_iter"] += 1
                if self.verbose:
                    self._print_line(fitted["n_iter"], state.machine, data, time.perf_counter() - begin)
        return state

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Make one update of the parameters, with all rows of `X` as one minibatch.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or iterable of such batches
            With an iterable, one update is made for each batch.
        y : None
            Ignored.

        Returns
        -------
        self : BernoulliRBM
        """
        data, fitted = self._take(X, fresh=False)
        key, warned = chain.stream_key(fitted["seed"], Purpose.TRAINING), False
        with device.using(fitted["device"]):
            state = self._begin(data, fitted)
            for rows, _ in data.minibatches(sys.maxsize):
                state, grey = self._update(state, data, rows, key, 0.0)
                warned = warned or self._warn(data, rows, grey, 4)
            rbm.check(state.exact, state.machine)
            return self._set_fitted(state, **fitted)

    def _take(self, X, *, fresh) -> tuple[Any, dict[str, Any]]:
        """Return the data, and what will be fitted besides the training state; the estimator is not changed."""
        fresh = fresh or not hasattr(self, "components_")
        device.resolve(self.device)  # its errors come first
        recipient = copy(self) if fresh else self  # validate_data writes on its estimator
        data = _training_data.of(recipient, X, reset=fresh)
        fitted: dict[str, Any] = {"n_iter": 0, "device": device.resolve(self.device, data.sample), "home": data.home}
        fitted["features"] = {name: value for name, value in vars(recipient).items() if name.endswith("_in_")}
        if fresh:
            return data, fitted | {"dtype": data.dtype, "seed": _validation.resolve_seed(self.random_state)}
        self._machine()  # attributes set by hand fit together
        if self.n_components != self.components_.shape[0]:
            raise ValueError(
                f"n_components={self.n_components} does not match the {self.components_.shape[0]} hidden units already fitted; "
                "fit anew, with warm_start=False, to change it"
            )
        if self.algorithm == "pcd" and self.n_chains not in (None, self.h_samples_.shape[0]):
            raise ValueError(
                f"n_chains={self.n_chains} does not match the {self.h_samples_.shape[0]} chains that already run; "
                "fit anew, with warm_start=False, to change it"
            )
        fitted |= {"dtype": self.components_.dtype, "seed": self._seed, "n_iter": self.n_iter_}
        return data, fitted | {"gibbs_updates": self._gibbs_updates}

    def _begin(self, data, fitted) -> contrastive_divergence.State:
        """Move the data to the device; return a training state there, all copies: a fit that fails changes nothing."""
        data.move(fitted["device"])
        if "gibbs_updates" in fitted:
            return self._state(fitted["device"])
        machine = self._initial_machine(data.n_features, fitted["seed"])
        machine = RBM(*(device.to_device(array, fitted["device"]) for array in machine))
        return contrastive_divergence.init(machine, int(self.n_chains or self.batch_size))

    def _initial_machine(self, n_features, seed) -> RBM:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(Purpose.INITIALIZATION),)))
        weights = rng.normal(0.0, 0.01, (n_features, self.n_components)).astype(np.float32)
        return RBM(weights, np.zeros(n_features, np.float32), np.zeros(self.n_components, np.float32))

    def _state(self, home="cpu") -> contrastive_divergence.State:
        """Return a training state on a device, which goes on from the fitted attributes, which may have been set by hand."""

        def take(array, dtype: Any = np.float32):
            return device.to_device(array, home).astype(dtype, order="C", copy=True)

        machine = RBM(*map(take, self._machine()))
        self._check_chains()
        velocity, offsets = self._carried()
        velocity, offsets = velocity and RBM(*map(take, velocity)), offsets and Offsets(*map(take, offsets))
        hidden = device.to_device(chain.pack(device.to_host(self.h_samples_)), home)
        chains = Chains(take(self._visible_chains, np.uint64), hidden, self._updates)
        return contrastive_divergence.resume(machine, velocity, chains, offsets)

    def _update(self, state, data, rows, key, fraction):
        """Make one update; return the state, and whether the minibatch had other values than 0 and 1."""
        rate = float(self.learning_rate) * schedules.factor(self.learning_rate_schedule, fraction)
        state, rows = contrastive_divergence.prepare(state, rows, data.binary)
        if len(rows.grey) and not (data.range and max(map(abs, data.range)) <= LARGEST_FLOAT):
            _validation.check_finite(self, rows.grey)
        state, _ = contrastive_divergence.step(
            state, rows, key=key, persistent=self.algorithm == "pcd", n_steps=int(self.n_gibbs_steps),
            learning_rate=rate, momentum=float(self.momentum), l1=float(self.l1), l2=float(self.l2),
            centered=bool(self.centered),
        )  # fmt: skip
        return state, len(rows.grey) > 0

    def _warn(self, data, rows, grey, stacklevel) -> bool:
        """Warn when values of a minibatch do not lie between 0 and 1; return whether that was said."""
        low, high = (data.range or _training_data.extent(rows)) if grey else (0, 1)
        if low >= 0 and high <= 1:
            return False
        return _validation.warn_outside_unit_interval(*data.extent(rows), stacklevel=stacklevel)

    def _print_line(self, iteration, machine, data, seconds):
        rows = device.to_device(data.some(VERBOSE_ROWS), device.home_of(machine.weights))
        score = float(pseudo_likelihood(machine, rows).mean())
        name = type(self).__name__
        tqdm.write(f"[{name}] Iteration {iteration}, pseudo-likelihood = {score:.2f}, time = {seconds:.2f}s")

    def __sklearn_tags__(self):
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
