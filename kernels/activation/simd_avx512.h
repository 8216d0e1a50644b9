// Sixteen floats in an AVX-512 register: the vocabulary that the AVX-512 kernels of attention, norm and activation are
// written in; see simd_portable.h for what each operation promises.
#pragma once
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own AVX-512 intrinsics start from a register left undefined on purpose, and it warns about that (PR105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/compiler.h"

namespace smepilot {
namespace {

struct Simd {
  using Vec = __m512;
  static constexpr uint32_t kWidth = 16;

  static SMEPILOT_INLINE Vec zero() noexcept { return _mm512_setzero_ps(); }
  static SMEPILOT_INLINE Vec set1(float x) noexcept { return _mm512_set1_ps(x); }
  static SMEPILOT_INLINE Vec load(const float* p) noexcept { return _mm512_loadu_ps(p); }
  static SMEPILOT_INLINE void store(float* p, Vec v) noexcept { _mm512_storeu_ps(p, v); }
  static SMEPILOT_INLINE __mmask16 lanes_below(uint32_t n) noexcept { return static_cast<__mmask16>((1u << n) - 1u); }
  static SMEPILOT_INLINE Vec load_partial(const float* p, uint32_t n) noexcept {
    return _mm512_maskz_loadu_ps(lanes_below(n), p);
  }
  static SMEPILOT_INLINE void store_partial(float* p, uint32_t n, Vec v) noexcept {
    _mm512_mask_storeu_ps(p, lanes_below(n), v);
  }
  static SMEPILOT_INLINE Vec load_f16(const uint16_t* p) noexcept {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static SMEPILOT_INLINE Vec load_f16_partial(const uint16_t* p, uint32_t n) noexcept {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes_below(n), p));
  }
  static SMEPILOT_INLINE void load_key_bytes(const uint8_t* p, Vec (&out)[4]) noexcept {
    const __m512i x = _mm512_loadu_si512(p), mask = _mm512_set1_epi32(0xff);
    out[0] = _mm512_cvtepi32_ps(_mm512_and_si512(x, mask));
    out[1] = _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(x, 8), mask));
    out[2] = _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(x, 16), mask));
    out[3] = _mm512_cvtepi32_ps(_mm512_srli_epi32(x, 24));
  }
  static SMEPILOT_INLINE Vec load_i8(const int8_t* p) noexcept {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static SMEPILOT_INLINE Vec round_to_f16(Vec v) noexcept {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static SMEPILOT_INLINE Vec add(Vec a, Vec b) noexcept { return _mm512_add_ps(a, b); }
  static SMEPILOT_INLINE Vec sub(Vec a, Vec b) noexcept { return _mm512_sub_ps(a, b); }
  static SMEPILOT_INLINE Vec mul(Vec a, Vec b) noexcept { return _mm512_mul_ps(a, b); }
  static SMEPILOT_INLINE Vec div(Vec a, Vec b) noexcept { return _mm512_div_ps(a, b); }
  static SMEPILOT_INLINE Vec fma(Vec a, Vec b, Vec c) noexcept { return _mm512_fmadd_ps(a, b, c); }
  static SMEPILOT_INLINE Vec fnma(Vec a, Vec b, Vec c) noexcept { return _mm512_fnmadd_ps(a, b, c); }
  static SMEPILOT_INLINE Vec max(Vec a, Vec b) noexcept { return _mm512_max_ps(a, b); }
  static SMEPILOT_INLINE Vec min(Vec a, Vec b) noexcept { return _mm512_min_ps(a, b); }
  static SMEPILOT_INLINE float reduce_add(Vec v) noexcept { return _mm512_reduce_add_ps(v); }
  static SMEPILOT_INLINE float reduce_max(Vec v) noexcept { return _mm512_reduce_max_ps(v); }
  static SMEPILOT_INLINE Vec keep_below(Vec v, uint32_t n, Vec fill) noexcept {
    return _mm512_mask_mov_ps(fill, lanes_below(n), v);
  }
  static SMEPILOT_INLINE Vec keep_where_greater(Vec a, Vec b, Vec v, Vec fill) noexcept {
    return _mm512_mask_mov_ps(fill, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), v);
  }
  static SMEPILOT_INLINE Vec round(Vec x) noexcept {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static SMEPILOT_INLINE Vec scale_by_power(Vec x, Vec n) noexcept { return _mm512_scalef_ps(x, n); }
  static SMEPILOT_INLINE Vec to_exponents(Vec x) noexcept { return x; }  // scalef takes any
  static SMEPILOT_INLINE Vec scale_normal(Vec x, Vec n) noexcept { return _mm512_scalef_ps(x, n); }

  struct SquareSum {
    __m512d lo = _mm512_setzero_pd(), hi = _mm512_setzero_pd();
    SMEPILOT_INLINE void add(Vec v) noexcept {
      const __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
      const __m512d b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
      lo = _mm512_fmadd_pd(a, a, lo);
      hi = _mm512_fmadd_pd(b, b, hi);
    }
    SMEPILOT_INLINE double total() const noexcept { return _mm512_reduce_add_pd(_mm512_add_pd(lo, hi)); }
  };

  static SMEPILOT_INLINE Vec twice_each(const float* p) noexcept {  // p0 p0 p1 p1 … p7 p7
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7),
                                 _mm512_castps256_ps512(_mm256_loadu_ps(p)));
  }
  static SMEPILOT_INLINE Vec rotate_pairs(Vec v, const float* c, const float* s) noexcept {
    const Vec swapped = _mm512_permute_ps(v, 0xb1);
    return _mm512_fmaddsub_ps(v, twice_each(c), _mm512_mul_ps(swapped, twice_each(s)));
  }
};

}  // namespace
}  // namespace smepilot
