// int8 kernels of the two paths that have VNNI; included inside their target attribute, after avx512_common.h.

static inline __m512i query_group(const int8_t *query, size_t group) {
    int32_t four;
    memcpy(&four, query + group * 4, 4);
    return _mm512_set1_epi32(four);
}

static inline __m512i int8_block_norms(const uint8_t *codes, size_t groups, uint32_t last_mask) {
    __m512i flip = _mm512_set1_epi8((char)0x80), sum = _mm512_setzero_si512();
    for (size_t group = 0; group < groups; group++) {
        __m512i mask = _mm512_set1_epi32(group == groups - 1 ? (int32_t)last_mask : -1);
        __m512i x = _mm512_xor_si512(_mm512_loadu_si512(codes + group * 64), flip);
        x = _mm512_abs_epi8(_mm512_and_si512(x, mask));
        sum = _mm512_dpbusd_epi32(sum, x, x);
    }
    return sum;
}

static void int8_block_dots(const uint8_t *codes, size_t groups, const int8_t *query, int32_t bias, int32_t *dots) {
    // Two sums: each instruction waits for the one before it otherwise.
    __m512i even = _mm512_set1_epi32(bias), odd = _mm512_setzero_si512();
    size_t group = 0;
    for (; group + 2 <= groups; group += 2) {
        even = _mm512_dpbusd_epi32(even, _mm512_loadu_si512(codes + group * 64), query_group(query, group));
        odd = _mm512_dpbusd_epi32(odd, _mm512_loadu_si512(codes + group * 64 + 64), query_group(query, group + 1));
    }
    if (group < groups) {
        even = _mm512_dpbusd_epi32(even, _mm512_loadu_si512(codes + group * 64), query_group(query, group));
    }
    _mm512_storeu_si512(dots, _mm512_add_epi32(even, odd));
}

// Dots of one block with `count` queries, and which rows may pass. Rows are unsigned (code + 128); the bias takes
// 128 * sum(query) off again. Each load of a row serves all the queries.
static inline __attribute__((always_inline)) void scan_queries(
    const mrl_block_rows *rows, const mrl_int8_queries *queries, mrl_selection *selections, size_t first, int count,
    size_t block, const uint8_t *codes, size_t groups, const float *factors, unsigned live, bool cosine) {
    __m512i sums[8];
    const int8_t *query = queries->codes + first * groups * 4;
    for (int i = 0; i < count; i++) sums[i] = _mm512_set1_epi32(queries->biases[first + i]);
    for (size_t group = 0; group < groups; group++) {
        __m512i row = _mm512_loadu_si512(codes + group * 64);
        for (int i = 0; i < count; i++) {
            sums[i] = _mm512_dpbusd_epi32(sums[i], row, query_group(query + i * groups * 4, group));
        }
    }
    __m512 row_factors = _mm512_loadu_ps(factors);
    for (int i = 0; i < count; i++) {
        size_t at = first + i;
        unsigned mask = live & passes16(sums[i], row_factors, queries->factors[at], queries->cuts[at], cosine);
        if (__builtin_expect(mask == 0, 1)) continue;
        int32_t dots[BLOCK];
        _mm512_storeu_si512(dots, sums[i]);
        queries->cuts[at] = mrl_admit_int8(mask, dots, factors, queries->factors[at], cosine,
                                           rows->ids + block * BLOCK, rows->first_row + (uint32_t)(block * BLOCK),
                                           &selections[at]);
    }
}

#define FETCH_AHEAD 12288  // bytes

static inline __attribute__((always_inline)) void scan_int8_as(const mrl_block_rows *rows,
                                                               const mrl_int8_queries *queries,
                                                               mrl_selection *selections, bool cosine) {
    size_t groups = (queries->dimensions + 3) / 4, block_bytes = (rows->width + 3) / 4 * 64;
    bool needs_norms = cosine && queries->dimensions != rows->width;
    // An Intel processor fetches ahead by itself, but not across pages, and a page has few blocks; an AMD one does
    // better when it is left alone.
    size_t ahead = mrl_fetches_ahead() ? blocks_ahead(rows->pass, FETCH_AHEAD / block_bytes + 1) : rows->block_count;
    for (size_t block = first_block(rows->pass); block < rows->block_count; block = next_block(rows->pass, block)) {
        unsigned live = rows->live[block];
        if (live == 0) continue;
        const uint8_t *codes = (const uint8_t *)rows->blocks + block * block_bytes;
        const float *factors = rows->factors + block * BLOCK;
        float roots[BLOCK];
        if (needs_norms) {
            __m512i norms = int8_block_norms(codes, groups, last_group_mask(queries->dimensions));
            _mm512_storeu_ps(roots, _mm512_sqrt_ps(_mm512_cvtepi32_ps(norms)));
            factors = roots;
        }
        if (block + ahead < rows->block_count) {
            const char *later = (const char *)codes + ahead * block_bytes;
            for (size_t group = 0; group < groups; group++) _mm_prefetch(later + group * 64, _MM_HINT_T0);
        }
        size_t query = 0;
        for (; query + 8 <= queries->count; query += 8) {
            scan_queries(rows, queries, selections, query, 8, block, codes, groups, factors, live, cosine);
        }
        for (; query < queries->count; query++) {
            scan_queries(rows, queries, selections, query, 1, block, codes, groups, factors, live, cosine);
        }
    }
}
