// f32 rows to Layout::kLhsBf16Panel16 with AVX-512: 32 elements of each row at a time become 16 pairs, which are
// transposed.
#include <immintrin.h>

#include "kernels/quantize/pack_lhs.h"

namespace smepilot {
namespace {

constexpr uint32_t kAtOnce = 32;  // elements of a row

// Up to 32 elements, then zeros.
SMEPILOT_INLINE __m512i load_pairs(const float* x, uint32_t count) noexcept {
  const auto mask = [](uint32_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffffu : (1u << n) - 1); };
  const __m512 low = _mm512_maskz_loadu_ps(mask(count), x);
  const __m512 high = _mm512_maskz_loadu_ps(count > 16 ? mask(count - 16) : __mmask16{0}, x + 16);
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

// Of 16 vectors of 16 words, word j of vector i becomes word i of vector j.
SMEPILOT_INLINE void transpose(__m512i* v) noexcept {
  __m512i t[16];
  SMEPILOT_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  SMEPILOT_UNROLL
  for (int i = 0; i < 16; i += 4) {  // v[i + j]: of rows i .. i+3, words j, j+4, j+8, j+12
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  SMEPILOT_UNROLL
  for (int j = 0; j < 4; ++j) {
    const __m512i low01 = _mm512_shuffle_i32x4(v[j], v[4 + j], 0x88),
                  high01 = _mm512_shuffle_i32x4(v[j], v[4 + j], 0xdd);
    const __m512i low23 = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0x88);
    const __m512i high23 = _mm512_shuffle_i32x4(v[8 + j], v[12 + j], 0xdd);
    t[j] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    t[j + 8] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    t[j + 4] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    t[j + 12] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
  }
  SMEPILOT_UNROLL
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

void pack(const QuantizeArgs* args) noexcept {
  const uint32_t rows = args->rows;
  const __mmask16 mask = static_cast<__mmask16>((1u << rows) - 1);
  auto* dst = static_cast<uint32_t*>(args->dst);
  for (uint32_t k = 0; k < args->k; k += kAtOnce) {
    const uint32_t count = args->k - k < kAtOnce ? args->k - k : kAtOnce;
    __m512i words[16];
    for (uint32_t r = 0; r < 16; ++r)
      words[r] = r < rows ? load_pairs(args->x + r * args->x_stride + k, count) : _mm512_setzero_si512();
    transpose(words);
    for (uint32_t i = 0; 2 * i < count; ++i, dst += rows) _mm512_mask_storeu_epi32(dst, mask, words[i]);
  }
}

}  // namespace

extern const KernelVariant kPackBf16Avx512Bf16;
constexpr KernelVariant kPackBf16Avx512Bf16 = pack_variant<DType::kBF16>(
    "quantize.bf16.f32.f32.16x2.avx512bf16.cvtne2ps", kIsaAvx2 | kIsaAvx512 | kIsaAvx512Bf16, pack);

}  // namespace smepilot
