#include "internal.h"

// Output number `index` of SplitMix64 started with `seed`.
static uint64_t split_mix(uint64_t seed, uint64_t index) {
    uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void mrl_rotate(const float *vector, size_t width, uint64_t seed, float *rotated) {
    enum { ROUNDS = 3, SIZE = 64 };
    size_t words = (width + SIZE - 1) / SIZE;
    for (size_t word = 0; word < words; word++) {
        float *x = rotated + word * SIZE;
        size_t left = width - word * SIZE, count = left < SIZE ? left : SIZE;
        memcpy(x, vector + word * SIZE, count * sizeof *x);
        memset(x + count, 0, (SIZE - count) * sizeof *x);
        for (uint64_t round = 0; round < ROUNDS; round++) {
            uint64_t flips = split_mix(seed, word * ROUNDS + round);
            for (int i = 0; i < SIZE; i++) x[i] = flips >> i & 1 ? -x[i] : x[i];
            for (int half = 1; half < SIZE; half *= 2) {
                for (int start = 0; start < SIZE; start += 2 * half) {
                    for (int i = start; i < start + half; i++) {
                        float a = x[i], b = x[i + half];
                        x[i] = a + b;
                        x[i + half] = a - b;
                    }
                }
            }
        }
    }
}

void mrl_sign_bits(const float *rotated, size_t words, uint64_t *bits) {
    for (size_t word = 0; word < words; word++) {
        uint64_t sum = 0;
        for (int i = 0; i < 64; i++) sum |= (uint64_t)(rotated[word * 64 + i] >= 0) << i;
        bits[word] = sum;
    }
}

void mrl_bit_codes(const float *rotated, size_t words, int8_t *codes) {
    float greatest = 0;
    for (size_t i = 0; i < words * 64; i++) {
        float magnitude = fabsf(rotated[i]);
        greatest = magnitude > greatest ? magnitude : greatest;
    }
    float inverse = 15.0f / greatest;
    if (!isnormal(inverse)) {
        memset(codes, 0, words * 64);
        return;
    }
    for (size_t i = 0; i < words * 64; i++) {
        float rounded = (rotated[i] * inverse + 0x1.8p23f) - 0x1.8p23f;
        rounded = rounded >= -15.0f ? rounded : -15.0f;
        rounded = rounded <= 15.0f ? rounded : 15.0f;
        codes[i] = (int8_t)(int32_t)rounded;
    }
}

void mrl_bit_tables(const int8_t *codes, size_t words, uint8_t *tables) {
    for (size_t four = 0; four < words * 16; four++) {
        for (int signs = 0; signs < 16; signs++) {
            int sum = 60;
            for (int i = 0; i < 4; i++) sum += signs >> i & 1 ? codes[four * 4 + i] : -codes[four * 4 + i];
            tables[four * 16 + signs] = (uint8_t)sum;
        }
    }
}

int32_t mrl_bit_dot(const int8_t *codes, const uint64_t *bits, size_t words) {
    int32_t sum = 0;
    for (size_t word = 0; word < words; word++) {
        for (int i = 0; i < 64; i++) sum += bits[word] >> i & 1 ? codes[word * 64 + i] : -codes[word * 64 + i];
    }
    return sum;
}

float mrl_bit_score(int32_t dot, float row_root, bool cosine) { return bit_score(dot, row_root, cosine); }

void mrl_pack_bits(uint8_t *blocks, size_t words, size_t row, const uint64_t *bits) {
    uint8_t *out = blocks + row / MRL_BIT_BLOCK * words * 8 * MRL_BIT_BLOCK + row % MRL_BIT_BLOCK;
    for (size_t i = 0; i < words * 8; i++) out[i * MRL_BIT_BLOCK] = (uint8_t)(bits[i / 8] >> (i % 8 * 8));
}

void mrl_unpack_bits(const uint8_t *blocks, size_t words, size_t row, uint64_t *bits) {
    const uint8_t *in = blocks + row / MRL_BIT_BLOCK * words * 8 * MRL_BIT_BLOCK + row % MRL_BIT_BLOCK;
    memset(bits, 0, words * 8);
    for (size_t i = 0; i < words * 8; i++) bits[i / 8] |= (uint64_t)in[i * MRL_BIT_BLOCK] << (i % 8 * 8);
}
