// Attention of up to 64 rows that share one KV head, written once against the Simd vocabulary. Included by one
// translation unit per ISA, after its simd_*.h header; internal linkage.
//
// Scores lie in scratch as [panel of 16 positions][row][16], so that a register tile of rows addresses both its scores
// (stored 16 positions at a time) and its probabilities (broadcast one at a time) from one pointer with constant
// offsets. Both products are register tiles of several rows: a vector of K or V is converted from f16 once and used by
// all of them, which is what keeps the decode step of a GQA group at the speed of memory.
//
// A position at or beyond a row's limit gets probability 0, whatever its K holds. V is read up to the largest limit of
// the register tile, so a V row that only some rows of the tile may see must be finite: it is a real position of the
// cache. Nothing at or beyond kv_end is read from V; of K, whole panels are.
#pragma once
#include "kernels/abi/describe.h"
#include "kernels/activation/vector_exp.h"
#include "kernels/attention/kv_formats.h"

namespace smepilot {
namespace {

using Vec = Simd::Vec;
constexpr uint32_t kWidth = Simd::kWidth;
constexpr uint32_t kMaxRows = 64;

constexpr uint32_t smaller(uint32_t a, uint32_t b) noexcept {
  return a < b ? a : b;
}

// Register tile: `rows` x `vectors` accumulators, beside `vectors` of K or V and one broadcast element. Few rows get
// more vectors, so that there are enough independent chains of fused multiply-adds, and (in PV) so that V is read in
// long runs.
constexpr uint32_t tile_vectors(uint32_t rows, uint32_t most) noexcept {
  uint32_t v = 1;
  while (2 * v <= most && (rows + 1) * 2 * v < kRegisters) v *= 2;
  return v;
}

constexpr uint32_t kPanelGroup = 4;           // panels of K that all rows visit before the next ones are read
constexpr uint32_t kRowsAhead = 24;           // rows of V from prefetch to use
constexpr uint32_t kLineElements = 32;        // f16 elements of a cache line
constexpr uint32_t kStagedFloats = 4096;      // K or V converted to f32 for all rows: a third of a first-level cache
constexpr uint32_t kMostStagedFloats = 8192;  // one panel of the largest Q8_0 heads, which are always converted
constexpr uint32_t kStrip = tile_vectors(kTileRows, 8) * kWidth;  // elements of a V row converted at a time

// What the register tiles of one block of positions share. Positions are counted from kv_begin.
struct Block {
  const float* const* q;
  float* const* out;
  const uint8_t* k;     // first panel of the block
  const uint8_t* v;     // likewise
  float* scores;        // likewise
  size_t panel_stride;  // floats between panels of scores: rows * 16
  uint32_t head_dim;
  float scale;
};

// K and V come as they are stored, or converted to f32 beforehand for many rows.
SMEPILOT_INLINE Vec load_element(const uint16_t* p) noexcept {
  return Simd::load_f16(p);
}
SMEPILOT_INLINE Vec load_element(const float* p) noexcept {
  return Simd::load(p);
}

// Asks for what will be read `elements` further on. The hardware does not look across pages, and a page of K is one
// panel; without this, memory is idle while a tile is being multiplied.
SMEPILOT_INLINE void fetch_ahead(const uint16_t* p, size_t elements) noexcept {
  __builtin_prefetch(p + elements);
}
SMEPILOT_INLINE void fetch_ahead(const float*, size_t) noexcept {}

// scores[positions][MR rows] = scale * q k^T for NV vectors of positions: several panels, or a part of one.
template <uint32_t MR, uint32_t NV, typename T>
SMEPILOT_INLINE void score_tile(const Block& b, uint32_t row, const T* k, float* scores) noexcept {
  const size_t k_panel = static_cast<size_t>(b.head_dim) * kPanel, head_dim = b.head_dim;
  const float* q[MR];
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) q[r] = b.q[row + r];
  Vec acc[MR][NV];
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) acc[r][j] = Simd::zero();
  }
  for (size_t d = 0; d < head_dim; d += 2) {  // two elements of a panel are one cache line
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) if (j * kWidth % kPanel == 0)
        fetch_ahead(k + j * kWidth / kPanel * k_panel, kPanelGroup * k_panel);
    SMEPILOT_UNROLL for (uint32_t half = 0; half < 2; ++half, k += kPanel) {
      Vec key[NV];
      SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
        key[j] = load_element(k + j * kWidth / kPanel * k_panel + j * kWidth % kPanel);
      }
      SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
        const Vec value = Simd::set1(q[r][d + half]);
        SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) acc[r][j] = Simd::fma(value, key[j], acc[r][j]);
      }
    }
  }
  const Vec scale = Simd::set1(b.scale);
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
      float* at = scores + j * kWidth / kPanel * b.panel_stride + r * kPanel + j * kWidth % kPanel;
      Simd::store(at, Simd::mul(acc[r][j], scale));
    }
  }
}

