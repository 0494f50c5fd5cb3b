// The scan loop over blocked bits, included once by each path after its `bit_block_sums`: for `count` queries, the sums
// of their tables over the 64 rows of a block, by parity, and which reach the cut; sums that none reaches may be left out.

static inline uint64_t live_rows(const uint16_t *live, size_t block, size_t row_count) {
    uint64_t mask = 0;
    for (size_t i = 0; i < 4 && block * MRL_BIT_BLOCK + i * BLOCK < row_count; i++) {
        mask |= (uint64_t)live[block * 4 + i] << (i * BLOCK);
    }
    return mask;
}

static inline __attribute__((always_inline)) void scan_bit_queries(const mrl_bit_rows *rows,
                                                                   const mrl_bit_queries *queries,
                                                                   mrl_selection *selections, size_t first, int count,
                                                                   size_t block, uint64_t live) {
    uint16_t sums[4][MRL_BIT_BLOCK];
    uint64_t masks[4];
    size_t table_bytes = queries->words * 256;
    bit_block_sums(rows->blocks + block * rows->words * 8 * MRL_BIT_BLOCK, queries->words * 8,
                   queries->tables + first * table_bytes, table_bytes, count, queries->cuts + first, sums, masks);
    for (int i = 0; i < count; i++) {
        uint64_t mask = masks[i] & live;
        if (__builtin_expect(mask == 0, 1)) continue;
        size_t row = block * MRL_BIT_BLOCK;
        queries->cuts[first + i] =
            mrl_admit_bits(mask, sums[i], queries->cosine ? NULL : rows->roots + row, queries->words, queries->cosine,
                           rows->ids + row, rows->first_row + (uint32_t)row, &selections[first + i]);
    }
}

static void scan_bits(const mrl_bit_rows *rows, const mrl_bit_queries *queries, mrl_selection *selections) {
    size_t blocks = (rows->row_count + MRL_BIT_BLOCK - 1) / MRL_BIT_BLOCK;
    for (size_t block = first_block(rows->pass); block < blocks; block = next_block(rows->pass, block)) {
        uint64_t live = live_rows(rows->live, block, rows->row_count);
        if (live == 0) continue;
        size_t query = 0;
        for (; query + 4 <= queries->count; query += 4) {
            scan_bit_queries(rows, queries, selections, query, 4, block, live);
        }
        for (; query < queries->count; query++) scan_bit_queries(rows, queries, selections, query, 1, block, live);
    }
}
