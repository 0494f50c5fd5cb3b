#if defined(__aarch64__)
#include "internal.h"
#include <arm_neon.h>

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)

// Lane j of 16 is lane j % 4 of part j / 4.
typedef struct {
    float32x4_t part[4];
} lanes16;

static inline lanes16 no_lanes(void) {
    float32x4_t zero = vdupq_n_f32(0);
    return (lanes16){{zero, zero, zero, zero}};
}

static inline float reduce(lanes16 lanes) {
    float32x4_t four = vaddq_f32(vaddq_f32(lanes.part[0], lanes.part[2]), vaddq_f32(lanes.part[1], lanes.part[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

static inline lanes16 load(const float *from, size_t left) {
    float tail[16] = {0};
    if (left < 16) {
        memcpy(tail, from, left * sizeof *from);
        from = tail;
    }
    return (lanes16){{vld1q_f32(from), vld1q_f32(from + 4), vld1q_f32(from + 8), vld1q_f32(from + 12)}};
}

static inline lanes16 to_half(lanes16 lanes) {
    for (int i = 0; i < 4; i++) lanes.part[i] = vcvt_f32_f16(vcvt_f16_f32(lanes.part[i]));
    return lanes;
}

static inline lanes16 accumulate(lanes16 left, lanes16 right, lanes16 sum) {
    for (int i = 0; i < 4; i++) sum.part[i] = vfmaq_f32(sum.part[i], left.part[i], right.part[i]);
    return sum;
}

static float float_dot(const float *left, const float *right, size_t count) {
    lanes16 sum = no_lanes();
    for (size_t i = 0; i < count; i += 16) sum = accumulate(load(left + i, count - i), load(right + i, count - i), sum);
    return reduce(sum);
}

static void row_products(const float *query, const float *const *rows, const float *const *next, size_t count,
                         size_t dimensions, bool half, float *dots, float *norms) {
    for (size_t row = 0; row < count; row++) {
        lanes16 dot = no_lanes(), norm = no_lanes();
        for (size_t i = 0; i < dimensions; i += 16) {
            lanes16 q = load(query + i, dimensions - i), r = load(rows[row] + i, dimensions - i);
            __builtin_prefetch(next[row] + i);
            if (half) r = to_half(r);
            dot = accumulate(q, r, dot);
            if (norms) norm = accumulate(r, r, norm);
        }
        dots[row] = reduce(dot);
        if (norms) norms[row] = reduce(norm);
    }
}

#define INT8_AT_ONCE 4

static inline int8x16_t signed_codes(const uint8_t *codes) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes), vdupq_n_u8(0x80)));
}

// Each load of a row serves all queries.
static inline __attribute__((always_inline)) void dots_of(const uint8_t *codes, size_t groups, const int8_t *queries,
                                                          int count, int32_t (*dots)[BLOCK]) {
    int32x4_t sums[INT8_AT_ONCE][4];
    for (int i = 0; i < count; i++) {
        for (int part = 0; part < 4; part++) sums[i][part] = vdupq_n_s32(0);
    }
    for (size_t group = 0; group < groups; group++) {
        int8x16_t rows[4];
        for (int part = 0; part < 4; part++) rows[part] = signed_codes(codes + group * 64 + part * 16);
        for (int i = 0; i < count; i++) {
            int32_t four;
            memcpy(&four, queries + ((size_t)i * groups + group) * 4, 4);
            int8x16_t q = vreinterpretq_s8_s32(vdupq_n_s32(four));
            for (int part = 0; part < 4; part++) sums[i][part] = vdotq_s32(sums[i][part], rows[part], q);
        }
    }
    for (int i = 0; i < count; i++) {
        for (int part = 0; part < 4; part++) vst1q_s32(dots[i] + part * 4, sums[i][part]);
    }
}

static inline void int8_query_dots(const uint8_t *codes, size_t groups, const int8_t *queries, const int32_t *biases,
                                   int count, int32_t (*dots)[BLOCK]) {
    (void)biases;
    if (count == INT8_AT_ONCE) dots_of(codes, groups, queries, INT8_AT_ONCE, dots);
    else for (int i = 0; i < count; i++) dots_of(codes, groups, queries + i * groups * 4, 1, dots + i);
}

static void int8_block_dots(const uint8_t *codes, size_t groups, const int8_t *query, int32_t bias, int32_t *dots) {
    (void)bias;
    dots_of(codes, groups, query, 1, (int32_t(*)[BLOCK])dots);
}

static inline void int8_block_norms(const uint8_t *codes, size_t groups, uint32_t last_mask, int32_t *norms) {
    for (int part = 0; part < 4; part++) {
        int32x4_t sum = vdupq_n_s32(0);
        for (size_t group = 0; group < groups; group++) {
            uint32x4_t mask = vdupq_n_u32(group == groups - 1 ? last_mask : 0xFFFFFFFFu);
            int8x16_t x = vandq_s8(signed_codes(codes + group * 64 + part * 16), vreinterpretq_s8_u32(mask));
            sum = vdotq_s32(sum, x, x);
        }
        vst1q_s32(norms + part * 4, sum);
    }
}

