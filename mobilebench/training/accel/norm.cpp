// Batch normalisation in training, with the activation after it, on a CPU; norm.py compiles it.
//
// A tensor [n, h, w, c], channels last, is gone over as rows of L = k * c columns, k neighbouring pixels each, so that L is
// a multiple of the vector's length for any c. What belongs to a channel is tiled to L by the caller. Values are fp32 or
// bf16, everything between is fp32; the last pixels, too few for a row, are gone over one value at a time.

#include "vectors.h"

constexpr int V = 16;
typedef Vector<V>::type F;
typedef Vector<V>::signs I;

// One value at the front of a vector of zeros, for the last pixels: the same code then does for both.
template <typename T> static inline F load_one(const T* from) {
    T values[V]{};
    values[0] = *from;
    return load<V>(values);
}
template <typename T> static inline void store_one(T* to, F value) {
    T values[V];
    store<V>(values, value);
    *to = values[0];
}

static inline F select(I where, F yes, F no) {
    I a, b;
    std::memcpy(&a, &yes, sizeof a);
    std::memcpy(&b, &no, sizeof b);
    const I chosen = (a & where) | (b & ~where);
    F value;
    std::memcpy(&value, &chosen, sizeof value);
    return value;
}

// e^x within 2 units in the last place, by x = n ln 2 + r and the polynomial of Cephes' expf.
static inline F exponential(F x) {
    const F low = F{} - 87.0f, high = F{} + 88.0f;
    x = select(x < low, low, select(x > high, high, x));  // NaN stays
    const F magic = F{} + 12582912.0f, n = (x * 1.44269504f + magic) - magic;
    const F r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    F p = F{} + 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const I scale = (__builtin_convertvector(n, I) + 127) << 23;
    F power;
    std::memcpy(&power, &scale, sizeof power);
    return p * power;
}

enum Activation { NONE, RELU, RELU6, SILU, HARDSWISH };

template <int A> static inline F activated(F z) {
    const F zero{}, six = zero + 6.0f;
    if constexpr (A == RELU) return select(z < zero, zero, z);
    if constexpr (A == RELU6) return select(z < zero, zero, select(z > six, six, z));
    if constexpr (A == SILU) return z / (1.0f + exponential(-z));
    if constexpr (A == HARDSWISH) return z * select(z < -3.0f + zero, zero, select(z > 3.0f + zero, zero + 1.0f, (z + 3.0f) / 6.0f));
    return z;
}

// The activation's derivative times a gradient.
template <int A> static inline F sloped(F z, F grad) {
    const F zero{};
    if constexpr (A == RELU) return select(z <= zero, zero, grad);
    if constexpr (A == RELU6) return select((z <= zero) | (z >= 6.0f + zero), zero, grad);
    if constexpr (A == SILU) {
        const F s = 1.0f / (1.0f + exponential(-z));
        return grad * s * (1.0f + z * (1.0f - s));
    }
    if constexpr (A == HARDSWISH)
        return select(z <= -3.0f + zero, zero, select(z >= 3.0f + zero, grad, grad * (z / 3.0f + 0.5f)));
    return grad;
}

constexpr int64_t BLOCK = 256;  // rows whose sums are in fp32 before they are added in fp64

// Whether the gradient before the activation costs more to compute twice than to keep between the two passes.
template <int A> constexpr bool KEPT = A == SILU;

