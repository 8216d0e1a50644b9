// One row of quantised activations on an SME2 unit, for weights that take more than a table to unpack: SDOT of four
// vectors of weights with four of activations (vg1x4). The four are rows of one panel, that is other k of the same
// columns, so weights and scales come as they do for outer products (rhs_block_sme.h), and each sum has four parts,
// which are added at the end. Rows 0, 4, 1, 5 of a block go together, then 2, 6, 3, 7: table look-ups write them side
// by side, and where a scale belongs to half a block, parts 0 and 2 are those of the first half, 1 and 3 of the second.
//
// Four panels at a time, because the row's activations, each four k broadcast to a vector, then stay in registers.
// Groups of ZA (vgx4), t being the panel: t are its sums, 4 + t its integers. The first part of group t is row 0 of
// tile t, where FMOPA adds what minima make of the block's sum. SVL 512 only; other vector lengths and more rows go
// through quant_sme.h.
#include "kernels/matmul/quant_sme.h"

namespace smepilot {
namespace {

constexpr uint32_t kWide = 4;  // panels

SMEPILOT_INLINE svint8_t broadcast(const uint8_t* p) noexcept __arm_streaming {
  return svreinterpret_s8_s32(svdup_n_s32(*reinterpret_cast<const int32_t*>(p)));
}

// Four k of the row in all lanes of a vector: from 4 i on, 16 + 4 i, 4 (i + 1), 16 + 4 (i + 1).
template <int I>
SMEPILOT_INLINE svint8x4_t four_quants(const uint8_t* row) noexcept __arm_streaming {
  return svcreate4_s8(broadcast(row + 4 * I), broadcast(row + 16 + 4 * I), broadcast(row + 4 + 4 * I),
                      broadcast(row + 20 + 4 * I));
}

template <DType D>
SMEPILOT_INLINE void four_products(uint32_t za, SMEPILOT_FOUR(svuint8_t, w), svint8x4_t x) noexcept SMEPILOT_STREAMING {
  if constexpr (kUnsigned<D>)
    svusdot_za32_u8_vg1x4(za, svcreate4_u8(w0, w1, w2, w3), x);
  else
    svdot_za32_s8_vg1x4(za,
                        svcreate4_s8(svreinterpret_s8_u8(w0), svreinterpret_s8_u8(w1), svreinterpret_s8_u8(w2),
                                     svreinterpret_s8_u8(w3)),
                        x);
}

// Block b of panel T. d: the row's scale, in lane 0 of each 128 bits. u0, u1: what the corrections of the halves (u0
// alone: of the block) are multiplied with, in lane 0.
template <DType D, int T>
SMEPILOT_INLINE void add_panel(const RhsBlock& b, svint8x4_t x0, svint8x4_t x1, svfloat32_t d, svfloat32_t u0,
                               svfloat32_t u1) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32(), row = svptrue_pat_b32(SV_VL1);
  constexpr uint32_t kSums = T, kIntegers = 4 + T;
  svuint8_t SMEPILOT_EIGHT(, w);
  svfloat32_t s0, c0;
  weights<D, true>(b, {0}, SMEPILOT_EIGHT(, w));
  svzero_mask_za(1u << kIntegers);  // as a 64-bit tile
  four_products<D>(kIntegers, w0, w4, w1, w5, x0);
  four_products<D>(kIntegers, w2, w6, w3, w7, x1);
  const svfloat32x4_t products = svcvt_f32_s32_x4(svread_za32_s32_vg1x4(kIntegers));
  scales<D, 0>(b, {0}, s0, c0);
  const svfloat32_t f0 = svmul_lane_f32(s0, d, 0);
  if constexpr (kTwoScales<D>) {
    svfloat32_t s1, c1;
    scales<D, 1>(b, {0}, s1, c1);
    const svfloat32_t f1 = svmul_lane_f32(s1, d, 0);
    svmla_za32_f32_vg1x4(kSums, products, svcreate4_f32(f0, f1, f0, f1));
    if constexpr (kCorrected<D>) svmopa_za32_f32_m(T, row, all, u1, c1);
  } else {
    svmla_single_za32_f32_vg1x4(kSums, products, f0);
  }
  if constexpr (kCorrected<D>) svmopa_za32_f32_m(T, row, all, u0, c0);
}

template <DType D>
constexpr size_t kTogether = D == DType::kQ3_K ? 2 : 1;  // blocks that share bytes of a plane of scales

// Where the planes of block kb are, in registers that all panels share: the compiler would keep pointers of each panel.
template <DType D>
SMEPILOT_INLINE RhsPlanes planes_of_block(const RhsPlanes& at, size_t kb) noexcept __arm_streaming {
  RhsPlanes p = {};
  p.quants = at.quants + kb * kQuantBytes<D>;
  p.scale = at.scale + kb * kScaleBytes<D>;
  __asm__("" : "+r"(p.quants), "+r"(p.scale));
  if constexpr (kHighBytes<D> != 0) {
    p.high = at.high + kb * kHighBytes<D>;
    __asm__("" : "+r"(p.high));
  }
  if constexpr (D == DType::kQ3_K) {
    p.scale_high = at.scale_high + kb / 2 * 16;
    __asm__("" : "+r"(p.scale_high));
  }
  if constexpr (kHasMin<D>) {
    p.min = at.min + kb * kScaleBytes<D>;
    __asm__("" : "+r"(p.min));
  }
  if constexpr (rhs_planes(D, kQ8SuperBlock).super != 0) {
    p.super = at.super + kb / 8 * 32;
    p.super_min = at.super_min + kb / 8 * 32;
    __asm__("" : "+r"(p.super), "+r"(p.super_min));
  }
  return p;
}

// Block kb of the row and four panels.
template <DType D>
SMEPILOT_INLINE void add_block(const uint8_t* lhs, SMEPILOT_FOUR(const uint8_t*, p), RhsPlanes at,
                               size_t kb) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  const svint8x4_t x0 = four_quants<0>(lhs), x1 = four_quants<2>(lhs);
  svfloat32_t d = svld1rq_f32(all, reinterpret_cast<const float*>(lhs + kPlaneD));
  if constexpr (kShifted<D> != 0) d = svmul_n_f32_x(all, d, 1.0f / (1 << kShifted<D>));
  svfloat32_t u0 = d, u1 = d;
  if constexpr (kTwoScales<D> && kCorrected<D>) {
    u0 = svmul_f32_x(all, d, svcvt_f32_s32_x(all, svdup_n_s32(*reinterpret_cast<const int32_t*>(lhs + kPlaneN32a))));
    u1 = svmul_f32_x(all, d, svcvt_f32_s32_x(all, svdup_n_s32(*reinterpret_cast<const int32_t*>(lhs + kPlaneN32b))));
  } else if constexpr (kCorrected<D>) {
    u0 = svdup_n_f32(*reinterpret_cast<const float*>(lhs + kPlaneDs));
  }
  const size_t rest = kb % kTogether<D>;
  const RhsPlanes planes = planes_of_block<D>(at, kb - rest);
  add_panel<D, 0>({p0, planes, rest}, x0, x1, d, u0, u1);
  add_panel<D, 1>({p1, planes, rest}, x0, x1, d, u0, u1);
  add_panel<D, 2>({p2, planes, rest}, x0, x1, d, u0, u1);
  add_panel<D, 3>({p3, planes, rest}, x0, x1, d, u0, u1);
}

