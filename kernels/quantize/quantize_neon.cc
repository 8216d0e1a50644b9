// f32 rows to Layout::kLhsQ8Panel16 with NEON.
#include <arm_neon.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/kernel_variant.h"

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

SMEPILOT_INLINE float max_magnitude(const float* x, size_t count) noexcept {
  float32x4_t most[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
  for (size_t k = 0; k < count; k += 16) {
    SMEPILOT_UNROLL
    for (int i = 0; i < 4; ++i) most[i] = vmaxq_f32(most[i], vabsq_f32(vld1q_f32(x + k + 4 * i)));
  }
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(most[0], most[1]), vmaxq_f32(most[2], most[3])));
}

SMEPILOT_INLINE float round_to_f16(float f) noexcept {
  return vgetq_lane_f32(vcvt_f32_f16(vcvt_f16_f32(vdupq_n_f32(f))), 0);
}

void quantize(const QuantizeArgs* args) noexcept {
  const size_t rows = args->rows;
  uint8_t* dst = static_cast<uint8_t*>(args->dst);
  float group_max[kPanel];
  for (size_t k = 0; k < args->k; k += kQ8Block, dst += rows * kLhsQ8BlockBytes) {
    for (size_t r = 0; r < rows; ++r) {
      const float* x = args->x + r * args->x_stride + k;
      if (k % args->group == 0) group_max[r] = max_magnitude(x, args->group);
      const float max = group_max[r];
      // Below 1e-30 the inverse would overflow; such values are zero for all purposes.
      const float inverse = max > 1e-30f ? 127.0f / max : 0.0f;
      float d = max / 127.0f;
      if (args->group == kQ8Block && d < 65504.0f) d = round_to_f16(d);
      int16x8_t i16[4];
      SMEPILOT_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * i), inverse));
        const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * i + 4), inverse));
        i16[i] = vcombine_s16(vmovn_s32(low), vmovn_s32(high));
      }
      int8_t* q = reinterpret_cast<int8_t*>(dst + r * kQ8Block);
      vst1q_s8(q, vcombine_s8(vmovn_s16(i16[0]), vmovn_s16(i16[1])));
      vst1q_s8(q + 16, vcombine_s8(vmovn_s16(i16[2]), vmovn_s16(i16[3])));
      const int32_t h0 = vaddvq_s16(vaddq_s16(i16[0], i16[1])), h1 = vaddvq_s16(vaddq_s16(i16[2], i16[3]));
      store_planes(dst + rows * kQ8Block + r * 4, rows, d, h0, h1);
    }
  }
}

}  // namespace

extern const KernelVariant kQuantizeQ8Neon;
constexpr KernelVariant kQuantizeQ8Neon = {"quantize.q8.f32.f32.16x32.neon.fcvtns",
                                           OpKind::kQuantize,
                                           kIsaNeon,
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
