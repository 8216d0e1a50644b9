// f32 rows to a panel of Layout::kLhsQ8Panel16 or kLhsQ8Panel16K4, written once. Included by one translation unit per
// ISA, after it has defined what the loop is made of; internal linkage:
//   float max_magnitude(const float* x, size_t count)   largest |x|, count a multiple of 32
//   float round_to_f16(float)
//   void quantize_block(const float* x, float inverse, int8_t* q, int32_t* h0, int32_t* h1)
//     q[32] = round(x * inverse), ties to even; h0, h1: sums of q[0..15] and q[16..31]
#pragma once
#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"

namespace smepilot {
namespace {

// The planes of one row of a block that follow the quants. h0, h1: sums of the two halves' quants.
SMEPILOT_INLINE void store_planes(uint8_t* p, size_t rows, float d, int32_t h0, int32_t h1) noexcept {
  const int32_t sum = h0 + h1;
  const float ds = d * static_cast<float>(sum);
  const int32_t corrections[4] = {-8 * sum, -128 * sum, -32 * h0, -32 * h1};
  __builtin_memcpy(p, &d, 4);
  __builtin_memcpy(p + rows * 4, &ds, 4);
  SMEPILOT_UNROLL
  for (size_t i = 0; i < 4; ++i) __builtin_memcpy(p + (2 + i) * rows * 4, &corrections[i], 4);
}

template <Layout kLayout = kLhsQ8Layout>
void quantize_rows(const QuantizeArgs* args) noexcept {
  const size_t rows = args->rows;
  float group_max[kPanel];
  uint8_t* dst = static_cast<uint8_t*>(args->dst);
  for (size_t k = 0; k < args->k; k += kQ8Block, dst += rows * kLhsQ8BlockBytes) {
    const bool group_begins = k % args->group == 0;
    for (size_t r = 0; r < rows; ++r) {
      const float* x = args->x + r * args->x_stride + k;
      if (group_begins) group_max[r] = max_magnitude(x, args->group);
      const float max = group_max[r];
      // Below 1e-30 the inverse would overflow; such values are zero for all purposes.
      const float inverse = max > 1e-30f ? 127.0f / max : 0.0f;
      float d = max / 127.0f;
      if (args->group == kQ8Block && d < 65504.0f) d = round_to_f16(d);
      int32_t h0, h1;
      if constexpr (kLayout == Layout::kLhsQ8Panel16) {
        quantize_block(x, inverse, reinterpret_cast<int8_t*>(dst + r * kQ8Block), &h0, &h1);
      } else {
        int8_t q[kQ8Block];
        quantize_block(x, inverse, q, &h0, &h1);
        SMEPILOT_UNROLL
        for (size_t i = 0; i < kQ8Block; i += 4) __builtin_memcpy(dst + i * rows + r * 4, q + i, 4);
      }
      store_planes(dst + rows * kQ8Block + r * 4, rows, d, h0, h1);
    }
  }
}

}  // namespace
}  // namespace smepilot
