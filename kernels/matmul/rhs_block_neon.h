// What a block (32 k of 16 columns) of packed quantised weights holds, as NEON registers: the part that the NEON,
// dot-product and matrix-multiply kernels share. Internal linkage: each translation unit gets its own copy, compiled
// with its flags.
#pragma once
#include <arm_neon.h>

#include "kernels/abi/compiler.h"
#include "kernels/matmul/rhs_types.h"

namespace smepilot {
namespace {

// How the weights of a type come out of the panel.
//   kRaw     as stored: q4_* 0..15, q5_* 0..31, q6_k 0..63. The zero point is missing, the sums of the lhs make up for
//   it kSigned  zero point subtracted: q4_0 -8..7, q5_0 -16..15, q6_k -32..31
// q8_0 and iq4_nl are signed either way; types with minima have no zero point. q2_k comes multiplied with the integer
// scale of its half of the block, 0..45, and q3_k with minus that scale, -128..124: so one dot product takes both
// halves.
enum class Quants { kRaw, kSigned };

template <DType D>
inline constexpr int kZeroPoint = D == DType::kQ4_0   ? 8
                                  : D == DType::kQ5_0 ? 16
                                  : D == DType::kQ6_K ? 32
                                                      : 0;

// One block of a panel.
struct PanelView {
  const uint8_t *quants, *high;
  const uint8_t *scale, *scale_high;  // q2_k, q3_k
  int parity;                         // of the block
};

template <DType D>
SMEPILOT_INLINE PanelView panel_view(const uint8_t* panel, const RhsPlanes& at, size_t block) noexcept {
  return {panel + block * kQuantBytes<D>, panel + at.high + block * kHighBytes<D>,
          panel + at.scale + block * kScaleBytes<D>, panel + at.scale_high + block / 2 * 16,
          static_cast<int>(block % 2)};
}

// Each of four bytes four times: what there is once per column, for the four k of each column.
SMEPILOT_INLINE uint8x16_t four_times(const uint8_t* p) noexcept {
  uint32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  const uint8x16_t index = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  return vqtbl1q_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), index);
}

// Bits `from` .. of each byte moved to bits `to` .. and masked.
SMEPILOT_INLINE uint8x16_t move_bits(uint8x16_t bytes, int from, int to, int mask) noexcept {
  const uint8x16_t moved = from == to ? bytes : vshlq_u8(bytes, vdupq_n_s8(static_cast<int8_t>(to - from)));
  return vandq_u8(moved, vdupq_n_u8(static_cast<uint8_t>(mask)));
}

// Integer scales of columns 4c .. 4c+3, for half a block of q2_k or q3_k.
template <DType D>
SMEPILOT_INLINE int8x16_t integer_scale(const PanelView& p, int half, int c) noexcept {
  if constexpr (D == DType::kQ2_K)
    return vreinterpretq_s8_u8(vandq_u8(four_times(p.scale + 16 * half + 4 * c), vdupq_n_u8(15)));
  const uint8x16_t low = move_bits(four_times(p.scale + 4 * c), 4 * half, 0, 15);
  const uint8x16_t high = move_bits(four_times(p.scale_high + 4 * c), 4 * p.parity + 2 * half, 0, 3);
  return vsubq_s8(vreinterpretq_s8_u8(vsliq_n_u8(low, high, 4)), vdupq_n_s8(32));
}

// k = 4i .. 4i+3 of columns 8g .. 8g+3 (a) and 8g+4 .. 8g+7 (b) of a block: sixteen nibbles are half a load.
struct Pair {
  int8x16_t a, b;
};

