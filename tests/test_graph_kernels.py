"""Rungs 1 and 2: kernels of general graphs equal the reference bit for bit, in every way to sweep, on any number of threads."""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from numba import njit

from fastbm import chain, kernels
from fastbm.kernels import chains_cpu, flips_cpu, graph_cpu, levels_cpu, limits_cpu, llvm_cpu, pulls_cpu, runs_cpu, simd_cpu

KEY = (np.uint32(0x243F6A88), np.uint32(0x85A308D3))
NUMBERS = {"exponent": graphs.EXPONENT, "key": KEY, "first_chain": 0, "start": 0, "stop": 3}
GRAPHS = {
    "lattice": lambda: graphs.lattice(10, 14),
    "lattice of many words": lambda: graphs.lattice(16, 32),
    "lattice of unlike couplings": lambda: graphs.lattice(10, 14, spread=0.1),
    "small blocks": lambda: graphs.random_blocks([1, 33, 64, 65], 6),
    "one unit": lambda: graphs.random_blocks([1], 0),
    "no couplings": lambda: graphs.random_blocks([40, 90], 0),
    "many neighbours": lambda: graphs.random_blocks([130, 70, 3, 1], 30, scale=0.1),
    "wild couplings": lambda: graphs.random_blocks([30, 50], 4, scale=30.0),
    "many words": lambda: graphs.random_blocks([700, 1100, 333], 5),
}
machines = pytest.mark.parametrize("machine", GRAPHS.values(), ids=list(GRAPHS))


@pytest.fixture(params=["runs", "pulls", "flips", "chains"])
def graph_way(request, monkeypatch):
    """Every way to sweep a graph, whatever it costs."""
    if request.param == "pulls" and not pulls_cpu.is_possible():
        pytest.skip("pulls: this processor has no AVX-512 VBMI, or FASTBM_SIMD forbids it")
    monkeypatch.setattr(graph_cpu, "costs_of", lambda *arguments: {request.param: 1.0})
    monkeypatch.setattr(graph_cpu, "SHORTEST_RUN", 0.01)
    return request.param


def assert_same_chain(machine, *chains, kernel="graph_gibbs", numbers=None, tables=None, **options):
    arguments, numbers = graphs.with_chains(machine, *chains, **options), NUMBERS | (numbers or {})
    expected = graphs.run(getattr(chain, kernel), arguments, **numbers)
    got = graphs.run(getattr(kernels, kernel), arguments, tables={} if tables is None else tables, **numbers)
    np.testing.assert_array_equal(got, expected)


