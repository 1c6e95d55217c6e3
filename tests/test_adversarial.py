"""The steps of adversarial training: their gradients and objectives, what they change, and PyTorch's beside them."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from test_nn_layers import central_differences, relative_error

from fastbm import chain
from fastbm.machines import bigan, gan
from fastbm.nn.network import Network
from fastbm.nn.workspace import Run, Workspace
from fastbm.training import adversarial, bidirectional
from fastbm.training.adversarial import Rule
from fastbm.training.descent import Adam, Momentum

KEY = chain.stream_key(3, chain.Purpose.TRAINING)
N_ROWS, N_FEATURES, LATENT_DIM = 6, 4, 3
STILL = {"learning_rates": (0.0, 0.0, 0.0)}


def networks_of_gan(hidden=None, pack=1, dtype=np.float64):
    hidden = hidden or gan.Hidden("leaky_relu")
    layers = (
        gan.perceptron((LATENT_DIM, 7, N_FEATURES), hidden._replace(dropout=0.0), "tanh", looks=False),
        gan.perceptron((pack * N_FEATURES, 6, 5, 1), hidden, "identity", looks=True),
    )  # fmt: skip
    return gan.GAN(*(Network.initial(each, seed, 0.5, dtype) for seed, each in enumerate(layers)))


def networks_of_bigan(hidden=None, dtype=np.float64):
    hidden = hidden or gan.Hidden("leaky_relu")
    layers = (
        gan.perceptron((LATENT_DIM, 7, N_FEATURES), hidden._replace(dropout=0.0), "tanh", looks=False),
        gan.perceptron(
            (N_FEATURES, 7, LATENT_DIM), hidden._replace(dropout=0.0), "tanh", looks=True, spreads=hidden.batch_norm
        ),
        bigan.joint_perceptron(N_FEATURES, LATENT_DIM, (6, 5), hidden),
    )
    return bigan.BiGAN(*(Network.initial(each, seed, 0.5, dtype) for seed, each in enumerate(layers)))


def rows_of(n_rows=N_ROWS, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(n_rows, N_FEATURES)).astype(dtype)


def latents(update, block, prior="uniform", n_rows=N_ROWS, width=LATENT_DIM):
    counters = {"key": KEY, "first_row": 0, "update": update, "block": block}
    return naive.draw_latent(n_rows, width, normal=prior == "normal", **counters)


def output(network, x, **run):
    return network.forward(x, Run(Workspace(network.parameters), **run))[0].copy()


def log_sigmoid(x):
    return -np.logaddexp(0, -x)


def of_gan(machine, rows, rule, update=0):
    """The objectives, as they are written, of both networks: what each descends."""
    samples = [output(machine.generator, latents(update, block, rule.prior, len(rows)).astype(float)) for block in (0, 1)]
    how = {"key": KEY, "update": update}
    both = np.concatenate([rows, samples[0]])
    both, samples[1] = (
        each + rule.noise * latents(update, block, "normal", *each.shape) for block, each in ((2, both), (3, samples[1]))
    )
    both = both.reshape(2 * len(rows) // rule.pack, -1)
    logits = output(machine.discriminator, both, n_groups=2, block=adversarial.MASKS_OF_DISCRIMINATOR, **how)
    of_data, of_samples = np.split(logits, 2)
    fooled = output(
        machine.discriminator, samples[1].reshape(len(rows) // rule.pack, -1), block=adversarial.MASKS_OF_GENERATOR, **how
    )
    d = -(log_sigmoid(of_data).mean() + log_sigmoid(-of_samples).mean())
    return d, log_sigmoid(-fooled).mean() if rule.loss == "minimax" else -log_sigmoid(fooled).mean()


def of_bigan(machine, rows, rule, update=0):
    """What discriminator, encoder and generator descend."""
    z = latents(update, 0, rule.prior).astype(float)
    both = np.concatenate([rows, output(machine.generator, z)])
    side = np.concatenate([output(machine.encoder, rows), z])
    how = {"key": KEY, "update": update, "block": adversarial.MASKS_OF_DISCRIMINATOR}
    of_data, of_samples = np.split(output(machine.discriminator, both, n_groups=2, side=side, **how), 2)
    d = -(log_sigmoid(of_data).mean() + log_sigmoid(-of_samples).mean())
    if rule.loss == "minimax":
        return d, log_sigmoid(of_data).mean(), log_sigmoid(-of_samples).mean()
    return d, -log_sigmoid(-of_data).mean(), -log_sigmoid(of_samples).mean()


HIDDEN = {
    "plain": gan.Hidden("leaky_relu"), "batch norm": gan.Hidden("relu", batch_norm=True),
    "maxout, dropout": gan.Hidden("maxout", dropout=0.3, n_pieces=2),
}  # fmt: skip
hidden_of_each_kind = pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)


@pytest.mark.parametrize(
    ("hidden", "loss", "pack", "noise"),
    [("plain", "minimax", 1, 0.0), ("plain", "non_saturating", 2, 0.0), ("batch norm", "non_saturating", 1, 0.5),
     *(pytest.param(*each, marks=pytest.mark.slow) for each in (
         ("maxout, dropout", "non_saturating", 1, 0.0), ("maxout, dropout", "minimax", 2, 0.5),
         ("batch norm", "minimax", 2, 0.0),
     ))],
)  # fmt: skip
def test_gradients_of_a_gan_are_central_differences_of_the_objectives(hidden, loss, pack, noise):
    machine, rows = networks_of_gan(HIDDEN[hidden], pack), rows_of()
    rule, figures = Rule(loss=loss, pack=pack, optimizer=Momentum(), prior="normal", noise=noise), np.empty(6)
    adversarial.step(adversarial.init(machine, rule), rows, rule=rule, key=KEY, figures=figures, learning_rates=(0.0, 0.0))
    expected = of_gan(machine, rows, rule)
    np.testing.assert_allclose([figures[0] + figures[2], figures[4]], expected, rtol=1e-10)
    for k, network in enumerate((machine.discriminator, machine.generator)):
        numeric = central_differences(lambda k=k: of_gan(machine, rows, rule)[k], network.parameters)
        assert relative_error(network.gradients, numeric) < 1e-6


@pytest.mark.parametrize(
    ("hidden", "loss"),
    [("plain", "minimax"), ("plain", "non_saturating"), ("batch norm", "non_saturating"),
     *(pytest.param(*each, marks=pytest.mark.slow) for each in (
         ("maxout, dropout", "non_saturating"), ("maxout, dropout", "minimax"), ("batch norm", "minimax"),
     ))],
)  # fmt: skip
def test_gradients_of_a_bigan_are_central_differences_of_the_objectives(hidden, loss):
    machine, rows = networks_of_bigan(HIDDEN[hidden]), rows_of()
    rule, figures = Rule(loss=loss, optimizer=Momentum()), np.empty(8)
    bidirectional.step(adversarial.init(machine, rule), rows, rule=rule, key=KEY, figures=figures, **STILL)
    expected = of_bigan(machine, rows, rule)
    np.testing.assert_allclose([figures[0] + figures[2], figures[4], figures[6]], expected, rtol=1e-10)
    for k, network in enumerate((machine.discriminator, machine.encoder, machine.generator)):
        numeric = central_differences(lambda k=k: of_bigan(machine, rows, rule)[k], network.parameters)
        assert relative_error(network.gradients, numeric) < 1e-6


@pytest.mark.parametrize("sure", [-50.0, 50.0])
def test_a_sure_discriminator_leaves_the_others_a_gradient(sure):
    """The one backward pass that serves all three, beside one for each."""
    machine, rows = networks_of_bigan(), rows_of()
    machine.discriminator.views[-1]["bias"][...] = sure
    rule = Rule(optimizer=Momentum())
    bidirectional.step(adversarial.init(machine, rule), rows, rule=rule, key=KEY, figures=np.empty(8), **STILL)
    for k, network in enumerate((machine.discriminator, machine.encoder, machine.generator)):
        if (k, sure > 0) in ((1, True), (2, False)):  # that of the discriminator is about 1e-22 where the other's is 1
            numeric = central_differences(lambda k=k: of_bigan(machine, rows, rule)[k], network.parameters)
            assert relative_error(network.gradients, numeric) < 1e-5


@hidden_of_each_kind
def test_a_step_of_one_network_changes_no_other(hidden):
    machine, rows, rule = networks_of_gan(hidden, dtype=np.float32), rows_of(dtype=np.float32), Rule()
    state, figures = adversarial.init(machine, rule), np.empty(6, np.float32)
    how = {"rule": rule, "key": KEY, "learning_rate": 0.1}

    def changed(step):
        before = [(network.parameters.copy(), network.statistics.copy()) for network in machine]
        step()
        return [
            (bool((network.parameters != parameters).any()), bool((network.statistics != statistics).any()))
            for network, (parameters, statistics) in zip(machine, before, strict=True)
        ]

    assert changed(lambda: adversarial.ascend_discriminator(state, rows, figures=figures, **how)) == [
        (False,) * 2,
        (True, False),
    ]
    assert changed(lambda: adversarial.descend_generator(state, 6, figures=figures, **how)) == [(True, False), (False,) * 2]


def test_an_encoder_learns():
    machine, rows, rule = networks_of_bigan(dtype=np.float32), rows_of(dtype=np.float32), Rule()
    before = [network.parameters.copy() for network in machine]
    figures = np.empty(8, np.float32)
    for number in range(3):
        rates = [0.1 * (number == k) for k in range(3)]
        bidirectional.step(adversarial.init(machine, rule), rows, rule=rule, key=KEY, figures=figures, learning_rates=rates)
        changed = [(network.parameters != old).any() for network, old in zip(machine, before, strict=True)]
        assert changed == [k == number for k in range(3)]
        before = [network.parameters.copy() for network in machine]


def test_the_generator_moves_every_so_many_steps():
    machine, rule = networks_of_gan(dtype=np.float32), Rule(n_discriminator_steps=3)
    state, moved = adversarial.init(machine, rule), []
    for _ in range(7):
        before, figures = machine.generator.parameters.copy(), np.empty(6, np.float32)
        state, _ = adversarial.step(
            state, rows_of(dtype=np.float32), rule=rule, key=KEY, learning_rates=(0.1, 0.1), figures=figures
        )
        moved.append(bool((machine.generator.parameters != before).any()))
        assert moved[-1] == bool(figures[4])
    assert moved == [False, False, True] * 2 + [False]


def test_every_step_has_latents_of_its_own():
    drawn = {latents(update, block).tobytes() for update in range(5) for block in range(2)}
    assert len(drawn) == 10


# --------------------------------------------------------------------------------------------------------- PyTorch


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch: not installed")


def torch_network(torch, network):
    """The same layers in PyTorch, from the same weights; a function of rows, and of a side that joins."""
    from fastbm.nn.batch_norm import BatchNorm
    from fastbm.nn.dense import Dense
    from fastbm.nn.join import Join

    functional = torch.nn.functional
    parameters = [{name: torch.tensor(own[name].copy(), requires_grad=True) for name in layer.shapes if own[name].size}
                  for layer, own in zip(network.layers, network.views, strict=True)]  # fmt: skip
    applied = {
        "identity": lambda x, slope: x, "relu": lambda x, slope: functional.relu(x), "tanh": lambda x, slope: torch.tanh(x),
        "leaky_relu": functional.leaky_relu,
    }  # fmt: skip

    def forward(x, side=None):
        for layer, own in zip(network.layers, parameters, strict=True):
            if isinstance(layer, Dense):
                x = applied[layer.activation](functional.linear(x, own["weights"].T, own.get("bias")), layer.slope)
            elif isinstance(layer, BatchNorm):
                x = functional.batch_norm(x, None, None, own.get("gain"), own.get("offset"), training=True, eps=layer.epsilon)
                x = applied[layer.activation](x, layer.slope)
            else:
                assert isinstance(layer, Join)
                x = torch.cat([x, side], dim=1)
        return x

    return forward, [each for own in parameters for each in own.values()], parameters


def assert_equal_networks(network, parameters):
    for own, theirs in zip(network.views, parameters, strict=True):
        for name, value in theirs.items():
            np.testing.assert_allclose(own[name], value.detach().numpy(), rtol=1e-5, atol=1e-5)


HOW = {
    "adam": (Adam(0.5, 0.999), lambda torch, p: torch.optim.Adam(p, lr=0.01, betas=(0.5, 0.999))),
    "sgd": (Momentum(0.7), lambda torch, p: torch.optim.SGD(p, lr=0.01, momentum=0.7)),
}


@pytest.mark.parametrize(
    ("loss", "hidden", "optimizer"),
    [("non_saturating", "plain", "adam"), ("minimax", "batch norm", "sgd"),
     *(pytest.param(*each, marks=pytest.mark.slow) for each in (
         ("non_saturating", "batch norm", "adam"), ("minimax", "plain", "adam"), ("non_saturating", "plain", "sgd"),
     ))],
)  # fmt: skip
def test_five_steps_of_a_gan_are_those_of_pytorch(torch, loss, hidden, optimizer):
    machine = networks_of_gan(HIDDEN[hidden], dtype=np.float32)
    rule, figures = Rule(loss=loss, optimizer=HOW[optimizer][0]), np.empty(6, np.float32)
    state, entropy = adversarial.init(machine, rule), torch.nn.functional.binary_cross_entropy_with_logits
    (generator, of_g, g), (discriminator, of_d, d) = (torch_network(torch, network) for network in machine)
    step_g, step_d = (HOW[optimizer][1](torch, each) for each in (of_g, of_d))
    for update in range(5):
        rows = rows_of(seed=update, dtype=np.float32)
        state, _ = adversarial.step(state, rows, rule=rule, key=KEY, learning_rates=(0.01, 0.01), figures=figures)
        with torch.no_grad():
            samples = generator(torch.tensor(latents(update, 0)))
        logits = discriminator(torch.tensor(rows)), discriminator(samples)
        step_d.zero_grad()
        sum(entropy(x, torch.full_like(x, target)) for x, target in zip(logits, (1.0, 0.0), strict=True)).backward()
        step_d.step()
        fooled = discriminator(generator(torch.tensor(latents(update, 1))))
        target, weight = adversarial.LOSSES[loss]
        step_g.zero_grad()
        (weight * entropy(fooled, torch.full_like(fooled, target))).backward()
        step_g.step()
    assert_equal_networks(machine.generator, g)
    assert_equal_networks(machine.discriminator, d)


@pytest.mark.parametrize(
    ("loss", "hidden"),
    [("non_saturating", "plain"), *(pytest.param(*each, marks=pytest.mark.slow) for each in (
        ("non_saturating", "batch norm"), ("minimax", "plain"), ("minimax", "batch norm"),
    ))],
)  # fmt: skip
def test_five_steps_of_a_bigan_are_those_of_pytorch(torch, loss, hidden):
    machine = networks_of_bigan(HIDDEN[hidden], dtype=np.float32)
    rule, figures = Rule(loss=loss, optimizer=HOW["adam"][0]), np.empty(8, np.float32)
    state, entropy = adversarial.init(machine, rule), torch.nn.functional.binary_cross_entropy_with_logits
    (generator, of_g, g), (encoder, of_e, e), (discriminator, of_d, d) = (torch_network(torch, each) for each in machine)
    steps = [HOW["adam"][1](torch, each) for each in (of_d, of_e + of_g)]
    for update in range(5):
        rows = rows_of(seed=update, dtype=np.float32)
        state, _ = bidirectional.step(state, rows, rule=rule, key=KEY, learning_rates=(0.01,) * 3, figures=figures)
        x, z = torch.tensor(rows), torch.tensor(latents(update, 0))
        logits = discriminator(x, encoder(x)), discriminator(generator(z), z)

        def of_pairs(targets, logits=logits):
            return sum(entropy(each, torch.full_like(each, target)) for each, target in zip(logits, targets, strict=True))

        losses = of_pairs((1.0, 0.0)), -of_pairs((1.0, 0.0)) if loss == "minimax" else of_pairs((0.0, 1.0))
        found = [
            torch.autograd.grad(each, own, retain_graph=True) for each, own in zip(losses, (of_d, of_e + of_g), strict=True)
        ]
        for step, own, gradients in zip(steps, (of_d, of_e + of_g), found, strict=True):
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = gradient
            step.step()
    for network, parameters in zip(machine, (g, e, d), strict=True):
        assert_equal_networks(network, parameters)


@pytest.mark.parametrize(
    "rule",
    [Rule(), Rule(loss="minimax", prior="normal", pack=2), Rule(n_discriminator_steps=2, real_target=0.9, l2=0.1)],
    ids=["plain", "minimax, packed", "two steps, smooth, decay"],
)
def test_a_step_of_small_networks_in_one_call_is_the_same(rule, monkeypatch):
    """Bit for bit: parameters, moments, and what is reported, of long and of short minibatches."""
    results = []
    for at_once in (True, False):
        rule = rule._replace(optimizer=Adam(0.5))
        state, reported = adversarial.init(networks_of_gan(pack=rule.pack, dtype=np.float32), rule), []
        assert adversarial.is_small(state, 50, rule)
        if not at_once:
            monkeypatch.setattr(adversarial, "is_small", lambda *_: False)
        for number, n_rows in enumerate((50, 50, 34, 50)):
            rows, figures = rows_of(n_rows, number), np.full(6, np.nan, np.float32)
            state, _ = adversarial.step(
                state, rows, rule=rule, key=KEY, learning_rates=(0.01, 0.02), figures=figures
            )  # fmt: skip
            reported.append(figures)
        assert state.updates == 4
        results.append((reported, state))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    (_, one), (_, other) = results
    for k in range(2):
        np.testing.assert_array_equal(one.machine[k].parameters, other.machine[k].parameters)
        np.testing.assert_array_equal(one.moments[k].first, other.moments[k].first)
        np.testing.assert_array_equal(one.moments[k].second, other.moments[k].second)
        assert one.moments[k].steps == other.moments[k].steps


def test_other_networks_and_steps_are_made_of_their_parts():
    small = networks_of_gan(dtype=np.float32)
    assert not adversarial.is_small(adversarial.init(small, Rule(optimizer=Momentum())), 50, Rule(optimizer=Momentum()))
    assert not adversarial.is_small(adversarial.init(small, Rule()), 10**6, Rule())
    assert not adversarial.is_small(adversarial.init(small, Rule()), 50, Rule(noise=0.1))
    for machine in (networks_of_gan(), networks_of_gan(HIDDEN["batch norm"], dtype=np.float32)):
        assert not adversarial.is_small(adversarial.init(machine, Rule()), 50, Rule())
