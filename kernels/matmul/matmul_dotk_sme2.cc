// A few rows of quantised activations times Q4_K weights on an SME2 unit: see dot_sme2.h.
//
// Scales and minima of four blocks are a vector of bytes of each panel; interleaving those by 64 bits makes a vector of
// each block, which widens to four in the order of the interleaved columns. They are multiplied with those of their
// super-block first, so that all rows share the products.
#include "kernels/matmul/dot_sme2.h"

namespace smepilot {
namespace {

constexpr DType kType = DType::kQ4_K;

// The f16 of 16 columns of four panels, in the order of the interleaved columns.
SMEPILOT_INLINE void super_values(const Panels& p, size_t at, SMEPILOT_FOUR(svfloat32_t&, s)) noexcept __arm_streaming {
  const svbool_t lanes = svwhilelt_b16_u32(0, kPanel);
#define SMEPILOT_LOAD(i) svld1_u16(lanes, reinterpret_cast<const uint16_t*>(p.p##i + at))
  const svuint16x4_t z =
      svzipq_u16_x4(svcreate4_u16(SMEPILOT_LOAD(0), SMEPILOT_LOAD(1), SMEPILOT_LOAD(2), SMEPILOT_LOAD(3)));
#undef SMEPILOT_LOAD
  const svuint32x4_t wide = svunpk_u32_u16_x4(svcreate2_u16(svget4_u16(z, 0), svget4_u16(z, 1)));
  s0 = widened(svget4_u32(wide, 0));
  s1 = widened(svget4_u32(wide, 1));
  s2 = widened(svget4_u32(wide, 2));
  s3 = widened(svget4_u32(wide, 3));
}

// The bytes of four blocks of 16 columns of four panels: of block i in vector i, in the same order.
SMEPILOT_INLINE svuint64x4_t four_blocks(const Panels& p, size_t at) noexcept __arm_streaming {
  const svbool_t all = svptrue_b64();
  return svzip_u64_x4(svcreate4_u64(svld1_u64(all, reinterpret_cast<const uint64_t*>(p.p0 + at)),
                                    svld1_u64(all, reinterpret_cast<const uint64_t*>(p.p1 + at)),
                                    svld1_u64(all, reinterpret_cast<const uint64_t*>(p.p2 + at)),
                                    svld1_u64(all, reinterpret_cast<const uint64_t*>(p.p3 + at))));
}

// Those of block I, times the values of the super-block.
template <int I>
SMEPILOT_INLINE void block_values(svuint64x4_t bytes, SMEPILOT_FOUR(svfloat32_t, s),
                                  SMEPILOT_FOUR(svfloat32_t&, v)) noexcept __arm_streaming {
  const svbool_t all = svptrue_b32();
  const svfloat32x4_t f =
      svcvt_f32_u32_x4(svunpk_u32_u16_x4(svunpk_u16_u8_x2(svreinterpret_u8_u64(svget4_u64(bytes, I)))));
  v0 = svmul_f32_x(all, svget4_f32(f, 0), s0);
  v1 = svmul_f32_x(all, svget4_f32(f, 1), s1);
  v2 = svmul_f32_x(all, svget4_f32(f, 2), s2);
  v3 = svmul_f32_x(all, svget4_f32(f, 3), s3);
}

template <int R, int I>
SMEPILOT_INLINE void add_block(const uint8_t* lhs, const Panels& p, size_t quants, svuint64x4_t scales,
                               svuint64x4_t minima, SMEPILOT_FOUR(svfloat32_t, s),
                               SMEPILOT_FOUR(svfloat32_t, m)) noexcept SMEPILOT_STREAMING {
  dot_block<kType, R>(lhs + I * R * kLhsQ8BlockBytes, p, quants + I * kQuantBytes<kType>, 0);
  const uint8_t* planes = lhs + I * R * kLhsQ8BlockBytes;
  const svfloat32_t d = svld1rq_f32(svptrue_b32(), reinterpret_cast<const float*>(planes + R * kPlaneD));
  const svfloat32_t ds = svld1rq_f32(svptrue_b32(), reinterpret_cast<const float*>(planes + R * kPlaneDs));
  svfloat32_t SMEPILOT_FOUR(, v);
  block_values<I>(scales, s0, s1, s2, s3, v0, v1, v2, v3);
  add_row<0>(v0, v1, v2, v3, d, 0);
  if constexpr (R > 1) add_row<1>(v0, v1, v2, v3, d, 0);
  if constexpr (R > 2) add_row<2>(v0, v1, v2, v3, d, 0);
  if constexpr (R > 3) add_row<3>(v0, v1, v2, v3, d, 0);
  block_values<I>(minima, m0, m1, m2, m3, v0, v1, v2, v3);
  const svfloat32x4_t subtracted = svcreate4_f32(v0, v1, v2, v3);
  svmls_lane_za32_f32_vg1x4(4, subtracted, ds, 0);
  if constexpr (R > 1) svmls_lane_za32_f32_vg1x4(5, subtracted, ds, 1);
  if constexpr (R > 2) svmls_lane_za32_f32_vg1x4(6, subtracted, ds, 2);
  if constexpr (R > 3) svmls_lane_za32_f32_vg1x4(7, subtracted, ds, 3);
}

template <int R>
SMEPILOT_INLINE void few_rows(const MatmulArgs* args, const RhsPlanes& at) noexcept SMEPILOT_STREAMING {
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  float* dst = args->dst;
  for (uint32_t n = 0; n < args->n; n += kWide * kPanel, panel += kWide * args->rhs_stride, dst += kWide * kPanel) {
    const uint32_t left = args->n - n;
    const Panels p = four_panels(panel, args->rhs_stride, left);
    const auto* lhs = static_cast<const uint8_t*>(args->lhs);
    size_t quants = 0, super = at.super, super_min = at.super_min, scale = at.scale, min = at.min;
    svzero_za();
    for (size_t ks = args->k / kQ8SuperBlock; ks != 0; --ks) {
      svfloat32_t SMEPILOT_FOUR(, s), SMEPILOT_FOUR(, m);
      super_values(p, super, s0, s1, s2, s3);
      super_values(p, super_min, m0, m1, m2, m3);
      for (int half = 0; half < 2; ++half) {
        const svuint64x4_t scales = four_blocks(p, scale), minima = four_blocks(p, min);
        add_block<R, 0>(lhs, p, quants, scales, minima, s0, s1, s2, s3, m0, m1, m2, m3);
        add_block<R, 1>(lhs, p, quants, scales, minima, s0, s1, s2, s3, m0, m1, m2, m3);
        add_block<R, 2>(lhs, p, quants, scales, minima, s0, s1, s2, s3, m0, m1, m2, m3);
        add_block<R, 3>(lhs, p, quants, scales, minima, s0, s1, s2, s3, m0, m1, m2, m3);
        lhs += 4 * R * kLhsQ8BlockBytes;
        quants += 4 * kQuantBytes<kType>;
        scale += 4 * kScaleBytes<kType>;
        min += 4 * kScaleBytes<kType>;
      }
      super += 2 * kPanel;
      super_min += 2 * kPanel;
    }
    store_row<kType, false>(dst, left, 4);
    if constexpr (R > 1) store_row<kType, false>(dst + args->dst_stride, left, 5);
    if constexpr (R > 2) store_row<kType, false>(dst + 2 * args->dst_stride, left, 6);
    if constexpr (R > 3) store_row<kType, false>(dst + 3 * args->dst_stride, left, 7);
  }
}

void streaming_dot(const MatmulArgs* args, const RhsPlanes* at) noexcept SMEPILOT_STREAMING {
  load_nibble_table<kType>();
  if (svcntb() != 4 * kPanel) return all_panels<kType, false>(args, *at);
  switch (args->m) {
    case 1: return few_rows<1>(args, *at);
    case 2: return few_rows<2>(args, *at);
    case 3: return few_rows<3>(args, *at);
    case 4: return few_rows<4>(args, *at);
    default: return all_panels<kType, true>(args, *at);
  }
}

void matmul_dot(const MatmulArgs* args) noexcept {
  const RhsPlanes at = rhs_planes(kType, args->k);
  call_streaming(streaming_dot, args, &at);
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q4_KDotSme2;
constexpr KernelVariant kMatmulF32Q8Q4_KDotSme2 = dot_variant<kType>("matmul.f32.q8.q4_k.4x4vl.sme2.sdot", matmul_dot);

}  // namespace smepilot
