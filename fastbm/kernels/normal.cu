// Real units: normal numbers by the transform of Box and Muller. A thread for each four units of a row.
#include "chain.cuh"
#include "normal.cuh"

extern "C" __global__ void draw_normal(
    float* values, const float* means, const float* beta, const u64* free_units, u32 key0, u32 key1, u32 first_chain, u32 sweep,
    u32 block, int n_rows, int n_units, int width, int n_betas, int n_free
) {
    int n_groups = (n_units + 3) / 4;
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_rows * n_groups) return;
    long long row = item / n_groups;
    int group = (int)(item % n_groups);
    u32 words[4] = {(u32)group, first_chain + (u32)row, sweep, block};
    philox(words, key0, key1);
    float z[4], deviation = 1.0f / sqrtf(beta[row % n_betas]);
    normals_of(words, z);
    normals_of(words + 2, z + 2);
    u64 loose = free_units[row % n_free * (width / 64) + group / 16] >> (4 * (group % 16));
    for (int k = 0; k < 4 && 4 * group + k < n_units; ++k) {
        int unit = 4 * group + k;
        if (loose >> k & 1) values[row * n_units + unit] = means[row * width + unit] + z[k] * deviation;
    }
}
