// The stages of attention that are matrix products (kernels/abi/attention_stages.h) on an SME unit, for SME and SME2,
// at any vector length; softmax and finish are the cores'. Internal linkage: included by one translation unit of each
// step.
//
// Both products are f32 outer products: K and V are f16, which f32 holds exactly, or Q8_0, whose integers are
// multiplied with their scale, and queries and probabilities stay as they are, so the results are those of the vector
// cores. A vector of K or V is converted once for four vectors of query rows, which fill the four ZA tiles and lie side
// by side, so that SME2 loads them with one instruction: queries in groups of 64 rows, [head_dim][rows of the group],
// probabilities as the scores lie.
#pragma once
#include "kernels/abi/attention_stages.h"
#include "kernels/abi/compiler.h"
#include "kernels/sme/streaming.h"

namespace smepilot {
namespace {

constexpr uint32_t kMostTileRows = 256;
constexpr uint32_t kGroup = 64;  // query rows that four vectors of 16 hold

SMEPILOT_INLINE uint32_t smaller(uint32_t a, uint32_t b) noexcept __arm_streaming_compatible {
  return a < b ? a : b;
}

// Positions of the tile that any row of a group from `first` on sees.
SMEPILOT_INLINE uint32_t most_visible(const AttentionTile& t, uint32_t first) noexcept __arm_streaming_compatible {
  uint32_t most = 0;
  for (uint32_t r = first; r < smaller(first + kGroup, t.rows); ++r) {
    const uint32_t sees = t.limit[r] <= t.kv_begin ? 0 : smaller(t.limit[r], t.kv_end) - t.kv_begin;
    most = sees > most ? sees : most;
  }
  return most;
}

// Lanes that are used: a line of 16 at most.
SMEPILOT_INLINE uint32_t vector_lanes() noexcept __arm_streaming {
  return svcntw() < kPanel ? static_cast<uint32_t>(svcntw()) : kPanel;
}

static_assert(kQ8Zero == 0);  // keys of Q8_0 are signed

SMEPILOT_INLINE svfloat32_t load_f16(svbool_t mask, const uint16_t* p) noexcept __arm_streaming {
  return svcvt_f32_f16_x(svptrue_b32(), svreinterpret_f16_u32(svld1uh_u32(mask, p)));
}

// Tiles 0 .. N-1 += the outer products of x and N vectors of rows. Rows: they are the tiles' rows, else the columns.
template <int N, bool Rows>
SMEPILOT_INLINE void mopas(svfloat32_t x, svfloat32_t r0, svfloat32_t r1, svfloat32_t r2,
                           svfloat32_t r3) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  svmopa_za32_f32_m(0, all, all, Rows ? r0 : x, Rows ? x : r0);
  if constexpr (N > 1) svmopa_za32_f32_m(1, all, all, Rows ? r1 : x, Rows ? x : r1);
  if constexpr (N > 2) svmopa_za32_f32_m(2, all, all, Rows ? r2 : x, Rows ? x : r2);
  if constexpr (N > 3) svmopa_za32_f32_m(3, all, all, Rows ? r3 : x, Rows ? x : r3);
}

// One step, an element or a position: N vectors of rows, one after the other, times one of K or V. Whole: a vector has
// no more lanes than are used.
template <int N, bool Rows, bool Whole>
SMEPILOT_INLINE void step(const float* rows, svfloat32_t v) noexcept SMEPILOT_STREAMING {
#if SMEPILOT_SME2
  if constexpr (N == 4 && Whole) {
    const svfloat32x4_t r = svld1_f32_x4(svptrue_c32(), rows);
    return mopas<N, Rows>(v, svget4_f32(r, 0), svget4_f32(r, 1), svget4_f32(r, 2), svget4_f32(r, 3));
  }
#endif
  const uint32_t vl = vector_lanes();
  const svbool_t lanes = svwhilelt_b32_u32(0, vl);
  const svfloat32_t r0 = svld1_f32(lanes, rows);
  svfloat32_t r1 = r0, r2 = r0, r3 = r0;
  if constexpr (N > 1) r1 = svld1_f32(lanes, rows + vl);
  if constexpr (N > 2) r2 = svld1_f32(lanes, rows + 2 * vl);
  if constexpr (N > 3) r3 = svld1_f32(lanes, rows + 3 * vl);
  mopas<N, Rows>(v, r0, r1, r2, r3);
}

// Steps of an f16 cache, of which one vector lies x_step after the other.
template <int N, bool Rows, bool Whole>
SMEPILOT_INLINE void steps(const float* rows, size_t row_step, const uint16_t* x, size_t x_step, svbool_t mask,
                           uint32_t count) noexcept SMEPILOT_STREAMING {
  // Offsets that the compiler cannot take for sums: else it computes an address of every other load.
  size_t row2 = 2 * row_step, row3 = 3 * row_step, x2 = 2 * x_step, x3 = 3 * x_step;
  __asm__("" : "+r"(row_step), "+r"(row2), "+r"(row3), "+r"(x_step), "+r"(x2), "+r"(x3));
  for (uint32_t i = count / 4; i > 0; --i, rows += 4 * row_step, x += 4 * x_step) {
    __asm__("" : "+r"(rows), "+r"(x));  // one pointer each
    step<N, Rows, Whole>(rows, load_f16(mask, x));
    step<N, Rows, Whole>(rows + row_step, load_f16(mask, x + x_step));
    step<N, Rows, Whole>(rows + row2, load_f16(mask, x + x2));
    step<N, Rows, Whole>(rows + row3, load_f16(mask, x + x3));
  }
  for (uint32_t i = count % 4; i > 0; --i, rows += row_step, x += x_step) step<N, Rows, Whole>(rows, load_f16(mask, x));
}

// Elements of a Q8_0 panel of K, its positions from `first` on.
template <int N, bool Whole>
SMEPILOT_INLINE void key_steps(const float* rows, size_t row_step, const uint8_t* panel, uint32_t first, svbool_t lanes,
                               uint32_t head_dim) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  const auto* scales = reinterpret_cast<const uint16_t*>(panel + kv_scale_offset(head_dim)) + first;
  const uint8_t* words = panel + first * size_t{4};  // four elements of a position side by side
  size_t row2 = 2 * row_step, row3 = 3 * row_step;
  __asm__("" : "+r"(row_step), "+r"(row2), "+r"(row3));
  for (uint32_t d = 0; d < head_dim; d += kQ8Block, scales += kPanel) {
    const svfloat32_t scale = load_f16(lanes, scales);
    for (uint32_t i = 0; i < kQ8Block / 4; ++i, words += 4 * kPanel, rows += 4 * row_step) {
      __asm__("" : "+r"(rows), "+r"(words));
      const svint32_t w = svld1_s32(lanes, reinterpret_cast<const int32_t*>(words));
#define SMEPILOT_ELEMENT(bytes) svmul_f32_x(all, svcvt_f32_s32_x(all, bytes), scale)
      step<N, false, Whole>(rows, SMEPILOT_ELEMENT(svextb_s32_x(all, w)));
      step<N, false, Whole>(rows + row_step, SMEPILOT_ELEMENT(svextb_s32_x(all, svasr_n_s32_x(all, w, 8))));
      step<N, false, Whole>(rows + row2, SMEPILOT_ELEMENT(svextb_s32_x(all, svasr_n_s32_x(all, w, 16))));
      step<N, false, Whole>(rows + row3, SMEPILOT_ELEMENT(svasr_n_s32_x(all, w, 24)));
#undef SMEPILOT_ELEMENT
    }
  }
}

