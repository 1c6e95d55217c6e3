// Couplings rounded to integers in both orientations, at the exponent of fastbm.chain.round_couplings, found on the device.
#include "chain.cuh"
#include "tile.cuh"

template <typename number>
static __device__ __forceinline__ void note_magnitudes(number* pool, const number* weights, u32* notes, int n_visible, int n_hidden) {
    int row = blockIdx.x / tiles(n_hidden) * TILE, column = blockIdx.x % tiles(n_hidden) * TILE;
    for (int k = threadIdx.x; k < TILE * TILE; k += TILE_THREADS) {
        int i = k / TILE, j = k % TILE;
        bool there = row + i < n_visible && column + j < n_hidden;
        number weight = there ? weights[(long long)(row + i) * n_hidden + column + j] : (number)0;
        pool[i * PITCH + j] = weight < (number)0 ? -weight : weight;
    }
    __syncthreads();
    note_tile(pool, notes, n_visible, n_hidden);
}

extern "C" __global__ void note_float(const float* weights, u32* notes, int n_visible, int n_hidden) {
    SHARED(float, floats);
    note_magnitudes(floats, weights, notes, n_visible, n_hidden);
}

extern "C" __global__ void note_double(const double* weights, u32* notes, int n_visible, int n_hidden) {
    SHARED(double, doubles);
    note_magnitudes(doubles, weights, notes, n_visible, n_hidden);
}

extern "C" __global__ void __launch_bounds__(1024) settle(const u32* notes, const int* previous, int* exponent, int n_visible, int n_hidden) {
    SHARED(int, said);
    settle_exponent(notes, previous, exponent, n_visible, n_hidden, said);
}

// Write a tile in both orientations, and, where there are limbs, its limbs too: see limbs.cu.
template <typename number>
static __device__ __forceinline__ void round_tile(
    int* pool, const number* weights, const int* exponent, int* to_hidden, int* to_visible, unsigned short* hidden_limbs,
    unsigned short* visible_limbs, int n_visible, int n_hidden, int hidden_width, int visible_width, int has_limbs
) {
    if (*exponent < 0) return;
    int row = blockIdx.x / tiles(n_hidden) * TILE, column = blockIdx.x % tiles(n_hidden) * TILE;
    number scale = (number)(1 << *exponent);
    for (int k = threadIdx.x; k < TILE * TILE; k += TILE_THREADS) {
        int i = row + k / TILE, j = column + k % TILE;
        if (i >= n_visible || j >= n_hidden) continue;
        number scaled = weights[(long long)i * n_hidden + j] * scale;
        int rounded = (int)round_magnitude(scaled < (number)0 ? -scaled : scaled);
        rounded = scaled < (number)0 ? -rounded : rounded;
        pool[k / TILE * PITCH + k % TILE] = rounded;
        to_hidden[(long long)i * hidden_width + j] = rounded;
        if (has_limbs) write_limbs(hidden_limbs, rounded, i, j, hidden_width);
    }
    __syncthreads();
    if (visible_width == 0) return;
    for (int k = threadIdx.x; k < TILE * TILE; k += TILE_THREADS) {
        int i = row + k % TILE, j = column + k / TILE;
        if (i >= n_visible || j >= n_hidden) continue;
        int rounded = pool[k % TILE * PITCH + k / TILE];
        to_visible[(long long)j * visible_width + i] = rounded;
        if (has_limbs) write_limbs(visible_limbs, rounded, j, i, visible_width);
    }
}

extern "C" __global__ void round_float(
    const float* weights, const int* exponent, int* to_hidden, int* to_visible, unsigned short* hidden_limbs,
    unsigned short* visible_limbs, int n_visible, int n_hidden, int hidden_width, int visible_width, int has_limbs
) {
    SHARED(int, pool);
    round_tile(
        pool, weights, exponent, to_hidden, to_visible, hidden_limbs, visible_limbs, n_visible, n_hidden, hidden_width,
        visible_width, has_limbs
    );
}

extern "C" __global__ void round_double(
    const double* weights, const int* exponent, int* to_hidden, int* to_visible, unsigned short* hidden_limbs,
    unsigned short* visible_limbs, int n_visible, int n_hidden, int hidden_width, int visible_width, int has_limbs
) {
    SHARED(int, pool);
    round_tile(
        pool, weights, exponent, to_hidden, to_visible, hidden_limbs, visible_limbs, n_visible, n_hidden, hidden_width,
        visible_width, has_limbs
    );
}
