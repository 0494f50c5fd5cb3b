#include "internal.h"

uint32_t mrl_score_key(float score) { return score_key(score); }

float mrl_key_score(uint32_t key) {
    uint32_t bits = key == 0 ? 0x7FC00000u : key & 0x80000000u ? key & 0x7FFFFFFFu : ~key;
    float score;
    memcpy(&score, &bits, 4);
    return score;
}

static inline bool before(mrl_candidate left, mrl_candidate right) {
    return (left.key > right.key) | ((left.key == right.key) & (left.id < right.id));
}

void mrl_selection_init(int path, mrl_selection *selection, mrl_candidate *items, uint32_t capacity, uint32_t keep) {
    *selection = (mrl_selection){items, 0, capacity, keep, 0, INT64_MAX, -INFINITY, path};
}

// Bottom-up, without branches on the data.
static void merge_sort(mrl_candidate *items, uint32_t count, mrl_candidate *scratch) {
    mrl_candidate *from = items, *to = scratch;
    for (uint32_t width = 1; width < count; width *= 2) {
        for (uint32_t start = 0; start < count; start += 2 * width) {
            uint32_t middle = start + width < count ? start + width : count;
            uint32_t end = start + 2 * width < count ? start + 2 * width : count;
            uint32_t left = start, right = middle, out = start;
            while (left < middle && right < end) {
                bool takes_right = before(from[right], from[left]);
                to[out++] = takes_right ? from[right] : from[left];
                right += takes_right;
                left += !takes_right;
            }
            memcpy(to + out, from + left, (middle - left) * sizeof *to);
            out += middle - left;
            memcpy(to + out, from + right, (end - right) * sizeof *to);
        }
        mrl_candidate *swap = from;
        from = to;
        to = swap;
    }
    if (from != items) memcpy(items, from, count * sizeof *items);
}

// By the bytes of the keys, then each run of equal keys by its ids.
static void sort(mrl_candidate *items, uint32_t count, mrl_candidate *scratch) {
    if (count <= 32) {
        merge_sort(items, count, scratch);
        return;
    }
    uint32_t places[4][256] = {{0}};
    for (uint32_t i = 0; i < count; i++) {
        for (int byte = 0; byte < 4; byte++) places[byte][~items[i].key >> (8 * byte) & 255]++;
    }
    mrl_candidate *from = items, *to = scratch;
    for (int byte = 0; byte < 4; byte++) {
        uint32_t *place = places[byte], sum = 0;
        if (place[~items[0].key >> (8 * byte) & 255] == count) continue;
        for (int value = 0; value < 256; value++) {
            uint32_t here = place[value];
            place[value] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < count; i++) to[place[~from[i].key >> (8 * byte) & 255]++] = from[i];
        mrl_candidate *swap = from;
        from = to;
        to = swap;
    }
    if (from != items) memcpy(items, from, count * sizeof *items);
    for (uint32_t start = 0; start < count;) {
        uint32_t end = start + 1;
        while (end < count && items[end].key == items[start].key) end++;
        if (end - start > 1) merge_sort(items + start, end - start, scratch);
        start = end;
    }
}

static inline void swap(mrl_candidate *left, mrl_candidate *right) {
    mrl_candidate held = *left;
    *left = *right;
    *right = held;
}

// Puts the best `keep` of the items first, the worst of them last among these.
static void partition_best(mrl_candidate *items, uint32_t count, uint32_t keep) {
    uint32_t low = 0, high = count, seed = 0x9E3779B9u, target = keep - 1;
    while (high - low > 1) {
        seed = seed * 1664525u + 1013904223u;
        uint32_t pivot_at = low + (uint32_t)(((uint64_t)seed * (high - low)) >> 32);
        if (high - low > 32) {
            // Median of three.
            uint32_t a = low + (high - low) / 4, b = low + (high - low) / 2;
            if (before(items[b], items[a])) { uint32_t t = a; a = b; b = t; }
            if (before(items[pivot_at], items[a])) pivot_at = a;
            else if (before(items[b], items[pivot_at])) pivot_at = b;
        }
        swap(&items[pivot_at], &items[high - 1]);
        mrl_candidate pivot = items[high - 1];
        uint32_t store = low;
        for (uint32_t i = low; i < high - 1; i++) {
            mrl_candidate item = items[i];
            bool better = before(item, pivot);
            items[i] = items[store];
            items[store] = item;
            store += better;
        }
        swap(&items[store], &items[high - 1]);
        if (store == target) return;
        if (store < target) low = store + 1;
        else high = store;
    }
}

