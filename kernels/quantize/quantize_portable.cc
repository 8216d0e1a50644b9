// Activations to Layout::kLhsQ8Panel16 with the instructions every target has; loops that a compiler vectorises.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/abi/half.h"
#include "kernels/abi/kernel_variant.h"

namespace smepilot {
namespace {

float max_magnitude(const float* x, uint32_t count) noexcept {
  uint32_t max_bits = 0;  // magnitudes order like their bits, and integers vectorise without -ffast-math
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t magnitude = bits_from_float(x[i]) & 0x7fffffffu;
    max_bits = magnitude > max_bits ? magnitude : max_bits;
  }
  return float_from_bits(max_bits);
}

void quantize(const QuantizeArgs* a) noexcept {
  const uint32_t rows = a->rows;
  float group_max[kPanel];
  for (uint32_t block = 0; block < a->k / kQ8Block; ++block) {
    uint8_t* const dst = static_cast<uint8_t*>(a->dst) + size_t{block} * rows * kLhsQ8BlockBytes;
    for (uint32_t r = 0; r < rows; ++r) {
      const float* const x = a->x + r * a->x_stride + size_t{block} * kQ8Block;
      if (block * kQ8Block % a->group == 0) group_max[r] = max_magnitude(x, a->group);
      const float max = group_max[r];
      float d = max / 127.0f;
      if (a->group == kQ8Block && d < 65504.0f) d = f16_to_f32(f32_to_f16(d));
      const float inverse = max > 1e-30f ? 127.0f / max : 0.0f;
      int32_t q[kQ8Block], half_sum[2] = {0, 0};
      // Adding 1.5 * 2^23 leaves the nearest integer (ties to even) in the low bits of the sum.
      for (uint32_t i = 0; i < kQ8Block; ++i)
        q[i] = static_cast<int32_t>(bits_from_float(x[i] * inverse + 12582912.0f) - 0x4b400000u);
      for (uint32_t i = 0; i < 16; ++i) half_sum[0] += q[i];
      for (uint32_t i = 16; i < 32; ++i) half_sum[1] += q[i];
      int8_t* const bytes = reinterpret_cast<int8_t*>(dst + r * kQ8Block);
      for (uint32_t i = 0; i < kQ8Block; ++i) bytes[i] = static_cast<int8_t>(q[i]);

      const int32_t sum = half_sum[0] + half_sum[1];
      const float ds = d * static_cast<float>(sum);
      const int32_t sums[4] = {-8 * sum, -128 * sum, -32 * half_sum[0], -32 * half_sum[1]};
      uint8_t* const planes = dst + rows * kQ8Block + r * 4;
      memcpy(planes, &d, 4);
      memcpy(planes + rows * 4, &ds, 4);
      for (uint32_t i = 0; i < 4; ++i) memcpy(planes + (2 + i) * rows * 4, &sums[i], 4);
    }
  }
}

}  // namespace

extern const KernelVariant kQuantizeQ8Portable;
const KernelVariant kQuantizeQ8Portable = {"quantize.q8.f32.f32.16x32.portable.round",
                                           OpKind::kQuantize,
                                           kIsaPortable,
                                           ExecutionUnit::kCpu,
                                           DType::kQ8,
                                           DType::kF32,
                                           DType::kF32,
                                           Layout::kLhsQ8Panel16,
                                           Layout::kRowMajor,
                                           Layout::kRowMajor,
                                           {kPanel, kQ8Block, kQ8Block},
                                           0,
                                           {.quantize = quantize}};

}  // namespace smepilot
