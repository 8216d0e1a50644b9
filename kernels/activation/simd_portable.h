// Four floats at a time in the compiler's own vector types: the vocabulary that the portable kernels of attention, norm
// and activation are written in, on any target. Everything here has internal linkage, so that no translation unit's
// copy can replace another's at link time.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/half.h"
#include "kernels/abi/layout.h"

namespace smepilot {
namespace {

typedef float F32x4 __attribute__((vector_size(16)));
typedef int32_t S32x4 __attribute__((vector_size(16)));
typedef uint32_t U32x4 __attribute__((vector_size(16)));
typedef uint16_t U16x4 __attribute__((vector_size(8)));
typedef double F64x4 __attribute__((vector_size(32)));

struct Simd {
  using Vec = F32x4;
  static constexpr uint32_t kWidth = 4;

  static SMEPILOT_INLINE Vec zero() noexcept { return Vec{0, 0, 0, 0}; }
  static SMEPILOT_INLINE Vec set1(float x) noexcept { return Vec{x, x, x, x}; }
  static SMEPILOT_INLINE Vec load(const float* p) noexcept {
    Vec v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static SMEPILOT_INLINE void store(float* p, Vec v) noexcept { __builtin_memcpy(p, &v, sizeof(v)); }
  // The first n < kWidth floats, the other lanes zero.
  static SMEPILOT_INLINE Vec load_partial(const float* p, uint32_t n) noexcept {
    Vec v = zero();
    for (uint32_t i = 0; i < n; ++i) v[i] = p[i];
    return v;
  }
  static SMEPILOT_INLINE void store_partial(float* p, uint32_t n, Vec v) noexcept {
    for (uint32_t i = 0; i < n; ++i) p[i] = v[i];
  }
  // binary16: exponent and mantissa are shifted into place and rebased by a multiplication, which also makes normal
  // numbers of the subnormal ones; infinities and NaNs get their exponent filled.
  static SMEPILOT_INLINE Vec load_f16(const uint16_t* p) noexcept {
    U16x4 h16;
    __builtin_memcpy(&h16, p, sizeof(h16));
    const U32x4 h = __builtin_convertvector(h16, U32x4);
    const U32x4 magnitude = h & 0x7fffu;
    const Vec rebased = reinterpret_cast<Vec>(magnitude << 13) * 0x1p112f;
    const U32x4 special = reinterpret_cast<U32x4>(magnitude > 0x7bffu) & 0x7f800000u;
    return reinterpret_cast<Vec>(reinterpret_cast<U32x4>(rebased) | special | ((h & 0x8000u) << 16));
  }
  static SMEPILOT_INLINE Vec load_f16_partial(const uint16_t* p, uint32_t n) noexcept {
    uint16_t h[kWidth] = {0, 0, 0, 0};
    for (uint32_t i = 0; i < n; ++i) h[i] = p[i];
    return load_f16(h);
  }
  // 4 * kWidth bytes as q8_0 keys are stored, so signed where kQ8Zero is 0: byte j of each group of four becomes a lane
  // of out[j].
  static SMEPILOT_INLINE void load_key_bytes(const uint8_t* p, Vec (&out)[4]) noexcept {
    U32x4 x;
    __builtin_memcpy(&x, p, sizeof(x));
    for (uint32_t j = 0; j < 4; ++j) {
      if constexpr (kQ8Zero == 0)
        out[j] = __builtin_convertvector(reinterpret_cast<S32x4>(x << (24 - 8 * j)) >> 24, Vec);
      else
        out[j] = __builtin_convertvector((x >> (8 * j)) & 0xffu, Vec);
    }
  }
  static SMEPILOT_INLINE Vec load_i8(const int8_t* p) noexcept {
    return Vec{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), static_cast<float>(p[3])};
  }
  static SMEPILOT_INLINE Vec round_to_f16(Vec v) noexcept {
    for (uint32_t i = 0; i < kWidth; ++i) v[i] = f16_to_f32(f32_to_f16(v[i]));
    return v;
  }
  static SMEPILOT_INLINE Vec add(Vec a, Vec b) noexcept { return a + b; }
  static SMEPILOT_INLINE Vec sub(Vec a, Vec b) noexcept { return a - b; }
  static SMEPILOT_INLINE Vec mul(Vec a, Vec b) noexcept { return a * b; }
  static SMEPILOT_INLINE Vec div(Vec a, Vec b) noexcept { return a / b; }
  static SMEPILOT_INLINE Vec fma(Vec a, Vec b, Vec c) noexcept { return a * b + c; }   // c + a*b
  static SMEPILOT_INLINE Vec fnma(Vec a, Vec b, Vec c) noexcept { return c - a * b; }  // c - a*b
  static SMEPILOT_INLINE Vec select(S32x4 mask, Vec a, Vec b) noexcept {
    return reinterpret_cast<Vec>((mask & reinterpret_cast<S32x4>(a)) | (~mask & reinterpret_cast<S32x4>(b)));
  }
  // The larger; b if either is NaN.
  static SMEPILOT_INLINE Vec max(Vec a, Vec b) noexcept { return select(a > b, a, b); }
  static SMEPILOT_INLINE Vec min(Vec a, Vec b) noexcept { return select(a < b, a, b); }
  static SMEPILOT_INLINE float reduce_add(Vec v) noexcept { return (v[0] + v[2]) + (v[1] + v[3]); }
  static SMEPILOT_INLINE float reduce_max(Vec v) noexcept {
    const float a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
  }
  // Lanes below n from v, the others from fill.
  static SMEPILOT_INLINE Vec keep_below(Vec v, uint32_t n, Vec fill) noexcept {
    const S32x4 lane = {0, 1, 2, 3};
    return select(lane < static_cast<int32_t>(n), v, fill);
  }
  // Lanes from v where a > b, the others from fill.
  static SMEPILOT_INLINE Vec keep_where_greater(Vec a, Vec b, Vec v, Vec fill) noexcept {
    return select(a > b, v, fill);
  }
  // Nearest integer for |x| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction.
  static SMEPILOT_INLINE Vec round(Vec x) noexcept { return (x + 0x1.8p23f) - 0x1.8p23f; }
  // x * 2^n for an integral n in [-252, 252]; two steps, so that results may be subnormal or overflow.
  static SMEPILOT_INLINE Vec scale_by_power(Vec x, Vec n) noexcept {
    const S32x4 i = __builtin_convertvector(n, S32x4), half = i >> 1;
    return x * reinterpret_cast<Vec>((half + 127) << 23) * reinterpret_cast<Vec>((i - half + 127) << 23);
  }

