// Few query rows against a Q8_0 cache, with SDOT: the decode step, which has to keep up with memory. Included after
// attention_call.h by translation units with dot products; internal linkage.
//
// Queries become 16-bit integers per block of 32, in two signed bytes: q = d * (high + low / 254), so an element is off
// by at most max|q| / 64516. Both parts are multiplied with the bytes of K as they are, and meet in 32-bit integers. V
// is converted in registers, and the scale of its blocks goes into the probabilities.
#pragma once
#include "kernels/attention/attention_call.h"

namespace smepilot {
namespace {

constexpr uint32_t kFewRows = 8;      // from here on K and V are converted for all rows at once, as without SDOT
constexpr uint32_t kScoreRows = 2;    // rows of a register tile: of scores, beside 16 positions
constexpr uint32_t kValueRows = 4;    // and of outputs
constexpr uint32_t kMostDim = 512;    // of a head
constexpr int32_t kLowSteps = 254;    // low parts of one step of the high part
constexpr uint32_t kPanelsAhead = 4;  // from prefetch to use
constexpr uint32_t kGroups = kPanel / kWidth;  // of positions

struct QuantisedQueries {
  alignas(16) int8_t high[kFewRows][kMostDim], low[kFewRows][kMostDim];
  float scale[kFewRows][kMostDim / kQ8Block];
};

SMEPILOT_INLINE int8x8_t narrow(int32x4_t a, int32x4_t b) noexcept {
  return vmovn_s16(vcombine_s16(vmovn_s32(a), vmovn_s32(b)));
}

void quantise_queries(const AttentionArgs& args, QuantisedQueries& to) noexcept {
  for (uint32_t r = 0; r < args.rows; ++r)
    for (uint32_t d = 0; d < args.head_dim; d += kQ8Block) {
      const float* q = args.q[r] + d;
      Vec largest = Simd::zero();
      SMEPILOT_UNROLL for (uint32_t i = 0; i < kQ8Block; i += kWidth) largest =
          Simd::max(largest, vabsq_f32(Simd::load(q + i)));
      const float most = Simd::reduce_max(largest), inverse = most > 0 ? 127.0f / most : 0.0f;
      SMEPILOT_UNROLL for (uint32_t i = 0; i < kQ8Block; i += 8) {
        int32x4_t high[2], low[2];
        SMEPILOT_UNROLL for (uint32_t j = 0; j < 2; ++j) {
          const Vec y = vmulq_n_f32(Simd::load(q + i + 4 * j), inverse);
          high[j] = vcvtnq_s32_f32(y);
          low[j] = vcvtnq_s32_f32(vmulq_n_f32(vsubq_f32(y, vcvtq_f32_s32(high[j])), static_cast<float>(kLowSteps)));
        }
        vst1_s8(to.high[r] + d + i, narrow(high[0], high[1]));
        vst1_s8(to.low[r] + d + i, narrow(low[0], low[1]));
      }
      to.scale[r][d / kQ8Block] = most / (127.0f * static_cast<float>(kLowSteps));
    }
}

SMEPILOT_INLINE int32x4_t dot(int32x4_t acc, int8x16_t key, int8x16_t query, uint32_t lane) noexcept {
  return lane == 0   ? vdotq_laneq_s32(acc, key, query, 0)
         : lane == 1 ? vdotq_laneq_s32(acc, key, query, 1)
         : lane == 2 ? vdotq_laneq_s32(acc, key, query, 2)
                     : vdotq_laneq_s32(acc, key, query, 3);
}

// Scores of the panel of K at `panel` with rows row .. row + MR - 1.
template <uint32_t MR>
SMEPILOT_INLINE void integer_scores(uint32_t head_dim, const QuantisedQueries& queries, uint32_t row,
                                    const uint8_t* panel, float* scores) noexcept {
  Vec sum[MR][kGroups];
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t c = 0; c < kGroups; ++c) sum[r][c] = Simd::zero();
  }
  const auto* scales = reinterpret_cast<const uint16_t*>(panel + kv_scale_offset(head_dim));
  for (uint32_t d = 0; d < head_dim; d += kQ8Block, scales += kPanel) {
    int32x4_t high[MR][kGroups], low[MR][kGroups];
    SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
      SMEPILOT_UNROLL for (uint32_t c = 0; c < kGroups; ++c) high[r][c] = low[r][c] = vdupq_n_s32(0);
    }
    SMEPILOT_UNROLL for (uint32_t half = 0; half < kQ8Block; half += 16) {
      int8x16_t h[MR], l[MR];
      SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
        h[r] = vld1q_s8(queries.high[row + r] + d + half);
        l[r] = vld1q_s8(queries.low[row + r] + d + half);
      }
      SMEPILOT_UNROLL for (uint32_t i = 0; i < 4; ++i, panel += 4 * kPanel) {
        SMEPILOT_UNROLL for (uint32_t c = 0; c < kGroups; ++c) {
          const int8x16_t key = vreinterpretq_s8_u8(vld1q_u8(panel + 16 * c));
          SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
            high[r][c] = dot(high[r][c], key, h[r], i);
            low[r][c] = dot(low[r][c], key, l[r], i);
          }
        }
      }
    }
    SMEPILOT_UNROLL for (uint32_t c = 0; c < kGroups; ++c) {
      const Vec scale = Simd::load_f16(scales + c * kWidth);
      SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
        const Vec value = vcvtq_f32_s32(vmlaq_n_s32(low[r][c], high[r][c], kLowSteps));
        sum[r][c] = vfmaq_f32(sum[r][c], value, vmulq_n_f32(scale, queries.scale[row + r][d / kQ8Block]));
      }
    }
  }
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t c = 0; c < kGroups; ++c) Simd::store(scores + r * kPanel + c * kWidth, sum[r][c]);
  }
}

