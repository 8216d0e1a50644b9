// FEAT_FP16: FMLA on 8 half-precision lanes.
#include <arm_neon.h>

#include "kernels/probe/probe_loop.h"

namespace smepilot {
namespace {

constexpr int kChains = 24, kInner = 64;

uint64_t run(const ProbeArgs* a) noexcept {
  float16x8_t acc[kChains];
  const float16x8_t x = vcvt_high_f16_f32(vcvt_f16_f32(vdupq_n_f32(0.5f)), vdupq_n_f32(0.25f));
  const float16x8_t y = vcvt_high_f16_f32(vcvt_f16_f32(vdupq_n_f32(0.125f)), vdupq_n_f32(0.5f));
  SMEPILOT_UNROLL
  for (int c = 0; c < kChains; ++c) acc[c] = x;
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kChains; ++c) {
        acc[c] = vfmaq_f16(y, acc[c], x);  // converges: no overflow, no subnormals
        SMEPILOT_KEEP(acc[c]);
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kChains; ++c) acc[0] = vaddq_f16(acc[0], acc[c]);
  return static_cast<uint64_t>(vgetq_lane_f32(vcvt_high_f32_f16(acc[0]), 0));
}

}  // namespace

extern const Probe kProbeF16Fp16;
const Probe kProbeF16Fp16 = {"f16.fp16",          ProbeKind::kFlopsF16,      kIsaFp16,
                             ExecutionUnit::kCpu, 2.0 * 8 * kChains* kInner, run};

}  // namespace smepilot
