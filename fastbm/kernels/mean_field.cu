// Mean field: what comes after the products of an update. A block moves the means of one row.
#include "chain.cuh"

// Means move to those of their logits, all the way less what is kept; the largest distance of the row goes to `largest`. Where
// `scale` is above 0 what comes next is coarse: means go to `rounded` as well, in steps of 1 / scale.
extern "C" __global__ void relax(
    const float* logits, float* means, const float* kept, const int* active, float* largest, float* rounded, int n_rows, int n_units,
    float scale
) {
    SHARED(float, most);
    int row = blockIdx.x;
    if (row >= n_rows || !active[row]) return;
    float part = 1.0f - kept[row], mine = 0.0f;
    for (int unit = threadIdx.x; unit < n_units; unit += blockDim.x) {
        long long at = (long long)row * n_units + unit;
        float distance = mean_of(logits[at]) - means[at];
        means[at] += part * distance;
        if (scale > 0.0f) rounded[at] = rintf(means[at] * scale) / scale;
        mine = max(mine, distance > 0.0f ? distance : -distance);
    }
    most[threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int k = 1; k < blockDim.x; ++k) mine = max(mine, most[k]);
    largest[row] = max(largest[row], mine);
}

// Numbers in steps of 1 / scale.
extern "C" __global__ void round_to(const float* numbers, float* out, int n, float scale) {
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k < n) out[k] = rintf(numbers[k] * scale) / scale;
}

// The end of an update of a row: whether it came nearer, and whether it is done; coarse, also when it comes no nearer.
extern "C" __global__ void settle(
    float* largest, float* kept, float* nearest, int* since, int* active, int* n_updates, float* change, int n_rows,
    float tolerance, int max_updates, float damping, int patience, int coarse
) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n_rows || !active[row]) return;
    since[row] = largest[row] < nearest[row] ? 0 : since[row] + 1;
    nearest[row] = min(nearest[row], largest[row]);
    if (since[row] >= patience) kept[row] = damping;
    change[row] = largest[row];
    n_updates[row] += 1;
    active[row] = largest[row] > tolerance && n_updates[row] < max_updates && !(coarse && since[row] >= patience);
    largest[row] = 0.0f;
}
