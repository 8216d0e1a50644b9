// Quantised weights for SME units: one block of a packed panel (kRhsPanel16, see layout.h) as B operands of integer
// outer products, and its scales as rows of f32. Internal linkage: included by one translation unit of each step.
//
// Weights come out signed, so that zero points cost nothing. With SME2 the nibbles are looked up in ZT0, whose table
// holds values (n - 8 for q4_0); where types have more bits, it holds the nibble shifted up, and the others are
// inserted at the top (SLI), the highest one flipped where the type is signed: that is the value times a power of two,
// for which the row scales make up. SME, which has no such table, subtracts where the fifth bit is missing, and leaves
// the zero points of q4_0 and q6_k to a correction of rank one.
#pragma once
#include "kernels/abi/describe.h"
#include "kernels/matmul/rhs_types.h"
#include "kernels/sme/streaming.h"

namespace smepilot {
namespace {

// Nibbles are packed in pairs of neighbours, and q8_0 signed.
static_assert(kAdjacentNibbles && kQ8Zero == 0);

// The scales of each half of a block apply to the integers of that half.
template <DType D>
constexpr bool kTwoScales = kHasHalves<D> || D == DType::kQ2_K || D == DType::kQ3_K;
// What must be subtracted from the weights as weights() gives them.
template <DType D>
constexpr int kZeroPoint = SMEPILOT_SME2       ? 0
                           : D == DType::kQ4_0 ? 8
                           : D == DType::kQ6_K ? 32
                                               : 0;
template <DType D>
constexpr bool kFiveBits = D == DType::kQ5_0 || D == DType::kQ5_1 || D == DType::kQ5_K;
// Weights come out times two to the power of this.
template <DType D>
constexpr int kShifted = !SMEPILOT_SME2      ? 0
                         : D == DType::kQ6_K ? 2
                         : kFiveBits<D>      ? 3
                         : D == DType::kQ3_K ? 5
                                             : 0;
// Weights come out unsigned, up to 255: those that have minima, so no zero point.
template <DType D>
constexpr bool kUnsigned = kShifted<D> != 0 && kHasMin<D>;
template <DType D>
constexpr bool kCorrected = kZeroPoint<D> != 0 || kHasMin<D> || kHasHalfMins<D>;
template <DType D>
constexpr bool kHasNibbles = D != DType::kQ8_0 && D != DType::kQ2_K && D != DType::kQ3_K;

#if SMEPILOT_SME2
// The values of nibbles, as ZT0 wants them: in the low byte of 32 bits each.
struct NibbleTable {
  int32_t value[16];
};
template <DType D>
constexpr NibbleTable nibble_table() noexcept {
  NibbleTable t = {};
  for (int i = 0; i < 16; ++i)
    t.value[i] = (D == DType::kIQ4_NL ? kIq4NlValues[i] : D == DType::kQ4_0 ? i - 8 : i << kShifted<D>)&0xff;
  return t;
}
template <DType D>
inline constexpr NibbleTable kNibbleTable = nibble_table<D>();
#endif

// Before the first weights<D>().
template <DType D>
SMEPILOT_INLINE void load_nibble_table() noexcept SMEPILOT_STREAMING {
#if SMEPILOT_SME2
  if constexpr (kHasNibbles<D>) svldr_zt(0, kNibbleTable<D>.value);
#endif
}

// Columns of a rhs panel that one tile takes: those from `first` on.
struct Columns {
  uint32_t first;
  SMEPILOT_INLINE svbool_t floats() const noexcept __arm_streaming { return svwhilelt_b32_u32(first, kPanel); }
  SMEPILOT_INLINE svbool_t bytes() const noexcept __arm_streaming { return svwhilelt_b8_u32(first * 4, kPanel * 4); }
  SMEPILOT_INLINE svbool_t nibbles() const noexcept __arm_streaming { return svwhilelt_b8_u32(first * 2, kPanel * 2); }
};

// Weights of a block: four k of each column to a vector, w0 for k 0 .. 3 to w7 for k 28 .. 31. (Not tuples: of those
// clang-22 spills every part.)
#define SMEPILOT_FOUR(type, v) type v##0, type v##1, type v##2, type v##3
#define SMEPILOT_EIGHT(type, v) SMEPILOT_FOUR(type, v), type v##4, type v##5, type v##6, type v##7

SMEPILOT_INLINE svuint8_t one_row(const uint8_t* p, Columns c) noexcept __arm_streaming {
  return svld1_u8(c.bytes(), p + c.first * 4);
}
// Four rows of a panel, 64 bytes apart.
template <bool Whole>
SMEPILOT_INLINE void four_rows(const uint8_t* p, Columns c, SMEPILOT_FOUR(svuint8_t&, v)) noexcept __arm_streaming {
#if SMEPILOT_SME2
  if constexpr (Whole) {
    const svuint8x4_t v = svld1_u8_x4(svptrue_c8(), p);
    v0 = svget4_u8(v, 0);
    v1 = svget4_u8(v, 1);
    v2 = svget4_u8(v, 2);
    v3 = svget4_u8(v, 3);
    return;
  }
#endif
  v0 = one_row(p, c);
  v1 = one_row(p + 64, c);
  v2 = one_row(p + 128, c);
  v3 = one_row(p + 192, c);
}

// Two rows of a panel.
template <bool Whole>
SMEPILOT_INLINE void two_rows(const uint8_t* p, Columns c, svuint8_t& v0, svuint8_t& v1) noexcept __arm_streaming {
#if SMEPILOT_SME2
  if constexpr (Whole) {
    const svuint8x2_t v = svld1_u8_x2(svptrue_c8(), p);
    v0 = svget2_u8(v, 0);
    v1 = svget2_u8(v, 1);
    return;
  }
#endif
  v0 = one_row(p, c);
  v1 = one_row(p + 64, c);
}

// Bits At, At + Step, .. of each byte, `Mask` wide, moved to bit To, for I = 0 .. 3.
template <int At, int To, int Mask>
SMEPILOT_INLINE svuint8_t field(svuint8_t v) noexcept __arm_streaming {
  const svbool_t all = svptrue_b8();
  if constexpr (At > To) v = svlsr_n_u8_x(all, v, At - To);
  if constexpr (At < To) v = svlsl_n_u8_x(all, v, To - At);
  return svand_n_u8_x(all, v, Mask << To);
}
template <int At, int Step, int To, int Mask>
SMEPILOT_INLINE void fields(svuint8_t v, SMEPILOT_FOUR(svuint8_t&, w)) noexcept __arm_streaming {
  w0 = field<At, To, Mask>(v);
  w1 = field<At + Step, To, Mask>(v);
  w2 = field<At + 2 * Step, To, Mask>(v);
  w3 = field<At + 3 * Step, To, Mask>(v);
}
template <int At, int Step, int To, int Mask>
SMEPILOT_INLINE void add_fields(svuint8_t v, SMEPILOT_FOUR(svuint8_t&, w)) noexcept __arm_streaming {
  const svbool_t all = svptrue_b8();
  w0 = svadd_u8_x(all, w0, field<At, To, Mask>(v));
  w1 = svadd_u8_x(all, w1, field<At + Step, To, Mask>(v));
  w2 = svadd_u8_x(all, w2, field<At + 2 * Step, To, Mask>(v));
  w3 = svadd_u8_x(all, w3, field<At + 3 * Step, To, Mask>(v));
}
#if SMEPILOT_SME2
// The lowest bits At, At + Step, .. of each byte, as many as there is room for above bit To, into the top of w0 .. w3.
template <int At, int Step, int To>
SMEPILOT_INLINE void insert_at_top(svuint8_t v, SMEPILOT_FOUR(svuint8_t&, w)) noexcept __arm_streaming {
  const svbool_t all = svptrue_b8();
  w0 = svsli_n_u8(w0, At == 0 ? v : svlsr_n_u8_x(all, v, At == 0 ? 1 : At), To);
  w1 = svsli_n_u8(w1, svlsr_n_u8_x(all, v, At + Step), To);
  w2 = svsli_n_u8(w2, svlsr_n_u8_x(all, v, At + 2 * Step), To);
  w3 = svsli_n_u8(w3, svlsr_n_u8_x(all, v, At + 3 * Step), To);
}
#endif
template <int At, int To>
SMEPILOT_INLINE void subtract_bits(svuint8_t v, SMEPILOT_FOUR(svuint8_t&, w)) noexcept __arm_streaming {
  const svbool_t all = svptrue_b8();
  w0 = svsub_u8_x(all, w0, field<At, To, 1>(v));
  w1 = svsub_u8_x(all, w1, field<At + 1, To, 1>(v));
  w2 = svsub_u8_x(all, w2, field<At + 2, To, 1>(v));
  w3 = svsub_u8_x(all, w3, field<At + 3, To, 1>(v));
}

// A raw vector of 4 bits each: the rows i and i + 4 of a block.
template <DType D, bool Whole>
SMEPILOT_INLINE void nibbles(const uint8_t* q, svuint8_t raw, Columns c, svuint8_t& low,
                             svuint8_t& high) noexcept SMEPILOT_STREAMING {
#if SMEPILOT_SME2
  if constexpr (Whole) {
    const svuint8x2_t both = svluti4_lane_zt_u8_x2(0, raw, 0);
    low = svget2_u8(both, 0);
    high = svget2_u8(both, 1);
  } else {
    low = svluti4_lane_zt_u8(0, svld1_u8(c.nibbles(), q + c.first * 2), 0);
    high = svluti4_lane_zt_u8(0, svld1_u8(c.nibbles(), q + 32 + c.first * 2), 0);
  }
#else
  const svbool_t all = svptrue_b8();
  if constexpr (Whole) {
    const svuint8_t even = svand_n_u8_x(all, raw, 15), odd = svlsr_n_u8_x(all, raw, 4);
    low = svzip1_u8(even, odd);
    high = svzip2_u8(even, odd);
  } else {
    const svuint8_t a = svld1_u8(c.nibbles(), q + c.first * 2), b = svld1_u8(c.nibbles(), q + 32 + c.first * 2);
    low = svzip1_u8(svand_n_u8_x(all, a, 15), svlsr_n_u8_x(all, a, 4));
    high = svzip1_u8(svand_n_u8_x(all, b, 15), svlsr_n_u8_x(all, b, 4));
  }
  if constexpr (D == DType::kIQ4_NL) {
    const svuint8_t table = svld1rq_u8(all, reinterpret_cast<const uint8_t*>(kIq4NlValues));
    low = svtbl_u8(table, low);
    high = svtbl_u8(table, high);
  }
#endif
}

// One block of a rhs panel.
struct RhsBlock {
  const uint8_t* panel;
  RhsPlanes at;
  size_t kb;
};

// Whole: the vector length is 64 bytes, so a vector is a row of a panel.
template <DType D, bool Whole>
SMEPILOT_INLINE void weights(const RhsBlock& b, Columns c, SMEPILOT_EIGHT(svuint8_t&, w)) noexcept SMEPILOT_STREAMING {
  const uint8_t* q = b.panel + b.at.quants + b.kb * kQuantBytes<D>;
  const uint8_t* h = b.panel + b.at.high + b.kb * kHighBytes<D>;
  const svbool_t all = svptrue_b8();
  if constexpr (D == DType::kQ8_0) {
    four_rows<Whole>(q, c, w0, w1, w2, w3);
    four_rows<Whole>(q + 256, c, w4, w5, w6, w7);
  } else if constexpr (!kHasNibbles<D>) {
    svuint8_t q0, q1;
    two_rows<Whole>(q, c, q0, q1);
    fields<0, 2, kShifted<D>, 3>(q0, w0, w1, w2, w3);
    fields<0, 2, kShifted<D>, 3>(q1, w4, w5, w6, w7);
  } else {
    svuint8_t raw0 = svundef_u8(), raw1 = raw0, raw2 = raw0, raw3 = raw0;
    if constexpr (Whole) four_rows<Whole>(q, c, raw0, raw1, raw2, raw3);
    nibbles<D, Whole>(q, raw0, c, w0, w4);
    nibbles<D, Whole>(q + 64, raw1, c, w1, w5);
    nibbles<D, Whole>(q + 128, raw2, c, w2, w6);
    nibbles<D, Whole>(q + 192, raw3, c, w3, w7);
  }
  if constexpr (kShifted<D> != 0) {
#if SMEPILOT_SME2
    if constexpr (D == DType::kQ6_K) {
      svuint8_t h0, h1;
      two_rows<Whole>(h, c, h0, h1);
      insert_at_top<0, 2, 6>(sveor_n_u8_x(all, h0, 0xaa), w0, w1, w2, w3);
      insert_at_top<0, 2, 6>(sveor_n_u8_x(all, h1, 0xaa), w4, w5, w6, w7);
    } else {
      svuint8_t bits = one_row(h, c);
      if constexpr (!kUnsigned<D>) bits = svnot_u8_x(all, bits);
      insert_at_top<0, 1, 7>(bits, w0, w1, w2, w3);
      insert_at_top<4, 1, 7>(bits, w4, w5, w6, w7);
    }
#endif
  } else if constexpr (D == DType::kQ5_0 || D == DType::kQ3_K) {  // minus what the bit stands for where it is not set
    constexpr int kTo = D == DType::kQ3_K ? 2 : 4;
    const svuint8_t missing = svnot_u8_x(all, one_row(h, c));
    subtract_bits<0, kTo>(missing, w0, w1, w2, w3);
    subtract_bits<4, kTo>(missing, w4, w5, w6, w7);
  } else if constexpr (kHasSingleBits<D>) {
    const svuint8_t bits = one_row(h, c);
    add_fields<0, 1, 4, 1>(bits, w0, w1, w2, w3);
    add_fields<4, 1, 4, 1>(bits, w4, w5, w6, w7);
  } else if constexpr (D == DType::kQ6_K) {
    svuint8_t h0, h1;
    two_rows<Whole>(h, c, h0, h1);
    add_fields<0, 2, 4, 3>(h0, w0, w1, w2, w3);
    add_fields<0, 2, 4, 3>(h1, w4, w5, w6, w7);
  }
}

SMEPILOT_INLINE svfloat32_t halves_at(const uint8_t* p, Columns c) noexcept __arm_streaming {
  const svuint32_t bits = svld1uh_u32(c.floats(), reinterpret_cast<const uint16_t*>(p) + c.first);
  return svcvt_f32_f16_x(svptrue_b32(), svreinterpret_f16_u32(bits));
}
SMEPILOT_INLINE svuint32_t bytes_at(const uint8_t* p, Columns c) noexcept __arm_streaming {
  return svld1ub_u32(c.floats(), p + c.first);
}

// What the scales and the minima of a super-block are multiplied with.
template <DType D>
SMEPILOT_INLINE void super_scales(const RhsBlock& b, Columns c, svfloat32_t& scale, svfloat32_t& min) noexcept
    __arm_streaming {
  const svbool_t all = svptrue_b32();
  scale = halves_at(b.panel + b.at.super + b.kb / 8 * 32, c);
  min = scale;
  if constexpr (kHasMin<D>) min = svneg_f32_x(all, halves_at(b.panel + b.at.super_min + b.kb / 8 * 32, c));
  if constexpr (kHasHalfMins<D>)  // the sums are there times -32
    min = svmul_n_f32_x(all, halves_at(b.panel + b.at.super_min + b.kb / 8 * 32, c), 1.0f / 32);
}

// Scale and minimum, where there is one, of part 0 or 1 of a block, without those of its super-block.
template <DType D, int Part>
SMEPILOT_INLINE void scales_below_super(const RhsBlock& b, Columns c, svfloat32_t& scale, svfloat32_t& min) noexcept
    __arm_streaming {
  const svbool_t all = svptrue_b32();
  const uint8_t* s = b.panel + b.at.scale + b.kb * kScaleBytes<D>;
  min = svundef_f32();
  if constexpr (D == DType::kQ4_K || D == DType::kQ5_K) {
    scale = svcvt_f32_u32_x(all, bytes_at(s, c));
    min = svcvt_f32_u32_x(all, bytes_at(b.panel + b.at.min + b.kb * kScaleBytes<D>, c));
  } else if constexpr (D == DType::kQ6_K) {
    scale = svcvt_f32_s32_x(all, svld1sb_s32(c.floats(), reinterpret_cast<const int8_t*>(s) + Part * 16 + c.first));
  } else if constexpr (D == DType::kQ2_K) {
    const svuint32_t both = bytes_at(s + Part * 16, c);
    scale = svcvt_f32_u32_x(all, svand_n_u32_x(all, both, 15));
    min = svcvt_f32_u32_x(all, svlsr_n_u32_x(all, both, 4));
  } else {
    const svuint32_t low = svand_n_u32_x(all, svlsr_n_u32_x(all, bytes_at(s, c), Part * 4), 15);
    const svuint32_t high = bytes_at(b.panel + b.at.scale_high + b.kb / 2 * 16, c);
    const uint32_t shift = static_cast<uint32_t>(b.kb % 2 * 4) + Part * 2;
    const svuint32_t two = svand_n_u32_x(all, svlsr_u32_x(all, high, svdup_n_u32(shift)), 3);
    const svuint32_t six = svorr_u32_x(all, low, svlsl_n_u32_x(all, two, 4));
    scale = svcvt_f32_s32_x(all, svsub_n_s32_x(all, svreinterpret_s32_u32(six), 32));
  }
}

template <DType D>
constexpr bool kHasSuper = rhs_planes(D, kQ8SuperBlock).super != 0;

// Of part 0 or 1 of a block: what its integers are to be multiplied with, and what is to be added times the lhs sums
// (ds, or where there are two scales d * n32).
template <DType D, int Part>
SMEPILOT_INLINE void scales(const RhsBlock& b, Columns c, svfloat32_t& scale, svfloat32_t& correction) noexcept
    __arm_streaming {
  const svbool_t all = svptrue_b32();
  const uint8_t* s = b.panel + b.at.scale + b.kb * kScaleBytes<D>;
  if constexpr (kHasSuper<D>) {
    svfloat32_t d, dmin, min;
    super_scales<D>(b, c, d, dmin);
    scales_below_super<D, Part>(b, c, scale, min);
    scale = svmul_f32_x(all, d, scale);
    if constexpr (kHasMin<D> || kHasHalfMins<D>)
      correction = svmul_f32_x(all, dmin, min);
    else
      correction = svmul_n_f32_x(all, scale, static_cast<float>(kZeroPoint<D>) / 32);
  } else {
    scale = halves_at(s, c);
    if constexpr (kHasMin<D>)
      correction = halves_at(b.panel + b.at.min + b.kb * kScaleBytes<D>, c);
    else
      correction = svmul_n_f32_x(all, scale, -static_cast<float>(kZeroPoint<D>));
  }
}

}  // namespace
}  // namespace smepilot