// Adds to sums [2, L] the values of rows [first, end) less `about` [L], and their squares; BACK: the gradients before the
// activation, which are written to `kept` where they are KEPT, and these times the values less `about`.
template <typename T, bool BACK, int A>
static void sum_rows(const T* images, const T* grads, const float* about, const float* scale, const float* shift,
                     T* kept, double* sums, float* own, int64_t first, int64_t end, int64_t L) {
    for (int64_t from = first; from < end; from += BLOCK) {
        const int64_t to = from + BLOCK < end ? from + BLOCK : end;
        std::memset(own, 0, 2 * L * sizeof *own);
        for (int64_t y = from; y < to; y += 4) {
            const int rows = to - y < 4 ? int(to - y) : 4;
            for (int64_t k = 0; k < L; k += V) {
                F a = load<V>(own + k), b = load<V>(own + L + k);
                const F centre = load<V>(about + k);
                for (int u = 0; u < rows; u++) {
                    const F value = load<V>(images + (y + u) * L + k), apart = value - centre;
                    if constexpr (BACK) {
                        const F z = value * load<V>(scale + k) + load<V>(shift + k);
                        const F slope = sloped<A>(z, load<V>(grads + (y + u) * L + k));
                        if constexpr (KEPT<A>) store<V>(kept + (y + u) * L + k, slope);
                        a += slope;
                        b += slope * apart;
                    } else {
                        a += apart;
                        b += apart * apart;
                    }
                }
                store<V>(own + k, a);
                store<V>(own + L + k, b);
            }
        }
        for (int64_t k = 0; k < 2 * L; k++) sums[k] += own[k];
    }
}

// Writes activated(images * scale + shift); BACK: gradient * scale + images * slope + offset, of gradients before the
// activation, which are in `found` where they are KEPT. All of [L], tiled.
template <typename T, bool BACK, int A>
static void write_rows(const T* images, const T* grads, const float* scale, const float* shift, const float* slope,
                       const float* offset, T* found, int64_t first, int64_t end, int64_t L) {
    for (int64_t y = first; y < end; y++)
        for (int64_t k = 0; k < L; k += V) {
            const F value = load<V>(images + y * L + k), factor = load<V>(scale + k), z = value * factor + load<V>(shift + k);
            if constexpr (BACK) {
                F grad;
                if constexpr (KEPT<A>)
                    grad = load<V>(found + y * L + k);
                else
                    grad = sloped<A>(z, load<V>(grads + y * L + k));
                store<V>(found + y * L + k, grad * factor + (value * load<V>(slope + k) + load<V>(offset + k)));
            } else
                store<V>(found + y * L + k, activated<A>(z));
        }
}

// The same for the last values, each by itself.
template <typename T, bool BACK, int A>
static void sum_rest(const T* images, const T* grads, const float* about, const float* scale, const float* shift,
                     double* sums, int64_t rest, int64_t L) {
    for (int64_t k = 0; k < rest; k++) {
        const F value = load_one(images + k), apart = value - about[k];
        F a = apart, b = apart * apart;
        if constexpr (BACK) {
            a = sloped<A>(value * scale[k] + shift[k], load_one(grads + k));
            b = a * apart;
        }
        sums[k] += a[0];
        sums[L + k] += b[0];
    }
}

template <typename T, bool BACK, int A>
static void write_rest(const T* images, const T* grads, const float* scale, const float* shift, const float* slope,
                       const float* offset, T* found, int64_t rest) {
    for (int64_t k = 0; k < rest; k++) {
        const F value = load_one(images + k), z = value * scale[k] + shift[k];
        if constexpr (BACK)
            store_one(found + k, sloped<A>(z, load_one(grads + k)) * scale[k] + (value * slope[k] + offset[k]));
        else
            store_one(found + k, activated<A>(z));
    }
}

template <typename T, bool BACK, int A>
static void sum(const T* images, const T* grads, const float* about, const float* scale, const float* shift, T* kept,
                double* sums, float* own, int64_t threads, int64_t values, int64_t L) {
    const int64_t rows = values / L;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t part = 0; part < threads; part++)
        sum_rows<T, BACK, A>(images, grads, about, scale, shift, kept, sums + 2 * L * part, own + 2 * L * part,
                             rows * part / threads, rows * (part + 1) / threads, L);
    sum_rest<T, BACK, A>(images + rows * L, grads + rows * L, about, scale, shift, sums, values - rows * L, L);
}

