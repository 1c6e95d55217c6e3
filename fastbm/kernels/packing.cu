// Rows of numbers as packed states, and back.
#include "chain.cuh"

// By their bits, because CuPy builds with subnormal numbers flushed to 0.
static __device__ __forceinline__ bool is_zero(float x) { return (__float_as_int(x) & 0x7FFFFFFF) == 0; }
static __device__ __forceinline__ bool is_zero(double x) { return x == 0.0; }

// A thread for each four units of a row; sixteen make a word. `others` says of each four whether one is neither 0 nor 1.
template <typename number>
static __device__ __forceinline__ void pack_four(
    const number* rows, u64* out, u8* others, int n_rows, int n_units, int n_words, u8* fours
) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, row = item / (16 * n_words);
    if (row < n_rows) {
        int first = 4 * (int)(item % (16 * n_words)), last = min(first + 4, n_units);
        u32 on = 0;
        bool other = false;
        for (int unit = first; unit < last; ++unit) {
            number value = rows[row * n_units + unit];
            on |= (u32)!is_zero(value) << (unit - first);
            other |= !is_zero(value) & (value != 1);
        }
        fours[threadIdx.x] = (u8)on;
        others[item] = other;
    }
    __syncthreads();
    if (row < n_rows && threadIdx.x % 16 == 0) out[item / 16] = join_fours(fours + threadIdx.x);
}

extern "C" __global__ void pack_float(const float* rows, u64* out, u8* others, int n_rows, int n_units, int n_words) {
    SHARED(u8, fours);  // a byte a thread
    pack_four(rows, out, others, n_rows, n_units, n_words, fours);
}

extern "C" __global__ void pack_double(const double* rows, u64* out, u8* others, int n_rows, int n_units, int n_words) {
    SHARED(u8, fours);  // a byte a thread
    pack_four(rows, out, others, n_rows, n_units, n_words, fours);
}

extern "C" __global__ void unpack(const u64* states, float* out, int n_rows, int n_units, int n_words) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_rows * n_units) return;
    int unit = (int)(item % n_units);
    out[item] = (float)(states[item / n_units * n_words + unit / 64] >> (unit % 64) & 1);
}

extern "C" __global__ void subtract_means(const u64* states, float* means, int n_rows, int n_units, int n_words, int width) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_rows * n_units) return;
    long long row = item / n_units, unit = item % n_units;
    float* mean = means + row * width + unit;
    *mean = (float)(states[row * n_words + unit / 64] >> (unit % 64) & 1) - *mean;
}
