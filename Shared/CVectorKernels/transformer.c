#include "linear_internal.h"
#include "transformer.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef struct {
    void (*gate)(const float *, size_t, size_t, float *);
    void (*softmax)(float *, size_t, size_t, size_t, float);
    void (*layer_norm)(float *, const float *, const float *, const float *, size_t, size_t, float);
    void (*turn_pairs)(float *, size_t, size_t, size_t, size_t, const float *, const float *);
} transformer_kernels;

// One source for all paths: the compiler splits a vector of 16 into what the instruction set has.
typedef float lanes __attribute__((vector_size(64)));
typedef int lane_bits __attribute__((vector_size(64)));

// Rows times panels of a tile: as many sums as there are registers, less those of weights.
#define PATH(name) name##_portable
#if defined(__aarch64__)
#define ROWS 4
#else
#define ROWS 2
#endif
#define PANELS 1
#include "transformer_body.h"
#include "linear_body.h"
#undef PATH
#undef ROWS
#undef PANELS

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define PATH(name) name##_avx2
#define ROWS 4
#define PANELS 1
#include "transformer_body.h"
#include "linear_body.h"
#undef PATH
#undef ROWS
#undef PANELS
#pragma clang attribute pop

#define ROWS 8
#define PANELS 3
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx2,fma"))), apply_to = function)
#define PATH(name) name##_avx512
#include "transformer_body.h"
#include "linear_body.h"
#undef PATH
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512bf16,avx2,fma"))), apply_to = function)
#define PATH(name) name##_avx512bf16
#define NATIVE_BFLOATS
#include "transformer_body.h"
#include "linear_body.h"
#undef NATIVE_BFLOATS
#undef PATH
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target( \
    "amx-tile,amx-bf16,avx512f,avx512bw,avx512bf16,avx2,fma"))), apply_to = function)
#include "amx_bfloat.h"
#pragma clang attribute pop
#undef ROWS
#undef PANELS

static bool has_bfloats(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16");
}

static bool has_bfloat_tiles(void) { return has_bfloats() && __builtin_cpu_supports("amx-bf16"); }
#endif

static const transformer_kernels *kernels_of(int path) {
#if defined(__x86_64__)
    switch (path) {
    case MRL_PATH_AVX2:
    case MRL_PATH_AVXVNNI: return &kernels_avx2;
    case MRL_PATH_AVX512:
    case MRL_PATH_AVX512VNNI:
    case MRL_PATH_AMX: return &kernels_avx512;
    }
#else
    (void)path;
#endif
    return &kernels_portable;
}

void mrl_gate(int path, const float *rows, size_t count, size_t width, float *gated) {
    kernels_of(path)->gate(rows, count, width, gated);
}

void mrl_softmax(int path, float *rows, size_t count, size_t width, size_t stride, float scale) {
    kernels_of(path)->softmax(rows, count, width, stride, scale);
}

void mrl_layer_norm(int path, float *rows, const float *added, const float *weight, const float *shift, size_t count,
                    size_t width, float epsilon) {
    kernels_of(path)->layer_norm(rows, added, weight, shift, count, width, epsilon);
}

void mrl_turn_pairs(int path, float *rows, size_t count, size_t stride, size_t heads, size_t half,
                    const float *cosines, const float *sines) {
    kernels_of(path)->turn_pairs(rows, count, stride, heads, half, cosines, sines);
}

static const linear_kernels *linear_of(int path) {
#if defined(__x86_64__)
    switch (path) {
    case MRL_PATH_AVX2:
    case MRL_PATH_AVXVNNI: return &linear_avx2;
    case MRL_PATH_AVX512: return &linear_avx512;
    case MRL_PATH_AVX512VNNI: return has_bfloats() ? &linear_avx512bf16 : &linear_avx512;
    case MRL_PATH_AMX: return has_bfloat_tiles() ? &linear_amx : has_bfloats() ? &linear_avx512bf16 : &linear_avx512;
    }
#else
    (void)path;
#endif
    return &linear_portable;
}

size_t mrl_packed_floats(size_t outputs, size_t inputs) { return pad(outputs, LANES) * inputs; }

void mrl_pack_floats(const float *weights, size_t outputs, size_t inputs, float *packed) {
    for (size_t output = 0; output < pad(outputs, LANES); output++) {
        float *panel = packed + output / LANES * LANES * inputs + output % LANES;
        for (size_t i = 0; i < inputs; i++) panel[i * LANES] = output < outputs ? weights[output * inputs + i] : 0;
    }
}

void mrl_multiply_floats(int path, const float *rows, size_t count, size_t stride, size_t inputs, const float *packed,
                         size_t outputs, const float *bias, int finish, float *result, size_t result_stride) {
    linear_of(path)->multiply_floats(rows, count, stride, inputs, packed, outputs, bias, finish, result,
                                     result_stride);
}

static uint16_t rounded_bfloat(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

size_t mrl_packed_bfloats(size_t outputs, size_t inputs) { return pad(outputs, LANES) * pad(inputs, BFLOAT_PAD); }

void mrl_pack_bfloats(const float *weights, size_t outputs, size_t inputs, uint16_t *packed) {
    size_t padded = pad(inputs, BFLOAT_PAD);
    for (size_t output = 0; output < pad(outputs, LANES); output++) {
        uint16_t *panel = packed + output / LANES * LANES * padded;
        for (size_t i = 0; i < padded; i++) {
            bool there = output < outputs && i < inputs;
            panel[i / 2 * 2 * LANES + output % LANES * 2 + i % 2] =
                there ? rounded_bfloat(weights[output * inputs + i]) : 0;
        }
    }
}

size_t mrl_rounded_bfloats(size_t inputs) { return ROUNDED_ROWS * pad(inputs, BFLOAT_PAD); }

void mrl_multiply_bfloats(int path, const float *rows, size_t count, size_t stride, size_t inputs,
                          const uint16_t *packed, size_t outputs, const float *bias, int finish, float *result,
                          size_t result_stride, uint16_t *rounded) {
    linear_of(path)->multiply_bfloats(rows, count, stride, inputs, packed, outputs, bias, finish, result, result_stride,
                                      rounded);
}

size_t mrl_attend_floats(size_t length, size_t columns) {
    size_t padded = pad(length, LANES);
    return padded * columns + pad(columns, LANES) * length + ATTEND_QUERIES * padded;
}

void mrl_attend(int path, const float *tokens, size_t length, size_t stride, size_t heads, size_t columns, float scale,
                float *out, float *scratch) {
    linear_of(path)->attend(tokens, length, stride, heads, columns, scale, out, scratch);
}
