// Matmul with bf16 weights and activations rounded to bf16, BFDOT by element: two k of one row against two k of four
// columns, 8 multiply-adds, without widening anything. Products are exact; sums are of f32, rounded to odd by cores
// without FEAT_EBF16. The variants that keep activations in f32 come before it: what is rounded here is for a plan to
// choose.
#include "kernels/matmul/float_panels_neon.h"

namespace smepilot {
namespace {

SMEPILOT_INLINE float32x4_t dot(float32x4_t acc, bfloat16x8_t w, bfloat16x8_t x, int lane) noexcept {
  return lane == 0   ? vbfdotq_laneq_f32(acc, w, x, 0)
         : lane == 1 ? vbfdotq_laneq_f32(acc, w, x, 1)
         : lane == 2 ? vbfdotq_laneq_f32(acc, w, x, 2)
                     : vbfdotq_laneq_f32(acc, w, x, 3);
}

struct Bf16 {
  static constexpr DType kType = DType::kBF16;
  static constexpr Layout kLhs = Layout::kLhsBf16Panel16;
  static constexpr size_t kWidened = 0;

  template <bool Widened, int R>
  static SMEPILOT_INLINE void multiply(uint32x4_t x, const uint8_t* weights, float32x4_t (&acc)[R][4]) noexcept {
    const bfloat16x8_t rows = vreinterpretq_bf16_u32(x);
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) {
      const bfloat16x8_t w = vreinterpretq_bf16_u8(vld1q_u8(weights + 16 * c));
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) acc[r][c] = dot(acc[r][c], w, rows, r);
    }
  }
};

}  // namespace

extern const KernelVariant kMatmulF32Bf16Bf16Bf16;
constexpr KernelVariant kMatmulF32Bf16Bf16Bf16 =
    variant<Bf16>("matmul.f32.bf16.bf16.4x16.bf16.bfdot", kIsaNeon | kIsaBf16);

}  // namespace smepilot
