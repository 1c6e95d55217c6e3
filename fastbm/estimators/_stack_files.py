"""Stacks on disk: one file, with what a file of each layer would hold."""

from __future__ import annotations

import numpy as np

from fastbm.estimators import _persistence
from fastbm.estimators._rbm_files import saved_parameters
from fastbm.estimators._stack_training import StackTraining
from fastbm.estimators.rbm import BernoulliRBM


class StackFiles(StackTraining):
    """save and load."""

    def save(self, path):
        """Write the fitted stack to a safetensors file: parameters, settings, chains, stream position, last steps, history.

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
        arrays, headers = {}, []
        for number, layer in enumerate(self._fitted_layers()):
            of_layer, header = layer._to_file()
            arrays |= {f"{number}.{name}": array for name, array in of_layer.items()}
            headers.append(header)
        header = {"parameters": saved_parameters(self), "layers": headers}
        if hasattr(self, "feature_names_in_"):
            header["feature_names_in_"] = [str(name) for name in self.feature_names_in_]
        _persistence.write(path, type(self).__name__, arrays, header)

    @classmethod
    def load(cls, path):
        """Return the stack that `save` wrote; training goes on bit for bit as if never interrupted.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        stack : object
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
        of_layers: dict = {str(number): {} for number in range(len(header["layers"]))}
        for name, array in arrays.items():
            number, _, name = name.partition(".")
            of_layers[number][name] = array
        pairs = zip(of_layers.values(), header["layers"], strict=True)
        layers = [BernoulliRBM._from_file(*pair) for pair in pairs]
        features: dict = {"n_features_in_": layers[0].n_features_in_}
        if "feature_names_in_" in header:
            features["feature_names_in_"] = names = np.array(header["feature_names_in_"], dtype=object)
            if names.shape != (layers[0].n_features_in_,):
                raise ValueError(f"feature_names_in_ of shape {names.shape} for {layers[0].n_features_in_} features")
        self._set_fitted(layers, features)
        self._fitted_layers()
        self._layers(fresh=False)  # the parameters are those of these layers
        return self
