#if defined(__x86_64__)
#include "internal.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

#include "avx2_common.h"

// |row| * (query with the row's sign): unsigned times signed, and no pair exceeds 2 * 127 * 127.
static inline void int8_block_dots(const uint8_t *codes, size_t groups, const int8_t *query, int32_t bias,
                                   int32_t *dots) {
    (void)bias;
    __m256i flip = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
    __m256i low = _mm256_setzero_si256(), high = low;
    for (size_t group = 0; group < groups; group++) {
        int32_t four;
        memcpy(&four, query + group * 4, 4);
        __m256i q = _mm256_set1_epi32(four), magnitude = _mm256_abs_epi8(q);
        __m256i a = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(codes + group * 64)), flip);
        __m256i b = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(codes + group * 64 + 32)), flip);
        a = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(a, q));
        b = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(b, q));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(a, ones));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(b, ones));
    }
    _mm256_storeu_si256((__m256i *)dots, low);
    _mm256_storeu_si256((__m256i *)(dots + 8), high);
}

static inline void int8_block_norms(const uint8_t *codes, size_t groups, uint32_t last_mask, int32_t *norms) {
    __m256i flip = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
    for (int side = 0; side < 2; side++) {
        __m256i sum = _mm256_setzero_si256();
        for (size_t group = 0; group < groups; group++) {
            __m256i mask = _mm256_set1_epi32(group == groups - 1 ? (int32_t)last_mask : -1);
            __m256i x = _mm256_loadu_si256((const __m256i *)(codes + group * 64 + side * 32));
            x = _mm256_abs_epi8(_mm256_and_si256(_mm256_xor_si256(x, flip), mask));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, x), ones));
        }
        _mm256_storeu_si256((__m256i *)(norms + side * 8), sum);
    }
}

#include "scan_bits.h"
#include "scan_blocks.h"

#pragma clang attribute pop

const mrl_kernels mrl_kernels_avx2 = {scan_int8, scan_bits, int8_block_dots, scan_float, float_dot, row_products,
                                    count_keys};
#endif