class TestGraph:
    @machines
    @pytest.mark.parametrize("n_chains", [1, 17])
    @pytest.mark.parametrize(("beta", "clamp"), [("one", "none"), ("each", "one"), ("sweep", "each"), ("both", "none")])
    def test_equals_reference(self, graph_way, n_threads, machine, n_chains, beta, clamp):
        assert_same_chain(machine(), n_chains, beta=beta, clamp=clamp)

    @pytest.mark.parametrize("n_chains", [64, 65, 256])
    def test_many_chains(self, graph_way, n_threads, n_chains):
        assert_same_chain(GRAPHS["small blocks"](), n_chains, clamp="each", numbers={"stop": 2})

    @pytest.mark.parametrize("first_chain", [0, 5, 2**32 - 3])
    @pytest.mark.parametrize("start", [0, 7, 2**32 - 3])
    def test_any_position_in_the_stream(self, graph_way, start, first_chain):
        numbers = {"start": start, "stop": start + 3, "first_chain": first_chain}
        assert_same_chain(GRAPHS["small blocks"](), 3, numbers=numbers)
        assert_same_chain(GRAPHS["lattice"](), 3, beta="sweep", numbers=numbers)

    def test_many_sweeps_at_once_or_one_at_a_time(self, graph_way):
        arguments, tables = graphs.with_chains(GRAPHS["lattice"](), 3), {}
        at_once = graphs.run(kernels.graph_gibbs, arguments, tables=tables, **NUMBERS | {"stop": 9})
        for start in range(9):
            arguments["states"] = graphs.run(
                kernels.graph_gibbs, arguments, tables=tables, **NUMBERS | {"start": start, "stop": start + 1}
            )
        np.testing.assert_array_equal(arguments["states"], at_once)

    def test_nothing_to_do(self, graph_way):
        assert_same_chain(GRAPHS["lattice"](), 3, numbers={"stop": 0})
        assert_same_chain(GRAPHS["lattice"](), 0, numbers={"stop": 0})

    def test_the_way_is_chosen_by_its_cost(self, monkeypatch):
        """Lattices by runs, other graphs by pulls, or by flips where few units flip, and with many chains 64 at a time."""
        went = []
        for way in (runs_cpu, pulls_cpu, flips_cpu, chains_cpu):
            monkeypatch.setattr(way, "run", lambda *rest, way=way, run=way.run: (went.append(way), run(*rest))[1])
        lattice, regular, few = graphs.lattice(4, 256), graphs.regular(150, 6), {"flipping": 0.01}
        for machine, n_chains, tables in ((lattice, 1, {}), (regular, 1, {}), (regular, 1, few), (regular, 256, {})):
            assert_same_chain(machine, n_chains, numbers={"stop": 1}, tables=tables)
        assert went == [runs_cpu, pulls_cpu if pulls_cpu.is_possible() else flips_cpu, flips_cpu, chains_cpu]

    def test_pulls_are_for_processors_that_permute_bytes(self, monkeypatch):
        """AVX-512 without VBMI has no vpermi2b; and a lower level that is chosen means it."""
        features = {"fma": True, "avx2": True, "avx512bw": True, "avx512dq": True}
        for name, level, possible in (
            ("avx512vbmi", "avx512", True),
            ("avx512f", "avx512", False),
            ("avx512vbmi", "avx2", False),
        ):
            monkeypatch.setattr(simd_cpu, "LEVEL", level)
            monkeypatch.setattr(llvm_cpu, "get_host_cpu_features", lambda name=name: features | {name: True})
            assert pulls_cpu.is_possible() == possible

    @pytest.mark.parametrize("graph_way", ["pulls", "flips"], indirect=True)
    def test_flips_are_counted_after_the_first_sweep(self, graph_way):
        machine, tables = GRAPHS["small blocks"](), {}
        arguments, flips = graphs.with_chains(machine, 5), 0
        for sweep in range(6):
            before = arguments["states"]
            arguments["states"] = graphs.run(chain.graph_gibbs, arguments, **NUMBERS | {"start": sweep, "stop": sweep + 1})
            flips += np.bitwise_count(before ^ arguments["states"]).sum() if sweep else 0
        assert_same_chain(machine, 5, tables=tables, numbers={"stop": 6})
        assert tables["flipping"] == pytest.approx(flips / (5 * 5 * 163))


