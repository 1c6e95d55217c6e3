// Block Gibbs sweeps of machines with a chain of layers; a thread for each four units of a chain.
#include "chain.cuh"

// One block update of one layer, couplings in global memory. `below` and `above` may be null: no such layer.
extern "C" __global__ void draw_layer(
    u64* states, const u64* below, const u64* above, const int* from_below, const int* from_above, const float* bias,
    const float* beta, const u64* free_units, const int* exponent, u32 key0, u32 key1, u32 first_chain, u32 sweep, u32 block,
    int n_chains, int n_words, int n_words_below, int n_words_above, int n_betas, int n_free
) {
    SHARED(u8, fours);  // a byte a thread
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, n_groups = 16 * n_words;
    long long chain = item / n_groups, group = item % n_groups;
    if (chain < n_chains) {
        int sums[4] = {0, 0, 0, 0};
        if (n_words_below) add_rows(sums, from_below, below + chain * n_words_below, n_words_below, 64 * n_words, 4 * (int)group);
        if (n_words_above) add_rows(sums, from_above, above + chain * n_words_above, n_words_above, 64 * n_words, 4 * (int)group);
        fours[threadIdx.x] = (u8)draw_four(
            sums, bias, scale_of(exponent), beta[chain % n_betas], (int)group, first_chain + (u32)chain, sweep, block, key0, key1
        );
    }
    __syncthreads();
    if (chain < n_chains && threadIdx.x % 16 == 0) {
        store_word(states, fours + threadIdx.x, free_units, chain, (int)group / 16, n_words, n_free);
    }
}

// Where a layer's arrays are: a row of the plan of `sweep_shared`, and where they are in shared memory, counted in ints.
struct Layer {
    u64* states;
    const float* bias;
    const u64* free_units;
    const int* up;    // couplings from this layer to the next, (units, width of the next)
    const int* down;  // couplings from the next layer to this one
    long long n_units, n_words, n_free;
    long long states_at, bias_at, up_at, down_at;
};

static __device__ __forceinline__ void copy(int* to, const int* from, long long n) {
    for (long long k = threadIdx.x; k < n; k += blockDim.x) to[k] = from[k];
}

// Block updates start ... stop - 1 of all layers of a block's chains: couplings, biases and states stay in shared memory.
extern "C" __global__ void sweep_shared(
    const long long* plan, const float* beta, const int* exponent, u32 key0, u32 key1, u32 first_chain, long long start,
    long long stop, int n_layers, int n_chains, int chains_a_block, int n_betas,
    int fours_at
) {
    SHARED(int, pool);
    const Layer* layers = (const Layer*)plan;
    u8* fours = (u8*)(pool + fours_at);  // a byte for every four units of a layer of every chain
    float scale = scale_of(exponent);
    int first = blockIdx.x * chains_a_block, here = min(chains_a_block, n_chains - first);
    for (int l = 0; l < n_layers; ++l) {
        const Layer& layer = layers[l];
        copy(pool + layer.states_at, (const int*)(layer.states + (long long)first * layer.n_words), 2 * layer.n_words * here);
        copy(pool + layer.bias_at, (const int*)layer.bias, 64 * layer.n_words);
        if (l + 1 < n_layers) {
            copy(pool + layer.up_at, layer.up, layer.n_units * 64 * layers[l + 1].n_words);
            copy(pool + layer.down_at, layer.down, layers[l + 1].n_units * 64 * layer.n_words);
        }
    }
    __syncthreads();
    for (long long update = start; update < stop; ++update) {
        for (int l = 1 - (int)(update & 1); l < n_layers; l += 2) {
            const Layer& layer = layers[l];
            int n_words = (int)layer.n_words, width = 64 * n_words, n_groups = 16 * n_words;
            u64* states = (u64*)(pool + layer.states_at);
            for (int item = threadIdx.x; item < here * n_groups; item += blockDim.x) {
                int chain = item / n_groups, group = item % n_groups, sums[4] = {0, 0, 0, 0};
                for (int next = l - 1; next <= l + 1; next += 2) {
                    if (next < 0 || next == n_layers) continue;
                    int words = (int)layers[next].n_words;
                    const u64* state = (const u64*)(pool + layers[next].states_at) + chain * words;
                    add_rows(sums, pool + (next < l ? layers[next].up_at : layer.down_at), state, words, width, 4 * group);
                }
                float beta_chain = beta[(first + chain) % n_betas];
                fours[item] = (u8)draw_four(
                    sums, (const float*)(pool + layer.bias_at), scale, beta_chain, group, first_chain + first + chain,
                    (u32)(update >> 1), (u32)(l ^ 1), key0, key1
                );
            }
            __syncthreads();
            for (int item = threadIdx.x; item < here * n_words; item += blockDim.x) {
                int chain = item / n_words, word = item % n_words;
                u64 loose = layer.free_units[(first + chain) % layer.n_free * n_words + word];
                states[item] = (join_fours(fours + 16 * item) & loose) | (states[item] & ~loose);
            }
            __syncthreads();
        }
    }
    for (int l = 0; l < n_layers; ++l) {
        const Layer& layer = layers[l];
        copy((int*)(layer.states + (long long)first * layer.n_words), pool + layer.states_at, 2 * layer.n_words * here);
    }
}
