// Rotary position embedding, avx2.
#include "kernels/activation/simd_avx2.h"
#include "kernels/rope/rope_rows.h"

namespace smepilot {

extern const KernelVariant kAvx2Rope;

constexpr KernelVariant kAvx2Rope = rope_variant("rope.f32.f32.f32.1x8.avx2.rotate", kIsaAvx2, Simd::kWidth, rope_rows);

}  // namespace smepilot
