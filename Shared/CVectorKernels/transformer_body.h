// The kernels of transformer.h for one path; included once for each, with PATH naming it.
#pragma clang fp contract(fast)

#define INLINE static inline __attribute__((always_inline))

INLINE void PATH(load)(lanes *to, const float *from) { memcpy(to, from, sizeof *to); }
INLINE void PATH(store)(float *to, const lanes *from) { memcpy(to, from, sizeof *from); }

// The first `count` lanes, fewer than 16; the others hold `fill`.
INLINE void PATH(load_part)(lanes *to, const float *from, size_t count, float fill) {
    *to = (lanes){} + fill;
    memcpy(to, from, count * sizeof(float));
}

INLINE void PATH(store_part)(float *to, const lanes *from, size_t count) { memcpy(to, from, count * sizeof(float)); }

INLINE float PATH(sum)(const lanes *values) {
    float total = 0;
    for (int lane = 0; lane < LANES; lane++) total += (*values)[lane];
    return total;
}

INLINE float PATH(maximum)(const lanes *values) { return __builtin_reduce_max(*values); }

// e^x: x = n ln 2 + r, a Taylor polynomial of r with an error below 1e-8, n put into the exponent.
INLINE void PATH(exponential)(lanes *values) {
    lanes low = (lanes){} - 87.0f, high = (lanes){} + 88.0f;
    lanes x = __builtin_elementwise_min(__builtin_elementwise_max(*values, low), high);
    // Adding 1.5 * 2^23 rounds to a whole number.
    lanes shift = (lanes){} + 12582912.0f;
    lanes n = x * 1.44269504f + shift;
    lane_bits exponent;
    memcpy(&exponent, &n, sizeof exponent);
    exponent = (exponent - 0x4B400000 + 127) << 23;
    n -= shift;
    lanes r = x - n * 0.693359375f + n * 2.12194440e-4f;
    lanes y = (lanes){} + 1.98412698e-4f;
    y = y * r + 1.38888889e-3f;
    y = y * r + 8.33333333e-3f;
    y = y * r + 4.16666667e-2f;
    y = y * r + 1.66666667e-1f;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    lanes power;
    memcpy(&power, &exponent, sizeof power);
    *values = y * power;
}

// x * (1 + erf(x / sqrt 2)) / 2. The complement is e^(-u^2) t Q(t) with u = |x| / sqrt 2 and t = 1 / (1 + 0.4 u);
// Q is a least-squares fit over 0 <= u <= 6, at most 2.4e-9 off.
INLINE void PATH(gelu)(lanes *values) {
    lanes x = *values, u = __builtin_elementwise_abs(x) * 0.707106781f;
    lanes t = 1.0f / (1.0f + 0.4f * u);
    lanes q = t * 0.0797375287f - 0.420512105f;
    q = q * t + 0.73645546f;
    q = q * t - 0.430783532f;
    q = q * t + 0.445126255f;
    q = q * t + 0.126083566f;
    q = q * t + 0.239169194f;
    q = q * t + 0.224723635f;
    lanes e = -u * u;
    PATH(exponential)(&e);
    lanes tail = 0.5f * e * t * q;
    *values = x * (0.5f + __builtin_elementwise_copysign(0.5f - tail, x));
}

INLINE void PATH(swish)(lanes *up, const lanes *gate) {
    lanes e = -*gate;
    PATH(exponential)(&e);
    *up *= *gate / (1.0f + e);
}

static void PATH(gate)(const float *rows, size_t count, size_t width, float *gated) {
    size_t whole = width / LANES * LANES;
    for (size_t row = 0; row < count; row++) {
        const float *up = rows + row * 2 * width, *gate = up + width;
        float *out = gated + row * width;
        lanes u, g;
        for (size_t i = 0; i < whole; i += LANES) {
            PATH(load)(&u, up + i);
            PATH(load)(&g, gate + i);
            PATH(swish)(&u, &g);
            PATH(store)(out + i, &u);
        }
        if (whole == width) continue;
        PATH(load_part)(&u, up + whole, width - whole, 0);
        PATH(load_part)(&g, gate + whole, width - whole, 0);
        PATH(swish)(&u, &g);
        PATH(store_part)(out + whole, &u, width - whole);
    }
}

