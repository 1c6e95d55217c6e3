"""What a deep belief network is after fitting, and the passes, samples and bounds that need nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from fastbm import chain
from fastbm.chain import Purpose
from fastbm.device import adopt, home_of, namespace, to_device, using
from fastbm.estimators import _validation
from fastbm.estimators._dbn_parameters import DBNParameters
from fastbm.evaluation import log_partition
from fastbm.evaluation.partition import LogPartition
from fastbm.machines import dbn
from fastbm.machines.dbn import DBN
from fastbm.machines.directed import Layer
from fastbm.training import minibatches
from fastbm.units import bernoulli

ROWS_AT_ONCE = 4096
ARRAYS = "coefs_", "intercepts_", "generative_coefs_", "generative_intercepts_"
"""Lists with an array for each directed layer, the lowest first."""


class FittedDBN(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DBNParameters):
    """Fitted attributes, which may have been set by hand; public ones are documented by the estimator.

    The machine on top is an estimator of its own, of the class `_top_class`: what can be left to it, is.
    """

    _top_class: Any
    coefs_: list
    intercepts_: list
    generative_coefs_: list
    generative_intercepts_: list
    top_: Any  # a BernoulliRBM or an RBMClassifier
    n_iter_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    device_: str
    history_: list[dict]
    pretraining_history_: list[dict]
    _seed: int
    _updates: int  # up–down updates made
    _velocity: Any  # last steps of the recognition and of the generative layers, or None

    def __sklearn_tags__(self):
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def n_layers_(self) -> int:
        """Number of hidden layers."""
        return len(self.coefs_) + 1

    @property
    def _n_features_out(self) -> int:
        return self.top_.components_.shape[0]

    def _machine(self) -> DBN:
        """Return the parameters; ValueError when they do not fit together."""
        check_is_fitted(self, "top_")
        lengths = [len(getattr(self, name)) for name in ARRAYS]
        if len(set(lengths)) > 1:
            raise ValueError(f"{', '.join(ARRAYS)} must have an array for each directed layer, got {lengths} of them")
        recognition = tuple(map(Layer, self.coefs_, self.intercepts_))
        generative = tuple(map(Layer, self.generative_coefs_, self.generative_intercepts_))
        top = self.top_._machine()
        widths = [self.n_features_in_, *(len(layer.bias) for layer in recognition)]
        for number, (up, down) in enumerate(zip(recognition, generative, strict=True)):
            below, above = widths[number : number + 2]
            shapes = [array.shape for array in (*up, *down)]
            if shapes != [(below, above), (above,), (above, below), (below,)]:
                raise ValueError(
                    f"{', '.join(f'{name}[{number}]' for name in ARRAYS)} of shapes {', '.join(map(str, shapes))} do not fit "
                    f"together with {below} units below and {above} above"
                )
        if self.top_.n_features_in_ != widths[-1]:
            raise ValueError(f"top_ has {self.top_.n_features_in_} features, but there are {widths[-1]} units below it")
        return DBN(recognition, generative, top)

    def _machine_on(self, home: str) -> DBN:
        return dbn.moved(self._machine(), lambda array: to_device(array, home))

    def _check_rows(self, X) -> Any:
        check_is_fitted(self, "top_")
        return _validation.check_rows(self, X, reset=False)

    def _under_top(self, X):
        """Return the means of the units under the top machine, given rows, where these live."""
        rows = self._check_rows(X)
        if not self.coefs_:
            return rows
        with using(home_of(rows)):
            return dbn.upward_means(self._machine_on(home_of(rows)), rows)[-1]

    def _down(self, means):
        """Return the means of the visible units, given rows of the units under the top machine."""
        with using(home_of(means)):
            return dbn.downward_means(self._machine_on(home_of(means)), means)

    # ---------------------------------------------------------------------------------------------------- conditionals

    def transform(self, X):
        """Return the means of the top hidden layer, each layer's given the means of the one below, by recognition weights.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        H : ndarray of shape (n_samples, hidden_layer_sizes[-1])
        """
        h = self._under_top(X)
        return self.top_.transform(h)

    def inverse_transform(self, H):
        """Return the means of the visible units, each layer's given the means of the one above, by generative weights.

        Parameters
        ----------
        H : array-like of shape (n_samples, hidden_layer_sizes[-1])
            States or means of the top hidden layer, as from `transform`.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "top_")
        H = adopt(H)
        if home_of(H) == "cpu":
            H = check_array(H, dtype=_validation.FLOATS, input_name="H")
        else:
            H = _validation.finite_floats_of_gpu(H, "H")
        if H.ndim != 2 or H.shape[1] != self._n_features_out:
            raise ValueError(f"H must have shape (n_samples, {self._n_features_out}), got {H.shape}")
        with using(home_of(H)):
            top, n = self._machine_on(home_of(H)).top, self.top_.n_features_in_
            return self._down(bernoulli.mean(H @ top.weights[:n].T + top.visible_bias[:n]))

    def reconstruct(self, X):
        """Return the means of the visible units given those of the hidden ones: up and down again, nothing drawn.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
        """
        h = self._under_top(X)
        return self._down(self.top_.reconstruct(h))

    # ------------------------------------------------------------------------------------------------------------ bound

    def log_likelihood_bound(self, X, log_z=None, *, n_draws=10, random_state=None):
        """Return a lower bound of log p(v) of each row, in nats, estimated without bias [1]_.

        The mean over hidden states h drawn from the recognition weights, q(h | v), of log p(v, h) - log q(h | v), with the top
        layer, and labels, summed out: log p(v) less the Kullback–Leibler divergence of q from the posterior.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows of 0 and 1; others are drawn from as probabilities on the way up, and enter as they are.
        log_z : float or LogPartition, default=None
            log Z of the top machine, as from ``fastbm.evaluation.log_partition(network.top_)``; annealed anew when None.
        n_draws : int, default=10
            Hidden states drawn for each row: the bound does not depend on it, its error falls with it.
        random_state : int, RandomState instance or None, default=None
            Seed; None takes the estimator's own `random_state`.

        Returns
        -------
        bound : ndarray of shape (n_samples,)
            Float64. With one hidden layer it is log p(v) itself.

        References
        ----------
        .. [1] Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", ICML 2008.
        """
        rows, machine = self._check_rows(X), self._machine()
        rows = rows.toarray() if hasattr(rows, "toarray") else rows
        n_draws = _validation.check_count(n_draws, "n_draws", 1)
        seed = _validation.resolve_seed(self.random_state if random_state is None else random_state)
        if log_z is None:
            log_z = log_partition(self.top_, random_state=seed)
        log_z = float(log_z.log_z if isinstance(log_z, LogPartition) else log_z)
        keys = recognition_keys(seed, len(self.coefs_))
        with using(home_of(rows)):
            machine = self._machine_on(home_of(rows))
            exact, total = dbn.rounded(machine), namespace(rows).zeros(len(rows))
            for part in minibatches.slices(len(rows), ROWS_AT_ONCE):
                some = minibatches.prepare(rows[part])
                for update in range(n_draws):
                    total[part] += dbn.log_weights(
                        machine, exact, rows[part], some, len(getattr(self.top_, "classes_", ())), keys=keys, update=update,
                        first_chain=part.start,
                    )  # fmt: skip
            return total / n_draws - log_z

    def to(self, device):
        """Move the fitted network: it samples there from now on, and its arrays live there.

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
        check_is_fitted(self, "top_")
        self.top_.to(device)
        self.device_ = home = self.top_.device_
        for name in ARRAYS:
            setattr(self, name, [to_device(array, home) for array in getattr(self, name)])
        self._velocity = self._velocity and tuple(
            tuple(Layer(*(to_device(array, home) for array in layer)) for layer in layers) for layers in self._velocity
        )
        return self


def recognition_keys(seed: int, n_layers: int) -> list:
    """Return the random streams of upward passes outside training."""
    return [chain.stream_key(seed, Purpose.RECOGNITION, level) for level in range(n_layers)]


def generation_keys(seed: int, n_layers: int) -> list:
    """Return the random streams of downward passes outside training."""
    return [chain.stream_key(seed, Purpose.GENERATION, level) for level in range(n_layers)]
