// FEAT_DotProd: SDOT, 16 multiply-adds an instruction.
#include <arm_neon.h>

#include "kernels/probe/probe_loop.h"

namespace smepilot {
namespace {

constexpr int kChains = 24, kInner = 64;

uint64_t run(const ProbeArgs* a) noexcept {
  int32x4_t acc[kChains];
  const int8x16_t x = vdupq_n_s8(5), y = vdupq_n_s8(-3);
  SMEPILOT_UNROLL
  for (int c = 0; c < kChains; ++c) acc[c] = vdupq_n_s32(c);
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kChains; ++c) {
        acc[c] = vdotq_s32(acc[c], x, y);
        SMEPILOT_KEEP(acc[c]);
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kChains; ++c) acc[0] = vaddq_s32(acc[0], acc[c]);
  return static_cast<uint32_t>(vaddvq_s32(acc[0]));
}

}  // namespace

extern const Probe kProbeInt8Dotprod;
const Probe kProbeInt8Dotprod = {"int8.dotprod",      ProbeKind::kFlopsInt8,      kIsaDotprod,
                                 ExecutionUnit::kCpu, 2.0 * 16 * kChains* kInner, run};

}  // namespace smepilot
