// What the two paths of 256 bits share; included inside their target attribute.

typedef struct {
    __m256 low, high;
} lanes16;

static inline float reduce(lanes16 lanes) {
    __m256 eight = _mm256_add_ps(lanes.low, lanes.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline __m256i tail_mask(size_t left) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline lanes16 load(const float *from, size_t left) {
    if (left >= 16) return (lanes16){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
    return (lanes16){
        _mm256_maskload_ps(from, tail_mask(left)),
        left > 8 ? _mm256_maskload_ps(from + 8, tail_mask(left - 8)) : _mm256_setzero_ps(),
    };
}

static inline __m256 to_half(__m256 values) {
    return _mm256_cvtph_ps(_mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline lanes16 accumulate(lanes16 left, lanes16 right, lanes16 sum) {
    return (lanes16){
        _mm256_fmadd_ps(left.low, right.low, sum.low),
        _mm256_fmadd_ps(left.high, right.high, sum.high),
    };
}

static float float_dot(const float *left, const float *right, size_t count) {
    lanes16 sum = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = 0; i < count; i += 16) sum = accumulate(load(left + i, count - i), load(right + i, count - i), sum);
    return reduce(sum);
}

static inline __attribute__((always_inline)) void products(const float *query, const float *const *rows,
                                                           const float *const *next, int count, size_t dimensions,
                                                           bool half, bool with_norms, float *dots, float *norms) {
    lanes16 dot[2], norm[2];
    for (int k = 0; k < count; k++) {
        dot[k] = norm[k] = (lanes16){_mm256_setzero_ps(), _mm256_setzero_ps()};
    }
    for (size_t i = 0; i < dimensions; i += 16) {
        lanes16 q = load(query + i, dimensions - i);
        for (int k = 0; k < count; k++) {
            lanes16 r = load(rows[k] + i, dimensions - i);
            __builtin_prefetch(next[k] + i);
            if (half) r = (lanes16){to_half(r.low), to_half(r.high)};
            dot[k] = accumulate(q, r, dot[k]);
            if (with_norms) norm[k] = accumulate(r, r, norm[k]);
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
    for (; row + 2 <= count; row += 2) {
        products(query, rows + row, next + row, 2, dimensions, half, with_norms, dots + row, norms + row);
    }
    if (row < count) products(query, rows + row, next + row, 1, dimensions, half, with_norms, dots + row, norms + row);
}

static void row_products(const float *query, const float *const *rows, const float *const *next, size_t count,
                         size_t dimensions, bool half, float *dots, float *norms) {
    float unused[1];
    if (half && norms) all_products(query, rows, next, count, dimensions, true, true, dots, norms);
    else if (half) all_products(query, rows, next, count, dimensions, true, false, dots, unused);
    else if (norms) all_products(query, rows, next, count, dimensions, false, true, dots, norms);
    else all_products(query, rows, next, count, dimensions, false, false, dots, unused);
}

static inline unsigned int8_block_passes(const int32_t *dots, const float *factors, float factor, float cut,
                                         bool cosine) {
    unsigned mask = 0;
    for (int side = 0; side < 2; side++) {
        __m256 dot = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(dots + side * 8)));
        __m256 rows = _mm256_loadu_ps(factors + side * 8);
        __m256 passes = cosine
            ? _mm256_cmp_ps(dot, _mm256_mul_ps(_mm256_set1_ps(cut), rows), _CMP_NLT_UQ)
            : _mm256_cmp_ps(_mm256_mul_ps(_mm256_mul_ps(dot, _mm256_set1_ps(factor)), rows), _mm256_set1_ps(cut),
                            _CMP_NLT_UQ);
        mask |= (unsigned)_mm256_movemask_ps(passes) << (side * 8);
    }
    return mask;
}

// Without a query: squared norms.
static inline void float_block_dots(const float *values, size_t dimensions, const float *query, float *dots) {
    for (int side = 0; side < 2; side++) {
        const float *from = values + side * 8;
        __m256 sum[16];
        for (int j = 0; j < 16; j++) sum[j] = _mm256_setzero_ps();
        size_t i = 0;
        for (; i + 16 <= dimensions; i += 16) {
            for (size_t j = 0; j < 16; j++) {
                __m256 r = _mm256_loadu_ps(from + (i + j) * BLOCK);
                sum[j] = _mm256_fmadd_ps(query ? _mm256_broadcast_ss(query + i + j) : r, r, sum[j]);
            }
        }
        for (size_t j = 0; i < dimensions && j < 16; j++) {
            __m256 r = i + j < dimensions ? _mm256_loadu_ps(from + (i + j) * BLOCK) : _mm256_setzero_ps();
            __m256 q = i + j >= dimensions ? r : query ? _mm256_broadcast_ss(query + i + j) : r;
            sum[j] = _mm256_fmadd_ps(q, r, sum[j]);
        }
        for (int half = 8; half > 0; half /= 2) {
            for (int j = 0; j < half; j++) sum[j] = _mm256_add_ps(sum[j], sum[j + half]);
        }
        _mm256_storeu_ps(dots + side * 8, sum[0]);
    }
}

static inline uint32_t spread(uint32_t bits) {
    bits = (bits | bits << 8) & 0x00FF00FFu;
    bits = (bits | bits << 4) & 0x0F0F0F0Fu;
    bits = (bits | bits << 2) & 0x33333333u;
    return (bits | bits << 1) & 0x55555555u;
}

static inline uint32_t reaching(__m256i sums, __m256i cut) {
    __m256i reaches = _mm256_cmpeq_epi16(_mm256_max_epu16(sums, cut), sums);
    reaches = _mm256_permute4x64_epi64(_mm256_packs_epi16(reaches, _mm256_setzero_si256()), 0xD8);
    return (uint32_t)_mm256_movemask_epi8(reaches);
}

static inline __attribute__((always_inline)) void bit_block_sums(const uint8_t *codes, size_t bytes,
                                                                 const uint8_t *tables, size_t table_bytes, int count,
                                                                 const uint16_t *cuts, uint16_t (*sums)[MRL_BIT_BLOCK],
                                                                 uint64_t *masks) {
    __m256i low = _mm256_set1_epi8(15);
    for (int i = 0; i < count; i++) masks[i] = 0;
    for (int side = 0; side < 2; side++) {
        // Two rows share a 16-bit lane: `both` sums low + 256 * high, `odd` the high ones.
        __m256i both[4], odd[4];
        for (int i = 0; i < count; i++) both[i] = odd[i] = _mm256_setzero_si256();
        for (size_t byte = 0; byte < bytes; byte++) {
            __m256i code = _mm256_loadu_si256((const __m256i *)(codes + byte * 64 + side * 32));
            __m256i first = _mm256_and_si256(code, low), second = _mm256_and_si256(_mm256_srli_epi16(code, 4), low);
            for (int i = 0; i < count; i++) {
                const __m128i *table = (const __m128i *)(tables + i * table_bytes + byte * 32);
                __m256i sum = _mm256_add_epi8(
                    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table)), first),
                    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table + 1)), second));
                both[i] = _mm256_add_epi16(both[i], sum);
                odd[i] = _mm256_add_epi16(odd[i], _mm256_srli_epi16(sum, 8));
            }
        }
        for (int i = 0; i < count; i++) {
            __m256i even = _mm256_sub_epi16(both[i], _mm256_slli_epi16(odd[i], 8));
            __m256i cut = _mm256_set1_epi16((short)cuts[i]);
            // A pack leaves the bits of each 128-bit half in its low 8 bytes; they come together in order.
            uint32_t mask = spread(reaching(even, cut) & 0xFFFF) | spread(reaching(odd[i], cut) & 0xFFFF) << 1;
            masks[i] |= (uint64_t)mask << (side * 32);
            _mm256_storeu_si256((__m256i *)(sums[i] + side * 16), even);
            _mm256_storeu_si256((__m256i *)(sums[i] + 32 + side * 16), odd[i]);
        }
    }
}
