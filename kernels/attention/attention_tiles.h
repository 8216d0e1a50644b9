// Attention of rows that share one KV head, written once against the Simd vocabulary. Included by one
// translation unit per ISA, after its simd_*.h header; internal linkage.
//
// Rows are cut into register tiles. What a tile owns lies in scratch without gaps: its queries; its outputs, not
// normalised; and its scores of a block of positions as [panel of 16
// positions][row][16], so that a register tile addresses both scores (stored 16 positions at a time) and probabilities
// (broadcast one at a time) from one pointer with constant offsets. Both products are register tiles of several rows:
// a vector of K or V is converted from f16 once and used by all of them, which is what keeps the decode step of a GQA
// group at the speed of memory.
//
// Scores become probabilities before they leave the registers: 2^(score * scale - reference), scale being one of
// exponents of two, where the reference of a row is that of the largest score of its first panel. It is raised, and
// what has been added up is rescaled, only when a score exceeds it by more than kSlack: floats do not mind powers of
// two, but the exponent itself has to stay exact. So a row's result depends neither on the rows beside it nor on the
// size of a block.
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
constexpr uint32_t kMaxRows = 64;         // of a call
constexpr uint32_t kMaxStagedRows = 256;  // of one over a cache that is always converted: all rows share that

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

constexpr uint32_t kNever = UINT32_MAX;       // as kStagedTiles: the conversion costs nothing beside the products
constexpr uint32_t kPanelGroup = 4;           // panels of K that all rows visit before the next ones are read
constexpr uint32_t kRowsAhead = 24;           // rows of V from prefetch to use
constexpr uint32_t kLineElements = 32;        // f16 elements of a cache line
constexpr uint32_t kStagedFloats = 4096;      // K or V converted to f32 for all rows: half of a first-level cache
constexpr uint32_t kMostStagedFloats = 8192;  // one panel of the largest Q8_0 heads, which are always converted
// Elements of a V row that are converted at a time; a head of Q8_0 may end with less than that, but with whole blocks.
constexpr uint32_t kStrip = tile_vectors(kTileRows, 8) * kWidth, kNarrowStrip = smaller(kStrip, kQ8Block);
constexpr float kSlack = 16;  // powers of two that probabilities may exceed 1 by
constexpr float kLog2E = 0x1.715476p+0f, kLn2 = 0x1.62e43p-1f;
constexpr float kLowest = -__builtin_inff();

// The rows of one register tile and what is theirs.
struct Tile {
  float* q[kTileRows];   // [rows] pointers to [dim] queries; from head_dim on, zeros
  float* out;            // [rows][dim] sum of probability * value
  float* scores;         // [panel of a block][rows][16]
  float* shift;          // [rows] what makes exponents of scores * scale: -reference
  float* sum;            // [rows][kWidth] of probabilities, by lanes
  const uint32_t* sees;  // [rows] positions, counted from kv_begin
  uint32_t row, rows;    // the first one's number
  uint32_t least, most;  // of `sees`
  uint32_t head_dim, dim;
  float scale;  // of the scores, times log2(e)
  bool whole;   // the scores of all positions come first, and stay as they are
};

// A range of positions, counted from kv_begin.
struct Block {
  const uint8_t* k;  // its first panel
  const uint8_t* v;  // likewise
  uint32_t begin;    // a multiple of 16
  uint32_t count;
  uint32_t behind;  // positions that its probabilities are behind Tile::scores
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

SMEPILOT_INLINE void fetch_panel(const uint8_t* panel, size_t bytes) noexcept {
  for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(panel + line);
}
// Into the second-level cache: what is read later than all rows have passed by.
SMEPILOT_INLINE void fetch_for_later(const uint8_t* panel, size_t bytes) noexcept {
  for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(panel + line, 0, 2);
}

// --- scores ---

// acc = q k^T for NV vectors of positions: several panels, or a part of one.
template <uint32_t MR, uint32_t NV, typename T>
SMEPILOT_INLINE void multiply(const Tile& t, const T* k, Vec (&acc)[MR][NV]) noexcept {
  const size_t k_panel = static_cast<size_t>(t.head_dim) * kPanel, head_dim = t.head_dim;
  const float* q[MR];
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) q[r] = t.q[r];
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
}

// Lanes of a vector at position `at` that a row sees.
SMEPILOT_INLINE uint32_t lanes_seen(uint32_t sees, uint32_t at) noexcept {
  return sees <= at ? 0 : smaller(sees - at, kWidth);
}

