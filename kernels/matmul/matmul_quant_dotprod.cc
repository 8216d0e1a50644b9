// Quantised matmul with SDOT by element: four k of one row against four k of four columns, 16 multiply-adds.
//
// Register tile: 4 rows x 16 columns, in two passes of 8 where the rows are 3 or 4. Weights enter as they are stored
// (0..15, 0..63), which is a signed byte too, and the accumulators start at the lhs sums that make up for the zero
// point: that costs nothing, an accumulator has to be set to something. Only q8_0 needs its sign bit flipped, and types
// with integer scales of half a block are multiplied with them (rhs_block_neon.h). For more
// rows than one register tile, 256 k of a panel are decoded once into L1 and used by all rows of the call. Per block
// and 4 columns of a row: 8 dot products and 4 more (set, convert, two multiplies), so 2/3 of the SDOT peak is the
// ceiling of the formats with one scale per block.
#include <arm_neon.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"
#include "kernels/matmul/rhs_block_neon.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 32;   // rows of one call
constexpr uint32_t kTile = 4;  // rows of the register tile

template <DType D>
inline constexpr bool kZeroStart = kZeroPoint<D> == 0;
// Of the lhs: n8 starts q4_0, twice n8 q5_0, and the sums of the halves q6_k; the minima of q2_k are multiplied with
// them.
template <DType D>
inline constexpr bool kHalfSums = kHasHalves<D> || kHasHalfMins<D>;

// A block of the lhs, from a row of its panel on: int8 q[rows][32] and, at byte offsets from it, the other planes (see
// layout.h). Offsets, so that one addition takes all of them to the next block.
struct LhsView {
  const uint8_t* q;
  size_t d, ds;        // f32 [rows]
  size_t sums, sums2;  // int32 [rows], n8, or those of the halves
  size_t stride;
};

template <DType D>
SMEPILOT_INLINE LhsView lhs_view(const uint8_t* block, size_t height, size_t row) noexcept {
  const size_t planes = height * 32 + row * 4 - row * 32;
  return {block + row * 32,     planes,
          planes + height * 4,  planes + height * (kHalfSums<D> ? 16 : 8),
          planes + height * 20, height * kLhsQ8BlockBytes};
}

// R values of a plane in one register. Only those R are read: the last panel ends with the last block.
template <int R>
SMEPILOT_INLINE float32x4_t load_plane(const uint8_t* p) noexcept {
  const float* f = reinterpret_cast<const float*>(p);
  if constexpr (R == 4) return vld1q_f32(f);
  if constexpr (R == 3) return vld1q_lane_f32(f + 2, vcombine_f32(vld1_f32(f), vdup_n_f32(0)), 2);
  if constexpr (R == 2) return vcombine_f32(vld1_f32(f), vdup_n_f32(0));
  return vld1q_dup_f32(f);
}

template <int Lane>
SMEPILOT_INLINE int32x4_t dot(int32x4_t acc, int8x16_t w, int8x16_t x) noexcept {
  return vdotq_laneq_s32(acc, w, x, Lane);
}

// Adds one block: 4 columns x R rows.
template <DType D, int R, int C>
SMEPILOT_INLINE void add_columns(const Columns& w, const Scales& s, const int8x16_t (&x)[R][2], float32x4_t d,
                                 float32x4_t ds, int32x4_t sums, int32x4_t sums2,
                                 float32x4_t* acc /* [R], stride C */) noexcept {
  int32x4_t low[R], high[R];
  const auto broadcast = [](int32x4_t v, int r) noexcept {
    return r == 0   ? vdupq_laneq_s32(v, 0)
           : r == 1 ? vdupq_laneq_s32(v, 1)
           : r == 2 ? vdupq_laneq_s32(v, 2)
                    : vdupq_laneq_s32(v, 3);
  };
  const auto by_lane = [](float32x4_t v, float32x4_t l, int r) noexcept {
    return r == 0   ? vmulq_laneq_f32(v, l, 0)
           : r == 1 ? vmulq_laneq_f32(v, l, 1)
           : r == 2 ? vmulq_laneq_f32(v, l, 2)
                    : vmulq_laneq_f32(v, l, 3);
  };
  const auto fma_lane = [](float32x4_t a, float32x4_t v, float32x4_t l, int r) noexcept {
    return r == 0   ? vfmaq_laneq_f32(a, v, l, 0)
           : r == 1 ? vfmaq_laneq_f32(a, v, l, 1)
           : r == 2 ? vfmaq_laneq_f32(a, v, l, 2)
                    : vfmaq_laneq_f32(a, v, l, 3);
  };
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    low[r] = kZeroStart<D> ? vdupq_n_s32(0) : broadcast(D == DType::kQ5_0 ? vshlq_n_s32(sums, 1) : sums, r);
    if constexpr (kHasHalves<D>) high[r] = broadcast(sums2, r);
  }
  const auto step = [&]<int I>() noexcept {
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) low[r] = dot<I>(low[r], w.low[I], x[r][0]);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      int32x4_t& sum = kHasHalves<D> ? high[r] : low[r];
      sum = dot<I>(sum, w.high[I], x[r][1]);
    }
  };
  step.template operator()<0>();
  step.template operator()<1>();
  step.template operator()<2>();
  step.template operator()<3>();
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    float32x4_t& sum = acc[C * r];
    if constexpr (kHasHalves<D>) {
      const float32x4_t both = vfmaq_f32(vmulq_f32(vcvtq_f32_s32(low[r]), s.first), vcvtq_f32_s32(high[r]), s.second);
      sum = fma_lane(sum, both, d, r);
    } else if constexpr (kHasHalfMins<D>) {
      const float32x4_t minima = fma_lane(by_lane(s.second, vcvtq_f32_s32(sums), r), s.third, vcvtq_f32_s32(sums2), r);
      sum = fma_lane(sum, vfmaq_f32(minima, vcvtq_f32_s32(low[r]), s.first), d, r);
    } else {
      if constexpr (kHasMin<D>) sum = fma_lane(sum, s.second, ds, r);
      sum = vfmaq_f32(sum, vcvtq_f32_s32(low[r]), by_lane(s.first, d, r));
    }
  }
}