class TestParts:
    def test_runs_of_a_lattice(self):
        """A word has four kinds of neighbours, of which one is cut in two where a row of units ends."""
        (arguments, _) = graphs.lattice(16, 256)
        runs = runs_cpu.runs_of(arguments["indptr"], arguments["indices"], arguments["data"], 10**9)
        assert runs.couplings.shape == (1, 64)
        assert runs.offsets.size <= 64 * 5
        assert runs_cpu.runs_of(arguments["indptr"], arguments["indices"], arguments["data"], 64 * 4 - 1) is None

    def test_picks_are_the_couplings(self):
        """Every lane of every row leads to the neighbour and the coupling that it stands for, and is in one piece."""
        (arguments, _) = GRAPHS["many words"]()
        indptr, indices, data = (arguments[name] for name in ("indptr", "indices", "data"))
        picks = pulls_cpu.picks_of(indptr, indices, data, *pulls_cpu.count_picks(indptr, indices))
        assert (picks.pieces[-1], picks.starts[-1]) == (len(picks.masks), len(picks.bits))
        found = []
        for row, word in enumerate(np.repeat(np.arange(len(picks.starts) - 1), np.diff(picks.starts))):
            lanes = chain.unpack(picks.masks[picks.pieces[row] : picks.pieces[row + 1], None], 64)
            np.testing.assert_array_equal(lanes.sum(axis=0), picks.bits[row] != 0)
            for lane in np.flatnonzero(picks.bits[row]):
                begin = picks.begins[picks.pieces[row] + lanes[:, lane].argmax()]
                neighbour = 64 * begin + 8 * int(picks.octets[row, lane]) + np.log2(picks.bits[row, lane])
                found.append((64 * word + lane, neighbour, picks.couplings[row, lane]))
        slots = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
        assert sorted(found) == list(zip(slots.tolist(), indices.tolist(), data.tolist(), strict=True))

    def test_levels(self):
        (equal, _), (other, _) = graphs.lattice(10, 14), graphs.lattice(10, 14, spread=0.1)
        levels = [levels_cpu.levels_of(each["indptr"], each["data"], each["starts"], each["sizes"]) for each in (equal, other)]
        one = equal["data"][0]
        for block in range(2):
            assert sorted(levels[0].inputs[block, : levels[0].counts[block]]) == [0, one, 2 * one, 3 * one, 4 * one]
        assert not levels[1].counts.any()
        bias = equal["bias"].copy()
        bias[equal["starts"][1] + 5] = 0.5
        np.testing.assert_array_equal(levels_cpu.find_alike(levels[0].counts, bias, equal["starts"], equal["sizes"]), [5, 0])

    def test_levels_of_several_kinds_of_units(self):
        """A star: its centre, and units with one neighbour; and a chain of alternating couplings."""
        star, _ = graphs.sparse([np.arange(1), np.arange(1, 4)], np.zeros(3, int), np.arange(1, 4), np.ones(3), np.zeros(4))
        levels = levels_cpu.levels_of(star["indptr"], star["data"], star["starts"], star["sizes"])
        np.testing.assert_array_equal(levels.counts, [4, 2])
        path, _ = graphs.sparse(
            [np.arange(0, 6, 2), np.arange(1, 6, 2)], np.arange(5), np.arange(1, 6), np.array([1.0, 2, 1, 2, 1]), np.zeros(6)
        )
        levels = levels_cpu.levels_of(path["indptr"], path["data"], path["starts"], path["sizes"])
        for block in range(2):
            assert sorted(levels.inputs[block, : levels.counts[block]]) == [k << graphs.EXPONENT for k in range(4)]

    @pytest.mark.parametrize("logit", [0.0, 1e-40, -1e-40, 0.3, -0.3, 2.0, -7.7, 15.0, -22.0, 22.5, 88.0, -88.0, 1e30, -1e30])
    def test_thresholds_are_exact(self, logit):
        logit = np.float32(logit)
        threshold = int(levels_cpu.threshold_of(logit))
        assert 0 <= threshold <= 2**31
        near = np.unique(np.clip(threshold + np.arange(-5, 6), 0, 2**31 - 1))
        steps = np.concatenate([near, np.random.default_rng(0).integers(0, 2**31, 2000), [0, 2**30 - 1, 2**30, 2**31 - 1]])
        for low_bit in (0, 1):
            uniform = (2 * steps + low_bit).astype(np.uint32)  # as many steps of 2**-32
            words = np.where(uniform >> np.uint32(31), uniform ^ np.uint32(0x7FFFFFFF), uniform)
            np.testing.assert_array_equal(chain.draw(np.full(words.shape, logit), words), steps < threshold)

    def test_transposing(self):
        bits = np.random.default_rng(0).random((64, 64)) < 0.5
        square = chain.pack(bits)[:, 0].copy()
        chains_cpu.transpose(square)
        np.testing.assert_array_equal(square, chain.pack(bits.T)[:, 0])

    def test_following_flips(self):
        (arguments, there) = GRAPHS["small blocks"]()
        entries = flips_cpu.entries_of(arguments["indptr"], arguments["indices"], arguments["data"])
        n_slots, rng = there.size, np.random.default_rng(0)
        before, after = (chain.pack(there & (rng.random((1, n_slots)) < 0.5))[0] for _ in range(2))
        inputs = np.zeros((2, n_slots), np.int32)
        for word in range(before.size):
            old, new, none = before[word], after[word], np.uint64(0)
            for sums, changed, state in ((inputs[0], old, none), (inputs[0], old ^ new, old), (inputs[1], new, none)):
                flips_cpu.follow_flips(sums, changed, state, 64 * word, *entries)
        np.testing.assert_array_equal(inputs[0], inputs[1])
        assert inputs[0].any()

    def test_limits_are_within_half_their_window(self):
        @njit
        def write(limits, words):
            limits_cpu.write_limits(limits, words)

        words = np.random.default_rng(0).integers(0, 2**32, 64 * 500, dtype=np.uint32)
        words[:64] = [*(1 << bit for bit in range(32)), *(2**32 - (1 << bit) for bit in range(32))]
        for some in words.reshape(-1, 64):
            limits = np.empty(64, np.float32)
            write(limits, some)
            m = ((some & 0x7FFFFFFF) | 1) / 2.0**32
            expected = np.where(some >> 31, -1, 1) * np.log(m / (1 - m))
            assert np.abs(limits - expected).max() < limits_cpu.WINDOW / 2


DENSE = [[1], [1] * 33, [1] * 64, [1] * 65, [1, 33, 20, 4, 7], [70, 1, 1, 65, 63], [3, 1] * 40]