// The scores of MR rows with `panels` panels, contiguous at k.
template <uint32_t MR, uint32_t NV, typename T>
void score_rows(const Block& b, uint32_t row, const T* k, uint32_t panels, float* scores) noexcept {
  const size_t k_panel = static_cast<size_t>(b.head_dim) * kPanel;
  constexpr uint32_t kStep = NV * kWidth / kPanel;  // panels per register tile; 0: a tile is a part of one
  uint32_t p = 0;
  if constexpr (kStep <= 1) {
    for (; p < panels; ++p)
      SMEPILOT_UNROLL for (uint32_t c = 0; c < kPanel; c += NV * kWidth)
          score_tile<MR, NV>(b, row, k + p * k_panel + c, scores + p * b.panel_stride + c);
  } else {
    for (; p + kStep <= panels; p += kStep) score_tile<MR, NV>(b, row, k + p * k_panel, scores + p * b.panel_stride);
    if (p < panels) score_rows<MR, NV / 2>(b, row, k + p * k_panel, panels - p, scores + p * b.panel_stride);
  }
}

// out[MR rows][NV vectors at d] = out * factor + P V over `positions` positions, v being at the first one's element d.
// kPartial: one vector of which only `lanes` lanes exist.
template <uint32_t MR, uint32_t NV, bool kPartial, typename T>
SMEPILOT_INLINE void value_tile(const Block& b, uint32_t row, const T* v, size_t v_stride, uint32_t positions,
                                uint32_t d, const float* factor, uint32_t lanes) noexcept {
  Vec acc[MR][NV];
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    const Vec f = Simd::set1(factor[row + r]);
    const float* o = b.out[row + r] + d;
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
      acc[r][j] = Simd::mul(f, kPartial ? Simd::load_partial(o, lanes) : Simd::load(o + j * kWidth));
    }
  }
  const float* p = b.scores + row * kPanel;
  const size_t p_skip = b.panel_stride - kPanel;
  for (uint32_t done = 0; done < positions; done += kPanel, p += p_skip) {
    const uint32_t count = smaller(kPanel, positions - done);
    for (uint32_t i = 0; i < count; ++i, ++p, v += v_stride) {
      SMEPILOT_UNROLL for (uint32_t j = 0; j < NV * kWidth; j += kLineElements)
          fetch_ahead(v + j, kRowsAhead * v_stride);
      Vec value[NV];
      SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
        if constexpr (kPartial)
          value[j] = Simd::load_f16_partial(v, lanes);
        else
          value[j] = load_element(v + j * kWidth);
      }
      SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
        const Vec weight = Simd::set1(p[r * kPanel]);
        SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) acc[r][j] = Simd::fma(weight, value[j], acc[r][j]);
      }
    }
  }
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    float* o = b.out[row + r] + d;
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
      if constexpr (kPartial)
        Simd::store_partial(o, lanes, acc[r][j]);
      else
        Simd::store(o + j * kWidth, acc[r][j]);
    }
  }
}

SMEPILOT_INLINE const uint16_t* direct_values(const Block& b) noexcept {
  return reinterpret_cast<const uint16_t*>(b.v);
}

