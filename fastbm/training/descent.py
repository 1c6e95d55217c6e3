"""Steps of a network down its gradient: Adam, or plain steps with momentum, over one flat array of parameters."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fastbm.device import namespace
from fastbm.kernels import networks
from fastbm.nn.activations import is_compiled
from fastbm.nn.network import Network


class Moments(NamedTuple):
    """What an optimizer remembers: flat arrays like the parameters, the second of size 0 without one; and its steps so far."""

    first: Any
    second: Any
    steps: int


class Adam(NamedTuple):
    """Steps by the ratio of a running mean of gradients to the root of that of their squares [1]_.

    References
    ----------
    .. [1] Kingma & Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def init(self, network: Network) -> Moments:
        """Return moments before the first step."""
        first, second = (namespace(network.parameters).zeros_like(network.parameters) for _ in range(2))
        return Moments(first, second, 0)

    def step(self, network: Network, moments: Moments, *, learning_rate: float, l2: float = 0.0) -> Moments:
        """Move the parameters by their gradients, in place; `l2` pulls those that inputs are multiplied by to 0."""
        arrays = network.parameters, network.gradients, moments.first, moments.second
        numbers = self.numbers(network, moments, learning_rate, l2)
        (networks.adam if is_compiled(network.parameters) else adam)(*arrays, **numbers)
        return moments._replace(steps=moments.steps + 1)

    def numbers(self, network: Network, moments: Moments, learning_rate: float, l2: float) -> dict[str, float]:
        """Return what ``kernels.networks.adam`` needs to know of the next step."""
        steps = moments.steps + 1
        return {
            "rate": learning_rate / (1 - self.beta_1**steps), "beta_1": self.beta_1, "beta_2": self.beta_2,
            "scale": 1 / math.sqrt(1 - self.beta_2**steps), "epsilon": self.epsilon, "l2": l2, "n_decayed": network.n_decayed,
        }  # fmt: skip


class Momentum(NamedTuple):
    """velocity ← momentum · velocity - learning_rate · gradient; parameters ← parameters + velocity."""

    momentum: float = 0.0

    def init(self, network: Network) -> Moments:
        """Return a velocity of 0."""
        velocity = namespace(network.parameters).zeros_like(network.parameters)
        return Moments(velocity, velocity[:0], 0)

    def step(self, network: Network, moments: Moments, *, learning_rate: float, l2: float = 0.0) -> Moments:
        """Move the parameters by their gradients, in place; `l2` pulls those that inputs are multiplied by to 0."""
        numbers = {"rate": learning_rate, "momentum": self.momentum, "l2": l2, "n_decayed": network.n_decayed}
        arrays = network.parameters, network.gradients, moments.first
        (networks.descend if is_compiled(network.parameters) else descend)(*arrays, **numbers)
        return moments._replace(steps=moments.steps + 1)


def adam(parameters, gradients, first, second, *, rate, beta_1, beta_2, scale, epsilon, l2, n_decayed) -> None:
    """What ``kernels.networks.adam`` does, for arrays that it does not take."""
    _decay(parameters, gradients, l2, n_decayed)
    first += (1 - beta_1) * (gradients - first)
    second *= beta_2
    second += (1 - beta_2) * gradients * gradients
    parameters -= rate * first / (scale * namespace(second).sqrt(second) + epsilon)


def descend(parameters, gradients, velocity, *, rate, momentum, l2, n_decayed) -> None:
    """What ``kernels.networks.descend`` does, for arrays that it does not take."""
    _decay(parameters, gradients, l2, n_decayed)
    velocity *= momentum
    velocity -= rate * gradients
    parameters += velocity


def _decay(parameters, gradients, l2, n_decayed) -> None:
    if l2:
        gradients[:n_decayed] += l2 * parameters[:n_decayed]
