"""MNIST: the variational bound of a deep Boltzmann machine, 784-500-1000, with and without greedy training, or of other layers.

Salakhutdinov & Hinton (2009) publish -84.62 after days, for pixels drawn as 0 and 1 with their grey levels as probabilities, as
is done here, anew for each pass; test images are drawn once. All layers are learned together: mean field to a change of 0.01,
at most 10 updates, 100 persistent chains with 2 sweeps an update, the centred gradient, batches of 100, a learning rate that
falls from 0.05 to 0. Hidden biases begin at -2, so that few units are on. From 0, or at four times the rate, the hidden layers
may turn each other on, whatever the image: log Z then grows by thousands. With ``--pretraining`` the layers are first trained
one on the other, with doubled weights, by contrastive divergence of one sweep; joint learning then wants ``--rate 0.03``.

log Z is that of the folded machine, whose hidden units are the first hidden layer, by annealing both ways; chains back begin at
the chains of the training.

    FASTBM_DATA=folder python benchmarks/quality/dbm.py [--hidden 500 1000] [--passes 80] [--pretraining 4] [--save FILE]
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import numpy as np
from report import Anew, mnist, show

from fastbm import chain, datasets, evaluation, kernels
from fastbm.chain import Purpose
from fastbm.machines import dbm, rbm
from fastbm.machines.dbm import DBM
from fastbm.machines.rbm import RBM
from fastbm.training import ascent, doubled, mean_field, minibatches

BATCH = 100
PRETRAINING = {"n_steps": 1, "momentum": 0.5, "l2": 0.0002, "centered": True}
PRETRAINING_RATE = 0.05


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=(500, 1000), help="units of each hidden layer")
    parser.add_argument("--passes", type=int, default=80)
    parser.add_argument("--pretraining", type=int, default=0, help="passes of greedy training of each layer")
    parser.add_argument("--sweeps", type=int, default=2)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--bias", type=float, default=-2.0, help="of hidden units at first")
    parser.add_argument("--deviation", type=float, default=0.01, help="of weights at first")
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--updates", type=int, default=10, help="of mean field, at most")
    parser.add_argument("--betas", type=int, default=10_000, help="of annealing")
    parser.add_argument("--rows", type=int, default=10_000, help="test images of the bound")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", help="a file for arrays W0, W1, b0, b1, b2, written after each pass")
    parser.add_argument("--picture")
    options = parser.parse_args()
    train, _, test, _ = mnist()
    held_out = datasets.binarise(test[: options.rows], threshold=None, random_state=options.seed)
    begin = time.perf_counter()
    machine = small_weights(train, options)
    if options.pretraining:
        machine = pretrained(machine, train, options)
    state = learned(machine, train, held_out, options)
    seconds, begin = time.perf_counter() - begin, time.perf_counter()
    drawn = datasets.binarise(train[:10_000], threshold=None, random_state=options.seed)
    found = log_partition(state, drawn, options)
    of_test, of_train = (bound(state, rows) for rows in (held_out, drawn))
    show(
        script="dbm", bound=round(of_test[0] - found.log_z, 3), train_bound=round(of_train[0] - found.log_z, 3),
        log_z=found.log_z, stderr=found.stderr, lower=found.lower, upper=found.upper, mean_field_updates=of_test[1],
        **vars(options), seconds=round(seconds), seconds_of_annealing=round(time.perf_counter() - begin),
    )  # fmt: skip
    if options.picture:
        draw(state, options)


def small_weights(train, options) -> DBM:
    """Return the machine that learning begins with: visible biases are the log odds of the pixels."""
    rng, p = np.random.default_rng(options.seed), np.clip(train.mean(axis=0), 0.001, 0.999)
    pairs = pairwise((len(p), *options.hidden))
    weights = tuple((options.deviation * rng.normal(size=pair)).astype(np.float32) for pair in pairs)
    biases = (np.log(p / (1 - p)), *(np.full(size, options.bias) for size in options.hidden))
    return DBM(weights, tuple(bias.astype(np.float32) for bias in biases))


def pretrained(machine: DBM, train, options) -> DBM:
    """Return a machine of layers trained one on the other."""
    machines, rng = [], np.random.default_rng(options.seed)
    for layer, weights in enumerate(machine.weights):
        parts = (weights, *machine.biases[layer : layer + 2])
        state = ascent.init(RBM(*(np.array(part) for part in parts)), BATCH)
        key = chain.stream_key(options.seed, Purpose.LAYER, layer)
        up, down = doubled.factors(layer, len(machine.weights))
        below = [(each, rbm.rounded(each), doubled.factors(k, len(machine.weights))[0]) for k, each in enumerate(machines)]
        for batch, rate in batches(Anew(train, options.seed), options.pretraining, PRETRAINING_RATE, len(train)):
            for each, exact, factor in below:
                _, means = doubled.infer(each, exact, minibatches.prepare(batch), factor)
                means = means[:, : len(each.hidden_bias)]
                batch = (rng.random(means.shape, np.float32) < means).astype(np.float32)
            state, rows = ascent.prepare(state, batch, True)
            state, _ = ascent.step(state, rows, phase=doubled.phase(up, down), key=key, learning_rate=rate, **PRETRAINING)
        machines.append(state.machine)
    return doubled.joined(machines)


def learned(machine: DBM, train, held_out, options) -> mean_field.State:
    """Return the state after all passes; after each, print how far it is."""
    state, key = mean_field.init(machine, BATCH), chain.stream_key(options.seed, Purpose.TRAINING)
    begin, n_batches = time.perf_counter(), len(train) // BATCH
    for number, (batch, rate) in enumerate(batches(Anew(train, options.seed), options.passes, options.rate, len(train))):
        state, rows = mean_field.prepare(state, batch, True)
        state, info = mean_field.step(
            state, rows, key=key, n_steps=options.sweeps, learning_rate=rate, centered=True, tolerance=options.tolerance,
            max_updates=options.updates,
        )  # fmt: skip
        if (number + 1) % n_batches == 0:
            report(state, held_out[:1000], info, (number + 1) // n_batches, time.perf_counter() - begin)
            if options.save:
                parts = {f"W{k}": np.ascontiguousarray(weights) for k, weights in enumerate(state.machine.weights)}
                np.savez(options.save, **parts, **{f"b{k}": bias for k, bias in enumerate(state.machine.biases)})
    return state


def report(state: mean_field.State, X, info, n_passes: int, seconds: float) -> None:
    """Print how far learning is."""
    activities = [round(float(means.mean()), 3) for means in info.positive.means]
    print(f"pass {n_passes}: {seconds:.0f} s, bound {bound(state, X)[0]:.2f} - log Z, activities {activities}", flush=True)


def batches(data, n_passes: int, rate: float, n_rows: int):
    """Yield minibatches, and the learning rate of each, which falls to 0."""
    done = 0
    for _ in range(n_passes):
        for part in data:
            for rows in minibatches.slices(len(part), BATCH):
                yield part[rows], rate * (1 - done / (n_passes * n_rows))
                done += rows.stop - rows.start


def bound(state: mean_field.State, X) -> tuple[float, float]:
    """Return the mean bound of rows, without log Z, and their mean number of mean-field updates."""
    found = dbm.mean_field(state.exact, minibatches.prepare(X))
    return float(dbm.variational_bound(state.machine, X, found.means).mean()), round(float(found.n_updates.mean()), 1)


def log_partition(state: mean_field.State, X, options):
    """Return log Z; the base is fitted to rows and to what mean field says of the even layers above them."""
    rng, means = np.random.default_rng(options.seed), dbm.mean_field(state.exact, minibatches.prepare(X)).means
    even = [X, *(rng.random(of_layer.shape) < of_layer for of_layer in means[1::2])]
    sizes = dbm.layer_sizes(state.machine)
    chains = [kernels.unpack(state.chains.layers[k], sizes[k], np.float32) for k in range(0, len(sizes), 2)]
    return evaluation.log_partition(
        dbm.fold(state.machine), "ais", n_betas=options.betas, X=np.concatenate(even, axis=1),
        init=np.concatenate(chains, axis=1), random_state=options.seed,
    )  # fmt: skip


def draw(state: mean_field.State, options) -> None:
    """Save a picture of 100 samples, each 1,000 sweeps from fair coins."""
    import matplotlib

    matplotlib.use("agg")
    from fastbm import plotting

    rng = np.random.default_rng(options.seed)
    sizes = dbm.layer_sizes(state.machine)
    coins = tuple(chain.pack(rng.random((100, size)) < 0.5) for size in sizes)
    key = chain.stream_key(options.seed, Purpose.SAMPLING)
    chains = dbm.advance(state.exact, dbm.Chains(coins, 0), 2000, key=key)
    means = dbm.infer(state.exact, chains.layers, 0)[1][:, : sizes[0]]
    plotting.plot_samples(means, title="1,000 sweeps from fair coins").figure.savefig(options.picture, dpi=120)


if __name__ == "__main__":
    main()
