#include "internal.h"

float mrl_quantise(const float *vector, size_t width, int8_t *codes) {
    float greatest = 0;
    for (size_t i = 0; i < width; i++) {
        float magnitude = fabsf(vector[i]);
        greatest = magnitude > greatest ? magnitude : greatest;
    }
    float inverse = 127.0f / greatest;
    if (!isnormal(inverse)) {
        memset(codes, 0, width);
        return 0;
    }
    for (size_t i = 0; i < width; i++) {
        // Adding 1.5 * 2^23 rounds to the nearest even integer.
        float rounded = (vector[i] * inverse + 0x1.8p23f) - 0x1.8p23f;
        rounded = rounded >= -127.0f ? rounded : -127.0f;
        rounded = rounded <= 127.0f ? rounded : 127.0f;
        codes[i] = (int8_t)(int32_t)rounded;
    }
    return greatest / 127.0f;
}

int32_t mrl_int8_dot(const int8_t *left, const int8_t *right, size_t count) {
    int32_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += (int32_t)left[i] * right[i];
    return sum;
}

static inline size_t groups_of(size_t width) { return (width + 3) / 4; }

void mrl_pack_int8(uint8_t *blocks, size_t width, size_t row, const int8_t *codes) {
    size_t groups = groups_of(width);
    uint8_t *out = blocks + row / BLOCK * groups * 64 + row % BLOCK * 4;
    for (size_t i = 0; i < groups * 4; i++) {
        out[i / 4 * 64 + i % 4] = i < width ? (uint8_t)codes[i] ^ 0x80 : 0x80;
    }
}

void mrl_unpack_int8(const uint8_t *blocks, size_t width, size_t row, int8_t *codes) {
    const uint8_t *in = blocks + row / BLOCK * groups_of(width) * 64 + row % BLOCK * 4;
    for (size_t i = 0; i < width; i++) codes[i] = (int8_t)(in[i / 4 * 64 + i % 4] ^ 0x80);
}

void mrl_pack_float(float *blocks, size_t width, size_t row, const float *values) {
    float *out = blocks + row / BLOCK * width * BLOCK + row % BLOCK;
    for (size_t i = 0; i < width; i++) out[i * BLOCK] = values[i];
}

void mrl_unpack_float(const float *blocks, size_t width, size_t row, float *values) {
    const float *in = blocks + row / BLOCK * width * BLOCK + row % BLOCK;
    for (size_t i = 0; i < width; i++) values[i] = in[i * BLOCK];
}

float mrl_int8_score(int32_t dot, float query_factor, float row_factor, bool cosine) {
    return int8_score(dot, query_factor, row_factor, cosine);
}

float mrl_float_score(float dot, float query_root, float row_root, bool cosine) {
    if (!cosine) return dot;
    return query_root == 0 || row_root == 0 ? 0 : dot / (query_root * row_root);
}

void mrl_gather_blocks(const void *from, void *to, size_t words, const uint32_t *order, size_t count) {
    const uint32_t *in = from;
    uint32_t *out = to;
    for (size_t row = 0; row < count; row++) {
        const uint32_t *source = in + order[row] / BLOCK * words * BLOCK + order[row] % BLOCK;
        uint32_t *target = out + row / BLOCK * words * BLOCK + row % BLOCK;
        for (size_t i = 0; i < words; i++) target[i * BLOCK] = source[i * BLOCK];
    }
}

void mrl_copy_row(void *blocks, size_t words, size_t from, size_t to) {
    const uint32_t *source = (const uint32_t *)blocks + from / BLOCK * words * BLOCK + from % BLOCK;
    uint32_t *target = (uint32_t *)blocks + to / BLOCK * words * BLOCK + to % BLOCK;
    for (size_t i = 0; i < words; i++) target[i * BLOCK] = source[i * BLOCK];
}

void mrl_swap(void *left, void *right, size_t bytes) {
    char held[256];
    for (size_t at = 0; at < bytes; at += sizeof held) {
        size_t size = bytes - at < sizeof held ? bytes - at : sizeof held;
        memcpy(held, (char *)left + at, size);
        memcpy((char *)left + at, (char *)right + at, size);
        memcpy((char *)right + at, held, size);
    }
}
