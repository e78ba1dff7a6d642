// Vectors of V floats, read from and written to fp32 or bf16; V = 1 is a plain float. For the kernels beside this file.

#pragma once

#include <cstdint>
#include <cstring>

struct bf16 { uint16_t bits; };  // the upper half of an fp32

template <int V> struct Vector {
    typedef float type __attribute__((vector_size(4 * V)));
    typedef int32_t signs __attribute__((vector_size(4 * V)));
    typedef uint32_t whole __attribute__((vector_size(4 * V)));
    typedef uint16_t half __attribute__((vector_size(2 * V)));
};
template <> struct Vector<1> { typedef float type; };

template <int V> static inline typename Vector<V>::type load(const float* from) {
    typename Vector<V>::type value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <int V> static inline typename Vector<V>::type load(const bf16* from) {
    typename Vector<V>::type value;
    if constexpr (V == 1) {
        const uint32_t whole = uint32_t(from->bits) << 16;
        std::memcpy(&value, &whole, sizeof value);
    } else {
        typename Vector<V>::half half;
        std::memcpy(&half, from, sizeof half);
        const typename Vector<V>::whole whole = __builtin_convertvector(half, typename Vector<V>::whole) << 16;
        std::memcpy(&value, &whole, sizeof value);
    }
    return value;
}

template <int V> static inline void store(float* to, typename Vector<V>::type value) {
    std::memcpy(to, &value, sizeof value);
}

// Rounds to the nearest bf16, of two equally near ones to the even one; NaN stays NaN.
template <int V> static inline void store(bf16* to, typename Vector<V>::type value) {
    if constexpr (V == 1) {
        uint32_t whole;
        std::memcpy(&whole, &value, sizeof whole);
        to->bits = value != value ? 0x7fc0 : uint16_t((whole + 0x7fff + ((whole >> 16) & 1)) >> 16);
    } else {
        typedef typename Vector<V>::whole U;
        U whole;
        std::memcpy(&whole, &value, sizeof whole);
        const U rounded = (whole + 0x7fff + ((whole >> 16) & 1)) >> 16, nan = (U)(value != value);
        const auto half = __builtin_convertvector((rounded & ~nan) | (0x7fc0 & nan), typename Vector<V>::half);
        std::memcpy(to, &half, sizeof half);
    }
}
