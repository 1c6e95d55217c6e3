// What stands around the products of convolutions: windows of images as rows of a matrix, and the sums of such rows as images.
// Rows are pixels of maps, (n, rows, columns); their numbers are (tap row, tap column, channel).
static __device__ __forceinline__ long long item_of() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }

extern "C" __global__ void windows(
    const float* images, float* out, int n, int height, int width, int n_channels, int n_rows, int n_columns, int tap_rows,
    int tap_columns, int stride, int padding
) {
    long long item = item_of(), line = (long long)tap_rows * tap_columns * n_channels;
    if (item >= (long long)n * n_rows * n_columns * line) return;
    long long pixel = item / line;
    int at = (int)(item % line), channel = at % n_channels, tap = at / n_channels;
    int y = (int)(pixel / n_columns % n_rows) * stride - padding + tap / tap_columns;
    int x = (int)(pixel % n_columns) * stride - padding + tap % tap_columns;
    long long image = pixel / n_columns / n_rows;
    bool inside = y >= 0 && y < height && x >= 0 && x < width;
    out[item] = inside ? images[((image * height + y) * width + x) * n_channels + channel] : 0.0f;
}

extern "C" __global__ void fold(
    const float* products, float* images, int n, int height, int width, int n_channels, int n_rows, int n_columns, int tap_rows,
    int tap_columns, int stride, int padding
) {
    long long item = item_of(), line = (long long)tap_rows * tap_columns * n_channels;
    if (item >= (long long)n * height * width * n_channels) return;
    int channel = (int)(item % n_channels), x = (int)(item / n_channels % width);
    int y = (int)(item / n_channels / width % height);
    long long image = item / n_channels / width / height;
    float sum = 0.0f;
    for (int tap_row = 0; tap_row < tap_rows; ++tap_row) {
        int row = y + padding - tap_row;
        if (row < 0 || row % stride || row / stride >= n_rows) continue;
        for (int tap_column = 0; tap_column < tap_columns; ++tap_column) {
            int column = x + padding - tap_column;
            if (column < 0 || column % stride || column / stride >= n_columns) continue;
            long long pixel = (image * n_rows + row / stride) * n_columns + column / stride;
            sum += products[pixel * line + (tap_row * tap_columns + tap_column) * n_channels + channel];
        }
    }
    images[item] = sum;
}
