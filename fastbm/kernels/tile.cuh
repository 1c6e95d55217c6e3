// Tiles of couplings in shared memory, what is noted of each, and the exponent found from these notes.
//
// Of each unit of a tile, and for each exponent, the sum of magnitudes of its couplings rounded is noted, cut at the limit. Sums
// that are cut are the same in any order. Notes are (ROWS_OF_NOTES, parts): parts are, first, of each row of tiles the hidden
// units, then of each column of tiles the visible units.
#pragma once

#define TILE 64
#define PITCH 65  // a row of a tile is one longer, so that columns are read from all banks
#define TILE_THREADS 256
#define LIMIT 134217728u  // 2 ** 27
#define LARGEST_EXPONENT 24
#define SMALLEST_EXPONENT 8
#define EXPONENTS 17
#define ROWS_OF_NOTES 18  // the last one says which units have a coupling that is not finite
#define AT_A_TIME 9       // rows of notes that a thread fills
#define TOO_LARGE -1
#define NOT_FINITE -2

static __device__ __forceinline__ int tiles(int n) { return (n + TILE - 1) / TILE; }

static __device__ __forceinline__ u32 round_magnitude(float value) {
    value = rintf(value);
    return value < (float)LIMIT ? (u32)value : LIMIT;  // NaN too
}

static __device__ __forceinline__ u32 round_magnitude(double value) {
    value = rint(value);
    return value < (double)LIMIT ? (u32)value : LIMIT;
}

static __device__ __forceinline__ bool is_finite(float magnitude) { return magnitude <= 3.402823466e38f; }
static __device__ __forceinline__ bool is_finite(double magnitude) { return magnitude <= 1e300; }

// Where a part of a unit of the tile is noted, -1 where there is no such unit: `unit` counts the tile's columns, then its rows.
static __device__ __forceinline__ long long part_of(int unit, int n_visible, int n_hidden) {
    int tile_row = blockIdx.x / tiles(n_hidden), tile_column = blockIdx.x % tiles(n_hidden);
    int hidden = TILE * tile_column + unit, visible = TILE * tile_row + unit - TILE;
    if (unit < TILE) return hidden < n_hidden ? (long long)tile_row * n_hidden + hidden : -1;
    return visible < n_visible ? (long long)tiles(n_visible) * n_hidden + (long long)tile_column * n_visible + visible : -1;
}

static __device__ __forceinline__ long long n_parts(int n_visible, int n_hidden) {
    return (long long)tiles(n_visible) * n_hidden + (long long)tiles(n_hidden) * n_visible;
}

// Note the sums of a tile of magnitudes, 0 where there are no couplings. A thread for each unit and half of the exponents.
template <typename number>
static __device__ __forceinline__ void note_tile(const number* magnitudes, u32* notes, int n_visible, int n_hidden) {
    int unit = threadIdx.x % (2 * TILE), first = threadIdx.x / (2 * TILE) * AT_A_TIME;
    long long part = part_of(unit, n_visible, n_hidden);
    if (part < 0) return;
    const number* mine = unit < TILE ? magnitudes + unit : magnitudes + (unit - TILE) * PITCH;
    int stride = unit < TILE ? PITCH : 1;
    number scale = (number)(1 << (LARGEST_EXPONENT - first));
    u32 totals[AT_A_TIME] = {0, 0, 0, 0, 0, 0, 0, 0, 0}, others = 0;
    for (int k = 0; k < TILE; ++k) {
        number magnitude = mine[k * stride], scaled = magnitude * scale;
        others |= !is_finite(magnitude);
        for (int row = 0; row < AT_A_TIME; ++row) {
            totals[row] = min(totals[row] + round_magnitude(scaled), LIMIT);
            scaled *= (number)0.5;
        }
    }
    for (int row = 0; row < AT_A_TIME; ++row) {
        notes[(first + row) * n_parts(n_visible, n_hidden) + part] = first + row < EXPONENTS ? totals[row] : others;
    }
}

// Whether any thread of the block has something to say; all threads ask.
static __device__ __forceinline__ bool any_of(int* said, bool mine) {
    if (threadIdx.x == 0) *said = 0;
    __syncthreads();
    if (mine) *said = 1;  // whoever writes, writes the same
    __syncthreads();
    bool found = *said != 0;
    __syncthreads();
    return found;
}

// Whether a unit's notes of one row, added up, reach a bound.
static __device__ __forceinline__ bool reaches(const u32* notes, int row, u32 bound, int n_visible, int n_hidden, int* said) {
    bool mine = false;
    for (int unit = threadIdx.x; unit < n_visible + n_hidden; unit += blockDim.x) {
        const u32* part = notes + row * n_parts(n_visible, n_hidden);
        int stride = unit < n_hidden ? n_hidden : n_visible, count = unit < n_hidden ? tiles(n_visible) : tiles(n_hidden);
        part += unit < n_hidden ? unit : (long long)tiles(n_visible) * n_hidden + unit - n_hidden;
        u32 total = 0;
        for (int k = 0; k < count; ++k) total = min(total + part[(long long)k * stride], LIMIT);
        mine |= total >= bound;
    }
    return any_of(said, mine);
}

// Note the largest exponent at which no unit's sum reaches the limit, TOO_LARGE or NOT_FINITE where there is none. One block.
// A negative `previous` stays: what could not be sampled once is not forgotten before the host asks; another is tried first.
static __device__ __forceinline__ void settle_exponent(
    const u32* notes, const int* previous, int* exponent, int n_visible, int n_hidden, int* said
) {
    int e = *previous;
    if (e >= 0) {
        e = e < SMALLEST_EXPONENT ? SMALLEST_EXPONENT : e > LARGEST_EXPONENT ? LARGEST_EXPONENT : e;
        if (reaches(notes, LARGEST_EXPONENT - e, LIMIT, n_visible, n_hidden, said)) {
            do --e;
            while (e >= SMALLEST_EXPONENT && reaches(notes, LARGEST_EXPONENT - e, LIMIT, n_visible, n_hidden, said));
        } else {
            while (e < LARGEST_EXPONENT && !reaches(notes, LARGEST_EXPONENT - e - 1, LIMIT, n_visible, n_hidden, said)) ++e;
        }
        if (e < SMALLEST_EXPONENT) e = reaches(notes, EXPONENTS, 1, n_visible, n_hidden, said) ? NOT_FINITE : TOO_LARGE;
    }
    if (threadIdx.x == 0) *exponent = e;
}