template <int N, bool Whole>
SMEPILOT_INLINE void value_step(const float* rows, const int8_t* x, const uint16_t* scale,
                                svbool_t mask) noexcept SMEPILOT_STREAMING {
  const svbool_t all = svptrue_b32();
  const svfloat32_t s = svcvt_f32_f16_x(all, svreinterpret_f16_u32(svdup_n_u32(*scale)));
  step<N, true, Whole>(rows, svmul_f32_x(all, svcvt_f32_s32_x(all, svld1sb_s32(mask, x)), s));
}

// Positions of a Q8_0 cache from the panel `v` on, elements d .., which are of one block.
template <int N, bool Whole>
SMEPILOT_INLINE void value_steps(const float* rows, size_t row_step, const uint8_t* v, uint32_t d, uint32_t head_dim,
                                 svbool_t mask, uint32_t count) noexcept SMEPILOT_STREAMING {
  const size_t panel = kv_panel_bytes(DType::kQ8_0, head_dim), scale_at = kv_scale_offset(head_dim);
  size_t row2 = 2 * row_step, row3 = 3 * row_step, dim = head_dim, dim2 = 2 * dim, dim3 = 3 * dim;
  size_t blocks = head_dim / kQ8Block, blocks2 = 2 * blocks, blocks3 = 3 * blocks;
  __asm__("" : "+r"(row_step), "+r"(row2), "+r"(row3), "+r"(dim), "+r"(dim2), "+r"(dim3));  // as in steps()
  __asm__("" : "+r"(blocks), "+r"(blocks2), "+r"(blocks3));
  for (uint32_t at = 0; at < count; at += kPanel, v += panel) {
    const auto* x = reinterpret_cast<const int8_t*>(v) + d;
    const auto* scales = reinterpret_cast<const uint16_t*>(v + scale_at) + d / kQ8Block;
    uint32_t left = smaller(kPanel, count - at);
    for (; left >= 4; left -= 4, rows += 4 * row_step, x += 4 * dim, scales += 4 * blocks) {
      __asm__("" : "+r"(rows), "+r"(x), "+r"(scales));
      value_step<N, Whole>(rows, x, scales, mask);
      value_step<N, Whole>(rows + row_step, x + dim, scales + blocks, mask);
      value_step<N, Whole>(rows + row2, x + dim2, scales + blocks2, mask);
      value_step<N, Whole>(rows + row3, x + dim3, scales + blocks3, mask);
    }
    for (; left > 0; --left, rows += row_step, x += dim, scales += blocks) value_step<N, Whole>(rows, x, scales, mask);
  }
}