// Where vector j of row r lies in the scores of a panel of MR rows, and of those that follow it.
template <uint32_t MR>
constexpr size_t score_at(uint32_t r, uint32_t j) noexcept {
  return j * kWidth / kPanel * (MR * kPanel) + r * kPanel + j * kWidth % kPanel;
}

// Raises the references of rows whose scores in the panel exceed them too much, or that have none yet, and rescales
// what these rows have added up: the probabilities of earlier panels of the block, too.
void raise_references(const Tile& t, uint32_t at, const float* scores) noexcept {
  for (uint32_t r = 0; r < t.rows; ++r) {
    Vec largest = Simd::set1(kLowest);
    SMEPILOT_UNROLL for (uint32_t c = 0; c < kPanel; c += kWidth) {
      const Vec s = Simd::load(scores + r * kPanel + c);
      largest = Simd::max(Simd::keep_below(s, lanes_seen(t.sees[r], at + c), Simd::set1(kLowest)), largest);
    }
    const float shift = -t.scale * Simd::reduce_max(largest);
    if (at == 0) {
      if (t.sees[r] != 0) t.shift[r] = shift;
      continue;
    }
    if (!(t.shift[r] - shift > kSlack)) continue;
    const Vec factor = vector_exp2(Simd::set1(shift - t.shift[r]));
    t.shift[r] = shift;
    const auto rescale = [&](float* x) noexcept { Simd::store(x, Simd::mul(Simd::load(x), factor)); };
    rescale(t.sum + r * kWidth);
    for (uint32_t d = 0; d < t.dim; d += kWidth) rescale(t.out + static_cast<size_t>(r) * t.dim + d);
    for (float* p = t.scores; p < scores; p += t.rows * kPanel)
      for (uint32_t c = 0; c < kPanel; c += kWidth) rescale(p + r * kPanel + c);
  }
}

// Scores of one panel, at position `at`, to probabilities.
void softmax_panel(const Tile& t, uint32_t at, float* scores) noexcept {
  const Vec lowest = Simd::set1(kLowest), scale = Simd::set1(t.scale);
  Vec largest = lowest;
  for (uint32_t r = 0; r < t.rows; ++r) {
    SMEPILOT_UNROLL for (uint32_t c = 0; c < kPanel; c += kWidth) {
      const Vec x = Simd::fma(Simd::load(scores + r * kPanel + c), scale, Simd::set1(t.shift[r]));
      largest = Simd::max(Simd::keep_below(x, lanes_seen(t.sees[r], at + c), lowest), largest);
    }
  }
  if (at == 0 || Simd::reduce_max(largest) > kSlack) raise_references(t, at, scores);
  for (uint32_t r = 0; r < t.rows; ++r) {
    Vec sum = Simd::load(t.sum + r * kWidth);
    SMEPILOT_UNROLL for (uint32_t c = 0; c < kPanel; c += kWidth) {
      const Vec x = Simd::fma(Simd::load(scores + r * kPanel + c), scale, Simd::set1(t.shift[r]));
      const Vec e = Simd::keep_below(vector_exp2(x), lanes_seen(t.sees[r], at + c), Simd::zero());
      Simd::store(scores + r * kPanel + c, e);
      sum = Simd::add(sum, e);
    }
    Simd::store(t.sum + r * kWidth, sum);
  }
}

// The same for whole panels in registers, if no reference has to be raised. kMasked: some row does not see all of them.
template <uint32_t MR, uint32_t NV, bool kMasked>
SMEPILOT_INLINE bool probabilities(const Tile& t, uint32_t at, Vec (&x)[MR][NV], float* to) noexcept {
  const Vec scale = Simd::set1(t.scale);
  Vec largest = Simd::set1(kLowest);
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    const Vec shift = Simd::set1(t.shift[r]);
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
      x[r][j] = Simd::fma(x[r][j], scale, shift);
      const Vec seen =
          kMasked ? Simd::keep_below(x[r][j], lanes_seen(t.sees[r], at + j * kWidth), Simd::set1(kLowest)) : x[r][j];
      largest = Simd::max(seen, largest);
    }
  }
  if (Simd::reduce_max(largest) > kSlack) return false;
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    Vec sum = Simd::load(t.sum + r * kWidth);
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) {
      Vec e = vector_exp2(x[r][j]);
      if constexpr (kMasked) e = Simd::keep_below(e, lanes_seen(t.sees[r], at + j * kWidth), Simd::zero());
      Simd::store(to + score_at<MR>(r, j), e);
      sum = Simd::add(sum, e);
    }
    Simd::store(t.sum + r * kWidth, sum);
  }
  return true;
}