// The same for all elements from d on, straight from the cache (f16: rows of 16 positions follow each other without a
// gap, and so do panels).
template <uint32_t MR, uint32_t NV>
void value_rows(const Block& b, uint32_t row, uint32_t positions, uint32_t d, const float* factor) noexcept {
  for (; d + NV * kWidth <= b.head_dim; d += NV * kWidth)
    value_tile<MR, NV, false>(b, row, direct_values(b) + d, b.head_dim, positions, d, factor, 0);
  if (d == b.head_dim) return;
  if constexpr (NV > 1)
    value_rows<MR, NV / 2>(b, row, positions, d, factor);
  else if constexpr (kWidth > 4)  // a head dimension is a multiple of 4
    value_tile<MR, 1, true>(b, row, direct_values(b) + d, b.head_dim, positions, d, factor, b.head_dim - d);
}

// The same for a strip of kStrip elements of V, converted to f32 at v.
template <uint32_t MR>
void value_strip(const Block& b, uint32_t row, const float* v, uint32_t positions, uint32_t d,
                 const float* factor) noexcept {
  value_tile<MR, kStrip / kWidth, false>(b, row, v, kStrip, positions, d, factor, 0);
}

using ScoreFn = void (*)(const Block&, uint32_t row, const uint16_t* k, uint32_t panels, float* scores) noexcept;
using ScoreStagedFn = void (*)(const Block&, uint32_t row, const float* k, uint32_t panels, float* scores) noexcept;
using ValueFn = void (*)(const Block&, uint32_t row, uint32_t positions, uint32_t d, const float* factor) noexcept;
using ValueStripFn = void (*)(const Block&, uint32_t row, const float* v, uint32_t positions, uint32_t d,
                              const float* factor) noexcept;

// The functions for register tiles of MR rows, MR being the index into kRowFns.
struct RowFns {
  ScoreFn scores;
  ScoreStagedFn scores_staged;
  ValueFn values;
  ValueStripFn values_strip;
};
template <uint32_t MR>
constexpr RowFns row_fns() noexcept {
  if constexpr (MR == 0 || MR > kTileRows)
    return {nullptr, nullptr, nullptr, nullptr};
  else
    return {score_rows<MR, tile_vectors(MR, kPanelGroup * kPanel / kWidth), uint16_t>,
            score_rows<MR, tile_vectors(MR, kPanelGroup * kPanel / kWidth), float>, value_rows<MR, tile_vectors(MR, 8)>,
            value_strip<MR>};
}
constexpr RowFns kRowFns[] = {row_fns<0>(), row_fns<1>(), row_fns<2>(), row_fns<3>(), row_fns<4>(),
                              row_fns<5>(), row_fns<6>(), row_fns<7>(), row_fns<8>()};
static_assert(kTileRows < sizeof(kRowFns) / sizeof(kRowFns[0]));

// Running state of the softmax of each row, and the division of the rows into register tiles.
struct State {
  float max[kMaxRows];
  float sum[kMaxRows];
  float factor[kMaxRows];  // what the output so far must be multiplied by
};

constexpr float kLowest = -__builtin_inff();

// Turns the scores of one row into probabilities relative to the row's new maximum: `visible` positions count, of the
// `panels` panels; the remaining ones become 0.
void softmax_row(float* scores, size_t panel_stride, uint32_t panels, uint32_t visible, State& state,
                 uint32_t row) noexcept {
  const uint32_t whole = visible / kPanel, rest = visible % kPanel;
  Vec largest = Simd::set1(kLowest);
  float* at = scores;
  for (uint32_t p = 0; p < whole; ++p, at += panel_stride)
    SMEPILOT_UNROLL for (uint32_t c = 0; c < kPanel; c += kWidth) largest = Simd::max(largest, Simd::load(at + c));
  if (rest != 0) {
    for (uint32_t c = 0; c < kPanel; c += kWidth) {
      const uint32_t lanes = rest <= c ? 0 : smaller(kWidth, rest - c);
      const Vec s =
          lanes == kWidth ? Simd::load(at + c) : Simd::keep_below(Simd::load(at + c), lanes, Simd::set1(kLowest));
      Simd::store(at + c, s);
      largest = Simd::max(largest, s);
    }
  }

  float factor = 1.0f;
  if (visible != 0) {
    const float old_max = state.max[row], block_max = Simd::reduce_max(largest);
    const float new_max = block_max > old_max ? block_max : old_max;
    const Vec shift = Simd::set1(new_max);
    Vec sum = Simd::zero();
    at = scores;
    const uint32_t used = whole + (rest != 0 ? 1 : 0);
    for (uint32_t p = 0; p < used; ++p, at += panel_stride) {
      SMEPILOT_UNROLL for (uint32_t c = 0; c < kPanel; c += kWidth) {
        const Vec e = vector_exp(Simd::sub(Simd::load(at + c), shift));
        Simd::store(at + c, e);
        sum = Simd::add(sum, e);
      }
    }
    if (new_max != old_max) {
      // One lane would do; a scalar exp is a call into another library.
      float lanes[kWidth];
      Simd::store(lanes, vector_exp(Simd::set1(old_max - new_max)));
      factor = lanes[0];
    }
    state.max[row] = new_max;
    state.sum[row] = state.sum[row] * factor + Simd::reduce_add(sum);
  }
  state.factor[row] = factor;
  for (uint32_t p = (visible + kPanel - 1) / kPanel; p < panels; ++p)
    for (uint32_t c = 0; c < kPanel; c += kWidth) Simd::store(scores + p * panel_stride + c, Simd::zero());
}

