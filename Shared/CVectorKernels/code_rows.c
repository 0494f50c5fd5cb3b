// Scores of int8 codes that lie row by row.
#include "internal.h"

// Dots with the query and squared norms.
typedef void code_products(const int8_t *query, const int8_t *const *rows, size_t count, size_t dimensions,
                           int32_t *dots, int32_t *norms);

static void products_portable(const int8_t *query, const int8_t *const *rows, size_t count, size_t dimensions,
                              int32_t *dots, int32_t *norms) {
    for (size_t row = 0; row < count; row++) {
        int32_t dot = 0, norm = 0;
        for (size_t i = 0; i < dimensions; i++) {
            dot += (int32_t)query[i] * rows[row][i];
            norm += (int32_t)rows[row][i] * rows[row][i];
        }
        dots[row] = dot;
        norms[row] = norm;
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)

static inline int32_t sum8(__m256i lanes) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}

// |row| * (query with the row's sign): unsigned times signed, and no pair exceeds 2 * 127 * 127.
static void products_avx2(const int8_t *query, const int8_t *const *rows, size_t count, size_t dimensions,
                          int32_t *dots, int32_t *norms) {
    __m256i ones = _mm256_set1_epi16(1), ascending = _mm256_setr_epi8(
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
        30, 31);
    for (size_t row = 0; row < count; row++) {
        __m256i dot = _mm256_setzero_si256(), norm = dot;
        for (size_t i = 0; i < dimensions; i += 32) {
            __m256i r = _mm256_loadu_si256((const __m256i *)(rows[row] + i));
            __m256i q = _mm256_loadu_si256((const __m256i *)(query + i));
            if (dimensions - i < 32) {
                r = _mm256_and_si256(r, _mm256_cmpgt_epi8(_mm256_set1_epi8((char)(dimensions - i)), ascending));
            }
            __m256i magnitude = _mm256_abs_epi8(r);
            __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(q, r));
            dot = _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, ones));
            norm = _mm256_add_epi32(norm, _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, magnitude), ones));
        }
        dots[row] = sum8(dot);
        norms[row] = sum8(norm);
    }
}

#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vnni,avx2"))), apply_to = function)

static inline __m128i sum4(__m512i lanes) {
    __m256i eight = _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
}

static inline __m128i sums_of(const __m512i *lanes) {
    __m128i low = _mm_hadd_epi32(sum4(lanes[0]), sum4(lanes[1]));
    return _mm_hadd_epi32(low, _mm_hadd_epi32(sum4(lanes[2]), sum4(lanes[3])));
}

// Rows are made unsigned by adding 128; what that adds to a dot is taken off at the end.
static void products_vnni(const int8_t *query, const int8_t *const *rows, size_t count, size_t dimensions,
                          int32_t *dots, int32_t *norms) {
    __m512i flip = _mm512_set1_epi8((char)0x80), bias = _mm512_setzero_si512();
    __mmask64 last = dimensions % 64 == 0 ? ~0ull : (1ull << dimensions % 64) - 1;
    for (size_t i = 0; i < dimensions; i += 64) {
        __mmask64 mask = i + 64 >= dimensions ? last : ~0ull;
        bias = _mm512_dpbusd_epi32(bias, flip, _mm512_maskz_loadu_epi8(mask, query + i));
    }
    __m128i biases = _mm_set1_epi32(_mm512_reduce_add_epi32(bias));
    for (size_t row = 0; row < count; row += 4) {
        size_t size = count - row < 4 ? count - row : 4;
        __m512i dot[4], norm[4];
        const int8_t *at[4];
        for (size_t k = 0; k < 4; k++) {
            dot[k] = norm[k] = _mm512_setzero_si512();
            at[k] = rows[row + (k < size ? k : 0)];
        }
        for (size_t i = 0; i < dimensions; i += 64) {
            __mmask64 mask = i + 64 >= dimensions ? last : ~0ull;
            __m512i q = _mm512_maskz_loadu_epi8(mask, query + i);
            for (size_t k = 0; k < 4; k++) {
                __m512i r = _mm512_maskz_loadu_epi8(mask, at[k] + i), magnitude = _mm512_abs_epi8(r);
                dot[k] = _mm512_dpbusd_epi32(dot[k], _mm512_xor_si512(r, flip), q);
                norm[k] = _mm512_dpbusd_epi32(norm[k], magnitude, magnitude);
            }
        }
        int32_t four[4];
        _mm_storeu_si128((__m128i *)four, _mm_sub_epi32(sums_of(dot), biases));
        memcpy(dots + row, four, size * sizeof *four);
        _mm_storeu_si128((__m128i *)four, sums_of(norm));
        memcpy(norms + row, four, size * sizeof *four);
    }
}

#pragma clang attribute pop
#elif defined(__aarch64__)
#include <arm_neon.h>

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)

static void products_neon(const int8_t *query, const int8_t *const *rows, size_t count, size_t dimensions,
                          int32_t *dots, int32_t *norms) {
    static const int8_t ascending[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (size_t row = 0; row < count; row++) {
        int32x4_t dot = vdupq_n_s32(0), norm = dot;
        for (size_t i = 0; i < dimensions; i += 16) {
            int8x16_t r = vld1q_s8(rows[row] + i), q = vld1q_s8(query + i);
            if (dimensions - i < 16) {
                uint8x16_t there = vcltq_s8(vld1q_s8(ascending), vdupq_n_s8((int8_t)(dimensions - i)));
                r = vandq_s8(r, vreinterpretq_s8_u8(there));
            }
            dot = vdotq_s32(dot, r, q);
            norm = vdotq_s32(norm, r, r);
        }
        dots[row] = vaddvq_s32(dot);
        norms[row] = vaddvq_s32(norm);
    }
}

#pragma clang attribute pop
#endif

// AVX-512 without VNNI gains nothing over AVX2 on rows this short.
static code_products *code_products_of(int path) {
#if defined(__x86_64__)
    switch (path) {
    case MRL_PATH_PORTABLE: return products_portable;
    case MRL_PATH_AVX512VNNI:
    case MRL_PATH_AMX: return products_vnni;
    default: return products_avx2;
    }
#elif defined(__aarch64__)
    if (path == MRL_PATH_NEON) return products_neon;
#endif
    (void)path;
    return products_portable;
}

void mrl_score_codes(int path, const int8_t *query, float query_factor, const int8_t *const *rows, size_t count,
                     size_t dimensions, const float *scales, float *scores) {
    enum { CHUNK = 32 };
    code_products *products = code_products_of(path);
    int32_t dots[CHUNK], norms[CHUNK];
    for (size_t start = 0; start < count; start += CHUNK) {
        size_t size = count - start < CHUNK ? count - start : CHUNK;
        products(query, rows + start, size, dimensions, dots, norms);
        for (size_t i = 0; i < size; i++) {
            float factor = scales ? scales[start + i] : sqrtf((float)norms[i]);
            scores[start + i] = int8_score(dots[i], query_factor, factor, scales == NULL);
        }
    }
}
