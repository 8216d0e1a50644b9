// f32 rows to Layout::kLhsQ8Panel16K4 with NEON.
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/compiler.h"

namespace smepilot {
namespace {

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

SMEPILOT_INLINE void quantize_block(const float* x, float inverse, int8_t* q, int32_t* h0, int32_t* h1) noexcept {
  int16x8_t i16[4];
  SMEPILOT_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * i), inverse));
    const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 8 * i + 4), inverse));
    i16[i] = vcombine_s16(vmovn_s32(low), vmovn_s32(high));
  }
  vst1q_s8(q, vcombine_s8(vmovn_s16(i16[0]), vmovn_s16(i16[1])));
  vst1q_s8(q + 16, vcombine_s8(vmovn_s16(i16[2]), vmovn_s16(i16[3])));
  *h0 = vaddvq_s16(vaddq_s16(i16[0], i16[1]));
  *h1 = vaddvq_s16(vaddq_s16(i16[2], i16[3]));
}

}  // namespace
}  // namespace smepilot

#include "kernels/quantize/quantize_rows.h"

namespace smepilot {

extern const KernelVariant kQuantizeQ8Neon;
constexpr KernelVariant kQuantizeQ8Neon =
    quantize_variant("quantize.q8.f32.f32.16x32.neon.fcvtns", kIsaNeon, quantize_rows);

}  // namespace smepilot
