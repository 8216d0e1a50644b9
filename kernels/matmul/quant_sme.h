// Quantised weights times quantised activations on an SME unit, for SME (isa step sme) and SME2 (sme2), at any vector
// length. Internal linkage: included by one translation unit of each step.
//
// A block (32 k) of 16 rows and 16 columns is eight outer products into one ZA tile of integers. Block scales are
// exact, so these integers must leave the tile once per block. What makes that cheap:
// - The products of row and column scales are an outer product too: one FMOPA makes all 256 of them, in a second tile.
// - What minima add is of rank one: one more FMOPA, straight into the sums.
// - Sums stay in ZA, in two more tiles, for all of k. SME2 takes four rows of integers and of scales out of their
//   tiles, converts and multiplies them into the sums with four instructions (the rows of a vector group, vgx4, are
//   j, j + VL/16, ... of one tile, the same ones in every tile). SME, which cannot multiply into ZA, needs six a row.
// Per block one lhs panel meets two rhs panels: of all shapes that leave room for both temporary tiles, the one that
// loads the fewest bytes per outer product of 4-bit weights. (8-bit weights: matmul_quant8_sme2.cc has four.)
//
// Tile 0: integers. Tile 1: scales. Tiles 2, 3: sums of the two rhs panels.
#pragma once
#include "kernels/matmul/rhs_block_sme.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 64;  // rows of a call
// Planes of an lhs block of `height` rows, see kLhsQ8Panel16K4 in layout.h.
constexpr size_t kPlaneD = 32, kPlaneDs = 36, kPlaneN32a = 48, kPlaneN32b = 52;
constexpr uint64_t kTemporaries = 0x33;  // tiles 0 and 1, as ZERO names them

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

// Quants of a block, four k of all rows in each vector. Rows beyond the panel's are zero. Full: the panel has 16 rows,
// and so has a vector.
template <bool Full>
SMEPILOT_INLINE void activations(const LhsBlock& l, SMEPILOT_EIGHT(svint8_t&, v)) noexcept __arm_streaming {
  const int8_t* q = reinterpret_cast<const int8_t*>(l.block) + l.first * 4;
#if SMEPILOT_SME2
  if constexpr (Full) {
    const svint8x4_t a = svld1_s8_x4(svptrue_c8(), q), b = svld1_s8_x4(svptrue_c8(), q + 256);
    v0 = svget4_s8(a, 0);
    v1 = svget4_s8(a, 1);
    v2 = svget4_s8(a, 2);
    v3 = svget4_s8(a, 3);
    v4 = svget4_s8(b, 0);
    v5 = svget4_s8(b, 1);
    v6 = svget4_s8(b, 2);
    v7 = svget4_s8(b, 3);
    return;
  }
#endif
  const svbool_t rows = svwhilelt_b8_u32(l.first * 4, l.height * 4);
  const size_t step = l.height * size_t{4};
  v0 = svld1_s8(rows, q);
  v1 = svld1_s8(rows, q + step);
  v2 = svld1_s8(rows, q + 2 * step);
  v3 = svld1_s8(rows, q + 3 * step);
  v4 = svld1_s8(rows, q + 4 * step);
  v5 = svld1_s8(rows, q + 5 * step);
  v6 = svld1_s8(rows, q + 6 * step);
  v7 = svld1_s8(rows, q + 7 * step);
}

template <DType D>
SMEPILOT_INLINE void outer_product(svint8_t a, svuint8_t w) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b8();
  if constexpr (kUnsigned<D>)
    svsumopa_za32_s8_m(0, all, all, a, w);
  else
    svmopa_za32_s8_m(0, all, all, a, svreinterpret_s8_u8(w));
}

template <DType D>
SMEPILOT_INLINE void outer_products(SMEPILOT_FOUR(svint8_t, a),
                                    SMEPILOT_FOUR(svuint8_t, w)) noexcept SMEPILOT_STREAMING {
  outer_product<D>(a0, w0);
  outer_product<D>(a1, w1);
  outer_product<D>(a2, w2);
  outer_product<D>(a3, w3);
}

