"""What a deep Boltzmann machine with labels does besides: predictions, labels of samples, and their training."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbm import chain
from fastbm.chain import Purpose
from fastbm.device import home_of, namespace, to_device, to_host, using
from fastbm.estimators import _labels
from fastbm.estimators._dbm_files import DBMFiles
from fastbm.estimators._dbm_fitted import ROWS_AT_ONCE
from fastbm.estimators._predictions import Predictions
from fastbm.machines import dbm, dbm_labels
from fastbm.machines.dbm import DBM, Chains, MeanField, RoundedDBM
from fastbm.training import mean_field_labels, minibatches
from fastbm.training.mean_field import State
from fastbm.units import softmax


class LabelledDBM(Predictions, DBMFiles):
    """Methods of a machine whose last layer are labels."""

    _measure = "accuracy"
    class_coefs_: Any
    intercept_class_: Any
    classes_: np.ndarray

    # ------------------------------------------------------------------------------------------------------ parameters

    def _arrays(self) -> tuple[list, list]:
        weights, biases = super()._arrays()
        return [*weights, self.class_coefs_], [*biases, self.intercept_class_]

    def _joint(self) -> DBM:
        machine = super()._joint()
        if len(machine.biases[-1]) != len(self.classes_):
            raise ValueError(f"intercept_class_ has {len(machine.biases[-1])} biases for {len(self.classes_)} classes")
        return machine

    def _machine(self) -> DBM:
        return dbm_labels.without_labels(self._joint())

    def _machine_of_class(self, number: int) -> DBM:
        """Return the machine without labels that is left when a class is given."""
        return dbm_labels.given_class(self._joint(), number)

    def _set_parameters(self, machine: DBM) -> None:
        self.class_coefs_, self.intercept_class_ = machine.weights[-1], machine.biases[-1]
        super()._set_parameters(dbm_labels.without_labels(machine))

    def _move(self, take) -> None:
        super()._move(take)
        self.class_coefs_, self.intercept_class_ = take(self.class_coefs_), take(self.intercept_class_)

    # ----------------------------------------------------------------------------------------------------- predictions

    def _class_logits(self, X):
        """Return bounds of log p(v, y) + log Z of all rows and classes, where the rows live."""
        rows = self._check_rows(X)
        with using(home_of(rows)):
            exact, found = self._rounded(home_of(rows)), []
            for part in minibatches.slices(rows.shape[0], ROWS_AT_ONCE):
                found.append(dbm_labels.class_bounds(exact, minibatches.prepare(rows[part]), **self._how())[0])
            return namespace(found[0]).concatenate(found)

    def _inferred(self, exact: RoundedDBM, rows) -> MeanField:
        """Return the means of hidden layers given a minibatch, Σ_y q(y | v) of those given class y: labels are summed out."""
        bounds, found = dbm_labels.class_bounds(exact, rows, **self._how())
        shares = softmax.mean(bounds).astype(np.float32)
        means = (
            sum(shares[:, k : k + 1] * each for k, each in enumerate(of_layer))
            for of_layer in zip(*(each.means for each in found), strict=True)
        )
        n_updates, changes = (
            namespace(bounds).stack([getattr(each, name) for each in found]) for name in ("n_updates", "change")
        )
        return MeanField(tuple(means), n_updates.sum(axis=0), changes.max(axis=0))

    def free_energy(self, X):
        """Return the variational free energy -log Σ_y exp(E_q[-energy(v, h, y)] + H(q)) of each row, q mean field given y.

        At least the free energy -log Σ_y Σ_h exp(-energy(v, h, y)); that itself with one hidden layer.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of 0 and 1; others enter as they are.

        Returns
        -------
        free_energy : ndarray of shape (n_samples,)
            Float64.
        """
        return -softmax.log_partition(self._class_logits(X))

    def predict_proba(self, X):
        """Return q(y | v), proportional to the exponential of the bound of log p(v, y) that mean field gives with each class.

        Exact, p(y | v), with one hidden layer.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        P : ndarray of shape (n_samples, n_classes)
            Float64; columns are in the order of `classes_`.
        """
        return softmax.mean(self._class_logits(X))

    # -------------------------------------------------------------------------------------------------------- sampling

    def _label_start(self, exact: RoundedDBM, chains: Chains, init, y, seed: int) -> Any:
        labels, home, n_samples = chains.layers[-1], self.device_, len(chains.layers[0])
        if y is not None:
            numbers = _labels.encode_for_samples(y, self.classes_, n_samples)
            dbm_labels.put(labels, to_device(np.ascontiguousarray(numbers), home))
            return dbm_labels.no_unit(len(self.classes_), home)
        if not isinstance(init, str):  # a fair die, or, given rows, by the hidden units
            beta = to_device(np.full(1, float(init is not None), np.float32), home)
            dbm_labels.draw(exact, chains.layers, key=chain.stream_key(seed, Purpose.SAMPLING_START), beta=beta)
        return None

    def _advance(self, exact: RoundedDBM, chains: Chains, n_updates: int, *, y, **how) -> Chains:
        return (dbm_labels if y is None else dbm).advance(exact, chains, n_updates, **how)

    def _labels_of(self, chains: Chains):
        """Return the labels of chains, where the fitted attributes live."""
        numbers = dbm_labels.numbers_of(chains.layers[-1], len(self.classes_))
        return _labels.decode(numbers, self.classes_, home_of(self.coefs_[0]))

    # -------------------------------------------------------------------------------------------------------- training

    def _take(self, X, sample_weight=None, *, fresh, y=None, classes=None):
        """Return the data with their labels, and what will be fitted besides the training state."""
        y = _labels.check(y)
        data, fitted = super()._take(X, sample_weight, fresh=fresh)
        numbers, classes = _labels.numbered(y, classes, None if fresh else self.classes_)
        data.label(numbers, len(classes))
        fitted["features"]["classes_"] = classes
        return data, fitted

    def _phases(self, state: State, numbers) -> dict[str, Any]:
        return {"phase": mean_field_labels.persistent, "data_phase": mean_field_labels.clamped(numbers)}

    def _measured(self, rows, numbers) -> float:
        """Return the accuracy on rows."""
        return float((to_host(self._class_logits(rows)).argmax(axis=1) == numbers).mean())

    def _saved_classes(self) -> dict:
        return _labels.to_header(self.classes_)

    @classmethod
    def _features_of_file(cls, header, machine: DBM) -> dict[str, Any]:
        classes = _labels.from_header(header)
        if len(classes) != machine.biases[-1].size:
            raise ValueError(f"{len(classes)} classes for {machine.biases[-1].size} labels")
        return {"n_features_in_": machine.biases[0].size, "classes_": classes}
