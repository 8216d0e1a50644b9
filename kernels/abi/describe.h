// Descriptors by operator: what all variants of one have in common is written here once, and a translation unit adds
// its id, its ISA step and its function. Internal linkage, like everything a kernel includes.
#pragma once
#include "kernels/abi/kernel_variant.h"

namespace smepilot {

// lhs is kQ8 for quantised weights, else kF32. mr: rows that one call accepts.
static constexpr KernelVariant matmul_variant(const char* id, IsaSet isa, DType lhs, DType rhs, uint32_t mr,
                                              MatmulFn fn, ExecutionUnit unit = ExecutionUnit::kCpu) noexcept {
  return {.id = id,
          .op = OpKind::kMatmul,
          .isa = isa,
          .unit = unit,
          .dst = DType::kF32,
          .lhs = lhs,
          .rhs = rhs,
          .dst_layout = Layout::kRowMajor,
          .lhs_layout = lhs == DType::kQ8 ? kLhsQ8Layout : Layout::kRowMajor,
          .rhs_layout = Layout::kRhsPanel16,
          .tile = {mr, kPanel, traits(rhs).block_elems},
          .max_m = 0,
          .matmul = fn};
}

// lhs: what queries and probabilities are rounded to, kF32 for not at all. rhs: of the KV cache. mr: query rows that
// one call accepts.
static constexpr KernelVariant attention_variant(const char* id, IsaSet isa, DType lhs, DType rhs, uint32_t mr,
                                                 AttentionFn fn, ExecutionUnit unit = ExecutionUnit::kCpu) noexcept {
  return {.id = id,
          .op = OpKind::kAttention,
          .isa = isa,
          .unit = unit,
          .dst = DType::kF32,
          .lhs = lhs,
          .rhs = rhs,
          .dst_layout = Layout::kRowMajor,
          .lhs_layout = Layout::kRowMajor,
          .rhs_layout = Layout::kKvKeyPanel16,
          .tile = {mr, kPanel, rhs == DType::kQ8_0 ? kQ8Block : 4},
          .max_m = 0,
          .attention = fn};
}

static constexpr KernelVariant quantize_variant(const char* id, IsaSet isa, QuantizeFn fn,
                                                Layout layout = kLhsQ8Layout) noexcept {
  return {.id = id,
          .op = OpKind::kQuantize,
          .isa = isa,
          .unit = ExecutionUnit::kCpu,
          .dst = DType::kQ8,
          .lhs = DType::kF32,
          .rhs = DType::kF32,
          .dst_layout = layout,
          .lhs_layout = Layout::kRowMajor,
          .rhs_layout = Layout::kRowMajor,
          .tile = {kPanel, kQ8Block, kQ8Block},
          .max_m = 0,
          .quantize = fn};
}

// f32 rows to f32 rows, `lanes` elements at a time. The four operators below set their function.
static constexpr KernelVariant rows_variant(const char* id, OpKind op, IsaSet isa, uint32_t lanes) noexcept {
  return {.id = id,
          .op = op,
          .isa = isa,
          .unit = ExecutionUnit::kCpu,
          .dst = DType::kF32,
          .lhs = DType::kF32,
          .rhs = DType::kF32,
          .dst_layout = Layout::kRowMajor,
          .lhs_layout = Layout::kRowMajor,
          .rhs_layout = Layout::kRowMajor,
          .tile = {1, lanes, 1},
          .max_m = 0,
          .matmul = nullptr};
}
static constexpr KernelVariant norm_variant(const char* id, IsaSet isa, uint32_t lanes, NormFn fn) noexcept {
  KernelVariant v = rows_variant(id, OpKind::kNorm, isa, lanes);
  v.norm = fn;
  return v;
}
static constexpr KernelVariant rope_variant(const char* id, IsaSet isa, uint32_t lanes, RopeFn fn) noexcept {
  KernelVariant v = rows_variant(id, OpKind::kRope, isa, lanes);
  v.rope = fn;
  return v;
}
static constexpr KernelVariant swiglu_variant(const char* id, IsaSet isa, uint32_t lanes, SwigluFn fn) noexcept {
  KernelVariant v = rows_variant(id, OpKind::kSwiglu, isa, lanes);
  v.swiglu = fn;
  return v;
}
static constexpr KernelVariant softmax_variant(const char* id, IsaSet isa, uint32_t lanes, SoftmaxFn fn) noexcept {
  KernelVariant v = rows_variant(id, OpKind::kSoftmax, isa, lanes);
  v.softmax = fn;
  return v;
}

}  // namespace smepilot
