// Batch normalisation and gradients of activations, with sums over rows: few of many units, or pixels by channels, very many of few.
// A block sums a chunk of rows, of one group, for `width` units: its lanes take every (blockDim.x / width)-th row each, and are
// added in pairs. Chunks are added in their order. So sums depend on the shape alone, not on what the GPU does when.
#include "chain.cuh"
#include "activation.cuh"

struct Chunk {
    int unit, lane, n_lanes, begin, end, number;
    bool there;  // false for a thread that has no unit
};

static __device__ __forceinline__ Chunk chunk_of(int n_rows, int n_units, int n_groups, int n_chunks, int size, int width) {
    int n_tiles = (n_units + width - 1) / width, rows = n_rows / n_groups;
    Chunk own;
    own.number = blockIdx.x / n_tiles;
    own.unit = (int)(blockIdx.x % n_tiles) * width + (int)threadIdx.x % width;
    own.lane = (int)threadIdx.x / width;
    own.n_lanes = (int)blockDim.x / width;
    int first = own.number / n_chunks * rows;
    own.begin = first + own.number % n_chunks * size;
    own.end = min(own.begin + size, first + rows);
    own.there = own.unit < n_units;
    return own;
}

// The sum of what the lanes have for a unit, to each of them; all threads of the block call it.
static __device__ __forceinline__ float over_lanes(float* sums, float value, int width) {
    __syncthreads();  // until then others read the sum before
    sums[threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half >= (unsigned)width; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    return sums[threadIdx.x % width];
}

// Mean, and sum of squares around it, of each chunk.
extern "C" __global__ void moments(
    const float* x, float* means, float* squares, int n_rows, int n_units, int n_groups, int n_chunks, int size, int width
) {
    SHARED(float, sums);
    Chunk own = chunk_of(n_rows, n_units, n_groups, n_chunks, size, width);
    int end = own.there ? own.end : own.begin;
    float sum = 0.0f, square = 0.0f;
    for (int row = own.begin + own.lane; row < end; row += own.n_lanes) sum += x[(long long)row * n_units + own.unit];
    float mean = over_lanes(sums, sum, width) / (float)(own.end - own.begin);
    for (int row = own.begin + own.lane; row < end; row += own.n_lanes) {
        float apart = x[(long long)row * n_units + own.unit] - mean;
        square += apart * apart;
    }
    square = over_lanes(sums, square, width);
    if (!own.there || own.lane > 0) return;
    means[(long long)own.number * n_units + own.unit] = mean;
    squares[(long long)own.number * n_units + own.unit] = square;
}

// Mean and inverse deviation of each unit of each group, from those of its chunks.
extern "C" __global__ void settle_moments(
    const float* means, const float* squares, float* mean, float* inverse, int n_rows, int n_units, int n_groups, int n_chunks,
    int size, float epsilon
) {
    long long item = item_of();
    if (item >= (long long)n_units * n_groups) return;
    long long first = item / n_units * n_chunks * n_units + item % n_units;
    int rows = n_rows / n_groups;
    double sum = 0.0, square = 0.0;
    for (int chunk = 0; chunk < n_chunks; ++chunk) {
        int count = min(size, rows - chunk * size);
        sum += (double)count * (double)means[first + (long long)chunk * n_units];
    }
    sum /= rows;
    for (int chunk = 0; chunk < n_chunks; ++chunk) {
        int count = min(size, rows - chunk * size);
        double apart = (double)means[first + (long long)chunk * n_units] - sum;
        square += (double)squares[first + (long long)chunk * n_units] + (double)count * apart * apart;
    }
    mean[item] = (float)sum;
    inverse[item] = (float)(1.0 / sqrt(square / rows + (double)epsilon));
}

extern "C" __global__ void normalise(
    const float* x, const float* gain, const float* offset, const float* mean, const float* inverse, float* normal, float* y,
    int n_rows, int n_units, int n_groups, int kind, float slope
) {
    long long item = item_of();
    if (item >= (long long)n_rows * n_units) return;
    int unit = (int)(item % n_units), group = (int)(item / n_units) / (n_rows / n_groups);
    long long at = (long long)group * n_units + unit;
    float value = (x[item] - mean[at]) * inverse[at];
    normal[item] = value;
    y[item] = applied(value * gain[unit] + offset[unit], kind, slope);
}

// Goes through the activation, in place; sums of a chunk's gradients, and, `with_products`, of their products with normal rows.
extern "C" __global__ void slope_sums(
    float* gradient, const float* y, const float* normal, float* totals, float* products, int n_rows, int n_units, int n_groups,
    int n_chunks, int size, int width, int with_products, int kind, float slope
) {
    SHARED(float, sums);
    Chunk own = chunk_of(n_rows, n_units, n_groups, n_chunks, size, width);
    int end = own.there ? own.end : own.begin;
    float sum = 0.0f, product = 0.0f;
    for (int row = own.begin + own.lane; row < end; row += own.n_lanes) {
        long long at = (long long)row * n_units + own.unit;
        float g = gradient[at] * slope_at(y[at], kind, slope);
        gradient[at] = g;
        sum += g;
        if (with_products) product += g * normal[at];
    }
    sum = over_lanes(sums, sum, width);
    if (with_products) product = over_lanes(sums, product, width);
    if (!own.there || own.lane > 0) return;
    totals[(long long)own.number * n_units + own.unit] = sum;
    if (with_products) products[(long long)own.number * n_units + own.unit] = product;
}

extern "C" __global__ void add_chunks(const float* totals, float* out, int n_units, int n_chunks) {
    long long unit = item_of();
    if (unit >= n_units) return;
    double sum = 0.0;
    for (int chunk = 0; chunk < n_chunks; ++chunk) sum += (double)totals[(long long)chunk * n_units + unit];
    out[unit] = (float)sum;
}

// Means over each group, of gradients and of products, and, where they are wanted, their sums over all rows.
extern "C" __global__ void settle_sums(
    const float* totals, const float* products, float* mean, float* mean_product, float* of_gain, float* of_offset, int n_rows,
    int n_units, int n_groups, int n_chunks, int wanted
) {
    long long unit = item_of();
    if (unit >= n_units) return;
    double all = 0.0, all_products = 0.0, rows = n_rows / n_groups;
    for (int group = 0; group < n_groups; ++group) {
        double sum = 0.0, product = 0.0;
        for (int chunk = group * n_chunks; chunk < (group + 1) * n_chunks; ++chunk) {
            sum += (double)totals[(long long)chunk * n_units + unit];
            product += (double)products[(long long)chunk * n_units + unit];
        }
        mean[(long long)group * n_units + unit] = (float)(sum / rows);
        mean_product[(long long)group * n_units + unit] = (float)(product / rows);
        all += sum;
        all_products += product;
    }
    if (!wanted) return;
    of_gain[unit] = (float)all_products;
    of_offset[unit] = (float)all;
}

extern "C" __global__ void take_means_away(
    float* gradient, const float* normal, const float* inverse, const float* gain, const float* mean, const float* mean_product,
    int n_rows, int n_units, int n_groups
) {
    long long item = item_of();
    if (item >= (long long)n_rows * n_units) return;
    int unit = (int)(item % n_units), group = (int)(item / n_units) / (n_rows / n_groups);
    long long at = (long long)group * n_units + unit;
    gradient[item] = gain[unit] * inverse[at] * (gradient[item] - mean[at] - normal[item] * mean_product[at]);
}
