// The second pass of a learning update: what goes into the product of the statistics, and the step that its sums give.
//
// States have two columns behind the visible units: 1 in the rows of the data, and 1 in those of the chains; factors times means
// have two behind the hidden units: the factors of the data, and those of the chains. So the one product of both also has the
// gradients of the biases, and the mean states of the data. Widths are multiples of 8; columns without a unit are 0.
#include "chain.cuh"
#include "tile.cuh"

// A row's number in a column of states, or of factors times means.
static __device__ __forceinline__ float behind(int column, int n_units, float value, bool of_data) {
    return column == n_units ? (of_data ? value : 0.0f) : column == n_units + 1 ? (of_data ? 0.0f : value) : 0.0f;
}

static __device__ __forceinline__ float weighed(
    const float* means, const float* factors, long long row, int column, int n_rows, int n_hidden, int means_width
) {
    float factor = factors[row];
    return column < n_hidden ? factor * means[row * means_width + column] : behind(column, n_hidden, factor, row < n_rows);
}

// Binary states, and factors times means, cut into three numbers of eight bits, for a product of bfloat16: nothing is rounded.
// A block for each row.
extern "C" __global__ void terms_of_states(
    const u64* rows, const u64* chains, const float* means, const float* factors, unsigned short* states,
    unsigned short* limbs, int n_rows, int n_visible, int n_hidden, int n_words, int means_width, int states_width, int width
) {
    long long row = blockIdx.x;
    const u64* state = row < n_rows ? rows + row * n_words : chains + (row - n_rows) * n_words;
    for (int column = threadIdx.x; column < states_width; column += blockDim.x) {
        float value = behind(column, n_visible, 1.0f, row < n_rows);
        if (column < n_visible) value = (float)(state[column / 64] >> (column % 64) & 1);
        states[row * states_width + column] = (unsigned short)(__float_as_int(value) >> 16);
    }
    for (int column = threadIdx.x; column < width; column += blockDim.x) {
        float rest = weighed(means, factors, row, column, n_rows, n_hidden, means_width);
        for (int k = 0; k < 3; ++k) {
            int high = __float_as_int(rest) & (int)0xFFFF0000;
            limbs[(row * 3 + k) * width + column] = (unsigned short)((u32)high >> 16);
            rest -= __int_as_float(high);
        }
    }
}

// Grey rows, binary chains, and factors times means, for a product of float32. A block for each row.
extern "C" __global__ void terms_of_grey(
    const float* rows, const u64* chains, const float* means, const float* factors, float* states, float* terms, int n_rows,
    int n_visible, int n_hidden, int n_words, int means_width, int states_width, int width
) {
    long long row = blockIdx.x;
    for (int column = threadIdx.x; column < states_width; column += blockDim.x) {
        float value = behind(column, n_visible, 1.0f, row < n_rows);
        if (column < n_visible) {
            value = row < n_rows ? rows[row * n_visible + column]
                                 : (float)(chains[(row - n_rows) * n_words + column / 64] >> (column % 64) & 1);
        }
        states[row * states_width + column] = value;
    }
    for (int column = threadIdx.x; column < width; column += blockDim.x) {
        terms[row * width + column] = weighed(means, factors, row, column, n_rows, n_hidden, means_width);
    }
}

// The sums of the product, (n_visible + 2, n_limbs * width) or more rows: the limbs of one number added, the smallest first.
struct Sums {
    const float* sums;
    int n_visible, n_hidden, n_limbs, width;

    __device__ __forceinline__ float at(int row, int column) const {
        const float* limbs = sums + (long long)row * n_limbs * width + column;
        float total = limbs[(n_limbs - 1) * width];
        for (int k = n_limbs - 2; k >= 0; --k) total += limbs[k * width];
        return total;
    }
    // The mean of the data's states of a unit, visible units first, and the gradient of its bias.
    __device__ __forceinline__ float mean(int unit) const {
        return unit < n_visible ? at(unit, n_hidden) : at(n_visible, unit - n_visible);
    }
    __device__ __forceinline__ float slope(int unit) const {
        return mean(unit) + (unit < n_visible ? at(unit, n_hidden + 1) : at(n_visible + 1, unit - n_visible));
    }
};

static __device__ __forceinline__ float moved(float offset, float mean, float rate) { return offset + rate * (mean - offset); }