static inline unsigned int8_block_passes(const int32_t *dots, const float *factors, float factor, float cut,
                                         bool cosine) {
    static const uint32_t bits[4] = {1, 2, 4, 8};
    unsigned mask = 0;
    for (int part = 0; part < 4; part++) {
        float32x4_t dot = vcvtq_f32_s32(vld1q_s32(dots + part * 4)), rows = vld1q_f32(factors + part * 4);
        uint32x4_t fails = cosine
            ? vcltq_f32(dot, vmulq_f32(vdupq_n_f32(cut), rows))
            : vcltq_f32(vmulq_f32(vmulq_f32(dot, vdupq_n_f32(factor)), rows), vdupq_n_f32(cut));
        mask |= (unsigned)vaddvq_u32(vbicq_u32(vld1q_u32(bits), fails)) << (part * 4);
    }
    return mask;
}

// Without a query: squared norms.
static inline void float_block_dots(const float *values, size_t dimensions, const float *query, float *dots) {
    for (int part = 0; part < 4; part++) {
        const float *from = values + part * 4;
        float32x4_t sum[16];
        for (int j = 0; j < 16; j++) sum[j] = vdupq_n_f32(0);
        size_t padded = (dimensions + 15) / 16 * 16;
        for (size_t i = 0; i < padded; i += 16) {
            for (size_t j = 0; j < 16; j++) {
                bool there = i + j < dimensions;
                float32x4_t r = there ? vld1q_f32(from + (i + j) * BLOCK) : vdupq_n_f32(0);
                float32x4_t q = there && query ? vdupq_n_f32(query[i + j]) : r;
                sum[j] = vfmaq_f32(sum[j], q, r);
            }
        }
        for (int half = 8; half > 0; half /= 2) {
            for (int j = 0; j < half; j++) sum[j] = vaddq_f32(sum[j], sum[j + half]);
        }
        vst1q_f32(dots + part * 4, sum[0]);
    }
}

static inline __attribute__((always_inline)) void bit_block_sums(const uint8_t *codes, size_t bytes,
                                                                 const uint8_t *tables, size_t table_bytes, int count,
                                                                 const uint16_t *cuts, uint16_t (*sums)[MRL_BIT_BLOCK],
                                                                 uint64_t *masks) {
    static const uint16_t bits[8] = {1, 4, 16, 64, 256, 1024, 4096, 16384};
    for (int i = 0; i < count; i++) masks[i] = 0;
    for (int part = 0; part < 4; part++) {
        // Two rows share a 16-bit lane: `both` sums low + 256 * high, `odd` the high ones.
        uint16x8_t both[4], odd[4];
        for (int i = 0; i < count; i++) both[i] = odd[i] = vdupq_n_u16(0);
        for (size_t byte = 0; byte < bytes; byte++) {
            uint8x16_t code = vld1q_u8(codes + byte * 64 + part * 16);
            uint8x16_t first = vandq_u8(code, vdupq_n_u8(15)), second = vshrq_n_u8(code, 4);
            for (int i = 0; i < count; i++) {
                const uint8_t *table = tables + i * table_bytes + byte * 32;
                uint16x8_t sum = vreinterpretq_u16_u8(vaddq_u8(vqtbl1q_u8(vld1q_u8(table), first),
                                                               vqtbl1q_u8(vld1q_u8(table + 16), second)));
                both[i] = vaddq_u16(both[i], sum);
                odd[i] = vaddq_u16(odd[i], vshrq_n_u16(sum, 8));
            }
        }
        for (int i = 0; i < count; i++) {
            uint16x8_t even = vsubq_u16(both[i], vshlq_n_u16(odd[i], 8)), cut = vdupq_n_u16(cuts[i]);
            uint32_t mask = vaddvq_u16(vandq_u16(vcgeq_u16(even, cut), vld1q_u16(bits)))
                | (uint32_t)vaddvq_u16(vandq_u16(vcgeq_u16(odd[i], cut), vld1q_u16(bits))) << 1;
            masks[i] |= (uint64_t)(mask & 0xFFFF) << (part * 16);
            vst1q_u16(sums[i] + part * 8, even);
            vst1q_u16(sums[i] + 32 + part * 8, odd[i]);
        }
    }
}

#include "scan_bits.h"
#include "scan_blocks.h"

#pragma clang attribute pop

const mrl_kernels mrl_kernels_neon = {scan_int8, scan_bits, int8_block_dots, scan_float, float_dot, row_products,
                                      count_keys};
#endif