// Where a pass finds its weights: in the panel, from block kb on, or decoded.
template <DType D>
struct DirectBlocks {
  const uint8_t* panel;
  RhsPlanes at;
  ScaleView scales;
  size_t kb;
  DirectBlocks(const uint8_t* p, const RhsPlanes& planes, size_t block) noexcept
      : panel(p), at(planes), scales(scale_view(p, planes)), kb(block) {}
  SMEPILOT_INLINE Scales load(uint32_t b, int c, Columns& w) const noexcept {
    load_columns<D, Quants::kRaw>(panel_view<D>(panel, at, kb + b), c, w);
    return load_scales<D>(scales, kb + b, c);
  }
};

template <DType D>
struct DecodedBlocks {
  const Decoded& decoded;
  SMEPILOT_INLINE Scales load(uint32_t b, int c, Columns& w) const noexcept {
    SMEPILOT_UNROLL
    for (int i = 0; i < 4; ++i) {
      w.low[i] = vld1q_s8(decoded.w[b][c][2 * i]);
      w.high[i] = vld1q_s8(decoded.w[b][c][2 * i + 1]);
    }
    return decoded_scales<D>(decoded, b, c);
  }
};

// Adds `count` blocks of R rows to `sums`, C groups of 4 columns from group c0 on.
template <DType D, int R, int C, typename Blocks>
SMEPILOT_INLINE void add_pass(LhsView lhs, const Blocks& blocks, uint32_t count, int c0, float (*sums)[16]) noexcept {
  float32x4_t acc[R][C];
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < C; ++c) acc[r][c] = vld1q_f32(sums[r] + 4 * (c0 + c));
  }
  for (uint32_t b = 0; b < count; ++b) {
    int8x16_t x[R][2];
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      x[r][0] = vreinterpretq_s8_u8(vld1q_u8(lhs.q + 32 * r));
      x[r][1] = vreinterpretq_s8_u8(vld1q_u8(lhs.q + 32 * r + 16));
    }
    const float32x4_t d = load_plane<R>(lhs.q + lhs.d);
    const float32x4_t ds = kHasMin<D> ? load_plane<R>(lhs.q + lhs.ds) : d;
    const bool has_sums = !kZeroStart<D> || kHalfSums<D>;
    const int32x4_t sums32 = has_sums ? vreinterpretq_s32_f32(load_plane<R>(lhs.q + lhs.sums)) : vdupq_n_s32(0);
    const int32x4_t sums2 = kHalfSums<D> ? vreinterpretq_s32_f32(load_plane<R>(lhs.q + lhs.sums2)) : sums32;
    SMEPILOT_UNROLL
    for (int c = 0; c < C; ++c) {
      Columns w;
      const Scales scales = blocks.load(b, c0 + c, w);
      add_columns<D, R, C>(w, scales, x, d, ds, sums32, sums2, &acc[0][c]);
    }
    lhs.q += lhs.stride;
  }
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < C; ++c) vst1q_f32(sums[r] + 4 * (c0 + c), acc[r][c]);
  }
}

// Accumulators and lhs of three or more rows leave no room for 16 columns in the registers.
template <int R>
inline constexpr int kPassColumns = R >= 3 ? 2 : 4;

template <DType D, int R, typename Blocks>
SMEPILOT_INLINE void add_blocks(const LhsView& lhs, const Blocks& blocks, uint32_t count, float (*sums)[16]) noexcept {
  for (int c = 0; c < 4; c += kPassColumns<R>) add_pass<D, R, kPassColumns<R>>(lhs, blocks, count, c, sums);
}

