// AVX-512 BF16: 16 chains of vdpbf16ps.
#include <immintrin.h>

#include "kernels/probe/probe_loop.h"

namespace smepilot {
namespace {

constexpr int kChains = 16, kInner = 64;

uint64_t flops_bf16(const ProbeArgs* a) noexcept {
  __m512 acc[kChains];
  const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(-0.5f));
  const __m512bh y = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.25f), _mm512_set1_ps(0.25f));
  SMEPILOT_UNROLL
  for (int c = 0; c < kChains; ++c) acc[c] = _mm512_set1_ps(static_cast<float>(c));
  for (uint64_t r = 0; r < a->repeat; ++r) {
    for (int i = 0; i < kInner; ++i) {
      SMEPILOT_UNROLL
      for (int c = 0; c < kChains; ++c) {
        acc[c] = _mm512_dpbf16_ps(acc[c], x, y);
        SMEPILOT_KEEP(acc[c]);
      }
    }
  }
  SMEPILOT_UNROLL
  for (int c = 1; c < kChains; ++c) acc[0] = _mm512_add_ps(acc[0], acc[c]);
  float lanes[16];
  _mm512_storeu_ps(lanes, acc[0]);
  return static_cast<uint64_t>(static_cast<int64_t>(lanes[0] + lanes[15]));
}

}  // namespace

extern const Probe kProbeBf16Avx512Bf16;
const Probe kProbeBf16Avx512Bf16 = {"bf16.avx512bf16",   ProbeKind::kFlopsBf16,      kIsaAvx512Bf16,
                                    ExecutionUnit::kCpu, 2.0 * 32 * kChains* kInner, flops_bf16};

}  // namespace smepilot