// The way by memory: scores of NV vectors of positions, and where these make whole panels, what becomes of them.
template <uint32_t MR, uint32_t NV, typename T>
__attribute__((noinline)) void scores_by_memory(const Tile& t, const T* k, uint32_t at, float* to) noexcept {
  Vec acc[MR][NV];
  multiply<MR, NV>(t, k, acc);
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) Simd::store(to + score_at<MR>(r, j), acc[r][j]);
  }
  if (t.whole) return;
  for (uint32_t p = 0; p < NV * kWidth / kPanel; ++p) softmax_panel(t, at + p * kPanel, to + p * MR * kPanel);
}

// Probabilities (or scores, if Tile::whole) of MR rows for `panels` panels from position `at` on, contiguous at k.
template <uint32_t MR, uint32_t NV, typename T>
void score_rows(const Tile& t, const T* k, uint32_t at, uint32_t panels, float* to) noexcept {
  const size_t k_panel = static_cast<size_t>(t.head_dim) * kPanel;
  constexpr uint32_t kStep = NV * kWidth / kPanel;  // panels per register tile; 0: a tile is a part of one
  if constexpr (kStep == 0) {
    for (; panels > 0; --panels, k += k_panel, at += kPanel, to += MR * kPanel) {
      SMEPILOT_UNROLL for (uint32_t c = 0; c < kPanel; c += NV * kWidth) scores_by_memory<MR, NV>(t, k + c, at, to + c);
      if (!t.whole) softmax_panel(t, at, to);
    }
  } else {
    for (; panels >= kStep; panels -= kStep, k += kStep * k_panel, at += kStep * kPanel, to += kStep * MR * kPanel) {
      bool done = false;
      if (at != 0 && !t.whole) {
        Vec x[MR][NV];
        multiply<MR, NV>(t, k, x);
        done = at + kStep * kPanel <= t.least ? probabilities<MR, NV, false>(t, at, x, to)
                                              : probabilities<MR, NV, true>(t, at, x, to);
      }
      if (!done) scores_by_memory<MR, NV>(t, k, at, to);
    }
    if constexpr (kStep > 1)
      if (panels > 0) score_rows<MR, NV / 2>(t, k, at, panels, to);
  }
}

// --- values ---

// out[MR rows][NV vectors at d] += P V over `positions` positions: p is the first one's probabilities, v its element d.
// kPartial: one vector of which only `lanes` lanes exist.
template <uint32_t MR, uint32_t NV, bool kPartial, typename T>
SMEPILOT_INLINE void value_tile(const Tile& t, const float* p, const T* v, size_t v_stride, uint32_t positions,
                                uint32_t d, uint32_t lanes) noexcept {
  float* const out = t.out + d;
  const size_t dim = t.dim;
  Vec acc[MR][NV];
  SMEPILOT_UNROLL for (uint32_t r = 0; r < MR; ++r) {
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) acc[r][j] = Simd::load(out + r * dim + j * kWidth);
  }
  for (uint32_t done = 0; done < positions; done += kPanel, p += (MR - 1) * kPanel) {
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
    SMEPILOT_UNROLL for (uint32_t j = 0; j < NV; ++j) Simd::store(out + r * dim + j * kWidth, acc[r][j]);
  }
}

// The same for all elements from d on, straight from the cache (f16: rows of 16 positions follow each other without a
// gap, and so do panels).
template <uint32_t MR, uint32_t NV>
void value_rows(const Tile& t, const float* p, const uint16_t* v, uint32_t positions, uint32_t d) noexcept {
  for (; d + NV * kWidth <= t.head_dim; d += NV * kWidth)
    value_tile<MR, NV, false>(t, p, v + d, t.head_dim, positions, d, 0);
  if (d == t.head_dim) return;
  if constexpr (NV > 1)
    value_rows<MR, NV / 2>(t, p, v, positions, d);
  else if constexpr (kWidth > 4)  // a head dimension is a multiple of 4
    value_tile<MR, 1, true>(t, p, v + d, t.head_dim, positions, d, t.head_dim - d);
}

// The same for a strip of kElements elements of V, converted to f32 at v.
template <uint32_t MR, uint32_t kElements>
void value_strip(const Tile& t, const float* p, const float* v, uint32_t positions, uint32_t d) noexcept {
  value_tile<MR, kElements / kWidth, false>(t, p, v, kElements, positions, d, 0);
}

// --- a call ---

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
