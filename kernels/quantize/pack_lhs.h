// What the packers of float panels share: their descriptors. A panel is made of 32-bit words, [step][row]: an element
// of f32, or two consecutive k of a 16-bit type. Internal linkage.
#pragma once
#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"

namespace smepilot {
namespace {

template <DType D>
constexpr uint32_t kPackStep = D == DType::kF32 ? 1 : 2;  // k of a word
constexpr float kMaxF16 = 65504.0f;

template <DType D>
constexpr KernelVariant pack_variant(const char* id, IsaSet isa, QuantizeFn fn) noexcept {
  KernelVariant v = quantize_variant(id, isa, fn);
  v.dst = D;
  v.dst_layout = D == DType::kF32   ? Layout::kLhsF32Panel16
                 : D == DType::kF16 ? Layout::kLhsF16Panel16
                                    : Layout::kLhsBf16Panel16;
  v.tile = {kPanel, kPackStep<D>, 1};
  return v;
}

}  // namespace
}  // namespace smepilot
