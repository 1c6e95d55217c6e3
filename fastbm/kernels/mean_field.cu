// Mean field: what comes after the products of an update. A block moves the means of one row.
#include "chain.cuh"

// Means move to those of their logits, all the way less what is kept; the largest distance of the row goes to `largest`.
extern "C" __global__ void relax(
    const float* logits, float* means, const float* kept, const int* active, float* largest, int n_rows, int n_units
) {
    SHARED(float, most);
    int row = blockIdx.x;
    if (row >= n_rows || !active[row]) return;
    float part = 1.0f - kept[row], mine = 0.0f;
    for (int unit = threadIdx.x; unit < n_units; unit += blockDim.x) {
        long long at = (long long)row * n_units + unit;
        float distance = mean_of(logits[at]) - means[at];
        means[at] += part * distance;
        mine = max(mine, distance > 0.0f ? distance : -distance);
    }
    most[threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int k = 1; k < blockDim.x; ++k) mine = max(mine, most[k]);
    largest[row] = max(largest[row], mine);
}

// The end of an update of a row: whether it came nearer, and whether it is done.
extern "C" __global__ void settle(
    float* largest, float* kept, float* nearest, int* since, int* active, int* n_updates, float* change, int n_rows,
    float tolerance, float damping, int patience
) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n_rows || !active[row]) return;
    since[row] = largest[row] < nearest[row] ? 0 : since[row] + 1;
    nearest[row] = min(nearest[row], largest[row]);
    if (since[row] >= patience) kept[row] = damping;
    change[row] = largest[row];
    n_updates[row] += 1;
    active[row] = largest[row] > tolerance;
    largest[row] = 0.0f;
}
