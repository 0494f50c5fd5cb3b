// Products with packed weights and attention for one path; included once for each, after transformer_body.h, with ROWS
// and PANELS as many as its registers hold sums of.
#pragma clang fp contract(fast)

#define INLINE static inline __attribute__((always_inline))

// Puts a tile's sums where they belong; the last panel may be cut off by `width`, the columns that there are.
INLINE void PATH(store_tile)(lanes (*sums)[PANELS], size_t rows, size_t panels, size_t width, const float *bias,
                             int finish, float *result, size_t stride) {
    if (bias) {
#pragma clang loop unroll(full)
        for (size_t panel = 0; panel < panels; panel++) {
            lanes b;
            size_t left = width - panel * LANES;
            if (left >= LANES) PATH(load)(&b, bias + panel * LANES);
            else PATH(load_part)(&b, bias + panel * LANES, left, 0);
#pragma clang loop unroll(full)
            for (size_t row = 0; row < rows; row++) sums[row][panel] += b;
        }
    }
    if (width == panels * LANES) {
#pragma clang loop unroll(full)
        for (size_t row = 0; row < rows; row++) {
#pragma clang loop unroll(full)
            for (size_t panel = 0; panel < panels; panel++) {
                PATH(store)(result + row * stride + panel * LANES, &sums[row][panel]);
            }
        }
    } else {
        for (size_t row = 0; row < rows; row++) {
            for (size_t panel = 0; panel < panels; panel++) {
                size_t left = width - panel * LANES;
                PATH(store_part)(result + row * stride + panel * LANES, &sums[row][panel], left < LANES ? left : LANES);
            }
        }
    }
    if (finish != MRL_FINISH_GELU) return;
    // What was just stored is in the nearest cache.
#pragma clang loop unroll(disable)
    for (size_t row = 0; row < rows; row++) {
        lanes x;
        size_t at = 0;
#pragma clang loop unroll(disable)
        for (; at + LANES <= width; at += LANES) {
            PATH(load)(&x, result + row * stride + at);
            PATH(gelu)(&x);
            PATH(store)(result + row * stride + at, &x);
        }
        if (at == width) continue;
        PATH(load_part)(&x, result + row * stride + at, width - at, 0);
        PATH(gelu)(&x);
        PATH(store_part)(result + row * stride + at, &x, width - at);
    }
}

INLINE void PATH(float_tile)(const float *rows, size_t row_count, size_t stride, size_t inputs, const float *packed,
                             size_t panels, size_t width, const float *bias, int finish, float *result,
                             size_t result_stride) {
    lanes sums[ROWS][PANELS];
#pragma clang loop unroll(full)
    for (size_t row = 0; row < row_count; row++) {
#pragma clang loop unroll(full)
        for (size_t panel = 0; panel < panels; panel++) sums[row][panel] = (lanes){};
    }
    for (size_t i = 0; i < inputs; i++) {
        lanes weights[PANELS];
#pragma clang loop unroll(full)
        for (size_t panel = 0; panel < panels; panel++) {
            PATH(load)(&weights[panel], packed + (panel * inputs + i) * LANES);
        }
#pragma clang loop unroll(full)
        for (size_t row = 0; row < row_count; row++) {
            float x = rows[row * stride + i];
#pragma clang loop unroll(full)
            for (size_t panel = 0; panel < panels; panel++) sums[row][panel] += x * weights[panel];
        }
    }
    PATH(store_tile)(sums, row_count, panels, width, bias, finish, result, result_stride);
}

// One product of pairs: sums += a0 * b0 + a1 * b1.
INLINE void PATH(add_pairs)(lanes *sums, uint32_t pair, const lane_bits *weights) {
#ifdef NATIVE_BFLOATS
    *sums = (lanes)_mm512_dpbf16_ps((__m512)*sums, (__m512bh)_mm512_set1_epi32((int)pair), (__m512bh)*weights);
#else
    uint32_t low_bits = pair << 16, high_bits = pair & 0xFFFF0000u;
    float low, high;
    memcpy(&low, &low_bits, 4);
    memcpy(&high, &high_bits, 4);
    lane_bits even_bits = *weights << 16, odd_bits = *weights & (int)0xFFFF0000;
    lanes even, odd;
    memcpy(&even, &even_bits, sizeof even);
    memcpy(&odd, &odd_bits, sizeof odd);
    *sums += low * even;
    *sums += high * odd;
#endif
}

