// SIMD kernels of the engines, dispatched at run time; every path gives identical bits.
//
// Conventions, for all functions:
// - `path` is one of MRL_PATH_*; the caller has asked mrl_path_supported.
// - Blocked rows: blocks of 16 rows. int8: [block][width/4][16 rows][4 codes], each byte code + 128, padding 128.
//   float32: [block][width][16 rows], padding 0.
//   bits: blocks of 64 rows, [block][words * 8 bytes][64 rows]; byte i of a row holds bits 8i...8i+7, lowest first.
// - A float dot has 16 lanes: lane j sums elements i = j (mod 16) in ascending order by fused multiply-add from +0,
//   a missing tail counts as 0*0; then lanes are added 16 -> 8 -> 4 -> 2 -> 1, j with j + half.
#pragma once
#include "graph.h"
#include "linear.h"
#include "transformer.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MRL_PATH_PORTABLE = 0,
    MRL_PATH_AVX2 = 1,
    MRL_PATH_AVX512 = 2,
    MRL_PATH_AVX512VNNI = 3,
    MRL_PATH_AMX = 4,
    MRL_PATH_AVXVNNI = 5,
    MRL_PATH_NEON = 6,
};

bool mrl_path_supported(int path);

// One row in the running. Order: key descending, then id ascending.
typedef struct {
    int64_t id;
    uint32_t key; // ordered image of the score, see mrl_score_key
    uint32_t row; // whatever the scan's first_row + position means to the caller
} mrl_candidate;

// The best `keep` rows of one query so far, exactly.
typedef struct {
    mrl_candidate *items;
    uint32_t count;
    uint32_t capacity; // more than keep
    uint32_t keep;     // 1 or more
    uint32_t threshold_key;
    int64_t threshold_id;
    float threshold; // a lower score cannot be among the best
    int path;
} mrl_selection;

// A scan in two passes: a sample of every table first, so that the thresholds are near their end before most rows come.
// Every sixteenth run of four blocks; a processor that reads ahead loses its way when single blocks are left out.
enum { MRL_BLOCKS_ALL = 0, MRL_BLOCKS_SAMPLE = 1, MRL_BLOCKS_REST = 2, MRL_SAMPLE_STEP = 16, MRL_SAMPLE_RUN = 4 };

void mrl_selection_init(int path, mrl_selection *selection, mrl_candidate *items, uint32_t capacity, uint32_t keep);
// Keeps the best `rank` of what came so far, fewer than `keep`: a guess at the final threshold. Where a scan ends with
// fewer than `keep` rows after it, the guess was wrong and the scan must be done again without.
void mrl_selection_speculate(mrl_selection *selection, uint32_t rank);
// Leaves the best min(keep, count) in order; scratch has room for `capacity`.
void mrl_selection_finish(mrl_selection *selection, mrl_candidate *scratch);
// Offers some rows with their scores.
void mrl_selection_offer(mrl_selection *selection, const float *scores, const int64_t *ids, const uint32_t *rows,
                         size_t count);
// Unsigned order = order of scores; NaN is 0, below all; -0 and +0 are one.
uint32_t mrl_score_key(float score);
float mrl_key_score(uint32_t key);

// Codes and scale of a vector; returns the scale.
float mrl_quantise(const float *vector, size_t width, int8_t *codes);
int32_t mrl_int8_dot(const int8_t *left, const int8_t *right, size_t count);
void mrl_pack_int8(uint8_t *blocks, size_t width, size_t row, const int8_t *codes);
void mrl_unpack_int8(const uint8_t *blocks, size_t width, size_t row, int8_t *codes);
void mrl_pack_float(float *blocks, size_t width, size_t row, const float *values);
void mrl_unpack_float(const float *blocks, size_t width, size_t row, float *values);
// Row i of `to` = row order[i] of `from`; a row is `words` times four bytes.
void mrl_gather_blocks(const void *from, void *to, size_t words, const uint32_t *order, size_t count);
// Writes row `from` over row `to`.
void mrl_copy_row(void *blocks, size_t words, size_t from, size_t to);
// Two stretches of memory that do not overlap change places.
void mrl_swap(void *left, void *right, size_t bytes);
// The exact scores, from what the kernels sum up.
float mrl_int8_score(int32_t dot, float query_factor, float row_factor, bool cosine);
float mrl_float_score(float dot, float query_root, float row_root, bool cosine);

typedef struct {
    const void *blocks;
    const float *factors; // by row: square root of the squared norm at full width (cosine), scale (dot)
    const int64_t *ids;
    const uint16_t *live; // by block: bit = row is there
    size_t block_count;
    size_t width;
    uint32_t first_row; // added to a position to make a candidate's row
    int pass;           // MRL_BLOCKS_*
} mrl_block_rows;

typedef struct {
    const int8_t *codes;    // [count][groups * 4], 0 from `dimensions` on
    const float *factors;   // square root of the squared norm of the prefix (cosine), scale (dot)
    const int32_t *biases;  // -128 * sum of the codes
    float *cuts;            // scratch, count
    size_t count;
    size_t dimensions;
    bool cosine;
} mrl_int8_queries;

void mrl_scan_int8(int path, const mrl_block_rows *rows, const mrl_int8_queries *queries, mrl_selection *selections);

// One row of a block.
typedef struct {
    const uint8_t *codes; // of the block
    float factor;         // as in mrl_block_rows
    uint32_t lane;
} mrl_block_row;

