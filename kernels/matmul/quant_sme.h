// Quantised weights times quantised activations on an SME unit, for SME (isa step sme) and SME2 (sme2), at any vector
// length. Internal linkage: included by one translation unit of each step.
//
// A block (32 k) of 16 rows and 16 columns is eight outer products into one ZA tile of integers. Block scales are
// exact, so these integers must leave the tile once per block. What makes that cheap:
// - The products of row and column scales are an outer product too: one FMOPA makes all 256 of them, in a second tile.
// - What zero points and minima add is of rank one: one more FMOPA, straight into the sums.
// - Sums stay in ZA, in two more tiles, for all of k. SME2 takes four rows of integers and of scales out of their
// tiles,
//   converts and multiplies them into the sums with four instructions (the rows of a vector group, vgx4, are j, j +
//   VL/16,
//   ... of one tile, the same ones in every tile). SME, which cannot multiply into ZA, needs six a row.
// Per block one lhs panel meets two rhs panels: of all shapes that leave room for both temporary tiles, the one that
// loads the fewest bytes per outer product.
//
// Tile 0: integers. Tile 1: scales. Tiles 2, 3: sums of the two rhs panels.
#pragma once
#include <arm_sme.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"
#include "kernels/matmul/rhs_types.h"

#if defined(__ARM_FEATURE_SME2)
#define SMEPILOT_SME2 1
#else
#define SMEPILOT_SME2 0
#endif
#define SMEPILOT_STREAMING __arm_streaming __arm_inout("za")