// One call, cut into register tiles of rows as even as they come.
template <typename Cache>
struct Call {
  const AttentionArgs& args;
  uint32_t tiles;               // register tiles of rows
  uint32_t tile_row[kMaxRows];  // first row of each, and at [tiles] the number of rows
  uint32_t tile_end[kMaxRows];  // end of the positions that any of its rows sees, relative to kv_begin
  uint32_t end;                 // the largest of these

  explicit Call(const AttentionArgs& a) noexcept : args(a), tiles((a.rows + kTileRows - 1) / kTileRows), end(0) {
    uint32_t row = 0;
    for (uint32_t t = 0; t < tiles; ++t) {
      const uint32_t count = (a.rows - row + tiles - t - 1) / (tiles - t);
      tile_row[t] = row;
      tile_end[t] = 0;
      for (uint32_t r = row; r < row + count; ++r) {
        const uint32_t sees = visible(r, a.kv_end - a.kv_begin);
        if (sees > tile_end[t]) tile_end[t] = sees;
      }
      if (tile_end[t] > end) end = tile_end[t];
      row += count;
    }
    tile_row[tiles] = row;
  }

  // Positions that row r sees, of the first `count`.
  SMEPILOT_INLINE uint32_t visible(uint32_t r, uint32_t count) const noexcept {
    return args.limit[r] <= args.kv_begin ? 0 : smaller(args.limit[r] - args.kv_begin, count);
  }

  // `begin` is a multiple of 16.
  Block block(uint32_t begin, float* scores) const noexcept {
    const size_t at = (static_cast<size_t>(args.kv_begin) + begin) / kPanel * Cache::panel_bytes(args.head_dim);
    return Block{.q = args.q,
                 .out = args.out,
                 .k = static_cast<const uint8_t*>(args.k) + at,
                 .v = static_cast<const uint8_t*>(args.v) + at,
                 .scores = scores,
                 .panel_stride = static_cast<size_t>(args.rows) * kPanel,
                 .head_dim = args.head_dim,
                 .scale = args.scale};
  }

  // Whether K and V are converted to f32 first: always if registers cannot read the cache's type, else if there are
  // enough rows for the conversion to be shared by several register tiles.
  bool staged() const noexcept {
    return !Cache::kDirect || (tiles >= kStagedTiles && args.head_dim * kPanel <= kStagedFloats);
  }

