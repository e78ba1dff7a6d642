// The gradients of a depthwise convolution on a CPU; depthwise.py compiles them.
//
// Images [n, h, w, c] and gradients [n, oh, ow, c] are channels last, kernels [k, k, c]. Values are fp32 or bf16, sums
// are fp32. One row of gradients meets one row of the image at a time, so that both stay in the first cache; eight
// channels of fp32, or sixteen of bf16, make a vector, and sums stay in registers while columns are gone over.

#include "vectors.h"

// Adds to `sums` (K rows of c) what V channels of one row of gradients and one row of the image contribute.
template <int K, int S, int V, typename T>
static inline void add_row(const T* image, const T* grad, float* sums, int64_t c, int64_t w, int64_t ow) {
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
        const T* from = image + (q * S - pad) * c;
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

template <typename T> constexpr int lanes = sizeof(T) == 2 ? 16 : 8;

template <int K, int S, typename T>
static void add_all(const T* images, const T* grads, float* sums, int64_t n, int64_t c, int64_t h, int64_t w,
                    int64_t oh, int64_t ow) {
    for (int64_t y = 0; y < n * oh; y++) {
        const T* grad = grads + y * ow * c;
        for (int i = 0; i < K; i++) {
            const int64_t row = y % oh * S + i - K / 2;
            if (row < 0 || row >= h) continue;
            const T* image = images + (y / oh * h + row) * w * c;
            float* sum = sums + i * K * c;
            int64_t k = 0;
            for (; k + lanes<T> <= c; k += lanes<T>) add_row<K, S, lanes<T>>(image + k, grad + k, sum + k, c, w, ow);
            for (; k + 8 <= c; k += 8) add_row<K, S, 8>(image + k, grad + k, sum + k, c, w, ow);
            for (; k < c; k++) add_row<K, S, 1>(image + k, grad + k, sum + k, c, w, ow);
        }
    }
}

// Writes V channels of one row of the images' gradient at stride 2: `row` of the image, whose gradients start at `grads`.
template <int K, int V>
static inline void spread_row(const bf16* grads, const float* kernel, bf16* found, int64_t row, int64_t c, int64_t w,
                              int64_t oh, int64_t ow) {
    constexpr int pad = K / 2, most = (K + 1) / 2;
    const bf16* from[most];  // the rows of gradients that this row of the image had a part in, and the kernel's rows
    const float* weights[most];
    int rows = 0;
    for (int i = (row + pad) % 2; i < K; i += 2) {
        const int64_t y = (row + pad - i) / 2;
        if (row + pad < i || y >= oh) continue;
        from[rows] = grads + y * ow * c;
        weights[rows++] = kernel + i * K * c;
    }
    auto write = [&](int64_t x) {  // where the kernel may stick out of the gradients
        typename Vector<V>::type sum{};
        for (int i = 0; i < rows; i++)
            for (int j = (x + pad) % 2; j < K; j += 2) {
                const int64_t q = (x + pad - j) / 2;
                if (x + pad >= j && q < ow) sum += load<V>(from[i] + q * c) * load<V>(weights[i] + j * c);
            }
        store<V>(found + x * c, sum);
    };
    // Inside, four columns at a time, the first of them even: which weights each meets is then known beforehand.
    constexpr int back = pad / 2, span = (3 + pad) / 2 + back + 1;  // the gradients that the four meet: how far back, how many
    int64_t x = 0;
    for (; x < 2 * back && x < w; x++) write(x);
    for (; x + 4 <= w && (x + 3 + pad) / 2 < ow; x += 4) {
        typename Vector<V>::type sum[4]{};
        for (int i = 0; i < rows; i++) {
            const bf16* at = from[i] + (x / 2 - back) * c;
            typename Vector<V>::type slope[span];
#pragma GCC unroll 16
            for (int s = 0; s < span; s++) slope[s] = load<V>(at + s * c);
#pragma GCC unroll 16
            for (int j = 0; j < K; j++) {
                const typename Vector<V>::type weight = load<V>(weights[i] + j * c);
#pragma GCC unroll 4
                for (int u = 0; u < 4; u++)
                    if ((u + pad - j) % 2 == 0) sum[u] += slope[(u + pad - j) / 2 + back] * weight;
            }
        }
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) store<V>(found + (x + u) * c, sum[u]);
    }
    for (; x < w; x++) write(x);
}

