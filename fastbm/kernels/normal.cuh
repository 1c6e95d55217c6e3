// Real units: normal numbers by the transform of Box and Muller; after chain.cuh.
#pragma once

// log u of the uniform number that a word stands for
static __device__ __forceinline__ float log_uniform(u32 word) {
    int above = (int)(word >> 31);
    float distance = (float)(int)((word & 0x7FFFFFFFu) | 1u) * 2.3283064365386963e-10f;
    int bits = __float_as_int(above ? 1.0f - distance : distance);
    int power = (bits - 0x3F3504F3) >> 23;
    float t = __int_as_float(bits - (int)((u32)power << 23)) - 1.0f;
    if (above && power == 0) t = -distance;
    float n = (float)power, square = t * t;
    float y = 7.0376836292e-2f * t + -1.1514610310e-1f;
    y = y * t + 1.1676998740e-1f;
    y = y * t + -1.2420140846e-1f;
    y = y * t + 1.4249322787e-1f;
    y = y * t + -1.6668057665e-1f;
    y = y * t + 2.0000714765e-1f;
    y = y * t + -2.4999993993e-1f;
    y = y * t + 3.3333331174e-1f;
    y = (y * t) * square;
    y = (y + n * -2.12194440e-4f) - 0.5f * square;
    return (t + y) + n * 0.693359375f;
}

// Two standard normal numbers of two words.
static __device__ __forceinline__ void normals_of(const u32 words[2], float z[2]) {
    float radius = sqrtf(-2.0f * log_uniform(words[0]));
    u32 quarter = (words[1] + (1u << 29)) >> 30;
    float x = (float)(int)(words[1] - (quarter << 30)) * 1.4629180792671596e-9f, square = x * x;
    float sine = ((-1.9515295891e-4f * square + 8.3321608736e-3f) * square + -1.6666654611e-1f) * square * x + x;
    float cosine = 2.443315711809948e-5f * square + -1.388731625493765e-3f;
    cosine = (cosine * square + 4.166664568298827e-2f) * square * square - 0.5f * square + 1.0f;
    float first = quarter & 1 ? sine : cosine, second = quarter & 1 ? cosine : sine;
    z[0] = radius * (quarter == 1 || quarter == 2 ? -first : first);
    z[1] = radius * (quarter >= 2 ? -second : second);
}