// The same for few items without mispredicted branches: the key of that rank is found by halving its range.
static bool keep_best(const mrl_kernels *kernels, mrl_candidate *items, uint32_t count, uint32_t keep) {
    enum { LIMIT = 1024 };
    uint32_t keys[LIMIT], low = UINT32_MAX, high = 0;
    if (count > LIMIT) return false;
    for (uint32_t i = 0; i < count; i++) {
        keys[i] = items[i].key;
        low = keys[i] < low ? keys[i] : low;
        high = keys[i] > high ? keys[i] : high;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2 + 1;
        if (kernels->count_keys(keys, count, middle) >= keep) low = middle;
        else high = middle - 1;
    }
    if (kernels->count_keys(keys, count, low) != keep) return false; // ties: ids must decide
    mrl_candidate worst = {INT64_MIN, low, 0};
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        mrl_candidate item = items[i];
        items[kept] = item;
        kept += item.key >= low;
        if (item.key == low && item.id > worst.id) worst = item;
    }
    // The worst one goes last, as partition_best leaves it.
    for (uint32_t i = 0; i < keep; i++) {
        if (items[i].key == low && items[i].id == worst.id) {
            swap(&items[i], &items[keep - 1]);
            break;
        }
    }
    return true;
}

void mrl_selection_speculate(mrl_selection *selection, uint32_t rank) {
    if (selection->count < rank || rank == 0) return;
    if (!keep_best(mrl_kernels_of(selection->path), selection->items, selection->count, rank)) {
        partition_best(selection->items, selection->count, rank);
    }
    selection->count = rank;
    mrl_candidate worst = selection->items[rank - 1];
    selection->threshold_key = worst.key;
    selection->threshold_id = worst.id;
    selection->threshold = worst.key == 0 ? -INFINITY : mrl_key_score(worst.key);
}

void mrl_selection_trim(mrl_selection *selection) { mrl_selection_speculate(selection, selection->keep); }

void mrl_selection_offer(mrl_selection *selection, const float *scores, const int64_t *ids, const uint32_t *rows,
                         size_t count) {
    for (size_t i = 0; i < count; i++) selection_push(selection, scores[i], ids[i], rows[i]);
}

void mrl_selection_finish(mrl_selection *selection, mrl_candidate *scratch) {
    sort(selection->items, selection->count, scratch);
    if (selection->count > selection->keep) selection->count = selection->keep;
}

float mrl_admit_int8(unsigned mask, const int32_t *dots, const float *factors, float query_factor, bool cosine,
                     const int64_t *ids, uint32_t first_row, mrl_selection *selection) {
    for (; mask != 0; mask &= mask - 1) {
        unsigned lane = (unsigned)__builtin_ctz(mask);
        float score = int8_score(dots[lane], query_factor, factors[lane], cosine);
        selection_push(selection, score, ids[lane], first_row + lane);
    }
    return int8_cut(selection->threshold, query_factor, cosine);
}

uint16_t mrl_bit_cut(const mrl_selection *selection, size_t words, bool cosine) {
    // Scores under cosine are whole numbers; under dot every row passes to the exact score.
    if (!cosine || selection->threshold_key == 0) return 0;
    int32_t cut = (int32_t)selection->threshold + (int32_t)words * BIT_BIAS;
    return (uint16_t)(cut < 0 ? 0 : cut);
}

uint16_t mrl_admit_bits(uint64_t mask, const uint16_t *sums, const float *roots, size_t words, bool cosine,
                        const int64_t *ids, uint32_t first_row, mrl_selection *selection) {
    for (; mask != 0; mask &= mask - 1) {
        unsigned lane = (unsigned)__builtin_ctzll(mask);
        int32_t dot = (int32_t)sums[lane % 2 * 32 + lane / 2] - (int32_t)words * BIT_BIAS;
        float score = bit_score(dot, cosine ? 0 : roots[lane], cosine);
        selection_push(selection, score, ids[lane], first_row + lane);
    }
    return mrl_bit_cut(selection, words, cosine);
}

void mrl_admit_scores(unsigned mask, const float *scores, const int64_t *ids, uint32_t first_row,
                      mrl_selection *selection) {
    for (; mask != 0; mask &= mask - 1) {
        unsigned lane = (unsigned)__builtin_ctz(mask);
        selection_push(selection, scores[lane], ids[lane], first_row + lane);
    }
}
