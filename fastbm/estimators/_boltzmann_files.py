"""General machines given by hand, and general machines on disk."""

from __future__ import annotations

from numbers import Real

import numpy as np

from fastbm import chain, device
from fastbm.estimators import _couplings, _persistence, _validation
from fastbm.estimators._boltzmann_fitted import ARRAYS
from fastbm.estimators._boltzmann_training import BoltzmannTraining
from fastbm.estimators._rbm_files import LARGEST_POSITION, _history_of_file, _plain
from fastbm.machines import boltzmann
from fastbm.machines.boltzmann import Boltzmann, Chains
from fastbm.machines.layout import Graph, layout_of
from fastbm.training import moments

NUMBERS = ("n_iter_", "_seed", "_clamped", "_gibbs_sweeps")
MASKS = (None, "dense", "sparse")


class BoltzmannFiles(BoltzmannTraining):
    """from_couplings, save and load."""

    @classmethod
    def from_couplings(cls, couplings, bias=None, n_visible=None, spin=False, **parameters):
        """Return a fitted machine with the given couplings and biases, to sample or to train further.

        energy = -(Σ_{i<j} J_ij s_i s_j + Σ_i h_i s_i), with s of 0 and 1, or, of spins, of ±1. A machine of spins is the one of
        s = 2 x - 1, W = 4 J and b = 2 h - 2 Σ_j J_ij: the same distribution, exactly. It takes and gives ±1.

        Parameters
        ----------
        couplings : {array-like, sparse matrix} of shape (n_units, n_units)
            Symmetric, 0 on the diagonal. Units without a coupling, 0 or not stored, have none in training either, unless `mask`
            says so. Of a graph of networkx's: ``networkx.to_scipy_sparse_array(graph)``, whose couplings are the "weight" of
            edges.
        bias : array-like of shape (n_units,), default=None
            Biases, or fields h of spins; None is zeros.
        n_visible : int, default=None
            Units that are visible, the first ones; the others are hidden. None is all.
        spin : bool, default=False
            Whether couplings and biases are those of units of ±1.
        **parameters
            Constructor parameters; `n_hidden` is n_units - n_visible.

        Returns
        -------
        machine : BoltzmannMachine

        Raises
        ------
        ValueError
            When couplings are not symmetric, couple a unit to itself, are not finite, too large to be sampled or named twice,
            or when shapes do not match.
        """
        graph, weights = _couplings.check_couplings(couplings)
        bias = _couplings.check_bias(np.zeros(graph.n_units) if bias is None else bias, graph.n_units)
        n_visible = graph.n_units if n_visible is None else _validation.check_count(n_visible, "n_visible", 1)
        n_hidden = graph.n_units - n_visible
        if n_hidden < 0:
            raise ValueError(f"n_visible must be at most {graph.n_units}, the units that couplings have, got {n_visible}")
        if parameters.setdefault("n_hidden", n_hidden) != n_hidden:
            raise ValueError(
                f"n_visible={n_visible} and n_hidden={parameters['n_hidden']} do not match couplings of {graph.n_units} units"
            )
        graph = graph._replace(n_visible=n_visible)
        sparse = _couplings.is_sparse(couplings)
        if parameters.get("mask") is not None:
            graph, weights = _on_mask(_couplings.graph_of_mask(parameters["mask"], n_visible, graph.n_units), graph, weights)
            sparse = _couplings.is_sparse(parameters["mask"])
        elif sparse or 2 * len(graph.first) < graph.n_units * (graph.n_units - 1):
            parameters["mask"] = _mask_of(graph, sparse)
        self = cls(**parameters | {"spin": spin})
        self._validate_params()
        if spin:
            weights, bias = _of_spins(graph, weights, bias)
        machine = Boltzmann(weights, bias[:n_visible], bias[n_visible:], graph.first, graph.second)
        return self._set_fitted(
            moments.init(machine, layout_of(graph), int(self.n_chains)),
            seed=_validation.resolve_seed(self.random_state),
            n_iter=0,
            dtype=_validation.float_of(couplings),
            features={"n_features_in_": n_visible},
            device=device.resolve(self.device),
            is_sparse=sparse,
        )

    def save(self, path):
        """Write the fitted machine to a safetensors file: parameters, settings, chains, stream position, last step, history.

        An older file at `path` stays whole until the new one is complete. A `random_state` that is a RandomState is saved
        as None: the seed that was drawn from it is kept, so training goes on the same. Callbacks are not saved.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ValueError
            When a schedule is a function, which a file without code cannot hold.
        """
        self._rounded()  # a machine that cannot be sampled could not be loaded: the error is better now
        arrays = {name: getattr(self, name) for name in ARRAYS} | {"edges": self.edges_}
        arrays |= {f"chains.{part}": states for part, states in enumerate(self._chains.states)}
        if self._velocity is not None:
            arrays |= {f"velocity.{name}": array for name, array in zip(ARRAYS, self._velocity, strict=True)}
        if self._offsets is not None:
            arrays["offsets"] = self._offsets
        header = {name: getattr(self, name) for name in NUMBERS}
        header |= {"parameters": self._saved_parameters(), "history": self.history_, "sweeps": self._chains.sweeps}
        header["mask"] = None if self.mask is None else "sparse" if _couplings.is_sparse(self.mask) else "dense"
        header["is_sparse"] = self._is_sparse
        if hasattr(self, "feature_names_in_"):
            header["feature_names_in_"] = [str(name) for name in self.feature_names_in_]
        _persistence.write(path, type(self).__name__, {name: device.to_host(array) for name, array in arrays.items()}, header)

    @classmethod
    def load(cls, path):
        """Return the machine that `save` wrote; training goes on bit for bit as if never interrupted.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        machine : BoltzmannMachine

        Raises
        ------
        ValueError
            When the file is truncated, foreign, of another class, or was tampered with. No code of the file is ever run.
        """
        return _persistence.restored(cls, path)

    def _saved_parameters(self) -> dict:
        parameters = self.get_params(deep=False)
        for name in ("learning_rate_schedule", "n_gibbs_steps_schedule"):
            if callable(parameters[name]):
                raise ValueError(f"{name} is a function, which a file cannot hold; set it to 'constant', say")
        parameters["callbacks"] = parameters["mask"] = None  # the mask is that of the couplings, which are kept
        if isinstance(self.random_state, bool) or not isinstance(self.random_state, int | np.integer):
            parameters["random_state"] = None  # what a generator gave is kept as the seed
        return {name: _plain(value) for name, value in parameters.items()}

    @classmethod
    def _from_file(cls, arrays, header):
        self = cls(**header["parameters"])
        self._validate_params()
        weights, visible_bias, hidden_bias = (_checked(arrays[name], name) for name in ARRAYS)
        n_visible, n_units = visible_bias.size, visible_bias.size + hidden_bias.size
        graph = _graph_of_file(arrays["edges"], n_visible, n_units, weights.size)
        if header["mask"] not in MASKS or (header["mask"] is None and 2 * weights.size != n_units * (n_units - 1)):
            raise ValueError(f"mask is {header['mask']!r} with {weights.size} couplings")
        if header["mask"] is not None:
            self.mask = _mask_of(graph, header["mask"] == "sparse")
        if self.n_hidden != hidden_bias.size:
            raise ValueError(f"n_hidden={self.n_hidden} with {hidden_bias.size} hidden biases")
        machine = Boltzmann(weights, visible_bias, hidden_bias, graph.first, graph.second)
        exact = boltzmann.rounded(machine, layout_of(graph))
        sweeps, *numbers = (_validation.check_count(header[name], name, 0) for name in ("sweeps", *NUMBERS))
        n_iter, seed, clamped, gibbs_sweeps = numbers
        names = [f"velocity.{name}" for name in ARRAYS]
        velocity = tuple(arrays[name] for name in names) if names[0] in arrays else None
        chains = Chains(tuple(arrays[f"chains.{part}"] for part in range(len(exact.free))), sweeps)
        state = moments.State(machine, exact, chains, velocity, arrays.get("offsets"), clamped)
        _check_state(state, int(self.n_chains))
        features = {"n_features_in_": n_visible}
        if "feature_names_in_" in header:
            features["feature_names_in_"] = np.array(header["feature_names_in_"], dtype=object)
            if len(header["feature_names_in_"]) != n_visible:
                raise ValueError(f"{len(header['feature_names_in_'])} feature_names_in_ for {n_visible} features")
        return self._set_fitted(
            state, seed=seed, n_iter=n_iter, dtype=weights.dtype, features=features, device=device.resolve("auto"),
            is_sparse=header["is_sparse"] is True, gibbs_sweeps=gibbs_sweeps, history=_history_of_file(header),
        )  # fmt: skip


