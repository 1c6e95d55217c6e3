"""The tools that test CUDA sources without a GPU: the host build, NVRTC, and the stand-in for CuPy."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from gpu_without_gpu import fake_cupy, host, nvrtc

OPTIONS = ("--fmad=false", "-std=c++17")
SHARED = """
typedef unsigned int u32;
typedef unsigned long long u64;
#ifndef SHARED
#define SHARED(type, name) extern __shared__ type name[]
#endif
"""
ADD = """
// not a kernel: extern "C" __global__ void nothing(int n) {
extern "C" __global__ void add(const float* left, float* sum, int n, float scale) {
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k < n) sum[k] = left[k] * scale + sum[k];
}
"""
REVERSE = (
    SHARED
    + """
extern "C" __global__ void reverse(u64* numbers) {
    SHARED(u64, pool);
    u64* mine = numbers + blockIdx.x * blockDim.x;
    pool[threadIdx.x] = mine[threadIdx.x];
    __syncthreads();
    mine[threadIdx.x] = pool[blockDim.x - 1 - threadIdx.x];
}
extern "C" __global__ void neighbours(int* out, int late) {
    __shared__ int pool[1024];
    for (int k = 0; k < 3; ++k) {
        pool[threadIdx.x] = 100 * k + threadIdx.x;
        __syncthreads();
        int left = pool[(threadIdx.x + blockDim.x - 1) % blockDim.x], right = pool[(threadIdx.x + 1) % blockDim.x];
        out[k * blockDim.x + threadIdx.x] = left + right;
        if (!late) __syncthreads();
    }
}
extern "C" __global__ void unequal(int n) {
    if (threadIdx.x < n) __syncthreads();
}
extern "C" __global__ void join(int* numbers, int first) {
    int4 four = *(const int4*)(numbers + first);
    numbers[0] = four.w;
}
extern "C" __global__ void rubbish(u64* out) {
    SHARED(u64, pool);
    out[threadIdx.x] = pool[threadIdx.x];
}
"""
)
ATOMICS = (
    SHARED
    + """
