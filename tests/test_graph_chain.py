"""The chain of general machines: kernels, layouts and rounding against the reference, bit for bit."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np
import pytest

from fastbm import chain, kernels
from fastbm.machines import boltzmann
from fastbm.machines.boltzmann import Boltzmann, Chains
from fastbm.machines.layout import _in_one_part, layout_of

KEY = chain.stream_key(3, chain.Purpose.SAMPLING)


def machine_of(couplings, bias, n_visible):
    first, second = (ends.astype(np.int32) for ends in np.nonzero(np.triu(couplings, 1)))
    return Boltzmann(couplings[first, second], bias[:n_visible], bias[n_visible:], first, second)


def random_machine(n_units, share, n_visible=None, seed=0, scale=0.5):
    rng = np.random.default_rng(seed)
    bias = rng.normal(size=n_units)
    return machine_of(naive.symmetric(rng, n_units, share, scale), bias, n_units if n_visible is None else n_visible)


def layered_machine(sizes, seed=0):
    rng, layer = np.random.default_rng(seed), np.repeat(np.arange(len(sizes)), sizes)
    couplings = naive.symmetric(rng, sum(sizes)) * (abs(layer[:, None] - layer) == 1)
    return machine_of(couplings, rng.normal(size=sum(sizes)), sizes[0])


def reference(exact, states, free, beta, start, stop):
    """The states after sweeps by the reference, for a machine in one part."""
    layout, after = exact.layout, states.copy()
    of_blocks = (layout.starts, layout.sizes, layout.numbers)
    numbers = {"exponent": exact.exponent, "key": KEY, "first_chain": 2, "start": start, "stop": stop}
    if layout.kind == "sparse":
        rows = (layout.indptr, layout.indices)
        chain.graph_gibbs(after, *rows, *exact.couplings, exact.bias, beta, free, *of_blocks, **numbers)
    else:
        chain.dense_gibbs(after, *exact.couplings, exact.bias, beta, free, *of_blocks, **numbers)
    return after


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("n_units", "share"), [(1, 1.0), (2, 1.0), (33, 0.1), (70, 0.3), (129, 0.02)])
@pytest.mark.parametrize("n_chains", [1, 17])
@pytest.mark.parametrize("betas", ["one", "each", "schedule"])
def test_kernels_are_the_reference(dense, n_units, share, n_chains, betas, n_threads):
    rng, machine = np.random.default_rng(1), random_machine(n_units, share)
    plain = layout_of(boltzmann.graph_of(machine))
    blocks = [plain.order[start : start + size] for start, size in zip(plain.starts, plain.sizes, strict=True)]
    exact = boltzmann.rounded(machine, _in_one_part(plain.graph, blocks, plain.numbers, dense))
    shape = {"one": (1, 1), "each": (n_chains, 1), "schedule": (n_chains, 5)}[betas]
    beta = rng.uniform(0, 2, shape).astype(np.float32)
    (states,), (free,) = (boltzmann.enter(exact.layout, rng.random((n_chains, n_units)) < p) for p in (0.4, 0.7))
    expected = reference(exact, states, free, beta, 3, 8)
    run = {"key": KEY, "beta": beta, "free": (free,), "first_chain": 2}
    (got,), sweeps = boltzmann.advance(exact, Chains((states.copy(),), 3), 5, **run)
    np.testing.assert_array_equal(got, expected)
    assert sweeps == 8
    chains = Chains((states.copy(),), 3)
    for begin, end in pairwise((0, 2, 5)):
        some = beta if beta.shape[1] == 1 else beta[:, begin:end]
        chains = boltzmann.advance(exact, chains, end - begin, **run | {"beta": some})
    np.testing.assert_array_equal(chains.states[0], expected)


@pytest.mark.parametrize("sizes", [(7, 5), (70, 65), (70, 65, 3), (10, 9, 8, 7)])
def test_layers_give_the_same_chain_whichever_kernel_runs_them(sizes):
    rng, machine = np.random.default_rng(0), layered_machine(sizes)
    layout = layout_of(boltzmann.graph_of(machine))
    assert layout.kind == "layers"
    starts, drawn = np.cumsum([0, *sizes]), [*range(1, len(sizes), 2), *range(0, len(sizes), 2)]
    blocks = [np.arange(starts[layer], starts[layer + 1]) for layer in drawn]
    rows, free = rng.random((9, sum(sizes))) < 0.5, rng.random((9, sum(sizes))) < 0.8
    for beta in (rng.random((9, 1)), rng.random((1, 4))):
        after = []
        for each in (layout, *(_in_one_part(layout.graph, blocks, [layer ^ 1 for layer in drawn], dense) for dense in (0, 1))):
            exact = boltzmann.rounded(machine, each)
            chains = Chains(boltzmann.enter(each, rows), 1)
            run = {"key": KEY, "beta": beta.astype(np.float32), "free": boltzmann.enter(each, free)}
            after.append(boltzmann.leave(each, boltzmann.advance(exact, chains, 4, **run).states))
        np.testing.assert_array_equal(after[0], after[1])
        np.testing.assert_array_equal(after[0], after[2])


@pytest.mark.parametrize("sizes", [(6, 5), (6, 5, 4)])
def test_layers_are_the_chain_of_the_layers_kernel(sizes):
    machine = layered_machine(sizes)
    exact = boltzmann.rounded(machine, layout_of(boltzmann.graph_of(machine)))
    couplings, starts = boltzmann.dense_matrix(machine), np.cumsum([0, *sizes])
    ranges = [slice(a, b) for a, b in pairwise(starts)]
    weights = [couplings[low, high] for low, high in pairwise(ranges)]
    biases = [boltzmann.bias_of(machine)[each] for each in ranges]
    rows = np.random.default_rng(0).random((5, sum(sizes))) < 0.5
    arguments, exponent = naive.reference_arguments(weights, biases, [chain.pack(rows[:, each]) for each in ranges])
    numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": 0, "stop": 6}
    expected = naive.run(kernels.gibbs, arguments, tables={}, **numbers)
    np.testing.assert_equal(naive.run(chain.gibbs, arguments, **numbers), expected)
    chains = boltzmann.advance(exact, Chains(boltzmann.enter(exact.layout, rows), 0), 3, key=KEY, beta=boltzmann.ones())
    np.testing.assert_equal(chains.states, expected)


@pytest.mark.parametrize("scale", [1e-9, 0.3, 7.0, 900.0])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_rounding_is_the_reference_of_the_matrix(scale, share):
    machine = random_machine(60, share, scale=scale)
    expected, exponent = chain.round_couplings(boltzmann.dense_matrix(machine))
    exact = boltzmann.rounded(machine, layout_of(boltzmann.graph_of(machine)))
    assert exact.exponent == exponent
    again = boltzmann.rounded(machine, exact.layout, exact._replace(exponent=12))
    assert again.exponent == exponent
    first, second = machine.first, machine.second
    if exact.layout.kind == "dense":
        (matrix,) = exact.couplings
        places = exact.layout.places
        np.testing.assert_array_equal(matrix[places[first], places[second]], expected[first, second])
        assert (matrix[:, :60] == matrix[:, :60].T).all()
    else:
        edges = expected[first, second]
        np.testing.assert_array_equal(exact.couplings[0], edges[exact.layout.entries])


def test_what_cannot_be_rounded_is_an_error():
    for wrong, message in ((np.nan, "NaN or infinity"), (1e6, "sum to")):
        machine = random_machine(5, 1.0)
        machine.weights[3] = wrong
        with pytest.raises(ValueError, match=message):
            boltzmann.rounded(machine, layout_of(boltzmann.graph_of(machine)))
    machine = random_machine(5, 1.0)
    machine.visible_bias[0] = np.inf
    with pytest.raises(ValueError, match="NaN or infinity"):
        boltzmann.rounded(machine, layout_of(boltzmann.graph_of(machine)))


@pytest.mark.parametrize(("machine", "kind"), [(random_machine(70, 0.3), "dense"), (layered_machine((70, 9)), "layers")])
def test_states_come_out_as_they_went_in(machine, kind):
    layout = layout_of(boltzmann.graph_of(machine))
    assert layout.kind == kind
    rows = (np.random.default_rng(0).random((5, layout.graph.n_units)) < 0.5).astype(np.float32)
    np.testing.assert_array_equal(boltzmann.leave(layout, boltzmann.enter(layout, rows)), rows)