template <typename T, bool BACK, int A>
static void write(const T* images, const T* grads, const float* scale, const float* shift, const float* slope,
                  const float* offset, T* found, int64_t threads, int64_t values, int64_t L) {
    const int64_t rows = values / L;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t part = 0; part < threads; part++)
        write_rows<T, BACK, A>(images, grads, scale, shift, slope, offset, found, rows * part / threads,
                               rows * (part + 1) / threads, L);
    write_rest<T, BACK, A>(images + rows * L, grads + rows * L, scale, shift, slope, offset, found + rows * L,
                           values - rows * L);
}

#define FOR_EACH(CALL)            \
    switch (activation) {         \
        case NONE: CALL(NONE);    \
        case RELU: CALL(RELU);    \
        case RELU6: CALL(RELU6);  \
        case SILU: CALL(SILU);    \
        default: CALL(HARDSWISH); \
    }

// The sums of the values about `about`, and of their squares: [threads, 2, L] in fp64, zero at first, to be added up.
// `own` [threads, 2, L] is for its use alone.
template <typename T>
static void forward_sums(const T* images, const float* about, double* sums, float* own, int64_t threads, int64_t values,
                         int64_t L) {
    sum<T, false, NONE>(images, images, about, about, about, nullptr, sums, own, threads, values, L);
}

template <typename T>
static void backward_sums(const T* images, const T* grads, const float* about, const float* scale, const float* shift,
                          T* kept, double* sums, float* own, int64_t threads, int64_t values, int64_t L, int64_t activation) {
#define CALL(A) return sum<T, true, A>(images, grads, about, scale, shift, kept, sums, own, threads, values, L)
    FOR_EACH(CALL)
#undef CALL
}

template <typename T>
static void forward_values(const T* images, const float* scale, const float* shift, T* found, int64_t threads,
                           int64_t values, int64_t L, int64_t activation) {
#define CALL(A) return write<T, false, A>(images, images, scale, shift, scale, scale, found, threads, values, L)
    FOR_EACH(CALL)
#undef CALL
}

template <typename T>
static void backward_values(const T* images, const T* grads, const float* scale, const float* shift, const float* slope,
                            const float* offset, T* found, int64_t threads, int64_t values, int64_t L,
                            int64_t activation) {
#define CALL(A) return write<T, true, A>(images, grads, scale, shift, slope, offset, found, threads, values, L)
    FOR_EACH(CALL)
#undef CALL
}

#define EXPORT(T, NAME)                                                                                              \
    extern "C" void forward_sums_##NAME(const T* images, const float* about, double* sums, float* own,              \
                                        int64_t threads, int64_t values, int64_t L) {                               \
        forward_sums(images, about, sums, own, threads, values, L);                                                 \
    }                                                                                                                \
    extern "C" void backward_sums_##NAME(const T* images, const T* grads, const float* about, const float* scale,   \
                                         const float* shift, T* kept, double* sums, float* own, int64_t threads,    \
                                         int64_t values, int64_t L, int64_t activation) {                           \
        backward_sums(images, grads, about, scale, shift, kept, sums, own, threads, values, L, activation);         \
    }                                                                                                                \
    extern "C" void forward_values_##NAME(const T* images, const float* scale, const float* shift, T* found,        \
                                          int64_t threads, int64_t values, int64_t L, int64_t activation) {         \
        forward_values(images, scale, shift, found, threads, values, L, activation);                                \
    }                                                                                                                \
    extern "C" void backward_values_##NAME(const T* images, const T* grads, const float* scale, const float* shift, \
                                           const float* slope, const float* offset, T* found, int64_t threads,      \
                                           int64_t values, int64_t L, int64_t activation) {                         \
        backward_values(images, grads, scale, shift, slope, offset, found, threads, values, L, activation);         \
    }

EXPORT(float, fp32)
EXPORT(bf16, bf16)
