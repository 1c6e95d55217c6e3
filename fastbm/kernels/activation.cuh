// Activations, their slopes, and which item a thread has, where each has one; after chain.cuh.
#pragma once

#define SIGMOID 1
#define TANH 2
#define RELU 3
#define LEAKY_RELU 4

static __device__ __forceinline__ long long item_of() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }

static __device__ __forceinline__ float applied(float x, int kind, float slope) {
    if (kind == RELU) return x < 0.0f ? 0.0f : x;
    if (kind == LEAKY_RELU) return x < 0.0f ? slope * x : x;
    if (kind == TANH) {
        float e = exp_minus_magnitude(2.0f * x), size = (1.0f - e) / (1.0f + e);
        return (x > 0.0f ? size : -size) + (x - x);
    }
    if (kind == SIGMOID) return mean_of(x) + (x - x);
    return x;
}

static __device__ __forceinline__ float slope_at(float y, int kind, float slope) {
    if (kind == RELU) return y > 0.0f ? 1.0f : 0.0f;
    if (kind == LEAKY_RELU) return y > 0.0f ? 1.0f : slope;
    if (kind == TANH) return 1.0f - y * y;
    return kind == SIGMOID ? y * (1.0f - y) : 1.0f;
}
