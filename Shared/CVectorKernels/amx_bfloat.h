// Products of bfloat16 on tiles: 16 rows times 32 inputs, and 16 pairs of inputs times 16 outputs as they are packed.
// Included after linear_body.h for the path avx512bf16, whose helpers it uses.

enum { TILE_ROWS = 16, TILE_PANELS = 2 };

static void configure_tiles(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) shape = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        shape.rows[tile] = TILE_ROWS;
        shape.row_bytes[tile] = 64;
    }
    _tile_loadconfig(&shape);
}

// Sums of a tile, where they belong.
static void place_tile(float (*sums)[LANES], size_t rows, size_t width, const float *bias, int finish, float *result,
                       size_t stride) {
    lanes x, b = (lanes){};
    if (bias) {
        if (width == LANES) load_avx512bf16(&b, bias);
        else load_part_avx512bf16(&b, bias, width, 0);
    }
    for (size_t row = 0; row < rows; row++) {
        load_avx512bf16(&x, sums[row]);
        x += b;
        if (finish == MRL_FINISH_GELU) gelu_avx512bf16(&x);
        if (width == LANES) store_avx512bf16(result + row * stride, &x);
        else store_part_avx512bf16(result + row * stride, &x, width);
    }
}

// Up to 32 rows times up to two panels. Registers: 0 to 3 sums, 4 and 5 rows, 6 and 7 weights.
static inline __attribute__((always_inline)) void multiply_tiles(const uint16_t *rows, size_t row_tiles, size_t inputs,
                                                                 const uint16_t *packed, size_t panels,
                                                                 float (*sums)[TILE_ROWS][LANES]) {
    size_t stride = inputs * sizeof *rows;
    _tile_zero(0);
    if (panels > 1) _tile_zero(1);
    if (row_tiles > 1) _tile_zero(2);
    if (row_tiles > 1 && panels > 1) _tile_zero(3);
    for (size_t i = 0; i < inputs; i += BFLOAT_PAD) {
        _tile_loadd(4, rows + i, stride);
        _tile_loadd(6, packed + i * LANES, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (panels > 1) {
            _tile_loadd(7, packed + (inputs + i) * LANES, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (row_tiles > 1) {
            _tile_loadd(5, rows + TILE_ROWS * inputs + i, stride);
            _tile_dpbf16ps(2, 5, 6);
            if (panels > 1) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums[0], 64);
    if (panels > 1) _tile_stored(1, sums[1], 64);
    if (row_tiles > 1) _tile_stored(2, sums[2], 64);
    if (row_tiles > 1 && panels > 1) _tile_stored(3, sums[3], 64);
}

static void multiply_bfloats_amx(const float *rows, size_t count, size_t stride, size_t inputs, const uint16_t *packed,
                                 size_t outputs, const float *bias, int finish, float *result, size_t result_stride,
                                 uint16_t *rounded) {
    size_t padded = pad(inputs, BFLOAT_PAD);
    float sums[4][TILE_ROWS][LANES] __attribute__((aligned(64)));
    configure_tiles();
    for (size_t start = 0; start < count; start += ROUNDED_ROWS) {
        size_t size = count - start < ROUNDED_ROWS ? count - start : ROUNDED_ROWS;
        round_rows_avx512bf16(rows + start * stride, size, stride, inputs, padded, rounded);
        size_t tiled = pad(size, TILE_ROWS);
        memset(rounded + size * padded, 0, (tiled - size) * padded * sizeof *rounded);
        for (size_t first = 0; first < outputs; first += TILE_PANELS * LANES) {
            size_t panels = outputs - first > LANES ? 2 : 1;
            for (size_t row = 0; row < size; row += 2 * TILE_ROWS) {
                size_t tiles = tiled - row > TILE_ROWS ? 2 : 1;
                const uint16_t *values = rounded + row * padded, *weights = packed + first * padded;
                if (tiles == 2 && panels == 2) multiply_tiles(values, 2, padded, weights, 2, sums);
                else if (tiles == 2) multiply_tiles(values, 2, padded, weights, 1, sums);
                else if (panels == 2) multiply_tiles(values, 1, padded, weights, 2, sums);
                else multiply_tiles(values, 1, padded, weights, 1, sums);
                for (size_t part = 0; part < 4; part++) {
                    size_t from = row + part / 2 * TILE_ROWS, column = first + part % 2 * LANES;
                    if (from >= size || column >= outputs) continue;
                    place_tile(sums[part], size - from < TILE_ROWS ? size - from : TILE_ROWS,
                               outputs - column < LANES ? outputs - column : LANES, bias ? bias + column : NULL, finish,
                               result + (start + from) * result_stride + column, result_stride);
                }
            }
        }
    }
    _tile_release();
}

static const linear_kernels linear_amx = {multiply_floats_avx512bf16, multiply_bfloats_amx, attend_avx512bf16};