// A panel at a time for all tiles, of the positions that any row sees.
void score_all_rows(const Call<Q8Cache>& call, const Block& block, const QuantisedQueries& queries) noexcept {
  const uint32_t head_dim = call.args.head_dim;
  const size_t bytes = Q8Cache::panel_bytes(head_dim);
  for (uint32_t at = 0; at < block.count; at += kPanel) {
    const uint8_t* panel = block.k + at / kPanel * bytes;
    fetch_panel(panel + kPanelsAhead * bytes, bytes);
    for (const Tile* t = call.tile; t < call.tile + call.tiles; ++t) {
      float* scores = t->scores + static_cast<size_t>(at) * t->rows;
      const uint32_t end = t->row + t->rows;
      uint32_t row = t->row;
      for (; row + kScoreRows <= end; row += kScoreRows, scores += kScoreRows * kPanel)
        integer_scores<kScoreRows>(head_dim, queries, row, panel, scores);
      if (row < end) integer_scores<1>(head_dim, queries, row, panel, scores);
    }
  }
}

// Scales of the block with number `index` of each of the 16 rows of a panel of V.
SMEPILOT_INLINE void value_scales(const uint16_t* halves, size_t blocks, size_t index, Vec (&out)[kGroups]) noexcept {
  SMEPILOT_UNROLL for (uint32_t c = 0; c < kGroups; ++c) {
    const uint16_t* at = halves + c * kWidth * blocks + index;
    uint16x4_t h = vld1_dup_u16(at);
    h = vld1_lane_u16(at + blocks, h, 1);
    h = vld1_lane_u16(at + 2 * blocks, h, 2);
    h = vld1_lane_u16(at + 3 * blocks, h, 3);
    out[c] = vcvt_f32_f16(vreinterpret_f16_u16(h));
  }
}

