// What a transformer computes between its matrix products, over rows of float32.
//
// Paths agree to rounding, not to the bit: sums and fused multiply-adds differ.
#pragma once
#include <stddef.h>

// Rows of 2 * width become rows of width: first half * second half * sigmoid(second half).
void mrl_gate(int path, const float *rows, size_t count, size_t width, float *gated);
// Each row becomes the softmax of its first `width` values times `scale`; `width` is 1 or more.
void mrl_softmax(int path, float *rows, size_t count, size_t width, size_t stride, float scale);
// rows[i] = normalised(rows[i] + added[i]) * weight + shift. `added` may be null; so may `weight` and `shift`, together.
void mrl_layer_norm(int path, float *rows, const float *added, const float *weight, const float *shift, size_t count,
                    size_t width, float epsilon);
// Turns the pairs (i, i + half) of each head's `2 * half` values by the row's angles; angles are [count][half].
void mrl_turn_pairs(int path, float *rows, size_t count, size_t stride, size_t heads, size_t half,
                    const float *cosines, const float *sines);