  // x * 2^n for x in [1/2, 2) and an integral n that to_exponents() left as it was.
  static SMEPILOT_INLINE Vec to_exponents(Vec x) noexcept { return min(set1(127.0f), max(set1(-125.0f), x)); }
  static SMEPILOT_INLINE Vec scale_normal(Vec x, Vec n) noexcept {
    return reinterpret_cast<Vec>(reinterpret_cast<S32x4>(x) + (__builtin_convertvector(n, S32x4) << 23));
  }

  // Sum of squares in double.
  struct SquareSum {
    F64x4 sum = {0, 0, 0, 0};
    SMEPILOT_INLINE void add(Vec v) noexcept {
      const F64x4 w = __builtin_convertvector(v, F64x4);
      sum += w * w;
    }
    SMEPILOT_INLINE double total() const noexcept { return (sum[0] + sum[2]) + (sum[1] + sum[3]); }
  };

  // Pairs (x0, x1) of v rotated by the angles whose cosines and sines lie at c and s, one per pair.
  static SMEPILOT_INLINE Vec rotate_pairs(Vec v, const float* c, const float* s) noexcept {
    const Vec cc = {c[0], c[0], c[1], c[1]}, ss = {-s[0], s[0], -s[1], s[1]}, swapped = {v[1], v[0], v[3], v[2]};
    return v * cc + swapped * ss;
  }
};

}  // namespace
}  // namespace smepilot
