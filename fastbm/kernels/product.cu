// What comes after a matrix product: bias and activation.
#include "chain.cuh"

// tanh(x): an odd polynomial near 0 (S. L. Moshier, Cephes, tanhf), else by exp(-2|x|).
static __device__ __forceinline__ float tanh_of(float x) {
    float size = x > 0.0f ? x : -x, square = x * x;
    float y = -5.70498872745e-3f;
    y = y * square + 2.06390887954e-2f;
    y = y * square + -5.37397155531e-2f;
    y = y * square + 1.33314422036e-1f;
    y = y * square + -3.33332819422e-1f;
    float e = exp_minus_magnitude(2.0f * x), far = (1.0f - e) / (1.0f + e);
    return size < 0.625f ? x + x * (square * y) : x > 0.0f ? far : -far;
}

// Activations count as kernels.ACTIVATIONS lists them.
static __device__ __forceinline__ float activate(float x, int activation, float slope) {
    if (activation == 0) return x;
    if (activation == 1) return mean_of(x);
    if (activation == 2) return tanh_of(x);
    return x > 0.0f ? x : slope * x + 0.0f;
}

extern "C" __global__ void finish(
    float* sums, const float* bias, int n_rows, int n_columns, int n_biases, int activation, float slope
) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_rows * n_columns) return;
    int column = (int)(item % n_columns);
    float x = sums[item] + (column < n_biases ? bias[column] : 0.0f);
    sums[item] = activate(x, activation, slope);
}
