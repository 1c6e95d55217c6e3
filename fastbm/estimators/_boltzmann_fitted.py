"""What a general Boltzmann machine is after fitting: the attributes that the parts of its estimator share."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastbm.device import home_of, namespace, resolve, to_device, using
from fastbm.estimators import _validation
from fastbm.machines import boltzmann
from fastbm.machines.boltzmann import Boltzmann, Chains, RoundedBoltzmann
from fastbm.machines.layout import Layout, layout_of
from fastbm.training.moments import State

ARRAYS = ("weights_", "intercept_visible_", "intercept_hidden_")
_last_layout: WeakKeyDictionary[BaseEstimator, Layout] = WeakKeyDictionary()
"""Where the units of each estimator lie."""
_last_rounded: WeakKeyDictionary[BaseEstimator, tuple[Boltzmann, RoundedBoltzmann]] = WeakKeyDictionary()
"""The rounding of each estimator when it was last sampled, and what was rounded."""


class FittedBoltzmann(BaseEstimator):
    """Fitted attributes; public ones are documented by the estimator."""

    weights_: Any
    edges_: np.ndarray
    intercept_visible_: Any
    intercept_hidden_: Any
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    device_: str
    history_: list[dict]
    _n_features_out: int
    _is_sparse: bool  # whether couplings_ is
    _seed: int
    _gibbs_sweeps: int  # sweeps that calls of gibbs have made
    _chains: Chains
    _clamped: int
    _velocity: tuple | None
    _offsets: Any

    # constructor parameters
    n_hidden: int
    mask: Any
    spin: bool
    random_state: Any
    verbose: int

    @property
    def couplings_(self):
        check_is_fitted(self, "weights_")
        machine = self._machine()
        return boltzmann.sparse_matrix(machine) if self._is_sparse else boltzmann.dense_matrix(machine)

    def spin_parameters(self):
        """Return the couplings J and fields h of the same machine in units of ±1.

        energy = -(Σ_{i<j} J_ij s_i s_j + Σ_i h_i s_i), but for a constant: J = W / 4, h = b / 2 + Σ_j W_ij / 4.

        Returns
        -------
        couplings : {ndarray, sparse array} of shape (n_units, n_units)
        fields : ndarray of shape (n_units,)
        """
        couplings, bias = self.couplings_ / 4, boltzmann.bias_of(self._machine())
        sums = couplings.sum(axis=1)
        return couplings, bias / 2 + to_device(sums, home_of(bias))

    def _machine(self) -> Boltzmann:
        """Return the parameters, which users may have set by hand; ValueError when they do not fit together."""
        check_is_fitted(self, "weights_")
        home = home_of(self.weights_)
        arrays: Any = [to_device(getattr(self, name), home) for name in ARRAYS]
        arrays = [np.asarray(array) if home == "cpu" else array for array in arrays]
        sizes = [(len(self.edges_),), (self.n_features_in_,), (self._n_features_out,)]
        if [array.shape for array in arrays] != sizes:
            raise ValueError(
                f"weights_, intercept_visible_ and intercept_hidden_ must have the shapes {sizes}, weights_ a number for each "
                f"coupling of edges_, got {[array.shape for array in arrays]}; see BoltzmannMachine.from_couplings"
            )
        floats = (np.float32, np.float64)
        arrays = [array if array.dtype in floats else array.astype(np.float64) for array in arrays]
        return Boltzmann(*arrays, *(to_device(ends, home) for ends in _ends(self.edges_)))

    def _machine_on(self, home: str) -> Boltzmann:
        """Return the parameters where rows live that they are to be used with."""
        return Boltzmann(*(to_device(array, home) for array in self._machine()))

    def _layout(self) -> Layout:
        """Return where units lie; it is worked out once for each graph."""
        last = _last_layout.get(self)
        edges = _ends(self.edges_)
        graph = (self.n_features_in_, self.n_features_in_ + self._n_features_out)
        if last is None or last.graph[:2] != graph or not all(map(np.array_equal, last.graph[2:], edges)):
            last = layout_of(boltzmann.graph_of(self._machine()))
            _last_layout[self] = last
        return last

    def _rounded(self) -> RoundedBoltzmann:
        """Return the machine that is sampled, rounded anew only when the fitted attributes have changed."""
        machine, layout, last = self._machine(), self._layout(), _last_rounded.get(self)
        with using(home_of(machine.weights)):
            if last is not None and last[1].layout.graph is layout.graph and _same(machine, last[0], self.device_, last[1]):
                return last[1]
            copies = Boltzmann(*(array.copy() for array in machine))
        with using(self.device_):
            exact = boltzmann.rounded(self._machine_on(self.device_), layout)
        _last_rounded[self] = copies, exact
        return exact

    def _check_rows(self, X) -> Any:
        """Return rows as dense arrays of 0 and 1, or of numbers between."""
        check_is_fitted(self, "weights_")
        rows = _validation.check_rows(self, X, reset=False)
        return self._to_bits(rows.toarray() if hasattr(rows, "toarray") else rows)

    def _to_bits(self, rows) -> Any:
        """Return rows of ±1 as 0 and 1 where the machine is one of spins."""
        return (rows + 1) / 2 if self.spin else rows

    def _from_bits(self, rows) -> Any:
        """Return rows of 0 and 1 as the machine gives them."""
        return 2 * rows - 1 if self.spin else rows

    def _set_fitted(
        self, state: State, *, seed, n_iter, dtype, features, device, is_sparse, home="cpu", gibbs_sweeps=0, history=()
    ):
        """Set all fitted attributes from a training state; arrays go to `home`."""
        if "feature_names_in_" not in features and hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        for name, value in features.items():
            setattr(self, name, value)
        for name, array in zip(ARRAYS, state.machine, strict=False):
            setattr(self, name, to_device(array.astype(dtype, copy=False), home))
        graph = state.exact.layout.graph
        _last_layout[self] = state.exact.layout.on("cpu")
        self.edges_ = np.stack([graph.first, graph.second], axis=1)
        self.n_iter_, self.device_, self.history_ = n_iter, device, list(history)
        self._n_features_out, self._is_sparse = graph.n_units - graph.n_visible, is_sparse
        self._seed, self._gibbs_sweeps, self._clamped = seed, gibbs_sweeps, state.clamped
        self._chains = Chains(tuple(to_device(part, home) for part in state.chains.states), state.chains.sweeps)
        self._velocity = state.velocity and tuple(to_device(array, home) for array in state.velocity)
        self._offsets = None if state.offsets is None else to_device(state.offsets, home)
        return self

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
        check_is_fitted(self, "weights_")
        home = resolve(device, self.weights_)
        for name in ARRAYS:
            setattr(self, name, to_device(getattr(self, name), home))
        self._chains = self._chains._replace(states=tuple(to_device(part, home) for part in self._chains.states))
        self._velocity = self._velocity and tuple(to_device(array, home) for array in self._velocity)
        self._offsets = None if self._offsets is None else to_device(self._offsets, home)
        self.device_ = home
        return self


def _ends(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the second unit of each coupling."""
    return np.ascontiguousarray(edges[:, 0]), np.ascontiguousarray(edges[:, 1])


def _same(machine: Boltzmann, other: Boltzmann, home: str, exact: RoundedBoltzmann) -> bool:
    """Whether two machines have the same parameters on the same device, and the other's rounding lives where it should."""
    xp = namespace(machine.weights)
    at_home = home_of(machine.weights) == home_of(other.weights) and home_of(exact.bias) == home
    return at_home and all(bool(xp.array_equal(a, b)) for a, b in zip(machine, other, strict=True))
