// Compares every kernel path of this processor with the portable one, over random and extreme rows, at all dimensions.
// Swift's tests do the same where they run; this program has no Swift in it, so that an emulator of another processor
// can run it: see deploy/check-arm.
#include "CVectorKernels.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH_MAX = 300, ROWS_MAX = 96, QUERIES = 11, KEEP = 20 };

static uint64_t state = 1;
static unsigned long long checks, failures;

static uint64_t next(void) {
    state += 0x9E3779B97F4A7C15u;
    uint64_t z = state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static float number(void) { return (float)((int)(next() % 20001) - 10000) / 8192; }

static void check(const char *what, int path, size_t dimensions, const void *got, const void *expected, size_t bytes) {
    checks++;
    if (memcmp(got, expected, bytes) == 0) return;
    failures++;
    if (failures < 20) printf("path %d: %s differs at %zu dimensions\n", path, what, dimensions);
}

static void fill(float *vector, size_t width, size_t row) {
    for (size_t i = 0; i < width; i++) {
        switch (row % 8) {
        case 0: vector[i] = 1; break;
        case 1: vector[i] = -1; break;
        case 2: vector[i] = i % 2 == 0 ? 1 : -1; break;
        case 3: vector[i] = 0; break;
        case 4: vector[i] = i == width - 1 ? 1 : 1e-6f; break;
        default: vector[i] = number();
        }
    }
}

typedef struct {
    size_t width, count, blocks, stride;
    float *vectors;
    uint8_t *codes;  // blocked
    int8_t *rows;    // row-major, `stride` apart
    float *floats;   // blocked
    uint8_t *bits;   // blocked, in blocks of 64
    float factors[ROWS_MAX], scales[ROWS_MAX], roots[ROWS_MAX];
    int64_t ids[ROWS_MAX];
    uint16_t live[ROWS_MAX / 16];
} table;

static void *zeroed(size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (memory == NULL) abort();
    return memset(memory, 0, (bytes + 127) / 64 * 64);
}

static table make_table(size_t width, bool cosine) {
    table t = {.width = width, .count = 1 + next() % ROWS_MAX, .stride = (width + 31) / 32 * 32};
    t.blocks = (t.count + 15) / 16;
    t.vectors = zeroed(t.count * width * 4);
    t.codes = zeroed(ROWS_MAX * (width + 3));
    memset(t.codes, 128, ROWS_MAX * (width + 3));
    t.rows = zeroed(t.count * t.stride + 64);
    t.floats = zeroed(ROWS_MAX * width * 4);
    size_t words = (width + 63) / 64;
    t.bits = zeroed(128 * words * 8);
    for (size_t row = 0; row < t.count; row++) {
        float *vector = t.vectors + row * width, rotated[WIDTH_MAX + 64];
        uint64_t signs[WIDTH_MAX / 64 + 1];
        int8_t *codes = t.rows + row * t.stride;
        fill(vector, width, row);
        t.scales[row] = mrl_quantise(vector, width, codes);
        mrl_pack_int8(t.codes, width, row, codes);
        mrl_pack_float(t.floats, width, row, vector);
        t.factors[row] = cosine ? sqrtf((float)mrl_int8_dot(codes, codes, width)) : t.scales[row];
        t.roots[row] = sqrtf(mrl_float_dot(MRL_PATH_PORTABLE, vector, vector, width));
        mrl_rotate(vector, width, 7, rotated);
        mrl_sign_bits(rotated, words, signs);
        mrl_pack_bits(t.bits, words, row, signs);
        t.ids[row] = (int64_t)(row * 3);
        if (next() % 16 != 0) t.live[row / 16] |= (uint16_t)(1u << row % 16);
    }
    return t;
}

static void free_table(table *t) {
    free(t->vectors);
    free(t->codes);
    free(t->rows);
    free(t->floats);
    free(t->bits);
}

typedef struct {
    mrl_candidate items[QUERIES][KEEP];
    uint32_t counts[QUERIES];
} result;

static mrl_candidate candidates[QUERIES][2 * KEEP + 64];

static void begin(int path, mrl_selection *selections) {
    for (size_t i = 0; i < QUERIES; i++) {
        mrl_selection_init(path, &selections[i], candidates[i], 2 * KEEP + 64, KEEP);
    }
}

static void end(mrl_selection *selections, result *out) {
    mrl_candidate scratch[2 * KEEP + 64];
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < QUERIES; i++) {
        mrl_selection_finish(&selections[i], scratch);
        out->counts[i] = selections[i].count;
        memcpy(out->items[i], selections[i].items, selections[i].count * sizeof(mrl_candidate));
    }
}

typedef struct {
    result int8, floats, bits, vectors, halves;
    float code_scores[ROWS_MAX], row_scores[ROWS_MAX], half_scores[ROWS_MAX], dot, bound_dots[ROWS_MAX];
    uint32_t refined_rows[ROWS_MAX + 1];
    float refined[ROWS_MAX + 1];
    size_t refined_count;
} results;

