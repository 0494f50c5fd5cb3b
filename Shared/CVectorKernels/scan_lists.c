#include "internal.h"
#include <stdlib.h>

// The queries that are interested in one list, side by side.
typedef struct {
    const uint32_t *askers;
    size_t count;
    mrl_int8_queries codes;
    mrl_float_queries floats;
    mrl_selection *selections;
} members;

// What of it is fetched while blocks before it are scanned.
typedef struct {
    const mrl_stretch *stretch, *end;
    uint32_t done; // blocks of the stretch
    size_t block_bytes, read_bytes;
} fetcher;

static void fetch(fetcher *next, const mrl_block_rows *rows, size_t count) {
    while (count > 0 && next->stretch < next->end) {
        if (next->done == next->stretch->count) {
            next->stretch++;
            next->done = 0;
            continue;
        }
        size_t block = (size_t)next->stretch->block + next->done++;
        const char *codes = (const char *)rows->blocks + block * next->block_bytes;
        for (size_t at = 0; at < next->read_bytes; at += 64) __builtin_prefetch(codes + at);
        __builtin_prefetch(rows->factors + block * BLOCK);
        __builtin_prefetch(rows->ids + block * BLOCK);
        __builtin_prefetch(rows->ids + block * BLOCK + BLOCK / 2);
        count--;
    }
}

static void give_back(const members *group, mrl_selection *selections) {
    if (group->selections == selections) return;
    for (size_t i = 0; i < group->count; i++) selections[group->askers[i]] = group->selections[i];
}

// Where all queries ask, they are taken as they lie.
static void gather(members *group, const mrl_int8_queries *codes, const mrl_float_queries *floats,
                   mrl_selection *selections, members *scratch) {
    size_t all = codes ? codes->count : floats->count;
    bool is_all = group->count == all;
    group->selections = is_all ? selections : scratch->selections;
    if (!is_all) {
        for (size_t i = 0; i < group->count; i++) group->selections[i] = selections[group->askers[i]];
    }
    if (floats) {
        group->floats = is_all ? *floats : scratch->floats;
        group->floats.count = group->count;
        float *values = (float *)group->floats.values, *roots = (float *)group->floats.roots;
        for (size_t i = 0; !is_all && i < group->count; i++) {
            size_t at = group->askers[i];
            memcpy(values + i * floats->stride, floats->values + at * floats->stride, floats->dimensions * sizeof(float));
            roots[i] = floats->roots[at];
        }
        return;
    }
    size_t bytes = (codes->dimensions + 3) / 4 * 4;
    group->codes = is_all ? *codes : scratch->codes;
    group->codes.count = group->count;
    int8_t *values = (int8_t *)group->codes.codes;
    float *factors = (float *)group->codes.factors;
    int32_t *biases = (int32_t *)group->codes.biases;
    for (size_t i = 0; i < group->count; i++) {
        if (!is_all) {
            size_t at = group->askers[i];
            memcpy(values + i * bytes, codes->codes + at * bytes, bytes);
            factors[i] = codes->factors[at];
            biases[i] = codes->biases[at];
        }
        group->codes.cuts[i] =
            int8_cut(group->selections[i].threshold, group->codes.factors[i], group->codes.cosine);
    }
}

static void *room(size_t count, size_t size) {
    void *memory = malloc(count * size + 64);
    if (memory == NULL) abort();
    return memory;
}

void mrl_scan_lists(int path, const mrl_block_rows *rows, const mrl_stretch *stretches, const mrl_list_visit *visits,
                    size_t count, const uint32_t *askers, const mrl_int8_queries *codes,
                    const mrl_float_queries *floats, mrl_selection *selections) {
    // A little ahead: what is fetched too early takes the first-level cache from what is scanned. More blocks at once
    // where tiles of queries are set up for each run of them.
    enum { AHEAD_BYTES = 4096, RUN_BYTES = 8192, LONG_RUN = 64, MANY = 16 };
    if (count == 0) return;
    const mrl_kernels *kernels = mrl_kernels_of(path);
    size_t most = 0, before = 0;
    for (size_t i = 0; i < count; before = visits[i++].askers_end) {
        if (visits[i].askers_end - before > most) most = visits[i].askers_end - before;
    }
    members scratch = {.selections = room(most, sizeof(mrl_selection))};
    fetcher next = {stretches, stretches + visits[count - 1].stretches_end, 0, 0, 0};
    if (codes) {
        scratch.codes = *codes;
        scratch.codes.codes = room(most, (codes->dimensions + 3) / 4 * 4);
        scratch.codes.factors = room(most, sizeof(float));
        scratch.codes.biases = room(most, sizeof(int32_t));
        next.block_bytes = (rows->width + 3) / 4 * 64;
        next.read_bytes = (codes->dimensions + 3) / 4 * 64;
    } else {
        scratch.floats = *floats;
        scratch.floats.values = room(most * floats->stride, sizeof(float));
        scratch.floats.roots = room(most, sizeof(float));
        next.block_bytes = rows->width * BLOCK * sizeof(float);
        next.read_bytes = floats->dimensions * BLOCK * sizeof(float);
    }
    fetch(&next, rows, AHEAD_BYTES / next.read_bytes + 1);
    members group = {0};
    size_t stretch = 0;
    before = 0;
    for (size_t i = 0; i < count; before = visits[i++].askers_end) {
        size_t size = visits[i].askers_end - before;
        bool is_same = size == group.count && memcmp(askers + before, group.askers, size * sizeof *askers) == 0;
        if (size > 0 && !is_same) {
            if (group.count > 0) give_back(&group, selections);
            group.askers = askers + before;
            group.count = size;
            gather(&group, codes, floats, selections, &scratch);
        }
        size_t longest = size >= MANY ? LONG_RUN : RUN_BYTES / next.read_bytes + 1;
        for (; stretch < visits[i].stretches_end; stretch++) {
            for (size_t done = 0; done < stretches[stretch].count; done += longest) {
                size_t left = stretches[stretch].count - done, blocks = left < longest ? left : longest;
                size_t block = stretches[stretch].block + done;
                fetch(&next, rows, blocks);
                if (size == 0) continue;
                mrl_block_rows run = *rows;
                run.blocks = (const char *)rows->blocks + block * next.block_bytes;
                run.factors += block * BLOCK;
                run.ids += block * BLOCK;
                run.live += block;
                run.block_count = blocks;
                run.first_row += (uint32_t)(block * BLOCK);
                run.pass = MRL_BLOCKS_ALL;
                if (codes) kernels->scan_int8(&run, &group.codes, group.selections);
                else kernels->scan_float(&run, &group.floats, group.selections);
            }
        }
    }
    if (group.count > 0) give_back(&group, selections);
    if (codes) {
        free((void *)scratch.codes.codes);
        free((void *)scratch.codes.factors);
        free((void *)scratch.codes.biases);
    } else {
        free((void *)scratch.floats.values);
        free((void *)scratch.floats.roots);
    }
    free(scratch.selections);
}
