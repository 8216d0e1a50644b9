// The stages of attention on a tile (kernels/abi/attention_stages.h), written once against the Simd vocabulary.
// Included by one translation unit per ISA, after its simd_*.h header and the sizes of its register tiles; internal
// linkage.
//
// Scores have vectors of query rows, times one broadcast element of K: so they come out with the rows side by side, as
// softmax wants them, which then works on lanes that have nothing to do with each other. Outputs have vectors of
// elements of V, times one broadcast probability. K and V are converted to f32 once per tile, in pieces that stay in
// the first-level cache while all query rows pass by.
#pragma once
#include "kernels/abi/attention_stages.h"
#include "kernels/activation/vector_exp.h"
#include "kernels/attention/kv_formats.h"

namespace smepilot {
namespace {

using Vec = Simd::Vec;
constexpr uint32_t kWidth = Simd::kWidth;
constexpr uint32_t kMostTileRows = 256;
constexpr uint32_t kStagedDims = 512;                  // elements of a panel of K that are converted at a time
constexpr uint32_t kStagedPositions = 64;              // rows of V, likewise, kValueVectors wide
constexpr uint32_t kSoftmaxVectors = kPanel / kWidth;  // a line of scores
static_assert(kPanel % kScorePositions == 0 && kPanel % kValueRows == 0 && kScoreVectors * kWidth % kPanel == 0);
static_assert(kValueVectors * kWidth % kPanel == 0 || kPanel % (kValueVectors * kWidth) == 0);

constexpr uint32_t smaller(uint32_t a, uint32_t b) noexcept {
  return a < b ? a : b;
}

// Positions of the tile that a row sees, and the most that any row of `count` from `first` on does.
SMEPILOT_INLINE uint32_t visible(const AttentionTile& t, uint32_t row) noexcept {
  return t.limit[row] <= t.kv_begin ? 0 : smaller(t.limit[row], t.kv_end) - t.kv_begin;
}
SMEPILOT_INLINE uint32_t most_visible(const AttentionTile& t, uint32_t first, uint32_t count) noexcept {
  uint32_t most = 0;
  for (uint32_t r = first; r < smaller(first + count, t.rows); ++r) most = visible(t, r) > most ? visible(t, r) : most;
  return most;
}

// --- queries: panels of 16 rows, [head_dim][16], scaled; rows that do not exist are 0 ---

size_t query_bytes(uint32_t rows, uint32_t head_dim) noexcept {
  return (rows + kPanel - 1) / kPanel * size_t{kPanel} * head_dim * sizeof(float);
}

void pack_queries(const AttentionTile* t) noexcept {
  auto* to = static_cast<float*>(t->queries);
  for (uint32_t row = 0; row < t->rows; row += kPanel, to += size_t{kPanel} * t->head_dim) {
    for (uint32_t r = row; r < smaller(row + kPanel, t->rows); ++r)  // rows lie far apart, and are not in a cache
      for (uint32_t d = 0; d < t->head_dim; d += kPanel) __builtin_prefetch(t->q[r] + d);
    for (uint32_t r = 0; r < kPanel; ++r) {
      const float* q = row + r < t->rows ? t->q[row + r] : nullptr;
      for (uint32_t d = 0; d < t->head_dim; ++d) to[size_t{d} * kPanel + r] = q == nullptr ? 0.0f : q[d] * t->scale;
    }
  }
}

// --- scores ---

// scores[kScorePositions][NV vectors of rows] = k q^T over `dims` elements, on top of what is there if `add`. q: panels
// of rows, q_panel floats apart; k: [dims][16].
template <uint32_t NV>
SMEPILOT_INLINE void score_tile(const float* q, size_t q_panel, const float* k, uint32_t dims, float* scores,
                                size_t stride, bool add) noexcept {
  Vec acc[kScorePositions][NV];
  SMEPILOT_UNROLL for (uint32_t p = 0; p < kScorePositions; ++p) {
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
      acc[p][j] = add ? Simd::load(scores + p * stride + j * kWidth) : Simd::zero();
    }
  }
  for (uint32_t d = 0; d < dims; ++d, q += kPanel, k += kPanel) {
    Vec query[NV];
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
      query[j] = Simd::load(q + j * kWidth / kPanel * q_panel + j * kWidth % kPanel);
    }
    SMEPILOT_UNROLL for (uint32_t p = 0; p < kScorePositions; ++p) {
      const Vec key = Simd::set1(k[p]);
      SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) acc[p][j] = Simd::fma(key, query[j], acc[p][j]);
    }
  }
  SMEPILOT_UNROLL for (uint32_t p = 0; p < kScorePositions; ++p) {
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) Simd::store(scores + p * stride + j * kWidth, acc[p][j]);
  }
}