// --- queries: groups of up to 64 rows, [head_dim][rows of the group], scaled; rows that do not exist are 0 ---

size_t query_bytes(uint32_t rows, uint32_t head_dim) noexcept {
  return (size_t{rows} + kPanel - 1) / kPanel * kPanel * head_dim * sizeof(float);
}

// Rows go into a tile and leave it as columns.
void streaming_pack_queries(const AttentionTile* t, const void*) noexcept SMEPILOT_STREAMING {
  const uint32_t vl = vector_lanes(), stride = (t->rows + kPanel - 1) / kPanel * kPanel;
  const svbool_t lanes = svwhilelt_b32_u32(0, vl);
  const svfloat32_t scale = svdup_n_f32(t->scale);
  for (uint32_t row = 0; row < stride; row += vl) {
    const uint32_t group = row / kGroup * kGroup, width = smaller(kGroup, stride - group);
    float* to = static_cast<float*>(t->queries) + size_t{group} * t->head_dim + (row - group);
    for (uint32_t d = 0; d < t->head_dim; d += vl) {
      const svbool_t mask = svand_b_z(lanes, lanes, svwhilelt_b32_u32(d, t->head_dim));
      svzero_za();
      for (uint32_t r = 0; r < smaller(vl, t->rows - smaller(row, t->rows)); ++r)
        svld1_hor_za32(0, r, mask, t->q[row + r] + d);
      for (uint32_t c = 0; c < smaller(vl, t->head_dim - d); ++c, to += width)
        svst1_f32(lanes, to, svmul_f32_x(lanes, svread_ver_za32_f32_m(scale, lanes, 0, c), scale));
    }
  }
}

// --- scores: a line of K is the tiles' rows, query rows are their columns ---

