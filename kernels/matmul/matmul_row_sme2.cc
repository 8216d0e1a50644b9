// One row of quantised activations on an SME2 unit, for weights that take more than a table to unpack: SDOT of four
// vectors of weights with four of activations (vg1x4). The four are rows of one panel, that is other k of the same
// columns, so weights and scales come as they do for outer products (rhs_block_sme.h), and each sum has four parts,
// which are added at the end. Rows 0, 4, 1, 5 of a block go together, then 2, 6, 3, 7: table look-ups write them side
// by side, and where a scale belongs to half a block, parts 0 and 2 are those of the first half, 1 and 3 of the second.
//
// Four panels at a time, because the row's activations, each four k broadcast to a vector, then stay in registers. What
// is of a super-block is multiplied once with what its eight blocks add up to. Groups of ZA (vgx4), t being the panel:
//   t                  sums
//   4 and 12           integers of a block of an even and an odd panel
//   5, 13, 6, 14       sums of the super-block
//   7                  minima times the row's sums, panel by panel: FMOPA adds them to rows 1, 5, 9, 13 of tile 3
//   8                  the same of all super-blocks
// ZERO takes groups in pairs, 8 apart. SVL 512 only; other vector lengths and more rows go through quant_sme.h.
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

constexpr uint32_t kMinima = 7, kAllMinima = 8;
template <DType D>
constexpr uint32_t sums_of_panel(int t) noexcept {  // that blocks are added to
  return static_cast<uint32_t>(kHasSuper<D> ? 5 + t / 2 + t % 2 * 8 : t);
}

template <DType D, int Part>
SMEPILOT_INLINE void block_scales(const RhsBlock& b, svfloat32_t& scale, svfloat32_t& min) noexcept __arm_streaming {
  if constexpr (kHasSuper<D>)
    scales_below_super<D, Part>(b, {0}, scale, min);
  else
    scales<D, Part>(b, {0}, scale, min);
}

// Block b of panel T. d: the row's scale, in lane 0 of each 128 bits. u0, u1: what the minima of the halves (u0 alone:
// of the block) are multiplied with, in all lanes.
template <DType D, int T>
SMEPILOT_INLINE void add_panel(const RhsBlock& b, svint8x4_t x0, svint8x4_t x1, svfloat32_t d, svfloat32_t u0,
                               svfloat32_t u1) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32(), row = svcmpeq_n_u32(all, svindex_u32(0, 1), 1 + 4 * T);
  constexpr uint32_t kSums = sums_of_panel<D>(T), kIntegers = 4 + T % 2 * 8;
  svuint8_t SMEPILOT_EIGHT(, w);
  weights<D, true>(b, {0}, SMEPILOT_EIGHT(, w));
  svzero_mask_za(1u << 4);
  four_products<D>(kIntegers, w0, w4, w1, w5, x0);
  four_products<D>(kIntegers, w2, w6, w3, w7, x1);
  const svfloat32x4_t products = svcvt_f32_s32_x4(svread_za32_s32_vg1x4(kIntegers));
  svfloat32_t s0, m0;
  block_scales<D, 0>(b, s0, m0);
  const svfloat32_t f0 = svmul_lane_f32(s0, d, 0);
  if constexpr (kTwoScales<D>) {
    svfloat32_t s1, m1;
    block_scales<D, 1>(b, s1, m1);
    const svfloat32_t f1 = svmul_lane_f32(s1, d, 0);
    svmla_za32_f32_vg1x4(kSums, products, svcreate4_f32(f0, f1, f0, f1));
    if constexpr (kCorrected<D>) svmopa_za32_f32_m(kMinima % 4, row, all, u1, m1);
  } else {
    svmla_single_za32_f32_vg1x4(kSums, products, f0);
  }
  if constexpr (kCorrected<D>) svmopa_za32_f32_m(kMinima % 4, row, all, u0, m0);
}

