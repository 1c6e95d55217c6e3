// The first pass of a learning update: hidden means of the rows of the data and of the chains, and the chains' hidden states.
// A thread for each four hidden units of a row, the rows of the data first, then the chains.
#include "chain.cuh"

// Write four means, and, of a chain, the word that sixteen threads draw. All threads of a block come here.
static __device__ __forceinline__ void finish_four(
    const int sums[4], u64* hidden, float* row_means, float* chain_means, const float* bias, const u64* free_units,
    const int* exponent, u32 key0, u32 key1, u32 first_chain, u32 sweep, u32 block, int n_rows, int n_chains, int n_words,
    int means_width, u8* fours
) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, row = item / (16 * n_words), chain = row - n_rows;
    int group = (int)(item % (16 * n_words));
    if (chain < n_chains) {
        float* means = row < n_rows ? row_means + row * means_width : chain_means + chain * means_width;
        float scale = scale_of(exponent);
        for (int k = 0; k < 4; ++k) means[4 * group + k] = mean_of(logit_of(sums[k], scale, 1.0f, bias[4 * group + k]));
        if (chain >= 0) {
            fours[threadIdx.x] = (u8)draw_four(sums, bias, scale, 1.0f, group, first_chain + (u32)chain, sweep, block, key0, key1);
        }
    }
    __syncthreads();
    if (chain >= 0 && chain < n_chains && threadIdx.x % 16 == 0) {
        store_word(hidden, fours + threadIdx.x, free_units, chain, group / 16, n_words, 1);
    }
}

// By sums of the couplings of the units that are on.
extern "C" __global__ void infer_and_draw(
    const u64* rows, const u64* visible, u64* hidden, float* row_means, float* chain_means, const int* couplings,
    const float* bias, const u64* free_units, const int* exponent, u32 key0, u32 key1, u32 first_chain, u32 sweep, u32 block,
    int n_rows, int n_chains, int n_words_visible, int n_words, int means_width
) {
    SHARED(u8, fours);  // a byte a thread
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, row = item / (16 * n_words);
    int sums[4] = {0, 0, 0, 0};
    if (row < (long long)n_rows + n_chains) {
        const u64* states = row < n_rows ? rows + row * n_words_visible : visible + (row - n_rows) * n_words_visible;
        add_rows(sums, couplings, states, n_words_visible, 64 * n_words, 4 * (int)(item % (16 * n_words)));
    }
    finish_four(
        sums, hidden, row_means, chain_means, bias, free_units, exponent, key0, key1, first_chain, sweep, block, n_rows, n_chains,
        n_words, means_width, fours
    );
}

// From sums of limbs, (n_rows + n_chains, 3 * 64 * n_words).
extern "C" __global__ void join_and_draw(
    u64* hidden, float* row_means, float* chain_means, const float* limbs, const float* bias, const u64* free_units,
    const int* exponent, u32 key0, u32 key1, u32 first_chain, u32 sweep, u32 block, int n_rows, int n_chains, int n_words,
    int means_width
) {
    SHARED(u8, fours);  // a byte a thread
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, row = item / (16 * n_words);
    int sums[4] = {0, 0, 0, 0};
    if (row < (long long)n_rows + n_chains) join_limbs(sums, limbs + row * 192 * n_words, 64 * n_words, 4 * (int)(item % (16 * n_words)));
    finish_four(
        sums, hidden, row_means, chain_means, bias, free_units, exponent, key0, key1, first_chain, sweep, block, n_rows, n_chains,
        n_words, means_width, fours
    );
}

// The states of the data, and of the chains' hidden units, as halves: a thread for each four.
extern "C" __global__ void expand_both(
    const u64* rows, const u64* hidden, u64* row_halves, u64* hidden_halves, int n_rows, int n_chains, int n_words_visible,
    int n_words
) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, n_of_rows = 16LL * n_rows * n_words_visible;
    if (item < n_of_rows) {
        row_halves[item] = four_halves(rows[item / 16] >> (4 * (item % 16)));
    } else if (item -= n_of_rows; item < 16LL * n_chains * n_words) {
        hidden_halves[item] = four_halves(hidden[item / 16] >> (4 * (item % 16)));
    }
}