template <DType D, Quants Q>
SMEPILOT_INLINE Pair load_pair(const PanelView& p, int i, int g) noexcept {
  if constexpr (D == DType::kQ8_0) {
    const uint8_t* q = p.quants + 64 * i + 32 * g;
    return {vreinterpretq_s8_u8(vld1q_u8(q)), vreinterpretq_s8_u8(vld1q_u8(q + 16))};
  } else if constexpr (D == DType::kQ2_K || D == DType::kQ3_K) {
    const int half = i / 4;
    const auto four_columns = [&](int c) noexcept {
      const uint8x16_t pair = move_bits(vld1q_u8(p.quants + 64 * half + 16 * c), 2 * (i % 4), 0, 3);
      const int8x16_t scale = integer_scale<D>(p, half, c);
      if constexpr (D == DType::kQ2_K) return vmulq_s8(vreinterpretq_s8_u8(pair), scale);
      const uint8x16_t third = move_bits(vld1q_u8(p.high + 16 * c), i, 2, 4);
      return vmulq_s8(vsubq_s8(vdupq_n_s8(4), vreinterpretq_s8_u8(vorrq_u8(pair, third))), scale);
    };
    return {four_columns(2 * g), four_columns(2 * g + 1)};
  } else {
    const uint8x16_t raw = vld1q_u8(p.quants + 64 * (i % 4) + 32 * (i / 4) + 16 * g);
    // Shift-and-insert replaces the upper nibbles, so where it follows they need no mask.
    constexpr bool kInserts = kHasSingleBits<D> || D == DType::kQ6_K;
    uint8x16_t even = kInserts ? raw : vandq_u8(raw, vdupq_n_u8(0x0f)), odd = vshrq_n_u8(raw, 4);
    if constexpr (D == DType::kIQ4_NL) {
      even = vreinterpretq_u8_s8(vqtbl1q_s8(vld1q_s8(kIq4NlValues), even));
      odd = vreinterpretq_u8_s8(vqtbl1q_s8(vld1q_s8(kIq4NlValues), odd));
    }
    uint8x16_t a = vzip1q_u8(even, odd), b = vzip2q_u8(even, odd);
    if constexpr (kInserts) {
      constexpr bool kTwo = D == DType::kQ6_K;
      const uint8_t* h = p.high + (kTwo ? 64 * (i / 4) : 0) + 32 * g;
      const int from = kTwo ? 2 * (i % 4) : i, mask = kTwo ? 3 : 1;
      a = vsliq_n_u8(a, move_bits(vld1q_u8(h), from, 0, mask), 4);
      b = vsliq_n_u8(b, move_bits(vld1q_u8(h + 16), from, 0, mask), 4);
    }
    const Pair w = {vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)};
    if constexpr (Q == Quants::kRaw || kZeroPoint<D> == 0) return w;
    const int8x16_t zero = vdupq_n_s8(kZeroPoint<D>);
    return {vsubq_s8(w.a, zero), vsubq_s8(w.b, zero)};
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

// Four bytes without their lowest `Shift` bits.
template <int Shift = 0>
SMEPILOT_INLINE float32x4_t widen_u8(const uint8_t* p) noexcept {
  uint32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  four = four >> Shift & (0xffu >> Shift) * 0x01010101u;
  const uint16x8_t h = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
  return vcvtq_f32_u32(vmovl_u16(vget_low_u16(h)));
}

SMEPILOT_INLINE float32x4_t widen_s8(const uint8_t* p) noexcept {
  uint32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  const int16x8_t h = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(h)));
}

// Scales of four columns of a block.
struct Scales {
  float32x4_t first;   // the scale; q6_k: that of the first half
  float32x4_t second;  // what is added times d * sum(q) of the lhs: q4_1, q5_1 the minimum, q4_k, q5_k minus the
                       // minimum. q6_k: the scale of the second half. q2_k: to be multiplied with d * n32a
  float32x4_t third;   // q2_k: to be multiplied with d * n32b
};
template <DType D>
inline constexpr int kScaleVectors = kHasHalfMins<D>               ? 3
                                     : kHasMin<D> || kHasHalves<D> ? 2
                                                                   : 1;

