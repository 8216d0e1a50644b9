// Attention of rows that share one KV head: a call, made of the register tiles of attention_tiles.h. Included by one
// translation unit per ISA, after its simd_*.h header; internal linkage.
#pragma once
#include "kernels/attention/attention_tiles.h"

namespace smepilot {
namespace {

// The functions for register tiles of MR rows, MR being the index into kRowFns.
struct RowFns {
  void (*scores)(const Tile&, const uint16_t* k, uint32_t at, uint32_t panels, float* to) noexcept;
  void (*scores_staged)(const Tile&, const float* k, uint32_t at, uint32_t panels, float* to) noexcept;
  void (*values)(const Tile&, const float* p, const uint16_t* v, uint32_t positions, uint32_t d) noexcept;
  void (*values_strip)(const Tile&, const float* p, const float* v, uint32_t positions, uint32_t d) noexcept;
  void (*values_narrow)(const Tile&, const float* p, const float* v, uint32_t positions, uint32_t d) noexcept;
};
template <uint32_t MR>
constexpr RowFns row_fns() noexcept {
  if constexpr (MR == 0 || MR > kTileRows)
    return {};
  else
    return {score_rows<MR, tile_vectors(MR, kPanelGroup * kPanel / kWidth), uint16_t>,
            score_rows<MR, tile_vectors(MR, kPanelGroup * kPanel / kWidth), float>, value_rows<MR, tile_vectors(MR, 8)>,
            value_strip<MR, kStrip>, value_strip<MR, kNarrowStrip>};
}
constexpr RowFns kRowFns[] = {row_fns<0>(), row_fns<1>(), row_fns<2>(), row_fns<3>(), row_fns<4>(),
                              row_fns<5>(), row_fns<6>(), row_fns<7>(), row_fns<8>()};
static_assert(kTileRows < sizeof(kRowFns) / sizeof(kRowFns[0]));

// One call, cut into register tiles of rows as even as they come.
template <typename Cache>
struct Call {
  const AttentionArgs& args;
  uint32_t tiles, end = 0;  // end of the positions that any row sees, relative to kv_begin
  bool whole;               // three-phase
  static constexpr uint32_t kMost = Cache::kDirect ? kMaxRows : kMaxStagedRows;
  Tile tile[(kMost + kTileRows - 1) / kTileRows];
  float shift[kMost];
  uint32_t sees[kMost];

  // Scratch holds the scores of at least `positions` positions.
  Call(const AttentionArgs& a, uint32_t positions, bool all_scores) noexcept
      : args(a), tiles((a.rows + kTileRows - 1) / kTileRows), whole(all_scores) {
    const uint32_t dim = (a.head_dim + kPanel - 1) / kPanel * kPanel;
    const size_t scored = (static_cast<size_t>(positions) + kPanel - 1) / kPanel * kPanel;
    float *const q = a.scratch, *const out = q + a.rows * dim, *const scores = out + a.rows * dim,
                 *const sum = scores + a.rows * scored;
    uint32_t row = 0;
    for (uint32_t i = 0; i < tiles; ++i) {
      Tile& t = tile[i];
      t = {.q = {},
           .out = out + row * dim,
           .scores = scores + row * scored,
           .shift = shift + row,
           .sum = sum + row * kWidth,
           .sees = sees + row,
           .row = row,
           .rows = (a.rows - row + tiles - i - 1) / (tiles - i),
           .least = UINT32_MAX,
           .most = 0,
           .head_dim = a.head_dim,
           .dim = dim,
           .scale = a.scale * kLog2E,
           .whole = whole};
      for (; row < t.row + t.rows; ++row) {
        t.q[row - t.row] = q + row * dim;
        sees[row] = a.limit[row] <= a.kv_begin ? 0 : smaller(a.limit[row], a.kv_end) - a.kv_begin;
        t.least = smaller(t.least, sees[row]);
        t.most = sees[row] > t.most ? sees[row] : t.most;
      }
      end = t.most > end ? t.most : end;
    }
  }

