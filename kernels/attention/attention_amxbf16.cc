// Attention with AMX: both products as bf16 tile products of operands split in two. x = hi + lo with hi the upper half
// of the float x and lo the upper half of the rest, so a product of two such sums without its lo*lo part is exact to
// about 2^-16, better than f16 operands would be, at three tile products for one.
//
// Per step of kv_tile positions, for blocks of up to 256 query rows: K and V become split tiles once for all rows; then
// pairs of 16 rows get their scores, probabilities (which replace the scores in place) and outputs. Exponentials are
// powers of two, log2(e) being part of the scale. The reference that exponents are taken relative to follows the
// running maximum only when that has grown by kAmxSlack: until then a row's output needs no rescaling.
#include "kernels/activation/simd_avx512.h"

namespace smepilot {
namespace {
constexpr unsigned kTileRows = 6;       // most rows of a register tile
constexpr unsigned kRegisters = 32;     // vector registers
constexpr unsigned kStagedTiles = ~0u;  // register tiles that share a conversion of f16 to f32: none, it costs nothing
}  // namespace
}  // namespace smepilot

#include "kernels/attention/q8_vnni.h"
#include "kernels/matmul/amx_tiles.h"

namespace smepilot {
namespace {

constexpr uint32_t kAmxRows = 256;      // rows of a call
constexpr uint32_t kFewestRows = 17;    // below this, vector code is as fast (measured)
constexpr uint32_t kMostHeadDim = 256;  // as many as one panel in f32 has room for
constexpr uint32_t kStep = 32;          // depth of a tile product
constexpr uint32_t kTileFloats = 256;   // 1 KiB: a tile of 16 x 16 f32 or of 16 x 32 bf16
constexpr float kAmxSlack = 6;          // as kSlack, for probabilities that are split in two

SMEPILOT_INLINE __m512i upper_mask() noexcept {
  return _mm512_set1_epi32(static_cast<int>(0xffff0000u));
}
SMEPILOT_INLINE Vec upper(Vec v) noexcept {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), upper_mask()));
}

// Consecutive elements of a row of A, 32 of them from a and b: the upper parts at hi, the rest at lo.
SMEPILOT_INLINE void split_row(Vec a, Vec b, float* hi, float* lo) noexcept {
  const __m512i odd = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25,
                                       23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  const __m512i rest_a = _mm512_castps_si512(Simd::sub(a, upper(a))),
                rest_b = _mm512_castps_si512(Simd::sub(b, upper(b)));
  _mm512_storeu_si512(hi, _mm512_permutex2var_epi16(_mm512_castps_si512(a), odd, _mm512_castps_si512(b)));
  _mm512_storeu_si512(lo, _mm512_permutex2var_epi16(rest_a, odd, rest_b));
}

// A row of B: pairs (a[i], b[i]) of two consecutive k.
SMEPILOT_INLINE void split_pairs(Vec a, Vec b, float* hi, float* lo) noexcept {
  const auto pair = [](Vec x, Vec y) noexcept {  // (x >> 16) | (y & mask)
    return _mm512_ternarylogic_epi32(_mm512_srli_epi32(_mm512_castps_si512(x), 16), _mm512_castps_si512(y),
                                     upper_mask(), 0xf8);
  };
  _mm512_store_si512(hi, pair(a, b));
  _mm512_store_si512(lo, pair(Simd::sub(a, upper(a)), Simd::sub(b, upper(b))));
}