class TestDense:
    @pytest.mark.parametrize("sizes", DENSE, ids=lambda sizes: f"{sum(sizes)} units")
    @pytest.mark.parametrize("n_chains", [1, 17])
    @pytest.mark.parametrize(("beta", "clamp"), [("one", "none"), ("each", "one"), ("sweep", "each"), ("both", "none")])
    def test_equals_reference(self, n_threads, sizes, n_chains, beta, clamp):
        assert_same_chain(graphs.dense(sizes), n_chains, kernel="dense_gibbs", beta=beta, clamp=clamp)

    @pytest.mark.parametrize("scale", [0.0, 1e-3, 3.0, 30.0])
    def test_wild_couplings(self, scale):
        assert_same_chain(graphs.dense([1] * 70, scale=scale), 200, kernel="dense_gibbs")

    @pytest.mark.parametrize("first_chain", [0, 5, 2**32 - 3])
    @pytest.mark.parametrize("start", [0, 7, 2**32 - 3])
    def test_any_position_in_the_stream(self, start, first_chain):
        numbers = {"start": start, "stop": start + 3, "first_chain": first_chain}
        assert_same_chain(graphs.dense([1] * 40), 3, kernel="dense_gibbs", beta="sweep", numbers=numbers)

    def test_draws_in_doubt_are_made_again(self):
        """Logits within and just outside the window of their units' limits: 40,000 draws that a rough one would get wrong."""
        words = np.random.default_rng(0).integers(0, 2**32, 2500 * 16, dtype=np.uint32)
        m = ((words & 0x7FFFFFFF) | 1) / 2.0**32
        limits = np.where(words >> 31, -1, 1) * np.log(m / (1 - m))
        logits = (limits + np.random.default_rng(1).normal(size=limits.size) * 1e-4).astype(np.float32)
        expected = chain.draw(logits, words)

        @njit
        def compare(inputs, shifts, limits, words):
            limits_cpu.write_limits(limits, words)
            return limits_cpu.compare_sixteen(inputs, shifts, limits, np.float32(1.0), 0)

        n_doubtful = 0
        for k in range(0, words.size, 16):
            shifts = np.zeros(64, np.float32)
            shifts[:16] = logits[k : k + 16]
            found = int(compare(np.zeros(64, np.int32), shifts, np.empty(64, np.float32), np.resize(words[k : k + 16], 64)))
            doubtful = chain.unpack(np.array([[found >> 16]], np.uint64), 16)[0] == 1
            sure = chain.unpack(np.array([[found & 0xFFFF]], np.uint64), 16)[0][~doubtful]
            np.testing.assert_array_equal(sure, expected[k : k + 16][~doubtful])
            n_doubtful += doubtful.sum()
        assert 0.5 * words.size < n_doubtful < words.size


@pytest.mark.gpu
class TestGPU:
    @staticmethod
    def assert_same_chain(gpu, kernel, machine, *chains, numbers=None, **options):
        arguments, numbers = graphs.with_chains(machine, *chains, **options), NUMBERS | (numbers or {})
        expected = graphs.run(getattr(chain, kernel), arguments, **numbers)
        there = {
            name: array if name in ("starts", "sizes", "numbers") else gpu.asarray(array) for name, array in arguments.items()
        }
        getattr(kernels, kernel)(**there, tables={}, **numbers)
        np.testing.assert_array_equal(there["states"].get(), expected)

    @machines
    @pytest.mark.parametrize(("n_chains", "beta", "clamp"), [(1, "one", "none"), (17, "each", "each"), (3, "both", "one")])
    def test_graph(self, gpu, machine, n_chains, beta, clamp):
        self.assert_same_chain(gpu, "graph_gibbs", machine(), n_chains, beta=beta, clamp=clamp)

    @pytest.mark.parametrize("sizes", DENSE, ids=lambda sizes: f"{sum(sizes)} units")
    @pytest.mark.parametrize(("n_chains", "beta", "clamp"), [(1, "one", "none"), (7, "both", "each")])
    def test_dense(self, gpu, sizes, n_chains, beta, clamp):
        self.assert_same_chain(gpu, "dense_gibbs", graphs.dense(sizes), n_chains, beta=beta, clamp=clamp)

    @pytest.mark.parametrize("kernel", ["graph_gibbs", "dense_gibbs"])
    def test_any_position_in_the_stream(self, gpu, kernel):
        machine = graphs.dense([1] * 40) if kernel == "dense_gibbs" else GRAPHS["small blocks"]()
        numbers = {"start": 2**32 - 3, "stop": 2**32, "first_chain": 2**32 - 2}
        self.assert_same_chain(gpu, kernel, machine, 3, numbers=numbers)
