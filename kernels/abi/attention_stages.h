// Attention cut into stages, so that different units can execute them at the same time on different tiles: a tile is a
// block of query rows that share a KV head, times a range of its positions.
//
//   pack_queries    once per block of query rows
//   scores          S = scale * K Q^T                     matrix unit, any order
//   softmax         P = exp(S - max), max and sum updated   vector cores, tile after tile of the same rows
//   values          O = O * rescale + P V                   matrix unit, likewise
//   finish          out = O / sum                           once per block, after its last tile
//
// Scores lie with the query rows side by side: then a softmax needs no horizontal reduction, and a position's
// probabilities are the operand of an outer product with its row of V.
//
// Stages of different variants work on the same tile: what passes between them is only what is described here, but for
// `queries`, which are of the variant that packed them. What a stage leaves where:
//
//   scores    S of every position below kv_end, at least for those groups of 16 rows (from a multiple of 16 on) of
//   which
//             a row sees the position. Rows beyond `rows` and positions from kv_end on may get anything, NaN included:
//             whole panels of K are read, and behind the last position they may hold anything.
//   softmax   P of every position below kv_end and every row; 0, whatever S holds, where the row does not see the
//             position. Positions from kv_end on are neither read nor written. A row that has not seen any position yet
//             has max -infinity, sum 0, and a finite rescale.
//   values    O of `rows` rows. Of V and P, only positions below kv_end are read: 0 times what lies behind may be NaN.
//   finish    head_dim elements of each row of `out`; zeros where a row saw nothing.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/describe.h"

namespace smepilot {

struct AttentionTile {
  const float* const* q;  // [rows] pointers to head_dim floats
  float* const* out;      // [rows] pointers to head_dim floats, written by finish
  const uint32_t* limit;  // [rows] row r sees positions < limit[r]
  const void* k;          // kKvKeyPanel16 of the KV head, 32-byte aligned: from position 0 on, not from kv_begin
  const void* v;          // kKvValuePanel16, likewise
  void* queries;          // query_bytes(), 64-byte aligned: in the form that the same variant's `scores` reads
  float* scores;          // [kv_end - kv_begin rounded up to 16][stride], 64-byte aligned: S, then P
  float* output;          // [rows][head_dim rounded up to 16], 64-byte aligned: O, not normalised
  float* max;             // [stride], 64-byte aligned: running maximum of the scores
  float* sum;             // [stride], likewise: running sum of P
  float* rescale;         // [stride], likewise: what this tile's softmax asks of O: exp(old max - new max)
  uint32_t rows;          // 1 .. the variants' tile.mr
  uint32_t stride;        // rows rounded up to 16
  uint32_t head_dim;      // a multiple of the variants' tile.kr
  uint32_t kv_begin;      // a multiple of 16
  uint32_t kv_end;        // beyond kv_begin, at most the largest limit
  float scale;            // usually 1/sqrt(head_dim); pack_queries may have it in the queries already
  bool first;             // of its rows: softmax and values start from nothing, whatever max, sum and O hold
};

// Functions are noexcept, allocate nothing, and may be called from any worker. A variant of the matrix unit may leave
// softmax and finish null. pack_queries reads q, rows, head_dim and scale; finish: out, output, sum, rows and head_dim.
struct AttentionStages {
  size_t (*query_bytes)(uint32_t rows, uint32_t head_dim) noexcept;  // at most most_query_bytes()
  void (*pack_queries)(const AttentionTile*) noexcept;
  void (*scores)(const AttentionTile*) noexcept;
  void (*softmax)(const AttentionTile*) noexcept;
  void (*values)(const AttentionTile*) noexcept;
  void (*finish)(const AttentionTile*) noexcept;
};

// What query_bytes() may ask for: f32 of rows and elements rounded up to the widest vectors there are.
static constexpr size_t most_query_bytes(size_t rows, size_t head_dim) noexcept {
  return ((rows + 63) / 64 * 64) * ((head_dim + 15) / 16 * 16) * sizeof(float);
}

// lhs: what queries and probabilities are rounded to, kF32 for not at all. rhs: of the KV cache. mr: query rows that a
// tile may have.
static constexpr KernelVariant attention_tile_variant(const char* id, IsaSet isa, DType lhs, DType rhs, uint32_t mr,
                                                      const AttentionStages* stages,
                                                      ExecutionUnit unit = ExecutionUnit::kCpu) noexcept {
  KernelVariant v = attention_variant(id, isa, lhs, rhs, mr, nullptr, unit);
  v.op = OpKind::kAttentionTile;
  v.attention_tile = stages;
  return v;
}

}  // namespace smepilot
