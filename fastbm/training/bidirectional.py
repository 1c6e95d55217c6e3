"""Adversarial training of a generator, an encoder and a discriminator of pairs, all three at once [1]_.

    repeat: take m rows x, draw m latents z, and from the same parameters
        D ascends   mean log D(x, E(x)) + mean log(1 - D(G(z), z))
        E descends  mean log D(x, E(x))         (minimax)   or  -mean log(1 - D(x, E(x)))  (non-saturating)
        G descends  mean log(1 - D(G(z), z))    (minimax)   or  -mean log D(G(z), z)       (non-saturating)

The gradients of E and of G go back through D as that of D does, each row's multiplied by another number: where rows do not mix
in D, which they do in batch normalisation alone, one backward pass serves all three.

References
----------
.. [1] Donahue, Krähenbühl & Darrell, "Adversarial feature learning", ICLR 2017.
"""

from __future__ import annotations

from typing import Any

from fastbm.device import namespace
from fastbm.machines.gan import draw_latent
from fastbm.nn.losses import logistic_loss
from fastbm.nn.workspace import Run
from fastbm.training.adversarial import LOSSES, MASKS_OF_DISCRIMINATOR, Rule, State, moved

FIGURES = (
    "data_loss", "data_probability", "sample_loss", "sample_probability", "encoder_loss", None, "generator_loss", None,
)  # fmt: skip
"""What a step reports, in this order; two numbers are there twice."""
LARGEST_LOGIT = 60.0
"""Beyond it the discriminator is as good as certain, and a factor would leave float32."""


def step(state: State, rows, *, rule: Rule, key, learning_rates, figures) -> tuple[State, Any]:
    """Move all three networks, by gradients at the same parameters.

    `rows` (n, n_features); `learning_rates` of generator, encoder and discriminator; `figures` (len(FIGURES),) is written and
    returned.
    """
    (generator, encoder, discriminator), (of_generator, of_encoder, space) = state.machine, state.spaces
    n_rows, latent_dim = rows.shape[0], generator.layers[0].n_inputs
    both, latents = space.rows("both", 2 * n_rows, rows.shape[1]), space.rows("latents", 2 * n_rows, latent_dim)
    both[:n_rows, :] = rows
    draw_latent(latents[n_rows:, :], rule.prior, key=key, update=state.updates)
    _, backward_encoder = encoder.forward(both[:n_rows, :], Run(of_encoder), out=latents[:n_rows, :])
    _, backward_generator = generator.forward(latents[n_rows:, :], Run(of_generator), out=both[n_rows:, :])
    of_latents, gradient = space.rows("of latents", 2 * n_rows, latent_dim), space.rows("gradient of logits", 2 * n_rows, 1)
    run = Run(
        space, n_groups=2, key=key, update=state.updates, block=MASKS_OF_DISCRIMINATOR, side=latents, side_gradient=of_latents
    )  # fmt: skip
    logits, backward = discriminator.forward(both, run)
    logistic_loss(logits[:n_rows, :], gradient[:n_rows, :], figures[:2], target=1.0)
    logistic_loss(logits[n_rows:, :], gradient[n_rows:, :], figures[2:4], target=0.0)
    of_samples = _gradients(discriminator.has_batch_norm, backward, logits, gradient, of_latents, rule, space, figures)
    backward_encoder(of_latents[:n_rows, :], True, None)
    backward_generator(of_samples, True, None)
    for number, learning_rate in enumerate(learning_rates):
        state = moved(state, number, rule, learning_rate)
    return state._replace(updates=state.updates + 1), figures


def _gradients(mixed: bool, backward, logits, gradient, of_latents, rule: Rule, space, figures):
    """Go back for the discriminator, and for the others; return the gradient of samples, that of latents being written."""
    n_rows, (target, weight) = logits.shape[0] // 2, LOSSES[rule.loss]
    samples, others = slice(n_rows, 2 * n_rows), space.rows("gradient of the others", 2 * n_rows, 1)
    logistic_loss(logits[:n_rows, :], others[:n_rows, :], figures[4:6], target=1 - target, weight=weight)
    logistic_loss(logits[samples, :], others[samples, :], figures[6:8], target=target, weight=weight)
    if mixed:
        backward(gradient, True, None)
        return backward(others, False, samples)
    of_samples = backward(gradient, True, samples)
    if rule.loss == "minimax":
        of_latents *= -1.0
        of_samples *= -1.0
        return of_samples
    xp = namespace(logits)
    of_latents[:n_rows, :] *= -xp.exp(xp.clip(logits[:n_rows, :], -LARGEST_LOGIT, LARGEST_LOGIT))
    of_samples *= -xp.exp(xp.clip(-logits[samples, :], -LARGEST_LOGIT, LARGEST_LOGIT))
    return of_samples
