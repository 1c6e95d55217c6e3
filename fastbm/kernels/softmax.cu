// Softmax groups: a block draws the class of one chain by cumulative sums in class order.
#include "chain.cuh"

// Add to the input of each class what comes from the units that are on in a packed row; couplings are (units, 64 n_words).
static __device__ __forceinline__ void add_inputs(int* inputs, const int* couplings, const u64* state, int n_words, int first, int n_classes) {
    for (int k = 0; k < n_classes; ++k) {
        const int* row = couplings + (long long)(first + k) * 64 * n_words;
        int sum = 0;
        for (int unit = threadIdx.x; unit < 64 * n_words; unit += blockDim.x) sum += state[unit / 64] >> (unit % 64) & 1 ? row[unit] : 0;
        if (sum != 0) atomicAdd(inputs + k, sum);
    }
}

// A neighbour of which there is none has no words.
extern "C" __global__ void draw_softmax(
    u64* states, const u64* one, const u64* other, const int* to_one, const int* to_other, const float* bias, const float* beta,
    const u8* loose, const int* exponent, u32 key0, u32 key1, u32 first_chain, u32 sweep, u32 block, int first, int n_classes,
    int n_chains, int n_words, int n_words_of_one, int n_words_of_other, int n_betas, int n_loose
) {
    SHARED(int, pool);  // a number a class: its input, then the bits of its logit, then those of its exponential
    int chain = blockIdx.x;
    if (chain >= n_chains || !loose[chain % n_loose]) return;
    for (int k = threadIdx.x; k < n_classes; k += blockDim.x) pool[k] = 0;
    __syncthreads();
    add_inputs(pool, to_one, one + (long long)chain * n_words_of_one, n_words_of_one, first, n_classes);
    add_inputs(pool, to_other, other + (long long)chain * n_words_of_other, n_words_of_other, first, n_classes);
    __syncthreads();
    float beta_chain = beta[chain % n_betas], scale = beta_chain * scale_of(exponent);
    for (int k = threadIdx.x; k < n_classes; k += blockDim.x) {
        pool[k] = __float_as_int(logit_of(pool[k], scale, beta_chain, bias[first + k]));
    }
    __syncthreads();
    float largest = __int_as_float(pool[0]);
    for (int k = 1; k < n_classes; ++k) largest = max(largest, __int_as_float(pool[k]));
    __syncthreads();
    for (int k = threadIdx.x; k < n_classes; k += blockDim.x) {
        float below = __int_as_float(pool[k]) - largest;
        pool[k] = __float_as_int(exp_negative(below > -87.0f ? below : -87.0f));
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    u32 words[4] = {(u32)first / 4, first_chain + (u32)chain, sweep, block};
    philox(words, key0, key1);
    float total = 0.0f, sum = 0.0f;
    for (int k = 0; k < n_classes; ++k) total += __int_as_float(pool[k]);
    float threshold = (float)(int)(words[first % 4] >> 8 | 1u) * 5.9604644775390625e-8f * total;
    u64* state = states + (long long)chain * n_words;
    int drawn = first;
    for (int k = 0; k < n_classes; ++k) {
        sum += __int_as_float(pool[k]);
        drawn += sum <= threshold;
        state[(first + k) / 64] &= ~(1ULL << ((first + k) % 64));
    }
    state[drawn / 64] |= 1ULL << (drawn % 64);
}
