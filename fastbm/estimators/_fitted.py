"""What a restricted Boltzmann machine is after fitting: the attributes that the parts of its estimator share."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastbm import kernels
from fastbm.device import home_of, namespace, resolve, to_device, to_host, using
from fastbm.estimators import _sampling, _validation
from fastbm.machines import rbm
from fastbm.machines.rbm import RBM, Chains, RoundedRBM
from fastbm.training import ascent
from fastbm.training.ascent import Offsets, State
from fastbm.training.tempering import Ladder

_last_rounded: WeakKeyDictionary[BaseEstimator, tuple[RBM, RoundedRBM]] = WeakKeyDictionary()
"""The rounding of each estimator when it was last sampled, and what was rounded."""


class FittedRBM(BaseEstimator):
    """Fitted attributes; public ones are documented by the estimator.

    `_model` is the module of the machine's mathematics, `_rule` that of its learning, `_parameters` the attributes that are its
    parameters: class attributes, which an estimator of another machine sets.
    """

    _model: Any = rbm
    _rule: Any = ascent
    _parameters: tuple[str, ...] = ("components_", "intercept_visible_", "intercept_hidden_")

    components_: np.ndarray
    intercept_hidden_: np.ndarray
    intercept_visible_: np.ndarray
    h_samples_: np.ndarray
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    device_: str
    _n_features_out: int
    _seed: int
    _updates: int  # block updates that the training chains have had
    _gibbs_updates: int  # block updates that calls of gibbs have made
    _visible_chains: np.ndarray  # packed
    _velocity: RBM | None
    history_: list[dict] = []  # pickles of before there were any lack this, and the next four
    _offsets: Offsets | None = None
    _activity: np.ndarray | None = None
    _ladder: Ladder | None = None
    _tempered: tuple = ()  # packed states, visible and hidden, of the chains at other inverse temperatures than 1
    betas_: np.ndarray
    swap_rates_: np.ndarray

    # constructor parameters
    n_components: int
    batch_size: int
    n_chains: int | None
    verbose: int
    random_state: Any
    learning_rate_schedule: Any
    device: str

    def _machine(self) -> RBM:
        """Return the parameters, which users may have set by hand; ValueError when they do not fit together."""
        check_is_fitted(self)
        home = home_of(self.components_)
        arrays: Any = [to_device(array, home) for array in (self.components_, self.intercept_visible_, self.intercept_hidden_)]
        if home == "cpu":
            arrays = [np.asarray(array) for array in arrays]
        arrays[0] = arrays[0].T
        shapes = [array.shape for array in arrays]
        n_features = getattr(self, "n_features_in_", shapes[0][0] if shapes[0] else 0)
        if len(shapes[0]) != 2 or shapes[0][0] != n_features or shapes[1:] != [(size,) for size in shapes[0]]:
            raise ValueError(
                f"components_, intercept_visible_ and intercept_hidden_ of shapes {shapes[0][::-1]}, {shapes[1]}, {shapes[2]} "
                f"do not fit together with {n_features} features; see {type(self).__name__}.from_weights"
            )
        return RBM(*map(_as_floats, arrays))

    def _machine_on(self, home: str) -> RBM:
        """Return the parameters where rows live that they are to be multiplied with."""
        machine = self._machine()
        return type(machine)(*(to_device(array, home) for array in machine))

    def _carried(self) -> tuple[RBM | None, Offsets | None, np.ndarray | None]:
        """Return the last steps, the offsets and the activity; None where parameters set by hand have other shapes."""
        shapes = [array.shape for array in self._machine()]
        velocity, offsets, activity = self._velocity, self._offsets, self._activity
        return (
            velocity if velocity and [array.shape for array in velocity] == shapes else None,
            offsets if offsets and [array.shape for array in offsets] == shapes[1:3] else None,
            activity if activity is not None and activity.shape == shapes[2] else None,
        )

    def _check_chains(self) -> None:
        """Raise ValueError when `h_samples_` was set by hand to what are no states of the chains."""
        states, shape = np.asarray(to_host(self.h_samples_)), (len(self._visible_chains), self.components_.shape[0])
        if states.shape != shape or not ((states == 0) | (states == 1)).all():
            raise ValueError(f"h_samples_ must be 0 and 1 of shape {shape}, got an array of shape {states.shape}")

    def _chain_rows(self):
        """Return the visible rows of the training chains, as the machine knows them."""
        n_visible = self._machine()[1].shape[0]
        with using(home_of(self._visible_chains)):
            return kernels.unpack(self._visible_chains, n_visible, np.float32)

    def _visible_rows(self, chains: Chains, beta, clamp, mean: bool):
        """Return the features of chains, or the means that they were drawn from, where the fitted attributes live."""
        n_features, dtype = self.n_features_in_, _validation.float_of(self.components_)
        if not mean:
            rows = kernels.unpack(chains.visible, n_features, dtype)
        else:
            means = rbm.infer_visible(self._rounded(), chains.hidden, to_device(beta, self.device_))
            rows = _sampling.with_clamped(means[:, :n_features].astype(dtype), clamp)
        return to_device(rows, home_of(self.components_))

    def _rounded(self) -> Any:
        """Return the machine that is sampled, rounded anew only when the fitted attributes have changed."""
        machine = self._machine()
        last = _last_rounded.get(self)
        home, lives = self.device_, home_of(machine.weights)
        with using(lives):
            if last is not None and home_of(last[1].to_hidden) == home and _same(machine, last[0]):
                return last[1]
            copies = type(machine)(*(array.copy(order="K") for array in machine))
        with using(home):
            exact = self._model.rounded(self._machine_on(home))
        _last_rounded[self] = copies, exact
        return exact

    def _check_rows(self, X) -> Any:
        check_is_fitted(self)
        return _validation.check_rows(self, X, reset=False)

    def _set_fitted(self, state: State, *, seed, n_iter, dtype, features, device, home="cpu", gibbs_updates=0, history=()):
        """Set all fitted attributes from a training state; arrays go to `home`."""
        n_chains = len(state.chains.visible) // (len(state.ladder.betas) if state.ladder else 1)

        def bring(array):
            return to_device(array, home)

        if "feature_names_in_" not in features and hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        for name, value in features.items():
            setattr(self, name, value)
        self.components_ = bring(state.machine.weights.astype(dtype, copy=False)).T
        self.intercept_hidden_ = bring(state.machine.hidden_bias.astype(dtype, copy=False))
        self.intercept_visible_ = bring(state.machine.visible_bias.astype(dtype, copy=False))
        self.h_samples_ = bring(kernels.unpack(state.chains.hidden[:n_chains], self.components_.shape[0], dtype))
        self.n_iter_, self.device_, self.history_ = n_iter, device, list(history)
        self._n_features_out = self.components_.shape[0]
        self._velocity = state.velocity and type(state.velocity)(*map(bring, state.velocity))
        self._offsets = state.offsets and Offsets(*map(bring, state.offsets))
        self._seed, self._gibbs_updates = seed, gibbs_updates
        self._activity = None if state.activity is None else bring(state.activity)
        self._visible_chains, self._updates = bring(state.chains.visible[:n_chains]), state.chains.updates
        self._tempered = () if state.ladder is None else tuple(bring(states[n_chains:]) for states in state.chains[:2])
        self._set_ladder(state.ladder)
        return self

    def _set_ladder(self, ladder: Ladder | None) -> None:
        self._ladder = ladder
        for name in ("betas_", "swap_rates_"):
            vars(self).pop(name, None)
        if ladder is not None:
            self.betas_, self.swap_rates_ = ladder.betas.copy(), ladder.rates.copy()

    def to(self, device):
        """Move the fitted machine: it samples there from now on, and its arrays live there.

        Fitting goes by the parameter `device`, and "auto" by where `X` lives; rows are answered where they live.

        Parameters
        ----------
        device : {"cpu", "cuda", "cuda:1", ...}

        Returns
        -------
        self : object

        Raises
        ------
        RuntimeError
            When a GPU is asked for and cannot be had.
        """
        check_is_fitted(self)
        home = resolve(device, self.components_)
        for name in (*self._parameters, "h_samples_", "_visible_chains"):
            setattr(self, name, to_device(getattr(self, name), home))
        self._tempered = tuple(to_device(states, home) for states in self._tempered)
        self._activity = None if self._activity is None else to_device(self._activity, home)
        self._velocity = self._velocity and type(self._velocity)(*(to_device(array, home) for array in self._velocity))
        self._offsets = self._offsets and Offsets(*(to_device(array, home) for array in self._offsets))
        self.device_ = home
        return self


def _as_floats(array):
    """Return an array of float32 or float64, in the byte order of this computer, as it is; of other numbers, as float64."""
    native = array.dtype in (np.float32, np.float64) and np.dtype(array.dtype).isnative
    return array if native else array.astype(float)


def _same(machine: RBM, other: RBM) -> bool:
    """Whether two machines have the same parameters, on the same device."""
    xp = namespace(machine.weights)
    at_home = home_of(machine.weights) == home_of(other.weights)
    return at_home and all(bool(xp.array_equal(a, b)) for a, b in zip(machine, other, strict=True))