template <int K>
static void spread(const bf16* grads, const float* kernel, bf16* found, int64_t n, int64_t c, int64_t h, int64_t w,
                   int64_t oh, int64_t ow) {
#pragma omp parallel for schedule(static)
    for (int64_t y = 0; y < n * h; y++) {
        const bf16* grad = grads + y / h * oh * ow * c;
        bf16* to = found + y * w * c;
        int64_t k = 0;
        for (; k + 16 <= c; k += 16) spread_row<K, 16>(grad + k, kernel + k, to + k, y % h, c, w, oh, ow);
        for (; k + 8 <= c; k += 8) spread_row<K, 8>(grad + k, kernel + k, to + k, y % h, c, w, oh, ow);
        for (; k < c; k++) spread_row<K, 1>(grad + k, kernel + k, to + k, y % h, c, w, oh, ow);
    }
}

template <typename T>
using Adder = void(const T*, const T*, float*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);

template <typename T> static Adder<T>* adder(int64_t kernel, int64_t stride) {
    switch (kernel * 10 + stride) {
        case 31: return add_all<3, 1, T>;
        case 32: return add_all<3, 2, T>;
        case 51: return add_all<5, 1, T>;
        case 52: return add_all<5, 2, T>;
        case 71: return add_all<7, 1, T>;
        case 72: return add_all<7, 2, T>;
        case 91: return add_all<9, 1, T>;
        case 92: return add_all<9, 2, T>;
        default: return nullptr;
    }
}

template <typename T>
static int weight_grad(const T* images, const T* grads, float* sums, int64_t threads, int64_t n, int64_t c, int64_t h,
                       int64_t w, int64_t oh, int64_t ow, int64_t kernel, int64_t stride) {
    Adder<T>* const add = adder<T>(kernel, stride);
    if (!add) return 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t part = 0; part < threads; part++) {
        const int64_t first = n * part / threads, end = n * (part + 1) / threads;
        add(images + first * h * w * c, grads + first * oh * ow * c, sums + part * kernel * kernel * c, end - first, c,
            h, w, oh, ow);
    }
    return 1;
}

// The gradient of the weights. Shares the images out among threads; `sums` [threads, k, k, c] must be zero at first and
// is to be added up. Returns whether there is code for the kernel and stride.
extern "C" int depthwise_weight_grad(const void* images, const void* grads, float* sums, int64_t is_bf16,
                                     int64_t threads, int64_t n, int64_t c, int64_t h, int64_t w, int64_t oh,
                                     int64_t ow, int64_t kernel, int64_t stride) {
    if (is_bf16)
        return weight_grad(static_cast<const bf16*>(images), static_cast<const bf16*>(grads), sums, threads, n, c, h, w,
                           oh, ow, kernel, stride);
    return weight_grad(static_cast<const float*>(images), static_cast<const float*>(grads), sums, threads, n, c, h, w,
                       oh, ow, kernel, stride);
}

// The gradient of the images at stride 2, in bf16; `weights` [k, k, c] are fp32. Returns whether there is code for it.
extern "C" int depthwise_input_grad(const void* grads, const float* weights, void* found, int64_t n, int64_t c,
                                    int64_t h, int64_t w, int64_t oh, int64_t ow, int64_t kernel) {
    const bf16* from = static_cast<const bf16*>(grads);
    bf16* to = static_cast<bf16*>(found);
    switch (kernel) {
        case 3: spread<3>(from, weights, to, n, c, h, w, oh, ow); return 1;
        case 5: spread<5>(from, weights, to, n, c, h, w, oh, ow); return 1;
        case 7: spread<7>(from, weights, to, n, c, h, w, oh, ow); return 1;
        case 9: spread<9>(from, weights, to, n, c, h, w, oh, ow); return 1;
        default: return 0;
    }
}
