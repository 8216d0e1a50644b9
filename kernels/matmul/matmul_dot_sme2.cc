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
// ZA, by vector groups (vgx4): r = 0 .. 3 are the integers of row r, 4 + r its sums. SVL 512 only; other vector lengths
// and more rows go through quant_sme.h.
#include "kernels/matmul/quant_sme.h"

namespace smepilot {
namespace {

constexpr uint32_t kMostRows = 4;
constexpr uint32_t kWide = 4;  // panels

// Four panels, each pointer at the first block. Where there are fewer, the last one stands in for those missing.
struct Panels {
  const uint8_t *p0, *p1, *p2, *p3;
};

// Row I (four k) of a block: four vectors w of weights times rows 0 .. R-1. Sixteen bytes of lhs hold this k4 of four
// rows, or two of them of two rows, or four of one. (For three rows the last four bytes are the next k4's, or of the
// plane behind.)
template <int R, int I>
SMEPILOT_INLINE void dot_row(const uint8_t* lhs, svint8x4_t w) noexcept SMEPILOT_STREAMING {
  constexpr int kTogether = R == 1 ? 4 : R == 2 ? 2 : 1, kFirst = I % kTogether * R;
  const int8_t* at = reinterpret_cast<const int8_t*>(lhs) + I / kTogether * kTogether * R * 4;
  const svint8_t x = svld1rq_s8(svptrue_b8(), at);
  svdot_lane_za32_s8_vg1x4(0, w, x, kFirst);
  if constexpr (R > 1) svdot_lane_za32_s8_vg1x4(1, w, x, kFirst + 1);
  if constexpr (R > 2) svdot_lane_za32_s8_vg1x4(2, w, x, kFirst + 2);
  if constexpr (R > 3) svdot_lane_za32_s8_vg1x4(3, w, x, kFirst + 3);
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
  v0 = svcreate4_s8(v00, v01, v02, v03);
  v1 = svcreate4_s8(v10, v11, v12, v13);
  v2 = svcreate4_s8(v20, v21, v22, v23);
  v3 = svcreate4_s8(v30, v31, v32, v33);
}

// Rows I and I + 4 of four panels, from their interleaved nibbles.
template <int R, int I>
SMEPILOT_INLINE void dot_nibbles(const uint8_t* lhs, svint8x4_t raw) noexcept SMEPILOT_STREAMING {
  const svint8x2_t low01 = svluti4_lane_zt_s8_x2(0, svreinterpret_u8_s8(svget4_s8(raw, 0)), 0);
  const svint8x2_t low23 = svluti4_lane_zt_s8_x2(0, svreinterpret_u8_s8(svget4_s8(raw, 1)), 0);
  dot_row<R, I>(lhs, svcreate4_s8(svget2_s8(low01, 0), svget2_s8(low01, 1), svget2_s8(low23, 0), svget2_s8(low23, 1)));
  const svint8x2_t high01 = svluti4_lane_zt_s8_x2(0, svreinterpret_u8_s8(svget4_s8(raw, 2)), 0);
  const svint8x2_t high23 = svluti4_lane_zt_s8_x2(0, svreinterpret_u8_s8(svget4_s8(raw, 3)), 0);
  dot_row<R, I + 4>(
      lhs, svcreate4_s8(svget2_s8(high01, 0), svget2_s8(high01, 1), svget2_s8(high23, 0), svget2_s8(high23, 1)));
}

// The integers of a block, of R rows and four panels.
template <DType D, int R>
SMEPILOT_INLINE void dot_block(const uint8_t* lhs, const Panels& p, size_t at) noexcept SMEPILOT_STREAMING {
  svint8x4_t v0, v1, v2, v3;
  svzero_mask_za((1u << R) - 1);  // as 64-bit tiles: groups r and 8 + r
  load_panels<D != DType::kQ8_0>(p, at, v0, v1, v2, v3);
  if constexpr (D == DType::kQ8_0) {
    dot_row<R, 0>(lhs, v0);
    dot_row<R, 1>(lhs, v1);
    dot_row<R, 2>(lhs, v2);
    dot_row<R, 3>(lhs, v3);
    load_panels<false>(p, at + 256, v0, v1, v2, v3);
    dot_row<R, 4>(lhs, v0);
    dot_row<R, 5>(lhs, v1);
    dot_row<R, 6>(lhs, v2);
    dot_row<R, 7>(lhs, v3);
  } else {
    dot_nibbles<R, 0>(lhs, v0);
    dot_nibbles<R, 1>(lhs, v1);
    dot_nibbles<R, 2>(lhs, v2);
    dot_nibbles<R, 3>(lhs, v3);
  }
}

template <int Row>
SMEPILOT_INLINE void add_row(svfloat32_t s0, svfloat32_t s1, svfloat32_t s2, svfloat32_t s3,
                             svfloat32_t d) noexcept SMEPILOT_STREAMING {
  const svfloat32x4_t scale = svcreate4_f32(svmul_lane_f32(s0, d, Row), svmul_lane_f32(s1, d, Row),
                                            svmul_lane_f32(s2, d, Row), svmul_lane_f32(s3, d, Row));
  svmla_za32_f32_vg1x4(4 + Row, svcvt_f32_s32_x4(svread_za32_s32_vg1x4(Row)), scale);
}

SMEPILOT_INLINE svfloat32_t widened(svuint32_t half) noexcept __arm_streaming {
  return svcvt_f32_f16_x(svptrue_b32(), svreinterpret_f16_u32(half));
}

// Adds the integers of a block to the sums. s0 .. s3: the column scales, f16 in the low halves of 32 bits.
template <int R>
SMEPILOT_INLINE void add_scaled_rows(const uint8_t* lhs, SMEPILOT_FOUR(svuint32_t, s)) noexcept SMEPILOT_STREAMING {
  const svfloat32_t d = svld1rq_f32(svptrue_b32(), reinterpret_cast<const float*>(lhs + R * kPlaneD));
  const svfloat32_t f0 = widened(s0), f1 = widened(s1), f2 = widened(s2), f3 = widened(s3);
  add_row<0>(f0, f1, f2, f3, d);
  if constexpr (R > 1) add_row<1>(f0, f1, f2, f3, d);
  if constexpr (R > 2) add_row<2>(f0, f1, f2, f3, d);
  if constexpr (R > 3) add_row<3>(f0, f1, f2, f3, d);
}

// Two blocks, whose quants are at `quants` of each panel and whose scales are at `scales`; or one, the panel's last.
template <DType D, int R, bool Two>
SMEPILOT_INLINE void add_blocks(const uint8_t* lhs, const Panels& p, size_t quants,
                                size_t scales) noexcept SMEPILOT_STREAMING {
  constexpr size_t kStep = R * kLhsQ8BlockBytes;
  dot_block<D, R>(lhs, p, quants);
  const svbool_t lanes = Two ? svptrue_b8() : svwhilelt_b8_u32(0, 2 * kPanel);
  const svuint16x4_t h = svcreate4_u16(
      svreinterpret_u16_u8(svld1_u8(lanes, p.p0 + scales)), svreinterpret_u16_u8(svld1_u8(lanes, p.p1 + scales)),
      svreinterpret_u16_u8(svld1_u8(lanes, p.p2 + scales)), svreinterpret_u16_u8(svld1_u8(lanes, p.p3 + scales)));
  if constexpr (D == DType::kQ8_0) {
    const svuint32x4_t s01 = svunpk_u32_u16_x4(svcreate2_u16(svget4_u16(h, 0), svget4_u16(h, 1)));
    const svuint32x4_t s23 = svunpk_u32_u16_x4(svcreate2_u16(svget4_u16(h, 2), svget4_u16(h, 3)));
    add_scaled_rows<R>(lhs, svget4_u32(s01, 0), svget4_u32(s01, 2), svget4_u32(s23, 0), svget4_u32(s23, 2));
    if constexpr (Two) {
      dot_block<D, R>(lhs + kStep, p, quants + kQuantBytes<D>);
      add_scaled_rows<R>(lhs + kStep, svget4_u32(s01, 1), svget4_u32(s01, 3), svget4_u32(s23, 1), svget4_u32(s23, 3));
    }
  } else {
    const svuint16x4_t z = svzipq_u16_x4(h);
    const svuint32x4_t first = svunpk_u32_u16_x4(svcreate2_u16(svget4_u16(z, 0), svget4_u16(z, 1)));
    add_scaled_rows<R>(lhs, svget4_u32(first, 0), svget4_u32(first, 1), svget4_u32(first, 2), svget4_u32(first, 3));
    if constexpr (Two) {
      dot_block<D, R>(lhs + kStep, p, quants + kQuantBytes<D>);
      const svuint32x4_t second = svunpk_u32_u16_x4(svcreate2_u16(svget4_u16(z, 2), svget4_u16(z, 3)));
      add_scaled_rows<R>(lhs + kStep, svget4_u32(second, 0), svget4_u32(second, 1), svget4_u32(second, 2),
                         svget4_u32(second, 3));
    }
  }
}

// Sixteen sums in the order of the columns, those beyond `left` excepted.
SMEPILOT_INLINE void store(svfloat32_t v, float* dst, uint32_t column, uint32_t left) noexcept __arm_streaming {
  svst1_f32(svwhilelt_b32_u32(column, left), dst + column, v);
}
// Lanes 0 .. 7 are the columns from `low` on, lanes 8 .. 15 those from `low` + 16 on.
SMEPILOT_INLINE void store_halves(svfloat32_t v, float* dst, uint32_t low, uint32_t left) noexcept __arm_streaming {
  const svbool_t all = svptrue_b32(), first = svwhilelt_b32_u32(0, 8);
  svst1_f32(svand_b_z(all, first, svwhilelt_b32_u32(low, left)), dst + low, v);
  svst1_f32(svbic_b_z(all, svwhilelt_b32_u32(low + 8, left), first), dst + low + 8, v);
}

template <DType D, int Row>
SMEPILOT_INLINE void store_row(float* dst, uint32_t left) noexcept SMEPILOT_STREAMING {
  const svfloat32x4_t v = svread_za32_f32_vg1x4(4 + Row);
  if constexpr (D == DType::kQ8_0) {
    store(svget4_f32(v, 0), dst, 0, left);
    store(svget4_f32(v, 1), dst, kPanel, left);
    store(svget4_f32(v, 2), dst, 2 * kPanel, left);
    store(svget4_f32(v, 3), dst, 3 * kPanel, left);
  } else {
    store_halves(svget4_f32(v, 0), dst, 0, left);
    store_halves(svget4_f32(v, 1), dst, 2 * kPanel, left);
    store_halves(svget4_f32(v, 2), dst, 8, left);
    store_halves(svget4_f32(v, 3), dst, 2 * kPanel + 8, left);
  }
}

template <DType D, int R>
SMEPILOT_INLINE void few_rows(const MatmulArgs* args, size_t scale_at) noexcept SMEPILOT_STREAMING {
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const size_t blocks = args->k / kQ8Block, stride = args->rhs_stride;
  float* dst = args->dst;
  for (uint32_t n = 0; n < args->n; n += kWide * kPanel, panel += kWide * stride, dst += kWide * kPanel) {
    const uint32_t left = args->n - n;
    const uint8_t* const last = panel + (left - 1) / kPanel * stride;
    Panels p = {panel, panel + stride, panel + 2 * stride, panel + 3 * stride};
    if (left <= 3 * kPanel) p = {panel, left > kPanel ? p.p1 : last, left > 2 * kPanel ? p.p2 : last, last};
    const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
    svzero_za();
    size_t quants = 0, scales = scale_at;
    for (size_t pairs = blocks / 2; pairs != 0; --pairs) {
      add_blocks<D, R, true>(lhs, p, quants, scales);
      lhs += 2 * R * kLhsQ8BlockBytes;
      quants += 2 * kQuantBytes<D>;
      scales += 2 * kScaleBytes<D>;
    }
    if (blocks % 2 != 0) add_blocks<D, R, false>(lhs, p, quants, scales);
    store_row<D, 0>(dst, left);
    if constexpr (R > 1) store_row<D, 1>(dst + args->dst_stride, left);
    if constexpr (R > 2) store_row<D, 2>(dst + 2 * args->dst_stride, left);
    if constexpr (R > 3) store_row<D, 3>(dst + 3 * args->dst_stride, left);
  }
}

template <DType D>
void streaming_dot(const MatmulArgs* args, const RhsPlanes* at) noexcept SMEPILOT_STREAMING {
  load_nibble_table<D>();
  if (svcntb() != 4 * kPanel) return all_panels<D, false>(args, *at);
  switch (args->m) {
    case 1: return few_rows<D, 1>(args, at->scale);
    case 2: return few_rows<D, 2>(args, at->scale);
    case 3: return few_rows<D, 3>(args, at->scale);
    case 4: return few_rows<D, 4>(args, at->scale);
    default: return all_panels<D, true>(args, *at);
  }
}

template <DType D>
void matmul_dot(const MatmulArgs* args) noexcept {
  const RhsPlanes at = rhs_planes(D, args->k);
  call_streaming(streaming_dot<D>, args, &at);
}

template <DType D>
constexpr KernelVariant dot_variant(const char* id) noexcept {
  KernelVariant v =
      matmul_variant(id, kIsaNeon | kIsaSme | kIsaSme2, DType::kQ8, D, kPanel, matmul_dot<D>, ExecutionUnit::kMatrix);
  v.max_m = kMostRows;
  return v;
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0DotSme2, kMatmulF32Q8Q4_0DotSme2, kMatmulF32Q8Iq4NlDotSme2;
constexpr KernelVariant kMatmulF32Q8Q8_0DotSme2 = dot_variant<DType::kQ8_0>("matmul.f32.q8.q8_0.4x4vl.sme2.sdot");
constexpr KernelVariant kMatmulF32Q8Q4_0DotSme2 = dot_variant<DType::kQ4_0>("matmul.f32.q8.q4_0.4x4vl.sme2.sdot");
constexpr KernelVariant kMatmulF32Q8Iq4NlDotSme2 = dot_variant<DType::kIQ4_NL>("matmul.f32.q8.iq4_nl.4x4vl.sme2.sdot");

}  // namespace smepilot
