// Few query rows against a Q8_0 cache, with VNNI: the decode step, which has to keep up with memory. Included after
// attention_call.h by translation units with AVX-512 VNNI; internal linkage.
//
// Queries become 16-bit integers per block of 32, in two signed bytes: q = d * (high + low / 254), so an element is off
// by at most max|q| / 64516. K is stored as unsigned bytes k + 128, hence the accumulators start at -128 * sum(q). V is
// converted in registers, and the scale of its blocks goes into the probabilities.
#pragma once
#include "kernels/attention/attention_call.h"

namespace smepilot {
namespace {

constexpr uint32_t kFewRows = 8;       // from here on, converting K and V for all rows at once is faster (measured)
constexpr uint32_t kRowsAtOnce = 4;    // rows of a register tile
constexpr uint32_t kMostBlocks = 16;   // of a head of 512 elements
constexpr uint32_t kLowSteps = 254;    // low parts of one step of the high part
constexpr uint32_t kPanelsAhead = 4;   // from prefetch to use
constexpr uint32_t kChunkVectors = 4;  // vectors of V whose sums are in registers: two blocks
constexpr uint32_t kVectorsOfBlock = kQ8Block / kWidth;

struct QuantisedQueries {
  int32_t high[kFewRows][kMostBlocks * 8], low[kFewRows][kMostBlocks * 8];  // four bytes each
  int32_t start_high[kFewRows][kMostBlocks], start_low[kFewRows][kMostBlocks];
  float scale[kFewRows][kMostBlocks];
};

// Sum of 32 signed bytes, given as two vectors of 16 integers.
SMEPILOT_INLINE int32_t sum_of(__m512i a, __m512i b) noexcept {
  return _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
}

void quantise_queries(const AttentionArgs& args, QuantisedQueries& to) noexcept {
  for (uint32_t r = 0; r < args.rows; ++r)
    for (uint32_t b = 0; b < args.head_dim / kQ8Block; ++b) {
      const float* q = args.q[r] + b * kQ8Block;
      const Vec x[2] = {Simd::load(q), Simd::load(q + kWidth)};
      const float most = Simd::reduce_max(Simd::max(_mm512_abs_ps(x[0]), _mm512_abs_ps(x[1])));
      const float inverse = most > 0 ? 127.0f / most : 0.0f;
      __m512i high[2], low[2];
      SMEPILOT_UNROLL for (int i = 0; i < 2; ++i) {
        const Vec y = Simd::mul(x[i], Simd::set1(inverse)), whole = Simd::round(y);
        high[i] = _mm512_cvtps_epi32(whole);
        low[i] = _mm512_cvtps_epi32(Simd::mul(Simd::sub(y, whole), Simd::set1(static_cast<float>(kLowSteps))));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to.high[r] + b * 8 + i * 4), _mm512_cvtepi32_epi8(high[i]));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to.low[r] + b * 8 + i * 4), _mm512_cvtepi32_epi8(low[i]));
      }
      to.start_high[r][b] = -128 * sum_of(high[0], high[1]);
      to.start_low[r][b] = -128 * sum_of(low[0], low[1]);
      to.scale[r][b] = most / 127.0f;
    }
}

// Scores of NP panels at `panel` with rows row .. row + MR - 1 of a tile.
template <uint32_t MR, uint32_t NP>
SMEPILOT_INLINE void integer_scores(const Tile& t, const QuantisedQueries& queries, uint32_t row, const uint8_t* panel,
                                    size_t bytes, float* scores) noexcept {
  Vec sum[MR][NP];
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t p = 0; p < NP; ++p) sum[r][p] = Simd::zero();
  }
  const uint8_t* scales = panel + kv_scale_offset(t.head_dim);
  for (uint32_t b = 0; b < t.head_dim / kQ8Block; ++b, panel += kQ8Block * kPanel, scales += 2 * kPanel) {
    __m512i high[MR][NP], low[MR][NP];
    SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
      SMEPILOT_UNROLL for (uint32_t p = 0; p < NP; ++p) {
        high[r][p] = _mm512_set1_epi32(queries.start_high[t.row + row + r][b]);
        low[r][p] = _mm512_set1_epi32(queries.start_low[t.row + row + r][b]);
      }
    }
    SMEPILOT_UNROLL for (uint32_t i = 0; i < 8; ++i) {
      __m512i key[NP];
      SMEPILOT_UNROLL for (uint32_t p = 0; p < NP; ++p) key[p] = _mm512_loadu_si512(panel + p * bytes + i * 64);
      SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
        const __m512i h = _mm512_set1_epi32(queries.high[t.row + row + r][b * 8 + i]);
        const __m512i l = _mm512_set1_epi32(queries.low[t.row + row + r][b * 8 + i]);
        SMEPILOT_UNROLL for (uint32_t p = 0; p < NP; ++p) {
          high[r][p] = _mm512_dpbusd_epi32(high[r][p], key[p], h);
          low[r][p] = _mm512_dpbusd_epi32(low[r][p], key[p], l);
        }
      }
    }
    SMEPILOT_UNROLL for (uint32_t p = 0; p < NP; ++p) {
      const Vec scale = Simd::load_f16(reinterpret_cast<const uint16_t*>(scales + p * bytes));
      SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
        const Vec value =
            Simd::fma(_mm512_cvtepi32_ps(low[r][p]), Simd::set1(1.0f / kLowSteps), _mm512_cvtepi32_ps(high[r][p]));
        sum[r][p] = Simd::fma(Simd::mul(value, scale), Simd::set1(queries.scale[t.row + row + r][b]), sum[r][p]);
      }
    }
  }
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t p = 0; p < NP; ++p) Simd::store(scores + (p * t.rows + row + r) * kPanel, sum[r][p]);
  }
}