  // Queries and outputs of different rows lie far apart, and are not in a cache.
  void fetch_queries(const Tile& t) const noexcept {
    for (uint32_t r = 0; r < t.rows; ++r)
      for (uint32_t d = 0; d < t.head_dim; d += kPanel) __builtin_prefetch(args.q[t.row + r] + d);
  }

  // Before a tile's first scores.
  void start(const Tile& t) const noexcept {
    for (uint32_t r = 0; r < t.rows; ++r) {
      const float* from = args.q[t.row + r];
      float *const to = t.q[r], *const out = t.out + static_cast<size_t>(r) * t.dim;
      for (uint32_t d = 0; d < t.dim; d += kWidth) {
        Vec x = Simd::zero();
        Simd::store(out + d, x);
        if (d + kWidth <= t.head_dim)
          x = Simd::load(from + d);
        else if (d < t.head_dim)
          x = Simd::load_partial(from + d, t.head_dim - d);
        Simd::store(to + d, whole ? Simd::round_to_f16(x) : x);
      }
      Simd::store(t.sum + r * kWidth, Simd::zero());
      t.shift[r] = 0;
    }
  }

  // `begin` is a multiple of 16.
  Block block(uint32_t begin, uint32_t most, uint32_t behind) const noexcept {
    const size_t at = (static_cast<size_t>(args.kv_begin) + begin) / kPanel * Cache::panel_bytes(args.head_dim);
    return {.k = static_cast<const uint8_t*>(args.k) + at,
            .v = static_cast<const uint8_t*>(args.v) + at,
            .begin = begin,
            .count = smaller(most, end - begin),
            .behind = behind};
  }

  // Whether K and V are converted to f32 first: always if registers cannot read the cache's type, else if there are
  // enough rows for the conversion to be shared by several register tiles.
  bool staged() const noexcept {
    return !Cache::kDirect ||
           (kStagedTiles != kNever && tiles >= kStagedTiles && args.head_dim * kPanel <= kStagedFloats);
  }

  // Probabilities of a block. A few panels at a time for all rows, so that they are read from memory once and found in
  // the first-level cache by every register tile but the first.
  void scores(const Block& b) const noexcept {
    alignas(64) float stage[Cache::kDirect ? kStagedFloats : kMostStagedFloats];
    const size_t k_panel = static_cast<size_t>(args.head_dim) * kPanel, bytes = Cache::panel_bytes(args.head_dim);
    const bool convert = staged();
    const uint32_t panels = (b.count + kPanel - 1) / kPanel;
    uint32_t most = kPanelGroup;
    if (convert) most = smaller(most, k_panel >= kStagedFloats ? 1 : static_cast<uint32_t>(kStagedFloats / k_panel));
    if (b.begin == 0) fetch_queries(tile[0]);
    for (uint32_t p = 0; p < panels; p += most) {
      const uint32_t group = smaller(most, panels - p), first = b.begin + p * kPanel;
      const uint8_t* k = b.k + p * bytes;
      if (convert)
        for (uint32_t i = 0; i < group; ++i) {
          fetch_for_later(k + (i + most) * bytes, bytes);
          fetch_for_later(b.v + (p + i) * bytes, bytes);
          Cache::stage_keys(k + i * bytes, args.head_dim, stage + i * k_panel);
        }
      for (const Tile* t = tile; t < tile + tiles; ++t) {
        if (t->most <= first) continue;
        if (first == 0) {
          start(*t);
          if (t + 1 < tile + tiles) fetch_queries(t[1]);
        }
        const uint32_t wanted = smaller(group, (t->most - first + kPanel - 1) / kPanel);
        float* to = t->scores + static_cast<size_t>(p) * kPanel * t->rows;
        if (convert)
          kRowFns[t->rows].scores_staged(*t, stage, first, wanted, to);
        else
          kRowFns[t->rows].scores(*t, reinterpret_cast<const uint16_t*>(k), first, wanted, to);
      }
    }
  }

