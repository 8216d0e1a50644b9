// f32 rows to Layout::kLhsQ8Panel16 with AVX-512.
#include <immintrin.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/kernel_variant.h"

namespace smepilot {
namespace {

// The planes of one row of a block that follow the quants. h0, h1: sums of the two halves' quants.
SMEPILOT_INLINE void store_planes(uint8_t* p, size_t rows, float d, int32_t h0, int32_t h1) noexcept {
  const int32_t sum = h0 + h1;
  const float ds = d * static_cast<float>(sum);
  const int32_t corrections[4] = {-8 * sum, -128 * sum, -32 * h0, -32 * h1};
  __builtin_memcpy(p, &d, 4);
  __builtin_memcpy(p + rows * 4, &ds, 4);
  SMEPILOT_UNROLL
  for (size_t i = 0; i < 4; ++i) __builtin_memcpy(p + (2 + i) * rows * 4, &corrections[i], 4);
}

// Sums of bytes 0..15 and 16..31: biased to unsigned, because psadbw adds unsigned bytes.
SMEPILOT_INLINE void half_sums(__m256i q, int32_t* h0, int32_t* h1) noexcept {
  const __m256i biased = _mm256_xor_si256(q, _mm256_set1_epi8(-128));
  const __m256i by8 = _mm256_sad_epu8(biased, _mm256_setzero_si256());
  const __m256i by16 = _mm256_add_epi64(by8, _mm256_shuffle_epi32(by8, 0x4e));
  *h0 = _mm_cvtsi128_si32(_mm256_castsi256_si128(by16)) - 16 * 128;
  *h1 = _mm_cvtsi128_si32(_mm256_extracti128_si256(by16, 1)) - 16 * 128;
}

SMEPILOT_INLINE float max_magnitude(const float* x, size_t count) noexcept {
  __m512 max = _mm512_setzero_ps();
  for (size_t i = 0; i < count; i += 16) max = _mm512_max_ps(max, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
  return _mm512_reduce_max_ps(max);
}

void quantize(const QuantizeArgs* args) noexcept {
  const size_t rows = args->rows;
  float group_max[kPanel];
  uint8_t* dst = static_cast<uint8_t*>(args->dst);
  for (size_t k = 0; k < args->k; k += kQ8Block, dst += rows * kLhsQ8BlockBytes) {
    const bool group_begins = k % args->group == 0;
    for (size_t r = 0; r < rows; ++r) {
      const float* x = args->x + r * args->x_stride + k;
      const __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
      if (group_begins) group_max[r] = max_magnitude(x, args->group);
      const float max = group_max[r];
      // Below 1e-30 the inverse would overflow; such values are zero for all purposes.
      const float inverse = max > 1e-30f ? 127.0f / max : 0.0f;
      float d = max / 127.0f;
      if (args->group == kQ8Block && d < 65504.0f) d = _cvtsh_ss(_cvtss_sh(d, _MM_FROUND_TO_NEAREST_INT));
      const __m512 scale = _mm512_set1_ps(inverse);
      const __m128i q0 = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x0, scale)));
      const __m128i q1 = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x1, scale)));
      const __m256i q = _mm256_inserti128_si256(_mm256_castsi128_si256(q0), q1, 1);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + r * kQ8Block), q);
      int32_t h0, h1;
      half_sums(q, &h0, &h1);
      store_planes(dst + rows * kQ8Block + r * 4, rows, d, h0, h1);
    }
  }
}

}  // namespace

extern const KernelVariant kQuantizeQ8Avx512;
constexpr KernelVariant kQuantizeQ8Avx512 = {"quantize.q8.f32.f32.16x32.avx512.cvtps2dq",
                                             OpKind::kQuantize,
                                             kIsaAvx2 | kIsaAvx512,
                                             ExecutionUnit::kCpu,
                                             DType::kQ8,
                                             DType::kF32,
                                             DType::kF32,
                                             Layout::kLhsQ8Panel16,
                                             Layout::kRowMajor,
                                             Layout::kRowMajor,
                                             {kPanel, kQ8Block, kQ8Block},
                                             0,
                                             {.quantize = quantize}};

}  // namespace smepilot
