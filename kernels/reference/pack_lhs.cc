#include "kernels/reference/pack_lhs.h"

#include <algorithm>
#include <cstring>

#include "kernels/abi/half.h"

namespace smepilot::reference {
namespace {

float saturated(float x) {
  return std::clamp(x, -65504.0f, 65504.0f);
}

}  // namespace

float rounded_lhs(Layout layout, float x) {
  if (layout == Layout::kLhsF16Panel16) return f16_to_f32(f32_to_f16(saturated(x)));
  if (layout == Layout::kLhsBf16Panel16) return bf16_to_f32(f32_to_bf16(x));
  return x;
}

void pack_lhs_float(Layout layout, const float* x, size_t x_stride, size_t m, size_t k, void* panels) {
  auto* const base = static_cast<std::byte*>(panels);
  const bool f32 = layout == Layout::kLhsF32Panel16, f16 = layout == Layout::kLhsF16Panel16;
  for (size_t row = 0; row < m; ++row) {
    const size_t first = row / kPanel * kPanel, rows = std::min<size_t>(kPanel, m - first);
    std::byte* const panel = base + lhs_bytes(layout, first, k);
    for (size_t i = 0; i < (f32 ? k : (k + 1) / 2 * 2); ++i) {
      const float value = i < k ? x[row * x_stride + i] : 0.0f;
      if (f32) {
        std::memcpy(panel + (i * rows + row - first) * 4, &value, 4);
      } else {
        const uint16_t half = f16 ? f32_to_f16(saturated(value)) : f32_to_bf16(value);
        std::memcpy(panel + ((i / 2 * rows + row - first) * 2 + i % 2) * 2, &half, 2);
      }
    }
  }
}

}  // namespace smepilot::reference
