// What the AVX2 and AVX-512 quantisers share.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#include "kernels/abi/compiler.h"

namespace smepilot {
namespace {

// Sums of bytes 0..15 and 16..31: biased to unsigned, because psadbw adds unsigned bytes.
SMEPILOT_INLINE void half_sums(__m256i q, int32_t* h0, int32_t* h1) noexcept {
  const __m256i biased = _mm256_xor_si256(q, _mm256_set1_epi8(-128));
  const __m256i by8 = _mm256_sad_epu8(biased, _mm256_setzero_si256());
  const __m256i by16 = _mm256_add_epi64(by8, _mm256_shuffle_epi32(by8, 0x4e));
  *h0 = _mm_cvtsi128_si32(_mm256_castsi256_si128(by16)) - 16 * 128;
  *h1 = _mm_cvtsi128_si32(_mm256_extracti128_si256(by16, 1)) - 16 * 128;
}

SMEPILOT_INLINE float round_to_f16(float f) noexcept {
  return _cvtsh_ss(_cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT));
}

}  // namespace
}  // namespace smepilot