// c[2 row tiles][2 column tiles] += A B over `steps` steps of k. A: rows a_row apart, hi and lo a_low apart, steps
// a_step apart. B: per step, hi of two column tiles, then lo of them.
// Exact: with the product of lo and lo, which makes products of f16 numbers exact.
template <uint32_t Rows, bool Exact>
SMEPILOT_INLINE void product(const float* a, size_t a_row, size_t a_low, size_t a_step, const float* b, size_t b_step,
                             uint32_t steps) noexcept {
  for (uint32_t s = 0; s < steps; ++s, a += a_step, b += b_step) {
    tile_load<4>(a);
    if constexpr (Rows == 2) tile_load<5>(a + a_row);
    tile_load<6>(b + 2 * kTileFloats);
    tile_load<7>(b + 3 * kTileFloats);
    tile_dot_bf16<0, 4, 6>();
    tile_dot_bf16<1, 4, 7>();
    if constexpr (Rows == 2) tile_dot_bf16<2, 5, 6>();
    if constexpr (Rows == 2) tile_dot_bf16<3, 5, 7>();
    tile_load<6>(b);
    tile_load<7>(b + kTileFloats);
    tile_dot_bf16<0, 4, 6>();
    tile_dot_bf16<1, 4, 7>();
    if constexpr (Rows == 2) tile_dot_bf16<2, 5, 6>();
    if constexpr (Rows == 2) tile_dot_bf16<3, 5, 7>();
    tile_load<4>(a + a_low);
    if constexpr (Rows == 2) tile_load<5>(a + a_row + a_low);
    tile_dot_bf16<0, 4, 6>();
    tile_dot_bf16<1, 4, 7>();
    if constexpr (Rows == 2) tile_dot_bf16<2, 5, 6>();
    if constexpr (Rows == 2) tile_dot_bf16<3, 5, 7>();
    if constexpr (Exact) {
      tile_load<6>(b + 2 * kTileFloats);
      tile_load<7>(b + 3 * kTileFloats);
      tile_dot_bf16<0, 4, 6>();
      tile_dot_bf16<1, 4, 7>();
      if constexpr (Rows == 2) tile_dot_bf16<2, 5, 6>();
      if constexpr (Rows == 2) tile_dot_bf16<3, 5, 7>();
    }
  }
}

// 2^x = 2^floor(x) 2^r, 0 <= r < 1: degree 5, relative error below 2^-23.
SMEPILOT_INLINE Vec exp2_vector(Vec x) noexcept {
  const Vec r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  Vec p = Simd::set1(0x1.ec3174p-10f);
  p = Simd::fma(p, r, Simd::set1(0x1.26903ap-7f));
  p = Simd::fma(p, r, Simd::set1(0x1.c9543cp-5f));
  p = Simd::fma(p, r, Simd::set1(0x1.ebd5aap-3f));
  p = Simd::fma(p, r, Simd::set1(0x1.62e4f6p-1f));
  p = Simd::fma(p, r, Simd::set1(1.0f));
  return _mm512_scalef_ps(p, x);
}

