// What a step of annealing adds to the logarithms of chains' weights. Thirty-two threads for each row.
#include "chain.cuh"

static __device__ __forceinline__ double softplus(double x) { return (x > 0.0 ? x : 0.0) + log1p(exp(x > 0.0 ? -x : x)); }

extern "C" __global__ void add_log_ratios(
    const u64* states, const int* couplings, const float* bias, const double* offset, double* out, const int* exponent,
    double before, double after, int n_rows, int n_words, int width, int n_visible
) {
    SHARED(double, parts);  // one a thread
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x, row = item / 32;
    int lane = (int)(item % 32);
    double total = 0.0;
    if (row < n_rows) {
        const u64* state = states + row * n_words;
        double scale = (double)scale_of(exponent);
        for (int unit = 4 * lane; unit < width; unit += 128) {
            int sums[4] = {0, 0, 0, 0};
            add_rows(sums, couplings, state, n_words, width, unit);
            for (int k = 0; k < 4; ++k) {
                double x = (double)sums[k] * scale + (double)bias[unit + k];
                total += softplus(after * x) - softplus(before * x);
            }
        }
        for (int unit = lane; unit < n_visible; unit += 32) {
            if (state[unit / 64] >> (unit % 64) & 1) total += (after - before) * offset[unit];
        }
    }
    parts[threadIdx.x] = total;
    __syncthreads();
    if (row < n_rows && lane == 0) {
        for (int k = 1; k < 32; ++k) total += parts[threadIdx.x + k];
        out[row] += total;
    }
}