// The scores of one panel of positions with a block of rows, kScoreVectors or one panel of them.
template <uint32_t NV>
SMEPILOT_INLINE void score_panel(const float* q, size_t q_panel, const float* k, uint32_t dims, float* scores,
                                 size_t stride, bool add) noexcept {
  for (uint32_t p = 0; p < kPanel; p += kScorePositions)
    score_tile<NV>(q, q_panel, k + p, dims, scores + p * stride, stride, add);
}

template <typename Cache>
void scores(const AttentionTile* t) noexcept {
  alignas(64) float stage[kStagedDims * kPanel];
  constexpr uint32_t kRows = kScoreVectors * kWidth;
  const size_t bytes = Cache::panel_bytes(t->head_dim), q_panel = size_t{kPanel} * t->head_dim;
  const uint8_t* k = static_cast<const uint8_t*>(t->k) + t->kv_begin / kPanel * bytes;
  const uint32_t count = most_visible(*t, 0, t->rows);
  uint32_t sees[kMostTileRows / kPanel];  // of each block of kRows rows
  for (uint32_t row = 0; row < t->stride; row += kRows) sees[row / kRows] = most_visible(*t, row, kRows);
  for (uint32_t p = 0; p < count; p += kPanel, k += bytes) {
    for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(k + bytes + line);
    for (uint32_t d = 0; d < t->head_dim; d += kStagedDims) {  // more than once for f16 of large heads only
      const uint32_t dims = smaller(kStagedDims, t->head_dim - d);
      Cache::stage_keys(k + (Cache::kDirect ? size_t{d} * kPanel * sizeof(uint16_t) : 0), dims, stage);
      for (uint32_t row = 0; row < t->stride; row += kRows) {
        if (sees[row / kRows] <= p) continue;
        const float* q = static_cast<const float*>(t->queries) + row / kPanel * q_panel + size_t{d} * kPanel;
        float* to = t->scores + size_t{p} * t->stride + row;
        if (row + kRows <= t->stride)
          score_panel<kScoreVectors>(q, q_panel, stage, dims, to, t->stride, d != 0);
        else
          for (uint32_t r = row; r < t->stride; r += kPanel, q += q_panel, to += kPanel)
            score_panel<kPanel / kWidth>(q, q_panel, stage, dims, to, t->stride, d != 0);
      }
    }
  }
}

// --- softmax: a lane is a row ---

constexpr float kLowest = -__builtin_inff();