// Element r of the result is the largest of v[r]: halves of two vectors at a time become one vector.
SMEPILOT_INLINE Vec row_maxima(Vec (&v)[16]) noexcept {
  SMEPILOT_UNROLL for (uint32_t i = 0; i < 8; ++i) {
    v[i] = Simd::max(_mm512_shuffle_f32x4(v[i], v[i + 8], 0x44), _mm512_shuffle_f32x4(v[i], v[i + 8], 0xee));
  }
  SMEPILOT_UNROLL for (uint32_t i = 0; i < 4; ++i) {
    v[i] = Simd::max(_mm512_shuffle_f32x4(v[i], v[i + 4], 0x88), _mm512_shuffle_f32x4(v[i], v[i + 4], 0xdd));
  }
  SMEPILOT_UNROLL for (uint32_t i = 0; i < 2; ++i) {
    v[i] = Simd::max(_mm512_unpacklo_ps(v[i], v[i + 2]), _mm512_unpackhi_ps(v[i], v[i + 2]));
  }
  const Vec all = Simd::max(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  return _mm512_shuffle_f32x4(all, all, 0xd8);  // 128-bit lanes hold rows 0.., 8.., 4.., 12..
}

struct AmxState {
  alignas(64) float reference[kAmxRows];  // what exponents are relative to, a power of two
  float sum[kAmxRows][kWidth];            // of probabilities, by lanes
};

// Whole: all positions are one step, and queries and complete probabilities are rounded to f16 before the products, as
// attention_threephase() does and for its reason.
template <typename Cache, bool Whole>
struct AmxCall {
  const AttentionArgs& args;
  uint32_t row_tiles, columns, tile;  // tiles of 16 rows; head_dim / 16; positions of a step, a multiple of 32
  float *queries, *out, *keys, *values, *scores;
  AmxState state;

  explicit AmxCall(const AttentionArgs& a) noexcept : args(a) {
    row_tiles = (a.rows + kPanel - 1) / kPanel;
    columns = a.head_dim / kPanel;
    tile = Whole ? (a.kv_end - a.kv_begin + kStep - 1) / kStep * kStep : attention_tile(a.kv_tile);
    float* at = a.scratch;
    const auto take = [&at](size_t floats) {
      float* const begin = at;
      at += floats;
      return begin;
    };
    const size_t rows = static_cast<size_t>(row_tiles) * kPanel;
    queries = take(rows * a.head_dim);
    out = take(rows * a.head_dim);
    keys = take(static_cast<size_t>(tile) * a.head_dim);
    values = take(static_cast<size_t>(tile) * a.head_dim);
    scores = take(2 * static_cast<size_t>(kPanel) * tile);
  }

  uint32_t visible(uint32_t r) const noexcept {
    const uint32_t end = smaller(args.limit[r], args.kv_end);
    return end <= args.kv_begin ? 0 : end - args.kv_begin;
  }

  // A tiles [row tile][step][hi, lo].
  void pack_queries() noexcept {
    for (uint32_t r = 0; r < row_tiles * kPanel; ++r) {
      float* to = queries + static_cast<size_t>(r) / kPanel * kPanel * args.head_dim + r % kPanel * kWidth;
      for (uint32_t d = 0; d < args.head_dim; d += kStep, to += 2 * kTileFloats) {
        Vec a = Simd::zero(), b = Simd::zero();
        if (r < args.rows) {
          a = Simd::load(args.q[r] + d);
          b = Simd::load(args.q[r] + d + kWidth);
          if constexpr (Whole) a = Simd::round_to_f16(a), b = Simd::round_to_f16(b);
        }
        split_row(a, b, to, to + kTileFloats);
      }
    }
  }

  // K of `panels` panels from position `begin`: B tiles [pair of panels][step][hi, lo][panel of the pair].
  void stage_keys(uint32_t begin, uint32_t panels) noexcept {
    alignas(64) float f32[kMostHeadDim * kPanel];
    const size_t bytes = Cache::panel_bytes(args.head_dim);
    const uint8_t* panel = static_cast<const uint8_t*>(args.k) + (args.kv_begin + begin) / kPanel * bytes;
    for (uint32_t p = 0; p < panels; ++p, panel += bytes) {
      for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(panel + 4 * bytes + line);
      Cache::stage_keys(panel, args.head_dim, f32);
      float* to = keys + static_cast<size_t>(p) / 2 * 2 * kPanel * args.head_dim + p % 2 * kTileFloats;
      const float* from = f32;
      for (uint32_t d = 0; d < args.head_dim; d += kStep, to += 3 * kTileFloats)
        for (uint32_t i = 0; i < kPanel; ++i, from += 2 * kPanel, to += kWidth)
          split_pairs(Simd::load(from), Simd::load(from + kPanel), to, to + 2 * kTileFloats);
    }
  }

  // V of `count` positions, zeros up to a multiple of 32: B tiles [step][pair of columns][hi, lo][column of the pair].
  void stage_values(uint32_t begin, uint32_t count) noexcept {
    alignas(64) float f32[2 * kMostHeadDim];
    const size_t bytes = Cache::panel_bytes(args.head_dim);
    const uint8_t* panel = static_cast<const uint8_t*>(args.v) + (args.kv_begin + begin) / kPanel * bytes;
    for (uint32_t at = 0; at < (count + kStep - 1) / kStep * kStep; at += 2) {
      const uint8_t* from = panel + at / kPanel * bytes;
      if (at % kPanel == 0)
        for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(from + 4 * bytes + line);
      for (uint32_t i = 0; i < 2; ++i)
        for (uint32_t d = 0; d < args.head_dim; d += kStep) {
          float* to = f32 + i * args.head_dim + d;
          if (at + i < count) {
            Cache::template stage_values<kStep>(from, (at + i) % kPanel, args.head_dim, d, to);
          } else {
            Simd::store(to, Simd::zero());
            Simd::store(to + kWidth, Simd::zero());
          }
        }
      float* to = values + static_cast<size_t>(at) / kStep * kStep * args.head_dim + at % kStep / 2 * kWidth;
      for (uint32_t c = 0; c < columns; ++c) {
        float* tile_at = to + c / 2 * 4 * kTileFloats + c % 2 * kTileFloats;
        split_pairs(Simd::load(f32 + c * kWidth), Simd::load(f32 + args.head_dim + c * kWidth), tile_at,
                    tile_at + 2 * kTileFloats);
      }
    }
  }

  // Tiles of scores [pair of panels][row tile of two][panel of the pair], so that hi and lo of the probabilities that
  // replace them are tiles too.
  float* score_tile(uint32_t pair, uint32_t row_tile) const noexcept {
    return scores + (static_cast<size_t>(pair) * 2 + row_tile) * 2 * kTileFloats;
  }

  template <uint32_t Rows>
  void score_rows(uint32_t t, uint32_t pairs) const noexcept {
    const size_t row_floats = static_cast<size_t>(kPanel) * args.head_dim;
    for (uint32_t pair = 0; pair < pairs; ++pair) {
      tile_zero<0>();
      tile_zero<1>();
      if constexpr (Rows == 2) tile_zero<2>();
      if constexpr (Rows == 2) tile_zero<3>();
      product<Rows, Whole>(queries + t * row_floats, row_floats, kTileFloats, 2 * kTileFloats,
                           keys + pair * 2 * row_floats, 4 * kTileFloats, args.head_dim / kStep);
      float* to = score_tile(pair, 0);
      tile_store<0>(to);
      tile_store<1>(to + kTileFloats);
      if constexpr (Rows == 2) tile_store<2>(to + 2 * kTileFloats);
      if constexpr (Rows == 2) tile_store<3>(to + 3 * kTileFloats);
    }
  }

  template <uint32_t Rows>
  void value_rows(uint32_t t, uint32_t pairs) const noexcept {
    const size_t row_floats = static_cast<size_t>(kPanel) * args.head_dim;
    for (uint32_t c = 0; c < columns; c += 2) {
      float* o = out + t * row_floats + c * kTileFloats;
      tile_load<0>(o);
      tile_load<1>(o + kTileFloats);
      if constexpr (Rows == 2) tile_load<2>(o + row_floats);
      if constexpr (Rows == 2) tile_load<3>(o + row_floats + kTileFloats);
      product<Rows, Whole>(score_tile(0, 0), 2 * kTileFloats, kTileFloats, 4 * kTileFloats,
                           values + c / 2 * 4 * kTileFloats, static_cast<size_t>(kStep) * args.head_dim, pairs);
      tile_store<0>(o);
      tile_store<1>(o + kTileFloats);
      if constexpr (Rows == 2) tile_store<2>(o + row_floats);
      if constexpr (Rows == 2) tile_store<3>(o + row_floats + kTileFloats);
    }
  }

  static constexpr size_t kPairFloats = 4 * kTileFloats;  // between pairs of panels of scores

  // The largest score of a row, by lanes: `sees` positions count.
  static SMEPILOT_INLINE Vec largest(const float* row, uint32_t sees) noexcept {
    Vec a = Simd::set1(kLowest), b = a;
    for (; sees >= kStep; sees -= kStep, row += kPairFloats) {
      a = Simd::max(a, Simd::load(row));
      b = Simd::max(b, Simd::load(row + kTileFloats));
    }
    if (sees != 0) {
      const __mmask16 mask0 = Simd::lanes_below(smaller(sees, kWidth));
      const __mmask16 mask1 = Simd::lanes_below(sees > kWidth ? sees - kWidth : 0);
      a = _mm512_mask_max_ps(a, mask0, a, Simd::load(row));
      b = _mm512_mask_max_ps(b, mask1, b, Simd::load(row + kTileFloats));
    }
    return Simd::max(a, b);
  }

  // Scores of a row to probabilities relative to its reference, split unless they are to be normalised; returns what
  // they add up to, by lanes. Behind what the row sees, zeros.
  template <bool Split>
  static SMEPILOT_INLINE Vec probabilities(float* row, uint32_t sees, uint32_t pairs, float scale,
                                           float reference) noexcept {
    const auto put = [](Vec a, Vec b, float* to) noexcept {
      if constexpr (Split) {
        split_row(a, b, to, to + kTileFloats);
      } else {
        Simd::store(to, a);
        Simd::store(to + kTileFloats, b);
      }
    };
    const Vec factor = Simd::set1(scale), shift = Simd::set1(-reference);
    Vec sum0 = Simd::zero(), sum1 = Simd::zero();
    uint32_t p = 0;
    for (; p < sees / kStep; ++p, row += kPairFloats) {
      const Vec a = exp2_vector(Simd::fma(Simd::load(row), factor, shift));
      const Vec b = exp2_vector(Simd::fma(Simd::load(row + kTileFloats), factor, shift));
      sum0 = Simd::add(sum0, a);
      sum1 = Simd::add(sum1, b);
      put(a, b, row);
    }
    if (const uint32_t rest = sees % kStep; rest != 0) {
      const __mmask16 mask0 = Simd::lanes_below(smaller(rest, kWidth));
      const __mmask16 mask1 = Simd::lanes_below(rest > kWidth ? rest - kWidth : 0);
      const Vec a = _mm512_maskz_mov_ps(mask0, exp2_vector(Simd::fma(Simd::load(row), factor, shift)));
      const Vec b = _mm512_maskz_mov_ps(mask1, exp2_vector(Simd::fma(Simd::load(row + kTileFloats), factor, shift)));
      sum0 = Simd::add(sum0, a);
      sum1 = Simd::add(sum1, b);
      put(a, b, row);
      ++p;
      row += kPairFloats;
    }
    for (; p < pairs; ++p, row += kPairFloats) put(Simd::zero(), Simd::zero(), row);
    return Simd::add(sum0, sum1);
  }

  // Probabilities of a row divided by their sum, rounded to f16, split.
  static SMEPILOT_INLINE void normalise(float* row, uint32_t pairs, float sum) noexcept {
    const Vec inverse = Simd::set1(sum > 0 ? 1.0f / sum : 0.0f);
    for (uint32_t p = 0; p < pairs; ++p, row += kPairFloats) {
      const Vec a = Simd::round_to_f16(Simd::mul(Simd::load(row), inverse));
      const Vec b = Simd::round_to_f16(Simd::mul(Simd::load(row + kTileFloats), inverse));
      split_row(a, b, row, row + kTileFloats);
    }
  }

  // Softmax of the scores of row tile t, the i-th of its pair: positions [begin, begin + count).
  void softmax(uint32_t t, uint32_t i, uint32_t begin, uint32_t count, uint32_t pairs) noexcept {
    float* const rows = score_tile(0, i);
    float* const reference = state.reference + t * kPanel;
    uint32_t sees[kPanel];
    Vec most[kPanel];
    for (uint32_t r = 0; r < kPanel; ++r) {
      const uint32_t end = t * kPanel + r < args.rows ? visible(t * kPanel + r) : 0;
      sees[r] = end <= begin ? 0 : smaller(end - begin, count);
      most[r] = largest(rows + r * kWidth, sees[r]);
    }
    const float scale = args.scale * kLog2E;
    const Vec maxima = Simd::mul(row_maxima(most), Simd::set1(scale)), old = Simd::load(reference);
    const __mmask16 grown = _mm512_cmp_ps_mask(maxima, Simd::add(old, Simd::set1(kAmxSlack)), _CMP_GT_OQ);
    if (grown != 0) {
      const __mmask16 first = _mm512_cmp_ps_mask(old, Simd::set1(kLowest), _CMP_EQ_OQ);
      const Vec now = _mm512_mask_mov_ps(old, grown, maxima);
      alignas(64) float factor[kPanel];
      Simd::store(factor, _mm512_maskz_mov_ps(static_cast<__mmask16>(~first), exp2_vector(Simd::sub(old, now))));
      Simd::store(reference, now);
      for (uint32_t r = 0; r < kPanel; ++r)
        if ((grown >> r & 1) != 0) rescale(t, r, Simd::set1(factor[r]));
    }
    for (uint32_t r = 0; r < kPanel; ++r) {
      float* const sum = state.sum[t * kPanel + r];
      float* const row = rows + r * kWidth;
      if (Whole && !args.partial) {
        const Vec lanes = probabilities<false>(row, sees[r], pairs, scale, reference[r]);
        normalise(row, pairs, Simd::reduce_add(lanes));
        Simd::store(sum, Simd::set1(1.0f / kWidth));
      } else {
        const Vec lanes = probabilities<true>(row, sees[r], pairs, scale, reference[r]);
        Simd::store(sum, Simd::add(Simd::load(sum), lanes));
      }
    }
  }

  // What row r of row tile t has added up so far, times a factor.
  void rescale(uint32_t t, uint32_t r, Vec factor) noexcept {
    float* const sum = state.sum[t * kPanel + r];
    Simd::store(sum, Simd::mul(Simd::load(sum), factor));
    float* at = out + static_cast<size_t>(t) * kPanel * args.head_dim + r * kWidth;
    for (uint32_t c = 0; c < columns; ++c, at += kTileFloats) Simd::store(at, Simd::mul(Simd::load(at), factor));
  }

  template <uint32_t Rows>
  void row_tile(uint32_t t, uint32_t begin, uint32_t count) noexcept {
    const uint32_t first = t * kPanel, end = smaller(args.rows, first + Rows * kPanel);
    uint32_t longest = 0;
    for (uint32_t r = first; r < end; ++r) longest = visible(r) > longest ? visible(r) : longest;
    if (longest <= begin) return;
    const uint32_t pairs = (smaller(longest - begin, count) + kStep - 1) / kStep;
    score_rows<Rows>(t, pairs);
    for (uint32_t i = 0; i < Rows; ++i) softmax(t + i, i, begin, count, pairs);
    value_rows<Rows>(t, pairs);
  }

  void run() noexcept {
    uint32_t end = 0;
    for (uint32_t r = 0; r < args.rows; ++r) end = visible(r) > end ? visible(r) : end;
    for (uint32_t r = 0; r < row_tiles * kPanel; ++r) {
      state.reference[r] = kLowest;
      Simd::store(state.sum[r], Simd::zero());
    }
    for (size_t i = 0; i < static_cast<size_t>(row_tiles) * kPanel * args.head_dim; i += kWidth)
      Simd::store(out + i, Simd::zero());
    pack_queries();
    const TileConfig config;
    tiles_on(config);
    for (uint32_t begin = 0; begin < end; begin += tile) {
      const uint32_t count = smaller(tile, end - begin);
      const uint32_t panels = (count + kPanel - 1) / kPanel;
      stage_keys(begin, panels);
      // The second panel of a last pair: its scores are not looked at, but must be numbers that can be computed with.
      if (panels % 2 != 0) clear_panel(panels);
      stage_values(begin, count);
      uint32_t t = 0;
      for (; t + 2 <= row_tiles; t += 2) row_tile<2>(t, begin, count);
      if (t < row_tiles) row_tile<1>(t, begin, count);
    }
    tiles_off();
    finish();
  }

  void clear_panel(uint32_t p) noexcept {
    float* to = keys + static_cast<size_t>(p) / 2 * 2 * kPanel * args.head_dim + p % 2 * kTileFloats;
    for (uint32_t d = 0; d < args.head_dim; d += kStep, to += 4 * kTileFloats)
      for (uint32_t i = 0; i < kTileFloats; i += kWidth) {
        Simd::store(to + i, Simd::zero());
        Simd::store(to + 2 * kTileFloats + i, Simd::zero());
      }
  }

  void finish() const noexcept {
    for (uint32_t r = 0; r < args.rows; ++r) {
      const float sum = Simd::reduce_add(Simd::load(state.sum[r]));
      if (args.partial) {
        args.max[r] = state.reference[r] * kLn2;
        args.sum[r] = sum;
      }
      const Vec factor = Simd::set1(args.partial ? 1.0f : sum > 0 ? 1.0f / sum : 0.0f);
      const float* from = out + static_cast<size_t>(r) / kPanel * kPanel * args.head_dim + r % kPanel * kWidth;
      for (uint32_t c = 0; c < columns; ++c)
        Simd::store(args.out[r] + c * kWidth, Simd::mul(Simd::load(from + c * kTileFloats), factor));
    }
  }
};

template <typename Cache, bool Whole>
void attention_split(const AttentionArgs* args) noexcept {
  if (args->rows >= kFewestRows && args->head_dim % kStep == 0 && args->head_dim <= kMostHeadDim) {
    AmxCall<Cache, Whole> call(*args);
    call.run();
    return;
  }
  AttentionArgs some = *args;
  constexpr uint32_t kRows = Call<Cache>::kMost;
  for (uint32_t row = 0; row < args->rows; row += kRows) {
    some.q = args->q + row;
    some.out = args->out + row;
    some.limit = args->limit + row;
    if (args->partial) {
      some.max = args->max + row;
      some.sum = args->sum + row;
    }
    some.rows = smaller(kRows, args->rows - row);
    if constexpr (Whole)
      attention_threephase<Cache>(&some);
    else if constexpr (Cache::kDirect)
      attention_online<Cache>(&some);
    else
      attention_online_vnni(&some);
  }
}

}  // namespace

extern const KernelVariant kAmxBf16AttentionSplit, kAmxBf16AttentionSplitQ8_0, kAmxBf16AttentionThreephase;

constexpr KernelVariant kAmxBf16AttentionSplit =
    attention_variant("attention.f32.f16.f16.256x16.amxbf16.split", kIsaAmxBf16, DType::kF16, DType::kF16, kAmxRows,
                      attention_split<F16Cache, false>, ExecutionUnit::kMatrix);

constexpr KernelVariant kAmxBf16AttentionSplitQ8_0 =
    attention_variant("attention.f32.f16.q8_0.256x16.amxbf16.split", kIsaAmxBf16, DType::kF16, DType::kQ8_0, kAmxRows,
                      attention_split<Q8Cache, false>, ExecutionUnit::kMatrix);

constexpr KernelVariant kAmxBf16AttentionThreephase =
    attention_variant("attention.f32.f16.f16.256x16.amxbf16.threephase", kIsaAmxBf16, DType::kF16, DType::kF16,
                      kAmxRows, attention_split<F16Cache, true>, ExecutionUnit::kMatrix);

}  // namespace smepilot
