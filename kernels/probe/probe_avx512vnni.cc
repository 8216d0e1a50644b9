// AVX-512 VNNI: 16 chains of vpdpbusd hide 5 cycles of latency on two ports.
#include <immintrin.h>

#include "kernels/probe/probe_loop.h"

namespace smepilot {
namespace {

constexpr int kChains = 16, kInner = 64;

uint64_t flops_int8(const ProbeArgs* a) noexcept {
  __m512i acc[kChains];
  const __m512i x = _mm512_set1_epi32(0x0b070503), y = _mm512_set1_epi32(0x07fd05fb);
  SMEPILOT_UNROLL
  for (int c = 0; c < kChains; ++c) acc[c] = _mm512_set1_epi32(c);
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kChains; ++c) {
        acc[c] = _mm512_dpbusd_epi32(acc[c], x, y);
        SMEPILOT_KEEP(acc[c]);
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kChains; ++c) acc[0] = _mm512_add_epi32(acc[0], acc[c]);
  uint32_t lanes[16];
  _mm512_storeu_si512(lanes, acc[0]);
  return lanes[0] + lanes[15];
}

}  // namespace

extern const Probe kProbeInt8Avx512Vnni;
const Probe kProbeInt8Avx512Vnni = {"int8.avx512vnni",   ProbeKind::kFlopsInt8,      kIsaAvx512Vnni,
                                    ExecutionUnit::kCpu, 2.0 * 64 * kChains* kInner, flops_int8};

}  // namespace smepilot