void softmax(const AttentionTile* t) noexcept {
  constexpr uint32_t kV = kSoftmaxVectors;
  const uint32_t count = t->kv_end - t->kv_begin;
  const Vec lowest = Simd::set1(kLowest), zero = Simd::zero();
  for (uint32_t row = 0; row < t->stride; row += kPanel) {
    // Up to `all`, every row sees a position; from `some` on, none does. The rows that do not exist are like the last.
    float limits[kPanel];
    uint32_t all = count, some = 0;
    for (uint32_t r = 0; r < kPanel; ++r) {
      const uint32_t sees = visible(*t, smaller(row + r, t->rows - 1));
      limits[r] = static_cast<float>(sees);
      all = smaller(all, sees);
      some = sees > some ? sees : some;
    }
    float* const scores = t->scores + row;
    Vec limit[kV], old[kV], max[kV], shift[kV], sum[kV];
    SMEPILOT_UNROLL for (uint32_t j = 0; j < kV; ++j) {
      limit[j] = Simd::load(limits + j * kWidth);
      max[j] = old[j] = t->first ? lowest : Simd::load(t->max + row + j * kWidth);
    }
    const float* from = scores;
    uint32_t p = 0;
    for (; p < all; ++p, from += t->stride)
      SMEPILOT_UNROLL for (uint32_t j = 0; j < kV; ++j) max[j] = Simd::max(max[j], Simd::load(from + j * kWidth));
    for (; p < some; ++p, from += t->stride) {
      const Vec at = Simd::set1(static_cast<float>(p));
      SMEPILOT_UNROLL for (uint32_t j = 0; j < kV; ++j) max[j] =
          Simd::max(max[j], Simd::keep_where_greater(limit[j], at, Simd::load(from + j * kWidth), lowest));
    }
    SMEPILOT_UNROLL for (uint32_t j = 0; j < kV; ++j) {
      shift[j] = Simd::keep_where_greater(max[j], lowest, max[j], zero);
      const Vec rescale = vector_exp(Simd::sub(old[j], shift[j]));
      sum[j] = t->first ? zero : Simd::mul(Simd::load(t->sum + row + j * kWidth), rescale);
      Simd::store(t->rescale + row + j * kWidth, rescale);
      Simd::store(t->max + row + j * kWidth, max[j]);
    }
    float* to = scores;
    for (p = 0; p < all; ++p, to += t->stride) {
      SMEPILOT_UNROLL for (uint32_t j = 0; j < kV; ++j) {
        const Vec e = vector_exp(Simd::sub(Simd::load(to + j * kWidth), shift[j]));
        Simd::store(to + j * kWidth, e);
        sum[j] = Simd::add(sum[j], e);
      }
    }
    for (; p < some; ++p, to += t->stride) {
      const Vec at = Simd::set1(static_cast<float>(p));
      SMEPILOT_UNROLL for (uint32_t j = 0; j < kV; ++j) {
        const Vec e =
            Simd::keep_where_greater(limit[j], at, vector_exp(Simd::sub(Simd::load(to + j * kWidth), shift[j])), zero);
        Simd::store(to + j * kWidth, e);
        sum[j] = Simd::add(sum[j], e);
      }
    }
    for (; p < count; ++p, to += t->stride)
      SMEPILOT_UNROLL for (uint32_t j = 0; j < kV; ++j) Simd::store(to + j * kWidth, zero);
    SMEPILOT_UNROLL for (uint32_t j = 0; j < kV; ++j) Simd::store(t->sum + row + j * kWidth, sum[j]);
  }
}

// --- values ---

// Elements d .. d + NV * kWidth - 1 of row `row` of a panel of V; those that do not exist are 0.
template <typename Cache, uint32_t NV>
SMEPILOT_INLINE void stage_strip(const uint8_t* panel, uint32_t row, uint32_t head_dim, uint32_t d,
                                 float* to) noexcept {
  if (d + NV * kWidth <= head_dim) return Cache::template stage_values<NV * kWidth>(panel, row, head_dim, d, to);
  if constexpr (Cache::kDirect) {
    const auto* v = reinterpret_cast<const uint16_t*>(panel) + size_t{row} * head_dim;
    for (uint32_t c = 0; c < NV * kWidth; c += kWidth, d += kWidth) {
      Vec x = Simd::zero();
      if (d + kWidth <= head_dim)
        x = Simd::load_f16(v + d);
      else if (d < head_dim)
        x = Simd::load_f16_partial(v + d, head_dim - d);
      Simd::store(to + c, x);
    }
  }
}

enum class Before { kNothing, kRescaled, kAsIs };  // what becomes of the output so far

// output[kValueRows rows, `rows` of which exist][NV vectors] += P V over `positions` positions. p: their first row's
// probability at the first one; v: [positions][kValueVectors vectors].
template <uint32_t NV>
SMEPILOT_INLINE void value_tile(const float* p, size_t stride, const float* v, uint32_t positions, float* output,
                                size_t output_stride, const float* rescale, Before before, uint32_t rows) noexcept {
  Vec acc[kValueRows][NV];
  SMEPILOT_UNROLL for (uint32_t r = 0; r < kValueRows; ++r) {
    const float* o = output + r * output_stride;
    const bool read = before != Before::kNothing && r < rows;
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
      acc[r][j] = read ? Simd::load(o + j * kWidth) : Simd::zero();
      if (before == Before::kRescaled) acc[r][j] = Simd::mul(acc[r][j], Simd::set1(rescale[r]));
    }
  }
  for (uint32_t i = 0; i < positions; ++i, p += stride, v += kValueVectors * kWidth) {
    Vec value[NV];
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) value[j] = Simd::load(v + j * kWidth);
    SMEPILOT_UNROLL for (uint32_t r = 0; r < kValueRows; ++r) {
      const Vec weight = Simd::set1(p[r]);
      SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) acc[r][j] = Simd::fma(weight, value[j], acc[r][j]);
    }
  }
  SMEPILOT_UNROLL for (uint32_t r = 0; r < kValueRows; ++r) {
    if (r < rows)
      SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) Simd::store(output + r * output_stride + j * kWidth, acc[r][j]);
  }
}

