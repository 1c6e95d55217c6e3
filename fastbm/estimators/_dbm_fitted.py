"""What a deep Boltzmann machine is after fitting: its parameters, and what is known of rows by mean field."""

from __future__ import annotations

from itertools import pairwise
from numbers import Real
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from fastbm import kernels
from fastbm.device import adopt, home_of, namespace, resolve, to_device, using
from fastbm.estimators import _layers, _validation
from fastbm.estimators._dbm_parameters import DBMParameters
from fastbm.estimators._training import LARGEST_FLOAT
from fastbm.evaluation import log_partition
from fastbm.evaluation.partition import LogPartition
from fastbm.machines import dbm
from fastbm.machines.dbm import DBM, Chains, MeanField, RoundedDBM
from fastbm.training import minibatches
from fastbm.units import bernoulli

ROWS_AT_ONCE = 4096
_last_rounded: WeakKeyDictionary[BaseEstimator, tuple[DBM, RoundedDBM]] = WeakKeyDictionary()
"""The rounding of each estimator when it was last used, and what was rounded."""


class FittedDBM(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DBMParameters, auto_wrap_output_keys=None):
    """Fitted attributes, which may have been set by hand; public ones are documented by the estimator.

    `transform` names its columns itself, since it may give other layers than the top one.
    """

    coefs_: list
    intercepts_: list
    intercept_visible_: Any
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    device_: str
    history_: list[dict]
    pretraining_history_: list[dict]
    n_mean_field_updates_: float
    mean_field_change_: float
    _seed: int
    _chains: Chains
    _velocity: DBM | None
    _offsets: tuple | None

    def __sklearn_tags__(self):
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def n_layers_(self) -> int:
        """Number of hidden layers."""
        return len(self.coefs_)

    @property
    def _n_features_out(self) -> int:
        return len(self.intercepts_[-1])

    @property
    def _updates(self) -> int:
        """Block updates that the chains of training have had."""
        return self._chains.updates

    # ------------------------------------------------------------------------------------------------------ parameters

    def _arrays(self) -> tuple[list, list]:
        """Return weights and biases of all layers that are sampled, the visible one first."""
        return list(self.coefs_), [self.intercept_visible_, *self.intercepts_]

    def _joint(self) -> DBM:
        """Return the parameters of all layers; ValueError when those set by hand do not fit together."""
        check_is_fitted(self, "coefs_")
        weights, biases = self._arrays()
        home = home_of(weights[0]) if weights else "cpu"
        weights, biases = ([_as_floats(to_device(array, home)) for array in arrays] for arrays in (weights, biases))
        sizes = [bias.shape for bias in biases]
        expected = [below + above for below, above in pairwise(sizes)]
        if (
            not weights
            or {len(size) for size in sizes} != {1}
            or [array.shape for array in weights] != expected
            or sizes[0] != (self.n_features_in_,)
        ):
            raise ValueError(
                f"weights of shapes {[array.shape for array in weights]} and biases of shapes {sizes} do not fit together with "
                f"{self.n_features_in_} features; see {type(self).__name__}.from_weights"
            )
        return DBM(tuple(weights), tuple(biases))

    def _machine(self) -> DBM:
        """Return the parameters of the visible and the hidden layers."""
        return self._joint()

    def _joint_on(self, home: str) -> DBM:
        return dbm.moved(self._joint(), lambda array: to_device(array, home))

    def _machine_on(self, home: str) -> DBM:
        return dbm.moved(self._machine(), lambda array: to_device(array, home))

    def _rounded(self, home: str) -> RoundedDBM:
        """Return the machine of all layers, in float32, and its rounding, worked out anew only when it has changed."""
        machine, last = self._joint(), _last_rounded.get(self)
        with using(home_of(machine.biases[0])):
            if last is not None and home_of(last[1].biases[0]) == home and _same(machine, last[0]):
                return last[1]
            copies = dbm.moved(machine, lambda array: array.copy())
        with using(home):
            there = self._joint_on(home)
            exact = dbm.rounded(there)._replace(machine=dbm.moved(there, lambda array: array.astype(np.float32, copy=False)))
        _last_rounded[self] = copies, exact
        return exact

    def _chain_rows(self):
        """Return the even layers of the training chains side by side: the visible side of the folded machine."""
        sizes = dbm.layer_sizes(self._machine())
        with using(home_of(self._chains.layers[0])):
            rows = [
                kernels.unpack(states, size, np.float32)
                for states, size in zip(self._chains.layers[::2], sizes[::2], strict=False)
            ]
            return namespace(rows[0]).concatenate(rows, axis=1)

    # ---------------------------------------------------------------------------------------------------- mean field

    def _check_rows(self, X) -> Any:
        check_is_fitted(self, "coefs_")
        return _check_size(_validation.check_rows(self, X, reset=False), "X")

    def _how(self) -> dict[str, Any]:
        """Return the settings of mean field."""
        return {
            "tolerance": float(self.mean_field_tol), "max_updates": int(self.mean_field_max_updates),
            "damping": float(self.mean_field_damping),
        }  # fmt: skip

    def _inferred(self, exact: RoundedDBM, rows) -> MeanField:
        """Return the mean field of the hidden layers given a minibatch."""
        return dbm.mean_field(exact, rows, **self._how())

    def _parts(self, rows):
        """Yield slices of checked rows, and the mean field of each, where the rows live."""
        exact = self._rounded(home_of(rows))
        for part in minibatches.slices(rows.shape[0], ROWS_AT_ONCE):
            yield part, self._inferred(exact, minibatches.prepare(rows[part]))

    def _all(self, rows, of) -> Any:
        """Return ``of(means, part)`` of all rows; it returns an array for some of them, given the means of all layers."""
        with using(home_of(rows)):
            found = [of(inferred.means, part) for part, inferred in self._parts(rows)]
            return found[0] if len(found) == 1 else namespace(found[0]).concatenate(found)

    def mean_field(self, X) -> MeanField:
        """Return the mean-field probabilities of all hidden layers, and how they were found.

        q(h | v) = Π μ^h (1 - μ)^(1 - h) with μ¹ = σ(b¹ + v W¹ + μ² W²ᵀ), …, μ^L = σ(b^L + μ^(L-1) W^L): layers are updated in
        turn, until no mean of a row changes by more than `mean_field_tol`, or `mean_field_max_updates` times.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        result : MeanField
            Named: means, a tuple of arrays (n_samples, n_units), the lowest hidden layer first; n_updates (n_samples,), the
            updates of each row; change (n_samples,), the largest change of the last one.
        """
        rows = self._check_rows(X)
        with using(home_of(rows)):
            found, xp = [inferred for _, inferred in self._parts(rows)], namespace(rows)
            means = tuple(xp.concatenate(of_layer) for of_layer in zip(*(each.means for each in found), strict=True))
            return MeanField(
                means, *(xp.concatenate([getattr(each, name) for each in found]) for name in MeanField._fields[1:])
            )

    def transform(self, X, layers="top"):
        """Return the mean-field probabilities of hidden units given the visible ones.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        layers : "top", "all" or int, default="top"
            Which layers: the top one; all, side by side, the lowest first; or that of a number, 1 being the lowest.

        Returns
        -------
        H : ndarray of shape (n_samples, n_units)

        Raises
        ------
        ValueError
            When an argument is not valid.
        """
        rows = self._check_rows(X)
        chosen = _layers.numbers(layers, self.n_layers_)

        def of(means, part):
            parts = [means[number - 1] for number in chosen]
            return (parts[0] if len(parts) == 1 else namespace(rows).concatenate(parts, axis=1)).astype(rows.dtype, copy=False)

        return _layers.framed(self, self._all(rows, of), X, chosen)

    def reconstruct(self, X):
        """Return the means of the visible units given those that mean field finds for the lowest hidden layer.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
        """
        rows = self._check_rows(X)
        with using(home_of(rows)):
            machine = self._machine_on(home_of(rows))

        def of(means, part):
            visible = bernoulli.mean(means[0] @ machine.weights[0].T + machine.biases[0])
            return visible.astype(rows.dtype, copy=False)

        return self._all(rows, of)

    def inverse_transform(self, H):
        """Return the means of the visible units given the top layer, by mean field over all layers between.

        Parameters
        ----------
        H : array-like of shape (n_samples, hidden_layer_sizes[-1])
            States or means of the top hidden layer, as from `transform`.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "coefs_")
        H = adopt(H)
        if home_of(H) == "cpu":
            H = check_array(H, dtype=_validation.FLOATS, input_name="H")
        else:
            H = _validation.finite_floats_of_gpu(H, "H")
        if H.ndim != 2 or H.shape[1] != self._n_features_out:
            raise ValueError(f"H must have shape (n_samples, {self._n_features_out}), got {H.shape}")
        with using(home_of(H)):
            _check_size(H, "H")
            machine = self._machine_on(home_of(H))
            turned = DBM(tuple(array.T for array in machine.weights[::-1]), machine.biases[::-1])  # the top layer is given
            turned = dbm.moved(turned, lambda array: array.astype(np.float32))
            found = dbm.mean_field(turned, minibatches.prepare(H), **self._how())
            return found.means[-1].astype(H.dtype, copy=False)

    # ----------------------------------------------------------------------------------------------------------- bounds

    def free_energy(self, X):
        """Return the variational free energy -(E_q[-energy(v, h)] + H(q)) of each row, in nats, q that of `mean_field`.

        At least the free energy -log Σ_h exp(-energy(v, h)), which cannot be summed; that itself with one hidden layer.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of 0 and 1; others enter as they are.

        Returns
        -------
        free_energy : ndarray of shape (n_samples,)
            Float64.
        """
        rows = self._check_rows(X)
        with using(home_of(rows)):
            machine = self._machine_on(home_of(rows))
        return self._all(rows, lambda means, part: -dbm.variational_bound(machine, rows[part], means))

    def log_likelihood_bound(self, X, log_z=None, *, random_state=None):
        """Return a lower bound of log p(v) of each row, in nats: minus `free_energy`, minus log Z.

        log p(v) less the Kullback–Leibler divergence of mean field from the posterior, as far as log Z is known [1]_.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of 0 and 1; others enter as they are.
        log_z : float or LogPartition, default=None
            log Z, as from :func:`fastbm.evaluation.log_partition` of the estimator, which has its standard error and a bracket
            too. When None it is worked out anew: exactly where the odd or the even layers have up to 20 units, else by
            annealing with the odd layers summed out, which takes minutes for 784, 500 and 1000 units.
        random_state : int, RandomState instance or None, default=None
            Seed of the annealing; None takes the estimator's own `random_state`.

        Returns
        -------
        bound : ndarray of shape (n_samples,)
            Float64.

        Raises
        ------
        ValueError
            When an argument is not valid, `log_z` not finite among them.

        References
        ----------
        .. [1] Salakhutdinov & Hinton, "Deep Boltzmann machines", AISTATS 2009.
        """
        self._check_rows(X)
        if log_z is not None:
            log_z = _check_log_z(log_z)
        else:
            seed = _validation.resolve_seed(self.random_state if random_state is None else random_state)
            log_z = float(log_partition(self, random_state=seed, verbose=self.verbose).log_z)
        return -self.free_energy(X) - log_z

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
        check_is_fitted(self, "coefs_")
        home = resolve(device, self.coefs_[0])
        self._move(lambda array: to_device(array, home))
        self.device_ = home
        return self

    def _move(self, take) -> None:
        """Replace all arrays by ``take(array)``."""
        self.coefs_, self.intercepts_ = (list(map(take, arrays)) for arrays in (self.coefs_, self.intercepts_))
        self.intercept_visible_ = take(self.intercept_visible_)
        self._chains = self._chains._replace(layers=tuple(map(take, self._chains.layers)))
        self._velocity = self._velocity and dbm.moved(self._velocity, take)
        self._offsets = self._offsets and tuple(map(take, self._offsets))


def _check_size(rows, name: str):
    """Return rows as they are; ValueError when a number is too large for float32, in which means are worked out."""
    values = rows.data if hasattr(rows, "toarray") else rows
    with using(home_of(rows)):
        if rows.dtype == np.float64 and values.size and not float(abs(values).max()) <= LARGEST_FLOAT:
            raise ValueError(f"{name} must hold numbers up to {LARGEST_FLOAT:g} in magnitude, got larger ones")
    return rows


def _check_log_z(log_z) -> float:
    """Return log Z as a number; ValueError when it is none, or not finite."""
    value: Any = log_z.log_z if isinstance(log_z, LogPartition) else log_z
    if not isinstance(value, Real) or isinstance(value, bool) or not np.isfinite(float(value)):
        raise ValueError(f"log_z must be None, a finite number or a LogPartition, got {log_z!r}")
    return float(value)


def _as_floats(array):
    """Return an array of float32 or float64 as it is; of other numbers, or in another byte order, as float64."""
    array = array if hasattr(array, "get") else np.asarray(array)
    native = array.dtype in (np.float32, np.float64) and np.dtype(array.dtype).isnative
    return array if native else array.astype(float)


def _same(machine: DBM, other: DBM) -> bool:
    """Whether two machines have the same parameters, on the same device."""
    if home_of(machine.biases[0]) != home_of(other.biases[0]):
        return False
    xp, pairs = namespace(machine.biases[0]), zip((*machine[0], *machine[1]), (*other[0], *other[1]), strict=False)
    return len(machine.biases) == len(other.biases) and all(bool(xp.array_equal(a, b)) for a, b in pairs)
