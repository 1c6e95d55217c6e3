"""GAN: a generative adversarial network behind scikit-learn's interface."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval

from fastbm.device import home_of, namespace, using
from fastbm.estimators._adversarial_files import AdversarialFiles
from fastbm.estimators._adversarial_fitted import probabilities
from fastbm.estimators._adversarial_training import CONSTRAINTS, POPULATION, chunks
from fastbm.machines import gan
from fastbm.training import adversarial


class GAN(AdversarialFiles):
    """Generative adversarial network of dense layers.

    A generator G turns latents z into rows; a discriminator D, 0 to 1, tells rows of the data from the generator's, which
    learns to make it fail [1]_: max_D min_G E_x[log D(x)] + E_z[log(1 - D(G(z)))]. In each step D ascends so many times, with
    fresh latents each, then G descends once. Results depend on `random_state` alone.

    Parameters
    ----------
    latent_dim : int, default=100
        Size of z.
    generator_layer_sizes : array-like of int, default=(256, 256)
        Units of the generator's hidden layers, from z on.
    discriminator_layer_sizes : array-like of int, default=(256, 256)
        Units of the discriminator's hidden layers, from the rows on.
    n_discriminator_steps : int, default=1
        Steps of the discriminator, each with a minibatch of its own, for one of the generator: k of [1]_.
    loss : {"non_saturating", "minimax"}, default="non_saturating"
        What the generator descends: -log D(G(z)), whose slope does not vanish where D is sure, or log(1 - D(G(z))), the
        objective as it is written.
    prior : {"uniform", "normal"}, default="uniform"
        Of each latent: between -1 and 1, or standard normal.
    output : {"sigmoid", "tanh", "identity"}, default="sigmoid"
        The generator's last activation: for data in [0, 1], in [-1, 1], or of any size.
    pack : int, default=1
        Rows that the discriminator is shown side by side, so that it sees whether samples lack variety [2]_.
    generator_activation : {"relu", "leaky_relu", "tanh", "sigmoid", "maxout"}, default="relu"
        Of the generator's hidden layers.
    discriminator_activation : {"relu", "leaky_relu", "tanh", "sigmoid", "maxout"}, default="leaky_relu"
        Of the discriminator's hidden layers.
    leaky_slope : float, default=0.2
        Slope of "leaky_relu" below 0.
    n_maxout_pieces : int, default=5
        Linear pieces of a maxout unit.
    batch_norm : bool, default=False
        Whether the generator's hidden layers are normalised by the moments of a minibatch [3]_, but those of maxout units.
        Afterwards those of the population take their place: a sample depends on its z alone.
    discriminator_batch_norm : bool, default=False
        Whether the discriminator's are, all but the first, rows and samples apart.
    dropout : float in [0, 1), default=0.0
        Probability that a hidden unit of the discriminator is left out of a step.
    label_smoothing : float in [0, 1), default=0.0
        The discriminator is asked for 1 less so much, instead of 1, for rows of the data.
    instance_noise : float, default=0.0
        Deviation of the normal noise that is added to all rows and samples before the discriminator sees them [4]_. Data that
        are points, or have few values, are otherwise told from samples by those alone, and the generator learns little.
    initial : {"glorot", "he"} or float, default="glorot"
        How weights are drawn at first; a number is the deviation of a normal distribution.
    optimizer : {"adam", "sgd"}, default="adam"
        Adam, or plain steps with momentum.
    learning_rate : float, default=2e-4
        Size of the generator's steps.
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
    batch_size : int, default=64
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
    discriminator_ : Network
        The discriminator, up to its logit.
    n_iter_ : int
        Passes over data made by `fit`, those before a warm start included.
    history_ : list of dict
        A record of each pass: "iteration", "learning_rate" of its last step, "discriminator_loss", "generator_loss", the mean
        of D on rows, "data_probability", and on samples, "sample_probability", in its own steps, "fooled_probability", in the
        generator's; "seconds".
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
    .. [1] Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville & Bengio, "Generative adversarial nets", NIPS
       2014.
    .. [2] Lin, Khetan, Fanti & Oh, "PacGAN: the power of two samples in generative adversarial networks", NeurIPS 2018.
    .. [3] Radford, Metz & Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
       networks", ICLR 2016.
    .. [4] Sønderby, Caballero, Theis, Shi & Huszár, "Amortised MAP inference for image super-resolution", ICLR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbm import GAN
    >>> X = np.random.default_rng(0).normal(3.0, 0.5, (1000, 1))
    >>> sizes = {"generator_layer_sizes": (16,), "discriminator_layer_sizes": (16,)}
    >>> model = GAN(1, output="identity", n_iter=2, random_state=0, **sizes)
    >>> model.fit(X).sample(5, random_state=0).shape
    (5, 1)
    """

    _parameter_constraints: dict = CONSTRAINTS | {
        "n_discriminator_steps": [Interval(Integral, 1, None, closed="left")],
        "pack": [Interval(Integral, 1, None, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "instance_noise": [Interval(Real, 0, None, closed="left")],
    }
    _networks = ("generator_", "discriminator_")
    _kind = gan.GAN
    _step = staticmethod(adversarial.step)
    _figures = adversarial.FIGURES

    def __init__(
        self,
        latent_dim=100,
        *,
        generator_layer_sizes=(256, 256),
        discriminator_layer_sizes=(256, 256),
        n_discriminator_steps=1,
        loss="non_saturating",
        prior="uniform",
        output="sigmoid",
        pack=1,
        generator_activation="relu",
        discriminator_activation="leaky_relu",
        leaky_slope=0.2,
        n_maxout_pieces=5,
        batch_norm=False,
        discriminator_batch_norm=False,
        dropout=0.0,
        label_smoothing=0.0,
        instance_noise=0.0,
        initial="glorot",
        optimizer="adam",
        learning_rate=2e-4,
        discriminator_learning_rate=None,
        learning_rate_schedule="constant",
        beta_1=0.5,
        beta_2=0.999,
        momentum=0.5,
        l2=0.0,
        batch_size=64,
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
        self.discriminator_layer_sizes = discriminator_layer_sizes
        self.n_discriminator_steps = n_discriminator_steps
        self.loss = loss
        self.prior = prior
        self.output = output
        self.pack = pack
        self.generator_activation = generator_activation
        self.discriminator_activation = discriminator_activation
        self.leaky_slope = leaky_slope
        self.n_maxout_pieces = n_maxout_pieces
        self.batch_norm = batch_norm
        self.discriminator_batch_norm = discriminator_batch_norm
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.instance_noise = instance_noise
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
        """Fit generator and discriminator to `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or iterable of such batches
            Training data, in the range of `output`. Arrays, those mapped from a file too, are never copied as a whole. Batches
            of an iterable are cut into minibatches; a generator allows ``n_iter=1`` only.
        y : None
            Ignored.

        Returns
        -------
        self : GAN

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
        self : GAN
        """
        return self._partial_fit(X)

    def discriminate(self, X):
        """Return D(x), the probability that the discriminator gives rows of being data.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            With `pack` above 1, each `pack` rows, one after the other, are shown together.

        Returns
        -------
        probability : array of shape (n_rows // pack,)

        Raises
        ------
        ValueError
            When the number of rows is no multiple of `pack`.
        """
        rows, home, dtype = self._check_rows(X)
        if len(rows) % self.pack:
            raise ValueError(f"X has {len(rows)} rows, which is no multiple of pack={self.pack}")
        with using(self.device_):
            logits = self._running().discriminator.evaluate(rows.reshape(len(rows) // self.pack, -1))
            return probabilities(logits, home).astype(dtype, copy=False)

    def _layers(self, n_features: int):
        ends = (int(self.latent_dim), n_features, int(self.pack) * n_features)
        generator = self._hidden(self.generator_activation, self.batch_norm)
        discriminator = self._hidden(self.discriminator_activation, self.discriminator_batch_norm, self.dropout)
        of_generator, of_discriminator = (
            self._sizes(name) for name in ("generator_layer_sizes", "discriminator_layer_sizes")
        )  # fmt: skip
        return (
            gan.perceptron((ends[0], *of_generator, ends[1]), generator, self.output, looks=False),
            gan.perceptron((ends[2], *of_discriminator, 1), discriminator, "identity", looks=True),
        )

    def _estimate(self, machine, rows, key) -> None:
        """Estimate the moments of batch normalisation: of the generator by latents, then of the discriminator by both rows."""
        z = self._latents(POPULATION, key, home_of(machine.generator.parameters))
        machine.generator.estimate(lambda: ((z[part], None) for part in chunks(len(z))))
        if machine.discriminator.has_batch_norm:
            n_rows, xp = len(rows) // self.pack * self.pack, namespace(z)
            both = xp.concatenate([rows[:n_rows].astype(np.float32), machine.generator.evaluate(z[:n_rows])])
            both = both.reshape(-1, self.pack * rows.shape[1])
            machine.discriminator.estimate(lambda: ((both[part], None) for part in chunks(len(both))))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
