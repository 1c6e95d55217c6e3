"""Machines given by hand, and machines on disk."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np

from fastbm import chain, device
from fastbm.estimators import _persistence, _validation
from fastbm.estimators._training import RBMTraining
from fastbm.machines.rbm import RBM, Chains, all_free
from fastbm.training import tempering
from fastbm.training.ascent import Offsets

LARGEST_POSITION = 2**33
LADDER_ARRAYS = ("betas", "accepted", "rates")
SIDES = ("visible", "hidden")
NUMBERS = ("n_iter_", "_seed", "_updates", "_gibbs_updates")


class RBMFiles(RBMTraining):
    """from_weights, save and load."""

    _scales: tuple[str, ...] = ()  # attributes that are not always there, and are saved too

    @classmethod
    def from_weights(cls, weights, visible_bias, hidden_bias, **parameters):
        """Return a fitted machine with the given parameters, to sample or to train further.

        Parameters
        ----------
        weights : array-like of shape (n_visible, n_hidden)
            The transpose of `components_`.
        visible_bias : array-like of shape (n_visible,)
        hidden_bias : array-like of shape (n_hidden,)
        **parameters
            Constructor parameters; `n_components` is n_hidden.

        Returns
        -------
        machine : object
            The estimator.

        Raises
        ------
        ValueError
            When shapes do not match, or a value is not finite or too large to be sampled.
        """
        return cls._from_machine(RBM(*_validation.check_parameters(weights, visible_bias, hidden_bias)), parameters)

    @classmethod
    def _from_machine(cls, machine, parameters, features=None):
        """Return a fitted estimator of a machine, and of fitted attributes that are not of its training."""
        n_visible, n_hidden = machine.weights.shape
        if parameters.setdefault("n_components", n_hidden) != n_hidden:
            raise ValueError(
                f"n_components={parameters['n_components']} does not match weights of shape {(n_visible, n_hidden)}"
            )
        self = cls(**parameters)
        self._validate_params()
        return self._set_fitted(
            self._initial_state(machine),
            seed=_validation.resolve_seed(self.random_state),
            n_iter=0,
            dtype=machine.weights.dtype,
            features=features or {"n_features_in_": n_visible},
            device=device.resolve(self.device),
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
        _persistence.write(path, type(self).__name__, *self._to_file())

    def _to_file(self) -> tuple[dict, dict]:
        """Return the arrays and the header of a file."""
        self._rounded()  # a machine that cannot be sampled could not be loaded: the error is better now
        self._check_chains()
        arrays = {name: getattr(self, name) for name in self._parameters}
        arrays |= {name: getattr(self, name) for name in self._scales if hasattr(self, name)}
        arrays |= {"chains.visible": self._visible_chains, "chains.hidden": chain.pack(device.to_host(self.h_samples_))}
        velocity, offsets, activity = self._carried()
        if velocity is not None:
            arrays |= {f"velocity.{name}": array for name, array in velocity._asdict().items()}
        if offsets is not None:
            arrays |= {f"offsets.{name}": array for name, array in offsets._asdict().items()}
        if activity is not None:
            arrays["activity"] = activity
        header = (
            {name: getattr(self, name) for name in NUMBERS} | {"parameters": saved_parameters(self)} | self._saved_classes()
        )
        header["history"] = [{str(name): _plain(value) for name, value in record.items()} for record in self.history_]
        _history_of_file(header)
        if self._ladder is not None:
            arrays |= {f"ladder.{name}": getattr(self._ladder, name) for name in LADDER_ARRAYS}
            arrays |= {f"tempered.{side}": states for side, states in zip(SIDES, self._tempered, strict=True)}
            header["ladder"] = {"rounds": self._ladder.rounds, "adapted": self._ladder.adapted}
        if hasattr(self, "feature_names_in_"):
            header["feature_names_in_"] = [str(name) for name in self.feature_names_in_]
        return {name: device.to_host(array) for name, array in arrays.items()}, header

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

    def _saved_classes(self) -> dict:
        """Return what the header of a file says of classes, where there are any."""
        return {}

    @classmethod
    def _from_file(cls, arrays, header):
        self = cls(**header["parameters"])
        self._validate_params()
        machine, components = cls._machine_of_file(arrays), arrays["components_"]
        velocity = None
        if "velocity.weights" in arrays:
            velocity = type(machine)(*(arrays[f"velocity.{name}"] for name in machine._fields))
        offsets = Offsets(*(arrays[f"offsets.{name}"] for name in Offsets._fields)) if "offsets.visible" in arrays else None
        n_iter, seed, updates, gibbs_updates = (_validation.check_count(header[name], name, 0) for name in NUMBERS)
        chains = Chains(arrays["chains.visible"], arrays["chains.hidden"], updates)
        ladder, chains = _ladder_of_file(arrays, header, chains)
        activity = arrays.get("activity")
        _check_shapes(machine, velocity, chains, offsets, activity, *cls._visible_states(machine))
        features: dict = {name: arrays[name] for name in cls._scales if name in arrays}
        features |= cls._features_of_file(header, machine)
        n_features = features["n_features_in_"]
        if self.n_components != machine.weights.shape[1]:
            raise ValueError(f"n_components={self.n_components} with components_ of shape {components.shape}")
        if len(header.get("feature_names_in_", components[0])) != n_features:
            raise ValueError(f"{len(header['feature_names_in_'])} feature_names_in_ for {n_features} features")
        if "feature_names_in_" in header:
            features["feature_names_in_"] = np.array(header["feature_names_in_"], dtype=object)
        return self._set_fitted(
            cls._rule.resume(machine, velocity, chains, offsets, activity, ladder),
            seed=seed,
            n_iter=n_iter,
            dtype=components.dtype,
            features=features,
            device=device.resolve("auto"),
            gibbs_updates=gibbs_updates,
            history=_history_of_file(header),
        )

    @classmethod
    def _machine_of_file(cls, arrays):
        """Return the machine of a file; ValueError when it is none."""
        components, visible_bias, hidden_bias = (arrays[name] for name in cls._parameters)
        return RBM(*_validation.check_parameters(components.T, visible_bias, hidden_bias))

    @classmethod
    def _features_of_file(cls, header, machine) -> dict:
        """Return the number of features, and the classes where there are any; ValueError when they do not fit the machine."""
        return {"n_features_in_": machine.weights.shape[0]}

    @classmethod
    def _visible_states(cls, machine) -> tuple[int, type]:
        """Return the width and the dtype of visible chains."""
        return chain.padded(machine.weights.shape[0]) // chain.WORD, np.uint64


def saved_parameters(estimator) -> dict:
    """Return the constructor parameters as JSON has them; ValueError when a schedule is a function."""
    parameters = estimator.get_params(deep=False)
    for name in parameters:
        if name.endswith("_schedule") and callable(parameters[name]):
            raise ValueError(f"{name} is a function, which a file cannot hold; set it to 'constant', say")
    parameters["callbacks"] = None
    if not isinstance(estimator.random_state, Integral):
        parameters["random_state"] = None  # what a generator gave is kept as the seed
    return {name: _plain(value) for name, value in parameters.items()}


def _plain(value):
    """Return a parameter as a type that JSON has."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    return value if value is None or isinstance(value, str) else np.asarray(value).tolist()


