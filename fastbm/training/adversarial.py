"""Adversarial training [1]_: a discriminator learns to tell rows from samples, a generator to make it fail.

    repeat:
        k times: draw m latents z and take m rows x; D ascends  mean log D(x) + mean log(1 - D(G(z)))
        draw m latents z; G descends  mean log(1 - D(G(z)))            loss="minimax"
                             or       -mean log D(G(z))                loss="non_saturating"

A step of one network never changes the other, nor any moment of batch normalisation: those of the population are estimated
after training, those of a minibatch are not kept.

References
----------
.. [1] Goodfellow et al., "Generative adversarial nets", NIPS 2014.
.. [2] Lin, Khetan, Fanti & Oh, "PacGAN: the power of two samples in generative adversarial networks", NeurIPS 2018.
.. [3] Sønderby, Caballero, Theis, Shi & Huszár, "Amortised MAP inference for image super-resolution", ICLR 2017.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from fastbm.kernels import networks
from fastbm.machines.gan import draw_latent
from fastbm.nn.losses import logistic_loss
from fastbm.nn.network import Network
from fastbm.nn.workspace import Run, Workspace
from fastbm.training.descent import Adam, Moments, Momentum

LOSSES = {"non_saturating": (1.0, 1.0), "minimax": (0.0, -1.0)}
"""Target and weight of the cross-entropy that a generator descends."""
FIGURES = ("data_loss", "data_probability", "sample_loss", "sample_probability", "generator_loss", "fooled_probability")
"""What a step reports, in this order; the last two are 0 when the generator does not move."""
MASKS_OF_DISCRIMINATOR, MASKS_OF_GENERATOR = 16, 1024
"""First blocks of the counters of dropout in either step; latents have the blocks 0 and 1, noise 2 and 3."""


class Rule(NamedTuple):
    """The settings of a step.

    `pack` samples are shown to the discriminator side by side [2]_, all under normal noise of deviation `noise` [3]_; of data
    it is to say `real_target`.
    """

    n_discriminator_steps: int = 1
    loss: str = "non_saturating"
    prior: str = "uniform"
    pack: int = 1
    real_target: float = 1.0
    l2: float = 0.0
    optimizer: Adam | Momentum = Adam()
    noise: float = 0.0


class State(NamedTuple):
    """Networks, what their optimizers remember, in the same order, how many steps there were, and arrays to work in."""

    machine: Any
    moments: tuple[Moments, ...]
    updates: int
    spaces: tuple[Workspace, ...]

    def copy(self) -> State:
        """Return a copy of all that training changes in place."""
        moments = tuple(Moments(first.copy(), second.copy(), steps) for first, second, steps in self.moments)
        machine = type(self.machine)(*(network.copy() for network in self.machine))
        return self._replace(machine=machine, moments=moments)


def init(machine, rule: Rule) -> State:
    """Return the state before the first step; the machine's networks change in place."""
    return resume(machine, tuple(rule.optimizer.init(network) for network in machine), 0)


def resume(machine, moments, updates: int) -> State:
    """Return a state that goes on from these arrays."""
    return State(machine, tuple(moments), updates, tuple(Workspace(network.parameters) for network in machine))


def step(state: State, rows, *, rule: Rule, key, learning_rates, figures) -> tuple[State, Any]:
    """Ascend once with the discriminator, and, every `n_discriminator_steps` times, descend once with the generator.

    `rows` (n, n_features), n a multiple of `pack`; `learning_rates` of the generator and of the discriminator; `figures`
    (len(FIGURES),) is written and returned.
    """
    moves = (state.updates + 1) % rule.n_discriminator_steps == 0
    if is_small(state, rows.shape[0], rule):
        state = step_at_once(
            state, rows, rule=rule, key=key, learning_rates=learning_rates, figures=figures, moves=moves
        )  # fmt: skip
        return state._replace(updates=state.updates + 1), figures
    generator_rate, discriminator_rate = learning_rates
    state = ascend_discriminator(state, rows, rule=rule, key=key, learning_rate=discriminator_rate, figures=figures)
    if moves:
        state = descend_generator(state, len(rows), rule=rule, key=key, learning_rate=generator_rate, figures=figures)
    else:
        figures[4:] = 0.0
    return state._replace(updates=state.updates + 1), figures


def is_small(state: State, n_rows: int, rule: Rule) -> bool:
    """Whether a step is made in one call: with dense layers alone, few units, in float32 on the CPU, Adam, and no noise."""
    if type(rule.optimizer) is not Adam or rule.noise > 0:
        return False
    return all(
        network.perceptron is not None and network.perceptron.takes(2 * n_rows, network.parameters) for network in state.machine
    )


