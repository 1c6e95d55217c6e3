"""DCGAN: a generative adversarial network of convolutions, for images, behind scikit-learn's interface."""

from __future__ import annotations

from copy import copy
from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from fastbm.device import home_of, namespace, using
from fastbm.estimators import _images, _validation
from fastbm.estimators._adversarial_files import AdversarialFiles
from fastbm.estimators._adversarial_fitted import probabilities
from fastbm.estimators._adversarial_training import CONSTRAINTS, POPULATION
from fastbm.machines import dcgan, gan
from fastbm.nn.network import CHUNK_OF_IMAGES
from fastbm.training import adversarial

OF_DENSE_LAYERS = {
    "generator_layer_sizes", "discriminator_layer_sizes", "output", "generator_activation", "discriminator_activation",
    "n_maxout_pieces", "batch_norm", "discriminator_batch_norm", "dropout", "initial",
}  # fmt: skip
"""Parameters of networks of dense layers, which have no meaning here."""


class DCGAN(AdversarialFiles):
    """Generative adversarial network of convolutions, for images.

    The generator makes a few small maps of a latent z, and doubles their sides by transposed convolutions of stride 2, to tanh;
    the discriminator halves those of an image by convolutions, to a logit [1]_. Both learn as `GAN` does. Batch normalisation
    stands everywhere but at the generator's output and the discriminator's input; samples are made with the moments of the
    population, so that each depends on its z alone. Results depend on `random_state` alone.

    Images are uint8, or floats between 0 and 1; what is drawn is float32 between 0 and 1. Sides may be odd: they are halved
    rounding down, or, with an odd `kernel_size`, up, and reached exactly.

    Parameters
    ----------
    latent_dim : int, default=100
        Size of z.
    base_channels : int, default=64
        Maps next to the images; each layer further away has twice as many.
    n_layers : {"auto"} or int, default="auto"
        Convolutions in each network; "auto" halves images until their smaller side is below 8: 2 for 28×28, 3 for 32×32, 4 for
        64×64.
    kernel_size : int, default=4
        Rows and columns of a window; 4 or 5 is usual. Images are padded by (kernel_size - 1) // 2.
    n_discriminator_steps : int, default=1
        Steps of the discriminator, each with a minibatch of its own, for one of the generator.
    loss : {"non_saturating", "minimax"}, default="non_saturating"
        What the generator descends: -log D(G(z)), whose slope does not vanish where D is sure, or log(1 - D(G(z))).
    prior : {"uniform", "normal"}, default="uniform"
        Of each latent: between -1 and 1, or standard normal.
    pack : int, default=1
        Images that the discriminator is shown together, as channels of one, so that it sees whether samples lack variety [2]_.
    leaky_slope : float, default=0.2
        Slope of the discriminator's units below 0.
    label_smoothing : float in [0, 1), default=0.0
        The discriminator is asked for 1 less so much, instead of 1, for images of the data.
    instance_noise : float, default=0.0
        Deviation of the normal noise that is added to all images, data and samples, before the discriminator sees them, between
        -1 and 1 [3]_. Drawn images, of few colours, are otherwise told from samples by those alone, and the generator learns
        little; 0.2 helps at 32×32, 1 at 64×64.
    initial : float, default=0.02
        Deviation of the normal distribution that weights are drawn from.
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
        Images in a minibatch.
    n_iter : int, default=25
        Passes over the training data.
    shuffle : bool, default=True
        Whether images come in another order in each pass.
    verbose : int, default=0
        When not 0, shows a progress bar and prints losses after each pass.
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, orders and latents; an int repeats the same results.
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
    image_shape_ : tuple of int
        Shape of an image: (height, width) or (height, width, n_channels), as in the data.
    n_iter_ : int
        Passes over data made by `fit`, those before a warm start included.
    history_ : list of dict
        A record of each pass, as of `GAN`.
    n_features_in_ : int
        Numbers of an image.
    device_ : str
        The device that was used, and computes samples too. The networks live where `X` did.

    Notes
    -----
    Where a loss is not finite, `fit` ends with a ValueError that names the step; the networks after the last good pass of
    that fit, if there is one, are then the fitted ones.

    References
    ----------
    .. [1] Radford, Metz & Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
       networks", ICLR 2016.
    .. [2] Lin, Khetan, Fanti & Oh, "PacGAN: the power of two samples in generative adversarial networks", NeurIPS 2018.
    .. [3] Sønderby, Caballero, Theis, Shi & Huszár, "Amortised MAP inference for image super-resolution", ICLR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbm import DCGAN
    >>> X = np.random.default_rng(0).integers(256, size=(40, 9, 8, 3), dtype=np.uint8)
    >>> model = DCGAN(5, base_channels=4, n_iter=1, random_state=0).fit(X)
    >>> model.sample(2, random_state=0).shape
    (2, 9, 8, 3)
    """

    _parameter_constraints: dict = {name: value for name, value in CONSTRAINTS.items() if name not in OF_DENSE_LAYERS} | {
        "base_channels": [Interval(Integral, 1, None, closed="left")],
        "n_layers": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "kernel_size": [Interval(Integral, dcgan.STRIDE, None, closed="left")],
        "n_discriminator_steps": [Interval(Integral, 1, None, closed="left")],
        "pack": [Interval(Integral, 1, None, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "instance_noise": [Interval(Real, 0, None, closed="left")],
        "initial": [Interval(Real, 0, None, closed="neither")],
    }
    image_shape_: tuple[int, ...]
    _networks = ("generator_", "discriminator_")
    _kind = gan.GAN
    _step = staticmethod(adversarial.step)
    _figures = adversarial.FIGURES
    _n_population = POPULATION // 5  # a channel has many pixels

    def __init__(
        self,
        latent_dim=100,
        *,
        base_channels=64,
        n_layers="auto",
        kernel_size=4,
        n_discriminator_steps=1,
        loss="non_saturating",
        prior="uniform",
        pack=1,
        leaky_slope=0.2,
        label_smoothing=0.0,
        instance_noise=0.0,
        initial=0.02,
        optimizer="adam",
        learning_rate=2e-4,
        discriminator_learning_rate=None,
        learning_rate_schedule="constant",
        beta_1=0.5,
        beta_2=0.999,
        momentum=0.5,
        l2=0.0,
        batch_size=64,
        n_iter=25,
        shuffle=True,
        verbose=0,
        random_state=None,
        callbacks=None,
        warm_start=False,
        device="auto",
    ):
        self.latent_dim = latent_dim
        self.base_channels = base_channels
        self.n_layers = n_layers
        self.kernel_size = kernel_size
        self.n_discriminator_steps = n_discriminator_steps
        self.loss = loss
        self.prior = prior
        self.pack = pack
        self.leaky_slope = leaky_slope
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
        """Fit generator and discriminator to images.

        Parameters
        ----------
        X : array-like of shape (n, height, width) or (n, height, width, n_channels), or iterable of such batches
            uint8, or numbers between 0 and 1. Arrays, those mapped from a file too, are never copied as a whole. Batches of an
            iterable are cut into minibatches; a list is one of batches where those have four axes, else of images. A generator
            allows ``n_iter=1`` only.
        y : None
            Ignored.

        Returns
        -------
        self : DCGAN

        Raises
        ------
        ValueError
            When `X` or a parameter is not valid, or training diverges; see the notes.
        """
        return self._fit(X)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Make one step, with all images as one minibatch.

        Parameters
        ----------
        X : array-like of shape (n, height, width) or (n, height, width, n_channels), or iterable of such batches
            With an iterable, one step is made for each batch.
        y : None
            Ignored.

        Returns
        -------
        self : DCGAN
        """
        return self._partial_fit(X)

    def sample(self, n_samples=1, *, z=None, random_state=None):
        """Draw images: G(z) of latents from the prior, or of given ones.

        A sample depends on its z alone, not on how many are drawn with it.

        Parameters
        ----------
        n_samples : int, default=1
            Number of images; where `z` is given, that of its rows, or left out.
        z : array-like of shape (n_samples, latent_dim), default=None
            Latents; None draws them.
        random_state : int, RandomState instance or None, default=None
            Seed; None gives other images at each call.

        Returns
        -------
        X : array of shape (n_samples, height, width) or (n_samples, height, width, n_channels), float32
            Between 0 and 1.

        Raises
        ------
        ValueError
            When latents have another shape or number, or are not finite.
        """
        rows = super().sample(n_samples, z=z, random_state=random_state)
        return rows.reshape(len(rows), *self.image_shape_)

    def discriminate(self, X):
        """Return D(x), the probability that the discriminator gives images of being data.

        Parameters
        ----------
        X : array-like of shape (n, height, width) or (n, height, width, n_channels)
            With `pack` above 1, each `pack` images, one after the other, are shown together.

        Returns
        -------
        probability : array of shape (n // pack,)

        Raises
        ------
        ValueError
            When the number of images is no multiple of `pack`, or they have another shape.
        """
        rows, home, dtype = self._check_rows(X)
        if len(rows) % self.pack:
            raise ValueError(f"X has {len(rows)} images, which is no multiple of pack={self.pack}")
        with using(self.device_):
            shown = self._shown(rows).reshape(len(rows) // self.pack, -1)
            return probabilities(self._running().discriminator.evaluate(shown), home).astype(dtype, copy=False)

    # ------------------------------------------------------------------------------------------- images as rows

    def _shown(self, rows, space=None):
        """Return grey levels, or bytes, as numbers between -1 and 1."""
        shown = space.rows("shown", *rows.shape) if space else namespace(rows).empty(rows.shape, dtype=np.float32)
        shown[...] = rows
        if rows.dtype == np.uint8:
            shown /= np.float32(255)
        shown *= np.float32(2)
        shown -= np.float32(1)
        return shown

    def _as_data(self, rows):
        """Return numbers between -1 and 1 as grey levels."""
        return (rows + 1) / 2

    def _outside(self, low: float, high: float, dtype) -> str:
        most = 255 if dtype == np.uint8 else 1
        if low >= -_validation.ROUNDING and high <= most + _validation.ROUNDING:
            return ""
        return "images are expected as uint8, or with values between 0 and 1 (scale X)"

    def _check_rows(self, X):
        """Return images as rows of grey levels, where the networks are, and the device and dtype that answers have."""
        check_is_fitted(self, "generator_")
        rows, shape = _images.rows_of(X)
        if shape != self.image_shape_:
            raise ValueError(f"X has images of shape {shape}, expected {self.image_shape_}")
        dtype = rows.dtype if rows.dtype.kind == "f" else np.dtype(np.float32)
        rows, home, _ = super()._check_rows(_images.levels(rows))
        return rows, home, dtype

    def _take(self, X, fresh: bool):
        rows, shape = _images.batches_of(X) if _images.is_batches(X) else _images.rows_of(X)
        if not fresh and shape != self.image_shape_:
            raise ValueError(f"X has images of shape {shape}, but those that were fitted before have {self.image_shape_}")
        data, fitted = super()._take(rows, fresh)
        fitted["features"]["image_shape_"] = shape
        return data, fitted

    # ------------------------------------------------------------------------------------------------- networks

    def _begin(self, n_features: int, fitted, fresh: bool):
        """Return a training state; what layers there are depends on the shape of the images, which may not be fitted yet."""
        of_shape = copy(self)
        of_shape.image_shape_ = fitted["features"]["image_shape_"]
        return super(DCGAN, of_shape)._begin(n_features, fitted, fresh)

    def _layers(self, n_features: int):
        image, kernel_size = _images.channels(self.image_shape_), int(self.kernel_size)
        if isinstance(self.n_layers, str):
            n_layers = dcgan.auto_layers(image, kernel_size)
        else:
            n_layers = int(self.n_layers)
        design = dcgan.Design(
            image, int(self.base_channels), n_layers, kernel_size, float(self.leaky_slope), int(self.pack)
        )  # fmt: skip
        if any(min(window.grid) < 1 for window in design.windows(1)):
            raise ValueError(
                f"images of {image[0]}×{image[1]} cannot be halved {n_layers} times with kernel_size={kernel_size}; set a "
                "smaller n_layers, or an odd kernel_size, which rounds up"
            )
        return dcgan.generator(int(self.latent_dim), design), dcgan.discriminator(design)

    def _estimate(self, machine, rows, key) -> None:
        """Estimate the moments of batch normalisation: of the generator by latents, then of the discriminator by both kinds."""
        z = self._latents(self._n_population, key, home_of(machine.generator.parameters))
        machine.generator.estimate(lambda: ((part, None) for part in parts_of(z)))
        if machine.discriminator.has_batch_norm:
            n_rows = min(len(rows), len(z)) // self.pack * self.pack
            samples = machine.generator.evaluate(z[:n_rows])
            both = namespace(z).concatenate([self._shown(rows[:n_rows]), samples]).reshape(-1, self.pack * rows.shape[1])
            machine.discriminator.estimate(lambda: ((part, None) for part in parts_of(both)))

    def _more_of_file(self) -> dict:
        return {"image_shape_": list(self.image_shape_)}

    def _features_of_file(self, header, n_features: int) -> dict:
        self.image_shape_ = _images.check_shape(header["image_shape_"], n_features)
        return {"image_shape_": self.image_shape_}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags


def parts_of(rows):
    """Yield some rows at a time."""
    for begin in range(0, len(rows), CHUNK_OF_IMAGES):
        yield rows[begin : begin + CHUNK_OF_IMAGES]