  // Scores of positions [begin, begin + count). A few panels at a time for all rows, so that they are read from memory
  // once and found in the first-level cache by every register tile but the first.
  void scores(const Block& b, uint32_t begin, uint32_t count) const noexcept {
    alignas(64) float stage[Cache::kDirect ? kStagedFloats : kMostStagedFloats];
    const size_t k_panel = static_cast<size_t>(b.head_dim) * kPanel, bytes = Cache::panel_bytes(b.head_dim);
    const bool convert = staged();
    const uint32_t panels = (count + kPanel - 1) / kPanel;
    uint32_t most = kPanelGroup;
    if (convert) most = smaller(most, k_panel >= kStagedFloats ? 1 : static_cast<uint32_t>(kStagedFloats / k_panel));
    for (uint32_t p = 0; p < panels; p += most) {
      const uint32_t group = smaller(most, panels - p), first = begin + p * kPanel;
      const uint8_t* k = b.k + p * bytes;
      if (convert)
        for (uint32_t i = 0; i < group; ++i) {
          for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(k + (i + most) * bytes + line);
          Cache::stage_keys(k + i * bytes, b.head_dim, stage + i * k_panel);
        }
      for (uint32_t t = 0; t < tiles; ++t) {
        if (tile_end[t] <= first) continue;
        const uint32_t wanted = smaller(group, (tile_end[t] - first + kPanel - 1) / kPanel), row = tile_row[t];
        const RowFns& fns = kRowFns[tile_row[t + 1] - row];
        float* to = b.scores + p * b.panel_stride + row * kPanel;
        if (convert)
          fns.scores_staged(b, row, stage, wanted, to);
        else
          fns.scores(b, row, reinterpret_cast<const uint16_t*>(k), wanted, to);
      }
    }
  }

  void softmax(const Block& b, uint32_t begin, uint32_t count, State& state) const noexcept {
    for (uint32_t t = 0; t < tiles; ++t) {
      if (tile_end[t] <= begin) continue;
      const uint32_t panels = (smaller(tile_end[t] - begin, count) + kPanel - 1) / kPanel;
      for (uint32_t r = tile_row[t]; r < tile_row[t + 1]; ++r) {
        const uint32_t sees = visible(r, begin + count);
        softmax_row(b.scores + r * kPanel, b.panel_stride, panels, sees <= begin ? 0 : sees - begin, state, r);
      }
    }
  }

  // The queries rounded to f16, dense at `to`, with pointers to the rows.
  void round_queries(float* to, const float** rows) const noexcept {
    const uint32_t stride = (args.head_dim + kPanel - 1) / kPanel * kPanel;
    for (uint32_t r = 0; r < args.rows; ++r, to += stride) {
      rows[r] = to;
      uint32_t d = 0;
      for (; d + kWidth <= args.head_dim; d += kWidth)
        Simd::store(to + d, Simd::round_to_f16(Simd::load(args.q[r] + d)));
      if (d < args.head_dim)
        Simd::store(to + d, Simd::round_to_f16(Simd::load_partial(args.q[r] + d, args.head_dim - d)));
    }
  }

  // Probabilities of all positions divided by their sum and rounded to f16.
  void normalise(const Block& b, State& state) const noexcept {
    for (uint32_t t = 0; t < tiles; ++t) {
      const uint32_t panels = (tile_end[t] + kPanel - 1) / kPanel;
      for (uint32_t r = tile_row[t]; r < tile_row[t + 1]; ++r) {
        const Vec inverse = Simd::set1(state.sum[r] > 0 ? 1.0f / state.sum[r] : 0.0f);
        float* at = b.scores + r * kPanel;
        for (uint32_t p = 0; p < panels; ++p, at += b.panel_stride)
          SMEPILOT_UNROLL for (uint32_t c = 0; c < kPanel; c += kWidth)
              Simd::store(at + c, Simd::round_to_f16(Simd::mul(Simd::load(at + c), inverse)));
        state.sum[r] = 1.0f;
      }
    }
  }

  // Outputs from the probabilities of positions [begin, begin + count), on top of the outputs so far times factor.
  void values(const Block& b, uint32_t begin, uint32_t count, const float* factor) const noexcept {
    const bool convert = staged();
    const uint32_t strips_end = convert ? b.head_dim / kStrip * kStrip : 0;
    if (convert) value_strips(b, begin, count, factor, strips_end);
    if (strips_end == b.head_dim) return;
    for (uint32_t t = 0; t < tiles; ++t) {
      if (tile_end[t] <= begin) continue;
      const uint32_t positions = smaller(tile_end[t] - begin, count);
      kRowFns[tile_row[t + 1] - tile_row[t]].values(b, tile_row[t], positions, strips_end, factor);
    }
  }

