// Scores of an exact search bounded from above, level by level.
#include "internal.h"

void mrl_bound_dots(int path, const uint8_t *blocks, size_t width, size_t block_count, const uint16_t *lanes,
                    const float *scales, const int8_t *query, float query_scale, float *partials) {
    const mrl_kernels *kernels = mrl_kernels_of(path);
    size_t groups = (width + 3) / 4;
    int32_t bias = 0, dots[BLOCK];
    for (size_t i = 0; i < groups * 4; i++) bias -= 128 * query[i];
    for (size_t block = 0; block < block_count; block++) {
        if (lanes[block] == 0) continue;
        kernels->block_dots(blocks + block * groups * 64, groups, query, bias, dots);
        for (size_t lane = 0; lane < BLOCK; lane++) {
            size_t row = block * BLOCK + lane;
            partials[row] = ((float)dots[lane] * query_scale) * scales[row];
        }
    }
}

// NaN passes.
static inline bool reaches(const mrl_bounds *bounds, float partial, uint32_t row) {
    float most = partial + bounds->query_rest * bounds->rests[row] + bounds->errors[row] + bounds->slack;
    if (bounds->sizes) most *= bounds->sizes[row];
    return !(most < bounds->threshold);
}

size_t mrl_bound_select(const mrl_bounds *bounds, const uint16_t *lanes, size_t block_count, const float *all,
                        uint32_t *rows, float *partials) {
    size_t kept = 0;
    for (size_t block = 0; block < block_count; block++) {
        unsigned live = lanes[block];
        if (live == 0) continue;
        for (uint32_t lane = 0; lane < BLOCK; lane++) {
            uint32_t row = (uint32_t)(block * BLOCK) + lane;
            rows[kept] = row;
            partials[kept] = all[row];
            kept += (live >> lane & 1) & reaches(bounds, all[row], row);
        }
    }
    return kept;
}

// Dots of `count` rows, at most CHUNK, with the query; width: a multiple of 32.
enum { CHUNK = 32 };
typedef void row_dots(const int8_t *query, const int8_t *const *rows, size_t count, size_t width, int32_t *dots);

static void dots_portable(const int8_t *query, const int8_t *const *rows, size_t count, size_t width, int32_t *dots) {
    for (size_t row = 0; row < count; row++) dots[row] = mrl_int8_dot(query, rows[row], width);
}

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)

static void dots_avx2(const int8_t *query, const int8_t *const *rows, size_t count, size_t width, int32_t *dots) {
    __m256i ones = _mm256_set1_epi16(1);
    for (size_t row = 0; row < count; row++) {
        __m256i sum = _mm256_setzero_si256();
        for (size_t i = 0; i < width; i += 32) {
            __m256i r = _mm256_loadu_si256((const __m256i *)(rows[row] + i));
            __m256i q = _mm256_loadu_si256((const __m256i *)(query + i));
            __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(r), _mm256_sign_epi8(q, r));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
        }
        __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
        dots[row] = _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
    }
}

#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vnni,avx2"))), apply_to = function)

static inline __m512i two_rows(const int8_t *low, const int8_t *high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)low)),
                              _mm256_loadu_si256((const __m256i *)high), 1);
}

// Eight rows at once, two in a register: row k beside row k + 4. Rows are made unsigned by adding 128; what that adds
// to a dot is taken off at the end.
static void dots_vnni(const int8_t *query, const int8_t *const *rows, size_t count, size_t width, int32_t *dots) {
    __m512i flip = _mm512_set1_epi8((char)0x80);
    int32_t bias = 0;
    for (size_t i = 0; i < width; i++) bias += 128 * query[i];
    __m256i biases = _mm256_set1_epi32(bias);
    for (size_t row = 0; row < count; row += 8) {
        const int8_t *at[8];
        for (size_t k = 0; k < 8; k++) at[k] = rows[row + k < count ? row + k : row];
        __m512i sum[4];
        for (int k = 0; k < 4; k++) sum[k] = _mm512_setzero_si512();
        for (size_t i = 0; i < width; i += 32) {
            __m512i q = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(query + i)));
            for (int k = 0; k < 4; k++) {
                sum[k] = _mm512_dpbusd_epi32(sum[k], _mm512_xor_si512(two_rows(at[k] + i, at[k + 4] + i), flip), q);
            }
        }
        __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(sum[0], sum[1]), _mm512_unpackhi_epi32(sum[0], sum[1]));
        __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(sum[2], sum[3]), _mm512_unpackhi_epi32(sum[2], sum[3]));
        __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        // Each half has the four sums of its rows twice over.
        all = _mm512_add_epi32(all, _mm512_shuffle_i64x2(all, all, 0xB1));
        __m256i eight = _mm512_castsi512_si256(_mm512_shuffle_i64x2(all, all, 0x08));
        _mm256_storeu_si256((__m256i *)(dots + row), _mm256_sub_epi32(eight, biases));
    }
}

#pragma clang attribute pop
#elif defined(__aarch64__)
#include <arm_neon.h>

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)

static void dots_neon(const int8_t *query, const int8_t *const *rows, size_t count, size_t width, int32_t *dots) {
    for (size_t row = 0; row < count; row++) {
        int32x4_t low = vdupq_n_s32(0), high = low;
        for (size_t i = 0; i < width; i += 32) {
            low = vdotq_s32(low, vld1q_s8(rows[row] + i), vld1q_s8(query + i));
            high = vdotq_s32(high, vld1q_s8(rows[row] + i + 16), vld1q_s8(query + i + 16));
        }
        dots[row] = vaddvq_s32(vaddq_s32(low, high));
    }
}

#pragma clang attribute pop
#endif

// AVX-512 without VNNI gains nothing over AVX2 on rows this short.
static row_dots *row_dots_of(int path) {
#if defined(__x86_64__)
    switch (path) {
    case MRL_PATH_PORTABLE: return dots_portable;
    case MRL_PATH_AVX512VNNI:
    case MRL_PATH_AMX: return dots_vnni;
    default: return dots_avx2;
    }
#elif defined(__aarch64__)
    if (path == MRL_PATH_NEON) return dots_neon;
#endif
    (void)path;
    return dots_portable;
}

size_t mrl_bound_refine(int path, const mrl_bounds *bounds, const int8_t *codes, size_t width, const float *scales,
                        const int8_t *query, float query_scale, uint32_t *rows, float *partials, size_t count) {
    row_dots *dots_of = row_dots_of(path);
    const int8_t *addresses[CHUNK];
    int32_t dots[CHUNK];
    size_t kept = 0;
    for (size_t start = 0; start < count; start += CHUNK) {
        size_t size = count - start < CHUNK ? count - start : CHUNK;
        for (size_t i = start + size; i < count && i < start + 2 * CHUNK; i++) {
            for (size_t byte = 0; byte < width; byte += 64) __builtin_prefetch(codes + rows[i] * width + byte);
        }
        for (size_t i = 0; i < size; i++) addresses[i] = codes + rows[start + i] * width;
        dots_of(query, addresses, size, width, dots);
        for (size_t i = 0; i < size; i++) {
            uint32_t row = rows[start + i];
            float partial = partials[start + i] + ((float)dots[i] * query_scale) * scales[row];
            rows[kept] = row;
            partials[kept] = partial;
            kept += reaches(bounds, partial, row);
        }
    }
    return kept;
}