INLINE void PATH(bfloat_tile)(const uint16_t *rows, size_t row_count, size_t inputs, const uint16_t *packed,
                              size_t panels, size_t width, const float *bias, int finish, float *result,
                              size_t result_stride) {
    lanes sums[ROWS][PANELS];
#pragma clang loop unroll(full)
    for (size_t row = 0; row < row_count; row++) {
#pragma clang loop unroll(full)
        for (size_t panel = 0; panel < panels; panel++) sums[row][panel] = (lanes){};
    }
    for (size_t i = 0; i < inputs; i += 2) {
        lane_bits weights[PANELS];
#pragma clang loop unroll(full)
        for (size_t panel = 0; panel < panels; panel++) {
            memcpy(&weights[panel], packed + (panel * inputs + i) * LANES, sizeof weights[panel]);
        }
#pragma clang loop unroll(full)
        for (size_t row = 0; row < row_count; row++) {
            uint32_t pair;
            memcpy(&pair, rows + row * inputs + i, 4);
#pragma clang loop unroll(full)
            for (size_t panel = 0; panel < panels; panel++) PATH(add_pairs)(&sums[row][panel], pair, &weights[panel]);
        }
    }
    PATH(store_tile)(sums, row_count, panels, width, bias, finish, result, result_stride);
}

// All rows against the panels of one group.
INLINE void PATH(float_group)(const float *rows, size_t count, size_t stride, size_t inputs, const float *packed,
                              size_t panels, size_t width, const float *bias, int finish, float *result,
                              size_t result_stride) {
    size_t row = 0;
    for (; row + ROWS <= count; row += ROWS) {
        PATH(float_tile)(rows + row * stride, ROWS, stride, inputs, packed, panels, width, bias, finish,
                         result + row * result_stride, result_stride);
    }
    // What is left is done in powers of two.
#pragma clang loop unroll(full)
    for (size_t size = ROWS / 2; size > 0; size /= 2) {
        while (row + size <= count) {
            PATH(float_tile)(rows + row * stride, size, stride, inputs, packed, panels, width, bias, finish,
                             result + row * result_stride, result_stride);
            row += size;
        }
    }
}

static void PATH(multiply_floats)(const float *rows, size_t count, size_t stride, size_t inputs, const float *packed,
                                  size_t outputs, const float *bias, int finish, float *result, size_t result_stride) {
    size_t first = 0;
    for (; first + PANELS * LANES <= outputs; first += PANELS * LANES) {
        PATH(float_group)(rows, count, stride, inputs, packed + first * inputs, PANELS, PANELS * LANES,
                          bias ? bias + first : NULL, finish, result + first, result_stride);
    }
    for (; first < outputs; first += LANES) {
        size_t width = outputs - first < LANES ? outputs - first : LANES;
        PATH(float_group)(rows, count, stride, inputs, packed + first * inputs, 1, width, bias ? bias + first : NULL,
                          finish, result + first, result_stride);
    }
}

INLINE void PATH(bfloat_group)(const uint16_t *rows, size_t count, size_t inputs, const uint16_t *packed, size_t panels,
                               size_t width, const float *bias, int finish, float *result, size_t result_stride) {
    size_t row = 0;
    for (; row + ROWS <= count; row += ROWS) {
        PATH(bfloat_tile)(rows + row * inputs, ROWS, inputs, packed, panels, width, bias, finish,
                          result + row * result_stride, result_stride);
    }
#pragma clang loop unroll(full)
    for (size_t size = ROWS / 2; size > 0; size /= 2) {
        while (row + size <= count) {
            PATH(bfloat_tile)(rows + row * inputs, size, inputs, packed, panels, width, bias, finish,
                              result + row * result_stride, result_stride);
            row += size;
        }
    }
}