// One panel of positions with N vectors of rows.
template <DType D, int N, bool Whole>
SMEPILOT_INLINE void score_tiles(const AttentionTile& t, const float* q, uint32_t width, const uint8_t* k,
                                 float* scores) noexcept SMEPILOT_STREAMING {
  const uint32_t vl = vector_lanes();
  const svbool_t lanes = svwhilelt_b32_u32(0, vl);
  for (uint32_t p = 0; p < kPanel; p += vl) {
    svzero_za();
    if constexpr (D == DType::kQ8_0)
      key_steps<N, Whole>(q, width, k, p, lanes, t.head_dim);
    else
      steps<N, false, Whole>(q, width, reinterpret_cast<const uint16_t*>(k) + p, kPanel, lanes, t.head_dim);
    for (uint32_t i = 0; i < vl; ++i, scores += t.stride) {
      svst1_hor_za32(0, i, lanes, scores);
      if constexpr (N > 1) svst1_hor_za32(1, i, lanes, scores + vl);
      if constexpr (N > 2) svst1_hor_za32(2, i, lanes, scores + 2 * vl);
      if constexpr (N > 3) svst1_hor_za32(3, i, lanes, scores + 3 * vl);
    }
  }
}

template <DType D, bool Whole>
SMEPILOT_INLINE void all_scores(const AttentionTile& t) noexcept SMEPILOT_STREAMING {
  const uint32_t vl = vector_lanes();
  const size_t panel = kv_panel_bytes(D, t.head_dim);
  for (uint32_t group = 0; group < t.rows; group += kGroup) {
    const uint32_t width = smaller(kGroup, t.stride - group), count = most_visible(t, group);
    const auto* k = static_cast<const uint8_t*>(t.k) + t.kv_begin / kPanel * panel;
    const float* const q = static_cast<const float*>(t.queries) + size_t{group} * t.head_dim;
    for (uint32_t p = 0; p < count; p += kPanel, k += panel)
      for (uint32_t r = 0; r < width; r += 4 * vl) {
        float* const to = t.scores + size_t{p} * t.stride + group + r;
        switch (smaller((width - r) / vl, 4)) {
          case 1: score_tiles<D, 1, Whole>(t, q + r, width, k, to); break;
          case 2: score_tiles<D, 2, Whole>(t, q + r, width, k, to); break;
          case 3: score_tiles<D, 3, Whole>(t, q + r, width, k, to); break;
          default: score_tiles<D, 4, Whole>(t, q + r, width, k, to); break;
        }
      }
  }
}

template <DType D>
void streaming_scores(const AttentionTile* t, const void*) noexcept SMEPILOT_STREAMING {
  if (svcntw() <= kPanel)
    all_scores<D, true>(*t);
  else
    all_scores<D, false>(*t);
}

// --- values: query rows are the tiles' rows, a line of V is their columns ---

template <int Tile>
SMEPILOT_INLINE void load_rows(const AttentionTile& t, uint32_t row, uint32_t count, const float* from, size_t dim,
                               svbool_t lanes) noexcept SMEPILOT_STREAMING {
  for (uint32_t r = 0; r < count; ++r, from += dim)
    svwrite_hor_za32_f32_m(Tile, r, lanes, svmul_n_f32_x(lanes, svld1_f32(lanes, from), t.rescale[row + r]));
}

template <int Tile>
SMEPILOT_INLINE void store_rows(uint32_t count, float* to, size_t dim, svbool_t lanes) noexcept SMEPILOT_STREAMING {
  for (uint32_t r = 0; r < count; ++r, to += dim) svst1_hor_za32(Tile, r, lanes, to);
}

// Rows of a vector that exist, of `rows` rows from which it begins `first` later.
SMEPILOT_INLINE uint32_t rows_from(uint32_t rows, uint32_t first, uint32_t vl) noexcept __arm_streaming_compatible {
  return rows <= first ? 0 : smaller(rows - first, vl);
}

