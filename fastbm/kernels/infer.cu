// One block update in halves: logits and means, then a draw. A thread for each four units of a row.
#include "chain.cuh"

extern "C" __global__ void infer(
    const u64* states, const int* couplings, const float* bias, const float* beta, float* logits, float* means,
    const int* exponent, int n_rows, int n_words, int width, int n_betas, int means_width
) {
    int n_groups = width / 4;
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_rows * n_groups) return;
    long long row = item / n_groups;
    int unit = 4 * (int)(item % n_groups), sums[4] = {0, 0, 0, 0};
    add_rows(sums, couplings, states + row * n_words, n_words, width, unit);
    float beta_row = beta[row % n_betas], scale = scale_of(exponent);
    for (int k = 0; k < 4; ++k) {
        float logit = logit_of(sums[k], beta_row * scale, beta_row, bias[unit + k]);
        logits[row * width + unit + k] = logit;
        means[row * means_width + unit + k] = mean_of(logit);
    }
}

// Logits and means from sums (n_rows, n_units) of real numbers; the means last, for they may be written over the logits.
extern "C" __global__ void grey_means(
    const float* inputs, const float* bias, float* logits, float* means, int n_rows, int n_units, int width, int logits_width,
    int means_width
) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_rows * width) return;
    long long row = item / width, unit = item % width;
    float logit = (unit < n_units ? inputs[row * n_units + unit] : 0.0f) + bias[unit];
    logits[row * logits_width + unit] = logit;
    means[row * means_width + unit] = mean_of(logit);
}

extern "C" __global__ void draw(
    u64* states, const float* logits, const u64* free_units, u32 key0, u32 key1, u32 first_chain, u32 sweep, u32 block,
    int n_rows, int n_words, int n_free
) {
    SHARED(u8, fours);  // a byte a thread
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, n_groups = 16 * n_words;
    long long row = item / n_groups, group = item % n_groups;
    if (row < n_rows) {
        u32 words[4] = {(u32)group, first_chain + (u32)row, sweep, block}, on = 0;
        philox(words, key0, key1);
        for (int k = 0; k < 4; ++k) on |= (u32)is_on(logits[row * 64 * n_words + 4 * group + k], words[k]) << k;
        fours[threadIdx.x] = (u8)on;
    }
    __syncthreads();
    if (row < n_rows && threadIdx.x % 16 == 0) {
        store_word(states, fours + threadIdx.x, free_units, row, (int)group / 16, n_words, n_free);
    }
}
