#if defined(__x86_64__)
#include "internal.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target( \
    "amx-tile,amx-int8,avx512f,avx512bw,avx512vnni,avx2,fma"))), apply_to = function)

#include "avx512_common.h"
#include "vnni512.h"

// A block of 16 rows is a tile as it lies: 16 columns (rows of the table) of four codes, one tile row a group of four
// dimensions. 16 queries are the other factor, and one product gives 256 dots of 64 dimensions.
enum {
    TILE = 16,
    TILE_GROUPS = 16,
    // Steps of 64 dimensions whose queries stay in registers.
    HELD_STEPS = 4,
    // Fewer queries than this are not worth a tile.
    TILE_QUERIES_MIN = 5,
    // Blocks that stay in cache while all queries pass over them.
    CHUNK = 32,
    PADDED_GROUPS_MAX = 256,
};

// Registers: 0 and 1 sums, 2 rows, 3 rows of the last step, 4 to 6 queries, 7 queries of the last step.
static void configure(size_t last_groups) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        bool last = tile == 3 || tile == 7;
        shape.rows[tile] = (uint8_t)(tile == 3 ? last_groups : TILE);
        shape.row_bytes[tile] = (uint16_t)(tile == 7 ? last_groups * 4 : 64);
        if (!last) shape.rows[tile] = TILE;
    }
    _tile_loadconfig(&shape);
}

typedef struct {
    const int8_t *codes; // 16 queries
    size_t stride;
    size_t first, count;
    // Groups of four dimensions of blocks to come that are fetched while this tile passes, and how far off they lie.
    size_t fetch_from, fetch_to, ahead;
    float factors[TILE], cuts[TILE]; // no row passes beyond `count`
    int32_t biases[TILE][BLOCK] __attribute__((aligned(64)));
} query_tile;

typedef struct {
    const uint8_t *codes;
    const float *factors;
    size_t block;
    unsigned live;
} chunk_block;

static inline __attribute__((always_inline)) void load_queries(const query_tile *tile, size_t steps) {
    const int8_t *last = tile->codes + (steps - 1) * 64;
    if (steps > 1) _tile_loadd(4, tile->codes, tile->stride);
    if (steps > 2) _tile_loadd(5, tile->codes + 64, tile->stride);
    if (steps > 3) _tile_loadd(6, tile->codes + 128, tile->stride);
    _tile_loadd(7, last, tile->stride);
}

static inline __attribute__((always_inline)) void multiply(const query_tile *tile, const uint8_t *codes, size_t steps,
                                                           int32_t (*dots)[BLOCK]) {
    _tile_loadd(0, tile->biases, 64);
    if (steps <= HELD_STEPS) {
        if (steps > 1) {
            _tile_loadd(2, codes, 64);
            _tile_dpbsud(0, 4, 2);
        }
        if (steps > 2) {
            _tile_loadd(2, codes + 1024, 64);
            _tile_dpbsud(0, 5, 2);
        }
        if (steps > 3) {
            _tile_loadd(2, codes + 2048, 64);
            _tile_dpbsud(0, 6, 2);
        }
    } else {
        for (size_t step = 0; step + 1 < steps; step++) {
            _tile_loadd(4, tile->codes + step * 64, tile->stride);
            _tile_loadd(2, codes + step * 1024, 64);
            _tile_dpbsud(0, 4, 2);
        }
    }
    _tile_loadd(3, codes + (steps - 1) * 1024, 64);
    _tile_dpbsud(0, 7, 3);
    _tile_stored(0, dots, 64);
}

// Offers the rows that pass to queries `start` to `start` + 3 of a tile.
static __attribute__((noinline)) void admit_four(const mrl_block_rows *rows, const mrl_int8_queries *queries,
                                                 mrl_selection *selections, query_tile *tile, size_t start,
                                                 const chunk_block *block, int32_t (*dots)[BLOCK]) {
    for (size_t at = start; at < tile->count && at < start + 4; at++) {
        unsigned mask = block->live & passes16(_mm512_load_si512(dots[at]), _mm512_loadu_ps(block->factors),
                                               tile->factors[at], tile->cuts[at], queries->cosine);
        if (mask == 0) continue;
        size_t row = block->block * BLOCK;
        tile->cuts[at] =
            mrl_admit_int8(mask, dots[at], block->factors, tile->factors[at], queries->cosine, rows->ids + row,
                           rows->first_row + (uint32_t)row, &selections[tile->first + at]);
    }
}

// Nearly always no row of four queries passes.
static inline __attribute__((always_inline)) void admit_tile(const mrl_block_rows *rows,
                                                             const mrl_int8_queries *queries,
                                                             mrl_selection *selections, query_tile *tile,
                                                             const chunk_block *block, int32_t (*dots)[BLOCK],
                                                             bool cosine) {
    __m512 factors = _mm512_loadu_ps(block->factors);
#pragma clang loop unroll(full)
    for (size_t start = 0; start < TILE; start += 4) {
        unsigned any = 0;
#pragma clang loop unroll(full)
        for (size_t i = start; i < start + 4; i++) {
            any |= passes16(_mm512_load_si512(dots[i]), factors, tile->factors[i], tile->cuts[i], cosine);
        }
        if (__builtin_expect((any & block->live) != 0, 0)) {
            admit_four(rows, queries, selections, tile, start, block, dots);
        }
    }
}

