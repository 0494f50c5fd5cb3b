// The scan loop over blocked rows, included once by each path after its block kernels:
// int8_block_dots, int8_block_norms, int8_block_passes, float_block_dots. A path with INT8_AT_ONCE has int8_query_dots
// for up to so many queries.

static uint32_t count_keys(const uint32_t *keys, uint32_t count, uint32_t least) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) found += keys[i] >= least;
    return found;
}

#ifndef HAS_OWN_SCAN_INT8
#ifndef INT8_AT_ONCE
#define INT8_AT_ONCE 1
static inline void int8_query_dots(const uint8_t *codes, size_t groups, const int8_t *queries, const int32_t *biases,
                                   int count, int32_t (*dots)[BLOCK]) {
    (void)count;
    int8_block_dots(codes, groups, queries, *biases, dots[0]);
}
#endif

static void scan_int8(const mrl_block_rows *rows, const mrl_int8_queries *queries, mrl_selection *selections) {
    size_t groups = (queries->dimensions + 3) / 4, block_bytes = (rows->width + 3) / 4 * 64;
    bool needs_norms = queries->cosine && queries->dimensions != rows->width;
    for (size_t block = first_block(rows->pass); block < rows->block_count; block = next_block(rows->pass, block)) {
        unsigned live = rows->live[block];
        if (live == 0) continue;
        const uint8_t *codes = (const uint8_t *)rows->blocks + block * block_bytes;
        const float *factors = rows->factors + block * BLOCK;
        float roots[BLOCK];
        int32_t dots[INT8_AT_ONCE][BLOCK];
        if (needs_norms) {
            int8_block_norms(codes, groups, last_group_mask(queries->dimensions), dots[0]);
            for (int lane = 0; lane < BLOCK; lane++) roots[lane] = sqrtf((float)dots[0][lane]);
            factors = roots;
        }
        for (size_t first = 0; first < queries->count; first += INT8_AT_ONCE) {
            int count = queries->count - first < INT8_AT_ONCE ? (int)(queries->count - first) : INT8_AT_ONCE;
            int8_query_dots(codes, groups, queries->codes + first * groups * 4, queries->biases + first, count, dots);
            for (int i = 0; i < count; i++) {
                size_t query = first + (size_t)i;
                float factor = queries->factors[query], cut = queries->cuts[query];
                unsigned mask = live & int8_block_passes(dots[i], factors, factor, cut, queries->cosine);
                if (mask == 0) continue;
                queries->cuts[query] =
                    mrl_admit_int8(mask, dots[i], factors, factor, queries->cosine, rows->ids + block * BLOCK,
                                   rows->first_row + (uint32_t)(block * BLOCK), &selections[query]);
            }
        }
    }
}
#endif

static void scan_float(const mrl_block_rows *rows, const mrl_float_queries *queries, mrl_selection *selections) {
    bool needs_norms = queries->cosine && queries->dimensions != rows->width;
    for (size_t block = first_block(rows->pass); block < rows->block_count; block = next_block(rows->pass, block)) {
        unsigned live = rows->live[block];
        if (live == 0) continue;
        const float *values = (const float *)rows->blocks + block * rows->width * BLOCK;
        const float *factors = rows->factors + block * BLOCK;
        float roots[BLOCK], scores[BLOCK];
        if (needs_norms) {
            float_block_dots(values, queries->dimensions, NULL, roots);
            for (int lane = 0; lane < BLOCK; lane++) roots[lane] = sqrtf(roots[lane]);
            factors = roots;
        }
        for (size_t query = 0; query < queries->count; query++) {
            float_block_dots(values, queries->dimensions, queries->values + query * queries->stride, scores);
            float threshold = selections[query].threshold;
            unsigned mask = 0;
            for (unsigned lane = 0; lane < BLOCK; lane++) {
                if (queries->cosine) {
                    float product = queries->roots[query] * factors[lane];
                    bool is_zero = queries->roots[query] == 0 || factors[lane] == 0;
                    scores[lane] = is_zero ? 0 : scores[lane] / product;
                }
                // NaN passes: it still ranks before a row that is not there.
                mask |= (unsigned)!(scores[lane] < threshold) << lane;
            }
            mask &= live;
            if (mask != 0) {
                mrl_admit_scores(mask, scores, rows->ids + block * BLOCK,
                                 rows->first_row + (uint32_t)(block * BLOCK), &selections[query]);
            }
        }
    }
}
