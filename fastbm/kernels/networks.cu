// What stands between the products of layered networks: activations, maxout, losses, steps, latents. Batch normalisation, and
// gradients of activations, with their sums over rows, are in moments.cu.
#include "chain.cuh"
#include "activation.cuh"
#include "normal.cuh"

#define SMALLEST 1e-37f

extern "C" __global__ void activate(float* y, const float* bias, int n_rows, int n_units, int has_bias, int kind, float slope) {
    long long item = item_of();
    if (item >= (long long)n_rows * n_units) return;
    float x = y[item];
    if (has_bias) x = x + bias[item % n_units];
    y[item] = applied(x, kind, slope);
}

extern "C" __global__ void maxout(const float* x, float* y, u8* chosen, int n_rows, int n_units, int n_pieces) {
    long long item = item_of();
    if (item >= (long long)n_rows * n_units) return;
    const float* pieces = x + item / n_units * n_units * n_pieces + item % n_units;
    int which = 0;
    float best = pieces[0];
    for (int piece = 1; piece < n_pieces; ++piece) {
        float value = pieces[(long long)piece * n_units];
        if (value > best) which = piece;
        if (value > best) best = value;
    }
    y[item] = best;
    chosen[item] = (u8)which;
}

// Sums over rows are made by one thread for each unit, in the order of the rows: those of a minibatch, which are few.
extern "C" __global__ void maxout_backward(
    const float* gradient, const u8* chosen, float* out, float* bias_gradient, int n_rows, int n_units, int n_pieces, int wanted
) {
    long long column = item_of();
    if (column >= (long long)n_units * n_pieces) return;
    int unit = (int)(column % n_units), piece = (int)(column / n_units);
    float sum = 0.0f;
    for (int row = 0; row < n_rows; ++row) {
        long long at = (long long)row * n_units + unit;
        float g = chosen[at] == piece ? gradient[at] : 0.0f;
        out[(long long)row * n_units * n_pieces + column] = g;
        sum += g;
    }
    if (wanted) bias_gradient[column] = sum;
}

extern "C" __global__ void adam(
    float* parameters, const float* gradients, float* first, float* second, int n, int n_decayed, float rate,
    float one_less_beta_1, float beta_2, float one_less_beta_2, float scale, float epsilon, float l2
) {
    long long k = item_of();
    if (k >= n) return;
    float g = gradients[k] + (k < n_decayed ? l2 : 0.0f) * parameters[k];
    float m = first[k] + one_less_beta_1 * (g - first[k]), v = beta_2 * second[k] + one_less_beta_2 * (g * g);
    m = fabsf(m) < SMALLEST ? 0.0f : m;
    v = v < SMALLEST ? 0.0f : v;
    first[k] = m;
    second[k] = v;
    parameters[k] -= rate * m / (scale * sqrtf(v) + epsilon);
}

extern "C" __global__ void descend(
    float* parameters, const float* gradients, float* velocity, int n, int n_decayed, float rate, float momentum, float l2
) {
    long long k = item_of();
    if (k >= n) return;
    float step = momentum * velocity[k] - rate * (gradients[k] + (k < n_decayed ? l2 : 0.0f) * parameters[k]);
    step = fabsf(step) < SMALLEST ? 0.0f : step;
    velocity[k] = step;
    parameters[k] += step;
}

// One block: each thread takes every blockDim.x-th logit, the first one adds what they found, in their order.
extern "C" __global__ void logistic_loss(
    const float* logits, float* gradient, float* figures, int n, float target, float weight
) {
    SHARED(double, sums);
    double loss = 0.0, probability = 0.0, share = 1.0 / n;
    for (int k = threadIdx.x; k < n; k += blockDim.x) {
        double x = (double)logits[k], e = exp(-fabs(x)), t = (double)target;
        double on = (x > 0.0 ? 1.0 : e) / (1.0 + e) + (x - x), off = (x > 0.0 ? e : 1.0) / (1.0 + e);
        loss += (x > 0.0 ? x : 0.0) - t * x + log1p(e);
        probability += on;
        gradient[k] = (float)((double)weight * share * ((1.0 - t) * on - t * off));
    }
    sums[2 * threadIdx.x] = loss;
    sums[2 * threadIdx.x + 1] = probability;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (unsigned other = 1; other < blockDim.x; ++other) {
            loss += sums[2 * other];
            probability += sums[2 * other + 1];
        }
        figures[0] = (float)((double)weight * share * loss);
        figures[1] = (float)(share * probability);
    }
}

// A thread for each four units of a row.
extern "C" __global__ void draw_latent(
    float* z, u32 key0, u32 key1, u32 first_row, u32 update, u32 block, int n_rows, int n_units, int normal
) {
    int n_groups = (n_units + 3) / 4;
    long long item = item_of();
    if (item >= (long long)n_rows * n_groups) return;
    long long row = item / n_groups;
    int group = (int)(item % n_groups);
    u32 words[4] = {(u32)group, first_row + (u32)row, update, block};
    philox(words, key0, key1);
    float numbers[4];
    for (int k = 0; k < 4; ++k) numbers[k] = (float)(2 * ((int)words[k] >> 8) + 1) * 5.9604644775390625e-8f;
    if (normal) {
        normals_of(words, numbers);
        normals_of(words + 2, numbers + 2);
    }
    for (int k = 0; k < 4 && 4 * group + k < n_units; ++k) z[row * n_units + 4 * group + k] = numbers[k];
}

extern "C" __global__ void drop(
    const float* x, float* y, u32 threshold, float scale, u32 key0, u32 key1, u32 first_row, u32 update, u32 block, int n_rows,
    int n_units
) {
    int n_groups = (n_units + 3) / 4;
    long long item = item_of();
    if (item >= (long long)n_rows * n_groups) return;
    long long row = item / n_groups;
    int group = (int)(item % n_groups);
    u32 words[4] = {(u32)group, first_row + (u32)row, update, block};
    philox(words, key0, key1);
    for (int k = 0; k < 4 && 4 * group + k < n_units; ++k) {
        long long at = row * n_units + 4 * group + k;
        y[at] = words[k] >= threshold ? x[at] * scale : 0.0f;
    }
}