extern "C" __global__ void tally(const int* values, int* sum, u64* bits, u32* largest, int* smallest) {
    int k = (blockIdx.z * gridDim.y + blockIdx.y) * blockDim.x * blockDim.y + threadIdx.y * blockDim.x + threadIdx.x;
    atomicAdd(sum, values[k]);
    atomicOr(bits, (u64)1 << values[k]);
    atomicMax(largest, max((u32)values[k], 1u));
    atomicMin(smallest, min(values[k], 1000));
}
"""
)
SOURCES = {"add": ADD, "reverse": REVERSE, "atomics": ATOMICS}


def add_arguments():
    return [np.arange(10, dtype=np.float32), np.ones(10, np.float32), np.int32(10), np.float32(0.1)]


@host.NEEDS_COMPILER
class TestHost:
    def test_adds_without_fusing(self):
        left, total, n, scale = add_arguments()
        host.built(ADD).launch("add", (4,), (3,), (left, total, n, scale))
        np.testing.assert_array_equal(total, left * scale + np.float32(1))

    @pytest.mark.parametrize("openmp", [False, True])
    @pytest.mark.parametrize("n_threads", [1, 33, 256])
    def test_reverses_every_block(self, n_threads, openmp):
        numbers = np.arange(3 * n_threads, dtype=np.uint64)
        host.built(REVERSE, openmp).launch("reverse", (3,), (n_threads,), (numbers,), shared_mem=8 * n_threads)
        expected = np.arange(3 * n_threads, dtype=np.uint64).reshape(3, n_threads)[:, ::-1]
        np.testing.assert_array_equal(numbers.reshape(3, n_threads), expected)

    @pytest.mark.parametrize("openmp", [False, True])
    def test_static_shared_memory_and_barriers_in_a_loop(self, openmp):
        out = np.zeros((3, 32), np.int32)
        host.built(REVERSE, openmp).launch("neighbours", (1,), (32,), (out, np.int32(0)))
        k = np.arange(32)
        np.testing.assert_array_equal(out, 200 * np.arange(3)[:, None] + (k - 1) % 32 + (k + 1) % 32)

    def test_a_missing_barrier_shows(self):
        right, wrong = np.zeros((2, 3, 32), np.int32)
        host.built(REVERSE).launch("neighbours", (1,), (32,), (right, np.int32(0)))
        host.built(REVERSE).launch("neighbours", (1,), (32,), (wrong, np.int32(1)))
        assert (right != wrong).any()

    def test_a_barrier_that_some_threads_miss(self):
        host.built(REVERSE).launch("unequal", (2,), (8,), (np.int32(8),))
        with pytest.raises(RuntimeError, match="unequal: some threads"):
            host.built(REVERSE).launch("unequal", (2,), (8,), (np.int32(5),))

    def test_shared_memory_begins_as_rubbish(self):
        out = np.zeros(2, np.uint64)
        host.built(REVERSE).launch("rubbish", (1,), (2,), (out,), shared_mem=16)
        assert (out == 0xA5A5A5A5A5A5A5A5).all()

    def test_writing_beyond_shared_memory(self):
        with pytest.raises(RuntimeError, match="reverse: wrote beyond"):
            host.built(REVERSE).launch("reverse", (1,), (8,), (np.zeros(8, np.uint64),), shared_mem=56)

    def test_atomics_and_three_dimensions(self):
        values = np.random.default_rng(0).integers(2, 60, 4 * 3 * 5 * 2, dtype=np.int32)
        total, bits, largest, smallest = (np.full(1, start, dtype) for start, dtype in zip((0, 0, 0, 999), "iQIi", strict=True))
        host.built(ATOMICS).launch("tally", (1, 4, 3), (5, 2), (values, total, bits, largest, smallest))
        assert (total[0], largest[0], smallest[0]) == (values.sum(), values.max(), values.min())
        assert bits[0] == np.bitwise_or.reduce(np.uint64(1) << values.astype(np.uint64))

    @pytest.mark.parametrize("first", [0, 1, 4])
    def test_an_address_that_a_gpu_cannot_read_from(self, first):
        numbers = np.arange(8, dtype=np.int32)
        run = host.built(REVERSE).launch
        if first % 4 == 0:
            run("join", (1,), (1,), (numbers, np.int32(first)))
            assert numbers[0] == first + 3
        else:
            with pytest.raises(RuntimeError, match="join: read or wrote at an address"):
                run("join", (1,), (1,), (numbers, np.int32(first)))

    @pytest.mark.parametrize(
        ("place", "value", "error", "words"),
        [
            (0, np.arange(10.0), TypeError, "add: left is an array of float64; expected an array of float32"),
            (1, np.ones(20, np.float32)[::2], ValueError, "add: sum has strides"),
            (1, 1.0, TypeError, "add: sum is float"),
            (2, 10, TypeError, "add: n is 10 of int; expected a np.int32"),
            (2, np.int64(10), TypeError, "add: n is .*int64; expected a np.int32"),
            (2, np.uint32(10), TypeError, "add: n is"),
            (3, 0.1, TypeError, "add: scale is 0.1 of float; expected a np.float32"),
            (3, np.ones(1, np.float32), TypeError, "add: scale is"),
        ],
    )
    def test_an_argument_is_refused(self, place, value, error, words):
        arguments = add_arguments()
        arguments[place] = value
        with pytest.raises(error, match=words):
            host.built(ADD).launch("add", (4,), (3,), tuple(arguments))

    def test_only_what_is_not_const_must_be_writeable(self):
        left, total, *numbers = add_arguments()
        left.flags.writeable = False
        host.built(ADD).launch("add", (4,), (3,), (left, total, *numbers))
        total.flags.writeable = False
        with pytest.raises(ValueError, match="add: sum is read-only"):
            host.built(ADD).launch("add", (4,), (3,), (left, total, *numbers))

    def test_the_number_of_arguments(self):
        with pytest.raises(TypeError, match="add: 3 arguments; expected 4: .*'scale'"):
            host.built(ADD).launch("add", (4,), (3,), tuple(add_arguments()[:3]))

    @pytest.mark.parametrize(
        ("grid", "block", "shared_mem", "error"),
        [
            (4, (3,), 0, TypeError),
            ((4, 1, 1, 1), (3,), 0, TypeError),
            ((4.0,), (3,), 0, TypeError),
            ((0,), (3,), 0, ValueError),
            ((4, 65536), (3,), 0, ValueError),
            ((4,), (1025,), 0, ValueError),
            ((4,), (32, 33), 0, ValueError),
            ((4,), (1, 1, 65), 0, ValueError),
            ((4,), (3,), 227 * 1024 + 1, ValueError),
            ((4,), (3,), -1, ValueError),
        ],
    )
    def test_a_shape_is_refused(self, grid, block, shared_mem, error):
        with pytest.raises(error, match="add: "):
            host.built(ADD).launch("add", grid, block, tuple(add_arguments()), shared_mem)

    def test_an_unknown_kernel(self):
        with pytest.raises(ValueError, match="no kernel 'subtract'; there are \\['add'\\]"):
            host.built(ADD).launch("subtract", (1,), (1,), ())

    @pytest.mark.parametrize("source", ["", ADD.replace('extern "C" ', ""), ADD.replace("int n, float", "size_t n, float")])
    def test_a_declaration_that_is_not_understood(self, source):
        with pytest.raises(ValueError, match="__global__|size_t n"):
            host.built(source)

    def test_a_source_with_a_fault(self):
        with pytest.raises(RuntimeError, match=r"kernel\.cu:5.*was not declared"):
            host.built(ADD.replace("int k", "int j"))


@nvrtc.NEEDS_NVRTC
class TestNvrtc:
    @pytest.mark.parametrize("name", SOURCES)
    @pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
    def test_compiles(self, name, arch):
        assert nvrtc.compile(SOURCES[name], arch)[:4] == b"\x7fELF"

    def test_a_source_with_a_fault(self):
        with pytest.raises(RuntimeError, match='identifier "k" is undefined'):
            nvrtc.compile(ADD.replace("int k", "int j"), "sm_90")


@pytest.fixture
def count():
    return {}


@pytest.fixture
def cupy(count):
    return fake_cupy.module(count)


@pytest.fixture
def numbers(cupy):
    return cupy.arange(6, dtype=cupy.float32).reshape(2, 3)


class TestFakeCupy:
    def test_copies_are_counted(self, cupy, count):
        rows = np.ones((2, 3))
        moved = cupy.asarray(rows)
        rows[:] = 0
        assert cupy.asarray(moved) is moved
        np.testing.assert_array_equal(cupy.asnumpy(moved), np.ones((2, 3)))
        assert float(moved.sum()) == 6
        assert count == {"to_device": 1, "to_host": 1, "scalars": 1, "launches": 1}

    @pytest.mark.parametrize(
        ("operation", "n_launches"),
        [
            (lambda xp, x: x[1:, :2].T.reshape(-1, 1).view(xp.int32), 0), (lambda xp, x: x.T.reshape(-1), 1),
            (lambda xp, x: xp.ascontiguousarray(x), 0), (lambda xp, x: xp.ascontiguousarray(x.T), 1),
            (lambda xp, x: x.astype(xp.float32, copy=False), 0), (lambda xp, x: x.astype(xp.float64), 1),
            (lambda xp, x: xp.empty((2, 2)), 0), (lambda xp, x: (xp.zeros(2), xp.ones(2), xp.full(2, 3)), 3),
            (lambda xp, x: operator.iadd(x, 1), 1), (lambda xp, x: x * 2 + x, 2), (lambda xp, x: x.fill(0), 1),
            (lambda xp, x: operator.setitem(x, 0, 1), 1), (lambda xp, x: xp.exp(x).sum(axis=0), 2),
            (lambda xp, x: xp.matmul(x, x.T, out=xp.empty((2, 2), xp.float32)), 1), (lambda xp, x: x[x > 2], 2),
        ],
    )  # fmt: skip
    def test_launches_are_counted(self, cupy, numbers, count, operation, n_launches):
        count.clear()
        operation(cupy, numbers)
        assert count.get("launches", 0) == n_launches

    @pytest.mark.parametrize(
        "mix",
        [
            lambda fake: np.add(fake, 1),
            lambda fake: np.asarray(fake),
            lambda fake: np.array([fake]),
            lambda fake: np.sum(fake),
            lambda fake: fake + np.ones(3),
            lambda fake: np.ones(3) + fake,
            lambda fake: fake == np.ones(3),
            lambda fake: operator.iadd(np.ones((2, 3)), fake),
            lambda fake: operator.iadd(fake, np.ones((2, 3))),
            lambda fake: fake @ np.ones((3, 2)),
            lambda fake: fake.dot(np.ones(3)),
            lambda fake: operator.add(fake, [1, 2, 3]),
            lambda fake: fake[np.array([0, 1])],
            lambda fake: operator.setitem(fake, 0, np.ones(3)),
            lambda fake: operator.setitem(np.ones((2, 3)), 0, fake[0]),
        ],
    )
    def test_mixing_is_refused(self, mix, numbers):
        with pytest.raises(TypeError):
            mix(numbers)

    @pytest.mark.parametrize("name", ["exp", "maximum", "where", "concatenate", "ascontiguousarray", "matmul", "sum"])
    def test_functions_refuse_arrays_of_the_host(self, name, cupy):
        arguments = {"maximum": 2, "where": 3, "matmul": 2}.get(name, 1)
        ones = np.ones((3, 3))
        with pytest.raises(TypeError, match="Unsupported type"):
            getattr(cupy, name)(*[[ones] if name == "concatenate" else ones] * arguments)

    @pytest.mark.parametrize(
        "formula",
        [
            lambda xp, x: x + 1,
            lambda xp, x: 2.0 - x / np.float32(3),
            lambda xp, x: np.float64(2) * x,
            lambda xp, x: x @ x.T,
            lambda xp, x: abs(-x) > 2,
            lambda xp, x: x.sum(axis=1) + x.mean(axis=1),
            lambda xp, x: x.max(),
            lambda xp, x: x[:, 1:],
            lambda xp, x: x[1, 2],
            lambda xp, x: x[1],
            lambda xp, x: x[None, ..., 0],
            lambda xp, x: x[x > 2],
            lambda xp, x: x[xp.arange(2), xp.ones(2, xp.int32)],
            lambda xp, x: x.astype(xp.float64).view(xp.uint64),
            lambda xp, x: x.ravel().copy().dot(x.reshape(-1)),
            lambda xp, x: xp.where(x > 1, xp.exp(x), xp.log1p(x)),
            lambda xp, x: xp.concatenate([x, xp.zeros_like(x), xp.ones((1, 3), xp.float32)]),
            lambda xp, x: xp.clip(xp.rint(x * 0.3), 0, 1).any(axis=0),
            lambda xp, x: xp.isfinite(xp.log(x)) & ~xp.isnan(x),
            lambda xp, x: xp.array_equal(x, x),
            lambda xp, x: xp.maximum(x, 2) + xp.sqrt(xp.full((2, 3), 4.0)),
            lambda xp, x: xp.matmul(x.T, x, out=xp.empty((3, 3), xp.float32)),
        ],
    )
    def test_formulas_give_what_numpy_gives(self, formula, cupy, numbers):
        with np.errstate(divide="ignore"):
            got, expected = formula(cupy, numbers), formula(np, numbers.get())
        assert isinstance(got, cupy.ndarray)
        assert (got.dtype, got.shape, got.device.id) == (np.asarray(expected).dtype, np.shape(expected), 0)
        np.testing.assert_array_equal(got.get(), expected)

    def test_writing_in_place(self, cupy, numbers):
        same = numbers
        numbers += 1
        numbers[0, 1:] *= numbers[1, 1:]
        numbers[1] = 7
        numbers[:, 0] = cupy.zeros(2)
        numbers[0].fill(3)
        assert same is numbers
        np.testing.assert_array_equal(numbers.get(), [[3, 3, 3], [0, 7, 7]])

    def test_new_arrays_hold_rubbish(self, cupy):
        assert (cupy.empty((2, 3), cupy.uint8) == 0xA5).all()
        assert (cupy.empty_like(cupy.zeros(2, cupy.uint16)) == 0xA5A5).all()

    def test_numbers_and_whose_array_it_is(self, cupy, numbers):
        assert [float(x) for x in numbers[1]] == [3, 4, 5]
        assert (int(numbers.max()), bool(numbers.any()), numbers[1, 1].item()) == (5, True, 4.0)
        with pytest.raises(ValueError, match="one element|size 1|ambiguous"):
            float(numbers)
        assert cupy.get_array_module(np.ones(1), numbers) is cupy
        assert cupy.get_array_module(np.ones(1), 1) is np
        assert not isinstance(numbers, np.ndarray)

    def test_dlpack(self, cupy, numbers):
        shared = cupy.from_dlpack(numbers)
        shared[0] = 9
        assert (numbers[0] == 9).all()
        with pytest.raises(TypeError, match="CPU arrays"):
            cupy.from_dlpack(np.ones(3))
        with pytest.raises((BufferError, TypeError, RuntimeError)):
            np.from_dlpack(numbers)

    def test_the_device(self, cupy):
        assert cupy.cuda.is_available()
        assert cupy.cuda.runtime.getDeviceCount() == 1
        with cupy.cuda.Device(0) as gpu:
            assert (gpu.id, gpu.compute_capability, gpu.attributes["MultiProcessorCount"]) == (0, "90", 132)
        with pytest.raises(RuntimeError, match="invalid device"):
            cupy.cuda.Device(1)
        cupy.cuda.get_current_stream().synchronize()
        cupy.cuda.Stream.null.synchronize()


@host.NEEDS_COMPILER
class TestFakeKernels:
    def test_adds(self, cupy):
        left, total, n, scale = add_arguments()
        sums = cupy.asarray(total)
        cupy.RawModule(code=ADD, options=OPTIONS).get_function("add")((4,), (3,), (cupy.asarray(left), sums, n, scale))
        np.testing.assert_array_equal(sums.get(), left * scale + total)

    def test_arrays_of_the_host_are_refused(self, cupy):
        left, *rest = add_arguments()
        with pytest.raises(TypeError, match="array on the host given to a kernel"):
            cupy.RawModule(code=ADD, options=OPTIONS).get_function("add")((4,), (3,), (cupy.asarray(left), *rest))

    @pytest.mark.parametrize("options", [(), ("-std=c++17",), ["--fmad=false"]])
    def test_fused_multiply_adds_are_refused(self, options, cupy):
        with pytest.raises(ValueError, match="--fmad=false"):
            cupy.RawModule(code=ADD, options=options)

    def test_an_unknown_kernel(self, cupy):
        with pytest.raises(RuntimeError, match="named symbol not found: subtract"):
            cupy.RawModule(code=ADD, options=OPTIONS).get_function("subtract")

    def test_much_shared_memory_must_be_asked_for(self, cupy):
        numbers = cupy.arange(8, dtype=cupy.uint64)
        kernel = cupy.RawModule(code=REVERSE, options=OPTIONS).get_function("reverse")
        with pytest.raises(RuntimeError, match="shared_mem 49153"):
            kernel((1,), (8,), (numbers,), shared_mem=48 * 1024 + 1)
        kernel.max_dynamic_shared_size_bytes = 64 * 1024
        kernel((1,), (8,), (numbers,), shared_mem=64 * 1024)
        assert [int(x) for x in numbers] == [7, 6, 5, 4, 3, 2, 1, 0]
        with pytest.raises(RuntimeError, match="bytes of shared memory"):
            kernel.max_dynamic_shared_size_bytes = 227 * 1024 + 1
