// A few rows of quantised activations on an SME2 unit: SDOT of four vectors of weights, one of each of four panels,
// with four k of one row (vg1x4, by element). An outer product would leave all but a few rows of its tile idle.
//
// Vectors of weights that go into one SDOT must meet the same k. The four panels are loaded so that theirs of one row
// lie in neighbouring registers (LD1B strided). A raw vector of nibbles, however, holds two rows of its panel;
// interleaving those of four panels by 128 bits (ZIP of four registers) makes vectors of one row out of them, whose
// columns are then
//   V0: 0 .. 7 of panels 0 and 1   V1: 0 .. 7 of 2 and 3   V2: 8 .. 15 of 0 and 1   V3: 8 .. 15 of 2 and 3
// and the same interleaving brings their scales in that order; it is undone when the sums are stored.
//
// What ZA holds of rows 0 .. 3 is in four vector groups (vgx4), see group(); integers in those from 0 on. SVL 512 only;
// other vector lengths and more rows go through quant_sme.h. Internal linkage.
#pragma once
#include "kernels/matmul/quant_sme.h"

namespace smepilot {
namespace {

constexpr uint32_t kMostRows = 4;
constexpr uint32_t kWide = 4;  // panels

// The group of a row, from a first one on: 0 and 8, then 1 and 9. ZERO takes such pairs.
constexpr uint32_t group(int row) noexcept {
  return static_cast<uint32_t>(row % 2 * 8 + row / 2);
}

// Four panels, each pointer at the first block. Where there are fewer, the last one stands in for those missing.
struct Panels {
  const uint8_t *p0, *p1, *p2, *p3;
};

// Row I (four k) of a block: four vectors w of weights times rows 0 .. R-1, to their groups from za on. Sixteen
// bytes of lhs hold this k4 of four rows, or two of them of two rows, or four of one. (For three rows the last four
// bytes are the next k4's, or of the plane behind.)
template <int R, int I>
SMEPILOT_INLINE void dot_row(const uint8_t* lhs, svint8x4_t w, uint32_t za) noexcept SMEPILOT_STREAMING {
  constexpr int kTogether = R == 1 ? 4 : R == 2 ? 2 : 1, kFirst = I % kTogether * R;
  const int8_t* at = reinterpret_cast<const int8_t*>(lhs) + I / kTogether * kTogether * R * 4;
  const svint8_t x = svld1rq_s8(svptrue_b8(), at);
  svdot_lane_za32_s8_vg1x4(za, w, x, kFirst);
  if constexpr (R > 1) svdot_lane_za32_s8_vg1x4(za + group(1), w, x, kFirst + 1);
  if constexpr (R > 2) svdot_lane_za32_s8_vg1x4(za + group(2), w, x, kFirst + 2);
  if constexpr (R > 3) svdot_lane_za32_s8_vg1x4(za + group(3), w, x, kFirst + 3);
}

// Sixteen vectors, v<i><panel>: the four consecutive ones at `at` of each panel. What is wanted next are tuples of one
// from each panel, in neighbouring registers, which strided loads write; from intrinsics clang-22 makes loads of
// neighbours and sixteen moves.
template <bool Interleave>
SMEPILOT_INLINE void load_panels(const Panels& p, size_t at, svint8x4_t& v0, svint8x4_t& v1, svint8x4_t& v2,
                                 svint8x4_t& v3) noexcept __arm_streaming {
  register svint8_t v00 __asm__("z16"), v01 __asm__("z17"), v02 __asm__("z18"), v03 __asm__("z19");
  register svint8_t v10 __asm__("z20"), v11 __asm__("z21"), v12 __asm__("z22"), v13 __asm__("z23");
  register svint8_t v20 __asm__("z24"), v21 __asm__("z25"), v22 __asm__("z26"), v23 __asm__("z27");
  register svint8_t v30 __asm__("z28"), v31 __asm__("z29"), v32 __asm__("z30"), v33 __asm__("z31");
#define SMEPILOT_LOAD                                               \
  "ld1b {z16.b, z20.b, z24.b, z28.b}, %[all]/z, [%[p0], %[at]]\n\t" \
  "ld1b {z17.b, z21.b, z25.b, z29.b}, %[all]/z, [%[p1], %[at]]\n\t" \
  "ld1b {z18.b, z22.b, z26.b, z30.b}, %[all]/z, [%[p2], %[at]]\n\t" \
  "ld1b {z19.b, z23.b, z27.b, z31.b}, %[all]/z, [%[p3], %[at]]\n\t"
#define SMEPILOT_OPERANDS                                                                                         \
  : "=w"(v00), "=w"(v01), "=w"(v02), "=w"(v03), "=w"(v10), "=w"(v11), "=w"(v12), "=w"(v13), "=w"(v20), "=w"(v21), \
    "=w"(v22), "=w"(v23), "=w"(v30), "=w"(v31), "=w"(v32), "=w"(v33)                                              \
  : [all] "Uph"(svptrue_c8()), [p0] "r"(p.p0), [p1] "r"(p.p1), [p2] "r"(p.p2), [p3] "r"(p.p3), [at] "r"(at)       \
  : "memory"
  if constexpr (Interleave)
    __asm__ volatile(SMEPILOT_LOAD
                     "zip {z16.q - z19.q}, {z16.q - z19.q}\n\t"
                     "zip {z20.q - z23.q}, {z20.q - z23.q}\n\t"
                     "zip {z24.q - z27.q}, {z24.q - z27.q}\n\t"
                     "zip {z28.q - z31.q}, {z28.q - z31.q}" SMEPILOT_OPERANDS);
  else
    __asm__ volatile(SMEPILOT_LOAD SMEPILOT_OPERANDS);
#undef SMEPILOT_LOAD
#undef SMEPILOT_OPERANDS
  v0 = svcreate4_s8(v00, v01, v02, v03);
  v1 = svcreate4_s8(v10, v11, v12, v13);
  v2 = svcreate4_s8(v20, v21, v22, v23);
  v3 = svcreate4_s8(v30, v31, v32, v33);
}

// Rows I and I + 4 of four panels, from their interleaved nibbles.
template <int R, int I>
SMEPILOT_INLINE void dot_nibbles(const uint8_t* lhs, svint8x4_t raw, uint32_t za) noexcept SMEPILOT_STREAMING {
  const svint8x2_t low01 = svluti4_lane_zt_s8_x2(0, svreinterpret_u8_s8(svget4_s8(raw, 0)), 0);
  const svint8x2_t low23 = svluti4_lane_zt_s8_x2(0, svreinterpret_u8_s8(svget4_s8(raw, 1)), 0);
  dot_row<R, I>(lhs, svcreate4_s8(svget2_s8(low01, 0), svget2_s8(low01, 1), svget2_s8(low23, 0), svget2_s8(low23, 1)),
                za);
  const svint8x2_t high01 = svluti4_lane_zt_s8_x2(0, svreinterpret_u8_s8(svget4_s8(raw, 2)), 0);
  const svint8x2_t high23 = svluti4_lane_zt_s8_x2(0, svreinterpret_u8_s8(svget4_s8(raw, 3)), 0);
  dot_row<R, I + 4>(
      lhs, svcreate4_s8(svget2_s8(high01, 0), svget2_s8(high01, 1), svget2_s8(high23, 0), svget2_s8(high23, 1)), za);
}

// The integers of a block, of R rows and four panels.
template <DType D, int R>
SMEPILOT_INLINE void dot_block(const uint8_t* lhs, const Panels& p, size_t at,
                               uint32_t za) noexcept SMEPILOT_STREAMING {
  svint8x4_t v0, v1, v2, v3;
  svzero_mask_za(R > 2 ? 3 : 1);  // as 64-bit tiles: groups 0 and 8, and 1 and 9
  load_panels<D != DType::kQ8_0>(p, at, v0, v1, v2, v3);
  if constexpr (D == DType::kQ8_0) {
    dot_row<R, 0>(lhs, v0, za);
    dot_row<R, 1>(lhs, v1, za);
    dot_row<R, 2>(lhs, v2, za);
    dot_row<R, 3>(lhs, v3, za);
    load_panels<false>(p, at + 256, v0, v1, v2, v3);
    dot_row<R, 4>(lhs, v0, za);
    dot_row<R, 5>(lhs, v1, za);
    dot_row<R, 6>(lhs, v2, za);
    dot_row<R, 7>(lhs, v3, za);
  } else {
    dot_nibbles<R, 0>(lhs, v0, za);
    dot_nibbles<R, 1>(lhs, v1, za);
    dot_nibbles<R, 2>(lhs, v2, za);
    dot_nibbles<R, 3>(lhs, v3, za);
  }
}

// Adds the integers of a row, times the scales of the columns and the row's (of d), to the sums in groups from `sums`
// on.
template <int Row>
SMEPILOT_INLINE void add_row(SMEPILOT_FOUR(svfloat32_t, s), svfloat32_t d, uint32_t za,
                             uint32_t sums) noexcept SMEPILOT_STREAMING {
  const svfloat32x4_t scale = svcreate4_f32(svmul_lane_f32(s0, d, Row), svmul_lane_f32(s1, d, Row),
                                            svmul_lane_f32(s2, d, Row), svmul_lane_f32(s3, d, Row));
  svmla_za32_f32_vg1x4(sums + group(Row), svcvt_f32_s32_x4(svread_za32_s32_vg1x4(za + group(Row))), scale);
}
template <int R>
SMEPILOT_INLINE void add_rows(SMEPILOT_FOUR(svfloat32_t, s), svfloat32_t d, uint32_t za,
                              uint32_t sums) noexcept SMEPILOT_STREAMING {
  add_row<0>(s0, s1, s2, s3, d, za, sums);
  if constexpr (R > 1) add_row<1>(s0, s1, s2, s3, d, za, sums);
  if constexpr (R > 2) add_row<2>(s0, s1, s2, s3, d, za, sums);
  if constexpr (R > 3) add_row<3>(s0, s1, s2, s3, d, za, sums);
}

SMEPILOT_INLINE svfloat32_t widened(svuint32_t half) noexcept __arm_streaming {
  return svcvt_f32_f16_x(svptrue_b32(), svreinterpret_f16_u32(half));
}

// The sums of a row of four panels: 64 columns, or (not Whole) those of them below `left`.
template <DType D, bool Whole>
SMEPILOT_INLINE void store_row(float* dst, uint32_t left, uint32_t sums) noexcept SMEPILOT_STREAMING {
  const svfloat32x4_t v = svread_za32_f32_vg1x4(sums);
  float* from8 = dst + 8;
  __asm__("" : "+r"(from8));  // a pointer of its own, lest every other store needs an offset in a register
#define SMEPILOT_STORE(i, lanes, column)                                                   \
  svst1_vnum_f32(Whole ? lanes : svand_b_z(lanes, lanes, svwhilelt_b32_u32(column, left)), \
                 (column) % kPanel == 0 ? dst : from8, (column) / kPanel, svget4_f32(v, i))
  const svbool_t all = svptrue_b32(), low = svwhilelt_b32_u32(0, 8), high = svnot_b_z(all, low);
  if constexpr (D == DType::kQ8_0) {
    SMEPILOT_STORE(0, all, 0);
    SMEPILOT_STORE(1, all, 16);
    SMEPILOT_STORE(2, all, 32);
    SMEPILOT_STORE(3, all, 48);
  } else {  // the upper halves are 16 columns behind the lower ones, 8 more than in a vector
    SMEPILOT_STORE(0, low, 0);
    SMEPILOT_STORE(0, high, 8);
    SMEPILOT_STORE(1, low, 32);
    SMEPILOT_STORE(1, high, 40);
    SMEPILOT_STORE(2, low, 8);
    SMEPILOT_STORE(2, high, 16);
    SMEPILOT_STORE(3, low, 40);
    SMEPILOT_STORE(3, high, 48);
  }
#undef SMEPILOT_STORE
}

template <DType D, int R>
SMEPILOT_INLINE void store_rows(const MatmulArgs* args, float* dst, uint32_t left,
                                uint32_t sums) noexcept SMEPILOT_STREAMING {
  store_row<D, false>(dst, left, sums);
  if constexpr (R > 1) store_row<D, false>(dst + args->dst_stride, left, sums + group(1));
  if constexpr (R > 2) store_row<D, false>(dst + 2 * args->dst_stride, left, sums + group(2));
  if constexpr (R > 3) store_row<D, false>(dst + 3 * args->dst_stride, left, sums + group(3));
}

// The panels of the columns that begin at `panel`, of which `left` exist.
SMEPILOT_INLINE Panels four_panels(const uint8_t* panel, size_t stride, uint32_t left) noexcept __arm_streaming {
  if (left > 3 * kPanel) return {panel, panel + stride, panel + 2 * stride, panel + 3 * stride};
  const uint8_t* const last = panel + (left - 1) / kPanel * stride;
  return {panel, left > kPanel ? panel + stride : last, left > 2 * kPanel ? panel + 2 * stride : last, last};
}

template <DType D>
constexpr KernelVariant dot_variant(const char* id, MatmulFn fn) noexcept {
  KernelVariant v =
      matmul_variant(id, kIsaNeon | kIsaSme | kIsaSme2, DType::kQ8, D, kPanel, fn, ExecutionUnit::kMatrix);
  v.max_m = kMostRows;
  return v;
}

}  // namespace
}  // namespace smepilot