// Scores rows that lie anywhere with query number `query`.
void mrl_score_block_rows(int path, const mrl_block_row *rows, size_t count, size_t width,
                          const mrl_int8_queries *queries, size_t query, float *scores);

// The memory at an address is about to be read.
static inline void mrl_prefetch(const void *address) { __builtin_prefetch(address); }

// Rotates each 64 of the first `width` floats by 3 rounds of seeded sign flips and a Walsh-Hadamard transform;
// `rotated` has room for whole words of 64.
void mrl_rotate(const float *vector, size_t width, uint64_t seed, float *rotated);
// One bit per rotated float: it is not negative.
void mrl_sign_bits(const float *rotated, size_t words, uint64_t *bits);
// A query's rotated floats as -15...15.
void mrl_bit_codes(const float *rotated, size_t words, int8_t *codes);
// For each four codes, 60 + their sum under all 16 signs: [words * 16][16].
void mrl_bit_tables(const int8_t *codes, size_t words, uint8_t *tables);
// The sum of the codes, each with the sign of its bit.
int32_t mrl_bit_dot(const int8_t *codes, const uint64_t *bits, size_t words);
float mrl_bit_score(int32_t dot, float row_root, bool cosine);
void mrl_pack_bits(uint8_t *blocks, size_t words, size_t row, const uint64_t *bits);
void mrl_unpack_bits(const uint8_t *blocks, size_t words, size_t row, uint64_t *bits);

enum { MRL_BIT_BLOCK = 64, MRL_BIT_WORDS_MAX = 32 };

typedef struct {
    const uint8_t *blocks; // whole blocks of 64
    const float *roots;    // by row, used under dot: square root of the squared norm of the stored head
    const int64_t *ids;
    const uint16_t *live; // by 16 rows
    size_t row_count;
    size_t words; // of a row
    uint32_t first_row;
    int pass; // MRL_BLOCKS_*, over blocks of 64
} mrl_bit_rows;

typedef struct {
    const uint8_t *tables; // [count][words * 16][16], see mrl_bit_tables
    uint16_t *cuts;        // scratch, count
    size_t count;
    size_t words; // that the stage reads, at most those of a row
    bool cosine;
} mrl_bit_queries;

void mrl_scan_bits(int path, const mrl_bit_rows *rows, const mrl_bit_queries *queries, mrl_selection *selections);

typedef struct {
    const float *values; // [count][stride]
    const float *roots;  // square root of the squared norm of the prefix; unused under dot
    size_t stride;
    size_t count;
    size_t dimensions;
    bool cosine;
} mrl_float_queries;

void mrl_scan_float(int path, const mrl_block_rows *rows, const mrl_float_queries *queries, mrl_selection *selections);

// Blocks that follow each other.
typedef struct {
    uint32_t block, count;
} mrl_stretch;

// An inverted list and the queries that look into it: those stretches and askers that the visits before it leave.
typedef struct {
    uint32_t stretches_end, askers_end;
} mrl_list_visit;

// Scans lists in turn, each for its askers alone, which are numbers of queries in ascending order. One of `codes` and
// `floats` is given.
void mrl_scan_lists(int path, const mrl_block_rows *rows, const mrl_stretch *stretches, const mrl_list_visit *visits,
                    size_t count, const uint32_t *askers, const mrl_int8_queries *codes,
                    const mrl_float_queries *floats, mrl_selection *selections);

float mrl_float_dot(int path, const float *left, const float *right, size_t count);
// Scores rows given by their addresses. half: rows are rounded to binary16 first.
void mrl_score_rows(int path, const float *query, float query_root, const float *const *rows, size_t count,
                    size_t dimensions, bool half, bool cosine, float *scores);

// Row-major rows, `stride` floats apart.
typedef struct {
    const float *values;
    size_t stride;
    const int64_t *ids;
    const uint16_t *live;
    size_t row_count;
    uint32_t first_row;
    int pass;
} mrl_vector_rows;

void mrl_scan_vectors(int path, const mrl_vector_rows *rows, bool half, const mrl_float_queries *queries,
                      mrl_selection *selections);

// What a row's partial sum may still come to: sum + query_rest * rests[row] + errors[row] + slack, times its size.
typedef struct {
    const float *rests;  // by row: norm of what the partial sum leaves out
    const float *errors; // by row: norm of what its codes leave out
    const float *sizes;  // by row, or null: 1
    float query_rest;
    float slack;
    float threshold; // rows that cannot come to it are dropped
} mrl_bounds;

// Partial sums of all rows of the blocks that have lanes: dot * query_scale * scale of the row. Blocked rows.
void mrl_bound_dots(int path, const uint8_t *blocks, size_t width, size_t block_count, const uint16_t *lanes,
                    const float *scales, const int8_t *query, float query_scale, float *partials);
// Which rows of the lanes may come to the threshold, with their partial sums; `rows` and `partials` have room for one
// more than there are. Returns their number.
size_t mrl_bound_select(const mrl_bounds *bounds, const uint16_t *lanes, size_t block_count, const float *all,
                        uint32_t *rows, float *partials);
// Adds the products of `width` more codes, a multiple of 32, to the rows listed, row-major, and leaves those that may
// come to the threshold. Returns their number.
size_t mrl_bound_refine(int path, const mrl_bounds *bounds, const int8_t *codes, size_t width, const float *scales,
                        const int8_t *query, float query_scale, uint32_t *rows, float *partials, size_t count);
