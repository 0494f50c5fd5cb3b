#include "internal.h"

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
// The processor has tiles of int8, and the system lends this process their registers.
static bool has_tiles(void) {
#if defined(__linux__)
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return __builtin_cpu_supports("amx-int8") && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}
#endif

bool mrl_path_supported(int path) {
    if (path == MRL_PATH_PORTABLE) return true;
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
    switch (path) {
    case MRL_PATH_AVX2: return avx2;
    case MRL_PATH_AVXVNNI: return avx2 && __builtin_cpu_supports("avxvnni");
    case MRL_PATH_AVX512: return avx512;
    case MRL_PATH_AVX512VNNI: return avx512 && __builtin_cpu_supports("avx512vnni");
    case MRL_PATH_AMX: return avx512 && __builtin_cpu_supports("avx512vnni") && has_tiles();
    }
#elif defined(__aarch64__) && defined(__linux__)
    // Dot products of bytes, which all but the first 64-bit Arm processors have.
    if (path == MRL_PATH_NEON) return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#elif defined(__aarch64__)
    if (path == MRL_PATH_NEON) return true;
#endif
    return false;
}

const mrl_kernels *mrl_kernels_of(int path) {
#if defined(__x86_64__)
    switch (path) {
    case MRL_PATH_AVX2: return &mrl_kernels_avx2;
    case MRL_PATH_AVXVNNI: return &mrl_kernels_avxvnni;
    case MRL_PATH_AVX512: return &mrl_kernels_avx512;
    case MRL_PATH_AVX512VNNI: return &mrl_kernels_avx512vnni;
    case MRL_PATH_AMX: return &mrl_kernels_amx;
    }
#elif defined(__aarch64__)
    if (path == MRL_PATH_NEON) return &mrl_kernels_neon;
#endif
    return &mrl_kernels_portable;
}

bool mrl_fetches_ahead(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return !__builtin_cpu_is("amd");
#else
    return true;
#endif
}

static void set_cuts(const mrl_int8_queries *queries, const mrl_selection *selections) {
    for (size_t i = 0; i < queries->count; i++) {
        queries->cuts[i] = int8_cut(selections[i].threshold, queries->factors[i], queries->cosine);
    }
}

void mrl_scan_int8(int path, const mrl_block_rows *rows, const mrl_int8_queries *queries, mrl_selection *selections) {
    set_cuts(queries, selections);
    mrl_kernels_of(path)->scan_int8(rows, queries, selections);
}

static float prefix_root(const mrl_block_row *row, size_t dimensions) {
    int32_t norm = 0;
    for (size_t i = 0; i < dimensions; i++) {
        int32_t code = (int32_t)row->codes[i / 4 * 64 + row->lane * 4 + i % 4] - 128;
        norm += code * code;
    }
    return sqrtf((float)norm);
}

void mrl_score_block_rows(int path, const mrl_block_row *rows, size_t count, size_t width,
                          const mrl_int8_queries *queries, size_t query, float *scores) {
    // A row's codes lie in as many cache lines as those of its whole block.
    enum { AHEAD = 4 };
    const mrl_kernels *kernels = mrl_kernels_of(path);
    size_t groups = (queries->dimensions + 3) / 4;
    bool needs_norms = queries->cosine && queries->dimensions != width;
    const int8_t *codes = queries->codes + query * groups * 4;
    for (size_t i = 0; i < count; i++) {
        for (size_t next = i == 0 ? 0 : i + AHEAD; next < count && next <= i + AHEAD; next++) {
            for (size_t group = 0; group < groups; group++) __builtin_prefetch(rows[next].codes + group * 64);
        }
        int32_t dots[BLOCK];
        kernels->block_dots(rows[i].codes, groups, codes, queries->biases[query], dots);
        float factor = needs_norms ? prefix_root(&rows[i], queries->dimensions) : rows[i].factor;
        scores[i] = int8_score(dots[rows[i].lane], queries->factors[query], factor, queries->cosine);
    }
}

