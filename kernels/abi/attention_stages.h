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
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace smepilot {

struct AttentionTile {
  const float* const* q;  // [rows] pointers to head_dim floats
  float* const* out;      // [rows] pointers to head_dim floats, written by finish
  const uint32_t* limit;  // [rows] row r sees positions < limit[r]
  const void* k;          // kKvKeyPanel16 of the KV head, 32-byte aligned
  const void* v;          // kKvValuePanel16, likewise
  void* queries;          // query_bytes(), 64-byte aligned: in the form that the same variant's `scores` reads
  float* scores;          // [kv_end - kv_begin rounded up to 16][stride]: S, then P; rows beyond `rows` are padding
  float* output;          // [rows][head_dim rounded up to 16]: O, not normalised
  float* max;             // [stride] running maximum of the scores
  float* sum;             // [stride] running sum of P
  float* rescale;         // [stride] what this tile's softmax asks of O: exp(old max - new max)
  uint32_t rows;          // at most the variants' tile.mr
  uint32_t stride;        // rows rounded up to 16
  uint32_t head_dim;      // a multiple of 4
  uint32_t kv_begin;      // a multiple of 16
  uint32_t kv_end;        // at most the largest limit; P is 0 where a row does not see a position
  float scale;            // usually 1/sqrt(head_dim)
  bool first;             // of its rows: softmax and values start from nothing
};

// Functions are noexcept, allocate nothing, and may be called from any worker. A variant of the matrix unit leaves
// softmax and finish null.
struct AttentionStages {
  size_t (*query_bytes)(uint32_t rows, uint32_t head_dim) noexcept;
  void (*pack_queries)(const AttentionTile*) noexcept;
  void (*scores)(const AttentionTile*) noexcept;
  void (*softmax)(const AttentionTile*) noexcept;
  void (*values)(const AttentionTile*) noexcept;
  void (*finish)(const AttentionTile*) noexcept;
};

}  // namespace smepilot
