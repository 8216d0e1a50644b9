// f32 rows to Layout::kLhsQ8Panel16 with AVX-512: a row after the other, or all sixteen of a whole panel together,
// which keeps what belongs to rows (scales, sums) in vectors of rows.
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
namespace {

constexpr size_t kSegment = kQ8SuperBlock, kSegmentBlocks = kSegment / kQ8Block;

// The largest of each of 16 vectors.
SMEPILOT_INLINE __m512 largest_of_each(const __m512* rows) noexcept {
  __m512 max[8];
  // Halves the elements of two rows, and puts what remains of both into one vector.
  SMEPILOT_UNROLL
  for (int i = 0; i < 8; ++i) {
    const __m512 a = rows[2 * i], b = rows[2 * i + 1];
    max[i] = _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  }
  SMEPILOT_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m512d a = _mm512_castps_pd(max[2 * i]), b = _mm512_castps_pd(max[2 * i + 1]);
    max[i] = _mm512_max_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  SMEPILOT_UNROLL
  for (int left = 2; left > 0; left /= 2) {
    SMEPILOT_UNROLL
    for (int i = 0; i < left; ++i) {
      const __m512 a = max[2 * i], b = max[2 * i + 1];
      max[i] = _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
  }
  return max[0];
}

// By block and row: of whole blocks of a segment the scales, as quantize_rows() finds those of one row.
struct Scales {
  __m512 d[kSegmentBlocks];
  alignas(64) float inverse[kSegmentBlocks][16];
};

SMEPILOT_INLINE void set_scales(Scales& to, size_t block, __m512 max, bool rounded) noexcept {
  const __m512 range = _mm512_set1_ps(127);
  const __mmask16 large = _mm512_cmp_ps_mask(max, _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
  _mm512_store_ps(to.inverse[block], _mm512_maskz_div_ps(large, range, max));
  to.d[block] = _mm512_div_ps(max, range);
  if (!rounded) return;
  const __mmask16 fits = _mm512_cmp_ps_mask(to.d[block], _mm512_set1_ps(65504), _CMP_LT_OQ);
  to.d[block] = _mm512_mask_cvtph_ps(to.d[block], fits, _mm512_cvtps_ph(to.d[block], _MM_FROUND_TO_NEAREST_INT));
}

SMEPILOT_INLINE void find_scales(const float* x, size_t stride, size_t blocks, bool shared, Scales& to) noexcept {
  constexpr int kLargerMagnitude = 0xb;
  __m512 max[kSegmentBlocks][16];
  for (size_t r = 0; r < 16; ++r)
    for (size_t b = 0; b < blocks; ++b) {
      const float* block = x + r * stride + b * kQ8Block;
      max[b][r] = _mm512_range_ps(_mm512_loadu_ps(block), _mm512_loadu_ps(block + 16), kLargerMagnitude);
    }
  if (!shared) {
    for (size_t b = 0; b < blocks; ++b) set_scales(to, b, largest_of_each(max[b]), true);
    return;
  }
  for (size_t b = 1; b < blocks; ++b)
    for (size_t r = 0; r < 16; ++r) max[0][r] = _mm512_max_ps(max[0][r], max[b][r]);
  const __m512 largest = largest_of_each(max[0]);
  for (size_t b = 0; b < blocks; ++b) set_scales(to, b, largest, false);
}

// 32 elements of two rows, to 64 bytes.
SMEPILOT_INLINE __m512i quantize_pair(const float* x, size_t stride, const float* inverse) noexcept {
  __m512i words[2];
  SMEPILOT_UNROLL
  for (size_t r = 0; r < 2; ++r) {
    const __m512 scale = _mm512_set1_ps(inverse[r]);
    const __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + r * stride), scale));
    const __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + r * stride + 16), scale));
    words[r] = _mm512_packs_epi32(low, high);
  }
  // The packs work within 128-bit lanes: of each row, groups of four bytes 0 4, then 1 5, 2 6, 3 7.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(words[0], words[1]));
}

