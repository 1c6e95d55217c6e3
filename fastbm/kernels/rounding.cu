// Couplings rounded to integers in both orientations, and the sums of their magnitudes. A thread for each coupling.
#include "chain.cuh"

static __device__ __forceinline__ int round_one(float value) {
    value = rintf(value);
    return fabsf(value) < 134217728.0f ? (int)value : 134217728;  // NaN too: then its sum is too large
}

static __device__ __forceinline__ int round_one(double value) {
    value = rint(value);
    return fabs(value) < 134217728.0 ? (int)value : 134217728;
}

template <typename number>
static __device__ __forceinline__ void round_coupling(
    const number* weights, int* to_hidden, int* to_visible, u64* sums, number scale, int n_visible, int n_hidden,
    int hidden_width, int visible_width
) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_visible * n_hidden) return;
    long long i = item / n_hidden, j = item % n_hidden;
    int rounded = round_one(weights[item] * scale);
    to_hidden[i * hidden_width + j] = rounded;
    to_visible[j * visible_width + i] = rounded;
    u64 magnitude = (u64)(rounded < 0 ? -rounded : rounded);
    atomicAdd(sums + i, magnitude);  // integers: the order does not matter
    atomicAdd(sums + n_visible + j, magnitude);
}

extern "C" __global__ void round_float(
    const float* weights, int* to_hidden, int* to_visible, u64* sums, float scale, int n_visible, int n_hidden,
    int hidden_width, int visible_width
) {
    round_coupling(weights, to_hidden, to_visible, sums, scale, n_visible, n_hidden, hidden_width, visible_width);
}

extern "C" __global__ void round_double(
    const double* weights, int* to_hidden, int* to_visible, u64* sums, double scale, int n_visible, int n_hidden,
    int hidden_width, int visible_width
) {
    round_coupling(weights, to_hidden, to_visible, sums, scale, n_visible, n_hidden, hidden_width, visible_width);
}