// Elements d .. of N vectors of rows from `row` on, over `count` positions.
template <DType D, int N, bool Whole>
SMEPILOT_INLINE void value_tiles(const AttentionTile& t, uint32_t row, uint32_t d,
                                 uint32_t count) noexcept SMEPILOT_STREAMING {
  const uint32_t vl = vector_lanes(), rows = t.rows - row;
  const size_t dim = (size_t{t.head_dim} + kPanel - 1) / kPanel * kPanel;
  const svbool_t lanes = svwhilelt_b32_u32(0, vl);
  float* const o = t.output + row * dim + d;
  const size_t next = vl * dim;
  svzero_za();
  if (!t.first) {
    load_rows<0>(t, row, rows_from(rows, 0, vl), o, dim, lanes);
    if constexpr (N > 1) load_rows<1>(t, row + vl, rows_from(rows, vl, vl), o + next, dim, lanes);
    if constexpr (N > 2) load_rows<2>(t, row + 2 * vl, rows_from(rows, 2 * vl, vl), o + 2 * next, dim, lanes);
    if constexpr (N > 3) load_rows<3>(t, row + 3 * vl, rows_from(rows, 3 * vl, vl), o + 3 * next, dim, lanes);
  }
  const auto* v = static_cast<const uint8_t*>(t.v) + t.kv_begin / kPanel * kv_panel_bytes(D, t.head_dim);
  const svbool_t mask = svand_b_z(lanes, lanes, svwhilelt_b32_u32(d, t.head_dim));
  if constexpr (D == DType::kQ8_0)
    value_steps<N, Whole>(t.scores + row, t.stride, v, d, t.head_dim, mask, count);
  else  // panels are rows of positions, without a gap between them
    steps<N, true, Whole>(t.scores + row, t.stride, reinterpret_cast<const uint16_t*>(v) + d, t.head_dim, mask, count);
  store_rows<0>(rows_from(rows, 0, vl), o, dim, lanes);
  if constexpr (N > 1) store_rows<1>(rows_from(rows, vl, vl), o + next, dim, lanes);
  if constexpr (N > 2) store_rows<2>(rows_from(rows, 2 * vl, vl), o + 2 * next, dim, lanes);
  if constexpr (N > 3) store_rows<3>(rows_from(rows, 3 * vl, vl), o + 3 * next, dim, lanes);
}

template <DType D, bool Whole>
SMEPILOT_INLINE void all_values(const AttentionTile& t) noexcept SMEPILOT_STREAMING {
  const uint32_t vl = vector_lanes();
  for (uint32_t group = 0; group < t.rows; group += kGroup) {
    const uint32_t width = smaller(kGroup, t.stride - group), count = most_visible(t, group);
    for (uint32_t d = 0; d < t.head_dim; d += vl)
      for (uint32_t r = 0; r < width && group + r < t.rows; r += 4 * vl) switch (smaller((width - r) / vl, 4)) {
          case 1: value_tiles<D, 1, Whole>(t, group + r, d, count); break;
          case 2: value_tiles<D, 2, Whole>(t, group + r, d, count); break;
          case 3: value_tiles<D, 3, Whole>(t, group + r, d, count); break;
          default: value_tiles<D, 4, Whole>(t, group + r, d, count); break;
        }
  }
}

template <DType D>
void streaming_values(const AttentionTile* t, const void*) noexcept SMEPILOT_STREAMING {
  if (svcntw() <= kPanel)
    all_values<D, true>(*t);
  else
    all_values<D, false>(*t);
}

void pack_queries(const AttentionTile* t) noexcept {
  call_streaming<AttentionTile, void>(streaming_pack_queries, t, nullptr);
}
template <DType D>
void scores(const AttentionTile* t) noexcept {
  call_streaming<AttentionTile, void>(streaming_scores<D>, t, nullptr);
}
template <DType D>
void values(const AttentionTile* t) noexcept {
  call_streaming<AttentionTile, void>(streaming_values<D>, t, nullptr);
}

template <DType D>
constexpr AttentionStages kStages = {query_bytes, pack_queries, scores<D>, nullptr, values<D>, nullptr};

// D: of the KV cache.
template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return attention_tile_variant(id, kIsaNeon | kIsaSme | (SMEPILOT_SME2 ? kIsaSme2 : 0u), DType::kF32, D, kMostTileRows,
                                &kStages<D>, ExecutionUnit::kMatrix);
}

}  // namespace
}  // namespace smepilot
