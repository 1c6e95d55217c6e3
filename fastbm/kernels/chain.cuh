// The random words and the draw of fastbm.chain, operation by operation; build without fused multiply-adds.
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef SHARED  // tests define it for the host
#define SHARED(type, name) extern __shared__ type name[]
#endif

static __device__ __forceinline__ void philox(u32 c[4], u32 k0, u32 k1) {
    for (int round = 0; round < 10; ++round) {
        u64 p0 = (u64)0xD2511F53u * c[0], p1 = (u64)0xCD9E8D57u * c[2];
        c[0] = (u32)(p1 >> 32) ^ c[1] ^ k0;
        c[1] = (u32)p1;
        c[2] = (u32)(p0 >> 32) ^ c[3] ^ k1;
        c[3] = (u32)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

// exp(x) for x in [-87, 0]
static __device__ __forceinline__ float exp_negative(float x) {
    float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * (r * r) + r + 1.0f;
    return y * __int_as_float(((int)n + 127) << 23);
}

// exp(-|x|), |x| cut at 87
static __device__ __forceinline__ float exp_minus_magnitude(float x) {
    float minus = x > 0.0f ? -x : x;
    return exp_negative(minus > -87.0f ? minus : -87.0f);
}

// 2 ** -exponent, the size of a rounded coupling of 1
static __device__ __forceinline__ float scale_of(const int* exponent) { return __int_as_float((127 - *exponent) << 23); }

static __device__ __forceinline__ float logit_of(int input, float scale, float beta, float bias) {
    return (float)input * scale + beta * bias;
}

static __device__ __forceinline__ int is_on(float logit, u32 word) {
    float e = exp_minus_magnitude(logit);
    float distance = (float)(int)((word & 0x7FFFFFFFu) | 1u) * 2.3283064365386963e-10f;
    int likely = logit >= 1.17549435e-38f, above = (int)(word >> 31);
    int near = distance * (1.0f + e) < e;
    return likely ^ ((1 ^ likely ^ above) & near);
}

static __device__ __forceinline__ float mean_of(float logit) {
    float e = exp_minus_magnitude(logit);
    return (logit > 0.0f ? 1.0f : e) / (1.0f + e);
}

static __device__ __forceinline__ void add_row(int sums[4], const int4& row, int kept) {
    sums[0] += row.x & kept;
    sums[1] += row.y & kept;
    sums[2] += row.z & kept;
    sums[3] += row.w & kept;
}

// Four units' sums of the couplings of the units that are on in a packed row; couplings are (units, width).
// Four rows are fetched at a time, so that they are waited for once; where fewer are left, one of them again.
static __device__ __forceinline__ void add_rows(int sums[4], const int* couplings, const u64* state, int n_words, int width, int unit) {
    for (int word = 0; word < n_words; ++word) {
        const int* first = couplings + 64LL * word * width + unit;
        for (u64 bits = state[word]; bits != 0;) {
            int4 rows[4];
            int kept[4], source = 0;
            for (int k = 0; k < 4; ++k) {
                kept[k] = bits != 0 ? -1 : 0;
                source = bits != 0 ? __ffsll((long long)bits) - 1 : source;
                bits &= bits - 1;
                rows[k] = *(const int4*)(first + (long long)source * width);
            }
            for (int k = 0; k < 4; ++k) add_row(sums, rows[k], kept[k]);
        }
    }
}

// The states of units 4 * group ... 4 * group + 3 as four bits.
static __device__ __forceinline__ u32 draw_four(
    const int sums[4], const float* bias, float scale, float beta, int group, u32 chain, u32 sweep, u32 block, u32 key0, u32 key1
) {
    u32 words[4] = {(u32)group, chain, sweep, block};
    philox(words, key0, key1);
    u32 on = 0;
    for (int k = 0; k < 4; ++k) on |= (u32)is_on(logit_of(sums[k], beta * scale, beta, bias[4 * group + k]), words[k]) << k;
    return on;
}

// A word of the bits of sixteen groups of four units.
static __device__ __forceinline__ u64 join_fours(const u8* fours) {
    u64 word = 0;
    for (int k = 0; k < 16; ++k) word |= (u64)fours[k] << (4 * k);
    return word;
}

// Write a word of states where units are free, and return it; the others keep their state. `free_units` are used in turn.
static __device__ __forceinline__ u64 store_word(
    u64* states, const u8* fours, const u64* free_units, long long row, int word, int n_words, int n_free
) {
    u64 drawn = join_fours(fours), loose = free_units[row % n_free * n_words + word], *place = states + row * n_words + word;
    return *place = (drawn & loose) | (*place & ~loose);
}

// Limbs, see limbs_gpu.py: numbers of 11 bits with a sign, as halves, which hold them exactly.

// Four bits as halves 0 and 1, the lowest first.
static __device__ __forceinline__ u64 four_halves(u64 bits) {
    u64 ones = (bits & 1) | (bits & 2) << 15 | (bits & 4) << 30 | (bits & 8) << 45;
    return ones * 0x3C00;
}

static __device__ __forceinline__ unsigned short half_of_int(int value) {
    u32 bits = (u32)__float_as_int((float)value);
    return value == 0 ? 0 : (unsigned short)((bits >> 16 & 0x8000) | (((bits >> 23 & 0xFF) - 112) << 10) | (bits >> 13 & 0x3FF));
}

// Write the three limbs of a coupling, the lowest first, `width` from one to the next.
static __device__ __forceinline__ void write_limbs(unsigned short* limbs, int coupling, long long row, int column, int width) {
    for (int k = 0; k < 3; ++k) {
        int limb = ((coupling + 1024) & 2047) - 1024;
        limbs[(row * 3 + k) * width + column] = half_of_int(limb);
        coupling = (coupling - limb) >> 11;
    }
}

// Join four units' sums of limbs to their inputs.
static __device__ __forceinline__ void join_limbs(int sums[4], const float* row, int width, int unit) {
    for (int k = unit; k < unit + 4; ++k) sums[k - unit] = (int)row[k] + 2048 * ((int)row[width + k] + 2048 * (int)row[2 * width + k]);
}
