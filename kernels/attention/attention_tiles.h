// Attention of rows that share one KV head, written once against the Simd vocabulary: its register tiles. What makes a
// call of them is in attention_call.h. Included by one translation unit per ISA, after its simd_*.h header; internal
// linkage.
//
// Rows are cut into register tiles. What a tile owns lies in scratch without gaps: its queries; its outputs, not
// normalised; and its scores of a block of positions as [panel of 16 positions][row][16], so that a register tile
// addresses both scores (stored 16 positions at a time) and probabilities (broadcast one at a time) from one pointer
// with constant offsets. Both products are register tiles of several rows: a vector of K or V is converted from f16
// once and used by all of them, which is what keeps the decode step of a GQA group at the speed of memory.
//
// Scores become probabilities before they leave the registers: 2^(score * scale - reference), scale having log2(e) in
// it, where the reference of a row is the integer next to the largest exponent of its first panel. It is raised, and
// what has been added up is rescaled, only when an exponent exceeds it by more than kSlack: floats do not mind powers
// of two, but the exponent itself has to stay exact. Rescaling by a power of two is exact, too, so a row's result
// depends neither on the rows beside it nor on the size of a block.
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
    const float shift = -Simd::reduce_max(Simd::round(Simd::mul(largest, Simd::set1(t.scale))));
    if (at == 0) {
      if (t.sees[r] != 0) t.shift[r] = shift;
      continue;
    }
    const Vec x = Simd::fma(largest, Simd::set1(t.scale), Simd::set1(t.shift[r]));
    if (!(Simd::reduce_max(x) > kSlack)) continue;
    const Vec factor = vector_exp2(Simd::set1(shift - t.shift[r]));
    t.shift[r] = shift;
    const auto rescale = [&](float* to) noexcept { Simd::store(to, Simd::mul(Simd::load(to), factor)); };
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

}  // namespace
}  // namespace smepilot