// The sums of panel T, of which `left` columns exist from the first panel on.
template <int T>
SMEPILOT_INLINE void store_panel(float* dst, uint32_t left) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  const svfloat32x4_t v = svread_za32_f32_vg1x4(T);
  const svfloat32_t low = svadd_f32_x(all, svget4_f32(v, 0), svget4_f32(v, 1));
  const svfloat32_t high = svadd_f32_x(all, svget4_f32(v, 2), svget4_f32(v, 3));
  svst1_f32(svwhilelt_b32_u32(T * kPanel, left), dst + T * kPanel, svadd_f32_x(all, low, high));
}

template <DType D>
SMEPILOT_INLINE void one_row(const MatmulArgs* args, RhsPlanes at) noexcept SMEPILOT_STREAMING {
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const size_t blocks = args->k / kQ8Block, stride = args->rhs_stride;
  float* dst = args->dst;
  for (uint32_t n = 0; n < args->n; n += kWide * kPanel, panel += kWide * stride, dst += kWide * kPanel) {
    const uint32_t left = args->n - n;
    // Where there are fewer panels, the first one stands in for those missing.
    const uint8_t* const p1 = left > kPanel ? panel + stride : panel;
    const uint8_t* const p2 = left > 2 * kPanel ? panel + 2 * stride : panel;
    const uint8_t* const p3 = left > 3 * kPanel ? panel + 3 * stride : panel;
    const auto* lhs = static_cast<const uint8_t*>(args->lhs);
    svzero_za();
    for (size_t kb = 0; kb < blocks; ++kb, lhs += kLhsQ8BlockBytes) add_block<D>(lhs, panel, p1, p2, p3, at, kb);
    store_panel<0>(dst, left);
    store_panel<1>(dst, left);
    store_panel<2>(dst, left);
    store_panel<3>(dst, left);
  }
}