template <uint32_t MR>
void integer_score_rows(const Tile& t, const Block& block, const QuantisedQueries& queries, uint32_t row) noexcept {
  const size_t bytes = Q8Cache::panel_bytes(t.head_dim), stride = static_cast<size_t>(t.rows) * kPanel;
  const uint32_t panels = (block.count + kPanel - 1) / kPanel;
  uint32_t p = 0;
  for (; p + 2 <= panels; p += 2) {
    const uint8_t* panel = block.k + p * bytes;
    fetch_panel(panel + kPanelsAhead * bytes, 2 * bytes);
    integer_scores<MR, 2>(t, queries, row, panel, bytes, t.scores + p * stride);
  }
  if (p < panels) integer_scores<MR, 1>(t, queries, row, block.k + p * bytes, bytes, t.scores + p * stride);
}

// out[rows][NV vectors from element d on] += P V over the positions of a block.
template <uint32_t MR, uint32_t NV>
SMEPILOT_INLINE void q8_values(const Tile& t, const Block& block, uint32_t row, uint32_t d) noexcept {
  constexpr uint32_t kBlocks = NV / kVectorsOfBlock;
  const size_t bytes = Q8Cache::panel_bytes(t.head_dim), blocks = t.head_dim / kQ8Block;
  float* const out = t.out + static_cast<size_t>(row) * t.dim + d;
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i index = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(static_cast<int>(blocks)));
  Vec acc[MR][NV];
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) acc[r][j] = Simd::load(out + r * t.dim + j * kWidth);
  }
  for (uint32_t at = 0; at < block.count; at += kPanel) {
    const uint8_t* panel = block.v + at / kPanel * bytes;
    if (d == 0) fetch_panel(panel + kPanelsAhead * bytes, bytes);
    alignas(64) float all[kMostBlocks * kPanel], weight[kBlocks][MR][kPanel];
    const auto* halves = reinterpret_cast<const uint16_t*>(panel + kv_scale_offset(t.head_dim));
    for (uint32_t b = 0; b < blocks; ++b) Simd::store(all + b * kPanel, Simd::load_f16(halves + b * kPanel));
    SMEPILOT_UNROLL for (uint32_t b = 0; b < kBlocks; ++b) {
      const Vec scale = blocks == 1 ? Simd::load(all) : _mm512_i32gather_ps(index, all + d / kQ8Block + b, 4);
      SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) Simd::store(
          weight[b][r], Simd::mul(scale, Simd::load(t.scores + static_cast<size_t>(at) * t.rows + (row + r) * kPanel)));
    }
    const auto* v = reinterpret_cast<const int8_t*>(panel) + d;
    const uint32_t count = smaller(kPanel, block.count - at);
    for (uint32_t i = 0; i < count; ++i, v += t.head_dim) {
      SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
        const Vec value = Simd::load_i8(v + j * kWidth);
        SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) acc[r][j] =
            Simd::fma(Simd::set1(weight[j / kVectorsOfBlock][r][i]), value, acc[r][j]);
      }
    }
  }
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) Simd::store(out + r * t.dim + j * kWidth, acc[r][j]);
  }
}

template <uint32_t MR>
void q8_value_rows(const Tile& t, const Block& block, uint32_t row) noexcept {
  uint32_t d = 0;
  for (; d + kChunkVectors * kWidth <= t.head_dim; d += kChunkVectors * kWidth)
    q8_values<MR, kChunkVectors>(t, block, row, d);
  if (d < t.head_dim) q8_values<MR, kVectorsOfBlock>(t, block, row, d);
}

struct FewRowsFns {
  void (*scores)(const Tile&, const Block&, const QuantisedQueries&, uint32_t row) noexcept;
  void (*values)(const Tile&, const Block&, uint32_t row) noexcept;
};
constexpr FewRowsFns kFewRowsFns[] = {{nullptr, nullptr},
                                      {integer_score_rows<1>, q8_value_rows<1>},
                                      {integer_score_rows<2>, q8_value_rows<2>},
                                      {integer_score_rows<3>, q8_value_rows<3>},
                                      {integer_score_rows<4>, q8_value_rows<4>}};

void attention_online_vnni(const AttentionArgs* args) noexcept {
  if (args->rows > kFewRows) return attention_online<Q8Cache>(args);
  QuantisedQueries queries;
  quantise_queries(*args, queries);
  const Call<Q8Cache> call(*args, args->kv_tile, false);
  for (uint32_t i = 0; i < call.tiles; ++i) call.start(call.tile[i]);
  for (uint32_t begin = 0; begin < call.end; begin += args->kv_tile) {
    const Block b = call.block(begin, args->kv_tile, 0);
    for (const Tile* t = call.tile; t < call.tile + call.tiles; ++t) {
      for (uint32_t row = 0; row < t->rows; row += kRowsAtOnce)
        kFewRowsFns[smaller(kRowsAtOnce, t->rows - row)].scores(*t, b, queries, row);
      call.softmax(*t, b);
      for (uint32_t row = 0; row < t->rows; row += kRowsAtOnce)
        kFewRowsFns[smaller(kRowsAtOnce, t->rows - row)].values(*t, b, row);
    }
  }
  for (uint32_t i = 0; i < call.tiles; ++i) call.finish(call.tile[i], 0, args->head_dim);
}

}  // namespace
}  // namespace smepilot
