#if defined(__x86_64__)
#include "internal.h"
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vnni,avx2,fma"))), apply_to = function)

#include "avx512_common.h"
#include "vnni512.h"

static void scan_int8(const mrl_block_rows *rows, const mrl_int8_queries *queries, mrl_selection *selections) {
    if (queries->cosine) scan_int8_as(rows, queries, selections, true);
    else scan_int8_as(rows, queries, selections, false);
}

#define HAS_OWN_SCAN_INT8
#include "scan_bits.h"
#include "scan_blocks.h"

#pragma clang attribute pop

const mrl_kernels mrl_kernels_avx512vnni = {scan_int8, scan_bits, int8_block_dots, scan_float, float_dot, row_products,
                                            count_keys};
#endif