// At most one register tile of rows: the weights are used once or twice, straight from the panel.
template <DType D, int R>
void few_rows(const MatmulArgs* args) noexcept {
  const uint32_t blocks = args->k / kQ8Block;
  // One pass takes all of k; where there are two, the second should find the weights in L1.
  const uint32_t step = kPassColumns<R> == 4 ? blocks : kChunkBlocks;
  const RhsPlanes at = rhs_planes(D, args->k);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
  for (uint32_t n = 0; n < args->n; n += kPanel, panel += args->rhs_stride) {
    alignas(64) float sums[R][16] = {};
    for (uint32_t kb = 0; kb < blocks; kb += step) {
      const LhsView view = lhs_view<D>(lhs + size_t{kb} * R * kLhsQ8BlockBytes, R, 0);
      add_blocks<D, R>(view, DirectBlocks<D>(panel, at, kb), blocks - kb < step ? blocks - kb : step, sums);
    }
    store_rows(sums, R, args->n - n, args->dst + n, args->dst_stride);
  }
}

template <DType D>
void many_rows(const MatmulArgs* args) noexcept {
  const uint32_t blocks = args->k / kQ8Block, m = args->m;
  const RhsPlanes at = rhs_planes(D, args->k);
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
  Decoded decoded;
  for (uint32_t n = 0; n < args->n; n += kPanel, panel += args->rhs_stride) {
    alignas(64) float sums[kMr][16] = {};
    for (uint32_t kb = 0; kb < blocks; kb += kChunkBlocks) {
      const uint32_t count = blocks - kb < kChunkBlocks ? blocks - kb : kChunkBlocks;
      decode<D, Quants::kRaw>(panel, at, kb, count, decoded);
      const DecodedBlocks<D> weights{decoded};
      for (uint32_t row = 0; row < m; row += kTile) {
        const uint32_t first = row / kPanel * kPanel, height = m - first < kPanel ? m - first : kPanel;
        const uint8_t* block = lhs + lhs_q8_bytes(first, args->k) + size_t{kb} * height * kLhsQ8BlockBytes;
        const LhsView view = lhs_view<D>(block, height, row - first);
        switch (m - row) {
          case 1: add_blocks<D, 1>(view, weights, count, sums + row); break;
          case 2: add_blocks<D, 2>(view, weights, count, sums + row); break;
          case 3: add_blocks<D, 3>(view, weights, count, sums + row); break;
          default: add_blocks<D, 4>(view, weights, count, sums + row); break;
        }
      }
    }
    store_rows(sums, m, args->n - n, args->dst + n, args->dst_stride);
  }
}

template <DType D>
void matmul(const MatmulArgs* args) noexcept {
  switch (args->m) {
    case 1: return few_rows<D, 1>(args);
    case 2: return few_rows<D, 2>(args);
    case 3: return few_rows<D, 3>(args);
    case 4: return few_rows<D, 4>(args);
    default: return many_rows<D>(args);
  }
}

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaNeon | kIsaDotprod, DType::kQ8, D, kMr, matmul<D>);
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0Dotprod, kMatmulF32Q8Q4_0Dotprod, kMatmulF32Q8Q4_1Dotprod,
    kMatmulF32Q8Q5_0Dotprod, kMatmulF32Q8Q5_1Dotprod, kMatmulF32Q8Iq4NlDotprod, kMatmulF32Q8Q2_KDotprod,
    kMatmulF32Q8Q3_KDotprod, kMatmulF32Q8Q4_KDotprod, kMatmulF32Q8Q5_KDotprod, kMatmulF32Q8Q6_KDotprod;
constexpr KernelVariant kMatmulF32Q8Q8_0Dotprod = variant<DType::kQ8_0>("matmul.f32.q8.q8_0.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q4_0Dotprod = variant<DType::kQ4_0>("matmul.f32.q8.q4_0.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q4_1Dotprod = variant<DType::kQ4_1>("matmul.f32.q8.q4_1.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q5_0Dotprod = variant<DType::kQ5_0>("matmul.f32.q8.q5_0.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q5_1Dotprod = variant<DType::kQ5_1>("matmul.f32.q8.q5_1.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Iq4NlDotprod = variant<DType::kIQ4_NL>("matmul.f32.q8.iq4_nl.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q2_KDotprod = variant<DType::kQ2_K>("matmul.f32.q8.q2_k.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q3_KDotprod = variant<DType::kQ3_K>("matmul.f32.q8.q3_k.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q4_KDotprod = variant<DType::kQ4_K>("matmul.f32.q8.q4_k.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q5_KDotprod = variant<DType::kQ5_K>("matmul.f32.q8.q5_k.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q6_KDotprod = variant<DType::kQ6_K>("matmul.f32.q8.q6_k.4x16.dotprod.sdot");

}  // namespace smepilot