def _of_spins(graph: Graph, couplings, fields):
    """Return weights and biases in units of 0 and 1 of couplings and fields in units of ±1."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is then infinite is an error of the rounding
        sums = np.bincount(graph.first, couplings, graph.n_units) + np.bincount(graph.second, couplings, graph.n_units)
        return 4 * couplings, 2 * fields - 2 * sums


def _on_mask(wide: Graph, graph: Graph, weights):
    """Return the graph of a mask, and the weights of all its couplings; ValueError when there are others."""
    keys, own = (each.first.astype(np.int64) * graph.n_units + each.second for each in (wide, graph))
    own, weights = own[weights != 0], weights[weights != 0]
    places = np.searchsorted(keys, own)
    inside = np.isin(own, keys)
    if not inside.all():
        unit, other = divmod(int(own[~inside][0]), graph.n_units)
        raise ValueError(f"units {unit} and {other} are coupled, but mask does not allow it")
    all_weights = np.zeros(len(keys))
    all_weights[places] = weights
    return wide, all_weights


def _mask_of(graph: Graph, sparse: bool):
    """Return the mask with the couplings of a graph."""
    of_graph = Boltzmann(
        np.ones(len(graph.first), bool), np.zeros(graph.n_visible), np.zeros(graph.n_units - graph.n_visible), *graph[2:]
    )
    return boltzmann.sparse_matrix(of_graph) if sparse else boltzmann.dense_matrix(of_graph)


def _checked(array, name: str):
    if array.ndim != 1 or array.dtype not in (np.float32, np.float64) or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite floats in one dimension, got {array.dtype} of shape {array.shape}")
    return array


def _graph_of_file(edges, n_visible: int, n_units: int, n_couplings: int) -> Graph:
    if edges.shape != (n_couplings, 2) or edges.dtype != np.int32:
        raise ValueError(f"edges are {edges.dtype} of shape {edges.shape} for {n_couplings} couplings")
    first, second = np.ascontiguousarray(edges[:, 0]), np.ascontiguousarray(edges[:, 1])
    keys = first.astype(np.int64) * n_units + second
    if edges.size and (first.min() < 0 or second.max() >= n_units or (first >= second).any() or (np.diff(keys) <= 0).any()):
        raise ValueError(f"edges must join two of {n_units} units, each pair once, in ascending order")
    return Graph(n_visible, n_units, first, second)


def _check_state(state: moments.State, n_chains: int) -> None:
    layout, machine = state.exact.layout, state.machine
    expected: list = [((n_chains, (end - begin) // chain.WORD), np.dtype(np.uint64)) for begin, end in layout.parts]
    got: list = [(part.shape, part.dtype) for part in state.chains.states]
    if state.velocity is not None:
        expected += [(array.shape, np.dtype(np.float32)) for array in machine[:3]]
        got += [(array.shape, array.dtype) for array in state.velocity]
    if state.offsets is not None:
        expected.append(((layout.graph.n_units,), np.dtype(np.float32)))
        got.append((state.offsets.shape, state.offsets.dtype))
    if got != expected:
        raise ValueError(f"arrays of {got} where {expected} were expected")
    if not all(np.isfinite(array).all() for array in (*(state.velocity or ()), state.offsets) if array is not None):
        raise ValueError("the last step or the offsets hold NaN or infinity")
    if any((part & ~units).any() for part, units in zip(state.chains.states, state.exact.free, strict=True)):
        raise ValueError("chains have units that the machine has not")
    if not all(isinstance(n, Real) and n < LARGEST_POSITION for n in (state.chains.sweeps, state.clamped)):
        raise ValueError(f"positions in the stream must be below {LARGEST_POSITION}")