  // For translation units with scores of their own, in place of scores(): those of a block's panels lie in memory.
  void softmax(const Tile& t, const Block& b) const noexcept {
    float* scores = t.scores;
    for (uint32_t p = 0; p < b.count && b.begin + p < t.most; p += kPanel, scores += t.rows * kPanel)
      softmax_panel(t, b.begin + p, scores);
  }

  // The scores of all positions to probabilities, divided by their sum and rounded to f16 unless that is partial.
  void softmax_whole() const noexcept {
    for (const Tile* t = tile; t < tile + tiles; ++t)
      for (uint32_t r = 0; t->most != 0 && r < t->rows; ++r) {
        const uint32_t panels = (t->most + kPanel - 1) / kPanel;
        const auto each = [&](auto change) noexcept {
          float* at = t->scores + r * kPanel;
          for (uint32_t p = 0; p < panels; ++p, at += t->rows * kPanel)
            SMEPILOT_UNROLL for (uint32_t c = 0; c < kPanel; c += kWidth)
                Simd::store(at + c, change(Simd::load(at + c), p * kPanel + c));
        };
        const Vec scale = Simd::set1(args.scale), lowest = Simd::set1(kLowest);
        Vec largest = lowest, sums = Simd::zero();
        each([&](Vec s, uint32_t at) noexcept {
          s = Simd::keep_below(Simd::mul(s, scale), lanes_seen(t->sees[r], at), lowest);
          largest = Simd::max(largest, s);
          return s;
        });
        const float most = t->sees[r] != 0 ? Simd::reduce_max(largest) : 0;
        each([&](Vec s, uint32_t) noexcept {
          const Vec e = vector_exp(Simd::sub(s, Simd::set1(most)));
          sums = Simd::add(sums, e);
          return e;
        });
        t->shift[r] = -kLog2E * most;
        if (!args.partial) {
          const float sum = Simd::reduce_add(sums);
          const Vec inverse = Simd::set1(sum > 0 ? 1.0f / sum : 0.0f);
          each([&](Vec e, uint32_t) noexcept { return Simd::round_to_f16(Simd::mul(e, inverse)); });
          sums = Simd::set1(1.0f / kWidth);
        }
        Simd::store(t->sum + r * kWidth, sums);
      }
  }

  // Outputs from the probabilities of a block, on top of the outputs so far. A tile that has seen all its positions is
  // finished.
  void values(const Block& b) const noexcept {
    const bool convert = staged();
    const uint32_t strips_end = convert ? args.head_dim / kNarrowStrip * kNarrowStrip : 0;
    if (convert) {
      const uint32_t wide = args.head_dim / kStrip * kStrip;
      value_strips<kStrip>(b, 0, wide, &RowFns::values_strip);
      value_strips<kNarrowStrip>(b, wide, strips_end, &RowFns::values_narrow);
    }
    if (strips_end == args.head_dim) return;
    for (const Tile* t = tile; t < tile + tiles; ++t) {
      if (t->most <= b.begin) continue;
      kRowFns[t->rows].values(*t, t->scores + static_cast<size_t>(b.behind) * t->rows,
                              reinterpret_cast<const uint16_t*>(b.v), smaller(t->most - b.begin, b.count), strips_end);
      if (t->most <= b.begin + b.count) finish(*t, strips_end, args.head_dim);
    }
  }