  void value_strips(const Block& b, uint32_t begin, uint32_t count, const float* factor,
                    uint32_t d_end) const noexcept {
    constexpr uint32_t kMost = kStagedFloats / kStrip;  // positions
    static_assert(kMost % kPanel == 0);
    alignas(64) float stage[kStagedFloats];
    const size_t bytes = Cache::panel_bytes(b.head_dim);
    float one[kMaxRows];
    for (uint32_t at = 0; at < count; at += kMost) {
      const uint32_t some = smaller(kMost, smaller(end - begin, count) - at), first = begin + at;
      Block part = b;
      part.scores += at / kPanel * b.panel_stride;
      for (uint32_t d = 0; d < d_end; d += kStrip) {
        const uint8_t* v = b.v + at / kPanel * bytes;
        for (uint32_t i = 0; i < some; ++i) {
          const uint8_t* panel = v + i / kPanel * bytes;
          if (d == 0 && i % kPanel == 0)
            for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(panel + 2 * bytes + line);
          Cache::template stage_values<kStrip>(panel, i % kPanel, b.head_dim, d, stage + i * kStrip);
        }
        for (uint32_t t = 0; t < tiles; ++t) {
          if (tile_end[t] <= first) continue;
          const uint32_t positions = smaller(tile_end[t] - first, some), row = tile_row[t];
          kRowFns[tile_row[t + 1] - row].values_strip(part, row, stage, positions, d, at == 0 ? factor : one);
        }
      }
      if (at == 0)
        for (uint32_t r = 0; r < args.rows; ++r) one[r] = 1.0f;
    }
  }

  void start(State& state) const noexcept {
    for (uint32_t r = 0; r < args.rows; ++r) {
      state.max[r] = kLowest;
      state.sum[r] = 0;
      for (uint32_t d = 0; d < args.head_dim; ++d) args.out[r][d] = 0;
    }
  }

  void finish(const State& state) const noexcept {
    for (uint32_t r = 0; r < args.rows; ++r) {
      if (args.partial) {
        args.max[r] = state.max[r];
        args.sum[r] = state.sum[r];
        continue;
      }
      const float inverse = state.sum[r] > 0 ? 1.0f / state.sum[r] : 0.0f;  // no visible position: zeros
      for (uint32_t d = 0; d < args.head_dim; ++d) args.out[r][d] *= inverse;
    }
  }
};

// Tile by tile of kv_tile positions: the scores of a tile never leave the cache, the output is rescaled as the running
// maximum grows.
template <typename Cache>
void attention_online(const AttentionArgs* args) noexcept {
  const Call<Cache> call(*args);
  State state;
  call.start(state);
  for (uint32_t begin = 0; begin < call.end; begin += args->kv_tile) {
    const uint32_t count = smaller(args->kv_tile, call.end - begin);
    const Block b = call.block(begin, args->scratch);
    call.scores(b, begin, count);
    call.softmax(b, begin, count, state);
    call.values(b, begin, count, state.factor);
  }
  call.finish(state);
}

// All scores, then all probabilities, then all outputs: no rescaling, and one maximum per row, for the price of keeping
// the whole score matrix. Queries and complete probabilities are rounded to f16 before they meet K and V, as llama.cpp
// does without flash attention, so that the two can be compared closely; the online form has no complete probabilities.
template <typename Cache>
void attention_threephase(const AttentionArgs* args) noexcept {
  const Call<Cache> call(*args);
  State state;
  call.start(state);
  Block whole = call.block(0, args->scratch);
  const float* rounded[kMaxRows];
  call.round_queries(args->scratch + whole.panel_stride * ((call.end + kPanel - 1) / kPanel), rounded);
  whole.q = rounded;
  call.scores(whole, 0, call.end);
  call.softmax(whole, 0, call.end, state);
  if (!args->partial) call.normalise(whole, state);
  for (uint32_t r = 0; r < args->rows; ++r) state.factor[r] = 1.0f;
  for (uint32_t begin = 0; begin < call.end; begin += args->kv_tile) {
    const Block b = call.block(begin, args->scratch + static_cast<size_t>(begin) * args->rows);
    call.values(b, begin, smaller(args->kv_tile, call.end - begin), state.factor);
  }
  call.finish(state);
}

}  // namespace
}  // namespace smepilot