template <DType D>
void streaming_row(const MatmulArgs* args, const RhsPlanes* at) noexcept SMEPILOT_STREAMING {
  load_nibble_table<D>();
  if (svcntb() != 4 * kPanel) return all_panels<D, false>(args, *at);
  if (args->m != 1) return all_panels<D, true>(args, *at);
  one_row<D>(args, *at);
}

template <DType D>
void matmul_row(const MatmulArgs* args) noexcept {
  const RhsPlanes at = rhs_planes(D, args->k);
  call_streaming(streaming_row<D>, args, &at);
}

template <DType D>
constexpr KernelVariant row_variant(const char* id) noexcept {
  KernelVariant v =
      matmul_variant(id, kIsaNeon | kIsaSme | kIsaSme2, DType::kQ8, D, kPanel, matmul_row<D>, ExecutionUnit::kMatrix);
  v.max_m = 1;
  return v;
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q4_1RowSme2, kMatmulF32Q8Q5_0RowSme2, kMatmulF32Q8Q5_1RowSme2,
    kMatmulF32Q8Q2_KRowSme2, kMatmulF32Q8Q3_KRowSme2, kMatmulF32Q8Q5_KRowSme2, kMatmulF32Q8Q6_KRowSme2;
constexpr KernelVariant kMatmulF32Q8Q4_1RowSme2 = row_variant<DType::kQ4_1>("matmul.f32.q8.q4_1.1x1vl.sme2.sdot");
constexpr KernelVariant kMatmulF32Q8Q5_0RowSme2 = row_variant<DType::kQ5_0>("matmul.f32.q8.q5_0.1x1vl.sme2.sdot");
constexpr KernelVariant kMatmulF32Q8Q5_1RowSme2 = row_variant<DType::kQ5_1>("matmul.f32.q8.q5_1.1x1vl.sme2.sdot");
constexpr KernelVariant kMatmulF32Q8Q2_KRowSme2 = row_variant<DType::kQ2_K>("matmul.f32.q8.q2_k.1x1vl.sme2.sdot");
constexpr KernelVariant kMatmulF32Q8Q3_KRowSme2 = row_variant<DType::kQ3_K>("matmul.f32.q8.q3_k.1x1vl.sme2.sdot");
constexpr KernelVariant kMatmulF32Q8Q5_KRowSme2 = row_variant<DType::kQ5_K>("matmul.f32.q8.q5_k.1x1vl.sme2.sdot");
constexpr KernelVariant kMatmulF32Q8Q6_KRowSme2 = row_variant<DType::kQ6_K>("matmul.f32.q8.q6_k.1x1vl.sme2.sdot");

}  // namespace smepilot