// 16 elements of a row of V.
SMEPILOT_INLINE void load_sixteen(const int8_t* v, Vec* out) noexcept {
  const int8x16_t bytes = vld1q_s8(v);
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
  out[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
  out[1] = vcvtq_f32_s32(vmovl_high_s16(low));
  out[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
  out[3] = vcvtq_f32_s32(vmovl_high_s16(high));
}

// out[rows][NV vectors from element d on] += P V over `positions` positions.
template <uint32_t MR, uint32_t NV>
SMEPILOT_INLINE void q8_values(const Tile& t, const Block& block, uint32_t row, uint32_t positions,
                               uint32_t d) noexcept {
  const size_t bytes = Q8Cache::panel_bytes(t.head_dim), blocks = t.head_dim / kQ8Block;
  float* const out = t.out + static_cast<size_t>(row) * t.dim + d;
  Vec acc[MR][NV];
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) acc[r][j] = Simd::load(out + r * t.dim + j * kWidth);
  }
  for (uint32_t at = 0; at < positions; at += kPanel) {
    const uint8_t* panel = block.v + at / kPanel * bytes;
    if (d == 0) fetch_panel(panel + kPanelsAhead * bytes, bytes);
    Vec scale[kGroups];
    value_scales(reinterpret_cast<const uint16_t*>(panel + kv_scale_offset(t.head_dim)), blocks, d / kQ8Block, scale);
    alignas(16) float weight[MR][kPanel];
    SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
      const float* p = t.scores + static_cast<size_t>(at) * t.rows + (row + r) * kPanel;
      SMEPILOT_UNROLL for (uint32_t c = 0; c < kGroups; ++c)
          Simd::store(weight[r] + c * kWidth, Simd::mul(scale[c], Simd::load(p + c * kWidth)));
    }
    const auto* v = reinterpret_cast<const int8_t*>(panel) + d;
    const uint32_t count = smaller(kPanel, positions - at);
    for (uint32_t i = 0; i < count; ++i, v += t.head_dim) {
      Vec value[NV];
      SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; j += 4) load_sixteen(v + j * kWidth, value + j);
      SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
        SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) acc[r][j] = vfmaq_n_f32(acc[r][j], value[j], weight[r][i]);
      }
    }
  }
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) Simd::store(out + r * t.dim + j * kWidth, acc[r][j]);
  }
}

// A whole block of elements where the registers hold it for all rows, else half of one.
template <uint32_t MR>
void q8_value_rows(const Tile& t, const Block& block, uint32_t row, uint32_t positions) noexcept {
  constexpr uint32_t kVectors = MR <= 2 ? 8 : 4;
  for (uint32_t d = 0; d < t.head_dim; d += kVectors * kWidth) q8_values<MR, kVectors>(t, block, row, positions, d);
}

using ValueRowsFn = void (*)(const Tile&, const Block&, uint32_t row, uint32_t positions) noexcept;
constexpr ValueRowsFn kValueRowsFns[kValueRows + 1] = {nullptr, q8_value_rows<1>, q8_value_rows<2>, q8_value_rows<3>,
                                                       q8_value_rows<4>};

void attention_online_dotprod(const AttentionArgs* args) noexcept {
  if (args->rows > kFewRows) return attention_online<Q8Cache>(args);
  QuantisedQueries queries;
  quantise_queries(*args, queries);
  const Call<Q8Cache> call(*args, args->kv_tile, false);
  for (uint32_t i = 0; i < call.tiles; ++i) call.start(call.tile[i]);
  for (uint32_t begin = 0; begin < call.end; begin += args->kv_tile) {
    const Block b = call.block(begin, args->kv_tile, 0);
    score_all_rows(call, b, queries);
    for (const Tile* t = call.tile; t < call.tile + call.tiles; ++t) {
      if (t->most <= begin) continue;
      call.softmax(*t, b);
      for (uint32_t row = 0; row < t->rows; row += kValueRows)
        kValueRowsFns[smaller(kValueRows, t->rows - row)](*t, b, row, smaller(t->most - begin, b.count));
    }
  }
  for (uint32_t i = 0; i < call.tiles; ++i) call.finish(call.tile[i], 0, args->head_dim);
}

}  // namespace
}  // namespace smepilot