// Centre the gradient of a tile, take the step, and note what the exponent of the new weights is found from. Where the gradient
// is centred, also note how the tile's gradients pull at the biases: in `pulls`, as one row of notes.
extern "C" __global__ void step(
    float* weights, float* velocity, const float* product, const float* visible_offset, const float* hidden_offset, u32* notes,
    float* pulls, int n_visible, int n_hidden, int n_limbs, int width, int has_velocity, int centered, float learning_rate,
    float momentum, float l1, float l2, float offset_rate
) {
    SHARED(float, pool);
    float *magnitudes = pool, *gradients = pool + TILE * PITCH, *offsets = gradients + TILE * PITCH, *slopes = offsets + 2 * TILE;
    int row = blockIdx.x / tiles(n_hidden) * TILE, column = blockIdx.x % tiles(n_hidden) * TILE;
    Sums sums = {product, n_visible, n_hidden, n_limbs, width};
    if (centered) {
        int unit = threadIdx.x;  // of the tile, columns first
        if (unit < 2 * TILE && part_of(unit, n_visible, n_hidden) >= 0) {
            int hidden = column + unit, visible = row + unit - TILE, all = unit < TILE ? n_visible + hidden : visible;
            float offset = unit < TILE ? hidden_offset[hidden] : visible_offset[visible];
            offsets[unit] = moved(offset, sums.mean(all), offset_rate);
            slopes[unit] = sums.slope(all);
        }
        __syncthreads();
    }
    for (int k = threadIdx.x; k < TILE * TILE; k += TILE_THREADS) {
        int i = k / TILE, j = k % TILE;
        float magnitude = 0.0f, gradient = 0.0f;
        if (row + i < n_visible && column + j < n_hidden) {
            long long place = (long long)(row + i) * n_hidden + column + j;
            float weight = weights[place];
            gradient = sums.at(row + i, column + j);
            if (centered) gradient -= offsets[TILE + i] * slopes[j] + slopes[TILE + i] * offsets[j];
            float sign = (float)((weight > 0.0f) - (weight < 0.0f));
            float ascent = learning_rate * (l1 != 0.0f || l2 != 0.0f ? gradient - (l2 * weight + l1 * sign) : gradient);
            if (has_velocity) velocity[place] = ascent = momentum * velocity[place] + ascent;
            weights[place] = weight += ascent;
            magnitude = weight < 0.0f ? -weight : weight;
        }
        magnitudes[i * PITCH + j] = magnitude;
        if (centered) gradients[i * PITCH + j] = gradient;
    }
    __syncthreads();
    note_tile(magnitudes, notes, n_visible, n_hidden);
    int unit = threadIdx.x;
    long long part = centered && unit < 2 * TILE ? part_of(unit, n_visible, n_hidden) : -1;
    if (part >= 0) {
        float total = 0.0f;
        int count = unit < TILE ? min(TILE, n_visible - row) : min(TILE, n_hidden - column);
        for (int k = 0; k < count; ++k) {
            total += unit < TILE ? offsets[TILE + k] * gradients[k * PITCH + unit] : offsets[k] * gradients[(unit - TILE) * PITCH + k];
        }
        pulls[part] = total;
    }
}

// Settle the exponent, in the first block; in the others, the gradients of the biases, and the offsets: a thread for each unit.
extern "C" __global__ void __launch_bounds__(1024) finish(
    const u32* notes, const int* previous, int* exponent, const float* product, const float* pulls, float* visible_gradient,
    float* hidden_gradient, float* visible_offset, float* hidden_offset, int n_visible, int n_hidden, int n_limbs, int width,
    int centered, float offset_rate
) {
    SHARED(int, said);
    if (blockIdx.x == 0) {
        settle_exponent(notes, previous, exponent, n_visible, n_hidden, said);
        return;
    }
    int unit = (blockIdx.x - 1) * blockDim.x + threadIdx.x;
    if (unit >= n_visible + n_hidden) return;
    Sums sums = {product, n_visible, n_hidden, n_limbs, width};
    bool visible = unit < n_visible;
    int place = visible ? unit : unit - n_visible;
    float slope = sums.slope(unit);
    if (centered) {
        float* offset = (visible ? visible_offset : hidden_offset) + place;
        *offset = moved(*offset, sums.mean(unit), offset_rate);
        const float* part = pulls + (visible ? (long long)tiles(n_visible) * n_hidden + place : place);
        int count = visible ? tiles(n_hidden) : tiles(n_visible), stride = visible ? n_visible : n_hidden;
        for (int k = 0; k < count; ++k) slope -= part[(long long)k * stride];
    }
    (visible ? visible_gradient : hidden_gradient)[place] = slope;
}

// Move both biases up their gradients, and copy them to where they are sampled from: a thread for each unit.
extern "C" __global__ void step_biases(
    float* visible_bias, float* hidden_bias, const float* visible_gradient, const float* hidden_gradient,
    float* visible_velocity, float* hidden_velocity, float* visible_copy, float* hidden_copy, int n_visible, int n_hidden,
    int has_velocity, float learning_rate, float momentum
) {
    int unit = blockIdx.x * blockDim.x + threadIdx.x;
    if (unit >= n_visible + n_hidden) return;
    bool visible = unit < n_visible;
    int place = visible ? unit : unit - n_visible;
    float step = learning_rate * (visible ? visible_gradient : hidden_gradient)[place];
    if (has_velocity) {
        float* velocity = (visible ? visible_velocity : hidden_velocity) + place;
        *velocity = step = momentum * *velocity + step;
    }
    float* bias = (visible ? visible_bias : hidden_bias) + place;
    (visible ? visible_copy : hidden_copy)[place] = *bias += step;
}
