// Block Gibbs sweeps with a matrix of couplings; a block of threads for each chain.
#include "chain.cuh"

// The word of a position in its block.
static __device__ __forceinline__ u32 word_at(u32 position, u32 chain, u32 sweep, u32 number, u32 key0, u32 key1) {
    u32 words[4] = {position / 4, chain, sweep, number};
    philox(words, key0, key1);
    return words[position % 4];
}

// Sweeps start ... stop - 1. `inputs` is scratch, (n_chains, 64 * n_words): kept up to date when a unit flips.
extern "C" __global__ void run_chains(
    u64* states, const int* couplings, const float* bias, const float* beta, const u64* free_units, const int* exponent,
    const u32* positions, const u32* numbers, int* inputs, u32 key0, u32 key1, u32 first_chain, long long start, long long stop,
    int n_units, int n_words, int n_betas, int n_columns, int n_free
) {
    SHARED(u32, words);  // one a thread
    int chain = blockIdx.x, width = 64 * n_words, threads = blockDim.x;
    u64* state = states + (long long)chain * n_words;
    const u64* loose = free_units + (long long)(chain % n_free) * n_words;
    int* own = inputs + (long long)chain * width;
    for (int unit = threadIdx.x; unit < width; unit += threads) {
        int sum = 0;
        for (int source = 0; source < n_units; ++source) {
            if (state[source >> 6] >> (source & 63) & 1) sum += couplings[(long long)source * width + unit];
        }
        own[unit] = sum;
    }
    for (long long sweep = start; sweep < stop; ++sweep) {
        float beta_now = beta[chain % n_betas * n_columns + (int)((sweep - start) % n_columns)], scale = beta_now * scale_of(exponent);
        for (int unit = 0; unit < n_units; ++unit) {
            if (unit % threads == 0) {  // random words of as many units as there are threads
                __syncthreads();
                int mine = unit + threadIdx.x;
                if (mine < n_units) {
                    words[threadIdx.x] = word_at(positions[mine], first_chain + chain, (u32)sweep, numbers[mine], key0, key1);
                }
                __syncthreads();
            }
            u64 word = state[unit >> 6], bit = 1ull << (unit & 63);
            int on = is_on(logit_of(own[unit], scale, beta_now, bias[unit]), words[unit % threads]), was = (word & bit) != 0;
            if (on == was || !(loose[unit >> 6] & bit)) continue;  // which all threads find alike
            __syncthreads();
            const int* row = couplings + (long long)unit * width;
            for (int other = threadIdx.x; other < width; other += threads) own[other] += on ? row[other] : -row[other];
            if (threadIdx.x == 0) state[unit >> 6] = word ^ bit;
            __syncthreads();
        }
    }
}
