#include "internal.h"

typedef struct {
    void (*add_bias)(float *, size_t, size_t, const float *);
    void (*bias_gelu)(float *, size_t, size_t, const float *);
    void (*gate)(float *, size_t, size_t);
    void (*softmax)(float *, size_t, size_t, size_t, float);
    void (*layer_norm)(float *, const float *, const float *, const float *, const float *, size_t, size_t, float);
    void (*turn_pairs)(float *, size_t, size_t, size_t, size_t, const float *, const float *);
} transformer_kernels;

// One source for all paths: the compiler splits a vector of 16 into what the instruction set has.
typedef float lanes __attribute__((vector_size(64)));
typedef int lane_bits __attribute__((vector_size(64)));
enum { LANES = 16 };

#define PATH(name) name##_portable
#include "transformer_body.h"
#undef PATH

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define PATH(name) name##_avx2
#include "transformer_body.h"
#undef PATH
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx2,fma"))), apply_to = function)
#define PATH(name) name##_avx512
#include "transformer_body.h"
#undef PATH
#pragma clang attribute pop
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
#endif
    return &kernels_portable;
}

void mrl_add_bias(int path, float *rows, size_t count, size_t width, const float *bias) {
    kernels_of(path)->add_bias(rows, count, width, bias);
}

void mrl_bias_gelu(int path, float *rows, size_t count, size_t width, const float *bias) {
    kernels_of(path)->bias_gelu(rows, count, width, bias);
}

void mrl_gate(int path, float *rows, size_t count, size_t width) { kernels_of(path)->gate(rows, count, width); }

void mrl_softmax(int path, float *rows, size_t count, size_t width, size_t stride, float scale) {
    kernels_of(path)->softmax(rows, count, width, stride, scale);
}

void mrl_layer_norm(int path, float *rows, const float *added, const float *bias, const float *weight,
                    const float *shift, size_t count, size_t width, float epsilon) {
    kernels_of(path)->layer_norm(rows, added, bias, weight, shift, count, width, epsilon);
}

void mrl_turn_pairs(int path, float *rows, size_t count, size_t stride, size_t heads, size_t half,
                    const float *cosines, const float *sines) {
    kernels_of(path)->turn_pairs(rows, count, stride, heads, half, cosines, sines);
}
