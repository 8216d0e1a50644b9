// What a block (32 k of 16 columns) of packed quantised weights holds, as NEON registers: the part that the NEON and
// the dot-product kernels share. Internal linkage: each translation unit gets its own copy, compiled with its flags.
#pragma once
#include <arm_neon.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/layout.h"

namespace smepilot {
namespace {

// How the weights of a type come out of the panel.
//   kRaw     as stored: q4_* 0..15, q6_k 0..63. The zero point is missing, the sums of the lhs make up for it
//   kSigned  zero point subtracted: q4_0 -8..7, q6_k -32..31
// q8_0 is signed either way; q4_1 and q4_k have minima instead of zero points.
enum class Quants { kRaw, kSigned };

template <DType D>
inline constexpr bool kHasMin = D == DType::kQ4_1 || D == DType::kQ4_K;
template <DType D>
inline constexpr bool kTwoScales = D == DType::kQ6_K;  // one for each half of the block

// One panel of weights, from some block on.
struct PanelView {
  const uint8_t* quants;
  const uint8_t* high;
};

template <DType D>
SMEPILOT_INLINE PanelView panel_view(const uint8_t* panel, const RhsPlanes& at, size_t block) noexcept {
  return {panel + block * (D == DType::kQ8_0 ? 512 : 256), panel + at.high + block * 128};
}

// k = 4i .. 4i+3 (kHigh: 16 + that) of columns 4c .. 4c+3 of a block.
template <DType D, Quants Q, bool kHigh>
SMEPILOT_INLINE int8x16_t load_quants(const PanelView& p, int i, int c) noexcept {
  if constexpr (D == DType::kQ8_0) {
    const uint8x16_t q = vld1q_u8(p.quants + 64 * (kHigh ? i + 4 : i) + 16 * c);
    return vreinterpretq_s8_u8(veorq_u8(q, vdupq_n_u8(0x80)));
  } else {
    uint8x16_t q = vld1q_u8(p.quants + 64 * i + 16 * c);
    if constexpr (kHigh) q = vshrq_n_u8(q, 4);
    if constexpr (D == DType::kQ6_K) {  // shift-and-insert replaces the upper nibble, so it needs no mask before
      uint8x16_t h = vld1q_u8(p.high + (kHigh ? 64 : 0) + 16 * c);
      h = i == 0 ? h : i == 1 ? vshrq_n_u8(h, 2) : i == 2 ? vshrq_n_u8(h, 4) : vshrq_n_u8(h, 6);
      if (i != 3) h = vandq_u8(h, vdupq_n_u8(3));
      q = vsliq_n_u8(q, h, 4);
    } else if constexpr (!kHigh) {
      q = vandq_u8(q, vdupq_n_u8(0x0f));
    }
    const int8x16_t w = vreinterpretq_s8_u8(q);
    if (Q == Quants::kRaw || kHasMin<D>) return w;
    return vsubq_s8(w, vdupq_n_s8(D == DType::kQ6_K ? 32 : 8));
  }
}

// Columns 4c .. 4c+3 of a block: low[i] holds k = 4i .. 4i+3 of each, high[i] k = 16+4i .. 16+4i+3.
struct Columns {
  int8x16_t low[4], high[4];
};

template <DType D, Quants Q>
SMEPILOT_INLINE void load_columns(const PanelView& p, int c, Columns& w) noexcept {
  SMEPILOT_UNROLL
  for (int i = 0; i < 4; ++i) {
    w.low[i] = load_quants<D, Q, false>(p, i, c);
    w.high[i] = load_quants<D, Q, true>(p, i, c);
  }
}

// The scales of one panel. 16-bit floats are converted by instructions of the baseline.
struct ScaleView {
  const uint8_t *scale, *min;        // f16 [KB][16], or integers [KB][16] (q6_k: [KB][2][16])
  const uint8_t *super, *super_min;  // f16 [KS][16]
};

SMEPILOT_INLINE ScaleView scale_view(const uint8_t* panel, const RhsPlanes& at) noexcept {
  return {panel + at.scale, panel + at.min, panel + at.super, panel + at.super_min};
}

SMEPILOT_INLINE float32x4_t load_half4(const uint8_t* p) noexcept {
  return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

SMEPILOT_INLINE float32x4_t widen_u8(const uint8_t* p) noexcept {
  uint32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  const uint16x8_t h = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
  return vcvtq_f32_u32(vmovl_u16(vget_low_u16(h)));
}

SMEPILOT_INLINE float32x4_t widen_s8(const uint8_t* p) noexcept {
  uint32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  const int16x8_t h = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(h)));
}

// Scales of columns 4c .. 4c+3 of block kb. second: q4_1 the minimum, q4_k minus the minimum (so that both are added),
// q6_k the scale of the block's second half.
template <DType D>
SMEPILOT_INLINE void load_scales(const ScaleView& s, size_t kb, int c, float32x4_t& first,
                                 float32x4_t& second) noexcept {
  if constexpr (D == DType::kQ4_K) {
    first = vmulq_f32(load_half4(s.super + kb / 8 * 32 + 8 * c), widen_u8(s.scale + kb * 16 + 4 * c));
    second = vnegq_f32(vmulq_f32(load_half4(s.super_min + kb / 8 * 32 + 8 * c), widen_u8(s.min + kb * 16 + 4 * c)));
  } else if constexpr (D == DType::kQ6_K) {
    const float32x4_t d = load_half4(s.super + kb / 8 * 32 + 8 * c);
    first = vmulq_f32(d, widen_s8(s.scale + kb * 32 + 4 * c));
    second = vmulq_f32(d, widen_s8(s.scale + kb * 32 + 16 + 4 * c));
  } else {
    first = load_half4(s.scale + kb * 32 + 8 * c);
    second = D == DType::kQ4_1 ? load_half4(s.min + kb * 32 + 8 * c) : vdupq_n_f32(0);
  }
}

// Blocks decoded once and then used by many rows. Weights as load_columns() gives them, in the order of use:
// column group, then low[0], high[0], low[1], high[1] ...
inline constexpr uint32_t kChunkBlocks = 8;  // 256 k: a superblock, and 4 KiB of weights, which stay in any L1 cache
struct Decoded {
  alignas(64) int8_t w[kChunkBlocks][4][8][16];
  alignas(64) float first[kChunkBlocks][16];
  alignas(64) float second[kChunkBlocks][16];
};

template <DType D, Quants Q>
SMEPILOT_INLINE void decode(const uint8_t* panel, const RhsPlanes& at, size_t kb, uint32_t count,
                            Decoded& out) noexcept {
  const ScaleView scales = scale_view(panel, at);
  for (uint32_t b = 0; b < count; ++b) {
    const PanelView view = panel_view<D>(panel, at, kb + b);
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) {
      Columns w;
      load_columns<D, Q>(view, c, w);
      SMEPILOT_UNROLL
      for (int i = 0; i < 4; ++i) {
        vst1q_s8(out.w[b][c][2 * i], w.low[i]);
        vst1q_s8(out.w[b][c][2 * i + 1], w.high[i]);
      }
      float32x4_t first, second;
      load_scales<D>(scales, kb + b, c, first, second);
      vst1q_f32(out.first[b] + 4 * c, first);
      if (kHasMin<D> || kTwoScales<D>) vst1q_f32(out.second[b] + 4 * c, second);
    }
  }
}

// Writes rows of 16 accumulated columns to dst, only the first n of them.
SMEPILOT_INLINE void store_rows(const float (*acc)[16], uint32_t rows, uint32_t n, float* dst, size_t stride) noexcept {
  for (uint32_t r = 0; r < rows; ++r, dst += stride) {
    if (n >= kPanel) {
      SMEPILOT_UNROLL
      for (int c = 0; c < 4; ++c) vst1q_f32(dst + 4 * c, vld1q_f32(acc[r] + 4 * c));
    } else {
      for (uint32_t c = 0; c < n; ++c) dst[c] = acc[r][c];
    }
  }
}

}  // namespace
}  // namespace smepilot