static void PATH(softmax)(float *rows, size_t count, size_t width, size_t stride, float scale) {
    size_t whole = width / LANES * LANES, rest = width - whole;
    for (size_t row = 0; row < count; row++) {
        float *values = rows + row * stride;
        lanes x, greatest = (lanes){} - INFINITY, total = (lanes){};
        for (size_t i = 0; i < whole; i += LANES) {
            PATH(load)(&x, values + i);
            greatest = __builtin_elementwise_max(greatest, x);
        }
        if (rest) {
            PATH(load_part)(&x, values + whole, rest, -INFINITY);
            greatest = __builtin_elementwise_max(greatest, x);
        }
        float top = PATH(maximum)(&greatest);
        for (size_t i = 0; i < whole; i += LANES) {
            PATH(load)(&x, values + i);
            x = (x - top) * scale;
            PATH(exponential)(&x);
            total += x;
            PATH(store)(values + i, &x);
        }
        float sum = PATH(sum)(&total);
        if (rest) {
            PATH(load_part)(&x, values + whole, rest, top);
            x = (x - top) * scale;
            PATH(exponential)(&x);
            PATH(store_part)(values + whole, &x, rest);
            for (size_t i = whole; i < width; i++) sum += values[i];
        }
        float factor = 1 / sum;
        for (size_t i = 0; i < width; i++) values[i] *= factor;
    }
}

static void PATH(layer_norm)(float *rows, const float *added, const float *weight, const float *shift, size_t count,
                             size_t width, float epsilon) {
    size_t whole = width / LANES * LANES;
    for (size_t row = 0; row < count; row++) {
        float *values = rows + row * width;
        if (added) {
            const float *more = added + row * width;
            for (size_t i = 0; i < width; i++) values[i] += more[i];
        }
        lanes x, total = (lanes){}, squares = (lanes){};
        for (size_t i = 0; i < whole; i += LANES) {
            PATH(load)(&x, values + i);
            total += x;
        }
        float mean = PATH(sum)(&total);
        for (size_t i = whole; i < width; i++) mean += values[i];
        mean /= (float)width;
        for (size_t i = 0; i < whole; i += LANES) {
            PATH(load)(&x, values + i);
            x -= mean;
            squares += x * x;
        }
        float variance = PATH(sum)(&squares);
        for (size_t i = whole; i < width; i++) variance += (values[i] - mean) * (values[i] - mean);
        float factor = 1 / sqrtf(variance / (float)width + epsilon);
        if (weight) {
            for (size_t i = 0; i < width; i++) values[i] = (values[i] - mean) * factor * weight[i] + shift[i];
        } else {
            for (size_t i = 0; i < width; i++) values[i] = (values[i] - mean) * factor;
        }
    }
}

static void PATH(turn_pairs)(float *rows, size_t count, size_t stride, size_t heads, size_t half,
                             const float *cosines, const float *sines) {
    for (size_t row = 0; row < count; row++) {
        const float *c = cosines + row * half, *s = sines + row * half;
        for (size_t head = 0; head < heads; head++) {
            float *first = rows + row * stride + head * 2 * half, *second = first + half;
            for (size_t i = 0; i < half; i++) {
                float x = first[i], y = second[i];
                first[i] = x * c[i] - y * s[i];
                second[i] = y * c[i] + x * s[i];
            }
        }
    }
}

static const transformer_kernels PATH(kernels) = {
    PATH(gate), PATH(softmax), PATH(layer_norm), PATH(turn_pairs),
};

#undef INLINE
#pragma clang fp contract(off)
