#if defined(__x86_64__)
#include "internal.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx2,fma"))), apply_to = function)

#include "avx512_common.h"

// |row| * (query with the row's sign), as on AVX2; the sign is a mask here.
static inline void int8_block_dots(const uint8_t *codes, size_t groups, const int8_t *query, int32_t bias,
                                   int32_t *dots) {
    (void)bias;
    __m512i flip = _mm512_set1_epi8((char)0x80), ones = _mm512_set1_epi16(1), zero = _mm512_setzero_si512();
    __m512i sum = zero;
    for (size_t group = 0; group < groups; group++) {
        int32_t four;
        memcpy(&four, query + group * 4, 4);
        __m512i q = _mm512_set1_epi32(four);
        __m512i row = _mm512_xor_si512(_mm512_loadu_si512(codes + group * 64), flip);
        __mmask64 negative = _mm512_movepi8_mask(row);
        __m512i pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(row), _mm512_mask_sub_epi8(q, negative, zero, q));
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, ones));
    }
    _mm512_storeu_si512(dots, sum);
}

static inline void int8_block_norms(const uint8_t *codes, size_t groups, uint32_t last_mask, int32_t *norms) {
    __m512i flip = _mm512_set1_epi8((char)0x80), ones = _mm512_set1_epi16(1), sum = _mm512_setzero_si512();
    for (size_t group = 0; group < groups; group++) {
        __m512i mask = _mm512_set1_epi32(group == groups - 1 ? (int32_t)last_mask : -1);
        __m512i x = _mm512_xor_si512(_mm512_loadu_si512(codes + group * 64), flip);
        x = _mm512_abs_epi8(_mm512_and_si512(x, mask));
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(x, x), ones));
    }
    _mm512_storeu_si512(norms, sum);
}

static inline unsigned int8_block_passes(const int32_t *dots, const float *factors, float factor, float cut,
                                         bool cosine) {
    return passes16(_mm512_loadu_si512(dots), _mm512_loadu_ps(factors), factor, cut, cosine);
}

#include "scan_bits.h"
#include "scan_blocks.h"

#pragma clang attribute pop

const mrl_kernels mrl_kernels_avx512 = {scan_int8, scan_bits, int8_block_dots, scan_float, float_dot, row_products,
                                        count_keys};
#endif
