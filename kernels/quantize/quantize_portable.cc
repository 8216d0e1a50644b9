// Activations to Layout::kLhsQ8Panel16 and kLhsQ8Panel16K4 with the instructions every target has; loops that a
// compiler vectorises.
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/half.h"
#include "kernels/abi/layout.h"

namespace smepilot {
namespace {

float max_magnitude(const float* x, size_t count) noexcept {
  uint32_t max_bits = 0;  // magnitudes order like their bits, and integers vectorise without -ffast-math
  for (size_t i = 0; i < count; ++i) {
    const uint32_t magnitude = bits_from_float(x[i]) & 0x7fffffffu;
    max_bits = magnitude > max_bits ? magnitude : max_bits;
  }
  return float_from_bits(max_bits);
}

SMEPILOT_INLINE float round_to_f16(float f) noexcept {
  return f16_to_f32(f32_to_f16(f));
}

SMEPILOT_INLINE void quantize_block(const float* x, float inverse, int8_t* out, int32_t* h0, int32_t* h1) noexcept {
  int32_t q[kQ8Block];
  // Adding 1.5 * 2^23 leaves the nearest integer (ties to even) in the low bits of the sum.
  for (uint32_t i = 0; i < kQ8Block; ++i)
    q[i] = static_cast<int32_t>(bits_from_float(x[i] * inverse + 12582912.0f) - 0x4b400000u);
  *h0 = *h1 = 0;
  for (uint32_t i = 0; i < 16; ++i) *h0 += q[i];
  for (uint32_t i = 16; i < 32; ++i) *h1 += q[i];
  for (uint32_t i = 0; i < kQ8Block; ++i) out[i] = static_cast<int8_t>(q[i]);
}

}  // namespace
}  // namespace smepilot

#include "kernels/quantize/quantize_rows.h"

namespace smepilot {

extern const KernelVariant kQuantizeQ8Portable, kQuantizeQ8K4Portable;
constexpr KernelVariant kQuantizeQ8Portable =
    quantize_variant("quantize.q8.f32.f32.16x32.portable.round", kIsaPortable, quantize_rows<Layout::kLhsQ8Panel16>,
                     Layout::kLhsQ8Panel16);
constexpr KernelVariant kQuantizeQ8K4Portable =
    quantize_variant("quantize.q8.f32.f32.16x32.portable.round_k4", kIsaPortable,
                     quantize_rows<Layout::kLhsQ8Panel16K4>, Layout::kLhsQ8Panel16K4);

}  // namespace smepilot
