// What goes before and after an exact matrix product: states as halves 0 and 1, and limbs joined to inputs, drawn from.
#include "chain.cuh"

// The limbs of int32 couplings (n_from, width): halves, (n_from or more, 3 * width).
extern "C" __global__ void split(const int* couplings, unsigned short* limbs, int n_from, int width) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item < (long long)n_from * width) write_limbs(limbs, couplings[item], item / width, (int)(item % width), width);
}

// A thread for each four states, and four halves.
extern "C" __global__ void expand(const u64* states, u64* halves, int n_rows, int n_words) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item < 16LL * n_rows * n_words) halves[item] = four_halves(states[item / 16] >> (4 * (item % 16)));
}

// One block update of one layer. `sums` are (n_chains, 3 * 64 * n_words): sums of limbs, the lowest first, in base 2048.
extern "C" __global__ void draw_from_limbs(
    u64* states, u64* halves, const float* sums, const float* bias, const float* beta, const u64* free_units,
    const int* exponent, u32 key0, u32 key1, u32 first_chain, u32 sweep, u32 block, int n_chains, int n_words, int n_betas, int n_free
) {
    SHARED(u8, fours);  // a byte a thread
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, n_groups = 16 * n_words;
    long long chain = item / n_groups, group = item % n_groups, word = item / 16;
    if (chain < n_chains) {
        int joined[4];
        join_limbs(joined, sums + chain * 192 * n_words, 64 * n_words, 4 * (int)group);
        u32 drawn = draw_four(
            joined, bias, scale_of(exponent), beta[chain % n_betas], (int)group, first_chain + (u32)chain, sweep, block, key0, key1
        );
        int shift = 4 * (int)(group % 16);
        u32 loose = (u32)(free_units[chain % n_free * n_words + group / 16] >> shift) & 15, before = (u32)(states[word] >> shift) & 15;
        u32 state = (drawn & loose) | (before & ~loose);
        fours[threadIdx.x] = (u8)state;
        halves[item] = four_halves(state);
    }
    __syncthreads();
    if (chain < n_chains && threadIdx.x % 16 == 0) states[word] = join_fours(fours + threadIdx.x);
}
