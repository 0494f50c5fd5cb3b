// What the two AVX-512 paths share; included inside their target attribute.

static inline float reduce(__m512 lanes) {
    __m256 low = _mm512_castps512_ps256(lanes);
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(lanes), 1));
    __m256 eight = _mm256_add_ps(low, high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline __mmask16 tail_mask(size_t left) { return (__mmask16)((1u << left) - 1); }

static inline __m512 to_half(__m512 values) {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static float float_dot(const float *left, const float *right, size_t count) {
    __m512 sum = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= count; i += 16) sum = _mm512_fmadd_ps(_mm512_loadu_ps(left + i), _mm512_loadu_ps(right + i), sum);
    if (i < count) {
        __mmask16 mask = tail_mask(count - i);
        sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, left + i), _mm512_maskz_loadu_ps(mask, right + i), sum);
    }
    return reduce(sum);
}

static inline __attribute__((always_inline)) void products(const float *query, const float *const *rows,
                                                           const float *const *next, int count, size_t dimensions,
                                                           bool half, bool with_norms, float *dots, float *norms) {
    __m512 dot[4], norm[4];
    for (int k = 0; k < count; k++) dot[k] = norm[k] = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= dimensions; i += 16) {
        __m512 q = _mm512_loadu_ps(query + i);
        for (int k = 0; k < count; k++) {
            __m512 r = _mm512_loadu_ps(rows[k] + i);
            __builtin_prefetch(next[k] + i);
            if (half) r = to_half(r);
            dot[k] = _mm512_fmadd_ps(q, r, dot[k]);
            if (with_norms) norm[k] = _mm512_fmadd_ps(r, r, norm[k]);
        }
    }
    if (i < dimensions) {
        __mmask16 mask = tail_mask(dimensions - i);
        __m512 q = _mm512_maskz_loadu_ps(mask, query + i);
        for (int k = 0; k < count; k++) {
            __m512 r = _mm512_maskz_loadu_ps(mask, rows[k] + i);
            if (half) r = to_half(r);
            dot[k] = _mm512_fmadd_ps(q, r, dot[k]);
            if (with_norms) norm[k] = _mm512_fmadd_ps(r, r, norm[k]);
        }
    }
    for (int k = 0; k < count; k++) {
        dots[k] = reduce(dot[k]);
        if (with_norms) norms[k] = reduce(norm[k]);
    }
}

static inline __attribute__((always_inline)) void all_products(const float *query, const float *const *rows,
                                                               const float *const *next, size_t count,
                                                               size_t dimensions, bool half, bool with_norms,
                                                               float *dots, float *norms) {
    size_t row = 0;
    for (; row + 4 <= count; row += 4) {
        products(query, rows + row, next + row, 4, dimensions, half, with_norms, dots + row, norms + row);
    }
    for (; row < count; row++) {
        products(query, rows + row, next + row, 1, dimensions, half, with_norms, dots + row, norms + row);
    }
}

static void row_products(const float *query, const float *const *rows, const float *const *next, size_t count,
                         size_t dimensions, bool half, float *dots, float *norms) {
    float unused[1];
    if (half && norms) all_products(query, rows, next, count, dimensions, true, true, dots, norms);
    else if (half) all_products(query, rows, next, count, dimensions, true, false, dots, unused);
    else if (norms) all_products(query, rows, next, count, dimensions, false, true, dots, norms);
    else all_products(query, rows, next, count, dimensions, false, false, dots, unused);
}

static inline unsigned passes16(__m512i dots, __m512 rows, float factor, float cut, bool cosine) {
    __m512 dot = _mm512_cvtepi32_ps(dots);
    return cosine
        ? _mm512_cmp_ps_mask(dot, _mm512_mul_ps(_mm512_set1_ps(cut), rows), _CMP_NLT_UQ)
        : _mm512_cmp_ps_mask(_mm512_mul_ps(_mm512_mul_ps(dot, _mm512_set1_ps(factor)), rows), _mm512_set1_ps(cut),
                             _CMP_NLT_UQ);
}