def step_at_once(state: State, rows, *, rule: Rule, key, learning_rates, figures, moves: bool) -> State:
    """Do what `ascend_discriminator` does, and, where the generator `moves`, `descend_generator`: the same, bit for bit."""
    (n_rows, width), spaces, optimizer = rows.shape, state.spaces, cast(Adam, rule.optimizer)
    both, room = spaces[1].rows("both", 2 * n_rows, width), spaces[1].rows("logits and gradients", n_rows, 4 + width)
    both[:n_rows, :] = rows
    generator, discriminator = (arrays_of(network, own, 2 * n_rows) for network, own in zip(state.machine, spaces, strict=True))
    of_generator, of_discriminator = (
        tuple(optimizer.numbers(network, past, rate, rule.l2).values())
        for network, past, rate in zip(state.machine, state.moments, learning_rates, strict=True)
    )
    moments, (target, weight) = (*state.moments[0][:2], *state.moments[1][:2]), LOSSES[rule.loss]
    networks.adversarial_step(
        both, spaces[0].rows("z", n_rows, state.machine[0].layers[0].n_inputs), room.reshape(-1), generator, discriminator,
        moments, figures, pack=rule.pack, normal=rule.prior == "normal", key=key, update=state.updates,
        real_target=rule.real_target, target=target, weight=weight, of_generator=of_generator,
        of_discriminator=of_discriminator, moves=moves,
    )  # fmt: skip
    first, second = state.moments
    return state._replace(
        moments=(first._replace(steps=first.steps + moves), second._replace(steps=second.steps + 1))
    )  # fmt: skip


def arrays_of(network: Network, space: Workspace, n_rows: int) -> tuple:
    """Return a network as ``kernels.networks.adversarial_step`` takes it."""
    tables: Any = network.perceptron
    return network.parameters, network.gradients, *tables.arrays(space, n_rows), tables.layers, tables.slopes


def ascend_discriminator(state: State, rows, *, rule: Rule, key, learning_rate: float, figures) -> State:
    """Show the discriminator rows, and as many samples of fresh latents."""
    (generator, discriminator), (of_generator, space) = state.machine, state.spaces
    n_rows, n_shown = rows.shape[0], rows.shape[0] // rule.pack
    both = space.rows("both", 2 * n_rows, rows.shape[1])
    both[:n_rows, :] = rows
    z = fresh_latents(generator, of_generator, n_rows, rule, key=key, update=state.updates, block=0)
    generator.forward(z, Run(of_generator), out=both[n_rows:, :])
    shown = under_noise(both, rule.noise, space, key=key, update=state.updates, block=2)
    run = Run(space, n_groups=2, key=key, update=state.updates, block=MASKS_OF_DISCRIMINATOR)
    logits, backward = discriminator.forward(shown.reshape(2 * n_shown, -1), run)
    gradient = space.rows("gradient of logits", 2 * n_shown, 1)
    logistic_loss(logits[:n_shown, :], gradient[:n_shown, :], figures[:2], target=rule.real_target)
    logistic_loss(logits[n_shown:, :], gradient[n_shown:, :], figures[2:4], target=0.0)
    backward(gradient, True, None)
    return moved(state, 1, rule, learning_rate)


def descend_generator(state: State, n_rows: int, *, rule: Rule, key, learning_rate: float, figures) -> State:
    """Show the discriminator samples of fresh latents, and go where it takes them for data."""
    (generator, discriminator), (of_generator, space) = state.machine, state.spaces
    z = fresh_latents(generator, of_generator, n_rows, rule, key=key, update=state.updates, block=1)
    samples, backward_generator = generator.forward(z, Run(of_generator))
    shown = under_noise(samples, rule.noise, space, key=key, update=state.updates, block=3)
    run = Run(space, key=key, update=state.updates, block=MASKS_OF_GENERATOR)
    logits, backward_discriminator = discriminator.forward(shown.reshape(n_rows // rule.pack, -1), run)
    gradient, (target, weight) = space.rows("gradient of logits", len(logits), 1), LOSSES[rule.loss]
    logistic_loss(logits, gradient, figures[4:6], target=target, weight=weight)
    of_samples = backward_discriminator(gradient, False, slice(None))
    backward_generator(of_samples.reshape(samples.shape), True, None)
    return moved(state, 0, rule, learning_rate)


def fresh_latents(generator: Network, space: Workspace, n_rows: int, rule: Rule, *, key, update: int, block: int):
    """Return latents that no other step has."""
    z = space.rows("z", n_rows, generator.layers[0].n_inputs)
    draw_latent(z, rule.prior, key=key, update=update, block=block)
    return z


def under_noise(rows, deviation: float, space: Workspace, *, key, update: int, block: int):
    """Return rows with normal noise added, in an array of their own; the rows themselves where there is none."""
    if deviation == 0:
        return rows
    noisy = space.rows("under noise", *rows.shape)
    draw_latent(noisy, "normal", key=key, update=update, block=block)
    noisy *= deviation
    noisy += rows
    return noisy


def moved(state: State, number: int, rule: Rule, learning_rate: float) -> State:
    """Return the state after network number `number` has taken a step down its gradients."""
    moments = list(state.moments)
    moments[number] = rule.optimizer.step(
        state.machine[number], moments[number], learning_rate=learning_rate, l2=rule.l2
    )  # fmt: skip
    return state._replace(moments=tuple(moments))
