// Advanced SIMD: FMLA, the widening int8 sequence of cores without dot products, streams through memory. 24 of 32
// registers as chains: 4 cycles of latency on up to 6 pipes.
#include <arm_neon.h>

#include "kernels/probe/probe_memory.h"

namespace smepilot {
namespace {

constexpr int kChains = 24, kInner = 64;

uint64_t flops_f32(const ProbeArgs* a) noexcept {
  float32x4_t acc[kChains];
  const float32x4_t x = vdupq_n_f32(0.999f), y = vdupq_n_f32(1e-3f);
  SMEPILOT_UNROLL
  for (int c = 0; c < kChains; ++c) acc[c] = vdupq_n_f32(static_cast<float>(c));
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kChains; ++c) {
        acc[c] = vfmaq_f32(acc[c], x, y);
        SMEPILOT_KEEP(acc[c]);
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kChains; ++c) acc[0] = vaddq_f32(acc[0], acc[c]);
  return static_cast<uint64_t>(vaddvq_f32(acc[0]));
}

// Products in 16 bits (8 a time), pairwise added into 32.
uint64_t flops_int8(const ProbeArgs* a) noexcept {
  constexpr int kAcc = 8;
  int32x4_t acc[kAcc];
  int8x16_t x = vdupq_n_s8(5);
  const int8x16_t y = vdupq_n_s8(-3);
  SMEPILOT_UNROLL
  for (int c = 0; c < kAcc; ++c) acc[c] = vdupq_n_s32(c);
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kAcc; ++c) {
        SMEPILOT_KEEP(x);
        const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(y));
        acc[c] = vpadalq_s16(acc[c], vmlal_high_s8(low, x, y));
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kAcc; ++c) acc[0] = vaddq_s32(acc[0], acc[c]);
  return static_cast<uint32_t>(vaddvq_s32(acc[0]));
}

struct Memory {
  using Vec = uint8x16_t;
  static SMEPILOT_INLINE Vec zero() noexcept { return vdupq_n_u8(0); }
  static SMEPILOT_INLINE Vec load(const void* p) noexcept { return vld1q_u8(static_cast<const uint8_t*>(p)); }
  static SMEPILOT_INLINE void store(void* p, Vec v) noexcept { vst1q_u8(static_cast<uint8_t*>(p), v); }
  // Arm cores switch to write streaming by themselves; there is nothing to ask for with 16-byte stores.
  static SMEPILOT_INLINE void stream(void* p, Vec v) noexcept { store(p, v); }
  static SMEPILOT_INLINE void fence() noexcept {}
  static SMEPILOT_INLINE Vec combine(Vec a, Vec b) noexcept { return veorq_u8(a, b); }
};

}  // namespace

extern const Probe kProbeF32Neon, kProbeInt8Neon, kProbeReadNeon, kProbeWriteNeon, kProbeCopyNeon;
const Probe kProbeF32Neon = {"f32.neon",          ProbeKind::kFlopsF32,      kIsaNeon,
                             ExecutionUnit::kCpu, 2.0 * 4 * kChains* kInner, flops_f32};
const Probe kProbeInt8Neon = {"int8.neon",         ProbeKind::kFlopsInt8, kIsaNeon,
                              ExecutionUnit::kCpu, 2.0 * 16 * 8 * kInner, flops_int8};
const Probe kProbeReadNeon = {"read.neon", ProbeKind::kRead, kIsaNeon, ExecutionUnit::kCpu, 0, read_memory<Memory>};
const Probe kProbeWriteNeon = {"write.neon", ProbeKind::kWrite, kIsaNeon, ExecutionUnit::kCpu, 0, write_memory<Memory>};
const Probe kProbeCopyNeon = {"copy.neon", ProbeKind::kCopy, kIsaNeon, ExecutionUnit::kCpu, 0, copy_memory<Memory>};

}  // namespace smepilot