// Without a query: squared norms.
static inline void float_block_dots(const float *values, size_t dimensions, const float *query, float *dots) {
    __m512 sum[16];
    for (int j = 0; j < 16; j++) sum[j] = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= dimensions; i += 16) {
#pragma clang loop unroll(full)
        for (size_t j = 0; j < 16; j++) {
            __m512 r = _mm512_loadu_ps(values + (i + j) * BLOCK);
            sum[j] = _mm512_fmadd_ps(query ? _mm512_set1_ps(query[i + j]) : r, r, sum[j]);
        }
    }
    if (i < dimensions) {
#pragma clang loop unroll(full)
        for (size_t j = 0; j < 16; j++) {
            bool there = i + j < dimensions;
            __m512 r = there ? _mm512_loadu_ps(values + (i + j) * BLOCK) : _mm512_setzero_ps();
            __m512 q = !there ? r : query ? _mm512_set1_ps(query[i + j]) : r;
            sum[j] = _mm512_fmadd_ps(q, r, sum[j]);
        }
    }
#pragma clang loop unroll(full)
    for (int half = 8; half > 0; half /= 2) {
#pragma clang loop unroll(full)
        for (int j = 0; j < half; j++) sum[j] = _mm512_add_ps(sum[j], sum[j + half]);
    }
    _mm512_storeu_ps(dots, sum[0]);
}

static inline uint64_t spread(uint32_t bits) {
    uint64_t wide = bits;
    wide = (wide | wide << 16) & 0x0000FFFF0000FFFFu;
    wide = (wide | wide << 8) & 0x00FF00FF00FF00FFu;
    wide = (wide | wide << 4) & 0x0F0F0F0F0F0F0F0Fu;
    wide = (wide | wide << 2) & 0x3333333333333333u;
    return (wide | wide << 1) & 0x5555555555555555u;
}

static inline __attribute__((always_inline)) void bit_block_sums(const uint8_t *codes, size_t bytes,
                                                                 const uint8_t *tables, size_t table_bytes, int count,
                                                                 const uint16_t *cuts, uint16_t (*sums)[MRL_BIT_BLOCK],
                                                                 uint64_t *masks) {
    // Two rows share a 16-bit lane: `both` sums low + 256 * high, `odd` the high ones.
    __m512i both[4], odd[4], low = _mm512_set1_epi8(15);
    for (int i = 0; i < count; i++) both[i] = odd[i] = _mm512_setzero_si512();
    for (size_t byte = 0; byte < bytes; byte++) {
        __m512i code = _mm512_loadu_si512(codes + byte * 64);
        __m512i first = _mm512_and_si512(code, low), second = _mm512_and_si512(_mm512_srli_epi16(code, 4), low);
        for (int i = 0; i < count; i++) {
            const __m128i *table = (const __m128i *)(tables + i * table_bytes + byte * 32);
            __m512i sum = _mm512_add_epi8(
                _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table)), first),
                _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table + 1)), second));
            both[i] = _mm512_add_epi16(both[i], sum);
            odd[i] = _mm512_add_epi16(odd[i], _mm512_srli_epi16(sum, 8));
        }
    }
    for (int i = 0; i < count; i++) {
        __m512i even = _mm512_sub_epi16(both[i], _mm512_slli_epi16(odd[i], 8));
        __m512i cut = _mm512_set1_epi16((short)cuts[i]);
        __mmask32 evens = _mm512_cmpge_epu16_mask(even, cut), odds = _mm512_cmpge_epu16_mask(odd[i], cut);
        masks[i] = 0;
        if (__builtin_expect((evens | odds) == 0, 1)) continue;
        masks[i] = spread(evens) | spread(odds) << 1;
        _mm512_storeu_si512(sums[i], even);
        _mm512_storeu_si512(sums[i] + 32, odd[i]);
    }
}
