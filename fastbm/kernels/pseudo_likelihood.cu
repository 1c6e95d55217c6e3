// What flipping each unit does to the hidden sums. A thread for each unit of a row.
#include "chain.cuh"

extern "C" __global__ void flip_ratios(
    const u8* rows, const double* off, const double* on, const double* factors, double* out, int n_rows, int n_visible,
    int n_hidden, int stride
) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_rows * n_visible) return;
    long long row = item / n_visible, unit = item % n_visible;
    const double *first = (rows[item] ? on : off) + row * n_hidden, *second = (rows[item] ? off : on) + row * n_hidden;
    double product = 1.0, total = 0.0;
    for (int hidden = 0; hidden < n_hidden; ++hidden) {
        product *= first[hidden] + second[hidden] * factors[(long long)hidden * n_visible + unit];
        if ((hidden + 1) % stride == 0 || hidden + 1 == n_hidden) {
            total += log(product);
            product = 1.0;
        }
    }
    out[item] = total;
}

extern "C" __global__ void grey_flip_ratios(
    const double* changes, const double* off, const double* on, const double* weights, double* out, int n_rows, int n_visible,
    int n_hidden, int stride
) {
    long long item = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= (long long)n_rows * n_visible) return;
    long long row = item / n_visible, unit = item % n_visible;
    double product = 1.0, total = 0.0;
    for (int hidden = 0; hidden < n_hidden; ++hidden) {
        double change = changes[item] * weights[(long long)hidden * n_visible + unit];
        double p = on[row * n_hidden + hidden], q = off[row * n_hidden + hidden];
        double e = (double)exp_minus_magnitude((float)change);
        product *= change <= 0.0 ? q + p * e : p + q * e;
        total += change > 0.0 ? change : 0.0;
        if ((hidden + 1) % stride == 0 || hidden + 1 == n_hidden) {
            total += log(product);
            product = 1.0;
        }
    }
    out[item] = total;
}