// Those of columns 4c .. 4c+3 of block kb; the vectors that the type does not have are zero.
template <DType D>
SMEPILOT_INLINE Scales load_scales(const ScaleView& s, size_t kb, int c) noexcept {
  const float32x4_t zero = vdupq_n_f32(0);
  const size_t super = kb / 8 * 32 + static_cast<size_t>(c) * 8;
  if constexpr (D == DType::kQ4_K || D == DType::kQ5_K) {
    return {vmulq_f32(load_half4(s.super + super), widen_u8(s.scale + kb * 16 + 4 * c)),
            vnegq_f32(vmulq_f32(load_half4(s.super_min + super), widen_u8(s.min + kb * 16 + 4 * c))), zero};
  } else if constexpr (D == DType::kQ6_K) {
    const float32x4_t d = load_half4(s.super + super);
    return {vmulq_f32(d, widen_s8(s.scale + kb * 32 + 4 * c)), vmulq_f32(d, widen_s8(s.scale + kb * 32 + 16 + 4 * c)),
            zero};
  } else if constexpr (D == DType::kQ2_K) {
    const float32x4_t dmin = vmulq_n_f32(load_half4(s.super_min + super), 1.0f / 32);
    const auto min = [&](int half) noexcept {  // in the high nibbles
      return vmulq_f32(dmin, widen_u8<4>(s.scale + kb * 32 + 16 * half + 4 * c));
    };
    return {load_half4(s.super + super), min(0), min(1)};
  } else if constexpr (D == DType::kQ3_K) {
    return {vnegq_f32(load_half4(s.super + super)), zero, zero};
  } else {
    return {load_half4(s.scale + kb * 32 + 8 * c), kHasMin<D> ? load_half4(s.min + kb * 32 + 8 * c) : zero, zero};
  }
}

// Blocks decoded once and then used by many rows.
inline constexpr uint32_t kChunkBlocks = 8;  // 256 k: a superblock, and 4 KiB of weights, which stay in any L1 cache
struct Decoded {
  alignas(64) int8_t w[kChunkBlocks][8][4][16];  // [k/4][column/4][column%4][k%4]
  alignas(64) float scales[3][kChunkBlocks][16];
  SMEPILOT_INLINE Pair pair(uint32_t b, int i, int g) const noexcept {
    return {vld1q_s8(w[b][i][2 * g]), vld1q_s8(w[b][i][2 * g + 1])};
  }
};

template <DType D>
SMEPILOT_INLINE void decode_scales(const ScaleView& scales, size_t kb, float (*out)[kChunkBlocks][16],
                                   uint32_t b) noexcept {
  SMEPILOT_UNROLL
  for (int c = 0; c < 4; ++c) {
    const Scales s = load_scales<D>(scales, kb, c);
    vst1q_f32(out[0][b] + 4 * c, s.first);
    if (kScaleVectors<D> > 1) vst1q_f32(out[1][b] + 4 * c, s.second);
    if (kScaleVectors<D> > 2) vst1q_f32(out[2][b] + 4 * c, s.third);
  }
}

template <DType D, Quants Q>
SMEPILOT_INLINE void decode(const uint8_t* panel, const RhsPlanes& at, size_t kb, uint32_t count,
                            Decoded& out) noexcept {
  const ScaleView scales = scale_view(panel, at);
  for (uint32_t b = 0; b < count; ++b) {
    const PanelView view = panel_view<D>(panel, at, kb + b);
    SMEPILOT_UNROLL
    for (int i = 0; i < 8; ++i) {
      SMEPILOT_UNROLL
      for (int g = 0; g < 2; ++g) {
        const Pair w = load_pair<D, Q>(view, i, g);
        vst1q_s8(out.w[b][i][2 * g], w.a);
        vst1q_s8(out.w[b][i][2 * g + 1], w.b);
      }
    }
    decode_scales<D>(scales, kb + b, out.scales, b);
  }
}

template <DType D>
SMEPILOT_INLINE Scales decoded_scales(const float (*in)[kChunkBlocks][16], uint32_t b, int c) noexcept {
  const float32x4_t first = vld1q_f32(in[0][b] + 4 * c);
  return {first, kScaleVectors<D> > 1 ? vld1q_f32(in[1][b] + 4 * c) : first,
          kScaleVectors<D> > 2 ? vld1q_f32(in[2][b] + 4 * c) : first};
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
