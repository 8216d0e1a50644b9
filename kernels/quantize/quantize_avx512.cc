// f32 rows to Layout::kLhsQ8Panel16 with AVX-512.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/quantize/quantize_x86.h"

namespace smepilot {
namespace {

SMEPILOT_INLINE float max_magnitude(const float* x, size_t count) noexcept {
  __m512 max = _mm512_setzero_ps();
  for (size_t i = 0; i < count; i += 16) max = _mm512_max_ps(max, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
  return _mm512_reduce_max_ps(max);
}

SMEPILOT_INLINE void quantize_block(const float* x, float inverse, int8_t* out, int32_t* h0, int32_t* h1) noexcept {
  const __m512 scale = _mm512_set1_ps(inverse);
  const __m128i q0 = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), scale)));
  const __m128i q1 = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16), scale)));
  const __m256i q = _mm256_inserti128_si256(_mm256_castsi128_si256(q0), q1, 1);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), q);
  half_sums(q, h0, h1);
}

}  // namespace
}  // namespace smepilot

#include "kernels/quantize/quantize_rows.h"

namespace smepilot {

extern const KernelVariant kQuantizeQ8Avx512;
constexpr KernelVariant kQuantizeQ8Avx512 =
    quantize_variant("quantize.q8.f32.f32.16x32.avx512.cvtps2dq", kIsaAvx2 | kIsaAvx512, quantize_rows);

}  // namespace smepilot
