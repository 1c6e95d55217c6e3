// Block Gibbs sweeps on a sparse graph; a thread for each four units of a chain.
#include "chain.cuh"

// One sweep of one block, whose words begin at `first_word`. `beta` is (n_betas, n_columns), of which one column counts.
extern "C" __global__ void draw_block(
    u64* states, const int* indptr, const int* indices, const int* data, const float* bias, const float* beta,
    const u64* free_units, const int* exponent, u32 key0, u32 key1, u32 first_chain, u32 sweep, u32 number, int n_chains,
    int n_words, int first_word, int words_here, int n_betas, int n_columns, int column, int n_free
) {
    SHARED(u8, fours);  // a byte a thread
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, n_groups = 16 * words_here;
    long long chain = item / n_groups, group = item % n_groups;
    if (chain < n_chains) {
        const u64* state = states + chain * n_words;
        int sums[4] = {0, 0, 0, 0}, slot = 64 * first_word + 4 * (int)group;
        for (int k = 0; k < 4; ++k) {
            for (int entry = indptr[slot + k]; entry < indptr[slot + k + 1]; ++entry) {
                int neighbour = indices[entry];
                sums[k] += data[entry] & -(int)(state[neighbour >> 6] >> (neighbour & 63) & 1);
            }
        }
        fours[threadIdx.x] = (u8)draw_four(
            sums, bias + 64 * first_word, scale_of(exponent), beta[chain % n_betas * n_columns + column], (int)group,
            first_chain + (u32)chain, sweep, number, key0, key1
        );
    }
    __syncthreads();
    if (chain < n_chains && threadIdx.x % 16 == 0) {
        store_word(states, fours + threadIdx.x, free_units, chain, first_word + (int)group / 16, n_words, n_free);
    }
}
