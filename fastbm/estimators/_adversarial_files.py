"""Adversarial networks on disk."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from fastbm import device
from fastbm.estimators import _persistence, _validation
from fastbm.estimators._adversarial_training import AdversarialTraining
from fastbm.estimators._rbm_files import _history_of_file, _plain
from fastbm.nn.network import layout, size_of
from fastbm.training import adversarial
from fastbm.training.descent import Moments

NUMBERS = ("n_iter_", "n_features_in_", "_seed", "_updates")
PARTS = ("parameters", "statistics", "first", "second")


class AdversarialFiles(AdversarialTraining):
    """save and load."""

    def save(self, path):
        """Write the fitted networks to a safetensors file: parameters, settings, what optimizers remember, history.

        An older file at `path` stays whole until the new one is complete. A `random_state` that is a RandomState is saved
        as None: the seed that was drawn from it is kept, so training goes on the same. Callbacks are not saved.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ValueError
            When the schedule is a function, which a file without code cannot hold.
        """
        arrays = {}
        for name, network, moments in zip(self._networks, self._machine(), self._moments, strict=True):
            parts = network.parameters, network.statistics, moments.first, moments.second
            arrays |= {f"{name}.{part}": device.to_host(array) for part, array in zip(PARTS, parts, strict=True)}
        header = {name: getattr(self, name) for name in NUMBERS} | {"parameters": self._saved_parameters()}
        header |= self._more_of_file()
        header["optimizer_steps"] = [moments.steps for moments in self._moments]
        header["history"] = [{str(name): _plain(value) for name, value in record.items()} for record in self.history_]
        _history_of_file(header)
        if hasattr(self, "feature_names_in_"):
            header["feature_names_in_"] = [str(name) for name in self.feature_names_in_]
        _persistence.write(path, type(self).__name__, arrays, header)

    @classmethod
    def load(cls, path):
        """Return the estimator that `save` wrote; training goes on bit for bit as if never interrupted.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        model : object
            The estimator.

        Raises
        ------
        ValueError
            When the file is truncated, foreign, of another class, or was tampered with. No code of the file is ever run.
        """
        return _persistence.restored(cls, path)

    def _more_of_file(self) -> dict:
        """Return what else stands in the header of a file."""
        return {}

    def _features_of_file(self, header, n_features: int) -> dict:
        """Return, and set, what layers may depend on; ValueError when it is not sound."""
        return {}

    def _saved_parameters(self) -> dict:
        parameters = self.get_params(deep=False)
        if callable(parameters["learning_rate_schedule"]):
            raise ValueError("learning_rate_schedule is a function, which a file cannot hold; set it to 'constant', say")
        parameters["callbacks"] = None
        if not isinstance(self.random_state, Integral):
            parameters["random_state"] = None  # what a generator gave is kept as the seed
        return {name: _plain(value) for name, value in parameters.items()}

    @classmethod
    def _from_file(cls, arrays, header):
        self = cls(**header["parameters"])
        self._validate_params()
        n_iter, n_features, seed, updates = (_validation.check_count(header[name], name, 0) for name in NUMBERS)
        more = self._features_of_file(header, n_features)
        networks, moments = [], []
        steps = [_validation.check_count(number, "optimizer_steps", 0) for number in header["optimizer_steps"]]
        for name, layers, n_steps in zip(cls._networks, self._layers(n_features), steps, strict=True):
            parts = [arrays[f"{name}.{part}"] for part in PARTS]
            _check_parts(name, layers, parts)
            networks.append(adversarial.Network(layers, *parts[:2]))
            moments.append(Moments(parts[2], parts[3], n_steps))
        features: dict = {"n_features_in_": n_features} | more
        if "feature_names_in_" in header:
            features["feature_names_in_"] = np.array(header["feature_names_in_"], dtype=object)
            if len(features["feature_names_in_"]) != n_features:
                raise ValueError(f"{len(header['feature_names_in_'])} feature_names_in_ for {n_features} features")
        home = device.resolve("auto")
        return self._set_fitted(
            adversarial.resume(cls._kind(*networks), moments, updates), seed=seed, n_iter=n_iter, features=features,
            device=home, home=home, history=_history_of_file(header),
        )  # fmt: skip


def _check_parts(name: str, layers, parts) -> None:
    """Raise ValueError unless the flat arrays of a network are what its layers need."""
    sizes = [size_of(layout(layers, kind)) for kind in ("parameters", "statistics")]
    expected = [(size,) for size in (sizes[0], sizes[1], sizes[0])]
    got = [array.shape for array in parts]
    if got[:3] != expected or got[3] not in ((0,), expected[0]):
        raise ValueError(f"{name} has arrays of shapes {got} where {expected} were expected")
    if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in parts):
        raise ValueError(f"{name} has arrays that are not finite float32 numbers")
