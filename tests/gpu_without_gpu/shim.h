// What CUDA gives to a kernel, for a host compiler. Blocks run one after the other; the threads of a block are fibers, which
// take turns at __syncthreads(), in changing order, or, built with -DOPENMP_TEAM -fopenmp, the threads of an OpenMP team.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <math.h>
#include <type_traits>
#include <ucontext.h>
#ifdef OPENMP_TEAM
#include <omp.h>
#endif

#define __global__
#define __device__
#define __launch_bounds__(threads)
#define __forceinline__ inline __attribute__((always_inline))
#define __shared__ static
#define SHARED(type, name) type* name = (type*)shim::shared_memory

struct dim3 { unsigned x, y, z; };
struct alignas(16) int4 { int x, y, z, w; };
static thread_local dim3 threadIdx;
static dim3 blockIdx, blockDim, gridDim;

static inline float __int_as_float(int bits) { float value; memcpy(&value, &bits, 4); return value; }
static inline int __float_as_int(float value) { int bits; memcpy(&bits, &value, 4); return bits; }
static inline int __ffsll(long long bits) { return __builtin_ffsll(bits); }
static inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }

template <class A, class B> static inline std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmin((T)a, (T)b);
    else return (T)b < (T)a ? (T)b : (T)a;
}
template <class A, class B> static inline std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return std::fmax((T)a, (T)b);
    else return (T)a < (T)b ? (T)b : (T)a;
}

template <class T> using same = std::common_type_t<T>;  // the type of the value is that of the place
template <class T> static inline T atomicAdd(T* at, same<T> value) { return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST); }
template <class T> static inline T atomicOr(T* at, same<T> value) { return __atomic_fetch_or(at, value, __ATOMIC_SEQ_CST); }
template <class T> static inline T atomicMax(T* at, same<T> value) {
    T old = *at;
    while (old < value && !__atomic_compare_exchange_n(at, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
    return old;
}
template <class T> static inline T atomicMin(T* at, same<T> value) {
    T old = *at;
    while (value < old && !__atomic_compare_exchange_n(at, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
    return old;
}

namespace shim {

typedef void (*Kernel)(void** arguments);
enum { FINE = 0, NOT_ALL_AT_THE_BARRIER = 1, BEYOND_SHARED_MEMORY = 2, MISALIGNED = 3 };
const size_t STACK = 256 * 1024, GUARD = 256;  // bytes of a fiber's stack, and behind shared memory
const int RUBBISH = 0xA5;

static char* shared_memory;
static bool misaligned;

static dim3 place(unsigned i, dim3 size) { return {i % size.x, i / size.x % size.y, i / size.x / size.y}; }

#if !defined(HAS_BARRIER)
static int run_block(Kernel kernel, void** arguments, unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
        threadIdx = place(i, blockDim);
        kernel(arguments);
    }
    return FINE;
}
#elif defined(OPENMP_TEAM)
static int run_block(Kernel kernel, void** arguments, unsigned n) {
#pragma omp parallel num_threads(n)
    {
        threadIdx = place(omp_get_thread_num(), blockDim);
        kernel(arguments);
    }
    return FINE;
}
static void wait() {
#pragma omp barrier
}
#else
static ucontext_t home, fibers[1024];
static bool finished[1024];
static unsigned current;
static char* stacks;
static Kernel kernel_of_block;
static void** arguments_of_block;

static void run_fiber() {
    kernel_of_block(arguments_of_block);
    finished[current] = true;
}

static void make_fiber(unsigned i) {
    finished[i] = false;
    getcontext(&fibers[i]);
    fibers[i].uc_stack.ss_sp = stacks + i * STACK;
    fibers[i].uc_stack.ss_size = STACK;
    fibers[i].uc_link = &home;
    makecontext(&fibers[i], run_fiber, 0);
}

static void wait() { swapcontext(&fibers[current], &home); }

// Runs every thread to its next barrier, or to its end: the number of threads at their end.
static unsigned run_to_barrier(unsigned n, bool backwards) {
    unsigned n_finished = 0;
    for (unsigned k = 0; k < n; ++k) {
        current = backwards ? n - 1 - k : k;
        threadIdx = place(current, blockDim);
        swapcontext(&home, &fibers[current]);
        n_finished += finished[current];
    }
    return n_finished;
}

static int run_block(Kernel kernel, void** arguments, unsigned n) {
    kernel_of_block = kernel;
    arguments_of_block = arguments;
    for (unsigned i = 0; i < n; ++i) make_fiber(i);
    for (bool backwards = blockIdx.x % 2;; backwards = !backwards) {
        unsigned n_finished = run_to_barrier(n, backwards);
        if (n_finished) return n_finished == n ? FINE : NOT_ALL_AT_THE_BARRIER;
    }
}
#endif

static bool is_rubbish(const char* bytes, size_t n) {
    while (n && (unsigned char)*bytes == RUBBISH) ++bytes, --n;
    return n == 0;
}

static int run_blocks(Kernel kernel, void** arguments, size_t bytes) {
    for (unsigned i = 0; i < gridDim.x * gridDim.y * gridDim.z; ++i) {
        blockIdx = place(i, gridDim);
        memset(shared_memory, RUBBISH, bytes + GUARD);
        int fault = run_block(kernel, arguments, blockDim.x * blockDim.y * blockDim.z);
        if (fault) return fault;
        if (!is_rubbish(shared_memory + bytes, GUARD)) return BEYOND_SHARED_MEMORY;
    }
    return FINE;
}

static int launch(Kernel kernel, const unsigned* grid, const unsigned* block, size_t bytes, void** arguments) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    misaligned = false;
    shared_memory = (char*)aligned_alloc(256, (bytes + GUARD + 255) / 256 * 256);
#if defined(HAS_BARRIER) && !defined(OPENMP_TEAM)
    stacks = (char*)malloc(STACK * blockDim.x * blockDim.y * blockDim.z);
#endif
    int fault = run_blocks(kernel, arguments, bytes);
#if defined(HAS_BARRIER) && !defined(OPENMP_TEAM)
    free(stacks);
#endif
    free(shared_memory);
    return fault ? fault : misaligned ? MISALIGNED : FINE;
}

}  // namespace shim

// g++ -fsanitize=alignment calls it where an address is no multiple of what its type asks for: there a GPU stops.
extern "C" void __ubsan_handle_type_mismatch_v1(void*, void*) { shim::misaligned = true; }

#define __syncthreads() shim::wait()
