// The gradient of a depthwise convolution's weights on a CPU; depthwise.py compiles it.
//
// Images [n, h, w, c] and gradients [n, oh, ow, c] are channels last, the result is [k, k, c]. One row of gradients
// meets one row of the image at a time, so that both stay in the first cache; eight channels make a vector, and the k
// sums of a row of the kernel stay in registers while four columns are gone over with each image value loaded once.

#include <cstdint>
#include <cstring>

template <int V> struct Vector { typedef float type __attribute__((vector_size(4 * V))); };
template <> struct Vector<1> { typedef float type; };

template <int V> static inline typename Vector<V>::type load(const float* from) {
    typename Vector<V>::type value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

// Adds to `sums` (K rows of c) what V channels of one row of gradients and one row of the image contribute.
template <int K, int S, int V>
static inline void add_row(const float* image, const float* grad, float* sums, int64_t c, int64_t w, int64_t ow) {
    constexpr int pad = K / 2, columns = 4;
    typename Vector<V>::type sum[K], slope[columns];
    for (int j = 0; j < K; j++) sum[j] = load<V>(sums + j * c);
    auto add_column = [&](int64_t q) {  // where the kernel sticks out of the image
        for (int j = 0; j < K; j++) {
            const int64_t at = q * S + j - pad;
            if (at >= 0 && at < w) sum[j] += load<V>(grad + q * c) * load<V>(image + at * c);
        }
    };
    const int64_t first = (pad + S - 1) / S, inside = w + pad >= K ? (w + pad - K) / S + 1 : 0;
    const int64_t last = inside < ow ? inside : ow;
    int64_t q = 0;
    for (; q < first && q < ow; q++) add_column(q);
    for (; q + columns <= last; q += columns) {
        const float* from = image + (q * S - pad) * c;
#pragma GCC unroll 4
        for (int u = 0; u < columns; u++) slope[u] = load<V>(grad + (q + u) * c);
#pragma GCC unroll 16
        for (int t = 0; t < (columns - 1) * S + K; t++) {
            const typename Vector<V>::type value = load<V>(from + t * c);
#pragma GCC unroll 4
            for (int u = 0; u < columns; u++)
                if (t >= u * S && t < u * S + K) sum[t - u * S] += slope[u] * value;
        }
    }
    for (; q < ow; q++) add_column(q);
    for (int j = 0; j < K; j++) std::memcpy(sums + j * c, &sum[j], sizeof sum[j]);
}

template <int K, int S>
static void add_all(const float* images, const float* grads, float* sums, int64_t n, int64_t c, int64_t h, int64_t w,
                    int64_t oh, int64_t ow) {
    for (int64_t y = 0; y < n * oh; y++) {
        const float* grad = grads + y * ow * c;
        for (int i = 0; i < K; i++) {
            const int64_t row = y % oh * S + i - K / 2;
            if (row < 0 || row >= h) continue;
            const float* image = images + (y / oh * h + row) * w * c;
            float* sum = sums + i * K * c;
            int64_t k = 0;
            for (; k + 8 <= c; k += 8) add_row<K, S, 8>(image + k, grad + k, sum + k, c, w, ow);
            for (; k < c; k++) add_row<K, S, 1>(image + k, grad + k, sum + k, c, w, ow);
        }
    }
}

typedef void Adder(const float*, const float*, float*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);

static Adder* adder(int64_t kernel, int64_t stride) {
    switch (kernel * 10 + stride) {
        case 51: return add_all<5, 1>;
        case 52: return add_all<5, 2>;
        case 71: return add_all<7, 1>;
        case 72: return add_all<7, 2>;
        case 91: return add_all<9, 1>;
        case 92: return add_all<9, 2>;
        default: return nullptr;
    }
}

// Shares the images out among threads; `sums` [threads, k, k, c] must be zero at first and is to be added up. Returns
// whether there is code for the kernel and stride.
extern "C" int depthwise_weight_grad(const float* images, const float* grads, float* sums, int64_t threads, int64_t n,
                                     int64_t c, int64_t h, int64_t w, int64_t oh, int64_t ow, int64_t kernel,
                                     int64_t stride) {
    Adder* const add = adder(kernel, stride);
    if (!add) return 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t part = 0; part < threads; part++) {
        const int64_t first = n * part / threads, end = n * (part + 1) / threads;
        add(images + first * h * w * c, grads + first * oh * ow * c, sums + part * kernel * kernel * c, end - first, c,
            h, w, oh, ow);
    }
    return 1;
}
