// AVX-512 F: FMA and the widened maddubs sequence, streams through memory, exp. 16 chains hide the 4 or 5 cycles of
// latency on two ports.
#include "kernels/activation/simd_avx512.h"
// After simd_avx512.h, whose Simd it uses.
#include "kernels/activation/vector_exp.h"
#define SMEPILOT_PROBE_EXP
#include "kernels/probe/probe_memory.h"

namespace smepilot {
namespace {

constexpr int kChains = 16, kInner = 64;

uint64_t flops_f32(const ProbeArgs* a) noexcept {
  __m512 acc[kChains], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1e-3f);
  SMEPILOT_UNROLL
  for (int c = 0; c < kChains; ++c) acc[c] = _mm512_set1_ps(static_cast<float>(c));
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kChains; ++c) {
        acc[c] = _mm512_fmadd_ps(acc[c], x, y);
        SMEPILOT_KEEP(acc[c]);
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kChains; ++c) acc[0] = _mm512_add_ps(acc[0], acc[c]);
  float lanes[16];
  _mm512_storeu_ps(lanes, acc[0]);
  return static_cast<uint64_t>(lanes[0] + lanes[15]);
}

// u8 x s8 without VNNI: products of pairs in 16 bits, pairs of those in 32, then the sum.
uint64_t flops_int8(const ProbeArgs* a) noexcept {
  constexpr int kAcc = 8;
  __m512i acc[kAcc], x = _mm512_set1_epi32(0x0b070503), y = _mm512_set1_epi32(0x07fd05fb);
  const __m512i ones = _mm512_set1_epi16(1);
  SMEPILOT_UNROLL
  for (int c = 0; c < kAcc; ++c) acc[c] = _mm512_setzero_si512();
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kAcc; ++c) {
        SMEPILOT_KEEP(x);
        acc[c] = _mm512_add_epi32(acc[c], _mm512_madd_epi16(_mm512_maddubs_epi16(x, y), ones));
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kAcc; ++c) acc[0] = _mm512_add_epi32(acc[0], acc[c]);
  uint32_t lanes[16];
  _mm512_storeu_si512(lanes, acc[0]);
  return lanes[0] + lanes[15];
}

struct Memory {
  using Vec = __m512i;
  static SMEPILOT_INLINE Vec zero() noexcept { return _mm512_setzero_si512(); }
  static SMEPILOT_INLINE Vec load(const void* p) noexcept { return _mm512_load_si512(p); }
  static SMEPILOT_INLINE void store(void* p, Vec v) noexcept { _mm512_store_si512(p, v); }
  static SMEPILOT_INLINE void stream(void* p, Vec v) noexcept { _mm512_stream_si512(static_cast<__m512i*>(p), v); }
  static SMEPILOT_INLINE void fence() noexcept { _mm_sfence(); }
  static SMEPILOT_INLINE Vec combine(Vec a, Vec b) noexcept { return _mm512_xor_si512(a, b); }
};

}  // namespace

extern const Probe kProbeF32Avx512, kProbeInt8Avx512, kProbeReadAvx512, kProbeWriteAvx512, kProbeCopyAvx512,
    kProbeExpAvx512;
const Probe kProbeF32Avx512 = {"f32.avx512",        ProbeKind::kFlopsF32,       kIsaAvx512,
                               ExecutionUnit::kCpu, 2.0 * 16 * kChains* kInner, flops_f32};
const Probe kProbeInt8Avx512 = {"int8.avx512",       ProbeKind::kFlopsInt8, kIsaAvx512,
                                ExecutionUnit::kCpu, 2.0 * 64 * 8 * kInner, flops_int8};
const Probe kProbeReadAvx512 = {"read.avx512",      ProbeKind::kRead, kIsaAvx512, ExecutionUnit::kCpu, 0,
                                read_memory<Memory>};
const Probe kProbeWriteAvx512 = {"write.avx512",      ProbeKind::kWrite, kIsaAvx512, ExecutionUnit::kCpu, 0,
                                 write_memory<Memory>};
const Probe kProbeCopyAvx512 = {"copy.avx512",      ProbeKind::kCopy, kIsaAvx512, ExecutionUnit::kCpu, 0,
                                copy_memory<Memory>};
const Probe kProbeExpAvx512 = {"exp.avx512", ProbeKind::kExp, kIsaAvx512, ExecutionUnit::kCpu, 0, exp_memory<Simd>};

}  // namespace smepilot
