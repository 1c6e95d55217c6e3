// What stands between the products of layered networks: activations, maxout, batch normalisation, losses, steps, latents.
// Sums over rows are made by one thread for each unit, in the order of the rows.
#include "chain.cuh"
#include "normal.cuh"

#define SIGMOID 1
#define TANH 2
#define RELU 3
#define LEAKY_RELU 4
#define SMALLEST 1e-37f

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

extern "C" __global__ void activate(float* y, const float* bias, int n_rows, int n_units, int has_bias, int kind, float slope) {
    long long item = item_of();
    if (item >= (long long)n_rows * n_units) return;
    float x = y[item];
    if (has_bias) x = x + bias[item % n_units];
    y[item] = applied(x, kind, slope);
}

extern "C" __global__ void activate_backward(
    float* gradient, const float* y, float* bias_gradient, int n_rows, int n_units, int wanted, int kind, float slope
) {
    long long unit = item_of();
    if (unit >= n_units) return;
    float sum = 0.0f;
    for (int row = 0; row < n_rows; ++row) {
        long long at = (long long)row * n_units + unit;
        float g = gradient[at] * slope_at(y[at], kind, slope);
        gradient[at] = g;
        sum += g;
    }
    if (wanted) bias_gradient[unit] = sum;
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

extern "C" __global__ void batch_norm(
    const float* x, const float* gain, const float* offset, float* normal, float* inverse, float* y, int n_rows, int n_units,
    int n_groups, int kind, float epsilon, float slope
) {
    long long item = item_of();  // a unit of a group of rows
    if (item >= (long long)n_units * n_groups) return;
    int unit = (int)(item % n_units), rows = n_rows / n_groups;
    long long first = item / n_units * rows * n_units + unit;
    float share = 1.0f / (float)rows, mean = 0.0f, square = 0.0f;
    for (int row = 0; row < rows; ++row) mean += x[first + (long long)row * n_units];
    mean *= share;
    for (int row = 0; row < rows; ++row) {
        float apart = x[first + (long long)row * n_units] - mean;
        square += apart * apart;
    }
    float scale = 1.0f / sqrtf(square * share + epsilon);
    inverse[item] = scale;
    for (int row = 0; row < rows; ++row) {
        long long at = first + (long long)row * n_units;
        float value = (x[at] - mean) * scale;
        normal[at] = value;
        y[at] = applied(value * gain[unit] + offset[unit], kind, slope);
    }
}

extern "C" __global__ void batch_norm_backward(
    float* gradient, const float* y, const float* normal, const float* inverse, const float* gain, float* gain_gradient,
    float* offset_gradient, int n_rows, int n_units, int n_groups, int wanted, int kind, float slope
) {
    long long unit = item_of();
    if (unit >= n_units) return;
    int rows = n_rows / n_groups;
    float share = 1.0f / (float)rows, of_gain = 0.0f, of_offset = 0.0f;
    for (int group = 0; group < n_groups; ++group) {
        long long first = (long long)group * rows * n_units + unit;
        float sum = 0.0f, product = 0.0f, scale = gain[unit] * inverse[(long long)group * n_units + unit];
        for (int row = 0; row < rows; ++row) {
            long long at = first + (long long)row * n_units;
            float g = gradient[at] * slope_at(y[at], kind, slope);
            gradient[at] = g;
            sum += g;
            product += g * normal[at];
        }
        of_gain += product;
        of_offset += sum;
        sum *= share;
        product *= share;
        for (int row = 0; row < rows; ++row) {
            long long at = first + (long long)row * n_units;
            gradient[at] = scale * (gradient[at] - sum - normal[at] * product);
        }
    }
    if (wanted) {
        gain_gradient[unit] = of_gain;
        offset_gradient[unit] = of_offset;
    }
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
