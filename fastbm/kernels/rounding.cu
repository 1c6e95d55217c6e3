// Couplings rounded to integers in both orientations, at the exponent of fastbm.chain.round_couplings, found on the device.
#include "chain.cuh"

#define LIMIT 134217728  // 2 ** 27
#define LARGEST_EXPONENT 24
#define SMALLEST_EXPONENT 8
#define CANDIDATES 3
#define HUGE_SUM 1e300
#define TOO_LARGE -1
#define NOT_FINITE -2

static __device__ __forceinline__ long long round_one(float value) {
    value = rintf(value);
    return fabsf(value) < (float)(16 * (long long)LIMIT) ? (long long)value : 16 * (long long)LIMIT;  // NaN too
}

static __device__ __forceinline__ long long round_one(double value) {
    value = rint(value);
    return fabs(value) < (double)(16 * (long long)LIMIT) ? (long long)value : 16 * (long long)LIMIT;
}

// Sums of magnitudes of each unit, a thread each: first the visible units, rows of the weights, then the hidden ones.
template <typename number>
static __device__ __forceinline__ void add_magnitudes(const number* weights, double* sums, int n_visible, int n_hidden) {
    int unit = blockIdx.x * blockDim.x + threadIdx.x;
    if (unit >= n_visible + n_hidden) return;
    bool visible = unit < n_visible;
    const number* first = visible ? weights + (long long)unit * n_hidden : weights + (unit - n_visible);
    double total = 0.0;
    for (int k = 0; k < (visible ? n_hidden : n_visible); ++k) total += fabs((double)first[(long long)k * (visible ? 1 : n_hidden)]);
    sums[unit] = total;
}

// The same of the couplings rounded at the exponent noted, and at the two below it.
template <typename number>
static __device__ __forceinline__ void add_roundings(
    const number* weights, const int* exponent, long long* sums, int n_visible, int n_hidden
) {
    int unit = blockIdx.x * blockDim.x + threadIdx.x, n_units = n_visible + n_hidden;
    if (unit >= n_units || *exponent < 0) return;
    bool visible = unit < n_visible;
    const number* first = visible ? weights + (long long)unit * n_hidden : weights + (unit - n_visible);
    for (int candidate = 0; candidate < CANDIDATES; ++candidate) {
        number scale = (number)ldexp(1.0, *exponent - candidate);
        long long total = 0;
        for (int k = 0; k < (visible ? n_hidden : n_visible); ++k) {
            long long rounded = round_one(first[(long long)k * (visible ? 1 : n_hidden)] * scale);
            total += rounded < 0 ? -rounded : rounded;
        }
        sums[(long long)candidate * n_units + unit] = total;
    }
}

template <typename number>
static __device__ __forceinline__ void write_roundings(
    const number* weights, const int* exponent, int* to_hidden, int* to_visible, int n_visible, int n_hidden, int hidden_width,
    int visible_width
) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_visible * n_hidden || *exponent < 0) return;
    long long i = item / n_hidden, j = item % n_hidden;
    int rounded = (int)round_one(weights[item] * (number)ldexp(1.0, *exponent));
    to_hidden[i * hidden_width + j] = rounded;
    to_visible[j * visible_width + i] = rounded;
}

extern "C" __global__ void sums_float(const float* weights, double* sums, int n_visible, int n_hidden) {
    add_magnitudes(weights, sums, n_visible, n_hidden);
}

extern "C" __global__ void sums_double(const double* weights, double* sums, int n_visible, int n_hidden) {
    add_magnitudes(weights, sums, n_visible, n_hidden);
}

// Note an exponent that is the right one, or one or two above it: see fastbm.chain.first_exponent. One block.
// A negative `previous` stays: what could not be sampled once is not forgotten before the host asks.
extern "C" __global__ void first_exponent(
    const double* sums, const int* previous, int* exponent, int n_units, int longer_side
) {
    SHARED(double, largest);  // one a thread; infinity stands for NaN too
    double found = 0.0;
    for (int unit = threadIdx.x; unit < n_units; unit += blockDim.x) {
        double sum = sums[unit] < HUGE_SUM ? sums[unit] : HUGE_SUM;
        found = sum > found ? sum : found;
    }
    largest[threadIdx.x] = found;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int k = 1; k < blockDim.x; ++k) found = largest[k] > found ? largest[k] : found;
    int e = LARGEST_EXPONENT;  // one above the largest at which sums less a half for each coupling stay below the limit
    while (e > SMALLEST_EXPONENT && ldexp(found, e - 1) >= LIMIT + 0.5 * longer_side) --e;
    *exponent = *previous < 0 ? *previous : found < HUGE_SUM ? e : NOT_FINITE;
}

extern "C" __global__ void roundings_float(const float* weights, const int* exponent, long long* sums, int n_visible, int n_hidden) {
    add_roundings(weights, exponent, sums, n_visible, n_hidden);
}

extern "C" __global__ void roundings_double(const double* weights, const int* exponent, long long* sums, int n_visible, int n_hidden) {
    add_roundings(weights, exponent, sums, n_visible, n_hidden);
}

// Note the largest exponent at which no unit's sum reaches the limit; TOO_LARGE where there is none. One block.
extern "C" __global__ void settle_exponent(const long long* sums, int* exponent, int n_units) {
    SHARED(int, fits);  // a bit a candidate, one number a thread
    int mine = (1 << CANDIDATES) - 1;
    for (int candidate = 0; candidate < CANDIDATES; ++candidate) {
        for (int unit = threadIdx.x; unit < n_units; unit += blockDim.x) {
            if (sums[(long long)candidate * n_units + unit] >= LIMIT) mine &= ~(1 << candidate);
        }
    }
    fits[threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.x != 0 || *exponent < 0) return;
    for (int k = 1; k < blockDim.x; ++k) mine &= fits[k];
    int candidate = 0;
    while (candidate < CANDIDATES && !(mine >> candidate & 1)) ++candidate;
    bool found = candidate < CANDIDATES && *exponent - candidate >= SMALLEST_EXPONENT;
    *exponent = found ? *exponent - candidate : TOO_LARGE;
}

extern "C" __global__ void round_float(
    const float* weights, const int* exponent, int* to_hidden, int* to_visible, int n_visible, int n_hidden, int hidden_width,
    int visible_width
) {
    write_roundings(weights, exponent, to_hidden, to_visible, n_visible, n_hidden, hidden_width, visible_width);
}

extern "C" __global__ void round_double(
    const double* weights, const int* exponent, int* to_hidden, int* to_visible, int n_visible, int n_hidden, int hidden_width,
    int visible_width
) {
    write_roundings(weights, exponent, to_hidden, to_visible, n_visible, n_hidden, hidden_width, visible_width);
}
