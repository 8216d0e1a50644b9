// Any target: the compiler's own vector types for f32, plain loops where a portable kernel has plain loops.
#include "kernels/activation/simd_portable.h"
// After simd_portable.h, whose Simd it uses.
#include "kernels/activation/vector_exp.h"
#define SMEPILOT_PROBE_EXP
#include "kernels/probe/probe_memory.h"

namespace smepilot {
namespace {

constexpr int kChains = 8, kInner = 64;

uint64_t flops_f32(const ProbeArgs* a) noexcept {
  F32x4 acc[kChains];
  const F32x4 x = {0.999f, 0.998f, 0.997f, 0.996f}, y = {1e-3f, 2e-3f, 3e-3f, 4e-3f};
  SMEPILOT_UNROLL
  for (int c = 0; c < kChains; ++c) acc[c] = y + static_cast<float>(c);
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kChains; ++c) {
        acc[c] = acc[c] * x + y;
        SMEPILOT_KEEP(acc[c]);
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kChains; ++c) acc[0] += acc[c];
  return static_cast<uint64_t>(acc[0][0] + acc[0][3]);
}

constexpr uint32_t kInt8Count = 4096;

// A dot product from L1: what the compiler makes of the loop is the peak of a kernel written like that.
uint64_t flops_int8(const ProbeArgs* a) noexcept {
  alignas(64) uint8_t x[kInt8Count];
  alignas(64) int8_t y[kInt8Count];
  for (uint32_t i = 0; i < kInt8Count; ++i) {
    x[i] = static_cast<uint8_t>(i % 251);
    y[i] = static_cast<int8_t>(static_cast<int>(i % 241) - 120);
  }
  uint32_t sum = 0;
  for (uint64_t r = 0; r < a->repeat; ++r) {
    // The barrier alone is not enough: the arrays are the compiler's until their addresses leave its sight.
    __asm__ volatile("" ::"r"(x), "r"(y) : "memory");
    int32_t dot = 0;
    for (uint32_t i = 0; i < kInt8Count; ++i) dot += x[i] * y[i];
    sum += static_cast<uint32_t>(dot);
  }
  return sum;
}

struct Memory {
  typedef uint64_t Vec __attribute__((vector_size(16)));
  static SMEPILOT_INLINE Vec zero() noexcept { return Vec{0, 0}; }
  static SMEPILOT_INLINE Vec load(const void* p) noexcept { return *static_cast<const Vec*>(p); }
  static SMEPILOT_INLINE void store(void* p, Vec v) noexcept { *static_cast<Vec*>(p) = v; }
  static SMEPILOT_INLINE void stream(void* p, Vec v) noexcept { store(p, v); }  // there is no portable way
  static SMEPILOT_INLINE void fence() noexcept {}
  static SMEPILOT_INLINE Vec combine(Vec a, Vec b) noexcept { return a ^ b; }
};

}  // namespace

extern const Probe kProbeF32Portable, kProbeInt8Portable, kProbeReadPortable, kProbeWritePortable, kProbeCopyPortable,
    kProbeExpPortable;
const Probe kProbeF32Portable = {"f32.portable",      ProbeKind::kFlopsF32,      kIsaPortable,
                                 ExecutionUnit::kCpu, 2.0 * 4 * kChains* kInner, flops_f32};
const Probe kProbeInt8Portable = {"int8.portable",     ProbeKind::kFlopsInt8, kIsaPortable,
                                  ExecutionUnit::kCpu, 2.0 * kInt8Count,      flops_int8};
const Probe kProbeReadPortable = {"read.portable",    ProbeKind::kRead, kIsaPortable, ExecutionUnit::kCpu, 0,
                                  read_memory<Memory>};
const Probe kProbeWritePortable = {"write.portable",    ProbeKind::kWrite, kIsaPortable, ExecutionUnit::kCpu, 0,
                                   write_memory<Memory>};
const Probe kProbeCopyPortable = {"copy.portable",    ProbeKind::kCopy, kIsaPortable, ExecutionUnit::kCpu, 0,
                                  copy_memory<Memory>};
const Probe kProbeExpPortable = {"exp.portable",  ProbeKind::kExp, kIsaPortable, ExecutionUnit::kCpu, 0,
                                 exp_memory<Simd>};

}  // namespace smepilot
