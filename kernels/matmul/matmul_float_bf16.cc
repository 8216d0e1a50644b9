// Matmul with bf16 weights and activations rounded to bf16, BFDOT by element: two k of one row against two k of four
// columns, 8 multiply-adds, without widening anything. Products are exact; sums are of f32, rounded to odd by cores
// without FEAT_EBF16. Its left operand is the one of the matrix unit's bf16 kernels, so that both can share it. The
// variants that keep activations in f32 come before it: what is rounded here is for a plan to choose.
//
// Register tile: 4 rows x 16 columns; 256 k of a panel, 8 KiB, stay in L1 while all rows of the call use them.
#include <arm_neon.h>

#include "kernels/abi/compiler.h"
#include "kernels/abi/describe.h"

namespace smepilot {
namespace {

constexpr uint32_t kMr = 32;      // rows of one call
constexpr uint32_t kTile = 4;     // rows of the register tile
constexpr size_t kChunk = 128;    // pairs of k
constexpr size_t kPairBytes = 4;  // of one row, or of one column

SMEPILOT_INLINE bfloat16x8_t load_pairs(const uint8_t* p) noexcept {
  return vreinterpretq_bf16_u8(vld1q_u8(p));
}

// One pair of k of R rows. No byte more than that: the last panel ends with it.
template <int R>
SMEPILOT_INLINE bfloat16x8_t load_rows(const uint8_t* p) noexcept {
  const uint32_t* words = reinterpret_cast<const uint32_t*>(p);
  if constexpr (R == 4) return load_pairs(p);
  if constexpr (R == 3)
    return vreinterpretq_bf16_u32(vld1q_lane_u32(words + 2, vcombine_u32(vld1_u32(words), vdup_n_u32(0)), 2));
  if constexpr (R == 2) return vreinterpretq_bf16_u32(vcombine_u32(vld1_u32(words), vdup_n_u32(0)));
  return vreinterpretq_bf16_u32(vld1q_dup_u32(words));
}

SMEPILOT_INLINE float32x4_t dot(float32x4_t acc, bfloat16x8_t w, bfloat16x8_t x, int lane) noexcept {
  return lane == 0   ? vbfdotq_laneq_f32(acc, w, x, 0)
         : lane == 1 ? vbfdotq_laneq_f32(acc, w, x, 1)
         : lane == 2 ? vbfdotq_laneq_f32(acc, w, x, 2)
                     : vbfdotq_laneq_f32(acc, w, x, 3);
}

// Adds `pairs` of k: R rows, `step` bytes from pair to pair, times 16 columns.
template <int R>
SMEPILOT_INLINE void add_tile(const uint8_t* x, size_t step, const uint8_t* panel, size_t pairs,
                              float (*sums)[16]) noexcept {
  // One row has 4 accumulators, too few to hide the latency: every other pair gets its own.
  constexpr int kSets = R == 1 ? 2 : 1;
  float32x4_t acc[kSets][R][4];
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) {
      acc[0][r][c] = vld1q_f32(sums[r] + 4 * c);
      if (kSets == 2) acc[kSets - 1][r][c] = vdupq_n_f32(0);
    }
  }
  const auto add_pair = [&]<int Set>() noexcept {
    const bfloat16x8_t rows = load_rows<R>(x);
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) {
      const bfloat16x8_t w = load_pairs(panel + 16 * c);
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) acc[Set][r][c] = dot(acc[Set][r][c], w, rows, r);
    }
    x += step;
    panel += kPanel * kPairBytes;
  };
  size_t i = 0;
  for (; i + 2 <= pairs; i += 2) {
    add_pair.template operator()<0>();
    add_pair.template operator()<kSets - 1>();
  }
  if (i < pairs) add_pair.template operator()<0>();
  SMEPILOT_UNROLL
  for (int r = 0; r < R; ++r) {
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c)
      vst1q_f32(sums[r] + 4 * c, kSets == 2 ? vaddq_f32(acc[0][r][c], acc[kSets - 1][r][c]) : acc[0][r][c]);
  }
}

void matmul(const MatmulArgs* args) noexcept {
  const size_t pairs = (size_t{args->k} + 1) / 2;
  const uint8_t* panel = static_cast<const uint8_t*>(args->rhs);
  const uint8_t* lhs = static_cast<const uint8_t*>(args->lhs);
  for (uint32_t n = 0; n < args->n; n += kPanel, panel += args->rhs_stride) {
    alignas(64) float sums[kMr][16] = {};
    for (size_t at = 0; at < pairs; at += kChunk) {
      const size_t count = pairs - at < kChunk ? pairs - at : kChunk;
      const uint8_t* weights = panel + at * kPanel * kPairBytes;
      for (uint32_t row = 0; row < args->m; row += kTile) {
        const uint32_t first = row / kPanel * kPanel;
        const uint32_t height = args->m - first < kPanel ? args->m - first : kPanel;
        const size_t step = height * kPairBytes;
        const uint8_t* x =
            lhs + lhs_bytes(Layout::kLhsBf16Panel16, first, args->k) + at * step + (row - first) * kPairBytes;
        switch (args->m - row) {
          case 1: add_tile<1>(x, step, weights, count, sums + row); break;
          case 2: add_tile<2>(x, step, weights, count, sums + row); break;
          case 3: add_tile<3>(x, step, weights, count, sums + row); break;
          default: add_tile<4>(x, step, weights, count, sums + row); break;
        }
      }
    }
    const uint32_t columns = args->n - n < kPanel ? args->n - n : kPanel;
    for (uint32_t r = 0; r < args->m; ++r) {
      float* dst = args->dst + r * args->dst_stride + n;
      for (uint32_t c = 0; c < columns; ++c) dst[c] = sums[r][c];
    }
  }
}

constexpr KernelVariant variant(const char* id) noexcept {
  KernelVariant v = matmul_variant(id, kIsaNeon | kIsaBf16, DType::kBF16, DType::kBF16, kMr, matmul);
  v.lhs_layout = Layout::kLhsBf16Panel16;
  return v;
}

}  // namespace

extern const KernelVariant kMatmulF32Bf16Bf16Bf16;
constexpr KernelVariant kMatmulF32Bf16Bf16Bf16 = variant("matmul.f32.bf16.bf16.4x16.bf16.bfdot");

}  // namespace smepilot