namespace smepilot {
namespace {

constexpr uint32_t kMr = 64;  // rows of a call
// Planes of an lhs block of `height` rows, see kLhsQ8Panel16K4 in layout.h.
constexpr size_t kPlaneD = 32, kPlaneDs = 36, kPlaneN32a = 48, kPlaneN32b = 52;
constexpr uint64_t kTemporaries = 0x33;  // tiles 0 and 1, as ZERO names them

// The scales of each half of a block apply to the integers of that half.
template <DType D>
constexpr bool kTwoScales = kHasHalves<D> || D == DType::kQ2_K || D == DType::kQ3_K;
// What must be subtracted from the weights as weights() gives them.
template <DType D>
constexpr int kZeroPoint = D == DType::kQ4_0   ? 8
                           : D == DType::kQ5_0 ? 16
                           : D == DType::kQ6_K ? 32
                           : D == DType::kQ3_K ? 4
                                               : 0;
template <DType D>
constexpr bool kCorrected = kZeroPoint<D> != 0 || kHasMin<D> || kHasHalfMins<D>;

// Columns of a rhs panel that one tile takes: those from `first` on.
struct Columns {
  uint32_t first;
  SMEPILOT_INLINE svbool_t floats() const noexcept __arm_streaming { return svwhilelt_b32_u32(first, kPanel); }
  SMEPILOT_INLINE svbool_t bytes() const noexcept __arm_streaming { return svwhilelt_b8_u32(first * 4, kPanel * 4); }
};

// Four rows of a panel, 64 bytes apart.
template <bool Whole>
SMEPILOT_INLINE svuint8x4_t four_rows(const uint8_t* p, Columns c) noexcept __arm_streaming {
#if SMEPILOT_SME2
  if constexpr (Whole) return svld1_u8_x4(svptrue_c8(), p);
#endif
  const svbool_t bytes = c.bytes();
  p += c.first * 4;
  return svcreate4_u8(svld1_u8(bytes, p), svld1_u8(bytes, p + 64), svld1_u8(bytes, p + 128), svld1_u8(bytes, p + 192));
}
SMEPILOT_INLINE svuint8_t one_row(const uint8_t* p, Columns c) noexcept __arm_streaming {
  return svld1_u8(c.bytes(), p + c.first * 4);
}
SMEPILOT_INLINE svuint8x4_t with_bits(svuint8x4_t low, svuint8x4_t high) noexcept __arm_streaming {
  const svbool_t all = svptrue_b8();
  return svcreate4_u8(
      svorr_u8_x(all, svget4_u8(low, 0), svget4_u8(high, 0)), svorr_u8_x(all, svget4_u8(low, 1), svget4_u8(high, 1)),
      svorr_u8_x(all, svget4_u8(low, 2), svget4_u8(high, 2)), svorr_u8_x(all, svget4_u8(low, 3), svget4_u8(high, 3)));
}
// Bits From + Step*i .. of each byte, moved to bit To and masked, for i = 0 .. 3.
template <int From, int Step, int To, int Mask, int I>
SMEPILOT_INLINE svuint8_t field(svuint8_t v) noexcept __arm_streaming {
  constexpr int kRight = From + Step * I - To;
  const svbool_t all = svptrue_b8();
  if constexpr (kRight > 0) v = svlsr_n_u8_x(all, v, kRight);
  if constexpr (kRight < 0) v = svlsl_n_u8_x(all, v, -kRight);
  return svand_n_u8_x(all, v, Mask << To);
}
template <int From, int Step, int To, int Mask>
SMEPILOT_INLINE svuint8x4_t fields(svuint8_t v) noexcept __arm_streaming {
  return svcreate4_u8(field<From, Step, To, Mask, 0>(v), field<From, Step, To, Mask, 1>(v),
                      field<From, Step, To, Mask, 2>(v), field<From, Step, To, Mask, 3>(v));
}
// k = 4i .. 4i+3 of a block's nibbles, two to a byte, and expanded.
SMEPILOT_INLINE svuint8_t expanded(const uint8_t* p, svbool_t bytes) noexcept __arm_streaming {
  const svbool_t all = svptrue_b8();
  const svuint8_t raw = svld1_u8(bytes, p);
  return svzip1_u8(svand_n_u8_x(all, raw, 15), svlsr_n_u8_x(all, raw, 4));
}
SMEPILOT_INLINE svuint8x4_t four_rows_of_nibbles(const uint8_t* p, Columns c) noexcept __arm_streaming {
  const svbool_t bytes = svwhilelt_b8_u32(c.first * 2, kPanel * 2);
  p += c.first * 2;
  return svcreate4_u8(expanded(p, bytes), expanded(p + 64, bytes), expanded(p + 128, bytes), expanded(p + 192, bytes));
}
SMEPILOT_INLINE svuint8x4_t looked_up(svuint8_t table, svuint8x4_t v) noexcept __arm_streaming {
  return svcreate4_u8(svtbl_u8(table, svget4_u8(v, 0)), svtbl_u8(table, svget4_u8(v, 1)),
                      svtbl_u8(table, svget4_u8(v, 2)), svtbl_u8(table, svget4_u8(v, 3)));
}

// One block of a rhs panel.
struct RhsBlock {
  const uint8_t* panel;
  const RhsPlanes& at;
  size_t kb;
};

// Weights of k 0 .. 15 (first) and 16 .. 31 (second) of a block, four k of each column to a vector.
template <DType D, bool Whole>
SMEPILOT_INLINE void weights(const RhsBlock& b, Columns c, svuint8x4_t& first, svuint8x4_t& second) noexcept
    __arm_streaming {
  const uint8_t* q = b.panel + b.kb * kQuantBytes<D>;
  if constexpr (D == DType::kQ8_0) {
    first = four_rows<Whole>(q, c);
    second = four_rows<Whole>(q + 256, c);
  } else if constexpr (D == DType::kQ2_K || D == DType::kQ3_K) {
    first = fields<0, 2, 0, 3>(one_row(q, c));
    second = fields<0, 2, 0, 3>(one_row(q + 64, c));
  } else {
    first = four_rows_of_nibbles(q, c);
    second = four_rows_of_nibbles(q + 32, c);
  }
  const uint8_t* h = b.panel + b.at.high + b.kb * kHighBytes<D>;
  if constexpr (kHasSingleBits<D>) {
    constexpr int kTo = D == DType::kQ3_K ? 2 : 4;
    const svuint8_t bits = one_row(h, c);
    first = with_bits(first, fields<0, 1, kTo, 1>(bits));
    second = with_bits(second, fields<4, 1, kTo, 1>(bits));
  }
  if constexpr (D == DType::kQ6_K) {
    first = with_bits(first, fields<0, 2, 4, 3>(one_row(h, c)));
    second = with_bits(second, fields<0, 2, 4, 3>(one_row(h + 64, c)));
  }
  if constexpr (D == DType::kIQ4_NL) {
    const svuint8_t table = svld1rq_u8(svptrue_b8(), reinterpret_cast<const uint8_t*>(kIq4NlValues));
    first = looked_up(table, first);
    second = looked_up(table, second);
  }
}

SMEPILOT_INLINE svfloat32_t halves_at(const uint8_t* p, Columns c) noexcept __arm_streaming {
  const svuint32_t bits = svld1uh_u32(c.floats(), reinterpret_cast<const uint16_t*>(p) + c.first);
  return svcvt_f32_f16_x(svptrue_b32(), svreinterpret_f16_u32(bits));
}
SMEPILOT_INLINE svuint32_t bytes_at(const uint8_t* p, Columns c) noexcept __arm_streaming {
  return svld1ub_u32(c.floats(), p + c.first);
}

// Of part 0 or 1 of a block: what its integers are to be multiplied with, and what is to be added times the lhs sums
// (ds, or where there are two scales d * n32).
template <DType D, int Part>
SMEPILOT_INLINE void scales(const RhsBlock& b, Columns c, svfloat32_t& scale, svfloat32_t& correction) noexcept
    __arm_streaming {
  const svbool_t all = svptrue_b32();
  const uint8_t* s = b.panel + b.at.scale + b.kb * kScaleBytes<D>;
  if constexpr (D == DType::kQ4_K || D == DType::kQ5_K) {
    const svfloat32_t d = halves_at(b.panel + b.at.super + b.kb / 8 * 32, c);
    const svfloat32_t dmin = halves_at(b.panel + b.at.super_min + b.kb / 8 * 32, c);
    scale = svmul_f32_x(all, d, svcvt_f32_u32_x(all, bytes_at(s, c)));
    const svfloat32_t min = svcvt_f32_u32_x(all, bytes_at(b.panel + b.at.min + b.kb * kScaleBytes<D>, c));
    correction = svneg_f32_x(all, svmul_f32_x(all, dmin, min));
  } else if constexpr (kTwoScales<D>) {
    const svfloat32_t d = halves_at(b.panel + b.at.super + b.kb / 8 * 32, c);
    svfloat32_t integer;
    if constexpr (D == DType::kQ6_K) {
      integer = svcvt_f32_s32_x(all, svld1sb_s32(c.floats(), reinterpret_cast<const int8_t*>(s) + Part * 16 + c.first));
    } else if constexpr (D == DType::kQ2_K) {
      integer = svcvt_f32_u32_x(all, svand_n_u32_x(all, bytes_at(s + Part * 16, c), 15));
    } else {
      const svuint32_t low = svand_n_u32_x(all, svlsr_n_u32_x(all, bytes_at(s, c), Part * 4), 15);
      const svuint32_t high = bytes_at(b.panel + b.at.scale_high + b.kb / 2 * 16, c);
      const uint32_t shift = static_cast<uint32_t>(b.kb % 2 * 4) + Part * 2;
      const svuint32_t two = svand_n_u32_x(all, svlsr_u32_x(all, high, svdup_n_u32(shift)), 3);
      const svuint32_t six = svorr_u32_x(all, low, svlsl_n_u32_x(all, two, 4));
      integer = svcvt_f32_s32_x(all, svsub_n_s32_x(all, svreinterpret_s32_u32(six), 32));
    }
    scale = svmul_f32_x(all, d, integer);
    if constexpr (D == DType::kQ2_K) {  // minus the minimum: the sums are there times -32
      const svuint32_t min = svlsr_n_u32_x(all, bytes_at(s + Part * 16, c), 4);
      const svfloat32_t dmin = halves_at(b.panel + b.at.super_min + b.kb / 8 * 32, c);
      correction = svmul_n_f32_x(all, svmul_f32_x(all, dmin, svcvt_f32_u32_x(all, min)), 1.0f / 32);
    } else {
      correction = svmul_n_f32_x(all, scale, static_cast<float>(kZeroPoint<D>) / 32);
    }
  } else {
    scale = halves_at(s, c);
    if constexpr (kHasMin<D>)
      correction = halves_at(b.panel + b.at.min + b.kb * kScaleBytes<D>, c);
    else
      correction = svmul_n_f32_x(all, scale, -static_cast<float>(kZeroPoint<D>));
  }
}

// Rows of an lhs panel that one tile takes, and a block of them.
struct LhsBlock {
  const uint8_t* block;
  uint32_t height;  // of the panel
  uint32_t first;   // row
  SMEPILOT_INLINE svbool_t rows() const noexcept __arm_streaming { return svwhilelt_b32_u32(first, height); }
  SMEPILOT_INLINE const uint8_t* plane(size_t which) const noexcept __arm_streaming {
    return block + height * which + first * 4;
  }
  SMEPILOT_INLINE svfloat32_t floats(size_t which) const noexcept __arm_streaming {
    return svld1_f32(rows(), reinterpret_cast<const float*>(plane(which)));
  }
  SMEPILOT_INLINE svint32_t integers(size_t which) const noexcept __arm_streaming {
    return svld1_s32(rows(), reinterpret_cast<const int32_t*>(plane(which)));
  }
};

// Quants of a block, v0 .. v7, with four k of all rows in each vector. Rows beyond the panel's are zero. (Not tuples:
// of those, clang-22 spills every part.)
#define SMEPILOT_EIGHT(type, v) type v##0, type v##1, type v##2, type v##3, type v##4, type v##5, type v##6, type v##7
SMEPILOT_INLINE void activations(const LhsBlock& l, SMEPILOT_EIGHT(svint8_t&, v)) noexcept SMEPILOT_STREAMING {
  const svbool_t bytes = svwhilelt_b8_u32(l.first * 4, l.height * 4);
  const int8_t* q = reinterpret_cast<const int8_t*>(l.block + l.first * 4);
  const size_t step = size_t{l.height} * 4;
  v0 = svld1_s8(bytes, q);
  v1 = svld1_s8(bytes, q + step);
  v2 = svld1_s8(bytes, q + 2 * step);
  v3 = svld1_s8(bytes, q + 3 * step);
  v4 = svld1_s8(bytes, q + 4 * step);
  v5 = svld1_s8(bytes, q + 5 * step);
  v6 = svld1_s8(bytes, q + 6 * step);
  v7 = svld1_s8(bytes, q + 7 * step);
}

SMEPILOT_INLINE void outer_product(svint8_t a, svuint8_t w) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b8();
  svmopa_za32_s8_m(0, all, all, a, svreinterpret_s8_u8(w));
}
SMEPILOT_INLINE void outer_products(svint8_t a0, svint8_t a1, svint8_t a2, svint8_t a3,
                                    svuint8x4_t w) noexcept SMEPILOT_STREAMING {
  outer_product(a0, svget4_u8(w, 0));
  outer_product(a1, svget4_u8(w, 1));
  outer_product(a2, svget4_u8(w, 2));
  outer_product(a3, svget4_u8(w, 3));
}

// Sums += integers * scales, tile by tile.
#if SMEPILOT_SME2
template <int Sums>
SMEPILOT_INLINE void add_four(uint32_t slice) noexcept SMEPILOT_STREAMING {
  svmla_za32_f32_vg1x4(slice + Sums, svcvt_f32_s32_x4(svread_za32_s32_vg1x4(slice)), svread_za32_f32_vg1x4(slice + 1));
}
#else
template <int Sums>
SMEPILOT_INLINE void add_row(uint32_t r) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  const svfloat32_t any = svundef_f32();  // every lane is read
  const svfloat32_t x = svcvt_f32_s32_x(all, svread_hor_za32_s32_m(svundef_s32(), all, 0, r));
  const svfloat32_t s = svread_hor_za32_f32_m(any, all, 1, r), sum = svread_hor_za32_f32_m(any, all, Sums, r);
  svwrite_hor_za32_f32_m(Sums, r, all, svmla_f32_x(all, sum, x, s));
}
#endif
template <int Sums, bool Whole>
SMEPILOT_INLINE void add_scaled() noexcept SMEPILOT_STREAMING {
#if SMEPILOT_SME2
  if constexpr (Whole) {
    uint32_t zero = 0, eight = 8;  // not constants: slices are addressed as one of them plus 0 .. 7
    __asm__ volatile("" : "+r"(zero), "+r"(eight));
    add_four<Sums>(zero);
    add_four<Sums>(zero + 4);
    add_four<Sums>(eight);
    add_four<Sums>(eight + 4);
  } else {
    for (uint32_t slice = 0; slice < svcntw(); slice += 4) add_four<Sums>(slice);
  }
#else
  for (uint32_t r = 0; r < svcntw(); r += 4) {
    add_row<Sums>(r);
    add_row<Sums>(r + 1);
    add_row<Sums>(r + 2);
    add_row<Sums>(r + 3);
  }
#endif
}