// To nearest even; what is no number stays none only by luck, and texts have none.
static void PATH(round_rows)(const float *rows, size_t count, size_t stride, size_t width, size_t padded,
                             uint16_t *rounded) {
    typedef uint32_t lane_words __attribute__((vector_size(64)));
    typedef uint16_t lane_halves __attribute__((vector_size(32)));
    for (size_t row = 0; row < count; row++) {
        const float *values = rows + row * stride;
        uint16_t *out = rounded + row * padded;
        for (size_t i = 0; i < padded; i += LANES) {
            lanes x = (lanes){};
            if (i + LANES <= width) PATH(load)(&x, values + i);
            else if (i < width) PATH(load_part)(&x, values + i, width - i, 0);
            lane_words bits;
            memcpy(&bits, &x, sizeof bits);
            bits += 0x7FFF + (bits >> 16 & 1);
            lane_halves halves = __builtin_convertvector(bits >> 16, lane_halves);
            memcpy(out + i, &halves, sizeof halves);
        }
    }
}

static void PATH(multiply_bfloats)(const float *rows, size_t count, size_t stride, size_t inputs,
                                   const uint16_t *packed, size_t outputs, const float *bias, int finish, float *result,
                                   size_t result_stride, uint16_t *rounded) {
    size_t padded = pad(inputs, BFLOAT_PAD);
    for (size_t start = 0; start < count; start += ROUNDED_ROWS) {
        size_t size = count - start < ROUNDED_ROWS ? count - start : ROUNDED_ROWS;
        PATH(round_rows)(rows + start * stride, size, stride, inputs, padded, rounded);
        float *target = result + start * result_stride;
        size_t first = 0;
        for (; first + PANELS * LANES <= outputs; first += PANELS * LANES) {
            PATH(bfloat_group)(rounded, size, padded, packed + first * padded, PANELS, PANELS * LANES,
                               bias ? bias + first : NULL, finish, target + first, result_stride);
        }
        for (; first < outputs; first += LANES) {
            size_t width = outputs - first < LANES ? outputs - first : LANES;
            PATH(bfloat_group)(rounded, size, padded, packed + first * padded, 1, width, bias ? bias + first : NULL,
                               finish, target + first, result_stride);
        }
    }
}

// Keys become panels of 16 keys, values panels of 16 columns, and both products are those of linear layers.
static void PATH(attend)(const float *tokens, size_t length, size_t stride, size_t heads, size_t columns, float scale,
                         float *out, float *scratch) {
    size_t width = heads * columns, keys_padded = pad(length, LANES), columns_padded = pad(columns, LANES);
    float *keys = scratch, *values = keys + keys_padded * columns, *scores = values + columns_padded * length;
    for (size_t head = 0; head < heads; head++) {
        const float *base = tokens + head * columns;
        const float *key_rows = base + width, *value_rows = base + 2 * width;
        for (size_t first = 0; first < length; first += LANES) {
            float *panel = keys + first * columns;
            size_t there = length - first < LANES ? length - first : LANES;
            for (size_t key = 0; key < there; key++) {
                const float *row = key_rows + (first + key) * stride;
                for (size_t i = 0; i < columns; i++) panel[i * LANES + key] = row[i];
            }
            for (size_t key = there; key < LANES; key++) {
                for (size_t i = 0; i < columns; i++) panel[i * LANES + key] = 0;
            }
        }
        for (size_t first = 0; first < columns; first += LANES) {
            size_t there = columns - first < LANES ? columns - first : LANES;
            for (size_t i = 0; i < length; i++) {
                float *to = values + first * length + i * LANES;
                const float *from = value_rows + i * stride + first;
                lanes x;
                if (there == LANES) PATH(load)(&x, from);
                else PATH(load_part)(&x, from, there, 0);
                PATH(store)(to, &x);
            }
        }
        for (size_t first = 0; first < length; first += ATTEND_QUERIES) {
            size_t count = length - first < ATTEND_QUERIES ? length - first : ATTEND_QUERIES;
            PATH(multiply_floats)(base + first * stride, count, stride, columns, keys, length, NULL, MRL_FINISH_BIAS,
                                  scores, keys_padded);
            PATH(softmax)(scores, count, length, keys_padded, scale);
            PATH(multiply_floats)(scores, count, keys_padded, length, values, columns, NULL, MRL_FINISH_BIAS,
                                  out + first * width + head * columns, width);
        }
    }
}

static const linear_kernels PATH(linear) = {PATH(multiply_floats), PATH(multiply_bfloats), PATH(attend)};

#undef INLINE
#pragma clang fp contract(off)
