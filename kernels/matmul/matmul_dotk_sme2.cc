// A few rows of quantised activations times Q4_K weights on an SME2 unit: see dot_sme2.h.
//
// Scales and minima of four blocks are a vector of bytes of each panel; interleaving those by 64 bits makes a vector of
// each block, which widens to four in the order of the interleaved columns. Those of the super-block are multiplied
// once with what its eight blocks add up to.
//
// Groups of ZA (vgx4), of the first row (group() tells the others): 0 integers, 2 sums of the super-block, 4 what is to
// be subtracted for its minima, 6 sums.
#include "kernels/matmul/dot_sme2.h"

namespace smepilot {
namespace {

constexpr DType kType = DType::kQ4_K;
constexpr uint32_t kSuperSums = 2, kSuperMinima = 4, kSums = 6;
constexpr uint64_t kOfSuperBlock = 0x3c;  // as 64-bit tiles

// The f16 of 16 columns of four panels, in the order of the interleaved columns.
SMEPILOT_INLINE svfloat32x4_t super_values(const Panels& p, size_t at) noexcept __arm_streaming {
  const svbool_t lanes = svwhilelt_b16_u32(0, kPanel);
#define SMEPILOT_LOAD(i) svld1_u16(lanes, reinterpret_cast<const uint16_t*>(p.p##i + at))
  const svuint16x4_t z =
      svzipq_u16_x4(svcreate4_u16(SMEPILOT_LOAD(0), SMEPILOT_LOAD(1), SMEPILOT_LOAD(2), SMEPILOT_LOAD(3)));
#undef SMEPILOT_LOAD
  const svuint32x4_t wide = svunpk_u32_u16_x4(svcreate2_u16(svget4_u16(z, 0), svget4_u16(z, 1)));
  return svcreate4_f32(widened(svget4_u32(wide, 0)), widened(svget4_u32(wide, 1)), widened(svget4_u32(wide, 2)),
                       widened(svget4_u32(wide, 3)));
}

// The bytes of four blocks of 16 columns of four panels: of block i in vi, in the same order. In registers that the
// blocks leave alone: the compiler spills tuples whole.
#define SMEPILOT_FOUR_BLOCKS(name, z0, z1, z2, z3)                                                                \
  SMEPILOT_INLINE void name(const Panels& p, size_t at, SMEPILOT_FOUR(svuint8_t&, v)) noexcept __arm_streaming {  \
    register svuint8_t r0 __asm__(#z0), r1 __asm__(#z1), r2 __asm__(#z2), r3 __asm__(#z3);                        \
    __asm__ volatile(                                                                                             \
        "ld1b {" #z0                                                                                              \
        ".b}, %[all]/z, [%[p0], %[at]]\n"                                                                         \
        "ld1b {" #z1                                                                                              \
        ".b}, %[all]/z, [%[p1], %[at]]\n"                                                                         \
        "ld1b {" #z2                                                                                              \
        ".b}, %[all]/z, [%[p2], %[at]]\n"                                                                         \
        "ld1b {" #z3                                                                                              \
        ".b}, %[all]/z, [%[p3], %[at]]\n"                                                                         \
        "zip {" #z0 ".d - " #z3 ".d}, {" #z0 ".d - " #z3 ".d}\n"                                                  \
        : "=w"(r0), "=w"(r1), "=w"(r2), "=w"(r3)                                                                  \
        : [all] "Upl"(svptrue_b8()), [p0] "r"(p.p0), [p1] "r"(p.p1), [p2] "r"(p.p2), [p3] "r"(p.p3), [at] "r"(at) \
        : "memory");                                                                                              \
    v0 = r0;                                                                                                      \
    v1 = r1;                                                                                                      \
    v2 = r2;                                                                                                      \
    v3 = r3;                                                                                                      \
  }
SMEPILOT_FOUR_BLOCKS(scales_of_four_blocks, z8, z9, z10, z11)
SMEPILOT_FOUR_BLOCKS(minima_of_four_blocks, z12, z13, z14, z15)
#undef SMEPILOT_FOUR_BLOCKS

// Those of a block.
SMEPILOT_INLINE svfloat32x4_t block_values(svuint8_t bytes) noexcept __arm_streaming {
  return svcvt_f32_u32_x4(svunpk_u32_u16_x4(svunpk_u16_u8_x2(bytes)));
}

template <int R, int I>
SMEPILOT_INLINE void add_block(const uint8_t* lhs, const Panels& p, size_t quants, svuint8_t scales,
                               svuint8_t minima) noexcept SMEPILOT_STREAMING {
  lhs += I * R * kLhsQ8BlockBytes;
  dot_block<kType, R>(lhs, p, quants + I * kQuantBytes<kType>, 0);
  const svfloat32_t d = svld1rq_f32(svptrue_b32(), reinterpret_cast<const float*>(lhs + R * kPlaneD));
  const svfloat32_t ds = svld1rq_f32(svptrue_b32(), reinterpret_cast<const float*>(lhs + R * kPlaneDs));
  const svfloat32x4_t m = block_values(minima);
  svmla_lane_za32_f32_vg1x4(kSuperMinima, m, ds, 0);
  if constexpr (R > 1) svmla_lane_za32_f32_vg1x4(kSuperMinima + group(1), m, ds, 1);
  if constexpr (R > 2) svmla_lane_za32_f32_vg1x4(kSuperMinima + group(2), m, ds, 2);
  if constexpr (R > 3) svmla_lane_za32_f32_vg1x4(kSuperMinima + group(3), m, ds, 3);
  const svfloat32x4_t s = block_values(scales);
  add_rows<R>(svget4_f32(s, 0), svget4_f32(s, 1), svget4_f32(s, 2), svget4_f32(s, 3), d, 0, kSuperSums);
}

template <int Row>
SMEPILOT_INLINE void add_super_block(svfloat32x4_t s, svfloat32x4_t m) noexcept SMEPILOT_STREAMING {
  svmla_za32_f32_vg1x4(kSums + group(Row), svread_za32_f32_vg1x4(kSuperSums + group(Row)), s);
  svmls_za32_f32_vg1x4(kSums + group(Row), svread_za32_f32_vg1x4(kSuperMinima + group(Row)), m);
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
      for (int half = 0; half < 2; ++half) {
        svuint8_t SMEPILOT_FOUR(, s), SMEPILOT_FOUR(, m);
        scales_of_four_blocks(p, scale, SMEPILOT_FOUR(, s));
        minima_of_four_blocks(p, min, SMEPILOT_FOUR(, m));
        add_block<R, 0>(lhs, p, quants, s0, m0);
        add_block<R, 1>(lhs, p, quants, s1, m1);
        add_block<R, 2>(lhs, p, quants, s2, m2);
        add_block<R, 3>(lhs, p, quants, s3, m3);
        lhs += 4 * R * kLhsQ8BlockBytes;
        quants += 4 * kQuantBytes<kType>;
        scale += 4 * kScaleBytes<kType>;
        min += 4 * kScaleBytes<kType>;
      }
      const svfloat32x4_t s = super_values(p, super), m = super_values(p, super_min);
      add_super_block<0>(s, m);
      if constexpr (R > 1) add_super_block<1>(s, m);
      if constexpr (R > 2) add_super_block<2>(s, m);
      if constexpr (R > 3) add_super_block<3>(s, m);
      svzero_mask_za(kOfSuperBlock);
      super += 2 * kPanel;
      super_min += 2 * kPanel;
    }
    store_rows<kType, R>(args, dst, left, kSums);
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
