// f32 rows to Layout::kLhsQ8Panel16 with AVX2.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/quantize/quantize_x86.h"

namespace smepilot {
namespace {

SMEPILOT_INLINE float reduce_max(__m256 v) noexcept {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

SMEPILOT_INLINE float max_magnitude(const float* x, size_t count) noexcept {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 max0 = _mm256_setzero_ps(), max1 = max0;
  for (size_t i = 0; i < count; i += 16) {
    max0 = _mm256_max_ps(max0, _mm256_and_ps(_mm256_loadu_ps(x + i), magnitude));
    max1 = _mm256_max_ps(max1, _mm256_and_ps(_mm256_loadu_ps(x + i + 8), magnitude));
  }
  return reduce_max(_mm256_max_ps(max0, max1));
}

SMEPILOT_INLINE void quantize_block(const float* x, float inverse, int8_t* out, int32_t* h0, int32_t* h1) noexcept {
  __m256i i32[4];
  SMEPILOT_UNROLL
  for (int i = 0; i < 4; ++i)
    i32[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), _mm256_set1_ps(inverse)));
  const __m256i lanes = _mm256_packs_epi16(_mm256_packs_epi32(i32[0], i32[1]), _mm256_packs_epi32(i32[2], i32[3]));
  // The packs work within 128-bit lanes: groups of four bytes come out as 0 2 4 6 1 3 5 7.
  const __m256i q = _mm256_permutevar8x32_epi32(lanes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), q);
  half_sums(q, h0, h1);
}

}  // namespace
}  // namespace smepilot

#include "kernels/quantize/quantize_rows.h"

namespace smepilot {

extern const KernelVariant kQuantizeQ8Avx2;
constexpr KernelVariant kQuantizeQ8Avx2 =
    quantize_variant("quantize.q8.f32.f32.16x32.avx2.cvtps2dq", kIsaAvx2, quantize_rows);

}  // namespace smepilot
