"""Rungs 1 and 2 on the GPU: kernels equal the reference bit for bit; on the GPU, or, without one, as built for the host."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import naive
import numpy as np
import pytest
from gpu_without_gpu import host, nvrtc

from fastbm import chain, kernels
from fastbm.kernels import pseudo_likelihood_cpu
from fastbm.training import optimizers

FOLDER = Path(kernels.__file__).parent
SOURCES = sorted(path.stem for path in FOLDER.glob("*.cu"))
KEY = (np.uint32(0x243F6A88), np.uint32(0x85A308D3))
SIZES = [(1, 1), (33, 17), (17, 33), (65, 130), (1, 33), (64, 64)]
WAYS = ["shared", "products", "sums"]

pytestmark = pytest.mark.gpu


def source(name: str) -> str:
    text = (FOLDER / f"{name}.cu").read_text()
    for header in FOLDER.glob("*.cuh"):
        text = text.replace(f'#include "{header.name}"', header.read_text())
    return text


@pytest.fixture(params=WAYS)
def gpu_way(request, gpu, monkeypatch):
    """Every way to sweep on a GPU, whatever the size of the machine."""
    from fastbm.kernels import gibbs_gpu

    monkeypatch.setattr(gibbs_gpu, "way", lambda *arguments: request.param)
    return request.param


@pytest.fixture(params=["sums", "products", "tiles"])
def phases_way(request, gpu, monkeypatch):
    """Every way of `phases` on a GPU, whatever the number of rows and chains; and products of a few of them at a time."""
    from fastbm.kernels import limbs_gpu, phases_gpu

    monkeypatch.setattr(phases_gpu, "by_products", lambda *arguments: request.param != "sums")
    if request.param == "tiles":
        monkeypatch.setattr(limbs_gpu, "CHAINS_AT_A_TIME", 4)
    return request.param


def put(gpu, value):
    """The value with all arrays moved to the device."""
    if isinstance(value, dict):
        return {name: put(gpu, each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(put(gpu, each) for each in value)
    return gpu.asarray(value) if isinstance(value, np.ndarray) else value


def get(value):
    return tuple(map(get, value)) if isinstance(value, tuple | list) else value.get()


def limbs_of(to_hidden, to_visible):
    from fastbm.kernels import limbs_gpu

    (visible_words, hidden_words) = (width.shape[1] // 64 for width in (to_visible, to_hidden))
    return (limbs_gpu.split(to_hidden, visible_words),), (limbs_gpu.split(to_visible, hidden_words),)


class TestSources:
    @pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
    @pytest.mark.parametrize("name", SOURCES)
    @nvrtc.NEEDS_NVRTC
    def test_compile_for_a_gpu(self, name, arch):
        assert nvrtc.compile(source(name), arch)[:4] == b"\x7fELF"

    @pytest.mark.parametrize("name", SOURCES)
    @host.NEEDS_COMPILER
    def test_compile_for_the_host(self, name):
        assert host.built(source(name)).kernels

    def test_no_float_is_contracted_or_approximate(self):
        """Nothing that rounds as it likes: the bits are the reference's."""
        for path in [*FOLDER.glob("*.cu"), *FOLDER.glob("*.cuh")]:
            for word in ("__expf", "fmaf", "__fdividef", "rsqrt", "use_fast_math", "__fmaf_rn"):
                assert word not in path.read_text(), (path.name, word)