  // Elements [d_begin, d_end), in strips of kElements, `fn` being their function.
  template <uint32_t kElements, typename Fn>
  void value_strips(const Block& b, uint32_t d_begin, uint32_t d_end, Fn RowFns::* fn) const noexcept {
    constexpr uint32_t kAtOnce = kStagedFloats / kElements;  // positions
    static_assert(kAtOnce % kPanel == 0);
    alignas(64) float stage[kStagedFloats];
    const size_t bytes = Cache::panel_bytes(args.head_dim);
    for (uint32_t at = 0; at < b.count; at += kAtOnce) {
      const uint32_t some = smaller(kAtOnce, b.count - at), first = b.begin + at;
      const uint8_t* v = b.v + at / kPanel * bytes;
      for (uint32_t d = d_begin; d < d_end; d += kElements) {
        for (uint32_t i = 0; i < some; ++i)
          Cache::template stage_values<kElements>(v + i / kPanel * bytes, i % kPanel, args.head_dim, d,
                                                  stage + i * kElements);
        for (const Tile* t = tile; t < tile + tiles; ++t) {
          if (t->most <= first) continue;
          const bool last = t->most <= first + some;
          if (last) fetch_out(*t, d, d + kElements);
          (kRowFns[t->rows].*fn)(*t, t->scores + static_cast<size_t>(b.behind + at) * t->rows, stage,
                                 smaller(t->most - first, some), d);
          if (last) finish(*t, d, d + kElements);
        }
      }
    }
  }

  void fetch_out(const Tile& t, uint32_t begin, uint32_t stop) const noexcept {
    for (uint32_t r = 0; r < t.rows; ++r)
      for (uint32_t d = begin; d < stop; d += kPanel) __builtin_prefetch(args.out[t.row + r] + d, 1);
  }

  // Elements [begin, stop) of a tile's rows are complete: writes them.
  void finish(const Tile& t, uint32_t begin, uint32_t stop) const noexcept {
    for (uint32_t r = 0; r < t.rows; ++r) {
      const uint32_t row = t.row + r;
      const float sum = Simd::reduce_add(Simd::load(t.sum + r * kWidth));
      if (args.partial) {
        args.max[row] = sum == 0 ? kLowest : -kLn2 * t.shift[r];
        args.sum[row] = sum;
      }
      const Vec factor = Simd::set1(args.partial ? 1.0f : sum > 0 ? 1.0f / sum : 0.0f);
      const float* from = t.out + static_cast<size_t>(r) * t.dim;
      float* const to = args.out[row];
      uint32_t d = begin;
      for (; d + kWidth <= stop; d += kWidth) Simd::store(to + d, Simd::mul(Simd::load(from + d), factor));
      if (d < stop) Simd::store_partial(to + d, stop - d, Simd::mul(Simd::load(from + d), factor));
    }
  }

  // Tiles that see no position at all: zeros.
  void finish_others() const noexcept {
    for (const Tile* t = tile; t < tile + tiles; ++t) {
      if (t->most != 0) continue;
      start(*t);
      finish(*t, 0, args.head_dim);
    }
  }
};

// Tile by tile of kv_tile positions: the probabilities of a tile never leave the cache.
template <typename Cache>
void attention_online(const AttentionArgs* args) noexcept {
  const Call<Cache> call(*args, args->kv_tile, false);
  for (uint32_t begin = 0; begin < call.end; begin += args->kv_tile) {
    const Block b = call.block(begin, args->kv_tile, 0);
    call.scores(b);
    call.values(b);
  }
  call.finish_others();
}

// All scores, then all probabilities, then all outputs, for the price of keeping the whole score matrix. Queries and
// complete probabilities are rounded to f16 before they meet K and V, as llama.cpp does without flash attention, so
// that the two can be compared closely; the online form has no complete probabilities.
template <typename Cache>
void attention_threephase(const AttentionArgs* args) noexcept {
  const Call<Cache> call(*args, args->kv_end - args->kv_begin, true);
  if (call.end != 0) call.scores(call.block(0, call.end, 0));
  call.softmax_whole();
  for (uint32_t begin = 0; begin < call.end; begin += args->kv_tile)
    call.values(call.block(begin, args->kv_tile, begin));
  call.finish_others();
}

}  // namespace
}  // namespace smepilot