static void run(int path, const table *t, const float *queries, size_t dimensions, bool cosine, results *out) {
    mrl_selection selections[QUERIES];
    memset(out, 0, sizeof *out);
    size_t groups = (dimensions + 3) / 4, words = (dimensions + 63) / 64;
    int8_t *codes = zeroed(QUERIES * groups * 4), *whole = zeroed(WIDTH_MAX + 64), bit_codes[WIDTH_MAX + 64];
    uint8_t *tables = zeroed(QUERIES * words * 256);
    float factors[QUERIES], roots[QUERIES], cuts[QUERIES], rotated[WIDTH_MAX + 64], scale = 0;
    int32_t biases[QUERIES];
    uint16_t bit_cuts[QUERIES];
    for (size_t q = QUERIES; q-- > 0;) {
        const float *query = queries + q * t->width;
        memset(whole, 0, WIDTH_MAX + 64);
        scale = mrl_quantise(query, t->width, whole);
        memcpy(codes + q * groups * 4, whole, dimensions);
        factors[q] = cosine ? sqrtf((float)mrl_int8_dot(whole, whole, dimensions)) : scale;
        biases[q] = 0;
        for (size_t i = 0; i < dimensions; i++) biases[q] -= 128 * whole[i];
        roots[q] = sqrtf(mrl_float_dot(path, query, query, dimensions));
        mrl_rotate(query, t->width, 7, rotated);
        mrl_bit_codes(rotated, words, bit_codes);
        mrl_bit_tables(bit_codes, words, tables + q * words * 256);
    }
    mrl_block_rows blocks = {t->codes, t->factors, t->ids, t->live, t->blocks, t->width, 5, MRL_BLOCKS_ALL};
    mrl_int8_queries int8 = {codes, factors, biases, cuts, QUERIES, dimensions, cosine};
    begin(path, selections);
    mrl_scan_int8(path, &blocks, &int8, selections);
    end(selections, &out->int8);

    blocks.blocks = t->floats;
    blocks.factors = t->roots;
    mrl_float_queries floats = {queries, roots, t->width, QUERIES, dimensions, cosine};
    begin(path, selections);
    mrl_scan_float(path, &blocks, &floats, selections);
    end(selections, &out->floats);

    mrl_bit_rows bits = {t->bits, t->roots, t->ids, t->live, t->count, (t->width + 63) / 64, 5, MRL_BLOCKS_ALL};
    mrl_bit_queries bit_queries = {tables, bit_cuts, QUERIES, words, cosine};
    begin(path, selections);
    mrl_scan_bits(path, &bits, &bit_queries, selections);
    end(selections, &out->bits);

    mrl_vector_rows vectors = {t->vectors, t->width, t->ids, t->live, t->count, 5, MRL_BLOCKS_ALL};
    for (int half = 0; half < 2; half++) {
        begin(path, selections);
        mrl_scan_vectors(path, &vectors, half, &floats, selections);
        end(selections, half ? &out->halves : &out->vectors);
    }

    const float *addresses[ROWS_MAX];
    const int8_t *code_rows[ROWS_MAX];
    for (size_t row = 0; row < t->count; row++) {
        addresses[row] = t->vectors + row * t->width;
        code_rows[row] = t->rows + row * t->stride;
    }
    mrl_score_rows(path, queries, roots[0], addresses, t->count, dimensions, false, cosine, out->row_scores);
    mrl_score_rows(path, queries, roots[0], addresses, t->count, dimensions, true, cosine, out->half_scores);
    mrl_score_codes(path, whole, factors[0], code_rows, t->count, dimensions, cosine ? NULL : t->scales,
                    out->code_scores);
    out->dot = mrl_float_dot(path, queries, t->vectors, dimensions);

    if (dimensions == t->width) {
        mrl_bound_dots(path, t->codes, t->width, t->blocks, t->live, t->scales, codes, scale, out->bound_dots);
        mrl_bounds bounds = {t->roots, t->scales, NULL, 0.01f, 0, 0.1f};
        out->refined_count = mrl_bound_select(&bounds, t->live, t->blocks, out->bound_dots, out->refined_rows,
                                              out->refined);
        out->refined_count = mrl_bound_refine(path, &bounds, t->rows, t->stride, t->scales, whole, scale,
                                              out->refined_rows, out->refined, out->refined_count);
        for (size_t row = 0; row < t->blocks * 16; row++) {
            if ((t->live[row / 16] >> row % 16 & 1) == 0) out->bound_dots[row] = 0;
        }
        // Behind what is kept lies what was dropped.
        memset(out->refined_rows + out->refined_count, 0, (ROWS_MAX + 1 - out->refined_count) * 4);
        memset(out->refined + out->refined_count, 0, (ROWS_MAX + 1 - out->refined_count) * 4);
    }
    free(codes);
    free(whole);
    free(tables);
}

int main(void) {
    int paths = 0;
    static results expected, got;
    for (int path = MRL_PATH_PORTABLE + 1; path <= MRL_PATH_NEON; path++) {
        if (!mrl_path_supported(path)) continue;
        paths++;
        state = 1;
        unsigned long long before = checks;
        for (size_t dimensions = 1; dimensions <= 257; dimensions++) {
            size_t width = dimensions + (dimensions % 3 == 0 ? 0 : dimensions % 9);
            bool cosine = next() % 2 == 0;
            table t = make_table(width, cosine);
            float *queries = zeroed(QUERIES * width * 4);
            for (size_t q = 0; q < QUERIES; q++) fill(queries + q * width, width, q);
            run(MRL_PATH_PORTABLE, &t, queries, dimensions, cosine, &expected);
            run(path, &t, queries, dimensions, cosine, &got);
#define SAME(part) check(#part, path, dimensions, &got.part, &expected.part, sizeof got.part)
            SAME(int8);
            SAME(floats);
            SAME(bits);
            SAME(vectors);
            SAME(halves);
            SAME(row_scores);
            SAME(half_scores);
            SAME(code_scores);
            SAME(dot);
            SAME(bound_dots);
            SAME(refined_rows);
            SAME(refined);
            SAME(refined_count);
            free(queries);
            free_table(&t);
        }
        printf("path %d: %llu results compared with the portable path's\n", path, checks - before);
    }
    printf("%d paths, %llu differ\n", paths, failures);
    return failures != 0 || paths == 0;
}
