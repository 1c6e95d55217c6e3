"""BiGAN: a generative adversarial network with an encoder, behind scikit-learn's interface."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context

from fastbm.device import home_of, namespace, to_device, using
from fastbm.estimators._adversarial_files import AdversarialFiles
from fastbm.estimators._adversarial_fitted import probabilities
from fastbm.estimators._adversarial_training import CONSTRAINTS, HIDDEN, POPULATION, StrOptions, chunks
from fastbm.machines import bigan, gan
from fastbm.nn.network import Network
from fastbm.training import bidirectional

ENCODER_OUTPUTS = {"uniform": "tanh", "normal": "identity"}
"""The last activation of an encoder, by the prior, whose range it shares."""


class BiGAN(ClassNamePrefixFeaturesOutMixin, TransformerMixin, AdversarialFiles):
    """Bidirectional generative adversarial network of dense layers: a generator, an encoder, and a discriminator of pairs.

    The discriminator D tells pairs (x, E(x)) of the data from pairs (G(z), z); encoder E and generator G learn to make it
    fail, and so to be each other's inverse [1]_: max_D min_E,G E_x[log D(x, E(x))] + E_z[log(1 - D(G(z), z))]. All three move
    at once. z joins at D's second layer.

    Parameters
    ----------
    latent_dim : int, default=50
        Size of z, and of what `transform` returns.
    generator_layer_sizes : array-like of int, default=(256, 256)
        Units of the generator's hidden layers, from z on.
    encoder_layer_sizes : array-like of int, default=(256, 256)
        Units of the encoder's hidden layers, from the rows on.
    discriminator_layer_sizes : array-like of int, default=(256, 256)
        Units of the discriminator's hidden layers; z enters at the second, so there is at least one.
    loss : {"non_saturating", "minimax"}, default="non_saturating"
        What encoder and generator descend: the cross-entropy with the labels exchanged, or the objective as it is written.
    prior : {"uniform", "normal"}, default="uniform"
        Of each latent: between -1 and 1, or standard normal. The encoder's output has the same range.
    output : {"sigmoid", "tanh", "identity"}, default="sigmoid"
        The generator's last activation: for data in [0, 1], in [-1, 1], or of any size.
    generator_activation : {"relu", "leaky_relu", "tanh", "sigmoid", "maxout"}, default="relu"
        Of the generator's hidden layers.
    encoder_activation : {"relu", "leaky_relu", "tanh", "sigmoid", "maxout"}, default="leaky_relu"
        Of the encoder's hidden layers.
    discriminator_activation : {"relu", "leaky_relu", "tanh", "sigmoid", "maxout"}, default="leaky_relu"
        Of the discriminator's hidden layers.
    leaky_slope : float, default=0.2
        Slope of "leaky_relu" below 0.
    n_maxout_pieces : int, default=5
        Linear pieces of a maxout unit.
    batch_norm : bool, default=False
        Whether hidden layers of generator and encoder are normalised by the moments of a minibatch, all but the encoder's
        first and those of maxout units; afterwards by those of the population. The encoder's last layer is too, before it is
        brought to the prior's range: so latents of rows are spread as the prior's are, and cannot gather at its ends.
    discriminator_batch_norm : bool, default=False
        Whether the discriminator's are, all but the first, both kinds of pairs apart.
    dropout : float in [0, 1), default=0.0
        Probability that a hidden unit of the discriminator is left out of a step.
    initial : {"glorot", "he"} or float, default="glorot"
        How weights are drawn at first; a number is the deviation of a normal distribution.
    optimizer : {"adam", "sgd"}, default="adam"
        Adam, or plain steps with momentum.
    learning_rate : float, default=2e-4
        Size of the steps of generator and encoder.
    discriminator_learning_rate : float, default=None
        Size of the discriminator's; `learning_rate` when None.
    learning_rate_schedule : {"constant", "linear", "inverse"} or callable, default="constant"
        What learning rates are multiplied by when a fraction t of a call of `fit` is done: 1; 1 - t; 1 / (1 + 9 t); or a
        function of t. `partial_fit` uses its value at 0.
    beta_1 : float in [0, 1), default=0.5
        How slowly Adam's mean of gradients forgets.
    beta_2 : float in [0, 1), default=0.999
        How slowly Adam's mean of their squares forgets.
    momentum : float in [0, 1), default=0.5
        Fraction of the last step that "sgd" adds to each.
    l2 : float, default=0.0
        Objectives grow by l2/2 Σw² over the weights, biases left out.
    batch_size : int, default=128
        Rows in a minibatch.
    n_iter : int, default=50
        Passes over the training data.
    shuffle : bool, default=True
        Whether rows come in another order in each pass.
    verbose : int, default=0
        When not 0, shows a progress bar and prints losses after each pass.
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, orders, latents and dropout; an int repeats the same results.
    callbacks : callable or list of callables, default=None
        Each is called after every pass as ``callback(model, record)``, with an estimator that is fitted so far, whose arrays
        the training goes on to change, and a copy of the pass's record in `history_`. When one returns True, training ends.
    warm_start : bool, default=False
        Whether `fit` goes on from the last fit instead of starting anew.
    device : {"auto", "cpu", "cuda", "cuda:1", ...}, default="auto"
        Where to compute: "auto" is the GPU where `X` lives on one, else the CPU. Latents are the same everywhere; training
        agrees within rounding.

    Attributes
    ----------
    generator_ : Network
        The generator: ``generator_.parameters`` is one flat array, of which ``generator_.views`` shows each layer's by name.
    encoder_ : Network
        The encoder.
    discriminator_ : Network
        The discriminator of pairs, up to its logit.
    n_iter_ : int
        Passes over data made by `fit`, those before a warm start included.
    history_ : list of dict
        A record of each pass: "iteration", "learning_rate" of its last step, "discriminator_loss", "encoder_loss",
        "generator_loss", the mean of D on pairs of the data, "data_probability", and on the others, "sample_probability";
        "seconds".
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, when `X` had them.
    device_ : str
        The device that was used, and computes samples too. The networks live where `X` did.

    Notes
    -----
    Where a loss is not finite, `fit` ends with a ValueError that names the step; the networks after the last good pass of
    that fit, if there is one, are then the fitted ones.

    References
    ----------
    .. [1] Donahue, Krähenbühl & Darrell, "Adversarial feature learning", ICLR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbm import BiGAN
    >>> X = np.random.default_rng(0).random((100, 6))
    >>> sizes = {f"{each}_layer_sizes": (8,) for each in ("generator", "encoder", "discriminator")}
    >>> model = BiGAN(2, n_iter=2, random_state=0, **sizes).fit(X)
    >>> model.transform(X).shape, model.reconstruct(X).shape
    ((100, 2), (100, 6))
    """

    _parameter_constraints: dict = CONSTRAINTS | {
        "encoder_layer_sizes": ["array-like"],
        "encoder_activation": [StrOptions(set(HIDDEN))],
    }
    encoder_: Network
    _networks = ("generator_", "encoder_", "discriminator_")
    _kind = bigan.BiGAN
    _step = staticmethod(bidirectional.step)
    _figures = bidirectional.FIGURES

    def __init__(
        self,
        latent_dim=50,
        *,
        generator_layer_sizes=(256, 256),
        encoder_layer_sizes=(256, 256),
        discriminator_layer_sizes=(256, 256),
        loss="non_saturating",
        prior="uniform",
        output="sigmoid",
        generator_activation="relu",
        encoder_activation="leaky_relu",
        discriminator_activation="leaky_relu",
        leaky_slope=0.2,
        n_maxout_pieces=5,
        batch_norm=False,
        discriminator_batch_norm=False,
        dropout=0.0,
        initial="glorot",
        optimizer="adam",
        learning_rate=2e-4,
        discriminator_learning_rate=None,
        learning_rate_schedule="constant",
        beta_1=0.5,
        beta_2=0.999,
        momentum=0.5,
        l2=0.0,
        batch_size=128,
        n_iter=50,
        shuffle=True,
        verbose=0,
        random_state=None,
        callbacks=None,
        warm_start=False,
        device="auto",
    ):
        self.latent_dim = latent_dim
        self.generator_layer_sizes = generator_layer_sizes
        self.encoder_layer_sizes = encoder_layer_sizes
        self.discriminator_layer_sizes = discriminator_layer_sizes
        self.loss = loss
        self.prior = prior
        self.output = output
        self.generator_activation = generator_activation
        self.encoder_activation = encoder_activation
        self.discriminator_activation = discriminator_activation
        self.leaky_slope = leaky_slope
        self.n_maxout_pieces = n_maxout_pieces
        self.batch_norm = batch_norm
        self.discriminator_batch_norm = discriminator_batch_norm
        self.dropout = dropout
        self.initial = initial
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.momentum = momentum
        self.l2 = l2
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.shuffle = shuffle
        self.verbose = verbose
        self.random_state = random_state
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Fit generator, encoder and discriminator to `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or iterable of such batches
            Training data, in the range of `output`. Arrays, those mapped from a file too, are never copied as a whole. Batches
            of an iterable are cut into minibatches; a generator allows ``n_iter=1`` only.
        y : None
            Ignored.

        Returns
        -------
        self : BiGAN

        Raises
        ------
        ValueError
            When `X` or a parameter is not valid, or training diverges; see the notes.
        """
        return self._fit(X)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Make one step, with all rows of `X` as one minibatch.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or iterable of such batches
            With an iterable, one step is made for each batch.
        y : None
            Ignored.

        Returns
        -------
        self : BiGAN
        """
        return self._partial_fit(X)

    def transform(self, X):
        """Return E(x), the latents of rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        Z : array of shape (n_rows, latent_dim)
            Of the dtype of `X`, where it lives.
        """
        rows, home, dtype = self._check_rows(X)
        with using(self.device_):
            return to_device(self._running().encoder.evaluate(rows), home).astype(dtype, copy=False)

    def inverse_transform(self, Z):
        """Return G(z), the rows of latents.

        Parameters
        ----------
        Z : array-like of shape (n_rows, latent_dim)

        Returns
        -------
        X : array of shape (n_rows, n_features), float32
        """
        self._machine()
        z = self._check_latents(Z, "Z")
        with using(self.device_):
            return to_device(self._running().generator.evaluate(z), home_of(Z))

    def reconstruct(self, X):
        """Return G(E(x)).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        X : array of shape (n_rows, n_features)
            Of the dtype of `X`, where it lives.
        """
        rows, home, dtype = self._check_rows(X)
        with using(self.device_):
            machine = self._running()
            return to_device(machine.generator.evaluate(machine.encoder.evaluate(rows)), home).astype(dtype, copy=False)

    def discriminate(self, X, Z=None):
        """Return D(x, z), the probability that the discriminator gives pairs of being the data's.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        Z : array-like of shape (n_rows, latent_dim), default=None
            Latents; E(x) when None.

        Returns
        -------
        probability : array of shape (n_rows,)

        Raises
        ------
        ValueError
            When the numbers of rows differ.
        """
        rows, home, dtype = self._check_rows(X)
        with using(self.device_):
            machine = self._running()
            z = machine.encoder.evaluate(rows) if Z is None else self._check_latents(Z, "Z")
            if len(z) != len(rows):
                raise ValueError(f"Z has {len(z)} rows for the {len(rows)} of X")
            return probabilities(machine.discriminator.evaluate(rows, z), home).astype(dtype, copy=False)

    @property
    def _n_features_out(self) -> int:
        return int(self.latent_dim)

    def _layers(self, n_features: int):
        latent_dim, of_encoder = int(self.latent_dim), ENCODER_OUTPUTS[self.prior]
        generator, encoder, discriminator = (
            self._sizes(f"{each}_layer_sizes") for each in ("generator", "encoder", "discriminator")
        )  # fmt: skip
        if not discriminator:
            raise ValueError("discriminator_layer_sizes must have at least one size, behind which z joins, got none")
        hidden = [self._hidden(each, self.batch_norm) for each in (self.generator_activation, self.encoder_activation)]
        of_pairs = self._hidden(self.discriminator_activation, self.discriminator_batch_norm, self.dropout)
        return (
            gan.perceptron((latent_dim, *generator, n_features), hidden[0], self.output, looks=False),
            gan.perceptron(
                (n_features, *encoder, latent_dim), hidden[1], of_encoder, looks=True, spreads=bool(self.batch_norm)
            ),
            bigan.joint_perceptron(n_features, latent_dim, discriminator, of_pairs),
        )

    def _estimate(self, machine, rows, key) -> None:
        """Estimate the moments of batch normalisation: of the generator by latents, of the encoder by rows, then by pairs."""
        z, rows = self._latents(POPULATION, key, home_of(machine.generator.parameters)), rows.astype(np.float32)
        machine.generator.estimate(lambda: ((z[part], None) for part in chunks(len(z))))
        machine.encoder.estimate(lambda: ((rows[part], None) for part in chunks(len(rows))))
        if machine.discriminator.has_batch_norm:
            xp, n_rows = namespace(z), min(len(rows), len(z))
            both = xp.concatenate([rows[:n_rows], machine.generator.evaluate(z[:n_rows])])
            latents = xp.concatenate([machine.encoder.evaluate(rows[:n_rows]), z[:n_rows]])
            machine.discriminator.estimate(lambda: ((both[part], latents[part]) for part in chunks(len(both))))

    def __sklearn_tags__(self):
        tags: Any = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