// Slices of a tile are addressed as a register plus 0 .. 7 (SME2, groups) or 0 .. 3 (rows): these are such registers,
// with 0, 8 or 0, 4, 8, 12. The compiler must not know what is in them, lest it sets one anew for each slice, nor that
// it does not change from block to block, lest it computes all sums beforehand and spills them.
struct Slices {
  uint32_t from0, from4, from8, from12;
};
SMEPILOT_INLINE Slices slices_of_block() noexcept __arm_streaming {
  Slices s = {0, 4, 8, 12};
#if SMEPILOT_SME2
  __asm__ volatile("" : "+r"(s.from0), "+r"(s.from8));
#else
  __asm__ volatile("" : "+r"(s.from0), "+r"(s.from4), "+r"(s.from8), "+r"(s.from12));
#endif
  return s;
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
#if !SMEPILOT_SME2
template <int Sums>
SMEPILOT_INLINE void add_four(uint32_t slice) noexcept SMEPILOT_STREAMING {
  add_row<Sums>(slice);
  add_row<Sums>(slice + 1);
  add_row<Sums>(slice + 2);
  add_row<Sums>(slice + 3);
}
#endif
template <int Sums, bool Whole>
SMEPILOT_INLINE void add_scaled([[maybe_unused]] Slices s) noexcept SMEPILOT_STREAMING {
  if constexpr (Whole) {
    add_four<Sums>(s.from0);
    add_four<Sums>(SMEPILOT_SME2 ? s.from0 + 4 : s.from4);
    add_four<Sums>(s.from8);
    add_four<Sums>(SMEPILOT_SME2 ? s.from8 + 4 : s.from12);
  } else {
    for (uint32_t slice = 0; slice < svcntw(); slice += 4) add_four<Sums>(slice);
  }
}

// d: the row scales. u0, u1: what the corrections of the two halves (u0 alone: of the block) are multiplied with.
template <DType D, int Sums, bool Whole>
SMEPILOT_INLINE void add_block(SMEPILOT_EIGHT(svint8_t, v), svfloat32_t d, svfloat32_t u0, svfloat32_t u1,
                               const RhsBlock& b, Columns c, Slices slices) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  svuint8_t SMEPILOT_EIGHT(, w);
  svfloat32_t scale, correction;
  weights<D, Whole>(b, c, SMEPILOT_EIGHT(, w));
  scales<D, 0>(b, c, scale, correction);
  svzero_mask_za(kTemporaries);
  outer_products<D>(v0, v1, v2, v3, w0, w1, w2, w3);
  if constexpr (!kTwoScales<D>) outer_products<D>(v4, v5, v6, v7, w4, w5, w6, w7);
  svmopa_za32_f32_m(1, all, all, d, scale);
  if constexpr (kCorrected<D>) svmopa_za32_f32_m(Sums, all, all, u0, correction);
  add_scaled<Sums, Whole>(slices);
  if constexpr (kTwoScales<D>) {
    scales<D, 1>(b, c, scale, correction);
    svzero_mask_za(kTemporaries);
    outer_products<D>(v4, v5, v6, v7, w4, w5, w6, w7);
    svmopa_za32_f32_m(1, all, all, d, scale);
    if constexpr (kCorrected<D>) svmopa_za32_f32_m(Sums, all, all, u1, correction);
    add_scaled<Sums, Whole>(slices);
  }
}

// One lhs panel, from a row on, times one or two rhs panels, from a column on.
template <DType D, bool Whole, bool Full, int Panels>
SMEPILOT_INLINE void tile(const MatmulArgs* args, RhsPlanes at, LhsBlock l, const uint8_t* panel, Columns c, float* dst,
                          uint32_t left) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  const size_t blocks = args->k / kQ8Block, stride = args->rhs_stride, step = l.height * size_t{kLhsQ8BlockBytes};
  svzero_za();
  for (size_t kb = 0; kb < blocks; ++kb, l.block += step) {
    const Slices slices = slices_of_block();
    svint8_t SMEPILOT_EIGHT(, v);
    activations<Full>(l, SMEPILOT_EIGHT(, v));
    svfloat32_t d = l.floats(kPlaneD);
    if constexpr (kShifted<D> != 0) d = svmul_n_f32_x(all, d, 1.0f / (1 << kShifted<D>));
    svfloat32_t u0 = d, u1 = d;
    if constexpr (kTwoScales<D> && kCorrected<D>) {
      u0 = svmul_f32_x(all, d, svcvt_f32_s32_x(all, l.integers(kPlaneN32a)));
      u1 = svmul_f32_x(all, d, svcvt_f32_s32_x(all, l.integers(kPlaneN32b)));
    } else if constexpr (kCorrected<D>) {
      u0 = l.floats(kPlaneDs);
    }
    add_block<D, 2, Whole>(SMEPILOT_EIGHT(, v), d, u0, u1, {panel, at, kb}, c, slices);
    if constexpr (Panels == 2)
      add_block<D, 3, Whole>(SMEPILOT_EIGHT(, v), d, u0, u1, {panel + stride, at, kb}, c, slices);
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
SMEPILOT_INLINE void panels(const MatmulArgs* args, RhsPlanes at, const uint8_t* panel, float* dst,
                            uint32_t left) noexcept SMEPILOT_STREAMING {
  const uint32_t lanes = static_cast<uint32_t>(svcntw());
  for (uint32_t m0 = 0; m0 < args->m; m0 += kPanel) {
    const uint32_t height = args->m - m0 < kPanel ? args->m - m0 : kPanel;
    const uint8_t* block = static_cast<const uint8_t*>(args->lhs) + lhs_q8_bytes(m0, args->k);
    float* const rows = dst + m0 * args->dst_stride;
    if constexpr (Whole) {
      if (SMEPILOT_SME2 && height == kPanel)
        tile<D, Whole, true, Panels>(args, at, {block, kPanel, 0}, panel, {0}, rows, left);
      else
        tile<D, Whole, false, Panels>(args, at, {block, height, 0}, panel, {0}, rows, left);
    } else {
      for (uint32_t c = 0; c < kPanel; c += lanes)
        for (uint32_t r = 0; r < height; r += lanes)
          tile<D, Whole, false, Panels>(args, at, {block, height, r}, panel, {c}, rows, left);
    }
  }
}

template <DType D, bool Whole>
SMEPILOT_INLINE void all_panels(const MatmulArgs* args, RhsPlanes at) noexcept SMEPILOT_STREAMING {
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
void streaming_tiles(const MatmulArgs* args, const RhsPlanes* at) noexcept SMEPILOT_STREAMING {
  load_nibble_table<D>();
  if (svcntb() == 4 * kPanel)
    all_panels<D, true>(args, *at);
  else
    all_panels<D, false>(args, *at);
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  const RhsPlanes at = rhs_planes(D, args->k);
  call_streaming(streaming_tiles<D>, args, &at);
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaNeon | kIsaSme | (SMEPILOT_SME2 ? kIsaSme2 : 0u), DType::kQ8, D, kMr, matmul<D>,
                        ExecutionUnit::kMatrix);
}

}  // namespace
}  // namespace smepilot