def _ladder_of_file(arrays, header, chains: Chains):
    """Return the ladder, and all its chains; None, and the chains as they are, where there is none."""
    if "ladder" not in header:
        return None, chains
    betas, accepted, rates = (arrays[f"ladder.{name}"] for name in LADDER_ARRAYS)
    betas = _validation.check_ladder(betas)
    rounds, adapted = _validation.check_count(header["ladder"]["rounds"], "rounds", 0), header["ladder"]["adapted"] is True
    shapes = [(array.shape, array.dtype) for array in (accepted, rates)]
    if shapes != [((len(betas) - 1,), np.dtype(np.float64))] * 2 or rounds >= tempering.ROUNDS:
        raise ValueError(f"a ladder of {len(betas)} inverse temperatures with arrays of {shapes} after {rounds} rounds")
    known = np.concatenate([accepted, np.nan_to_num(rates)])
    if not ((known >= 0) & (known <= tempering.ROUNDS)).all():
        raise ValueError("a ladder with rates that are none")
    visible, hidden = (
        np.concatenate([states, arrays[f"tempered.{side}"]]) for side, states in zip(SIDES, chains[:2], strict=True)
    )
    all_chains = Chains(visible, hidden, chains.updates)
    if len(all_chains.visible) != len(betas) * len(chains.visible):
        raise ValueError(f"{len(all_chains.visible)} chains for {len(betas)} inverse temperatures")
    return tempering.Ladder(betas, accepted, rounds, rates, adapted), all_chains


def _history_of_file(header, name: str = "history") -> list[dict]:
    history = header.get(name, [])
    records = isinstance(history, list) and all(isinstance(record, dict) for record in history)
    if not records or not all(isinstance(value, Real) for record in history for value in record.values()):
        raise ValueError(f"{name} must be a list of records of numbers")
    return history


def _check_shapes(machine, velocity, chains, offsets, activity, width, dtype):
    n_chains, n_words = len(chains.visible), chain.padded(machine.weights.shape[1]) // chain.WORD
    expected = [((n_chains, width), np.dtype(dtype)), ((n_chains, n_words), np.dtype(np.uint64))]
    expected += [(array.shape, np.dtype(np.float32)) for array in machine if velocity is not None]
    expected += [(array.shape, np.dtype(np.float32)) for array in machine[1:3] if offsets is not None]
    expected += [(machine.hidden_bias.shape, np.dtype(np.float32))] * (activity is not None)
    others = () if activity is None else (activity,)
    arrays = (chains.visible, chains.hidden, *(velocity or ()), *(offsets or ()), *others)
    got = [(array.shape, array.dtype) for array in arrays]
    if got != expected or n_chains == 0:
        raise ValueError(f"arrays of {got} where {expected} were expected")
    if not all(np.isfinite(array).all() for array in arrays if array.dtype == np.float32):
        raise ValueError("arrays hold NaN or infinity")
    free = (all_free(n_units) for n_units in machine.weights.shape)
    if any((states & ~units).any() for states, units in zip(chains[:2], free, strict=True) if chain.is_packed(states)):
        raise ValueError("chains have units that the machine has not")
    if chains.updates % 2 == 0 or chains.updates >= LARGEST_POSITION:
        raise ValueError(f"_updates must be odd and below {LARGEST_POSITION}, got {chains.updates}")
