// AVX2, FMA: 12 chains fit 16 registers and hide 4 or 5 cycles of latency on two ports.
#include "kernels/activation/simd_avx2.h"
// After simd_avx2.h, whose Simd it uses.
#include "kernels/activation/vector_exp.h"
#define SMEPILOT_PROBE_EXP
#include "kernels/probe/probe_memory.h"

namespace smepilot {
namespace {

constexpr int kChains = 12, kInner = 64;

uint64_t flops_f32(const ProbeArgs* a) noexcept {
  __m256 acc[kChains], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1e-3f);
  SMEPILOT_UNROLL
  for (int c = 0; c < kChains; ++c) acc[c] = _mm256_set1_ps(static_cast<float>(c));
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kChains; ++c) {
        acc[c] = _mm256_fmadd_ps(acc[c], x, y);
        SMEPILOT_KEEP(acc[c]);
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kChains; ++c) acc[0] = _mm256_add_ps(acc[0], acc[c]);
  float lanes[8];
  _mm256_storeu_ps(lanes, acc[0]);
  return static_cast<uint64_t>(lanes[0] + lanes[7]);
}

// u8 x s8: products of pairs in 16 bits, pairs of those in 32, then the sum.
uint64_t flops_int8(const ProbeArgs* a) noexcept {
  constexpr int kAcc = 8;
  __m256i acc[kAcc], x = _mm256_set1_epi32(0x0b070503);
  const __m256i y = _mm256_set1_epi32(0x07fd05fb), ones = _mm256_set1_epi16(1);
  SMEPILOT_UNROLL
  for (int c = 0; c < kAcc; ++c) acc[c] = _mm256_setzero_si256();
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kAcc; ++c) {
        SMEPILOT_KEEP(x);
        acc[c] = _mm256_add_epi32(acc[c], _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones));
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kAcc; ++c) acc[0] = _mm256_add_epi32(acc[0], acc[c]);
  return static_cast<uint32_t>(_mm256_extract_epi32(acc[0], 0) + _mm256_extract_epi32(acc[0], 7));
}

struct Memory {
  using Vec = __m256i;
  static SMEPILOT_INLINE Vec zero() noexcept { return _mm256_setzero_si256(); }
  static SMEPILOT_INLINE Vec load(const void* p) noexcept { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
  static SMEPILOT_INLINE void store(void* p, Vec v) noexcept { _mm256_store_si256(static_cast<__m256i*>(p), v); }
  static SMEPILOT_INLINE void stream(void* p, Vec v) noexcept { _mm256_stream_si256(static_cast<__m256i*>(p), v); }
  static SMEPILOT_INLINE void fence() noexcept { _mm_sfence(); }
  static SMEPILOT_INLINE Vec combine(Vec a, Vec b) noexcept { return _mm256_xor_si256(a, b); }
};

}  // namespace

extern const Probe kProbeF32Avx2, kProbeInt8Avx2, kProbeReadAvx2, kProbeWriteAvx2, kProbeCopyAvx2, kProbeExpAvx2;
const Probe kProbeF32Avx2 = {"f32.avx2",          ProbeKind::kFlopsF32,      kIsaAvx2,
                             ExecutionUnit::kCpu, 2.0 * 8 * kChains* kInner, flops_f32};
const Probe kProbeInt8Avx2 = {"int8.avx2",         ProbeKind::kFlopsInt8, kIsaAvx2,
                              ExecutionUnit::kCpu, 2.0 * 32 * 8 * kInner, flops_int8};
const Probe kProbeReadAvx2 = {"read.avx2", ProbeKind::kRead, kIsaAvx2, ExecutionUnit::kCpu, 0, read_memory<Memory>};
const Probe kProbeWriteAvx2 = {"write.avx2", ProbeKind::kWrite, kIsaAvx2, ExecutionUnit::kCpu, 0, write_memory<Memory>};
const Probe kProbeCopyAvx2 = {"copy.avx2", ProbeKind::kCopy, kIsaAvx2, ExecutionUnit::kCpu, 0, copy_memory<Memory>};
const Probe kProbeExpAvx2 = {"exp.avx2", ProbeKind::kExp, kIsaAvx2, ExecutionUnit::kCpu, 0, exp_memory<Simd>};

}  // namespace smepilot