static inline __attribute__((always_inline)) void scan_tile(const mrl_block_rows *rows, const mrl_int8_queries *queries,
                                                            mrl_selection *selections, query_tile *tile,
                                                            const chunk_block *blocks, size_t count, size_t steps,
                                                            bool cosine) {
    // A product's sums are looked through when the next ones are under way.
    enum { LAG = 3 };
    int32_t dots[LAG + 1][TILE][BLOCK] __attribute__((aligned(64)));
    load_queries(tile, steps);
    for (size_t i = 0; i < count + LAG; i++) {
        if (i < count) {
            for (size_t group = tile->fetch_from; group < tile->fetch_to; group++) {
                __builtin_prefetch(blocks[i].codes + tile->ahead + group * 64, 0, 2);
            }
            multiply(tile, blocks[i].codes, steps, dots[i % (LAG + 1)]);
        }
        if (i < LAG) continue;
        admit_tile(rows, queries, selections, tile, &blocks[i - LAG], dots[(i - LAG) % (LAG + 1)], cosine);
    }
}

static inline __attribute__((always_inline)) void scan_tiles_as(const mrl_block_rows *rows,
                                                                const mrl_int8_queries *queries,
                                                                mrl_selection *selections, size_t tiled, bool cosine) {
    size_t groups = (queries->dimensions + 3) / 4, block_bytes = (rows->width + 3) / 4 * 64;
    size_t steps = (groups + TILE_GROUPS - 1) / TILE_GROUPS;
    bool needs_norms = cosine && queries->dimensions != rows->width;
    uint32_t last_mask = last_group_mask(queries->dimensions);
    int8_t padded[TILE * PADDED_GROUPS_MAX * 4];
    configure(groups - (steps - 1) * TILE_GROUPS);
    size_t block = first_block(rows->pass);
    while (block < rows->block_count) {
        chunk_block blocks[CHUNK];
        float roots[CHUNK][BLOCK];
        size_t count = 0;
        for (; block < rows->block_count && count < CHUNK; block = next_block(rows->pass, block)) {
            unsigned live = rows->live[block];
            if (live == 0) continue;
            chunk_block *entry = &blocks[count];
            *entry = (chunk_block){(const uint8_t *)rows->blocks + block * block_bytes, rows->factors + block * BLOCK,
                                   block, live};
            if (needs_norms) {
                __m512i norms = int8_block_norms(entry->codes, groups, last_mask);
                _mm512_storeu_ps(roots[count], _mm512_sqrt_ps(_mm512_cvtepi32_ps(norms)));
                entry->factors = roots[count];
            }
            count++;
        }
        for (size_t first = 0; first < tiled; first += TILE) {
            query_tile tile;
            tile.codes = queries->codes + first * groups * 4;
            tile.stride = groups * 4;
            tile.first = first;
            tile.count = tiled - first < TILE ? tiled - first : TILE;
            tile.fetch_from = groups * first / tiled;
            tile.fetch_to = groups * (first + tile.count) / tiled;
            tile.ahead = blocks_ahead(rows->pass, CHUNK) * block_bytes;
            if (tile.count < TILE) {
                memset(padded, 0, TILE * groups * 4);
                memcpy(padded, tile.codes, tile.count * groups * 4);
                tile.codes = padded;
            }
            for (size_t i = 0; i < TILE; i++) {
                bool there = i < tile.count;
                tile.factors[i] = there ? queries->factors[first + i] : 1;
                tile.cuts[i] = there ? queries->cuts[first + i] : INFINITY;
                _mm512_store_si512(tile.biases[i], _mm512_set1_epi32(there ? queries->biases[first + i] : 0));
            }
            if (steps == 1) scan_tile(rows, queries, selections, &tile, blocks, count, 1, cosine);
            else if (steps == 2) scan_tile(rows, queries, selections, &tile, blocks, count, 2, cosine);
            else scan_tile(rows, queries, selections, &tile, blocks, count, steps, cosine);
            memcpy(queries->cuts + first, tile.cuts, tile.count * sizeof *tile.cuts);
        }
        for (size_t query = tiled; query < queries->count; query++) {
            for (size_t i = 0; i < count; i++) {
                scan_queries(rows, queries, selections, query, 1, blocks[i].block, blocks[i].codes, groups,
                             blocks[i].factors, blocks[i].live, cosine);
            }
        }
    }
    _tile_release();
}

static void scan_int8(const mrl_block_rows *rows, const mrl_int8_queries *queries, mrl_selection *selections) {
    size_t over = queries->count % TILE;
    bool pads = over >= TILE_QUERIES_MIN && queries->dimensions <= PADDED_GROUPS_MAX * 4;
    size_t tiled = queries->count - (pads ? 0 : over);
    // A few blocks are done before the tiles are set up.
    if (tiled == 0 || queries->count * rows->block_count < TILE * 8) {
        if (queries->cosine) scan_int8_as(rows, queries, selections, true);
        else scan_int8_as(rows, queries, selections, false);
    } else if (queries->cosine) {
        scan_tiles_as(rows, queries, selections, tiled, true);
    } else {
        scan_tiles_as(rows, queries, selections, tiled, false);
    }
}

#define HAS_OWN_SCAN_INT8
#include "scan_bits.h"
#include "scan_blocks.h"

#pragma clang attribute pop

const mrl_kernels mrl_kernels_amx = {scan_int8, scan_bits, int8_block_dots, scan_float, float_dot, row_products,
                                     count_keys};
#endif