class TestGibbs:
    @staticmethod
    def assert_same_chain(gpu, arguments, exponent, tables=None, **numbers):
        numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": 0, "stop": 5} | numbers
        expected = naive.run(chain.gibbs, arguments, **numbers)
        got = put(gpu, arguments | {"layers": tuple(states.copy() for states in arguments["layers"])})
        kernels.gibbs(**got, tables={} if tables is None else tables, **numbers)
        np.testing.assert_equal(get(got["layers"]), expected)

    @pytest.mark.parametrize("clamp", ["none", "one", "each"])
    @pytest.mark.parametrize("beta", ["one", "each"])
    @pytest.mark.parametrize("n_chains", [1, 17, 40])
    @pytest.mark.parametrize("size", SIZES)
    def test_equals_reference(self, gpu, size, n_chains, beta, clamp, gpu_way):
        self.assert_same_chain(gpu, *naive.random_arguments(size, n_chains, beta=beta, clamp=clamp))

    @pytest.mark.parametrize("sizes", [(5, 6, 7), (70, 33, 65), (33, 70, 17, 40), (3, 66, 2, 65, 4)])
    def test_any_number_of_layers(self, gpu, sizes, gpu_way):
        self.assert_same_chain(gpu, *naive.random_arguments(sizes, 7, beta="each", clamp="each"), start=1, stop=6)

    @pytest.mark.parametrize("first_chain", [0, 5, 2**32 - 3])
    @pytest.mark.parametrize("start", [0, 7, 2**32 - 2, 2**33 - 4])
    def test_any_position_in_the_stream(self, gpu, start, first_chain, gpu_way):
        arguments, exponent = naive.random_arguments((33, 17), 3)
        self.assert_same_chain(gpu, arguments, exponent, start=start, stop=start + 3, first_chain=first_chain)

    @pytest.mark.parametrize("scale", [0.0, 1e-6, 5.0, 300.0])
    def test_wild_weights(self, gpu, scale, gpu_way):
        self.assert_same_chain(gpu, *naive.random_arguments((70, 90), 9, scale=scale))

    def test_nothing_to_do(self, gpu, gpu_way):
        arguments, exponent = naive.random_arguments((33, 17), 3)
        self.assert_same_chain(gpu, arguments, exponent, start=4, stop=4)

    def test_limbs_are_kept_with_the_couplings(self, gpu, monkeypatch):
        from fastbm.kernels import gibbs_gpu

        monkeypatch.setattr(gibbs_gpu, "way", lambda *arguments: "products")
        arguments, exponent = naive.random_arguments((33, 17), 3)
        tables = {}
        self.assert_same_chain(gpu, arguments, exponent, tables)
        kept = tables["limbs"]
        self.assert_same_chain(gpu, arguments, exponent, tables)
        assert tables["limbs"] is kept

    def test_limbs_add_up_to_the_couplings(self, gpu):
        from fastbm.kernels import limbs_gpu

        rng = np.random.default_rng(0)
        couplings = rng.integers(-(2**27), 2**27 + 1, (33, 64), dtype=np.int32)
        couplings[0, :6] = [2**27, -(2**27), 1023, 1024, -1024, -1025]
        limbs = limbs_gpu.split(gpu.asarray(couplings), 1).get().astype(np.int64)
        assert np.abs(limbs).max() <= limbs_gpu.BASE // 2
        assert not limbs[33:].any()
        low, middle, high = np.split(limbs[:33], 3, axis=1)
        np.testing.assert_array_equal(low + 2048 * (middle + 2048 * high), couplings)
        assert limbs_gpu.MOST_SOURCES * (limbs_gpu.BASE // 2) < 2**24

    def test_tiles_of_chains(self, gpu, monkeypatch):
        from fastbm.kernels import gibbs_gpu, limbs_gpu

        monkeypatch.setattr(gibbs_gpu, "way", lambda *arguments: "products")
        monkeypatch.setattr(limbs_gpu, "CHAINS_AT_A_TIME", 4)
        for first_chain in (9, 2**32 - 5):
            arguments = naive.random_arguments((33, 17), 11, beta="each", clamp="each")
            self.assert_same_chain(gpu, *arguments, first_chain=first_chain)

    def test_chains_of_many_blocks(self, gpu, monkeypatch):
        """Of one chain each, and of as many as fit where shared memory is small."""
        from fastbm.kernels import gibbs_gpu

        for room in (1, 2, 3):
            arguments, exponent = naive.random_arguments((33, 17), 300 if room == 3 else 5, beta="each", clamp="each")
            words = [states.shape[1] for states in arguments["layers"]]
            size = gibbs_gpu._bytes_shared(words, arguments["up"], arguments["down"], room)[0]
            monkeypatch.setattr(gibbs_gpu, "_shared_memory", lambda size=size: size)
            self.assert_same_chain(gpu, arguments, exponent)

    def test_layers_of_odd_numbers_of_words_fit(self, gpu):
        """Places are rounded up, so that more chains do not take so many times the room of one."""
        arguments, exponent = naive.random_arguments((56, 144, 43, 182), 1188, scale=0.1)
        self.assert_same_chain(gpu, arguments, exponent, start=0, stop=4)

    def test_the_way_is_chosen(self, gpu):
        from fastbm.kernels import gibbs_gpu

        def chosen(sizes, n_chains, n_updates=100):
            layers = tuple(np.empty((n_chains, chain.padded(size) // 64), np.uint64) for size in sizes)
            up = tuple(np.empty((below, chain.padded(above)), np.int32) for below, above in pairwise(sizes))
            down = tuple(np.empty((above, chain.padded(below)), np.int32) for below, above in pairwise(sizes))
            return gibbs_gpu.way(layers, up, down, n_updates)

        assert chosen((64, 256), 8192) == "shared"
        assert chosen((784, 500), 8192) == "products"
        assert chosen((784, 500), 1) == "sums"
        assert chosen((20_000, 500), 8192) == "sums"
        assert chosen((64, 256), 8192, 1) == chosen((784, 500), 8192, 1) == "sums"


class TestOthers:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("guess", [None, 3, 24])
    @pytest.mark.parametrize("scale", [1e-8, 0.3, 40.0])
    @pytest.mark.parametrize("size", SIZES)
    def test_rounding_equals_reference(self, gpu, size, scale, guess, dtype):
        weights = (np.random.default_rng(0).normal(size=size) * scale).astype(dtype)
        rounded, exponent = chain.round_couplings(weights)
        both = [gpu.zeros(naive.pad(np.empty(shape)).shape, gpu.int32) for shape in (size, size[::-1])]
        assert kernels.round_couplings(gpu.asarray(weights), *both, guess=guess) == exponent
        np.testing.assert_equal(get(both), (naive.pad(rounded), naive.pad(rounded.T)))

    @pytest.mark.parametrize("scale", [1e-8, 40.0])
    @pytest.mark.parametrize("sizes", [(33, 17), (33, 17, 65), (5, 1, 64, 3)])
    def test_rounding_of_layers_equals_reference(self, gpu, sizes, scale):
        """Weights may lie either way round."""
        rng = np.random.default_rng(0)
        weights = tuple((rng.normal(size=size) * scale).astype(np.float32) for size in pairwise(sizes))
        rounded, exponent = chain.round_layers(weights)
        up, down = ([gpu.zeros(naive.pad(each).shape, gpu.int32) for each in way] for way in (rounded, [r.T for r in rounded]))
        given = tuple(gpu.asarray(each.T.copy()).T if k % 2 else gpu.asarray(each) for k, each in enumerate(weights))
        assert kernels.round_layers(given, up, down, guess=None) == exponent
        np.testing.assert_equal(get(up), [naive.pad(each) for each in rounded])
        np.testing.assert_equal(get(down), [naive.pad(each.T) for each in rounded])

    @pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinity"), (6e5, "524288")])
    def test_rounding_refuses(self, gpu, value, message):
        weights = np.zeros((33, 17), np.float32)
        weights[32, 16] = value
        weights = gpu.asarray(weights)
        exponent = kernels.round_couplings(weights, gpu.zeros((33, 64), gpu.int32), gpu.zeros((17, 64), gpu.int32), guess=20)
        with pytest.raises(ValueError, match=message):
            kernels.check_exponent(exponent, weights)

    @pytest.mark.parametrize("n_units", [1, 3, 100, 2000])
    def test_rounding_at_the_borders_of_exponents(self, gpu, n_units):
        """Sums just below and just above where the exponent changes, spread over many units that all round up, or down."""
        for power in (3, 10, 18):
            for part in (1 - 1e-6, 1 - 1e-9, 1.0, 1 + 1e-9, 1 + 1e-6):
                weights = np.full((n_units, 1), 2.0**power * part / n_units)
                rounded, exponent = chain.round_couplings(weights)
                both = [gpu.zeros((n_units, 64), gpu.int32), gpu.zeros((1, chain.padded(n_units)), gpu.int32)]
                assert int(kernels.round_couplings(gpu.asarray(weights), *both, guess=None)[0]) == exponent
                np.testing.assert_equal(get(both), (naive.pad(rounded), naive.pad(rounded.T)))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n_units", [1, 33, 64, 65, 130])
    def test_packing_equals_reference(self, gpu, n_units, dtype):
        rows = (np.random.default_rng(0).random((7, n_units)) < 0.4).astype(dtype)
        out = gpu.empty((7, chain.padded(n_units) // 64), gpu.uint64)
        assert kernels.pack(gpu.asarray(rows), out)
        np.testing.assert_array_equal(out.get(), chain.pack(rows))
        np.testing.assert_array_equal(kernels.unpack(out, n_units, dtype).get(), rows)
        for other in (0.5, -1.0, 2.0, np.nan, 1e-40):
            rows[6, -1] = other
            assert not kernels.pack(gpu.asarray(rows), out)
            np.testing.assert_array_equal(out.get(), chain.pack(rows != 0))

    @pytest.mark.parametrize("beta", ["one", "each"])
    @pytest.mark.parametrize("size", SIZES)
    def test_logits_means_and_draws_equal_the_reference(self, gpu, size, beta):
        arguments, exponent = naive.random_arguments(size, 17, beta=beta, clamp="each")
        states, bias, width = arguments["layers"][0], arguments["biases"][1], arguments["biases"][1].size
        inputs = (chain.unpack(states, size[0], np.float64) @ arguments["up"][0]).astype(np.int32)
        expected = chain.logit(inputs, bias, arguments["beta"], exponent)
        logits, means = gpu.empty((17, width), gpu.float32), gpu.zeros((17, width + 16), gpu.float32)
        given = put(gpu, [states, arguments["up"][0], bias, arguments["beta"]])
        kernels.infer(*given, logits, means, exponent=exponent)
        np.testing.assert_array_equal(logits.get(), expected)
        np.testing.assert_array_equal(means.get()[:, :width], chain.mean(expected))
        assert not means.get()[:, width:].any()
        hidden, free = put(gpu, [arguments["layers"][1].copy(), arguments["free"][1]])
        kernels.draw(hidden, logits, free, key=KEY, first_chain=5, update=7)
        drawn = chain.pack(chain.draw(expected, chain.random_words(width, 5 + np.arange(17), 3, 1, KEY)))
        before, loose = arguments["layers"][1], arguments["free"][1]
        np.testing.assert_array_equal(hidden.get(), (drawn & loose) | (before & ~loose))

    @pytest.mark.parametrize(("n_rows", "n_chains"), [(5, 9), (0, 3), (9, 1)])
    @pytest.mark.parametrize("size", SIZES)
    def test_phases_equal_the_reference(self, gpu, size, n_rows, n_chains, phases_way):
        arguments, exponent = naive.random_arguments(size, n_chains, clamp="one")
        arguments["free"] = (arguments["free"][0], chain.pack(np.ones((1, size[1]))))  # visible units may be held
        rows, tables = chain.pack(np.random.default_rng(1).random((n_rows, size[0])) < 0.3), {}
        for update in (3, 2**32 - 1):
            numbers = {"exponent": exponent, "key": KEY, "first_chain": 0, "start": update, "stop": update + 2}
            visible, hidden = naive.run(chain.gibbs, arguments, **numbers)
            states = chain.unpack(np.concatenate([rows, visible]), size[0], np.float64)
            inputs = (states @ arguments["up"][0]).astype(np.int32)
            expected = chain.mean(chain.logit(inputs, arguments["biases"][1], arguments["beta"], exponent))
            width = arguments["biases"][1].size
            got = put(gpu, arguments | {"layers": tuple(states.copy() for states in arguments["layers"])})
            means = gpu.zeros((n_rows + n_chains, width + 16), gpu.float32)
            kernels.phases(
                put(gpu, rows), *got["layers"], means, *got["up"], *got["down"], *got["biases"], *got["free"], tables,
                exponent=exponent, key=KEY, update=update,
            )  # fmt: skip
            np.testing.assert_equal(get(got["layers"]), (visible, hidden))
            np.testing.assert_array_equal(means.get()[:, :width], expected)
            assert not means.get()[:, width:].any()
        assert ("limbs" in tables) == (phases_way != "sums")

    @pytest.mark.parametrize("transposed", [False, True])
    @pytest.mark.parametrize("dtype", ["float16", "uint16", "float32"])
    def test_products(self, gpu, dtype, transposed):
        """Of small integers, which all types hold: float32 cut to its upper half is bfloat16."""
        from fastbm.kernels import products_gpu

        rng = np.random.default_rng(0)
        left, right = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((5, 16), (16, 24)))
        given = [left.T if transposed else left, right]
        given = [(each.view(np.uint32) >> 16 if dtype == "uint16" else each).astype(dtype, order="C") for each in given]
        out = gpu.ones((5, 24), gpu.float32)
        products_gpu.multiply(*put(gpu, given), out, transposed=transposed, add=True)
        np.testing.assert_array_equal(out.get(), left @ right + 1)
        products_gpu.multiply(*put(gpu, given), out, transposed=transposed)
        np.testing.assert_array_equal(out.get(), left @ right)

    def test_products_go_on_where_learning_has_made_limbs(self, gpu, monkeypatch):
        from fastbm.kernels import gibbs_gpu, limbs_gpu

        monkeypatch.setattr(gibbs_gpu, "CHAINS_WORTH_A_PRODUCT", 3)
        monkeypatch.setattr(gibbs_gpu, "sweep", None)
        arguments, exponent = naive.random_arguments((33, 17), 3)
        tables = {}
        limbs_gpu.of(tables, arguments["layers"], *(put(gpu, arguments[name]) for name in ("up", "down")))
        TestGibbs.assert_same_chain(gpu, arguments, exponent, tables, start=1, stop=3)

    def test_by_products_or_by_sums(self, gpu):
        from fastbm.kernels import phases_gpu

        def chosen(n_rows, n_chains, n_words):
            return phases_gpu.by_products(*(np.empty((n, words), np.uint64) for n, words in zip(
                (n_rows, n_chains, n_chains), (n_words, n_words, 8), strict=True
            )))  # fmt: skip

        assert chosen(1000, 1000, 13)
        assert not chosen(10, 10, 13)
        assert not chosen(1000, 1000, 300)

    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    @pytest.mark.parametrize("size", SIZES)
    def test_biases_take_the_steps_of_the_formula(self, gpu, size, momentum):
        rng = np.random.default_rng(0)
        biases, gradients, velocities = ([rng.normal(size=n).astype(np.float32) for n in size] for _ in range(3))
        copies, rates = [np.zeros(chain.padded(n), np.float32) for n in size], {"learning_rate": 0.3, "momentum": momentum}
        velocities = velocities if momentum else [velocity[:0] for velocity in velocities]
        given = [array.copy() for array in (*biases, *gradients, *velocities, *copies)]
        there = put(gpu, given)
        kernels.step_biases(*given, **rates)
        kernels.step_biases(*there, **rates)
        for k in range(2):
            optimizers.step(biases[k], gradients[k], velocities[k] if momentum else None, **rates)
        expected = [*biases, *map(naive.pad, biases)]
        for got in (given, get(there)):
            np.testing.assert_equal([*got[:2], *got[6:]], expected)
            np.testing.assert_equal(got[4:6], velocities)

    @pytest.mark.parametrize("factor", [1000.0, 3.0, 1.001, 0.999, 0.3, 1e-3])
    def test_an_ascent_across_borders_of_the_exponent(self, gpu, factor):
        """By decay of a negative strength; the largest sum lies just inside a border, or just outside, before."""
        from test_learning_kernels import Learner

        for border in (1.0005, 0.9995):
            learner = Learner((130, 65), 5, 5)
            magnitudes = np.abs(learner.weights)
            learner.weights *= np.float32(32 * border / max(magnitudes.sum(axis=0).max(), magnitudes.sum(axis=1).max()))
            learner.round()
            learner.means[:] = 0
            weights = learner.expected(learning_rate=1.0, l2=1 - factor)[0]
            arrays = [learner.weights, learner.velocity, learner.to_hidden, learner.to_visible, *learner.gradients]
            arrays += [*learner.offsets, learner.rows, learner.grey, chain.pack(learner.chains), learner.means, learner.factors]
            arrays = put(gpu, arrays)
            numbers = learner.rates | {"learning_rate": 1.0, "l2": 1 - factor}
            exponent = kernels.ascend(*arrays, {}, exponent=learner.exponent, both=False, **numbers)
            np.testing.assert_array_equal(arrays[0].get(), weights)
            rounded, expected = chain.round_couplings(weights)
            assert exponent == expected
            np.testing.assert_equal(get(arrays[2:4]), [naive.pad(rounded), naive.pad(rounded.T)])

    def test_what_could_not_be_rounded_once_is_not_forgotten(self, gpu):
        weights, both = gpu.zeros((33, 17), gpu.float32), [gpu.zeros((33, 64), gpu.int32), gpu.zeros((17, 64), gpu.int32)]
        weights[3, 4] = np.inf
        exponent = kernels.round_couplings(weights, *both, guess=20)
        weights[3, 4] = 0.0
        for _ in range(2):
            exponent = kernels.round_couplings(weights, *both, guess=exponent)
        with pytest.raises(ValueError, match="NaN"):
            kernels.check_exponent(exponent, weights)

    @pytest.mark.parametrize("centered", [False, True])
    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    @pytest.mark.parametrize("kind", ["binary", "grey", "without bfloat16"])
    @pytest.mark.parametrize("size", SIZES)
    def test_ascent_agrees_with_the_naive_twin(self, gpu, size, kind, momentum, centered, monkeypatch):
        from test_learning_kernels import Learner

        from fastbm.kernels import ascent_gpu

        grey = kind == "grey"
        if kind == "without bfloat16":
            monkeypatch.setattr(ascent_gpu, "has_bfloat16", lambda: False)
        learner = Learner(size, 9, 7, grey=grey, momentum=momentum, centered=centered)
        numbers = learner.rates | {"l1": 1e-3, "l2": 1e-2}
        learner.factors *= np.linspace(0.5, 1.5, 16, dtype=np.float32)
        weights, velocity, *gradients, offsets = learner.expected(**numbers)
        arrays = [learner.weights, learner.velocity, learner.to_hidden, learner.to_visible, *learner.gradients]
        arrays += [*learner.offsets, learner.rows, learner.grey, chain.pack(learner.chains), learner.means, learner.factors]
        arrays = put(gpu, arrays)
        tables = {"limbs": limbs_of(*arrays[2:4])} | {"other": "stale"} if momentum else {"other": "stale"}
        exponent = kernels.ascend(*arrays, tables, exponent=learner.exponent, both=True, **numbers)
        assert set(tables) == ({"limbs"} if momentum else set())
        np.testing.assert_equal(get(tables.get("limbs", ())), get(limbs_of(*arrays[2:4]) if momentum else ()))
        got = get(arrays)
        np.testing.assert_allclose(got[0], weights, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got[4], gradients[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[5], gradients[1], rtol=1e-4, atol=1e-5)
        if momentum:
            np.testing.assert_allclose(got[1], velocity, rtol=1e-5, atol=1e-6)
        if centered:
            np.testing.assert_allclose(got[6], offsets[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(got[7], offsets[1], rtol=1e-5, atol=1e-6)
        rounded, expected = chain.round_couplings(got[0])
        assert exponent == expected
        np.testing.assert_equal(got[2:4], (naive.pad(rounded), naive.pad(rounded.T)))

    @pytest.mark.parametrize("size", SIZES)
    def test_grey_inference_agrees_with_the_cpu(self, gpu, size):
        rng = np.random.default_rng(0)
        rows, weights = rng.random((5, size[0]), np.float32), rng.normal(size=size).astype(np.float32)
        bias = naive.pad(rng.normal(size=size[1]).astype(np.float32))
        logits, means = (np.empty((5, bias.size), np.float32) for _ in range(2))
        kernels.grey_infer(rows, weights, bias, logits, means)
        got, wide = gpu.empty(logits.shape, gpu.float32), gpu.zeros((5, bias.size + 16), gpu.float32)
        kernels.grey_infer(*put(gpu, [rows, weights, bias]), got, wide)
        np.testing.assert_allclose(got.get(), logits, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(wide.get()[:, : bias.size], means, rtol=1e-5, atol=1e-6)
        wide = gpu.zeros((9, bias.size + 16), gpu.float32)  # more rows than needed
        kernels.grey_infer(*put(gpu, [rows, weights, bias]), wide, wide)
        np.testing.assert_allclose(wide.get()[:5, : bias.size], means, rtol=1e-5, atol=1e-6)
        assert not wide.get()[:, bias.size :].any()
        assert not wide.get()[5:].any()

    @pytest.mark.parametrize("stride", [1, 7, 1000])
    def test_flip_ratios_agree_with_the_cpu(self, gpu, stride):
        rng = np.random.default_rng(0)
        rows, on, weights = rng.random((9, 33)) < 0.5, rng.random((9, 17)), rng.normal(size=(17, 33))
        changes = rng.normal(size=(9, 33))
        for name, first, last in (("flip_ratios", rows, np.exp(weights)), ("grey_flip_ratios", changes, weights)):
            out, got = np.empty((9, 33)), gpu.empty((9, 33), gpu.float64)
            getattr(pseudo_likelihood_cpu, name)(first, 1 - on, on, last, out, stride=stride)
            getattr(kernels, name)(*put(gpu, [first, 1 - on, on, last]), got, stride=stride)
            np.testing.assert_allclose(got.get(), out, rtol=1e-6, atol=1e-6)
