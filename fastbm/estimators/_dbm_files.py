"""Deep Boltzmann machines given by hand, and on disk."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbm import chain, device
from fastbm.device import adopt, to_host
from fastbm.estimators import _persistence, _validation
from fastbm.estimators._dbm_training import DBMTraining
from fastbm.estimators._rbm_files import LARGEST_POSITION, _history_of_file, _plain, saved_parameters
from fastbm.machines import dbm
from fastbm.machines.dbm import DBM, Chains
from fastbm.machines.rbm import all_free
from fastbm.training import mean_field

NUMBERS = ("n_iter_", "_seed")
REPORT = ("n_mean_field_updates_", "mean_field_change_")
HISTORIES = ("history_", "pretraining_history_")


class DBMFiles(DBMTraining):
    """from_weights, save and load."""

    @classmethod
    def _from_machine(cls, machine: DBM, sizes, parameters, features):
        """Return a fitted estimator of a machine of all layers, whose hidden ones have these sizes."""
        parameters.setdefault("hidden_layer_sizes", tuple(sizes))
        self = cls(**parameters)
        self._validate_params()
        if self._sizes() != list(sizes):
            raise ValueError(f"hidden_layer_sizes={self.hidden_layer_sizes} does not match weights of layers of {list(sizes)}")
        dbm.rounded(machine)  # what cannot be sampled is no machine
        state = mean_field.init(machine, int(self.n_chains or self.batch_size))
        self._set_fitted(
            state, seed=_validation.resolve_seed(self.random_state), n_iter=0, dtype=machine.weights[0].dtype,
            features=features, device=device.resolve(self.device), report=(np.nan, np.nan),
        )  # fmt: skip
        self._set_parameters(machine)  # as they are given, which training rounds to float32
        return self

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
        machine = self._joint()
        self._rounded(self.device_)  # a machine that cannot be sampled could not be loaded: the error is better now
        velocity, offsets = self._carried(machine)
        arrays = _named("machine", machine) | {
            f"chains.{layer}": states for layer, states in enumerate(self._chains.layers)
        }  # fmt: skip
        arrays |= _named("velocity", velocity) if velocity else {}
        arrays |= {f"offsets.{layer}": offset for layer, offset in enumerate(offsets or ())}
        header: dict[str, Any] = {name: getattr(self, name) for name in NUMBERS}
        header |= {"parameters": saved_parameters(self), "_updates": self._chains.updates, "n_layers": len(machine.biases)}
        header |= self._saved_classes()
        header["report"] = [None if np.isnan(getattr(self, name)) else float(getattr(self, name)) for name in REPORT]
        for name in HISTORIES:
            header[name] = [{str(key): _plain(value) for key, value in record.items()} for record in getattr(self, name)]
            _history_of_file(header, name)
        if hasattr(self, "feature_names_in_"):
            header["feature_names_in_"] = [str(name) for name in self.feature_names_in_]
        arrays = {name: device.to_host(array) for name, array in arrays.items()}
        _persistence.write(path, type(self).__name__, arrays, header)

    def _saved_classes(self) -> dict:
        """Return what the header of a file says of classes, where there are any."""
        return {}

    @classmethod
    def load(cls, path):
        """Return the machine that `save` wrote; training goes on bit for bit as if never interrupted.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        machine : object
            The estimator.

        Raises
        ------
        ValueError
            When the file is truncated, foreign, of another class, or was tampered with. No code of the file is ever run.
        """
        return _persistence.restored(cls, path)

    @classmethod
    def _from_file(cls, arrays, header):
        parameters = dict(header["parameters"])
        if isinstance(parameters["hidden_layer_sizes"], list):
            parameters["hidden_layer_sizes"] = tuple(parameters["hidden_layer_sizes"])
        self = cls(**parameters)
        self._validate_params()
        n_layers = _validation.check_count(header["n_layers"], "n_layers", 2)
        weights, biases = _of_names("machine", arrays, n_layers)
        machine = check_layers(weights, biases)
        velocity = DBM(*_of_names("velocity", arrays, n_layers)) if "velocity.biases.0" in arrays else None
        offsets = tuple(arrays[f"offsets.{layer}"] for layer in range(n_layers)) if "offsets.0" in arrays else None
        n_iter, seed, updates = (_validation.check_count(header[name], name, 0) for name in (*NUMBERS, "_updates"))
        chains = Chains(tuple(arrays[f"chains.{layer}"] for layer in range(n_layers)), updates)
        _check_carried(machine, velocity, chains, offsets)
        features = cls._features_of_file(header, machine)
        if "feature_names_in_" in header:
            features["feature_names_in_"] = np.array(header["feature_names_in_"], dtype=object)
            if features["feature_names_in_"].shape != (features["n_features_in_"],):
                raise ValueError(f"{features['feature_names_in_'].shape} feature_names_in_ for {features['n_features_in_']}")
        report = [np.nan if value is None else float(value) for value in header["report"]]
        if len(report) != len(REPORT) or np.isinf(report).any():
            raise ValueError(f"report must be {len(REPORT)} numbers, got {report}")
        self._set_fitted(
            mean_field.resume(machine, velocity, chains, offsets), seed=seed, n_iter=n_iter, dtype=weights[0].dtype,
            features=features, device=device.resolve("auto"), report=tuple(report),
            history=_history_of_file(header, "history_"), pretraining=_history_of_file(header, "pretraining_history_"),
        )  # fmt: skip
        self._set_parameters(machine)
        if self._sizes() != [len(bias) for bias in self.intercepts_]:
            raise ValueError(f"hidden_layer_sizes={self.hidden_layer_sizes} are not the sizes of the layers")
        return self

    @classmethod
    def _features_of_file(cls, header, machine: DBM) -> dict[str, Any]:
        """Return the number of features, and the classes where there are any; ValueError when they do not fit the machine."""
        return {"n_features_in_": machine.biases[0].size}


def check_layers(weights, biases) -> DBM:
    """Return a machine given by hand, float32 where all is, else float64; ValueError names what does not fit."""
    for name, value in (("weights", weights), ("biases", biases)):
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(
                f"{name} must be a list with an array for each {'pair of layers' if name == 'weights' else 'layer'}"
            )
    weights, biases = ([to_host(adopt(array)) for array in arrays] for arrays in (weights, biases))
    if len(biases) != len(weights) + 1:
        raise ValueError(f"biases must be {len(weights) + 1}, one for each layer, the visible one first, got {len(biases)}")
    checked: Any = []
    for number, array in enumerate(weights):
        names = f"weights[{number}]", f"biases[{number}]", f"biases[{number + 1}]"
        checked.append(_validation.check_parameters(array, biases[number], biases[number + 1], names))
    dtype = np.result_type(*(array.dtype for array, *_ in checked))
    machine = DBM(tuple(array for array, *_ in checked), (checked[0][1], *(bias for *_, bias in checked)))
    return dbm.moved(machine, lambda array: array.astype(dtype, copy=False))


def _named(of: str, machine: DBM) -> dict[str, Any]:
    """Return the arrays of a machine by names."""
    pairs = zip(DBM._fields, machine, strict=True)
    return {f"{of}.{kind}.{number}": array for kind, arrays in pairs for number, array in enumerate(arrays)}


def _of_names(of: str, arrays, n_layers: int) -> tuple[tuple, tuple]:
    """Return the weights and biases that `_named` gave names to."""
    weights = tuple(arrays[f"{of}.weights.{number}"] for number in range(n_layers - 1))
    return weights, tuple(arrays[f"{of}.biases.{number}"] for number in range(n_layers))


def _check_carried(machine: DBM, velocity: DBM | None, chains: Chains, offsets: tuple | None) -> None:
    """Raise ValueError when what training carries does not fit the machine."""
    n_chains, sizes = len(chains.layers[0]), dbm.layer_sizes(machine)
    expected = [((n_chains, chain.padded(size) // chain.WORD), np.dtype(np.uint64)) for size in sizes]
    floats = [array.shape for arrays in machine for array in arrays] if velocity else []
    floats += [bias.shape for bias in machine.biases] if offsets else []
    expected += [(shape, np.dtype(np.float32)) for shape in floats]
    arrays = [*chains.layers, *(array for arrays in velocity or () for array in arrays), *(offsets or ())]
    got = [(array.shape, array.dtype) for array in arrays]
    if got != expected or n_chains == 0:
        raise ValueError(f"arrays of {got} where {expected} were expected")
    if not all(np.isfinite(array).all() for array in arrays if array.dtype == np.float32):
        raise ValueError("arrays hold NaN or infinity")
    if any((states & ~all_free(size)).any() for states, size in zip(chains.layers, sizes, strict=True)):
        raise ValueError("chains have units that the machine has not")
    if chains.updates % 2 == 0 or chains.updates >= LARGEST_POSITION:
        raise ValueError(f"_updates must be odd and below {LARGEST_POSITION}, got {chains.updates}")