template <DType D, int Sums, bool Whole>
SMEPILOT_INLINE void add_block(SMEPILOT_EIGHT(svint8_t, v), svfloat32_t d, svfloat32_t u0, svfloat32_t u1,
                               const RhsBlock& b, Columns c) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  svuint8x4_t w0, w1;
  svfloat32_t scale, correction;
  weights<D, Whole>(b, c, w0, w1);
  scales<D, 0>(b, c, scale, correction);
  svzero_mask_za(kTemporaries);
  outer_products(v0, v1, v2, v3, w0);
  if constexpr (!kTwoScales<D>) outer_products(v4, v5, v6, v7, w1);
  svmopa_za32_f32_m(1, all, all, d, scale);
  if constexpr (kCorrected<D>) svmopa_za32_f32_m(Sums, all, all, u0, correction);
  add_scaled<Sums, Whole>();
  if constexpr (kTwoScales<D>) {
    scales<D, 1>(b, c, scale, correction);
    svzero_mask_za(kTemporaries);
    outer_products(v4, v5, v6, v7, w1);
    svmopa_za32_f32_m(1, all, all, d, scale);
    svmopa_za32_f32_m(Sums, all, all, u1, correction);
    add_scaled<Sums, Whole>();
  }
}

// One lhs panel, from a row on, times one or two rhs panels, from a column on.
template <DType D, bool Whole, int Panels>
SMEPILOT_INLINE void tile(const MatmulArgs* args, RhsPlanes at, LhsBlock l, const uint8_t* panel, Columns c, float* dst,
                          uint32_t left) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  const size_t blocks = args->k / kQ8Block, stride = args->rhs_stride, step = l.height * size_t{kLhsQ8BlockBytes};
  svzero_za();
  for (size_t kb = 0; kb < blocks; ++kb, l.block += step) {
    svint8_t v0, v1, v2, v3, v4, v5, v6, v7;
    activations(l, v0, v1, v2, v3, v4, v5, v6, v7);
    const svfloat32_t d = l.floats(kPlaneD);
    svfloat32_t u0 = d, u1 = d;
    if constexpr (kTwoScales<D>) {
      u0 = svmul_f32_x(all, d, svcvt_f32_s32_x(all, l.integers(kPlaneN32a)));
      u1 = svmul_f32_x(all, d, svcvt_f32_s32_x(all, l.integers(kPlaneN32b)));
    } else if constexpr (kCorrected<D>) {
      u0 = l.floats(kPlaneDs);
    }
    add_block<D, 2, Whole>(v0, v1, v2, v3, v4, v5, v6, v7, d, u0, u1, {panel, at, kb}, c);
    if constexpr (Panels == 2)
      add_block<D, 3, Whole>(v0, v1, v2, v3, v4, v5, v6, v7, d, u0, u1, {panel + stride, at, kb}, c);
  }
  const uint32_t height = l.height - l.first, lanes = static_cast<uint32_t>(svcntw());
  const uint32_t rows = height < lanes ? height : lanes;
  // Columns of each panel that exist, from c.first on.
  const svbool_t first = svand_b_z(svptrue_b8(), c.floats(), svwhilelt_b32_u32(c.first, left));
  const svbool_t second = svand_b_z(svptrue_b8(), c.floats(), svwhilelt_b32_u32(c.first + kPanel, left));
  dst += l.first * args->dst_stride + c.first;
  for (uint32_t r = 0; r < rows; ++r, dst += args->dst_stride) {
    svst1_hor_za32(2, r, first, dst);
    if constexpr (Panels == 2) svst1_hor_za32(3, r, second, dst + kPanel);
  }
}

