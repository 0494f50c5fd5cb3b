#if defined(__x86_64__)
#include "internal.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)

#include "avx2_common.h"

#define INT8_AT_ONCE 4

// Rows are unsigned (code + 128); the bias takes 128 * sum(query) off again. Each load of a row serves all queries.
static inline __attribute__((always_inline)) void dots_of(const uint8_t *codes, size_t groups, const int8_t *queries,
                                                          const int32_t *biases, int count, int32_t (*dots)[BLOCK]) {
    __m256i low[INT8_AT_ONCE], high[INT8_AT_ONCE];
    for (int i = 0; i < count; i++) low[i] = high[i] = _mm256_set1_epi32(biases[i]);
    for (size_t group = 0; group < groups; group++) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(codes + group * 64));
        __m256i b = _mm256_loadu_si256((const __m256i *)(codes + group * 64 + 32));
        for (int i = 0; i < count; i++) {
            int32_t four;
            memcpy(&four, queries + ((size_t)i * groups + group) * 4, 4);
            __m256i q = _mm256_set1_epi32(four);
            low[i] = _mm256_dpbusd_avx_epi32(low[i], a, q);
            high[i] = _mm256_dpbusd_avx_epi32(high[i], b, q);
        }
    }
    for (int i = 0; i < count; i++) {
        _mm256_storeu_si256((__m256i *)dots[i], low[i]);
        _mm256_storeu_si256((__m256i *)(dots[i] + 8), high[i]);
    }
}

static inline void int8_query_dots(const uint8_t *codes, size_t groups, const int8_t *queries, const int32_t *biases,
                                   int count, int32_t (*dots)[BLOCK]) {
    if (count == INT8_AT_ONCE) dots_of(codes, groups, queries, biases, INT8_AT_ONCE, dots);
    else for (int i = 0; i < count; i++) dots_of(codes, groups, queries + i * groups * 4, biases + i, 1, dots + i);
}

static void int8_block_dots(const uint8_t *codes, size_t groups, const int8_t *query, int32_t bias, int32_t *dots) {
    dots_of(codes, groups, query, &bias, 1, (int32_t(*)[BLOCK])dots);
}

static inline void int8_block_norms(const uint8_t *codes, size_t groups, uint32_t last_mask, int32_t *norms) {
    __m256i flip = _mm256_set1_epi8((char)0x80);
    for (int side = 0; side < 2; side++) {
        __m256i sum = _mm256_setzero_si256();
        for (size_t group = 0; group < groups; group++) {
            __m256i mask = _mm256_set1_epi32(group == groups - 1 ? (int32_t)last_mask : -1);
            __m256i x = _mm256_loadu_si256((const __m256i *)(codes + group * 64 + side * 32));
            x = _mm256_abs_epi8(_mm256_and_si256(_mm256_xor_si256(x, flip), mask));
            sum = _mm256_dpbusd_avx_epi32(sum, x, x);
        }
        _mm256_storeu_si256((__m256i *)(norms + side * 8), sum);
    }
}

#include "scan_bits.h"
#include "scan_blocks.h"

#pragma clang attribute pop

const mrl_kernels mrl_kernels_avxvnni = {scan_int8, scan_bits, int8_block_dots, scan_float, float_dot, row_products,
                                    count_keys};
#endif
