// Rows of numbers as packed states, and back: a thread for each word of a row.
#include "chain.cuh"

// By their bits, because CuPy builds with subnormal numbers flushed to 0.
static __device__ __forceinline__ bool is_zero(float x) { return (__float_as_int(x) & 0x7FFFFFFF) == 0; }
static __device__ __forceinline__ bool is_zero(double x) { return x == 0.0; }

template <typename number>
static __device__ __forceinline__ void pack_word(const number* rows, u64* out, u8* others, int n_rows, int n_units, int n_words) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_rows * n_words) return;
    int first = 64 * (int)(item % n_words), last = min(first + 64, n_units);
    const number* row = rows + item / n_words * n_units;
    u64 word = 0;
    bool other = false;
    for (int unit = first; unit < last; ++unit) {
        word |= (u64)!is_zero(row[unit]) << (unit - first);
        other |= !is_zero(row[unit]) & (row[unit] != 1);
    }
    out[item] = word;
    others[item] = other;
}

extern "C" __global__ void pack_float(const float* rows, u64* out, u8* others, int n_rows, int n_units, int n_words) {
    pack_word(rows, out, others, n_rows, n_units, n_words);
}

extern "C" __global__ void pack_double(const double* rows, u64* out, u8* others, int n_rows, int n_units, int n_words) {
    pack_word(rows, out, others, n_rows, n_units, n_words);
}

extern "C" __global__ void unpack(const u64* states, float* out, int n_rows, int n_units, int n_words) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_rows * n_units) return;
    int unit = (int)(item % n_units);
    out[item] = (float)(states[item / n_units * n_words + unit / 64] >> (unit % 64) & 1);
}
