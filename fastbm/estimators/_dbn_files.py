"""Deep belief networks on disk."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastbm import device
from fastbm.estimators import _persistence, _validation
from fastbm.estimators._dbn_fitted import ARRAYS
from fastbm.estimators._dbn_training import DBNTraining
from fastbm.estimators._rbm_files import _history_of_file, _plain, saved_parameters
from fastbm.machines import dbn
from fastbm.machines.directed import Layer

NUMBERS = ("n_iter_", "_seed", "_updates")
SIDES = ("recognition", "generative")
LARGEST_UPDATE = 2**31
"""Two passes an update have a place in the random streams."""


class DBNFiles(DBNTraining):
    """save and load."""

    def save(self, path):
        """Write the fitted network to a safetensors file: parameters, settings, chains, stream position, last steps, history.

        An older file at `path` stays whole until the new one is complete. A `random_state` that is a RandomState is saved
        as None: the seeds that were drawn from it are kept, so training goes on the same. Callbacks are not saved.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ValueError
            When a schedule is a function, which a file without code cannot hold.
        """
        check_is_fitted(self, "top_")
        dbn.rounded(dbn.moved(self._machine_on(self.device_), _floats))  # what cannot be sampled could not be loaded
        arrays, of_top = self.top_._to_file()
        arrays = {f"top.{name}": array for name, array in arrays.items()}
        for name in ARRAYS:
            arrays |= {f"{name}.{number}": _floats(device.to_host(array)) for number, array in enumerate(getattr(self, name))}
        for side, layers in zip(SIDES, self._velocity or (), strict=False):
            for number, layer in enumerate(layers):
                arrays |= {f"velocity.{side}.{number}.{name}": device.to_host(array) for name, array in layer._asdict().items()}
        header = {name: getattr(self, name) for name in NUMBERS}
        header |= {"parameters": saved_parameters(self), "top": of_top, "n_layers": len(self.coefs_)}
        for name in ("history_", "pretraining_history_"):
            header[name] = [{str(key): _plain(value) for key, value in record.items()} for record in getattr(self, name)]
            _history_of_file(header, name)
        if hasattr(self, "feature_names_in_"):
            header["feature_names_in_"] = [str(name) for name in self.feature_names_in_]
        _persistence.write(path, type(self).__name__, arrays, header)

    @classmethod
    def load(cls, path):
        """Return the network that `save` wrote; training goes on bit for bit as if never interrupted.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        network : object
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
        n_layers = _validation.check_count(header["n_layers"], "n_layers", 0)
        of_top = {name.removeprefix("top."): array for name, array in arrays.items() if name.startswith("top.")}
        self.top_ = self._top_class._from_file(of_top, header["top"])
        for name in ARRAYS:
            setattr(self, name, [_finite(arrays[f"{name}.{number}"]) for number in range(n_layers)])
        self.n_features_in_ = self.coefs_[0].shape[0] if n_layers else self.top_.n_features_in_
        for name in NUMBERS:
            setattr(self, name, _validation.check_count(header[name], name, 0))
        if self._updates >= LARGEST_UPDATE:
            raise ValueError(f"_updates must be below {LARGEST_UPDATE}, got {self._updates}")
        self.history_ = _history_of_file(header, "history_")
        self.pretraining_history_ = _history_of_file(header, "pretraining_history_")
        self.device_ = device.resolve("auto")
        self._velocity = self._velocity_of_file(arrays, n_layers)
        if "feature_names_in_" in header:
            self.feature_names_in_ = np.array(header["feature_names_in_"], dtype=object)
            if self.feature_names_in_.shape != (self.n_features_in_,):
                raise ValueError(f"{self.feature_names_in_.shape} feature_names_in_ for {self.n_features_in_} features")
        self._machine()
        if self._stack()._sizes() != [*(len(bias) for bias in self.intercepts_), self._n_features_out]:
            raise ValueError(f"hidden_layer_sizes={self.hidden_layer_sizes} are not the sizes of the layers")
        return self

    def _velocity_of_file(self, arrays, n_layers: int):
        """Return the last steps of the directed layers, or None where there are none."""
        if not any(name.startswith("velocity.") for name in arrays):
            return None
        velocity = tuple(
            tuple(
                Layer(*(_finite(arrays[f"velocity.{side}.{number}.{name}"]) for name in Layer._fields))
                for number in range(n_layers)
            )
            for side in SIDES
        )
        shapes = [[(coef.shape, coef.shape[1:]) for coef in coefs] for coefs in (self.coefs_, self.generative_coefs_)]
        got = [[(layer.weights.shape, layer.bias.shape) for layer in layers] for layers in velocity]
        if got != shapes:
            raise ValueError(f"last steps of shapes {got} where {shapes} were expected")
        return velocity


def _floats(array: np.ndarray) -> np.ndarray:
    """Return an array, which may have been set by hand, as `_finite` takes it."""
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _finite(array: np.ndarray) -> np.ndarray:
    """Return an array of floats that is finite; ValueError when it is not."""
    if array.dtype not in (np.float32, np.float64) or not np.isfinite(array).all():
        raise ValueError(f"arrays must be finite floats, got {array.dtype}")
    return array