template <DType D, int T>
SMEPILOT_INLINE void add_super_sums(svfloat32_t scale) noexcept SMEPILOT_STREAMING {
  svmla_single_za32_f32_vg1x4(T, svread_za32_f32_vg1x4(sums_of_panel<D>(T)), scale);
}

// After the last block, kb, of a super-block.
template <DType D>
SMEPILOT_INLINE void add_super_block(SMEPILOT_FOUR(const uint8_t*, p), const RhsPlanes& at,
                                     size_t kb) noexcept SMEPILOT_STREAMING {
  svfloat32_t SMEPILOT_FOUR(, s), SMEPILOT_FOUR(, m);
  super_scales<D>({p0, at, kb}, {0}, s0, m0);
  super_scales<D>({p1, at, kb}, {0}, s1, m1);
  super_scales<D>({p2, at, kb}, {0}, s2, m2);
  super_scales<D>({p3, at, kb}, {0}, s3, m3);
  add_super_sums<D, 0>(s0);
  add_super_sums<D, 1>(s1);
  add_super_sums<D, 2>(s2);
  add_super_sums<D, 3>(s3);
  if constexpr (kCorrected<D>)
    svmla_za32_f32_vg1x4(kAllMinima, svread_za32_f32_vg1x4(kMinima), svcreate4_f32(m0, m1, m2, m3));
  svzero_mask_za(7u << 5);
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
  return p;
}

// Block kb of the row and four panels.
template <DType D>
SMEPILOT_INLINE void add_block(const uint8_t* lhs, SMEPILOT_FOUR(const uint8_t*, p), RhsPlanes at,
                               size_t kb) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  const svint8x4_t x0 = four_quants<0>(lhs), x1 = four_quants<2>(lhs);
  svfloat32_t d = svdup_n_f32(*reinterpret_cast<const float*>(lhs + kPlaneD)), u0 = d, u1 = d;
  if constexpr (kShifted<D> != 0) {
    d = svld1rq_f32(all, reinterpret_cast<const float*>(lhs + kPlaneD));
    d = svmul_n_f32_x(all, d, 1.0f / (1 << kShifted<D>));
  }
  if constexpr (kTwoScales<D> && kCorrected<D>) {
    u0 = svmul_f32_x(all, u0, svcvt_f32_s32_x(all, svdup_n_s32(*reinterpret_cast<const int32_t*>(lhs + kPlaneN32a))));
    u1 = svmul_f32_x(all, u1, svcvt_f32_s32_x(all, svdup_n_s32(*reinterpret_cast<const int32_t*>(lhs + kPlaneN32b))));
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
template <DType D, int T>
SMEPILOT_INLINE void store_panel(float* dst, uint32_t left) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  const svfloat32x4_t v = svread_za32_f32_vg1x4(T);
  const svfloat32_t low = svadd_f32_x(all, svget4_f32(v, 0), svget4_f32(v, 1));
  const svfloat32_t high = svadd_f32_x(all, svget4_f32(v, 2), svget4_f32(v, 3));
  svfloat32_t sum = svadd_f32_x(all, low, high);
  if constexpr (kCorrected<D>)
    sum = svadd_f32_x(all, sum, svget4_f32(svread_za32_f32_vg1x4(kHasSuper<D> ? kAllMinima : kMinima), T));
  svst1_f32(svwhilelt_b32_u32(T * kPanel, left), dst + T * kPanel, sum);
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
    for (size_t kb = 0; kb < blocks;) {
      const size_t end = kHasSuper<D> ? kb + kQ8SuperBlock / kQ8Block : blocks;
      for (; kb < end; ++kb, lhs += kLhsQ8BlockBytes) add_block<D>(lhs, panel, p1, p2, p3, at, kb);
      if constexpr (kHasSuper<D>) add_super_block<D>(panel, p1, p2, p3, at, end - 1);
    }
    store_panel<D, 0>(dst, left);
    store_panel<D, 1>(dst, left);
    store_panel<D, 2>(dst, left);
    store_panel<D, 3>(dst, left);
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