template <DType D, bool Whole, int Panels>
SMEPILOT_INLINE void panels(const MatmulArgs* args, const RhsPlanes& at, const uint8_t* panel, float* dst,
                            uint32_t left) noexcept SMEPILOT_STREAMING {
  const uint32_t lanes = static_cast<uint32_t>(svcntw());
  for (uint32_t m0 = 0; m0 < args->m; m0 += kPanel) {
    const uint32_t height = args->m - m0 < kPanel ? args->m - m0 : kPanel;
    const uint8_t* block = static_cast<const uint8_t*>(args->lhs) + lhs_q8_bytes(m0, args->k);
    float* const rows = dst + m0 * args->dst_stride;
    if constexpr (Whole) {
      tile<D, Whole, Panels>(args, at, {block, height, 0}, panel, {0}, rows, left);
    } else {
      for (uint32_t c = 0; c < kPanel; c += lanes)
        for (uint32_t r = 0; r < height; r += lanes)
          tile<D, Whole, Panels>(args, at, {block, height, r}, panel, {c}, rows, left);
    }
  }
}

template <DType D, bool Whole>
SMEPILOT_INLINE void all_panels(const MatmulArgs* args, const RhsPlanes& at) noexcept SMEPILOT_STREAMING {
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  uint32_t left = args->n;
  for (; left > kPanel; left -= left < 2 * kPanel ? left : 2 * kPanel) {
    panels<D, Whole, 2>(args, at, panel, dst, left);
    panel += 2 * args->rhs_stride;
    dst += 2 * kPanel;
  }
  if (left > 0) panels<D, Whole, 1>(args, at, panel, dst, left);
}

template <DType D>
__arm_locally_streaming __arm_new("za") void stream(const MatmulArgs* args, const RhsPlanes& at) noexcept {
  if (svcntb() == 4 * kPanel)
    all_panels<D, true>(args, at);
  else
    all_panels<D, false>(args, at);
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  const RhsPlanes at = rhs_planes(D, args->k);
  stream<D>(args, at);
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaNeon | kIsaSme | (SMEPILOT_SME2 ? kIsaSme2 : 0u), DType::kQ8, D, kMr, matmul<D>,
                        ExecutionUnit::kMatrix);
}

}  // namespace
}  // namespace smepilot
