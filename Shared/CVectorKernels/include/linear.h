// Linear layers and attention of transformer encoders, over rows of float32 that lie row by row.
//
// Weights are packed once: panels of 16 outputs, each with all inputs one after the other, so that a product reads them in
// order and needs no copy of its own. Paths agree to rounding, not to the bit.
#pragma once
#include <stddef.h>
#include <stdint.h>

// What is done to a product before it is stored, after the bias, which may be null. The Gaussian unit is that of the exact
// integral, to 3e-8 of its factor.
enum { MRL_FINISH_BIAS = 0, MRL_FINISH_GELU = 1 };

// Floats that `outputs` x `inputs` weights take when packed, and the packing itself.
size_t mrl_packed_floats(size_t outputs, size_t inputs);
void mrl_pack_floats(const float *weights, size_t outputs, size_t inputs, float *packed);

// result[i] = finish(rows[i] * weights^T + bias).
void mrl_multiply_floats(int path, const float *rows, size_t count, size_t stride, size_t inputs, const float *packed,
                         size_t outputs, const float *bias, int finish, float *result, size_t result_stride);

// The same in bfloat16: pairs of inputs side by side, rounded to nearest even, inputs filled up with zeros to 32.
size_t mrl_packed_bfloats(size_t outputs, size_t inputs);
void mrl_pack_bfloats(const float *weights, size_t outputs, size_t inputs, uint16_t *packed);
// Values of bfloat16 that `mrl_multiply_bfloats` needs for rounded rows; enough for any count.
size_t mrl_rounded_bfloats(size_t inputs);
// Products are exact and sums are float32. `rounded` is aligned to 64 bytes.
void mrl_multiply_bfloats(int path, const float *rows, size_t count, size_t stride, size_t inputs,
                          const uint16_t *packed, size_t outputs, const float *bias, int finish, float *result,
                          size_t result_stride, uint16_t *rounded);

// Floats that `mrl_attend` needs for a text of `length` tokens.
size_t mrl_attend_floats(size_t length, size_t columns);
// softmax(q k^T * scale) v of every head. A token's row holds the queries of all heads, then keys, then values, each
// `heads` * `columns` wide, and rows lie `stride` apart; `out` gets rows of `heads` * `columns`.
void mrl_attend(int path, const float *tokens, size_t length, size_t stride, size_t heads, size_t columns, float scale,
                float *out, float *scratch);
