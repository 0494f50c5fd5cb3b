#pragma once
#include "internal.h"
#include "linear.h"

enum {
    LANES = 16,
    // Inputs of bfloat16 are filled up to whole tiles.
    BFLOAT_PAD = 32,
    // Rows that are rounded together: enough for each weight to be read seldom, few enough to stay in cache.
    ROUNDED_ROWS = 128,
    // Queries of a head whose scores are in cache together.
    ATTEND_QUERIES = 64,
};

typedef struct {
    void (*multiply_floats)(const float *, size_t, size_t, size_t, const float *, size_t, const float *, int, float *,
                            size_t);
    void (*multiply_bfloats)(const float *, size_t, size_t, size_t, const uint16_t *, size_t, const float *, int,
                             float *, size_t, uint16_t *);
    void (*attend)(const float *, size_t, size_t, size_t, size_t, float, float *, float *);
} linear_kernels;

static inline size_t pad(size_t count, size_t unit) { return (count + unit - 1) / unit * unit; }