// Sums of 16 bytes, which are h0 and h1 of 16 rows, from the quants of row pairs.
SMEPILOT_INLINE void half_sums_of_rows(const __m512i* pairs, __m512i* h0, __m512i* h1) noexcept {
  __m512i by8[8], by16[4];  // in 64 bits; biased to unsigned, because psadbw adds unsigned bytes
  SMEPILOT_UNROLL
  for (int i = 0; i < 8; ++i)
    by8[i] = _mm512_sad_epu8(_mm512_xor_si512(pairs[i], _mm512_set1_epi8(-128)), _mm512_setzero_si512());
  SMEPILOT_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m512i a = by8[2 * i], b = by8[2 * i + 1];
    by16[i] = _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
  }
  // Rows of a vector's 32-bit lanes: 0 4 2 6 (h0), the same (h1), 1 5 3 7 (h0), the same (h1).
  const __m512i first = _mm512_or_si512(by16[0], _mm512_slli_epi64(by16[1], 32));
  const __m512i second = _mm512_or_si512(by16[2], _mm512_slli_epi64(by16[3], 32));
  const __m512i rows = _mm512_setr_epi32(0, 8, 2, 10, 1, 9, 3, 11, 16, 24, 18, 26, 17, 25, 19, 27);
  const __m512i bias = _mm512_set1_epi32(16 * 128);
  *h0 = _mm512_sub_epi32(_mm512_permutex2var_epi32(first, rows, second), bias);
  *h1 = _mm512_sub_epi32(_mm512_permutex2var_epi32(first, _mm512_add_epi32(rows, _mm512_set1_epi32(4)), second), bias);
}

// Passes over a segment of each row, one row or two after the other: rows are often multiples of 4 KiB apart, and of
// lines that are, the first-level cache holds few (measured on Zen 4: block by block through all rows, 16 instead of 27
// GB/s).
void quantize_whole_panel(const QuantizeArgs* args) noexcept {
  constexpr size_t kBlockBytes = 16 * kLhsQ8BlockBytes;
  const size_t stride = args->x_stride;
  uint8_t* dst = static_cast<uint8_t*>(args->dst);
  Scales scales;
  for (size_t k = 0; k < args->k; k += kSegment, dst += kSegmentBlocks * kBlockBytes) {
    const float* x = args->x + k;
    const size_t blocks = args->k - k < kSegment ? (args->k - k) / kQ8Block : kSegmentBlocks;
    find_scales(x, stride, blocks, args->group != kQ8Block, scales);
    for (size_t r = 0; r < 16; r += 2)
      for (size_t b = 0; b < blocks; ++b)
        _mm512_storeu_si512(dst + b * kBlockBytes + r * kQ8Block,
                            quantize_pair(x + r * stride + b * kQ8Block, stride, scales.inverse[b] + r));
    for (size_t b = 0; b < blocks; ++b) {
      uint8_t* block = dst + b * kBlockBytes;
      __m512i pairs[8], h0, h1;
      SMEPILOT_UNROLL
      for (size_t i = 0; i < 8; ++i) pairs[i] = _mm512_loadu_si512(block + i * 64);
      half_sums_of_rows(pairs, &h0, &h1);
      const __m512i sum = _mm512_add_epi32(h0, h1);
      const auto times = [](__m512i v, unsigned power) {
        return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(v, power));
      };
      uint8_t* planes = block + 16 * kQ8Block;
      _mm512_storeu_ps(planes, scales.d[b]);
      _mm512_storeu_ps(planes + 64, _mm512_mul_ps(scales.d[b], _mm512_cvtepi32_ps(sum)));
      _mm512_storeu_si512(planes + 128, times(sum, 3));
      _mm512_storeu_si512(planes + 192, times(sum, 7));
      _mm512_storeu_si512(planes + 256, times(h0, 5));
      _mm512_storeu_si512(planes + 320, times(h1, 5));
    }
  }
}

void quantize_panel(const QuantizeArgs* args) noexcept {
  args->rows == 16 ? quantize_whole_panel(args) : quantize_rows(args);
}

}  // namespace

extern const KernelVariant kQuantizeQ8Avx512;
constexpr KernelVariant kQuantizeQ8Avx512 =
    quantize_variant("quantize.q8.f32.f32.16x32.avx512.cvtps2dq", kIsaAvx2 | kIsaAvx512, quantize_panel);

}  // namespace smepilot
