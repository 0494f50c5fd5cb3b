#include "internal.h"

static inline float reduce(float *lanes) {
    for (int half = 8; half > 0; half /= 2) {
        for (int j = 0; j < half; j++) lanes[j] += lanes[j + half];
    }
    return lanes[0];
}

static float float_dot(const float *left, const float *right, size_t count) {
    float lanes[16] = {0};
    size_t padded = (count + 15) / 16 * 16;
    for (size_t i = 0; i < padded; i++) {
        float a = i < count ? left[i] : 0, b = i < count ? right[i] : 0;
        lanes[i % 16] = __builtin_fmaf(a, b, lanes[i % 16]);
    }
    return reduce(lanes);
}

static void row_products(const float *query, const float *const *rows, const float *const *next, size_t count,
                         size_t dimensions, bool half, float *dots, float *norms) {
    (void)next;
    size_t padded = (dimensions + 15) / 16 * 16;
    for (size_t row = 0; row < count; row++) {
        float dot[16] = {0}, norm[16] = {0};
        for (size_t i = 0; i < padded; i++) {
            float q = i < dimensions ? query[i] : 0, r = i < dimensions ? rows[row][i] : 0;
            if (half) r = round_to_half(r);
            dot[i % 16] = __builtin_fmaf(q, r, dot[i % 16]);
            if (norms) norm[i % 16] = __builtin_fmaf(r, r, norm[i % 16]);
        }
        dots[row] = reduce(dot);
        if (norms) norms[row] = reduce(norm);
    }
}

static inline void int8_block_dots(const uint8_t *codes, size_t groups, const int8_t *query, int32_t bias,
                                   int32_t *dots) {
    for (int lane = 0; lane < BLOCK; lane++) dots[lane] = bias;
    for (size_t group = 0; group < groups; group++) {
        const uint8_t *bytes = codes + group * 64;
        const int8_t *q = query + group * 4;
        for (int lane = 0; lane < BLOCK; lane++) {
            dots[lane] += bytes[lane * 4] * q[0] + bytes[lane * 4 + 1] * q[1] + bytes[lane * 4 + 2] * q[2]
                + bytes[lane * 4 + 3] * q[3];
        }
    }
}

static inline void int8_block_norms(const uint8_t *codes, size_t groups, uint32_t last_mask, int32_t *norms) {
    for (int lane = 0; lane < BLOCK; lane++) norms[lane] = 0;
    for (size_t group = 0; group < groups; group++) {
        uint32_t mask = group == groups - 1 ? last_mask : 0xFFFFFFFFu;
        for (int lane = 0; lane < BLOCK; lane++) {
            for (int i = 0; i < 4; i++) {
                int32_t code = mask >> (8 * i) & 1 ? (int32_t)codes[group * 64 + lane * 4 + i] - 128 : 0;
                norms[lane] += code * code;
            }
        }
    }
}

static inline unsigned int8_block_passes(const int32_t *dots, const float *factors, float factor, float cut,
                                         bool cosine) {
    unsigned mask = 0;
    for (int lane = 0; lane < BLOCK; lane++) {
        bool fails = cosine
            ? (float)dots[lane] < cut * factors[lane]
            : ((float)dots[lane] * factor) * factors[lane] < cut;
        mask |= (unsigned)!fails << lane;
    }
    return mask;
}

// Without a query: squared norms.
static inline void float_block_dots(const float *values, size_t dimensions, const float *query, float *dots) {
    float lanes[16][BLOCK] = {{0}};
    size_t padded = (dimensions + 15) / 16 * 16;
    for (size_t i = 0; i < padded; i++) {
        for (int row = 0; row < BLOCK; row++) {
            float r = i < dimensions ? values[i * BLOCK + row] : 0;
            float q = i < dimensions ? (query ? query[i] : r) : 0;
            lanes[i % 16][row] = __builtin_fmaf(q, r, lanes[i % 16][row]);
        }
    }
    for (int half = 8; half > 0; half /= 2) {
        for (int j = 0; j < half; j++) {
            for (int row = 0; row < BLOCK; row++) lanes[j][row] += lanes[j + half][row];
        }
    }
    memcpy(dots, lanes[0], sizeof lanes[0]);
}

static inline void bit_block_sums(const uint8_t *codes, size_t bytes, const uint8_t *tables, size_t table_bytes,
                                  int count, const uint16_t *cuts, uint16_t (*sums)[MRL_BIT_BLOCK], uint64_t *masks) {
    for (int query = 0; query < count; query++) {
        uint16_t *sum = sums[query];
        memset(sum, 0, sizeof *sums);
        for (size_t byte = 0; byte < bytes; byte++) {
            const uint8_t *table = tables + query * table_bytes + byte * 32;
            for (int row = 0; row < MRL_BIT_BLOCK; row++) {
                uint8_t code = codes[byte * MRL_BIT_BLOCK + row];
                sum[row % 2 * 32 + row / 2] += table[code & 15] + table[16 + (code >> 4)];
            }
        }
        masks[query] = 0;
        for (int row = 0; row < MRL_BIT_BLOCK; row++) {
            masks[query] |= (uint64_t)(sum[row % 2 * 32 + row / 2] >= cuts[query]) << row;
        }
    }
}

#include "scan_bits.h"
#include "scan_blocks.h"

const mrl_kernels mrl_kernels_portable = {scan_int8, scan_bits, int8_block_dots, scan_float, float_dot, row_products,
                                          count_keys};
