#pragma once
#include "CVectorKernels.h"
#include <math.h>
#include <string.h>

enum { BLOCK = 16 };

typedef struct {
    void (*scan_int8)(const mrl_block_rows *, const mrl_int8_queries *, mrl_selection *);
    void (*scan_bits)(const mrl_bit_rows *, const mrl_bit_queries *, mrl_selection *);
    // Dots of one block of 16 rows; bias: -128 * sum of the query's codes.
    void (*block_dots)(const uint8_t *codes, size_t groups, const int8_t *query, int32_t bias, int32_t *dots);
    void (*scan_float)(const mrl_block_rows *, const mrl_float_queries *, mrl_selection *);
    float (*float_dot)(const float *, const float *, size_t);
    // Dots with the query and, unless null, squared norms of `count` rows. `next` as many that are on their way meanwhile.
    void (*row_products)(const float *query, const float *const *rows, const float *const *next, size_t count,
                         size_t dimensions, bool half, float *dots, float *norms);
    // How many keys are not below `least`.
    uint32_t (*count_keys)(const uint32_t *keys, uint32_t count, uint32_t least);
} mrl_kernels;

const mrl_kernels *mrl_kernels_of(int path);

extern const mrl_kernels mrl_kernels_portable;
#if defined(__x86_64__)
extern const mrl_kernels mrl_kernels_avx2, mrl_kernels_avxvnni, mrl_kernels_avx512, mrl_kernels_avx512vnni,
    mrl_kernels_amx;
#elif defined(__aarch64__)
extern const mrl_kernels mrl_kernels_neon;
#endif

// Memory that is read in order is to be asked for before.
bool mrl_fetches_ahead(void);

void mrl_selection_trim(mrl_selection *selection);

static inline uint32_t score_key(float score) {
    if (score != score) return 0;
    score += 0.0f;
    uint32_t bits;
    memcpy(&bits, &score, 4);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static inline float int8_score(int32_t dot, float query_factor, float row_factor, bool cosine) {
    if (!cosine) return ((float)dot * query_factor) * row_factor;
    return query_factor == 0 || row_factor == 0 ? 0 : (float)dot / (query_factor * row_factor);
}

static inline float bit_score(int32_t dot, float row_root, bool cosine) {
    return cosine ? (float)dot : (float)dot * row_root;
}

// What the tables add to the sum of one word's codes.
enum { BIT_BIAS = 16 * 60 };

static inline size_t first_block(int pass) { return pass == MRL_BLOCKS_REST ? MRL_SAMPLE_RUN : 0; }

static inline size_t next_block(int pass, size_t block) {
    block++;
    if (pass == MRL_BLOCKS_SAMPLE && block % MRL_SAMPLE_RUN == 0) block += MRL_SAMPLE_RUN * (MRL_SAMPLE_STEP - 1);
    if (pass == MRL_BLOCKS_REST && block % (MRL_SAMPLE_RUN * MRL_SAMPLE_STEP) == 0) block += MRL_SAMPLE_RUN;
    return block;
}

// Blocks from one to that which comes `count` blocks later in its pass, or about so.
static inline size_t blocks_ahead(int pass, size_t count) {
    return pass == MRL_BLOCKS_SAMPLE ? (count + MRL_SAMPLE_RUN - 1) / MRL_SAMPLE_RUN * MRL_SAMPLE_RUN * MRL_SAMPLE_STEP
                                     : count;
}

static inline void selection_push(mrl_selection *selection, float score, int64_t id, uint32_t row) {
    uint32_t key = score_key(score);
    if (key < selection->threshold_key || (key == selection->threshold_key && id > selection->threshold_id)) return;
    selection->items[selection->count++] = (mrl_candidate){id, key, row};
    if (selection->count == selection->capacity) mrl_selection_trim(selection);
}

// A cut that no score rounded up to `threshold` falls below: int8 dots and norms are far from underflow, so a few
// units in the last place of slack suffice. It only saves divisions; admission uses the exact score.
static inline float int8_cut(float threshold, float query_factor, bool cosine) {
    return cosine ? (threshold - fabsf(threshold) * 0x1p-20f) * query_factor : threshold;
}

// Scores the rows of `mask` exactly and offers them. Returns the new cut.
float mrl_admit_int8(unsigned mask, const int32_t *dots, const float *factors, float query_factor, bool cosine,
                     const int64_t *ids, uint32_t first_row, mrl_selection *selection);
// Sums lie by parity: even rows of the block, then odd ones. Returns the new cut.
uint16_t mrl_admit_bits(uint64_t mask, const uint16_t *sums, const float *roots, size_t words, bool cosine,
                        const int64_t *ids, uint32_t first_row, mrl_selection *selection);
uint16_t mrl_bit_cut(const mrl_selection *selection, size_t words, bool cosine);
void mrl_admit_scores(unsigned mask, const float *scores, const int64_t *ids, uint32_t first_row,
                      mrl_selection *selection);

// Keeps the bytes of the last group of four that belong to the prefix.
static inline uint32_t last_group_mask(size_t dimensions) {
    size_t left = dimensions % 4;
    return left == 0 ? 0xFFFFFFFFu : (1u << (8 * left)) - 1;
}

static inline float round_to_half(float value) {
    uint32_t bits, sign;
    memcpy(&bits, &value, 4);
    sign = bits & 0x80000000u;
    bits &= 0x7FFFFFFFu;
    if (bits > 0x7F800000u) return value;
    if (bits >= 0x477FF000u) {
        bits = 0x7F800000u;
    } else if (bits < 0x38800000u) {
        // Subnormal halves are multiples of 2^-24, the spacing of floats just above one half.
        float magnitude;
        memcpy(&magnitude, &bits, 4);
        magnitude = (magnitude + 0.5f) - 0.5f;
        memcpy(&bits, &magnitude, 4);
    } else {
        bits = (bits + 0xFFFu + ((bits >> 13) & 1)) & ~0x1FFFu;
    }
    bits |= sign;
    memcpy(&value, &bits, 4);
    return value;
}
