// What an operator call is, as far as choosing a kernel for it goes: its kind, its sizes and its element types.
#pragma once
#include <stdint.h>

#include "kernels/abi/dtype.h"

namespace smepilot {

enum class OpKind : uint8_t { kMatmul, kAttention, kNorm, kRope, kSwiglu, kSoftmax, kQuantize, kAttentionTile, kCount };
inline constexpr const char* kOpNames[] = {"matmul", "attention", "norm",     "rope",
                                           "swiglu", "softmax",   "quantize", "attention_tile"};
static_assert(sizeof(kOpNames) / sizeof(kOpNames[0]) == static_cast<uint32_t>(OpKind::kCount));

// matmul:     dst[m][n] = lhs[m][k] * rhs[n][k]^T; `dtype` is the element type of rhs (the weights).
// attention:  m query tokens against `kv_len` positions (the m last ones are the queries' own, causal), n = heads,
//             kv_heads, k = head dim; `dtype` is the element type of the KV cache.
// attention_tile: the stages of attention on one tile, which a pipeline runs on different units; shape as attention.
// others:     m rows of k elements; n = k.
struct OperatorShape {
  OpKind kind;
  DType dtype;
  uint32_t m, n, k;
  uint32_t kv_len, kv_heads;  // attention only, else 0
};

}  // namespace smepilot
