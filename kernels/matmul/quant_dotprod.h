// Quantised matmul with SDOT by element: four k of one row against four k of four columns, 16 multiply-adds. Internal
// linkage: included by the translation units of steps that have dot products.
//
// Register tile: 4 rows x 16 columns, in two passes of 8 where the rows are 3 or 4. Weights enter as they are stored
// (0..15, 0..63), which is a signed byte too, and the accumulators start at the lhs sums that make up for the zero
// point: that costs nothing, an accumulator has to be set to something. Types
// with integer scales of half a block are multiplied with them (rhs_block_neon.h). For more
// rows than one register tile, 256 k of a panel are decoded once into L1 and used by all rows of the call. Per block
// and 4 columns of a row: 8 dot products and 4 more (set, convert, two multiplies), so 2/3 of the SDOT peak is the
// ceiling of the formats with one scale per block.
#pragma once
#include "kernels/matmul/quant_rows_neon.h"

namespace smepilot {
namespace {

template <DType D>
inline constexpr bool kZeroStart = kZeroPoint<D> == 0;
// Of the lhs: n8 starts q4_0, twice n8 q5_0, and the sums of the halves q6_k; the minima of q2_k are multiplied with
// them.
template <DType D>
inline constexpr bool kHalfSums = kHasHalves<D> || kHasHalfMins<D>;

// A block of the lhs, from a row of its panel on: int8 q[8][rows][4] and, at byte offsets from it, the other planes
// (see kLhsQ8Panel16K4). Offsets, so that one addition takes all of them to the next block.
struct LhsView {
  const uint8_t* q;
  size_t step;         // bytes to the next four k
  size_t d, ds;        // f32 [rows]
  size_t sums, sums2;  // int32 [rows], n8, or those of the halves
  size_t stride;       // bytes to the next block
};

template <DType D>
SMEPILOT_INLINE LhsView lhs_view(const uint8_t* block, size_t height, size_t row) noexcept {
  return {
      block + row * 4,          height * 4, height * 32, height * 36, height * (kHalfSums<D> ? 48 : 40), height * 52,
      height * kLhsQ8BlockBytes};
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

SMEPILOT_INLINE int32x4_t dot(int32x4_t acc, int8x16_t w, int8x16_t x, int lane) noexcept {
  return lane == 0   ? vdotq_laneq_s32(acc, w, x, 0)
         : lane == 1 ? vdotq_laneq_s32(acc, w, x, 1)
         : lane == 2 ? vdotq_laneq_s32(acc, w, x, 2)
                     : vdotq_laneq_s32(acc, w, x, 3);
}
SMEPILOT_INLINE int32x4_t broadcast(int32x4_t v, int lane) noexcept {
  return lane == 0   ? vdupq_laneq_s32(v, 0)
         : lane == 1 ? vdupq_laneq_s32(v, 1)
         : lane == 2 ? vdupq_laneq_s32(v, 2)
                     : vdupq_laneq_s32(v, 3);
}
SMEPILOT_INLINE float32x4_t multiply(float32x4_t v, float32x4_t l, int lane) noexcept {
  return lane == 0   ? vmulq_laneq_f32(v, l, 0)
         : lane == 1 ? vmulq_laneq_f32(v, l, 1)
         : lane == 2 ? vmulq_laneq_f32(v, l, 2)
                     : vmulq_laneq_f32(v, l, 3);
}
SMEPILOT_INLINE float32x4_t multiply_add(float32x4_t a, float32x4_t v, float32x4_t l, int lane) noexcept {
  return lane == 0   ? vfmaq_laneq_f32(a, v, l, 0)
         : lane == 1 ? vfmaq_laneq_f32(a, v, l, 1)
         : lane == 2 ? vfmaq_laneq_f32(a, v, l, 2)
                     : vfmaq_laneq_f32(a, v, l, 3);
}

// What up to four rows of a block of the lhs have beside their quants, one row to a lane.
struct RowPlanes {
  float32x4_t d, ds;
  int32x4_t sums, sums2;
};
template <DType D, int R>
SMEPILOT_INLINE RowPlanes row_planes(const LhsView& lhs) noexcept {
  constexpr bool kSums = !kZeroStart<D> || kHalfSums<D>;
  RowPlanes p;
  p.d = load_plane<R>(lhs.q + lhs.d);
  p.ds = kHasMin<D> ? load_plane<R>(lhs.q + lhs.ds) : p.d;
  p.sums = kSums ? vreinterpretq_s32_f32(load_plane<R>(lhs.q + lhs.sums)) : vdupq_n_s32(0);
  p.sums2 = kHalfSums<D> ? vreinterpretq_s32_f32(load_plane<R>(lhs.q + lhs.sums2)) : p.sums;
  return p;
}

// acc += what integer sums of a block (kHasHalves: of its halves) stand for, four columns of row r.
template <DType D>
SMEPILOT_INLINE float32x4_t add_scaled(float32x4_t acc, int32x4_t low, int32x4_t high, const Scales& s,
                                       const RowPlanes& p, int r) noexcept {
  if constexpr (kHasHalves<D>) {
    const float32x4_t both = vfmaq_f32(vmulq_f32(vcvtq_f32_s32(low), s.first), vcvtq_f32_s32(high), s.second);
    return multiply_add(acc, both, p.d, r);
  } else if constexpr (kHasHalfMins<D>) {
    const float32x4_t minima =
        multiply_add(multiply(s.second, vcvtq_f32_s32(p.sums), r), s.third, vcvtq_f32_s32(p.sums2), r);
    return multiply_add(acc, vfmaq_f32(minima, vcvtq_f32_s32(low), s.first), p.d, r);
  } else {
    if constexpr (kHasMin<D>) acc = multiply_add(acc, s.second, p.ds, r);
    return vfmaq_f32(acc, vcvtq_f32_s32(low), multiply(s.first, p.d, r));
  }
}

// Adds block b: R rows x columns 8g .. 8g+7. kAlone: the panel has only this one row, so its quants are contiguous.
template <DType D, int R, bool kAlone, int C, typename Blocks>
SMEPILOT_INLINE void add_pair(const LhsView& lhs, const Blocks& blocks, uint32_t b, int g, const RowPlanes& p,
                              float32x4_t (*acc)[C], int at) noexcept {
  int32x4_t low[R][2], high[R][2];
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    const int32x4_t start = D == DType::kQ5_0 ? vshlq_n_s32(p.sums, 1) : p.sums;
    low[r][0] = low[r][1] = kZeroStart<D> ? vdupq_n_s32(0) : broadcast(start, r);
    if constexpr (kHasHalves<D>) high[r][0] = high[r][1] = broadcast(p.sums2, r);
  }
  SMEPILOT_UNROLL
  for (int i = 0; i < 8; ++i) {
    const int8x16_t x =
        vreinterpretq_s8_u8(vld1q_u8(kAlone ? lhs.q + i / 4 * 16 : lhs.q + static_cast<size_t>(i) * lhs.step));
    const Pair w = blocks.weights(b, i, g);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r) {
      int32x4_t(&sum)[2] = kHasHalves<D> && i >= 4 ? high[r] : low[r];
      sum[0] = dot(sum[0], w.a, x, kAlone ? i % 4 : r);
      sum[1] = dot(sum[1], w.b, x, kAlone ? i % 4 : r);
    }
  }
  SMEPILOT_UNROLL
  for (int c = 0; c < 2; ++c) {
    const Scales scales = blocks.load_scale(b, 2 * g + c);
    SMEPILOT_UNROLL
    for (int r = 0; r < R; ++r)
      acc[r][at + c] = add_scaled<D>(acc[r][at + c], low[r][c], kHasHalves<D> ? high[r][c] : low[r][c], scales, p, r);
  }
}

// Adds `count` blocks of R rows to `sums`, C groups of 4 columns from group c0 on.
template <DType D, int R, bool kAlone, int C, typename Blocks>
SMEPILOT_INLINE void add_pass(LhsView lhs, const Blocks& blocks, uint32_t count, int c0, float (*sums)[16]) noexcept {
  float32x4_t acc[R][C];
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < C; ++c) acc[r][c] = vld1q_f32(sums[r] + 4 * (c0 + c));
  }
  for (uint32_t b = 0; b < count; ++b) {
    const RowPlanes planes = row_planes<D, R>(lhs);
    SMEPILOT_UNROLL
    for (int c = 0; c < C; c += 2) add_pair<D, R, kAlone, C>(lhs, blocks, b, (c0 + c) / 2, planes, acc, c);
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

template <DType D>
struct Sdot {
  static constexpr DType kType = D;
  static constexpr uint32_t kTile = 4;
  template <int R>
  static constexpr int kPasses = 4 / kPassColumns<R>;
  using Direct = DirectBlocks<D, Quants::kRaw>;
  using Chunk = Decoded;
  using Chunked = DecodedBlocks<D>;
  static SMEPILOT_INLINE void decode_chunk(const uint8_t* panel, const RhsPlanes& at, size_t kb, uint32_t count,
                                           Chunk& out) noexcept {
    decode<D, Quants::kRaw>(panel, at, kb, count, out);
  }
  template <int R, bool kOnly, typename Blocks>
  static SMEPILOT_INLINE void add(const uint8_t* block, size_t height, size_t row, const Blocks& blocks, uint32_t count,
                                  float (*sums)[16]) noexcept {
    const LhsView lhs = lhs_view<D>(block, height, row);
    for (int c = 0; c < 4; c += kPassColumns<R>)
      add_pass<D, R, kOnly && R == 1, kPassColumns<R>>(lhs, blocks, count, c, sums);
  }
};

}  // namespace
}  // namespace smepilot
