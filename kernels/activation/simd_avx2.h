// Eight floats in an AVX2 register: the vocabulary that the AVX2 kernels of attention, norm and activation are written
// in; see simd_portable.h for what each operation promises.
#pragma once
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/compiler.h"

namespace smepilot {
namespace {

struct Simd {
  using Vec = __m256;
  static constexpr uint32_t kWidth = 8;

  static SMEPILOT_INLINE Vec zero() noexcept { return _mm256_setzero_ps(); }
  static SMEPILOT_INLINE Vec set1(float x) noexcept { return _mm256_set1_ps(x); }
  static SMEPILOT_INLINE Vec load(const float* p) noexcept { return _mm256_loadu_ps(p); }
  static SMEPILOT_INLINE void store(float* p, Vec v) noexcept { _mm256_storeu_ps(p, v); }
  static SMEPILOT_INLINE __m256i lanes_below(uint32_t n) noexcept {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static SMEPILOT_INLINE Vec load_partial(const float* p, uint32_t n) noexcept {
    return _mm256_maskload_ps(p, lanes_below(n));
  }
  static SMEPILOT_INLINE void store_partial(float* p, uint32_t n, Vec v) noexcept {
    _mm256_maskstore_ps(p, lanes_below(n), v);
  }
  static SMEPILOT_INLINE Vec load_f16(const uint16_t* p) noexcept {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  // n must be 4: head dimensions are multiples of 4, and half a register can be loaded without a mask.
  static SMEPILOT_INLINE Vec load_f16_partial(const uint16_t* p, uint32_t) noexcept {
    return _mm256_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static SMEPILOT_INLINE void load_key_bytes(const uint8_t* p, Vec (&out)[4]) noexcept {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), mask = _mm256_set1_epi32(0xff);
    out[0] = _mm256_cvtepi32_ps(_mm256_and_si256(x, mask));
    out[1] = _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(x, 8), mask));
    out[2] = _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(x, 16), mask));
    out[3] = _mm256_cvtepi32_ps(_mm256_srli_epi32(x, 24));
  }
  static SMEPILOT_INLINE Vec load_i8(const int8_t* p) noexcept {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static SMEPILOT_INLINE Vec round_to_f16(Vec v) noexcept {
    return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static SMEPILOT_INLINE Vec add(Vec a, Vec b) noexcept { return _mm256_add_ps(a, b); }
  static SMEPILOT_INLINE Vec sub(Vec a, Vec b) noexcept { return _mm256_sub_ps(a, b); }
  static SMEPILOT_INLINE Vec mul(Vec a, Vec b) noexcept { return _mm256_mul_ps(a, b); }
  static SMEPILOT_INLINE Vec div(Vec a, Vec b) noexcept { return _mm256_div_ps(a, b); }
  static SMEPILOT_INLINE Vec fma(Vec a, Vec b, Vec c) noexcept { return _mm256_fmadd_ps(a, b, c); }
  static SMEPILOT_INLINE Vec fnma(Vec a, Vec b, Vec c) noexcept { return _mm256_fnmadd_ps(a, b, c); }
  static SMEPILOT_INLINE Vec max(Vec a, Vec b) noexcept { return _mm256_max_ps(a, b); }
  static SMEPILOT_INLINE Vec min(Vec a, Vec b) noexcept { return _mm256_min_ps(a, b); }
  static SMEPILOT_INLINE float reduce_add(Vec v) noexcept {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
  }
  static SMEPILOT_INLINE float reduce_max(Vec v) noexcept {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
  }
  static SMEPILOT_INLINE Vec keep_below(Vec v, uint32_t n, Vec fill) noexcept {
    return _mm256_blendv_ps(fill, v, _mm256_castsi256_ps(lanes_below(n)));
  }
  static SMEPILOT_INLINE Vec keep_where_greater(Vec a, Vec b, Vec v, Vec fill) noexcept {
    return _mm256_blendv_ps(fill, v, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
  }
  static SMEPILOT_INLINE Vec round(Vec x) noexcept {
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static SMEPILOT_INLINE Vec scale_by_power(Vec x, Vec n) noexcept {
    const __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    const __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    const __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(x, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
  }
  static SMEPILOT_INLINE Vec to_exponents(Vec x) noexcept { return min(set1(127.0f), max(set1(-125.0f), x)); }
  static SMEPILOT_INLINE Vec scale_normal(Vec x, Vec n) noexcept {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
  }

  struct SquareSum {
    __m256d lo = _mm256_setzero_pd(), hi = _mm256_setzero_pd();
    SMEPILOT_INLINE void add(Vec v) noexcept {
      const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
      lo = _mm256_fmadd_pd(a, a, lo);
      hi = _mm256_fmadd_pd(b, b, hi);
    }
    SMEPILOT_INLINE double total() const noexcept {
      const __m256d s = _mm256_add_pd(lo, hi);
      const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(s), _mm256_extractf128_pd(s, 1));
      return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
    }
  };

  static SMEPILOT_INLINE Vec twice_each(const float* p) noexcept {  // p0 p0 p1 p1 p2 p2 p3 p3
    const __m256d both = _mm256_castps_pd(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)));
    return _mm256_permutevar_ps(_mm256_castpd_ps(both), _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
  }
  static SMEPILOT_INLINE Vec rotate_pairs(Vec v, const float* c, const float* s) noexcept {
    const Vec swapped = _mm256_permute_ps(v, 0xb1);
    return _mm256_fmaddsub_ps(v, twice_each(c), _mm256_mul_ps(swapped, twice_each(s)));
  }
};

}  // namespace
}  // namespace smepilot