// A strip of NV vectors of elements from d on, over positions [begin, begin + count) of the tile.
template <typename Cache, uint32_t NV>
SMEPILOT_INLINE void value_strip(const AttentionTile& t, uint32_t begin, uint32_t count, uint32_t d,
                                 const uint32_t* sees) noexcept {
  alignas(64) float stage[kStagedPositions * kValueVectors * kWidth];
  const size_t bytes = Cache::panel_bytes(t.head_dim), dim = (t.head_dim + kPanel - 1) / kPanel * kPanel;
  const uint8_t* v = static_cast<const uint8_t*>(t.v) + (t.kv_begin + begin) / kPanel * bytes;
  for (uint32_t i = 0; i < count; ++i)
    stage_strip<Cache, NV>(v + i / kPanel * bytes, i % kPanel, t.head_dim, d, stage + i * kValueVectors * kWidth);
  const Before before = begin != 0 ? Before::kAsIs : t.first ? Before::kNothing : Before::kRescaled;
  for (uint32_t row = 0; row < t.rows; row += kValueRows) {
    const uint32_t all = sees[row / kValueRows];
    if (begin != 0 && all <= begin) continue;
    value_tile<NV>(t.scores + size_t{begin} * t.stride + row, t.stride, stage,
                   smaller(count, all - smaller(all, begin)), t.output + row * dim + d, dim, t.rescale + row, before,
                   t.rows - row);
  }
}

template <typename Cache>
void values(const AttentionTile* t) noexcept {
  constexpr uint32_t kStrip = kValueVectors * kWidth;
  uint32_t sees[kMostTileRows / kValueRows];
  for (uint32_t row = 0; row < t->rows; row += kValueRows) sees[row / kValueRows] = most_visible(*t, row, kValueRows);
  const uint32_t positions = t->kv_end - t->kv_begin, dim = (t->head_dim + kPanel - 1) / kPanel * kPanel;
  const size_t bytes = Cache::panel_bytes(t->head_dim);
  for (uint32_t begin = 0; begin < positions; begin += kStagedPositions) {
    const uint32_t count = smaller(kStagedPositions, positions - begin);
    const uint8_t* v = static_cast<const uint8_t*>(t->v) + (t->kv_begin + begin) / kPanel * bytes;
    for (size_t line = 0; line < (count + kPanel - 1) / kPanel * bytes; line += 64) __builtin_prefetch(v + line);
    uint32_t d = 0;
    for (; d + kStrip <= dim; d += kStrip) value_strip<Cache, kValueVectors>(*t, begin, count, d, sees);
    if constexpr (kValueVectors > 2)
      for (; d + 2 * kWidth <= dim; d += 2 * kWidth) value_strip<Cache, 2>(*t, begin, count, d, sees);
    for (; d < dim; d += kWidth) value_strip<Cache, 1>(*t, begin, count, d, sees);
  }
}

// --- finish ---

void finish(const AttentionTile* t) noexcept {
  const size_t dim = (t->head_dim + kPanel - 1) / kPanel * kPanel;
  for (uint32_t r = 0; r < t->rows; ++r) {
    const float sum = t->sum[r], *from = t->output + r * dim;
    const Vec inverse = Simd::set1(sum > 0 ? 1.0f / sum : 0.0f);
    uint32_t d = 0;
    for (; d + kWidth <= t->head_dim; d += kWidth) Simd::store(t->out[r] + d, Simd::mul(Simd::load(from + d), inverse));
    if (d < t->head_dim) Simd::store_partial(t->out[r] + d, t->head_dim - d, Simd::mul(Simd::load(from + d), inverse));
  }
}

template <typename Cache>
constexpr AttentionStages kStages = {query_bytes, pack_queries, scores<Cache>, softmax, values<Cache>, finish};

}  // namespace
}  // namespace smepilot