void mrl_scan_bits(int path, const mrl_bit_rows *rows, const mrl_bit_queries *queries, mrl_selection *selections) {
    for (size_t i = 0; i < queries->count; i++) {
        queries->cuts[i] = mrl_bit_cut(&selections[i], queries->words, queries->cosine);
    }
    mrl_kernels_of(path)->scan_bits(rows, queries, selections);
}

void mrl_scan_float(int path, const mrl_block_rows *rows, const mrl_float_queries *queries, mrl_selection *selections) {
    mrl_kernels_of(path)->scan_float(rows, queries, selections);
}

float mrl_float_dot(int path, const float *left, const float *right, size_t count) {
    return mrl_kernels_of(path)->float_dot(left, right, count);
}

void mrl_score_rows(int path, const float *query, float query_root, const float *const *rows, size_t count,
                    size_t dimensions, bool half, bool cosine, float *scores) {
    // Rows that stages pick out lie anywhere: each step fetches a piece of those that come a chunk later. To ask for
    // whole rows at once fills the processor's queues, and costs more than it saves.
    enum { CHUNK = 8 };
    float norms[CHUNK];
    const float *next[CHUNK];
    for (size_t start = 0; start < count; start += CHUNK) {
        size_t left = count - start, size = left < CHUNK ? left : CHUNK;
        for (size_t i = 0; i < size; i++) next[i] = rows[start + (i + CHUNK < left ? i + CHUNK : i)];
        float *out = scores + start;
        mrl_kernels_of(path)->row_products(query, rows + start, next, size, dimensions, half, out,
                                           cosine ? norms : NULL);
        if (!cosine) continue;
        for (size_t i = 0; i < size; i++) out[i] = mrl_float_score(out[i], query_root, sqrtf(norms[i]), true);
    }
}

void mrl_scan_vectors(int path, const mrl_vector_rows *rows, bool half, const mrl_float_queries *queries,
                      mrl_selection *selections) {
    // A chunk of rows stays in cache while all queries pass over it.
    const mrl_kernels *table = mrl_kernels_of(path);
    for (size_t block = first_block(rows->pass); block * BLOCK < rows->row_count;
         block = next_block(rows->pass, block)) {
        unsigned live = rows->live[block];
        if (live == 0) continue;
        const float *addresses[BLOCK], *next[BLOCK];
        unsigned lanes[BLOCK];
        size_t count = 0, ahead = (next_block(rows->pass, block) - block) * BLOCK;
        for (; live != 0; live &= live - 1) {
            lanes[count] = (unsigned)__builtin_ctz(live);
            size_t row = block * BLOCK + lanes[count];
            addresses[count] = rows->values + row * rows->stride;
            // The next block's row, for the first query alone.
            next[count] = row + ahead < rows->row_count ? rows->values + (row + ahead) * rows->stride : addresses[count];
            count++;
        }
        float dots[BLOCK], norms[BLOCK], roots[BLOCK];
        for (size_t query = 0; query < queries->count; query++) {
            table->row_products(queries->values + query * queries->stride, addresses, query == 0 ? next : addresses,
                                count, queries->dimensions, half, dots, queries->cosine && query == 0 ? norms : NULL);
            if (queries->cosine && query == 0) {
                for (size_t i = 0; i < count; i++) roots[i] = sqrtf(norms[i]);
            }
            mrl_selection *selection = &selections[query];
            for (size_t i = 0; i < count; i++) {
                float score = queries->cosine
                    ? mrl_float_score(dots[i], queries->roots[query], roots[i], true)
                    : dots[i];
                if (score < selection->threshold) continue;
                size_t position = block * BLOCK + lanes[i];
                selection_push(selection, score, rows->ids[position], rows->first_row + (uint32_t)position);
            }
        }
    }
}
