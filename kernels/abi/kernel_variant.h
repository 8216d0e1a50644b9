// A kernel variant: one micro-kernel for one ISA step, described by data. The descriptor is the only thing an ISA
// translation unit exports. Functions are noexcept, allocate nothing and may be called from any worker; a variant
// that uses AMX tiles or SME streaming mode configures and releases that state inside the call.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/execution_mode.h"
#include "kernels/abi/isa.h"
#include "kernels/abi/layout.h"
#include "kernels/abi/operator_shape.h"

namespace smepilot {

// One block of rows against a range of weight panels: dst[m][n] = lhs[m][k] * rhs[n][k]^T, overwriting dst.
struct MatmulArgs {
  const void* lhs;     // kRowMajor: f32 rows, lhs_stride bytes apart. Else the first panel, panels contiguous
  size_t lhs_stride;   // bytes, kRowMajor only
  const void* rhs;     // first panel of the range (kRhsPanel16), 64-byte aligned
  size_t rhs_stride;   // bytes between panels
  float* dst;          // first output element, row-major
  size_t dst_stride;   // floats between rows
  uint32_t m;          // rows, 1 .. tile.mr; in packed layouts all panels but the last have 16 rows
  uint32_t n;          // columns, any; ceil(n/16) panels are read, exactly n columns are written
  uint32_t k;          // a multiple of the dtype's block
  uint32_t lhs_group;  // quantised activations: how many share a scale, kQ8Block or kQ8SuperBlock
};

// Rows of queries that share one KV head, against positions [kv_begin, kv_end) of its cache, with online softmax.
struct AttentionArgs {
  const float* const* q;  // [rows] pointers to head_dim floats
  float* const* out;      // [rows] pointers to head_dim floats; what is written depends on `partial`
  const uint32_t* limit;  // [rows] row r sees positions < limit[r]
  const void* k;          // kKvKeyPanel16 of this KV head in the variant's rhs dtype, 32-byte aligned
  const void* v;          // kKvValuePanel16, likewise
  float* scratch;         // attention_scratch_floats(), 64-byte aligned
  float* max;             // [rows] partial only: what exponents are relative to, a scaled score or close to one; -inf
                          // for a row that sees nothing
  float* sum;             // [rows] partial only: sum of exp(score - max)
  uint32_t rows;          // 1 .. tile.mr
  uint32_t head_dim;      // a multiple of 4
  uint32_t kv_begin;      // a multiple of 16
  uint32_t kv_end;
  uint32_t kv_tile;  // positions per online-softmax step, a multiple of 16
  float scale;       // usually 1/sqrt(head_dim)
  bool partial;      // false: out = softmax(QK^T)V. true: out is the unnormalised sum, max and sum are written
};

// What any variant may use of its scratch: three-phase forms for up to 64 rows, others up to 256. Variants with a
// matrix unit take of a step as AttentionArgs::kv_tile gives it at most kMostAttentionTile positions, rounded up to 32.
inline constexpr uint32_t kMostAttentionTile = 512;
static constexpr uint32_t attention_tile(uint32_t kv_tile) noexcept {
  return (kv_tile < kMostAttentionTile ? kv_tile + 31 : kMostAttentionTile) / 32 * 32;
}
static constexpr size_t attention_scratch_floats(size_t rows, size_t head_dim, size_t positions,
                                                 uint32_t kv_tile) noexcept {
  const size_t dim = (head_dim + 15) / 16 * 16, many = (rows + 15) / 16 * 16;
  const size_t whole_tile = (positions + 31) / 32 * 32, tile = attention_tile(kv_tile);
  const size_t step = tile > whole_tile ? tile : whole_tile;
  const size_t some = rows < 256 ? rows : 256, few = rows < 64 ? rows : 64, row = 2 * dim + 16;
  const size_t tiled = some * (row + kv_tile);                    // query, output, sum; scores of a step
  const size_t whole = few * (row + (positions + 15) / 16 * 16);  // three-phase: scores of all positions
  const size_t matrix = many * 2 * dim + step * (2 * dim + 32);   // queries and outputs; K, V and scores of a step
  const size_t vector = tiled > whole ? tiled : whole;
  return matrix > vector ? matrix : vector;
}

struct NormArgs {  // RMS norm of each row: dst = x / sqrt(mean(x^2) + eps) * weight
  const float* x;
  const float* weight;  // [cols]
  float* dst;
  size_t x_stride, dst_stride;  // floats between rows
  uint32_t rows, cols;
  float eps;
};

struct RopeArgs {        // rotates, in place, the first 2*half elements of each head of each row
  float* x;              // [rows][heads][head_dim], rows x_stride floats apart
  const float* cos_sin;  // [rows][2][half]: cosines then sines of that row's position
  size_t x_stride;
  uint32_t rows, heads, head_dim, half;
  bool interleaved;  // true: pairs (2i, 2i+1), the Llama GGUF convention. false: (i, i + half), NeoX
};

struct SwigluArgs {  // dst = gate / (1 + exp(-gate)) * up, row-wise
  const float* gate;
  const float* up;
  float* dst;
  size_t gate_stride, up_stride, dst_stride;  // floats
  uint32_t rows, cols;
};

struct SoftmaxArgs {  // softmax of each row in place, x[rows][cols]
  float* x;
  size_t stride;  // floats
  uint32_t rows, cols;
};

struct QuantizeArgs {  // f32 rows to one panel of the variant's dst_layout; rows <= 16
  const float* x;
  size_t x_stride;   // floats
  void* dst;         // lhs_bytes(dst_layout, rows, k)
  uint32_t rows, k;  // k a multiple of group
  uint32_t group;    // quantised forms: elements that share a scale, kQ8Block or kQ8SuperBlock, see kLhsQ8Panel16
};

// The stages of attention on a tile, see kernels/abi/attention_stages.h.
struct AttentionStages;

using MatmulFn = void (*)(const MatmulArgs*) noexcept;
using AttentionFn = void (*)(const AttentionArgs*) noexcept;
using NormFn = void (*)(const NormArgs*) noexcept;
using RopeFn = void (*)(const RopeArgs*) noexcept;
using SwigluFn = void (*)(const SwigluArgs*) noexcept;
using SoftmaxFn = void (*)(const SoftmaxArgs*) noexcept;
using QuantizeFn = void (*)(const QuantizeArgs*) noexcept;

struct Tile {
  uint32_t mr, nr, kr;  // rows one call accepts, columns per panel, k step. With a packed lhs, mr is a multiple of
                        // 16 (whole panels), even where the register tile holds fewer rows
};

struct KernelVariant {
  const char* id;  // op.dst.lhs.rhs.tile.isa.instruction, checked by scripts/check_variant_names.py
  OpKind op;
  IsaSet isa;  // every bit must be present
  ExecutionUnit unit;
  DType dst, lhs, rhs;
  Layout dst_layout, lhs_layout, rhs_layout;
  Tile tile;
  uint32_t max_m;  // largest m for which it is a sensible candidate (a gemv is bounded), 0: any
  union {
    MatmulFn matmul;
    AttentionFn attention;
    NormFn norm;
    RopeFn rope;
    SwigluFn swiglu;
    SoftmaxFn softmax;
    QuantizeFn quantize;
    const AttentionStages* attention_tile;
  };
};

// Useful work and compulsory traffic of an operator call, the same for every variant of it: what rooflines divide by.
static constexpr double op_flops(const OperatorShape& s) noexcept {
  const double m = s.m, n = s.n, k = s.k;
  switch (s.kind) {
    case OpKind::kMatmul: return 2 * m * n * k;
    case OpKind::kAttention: return 4 * n * k * m * (s.kv_len - (m - 1) / 2);  // QK^T and PV, causal half skipped
    default: return m * k * 4;
  }
}

static constexpr double op_bytes(const OperatorShape& s) noexcept {
  const double m = s.m, n = s.n, k = s.k;
  switch (s.kind) {
    case OpKind::kMatmul: return n * k / traits(s.dtype).block_elems * traits(s.dtype).block_bytes + 4 * m * (n + k);
    case OpKind::kAttention:
      return 2.0 * s.kv_heads * s.kv_len * k / traits(s.dtype).block_elems * traits(s.dtype).block_bytes +
             8 * m * n * k;
    default: return 8 * m * k;
  }
}

}  // namespace smepilot
