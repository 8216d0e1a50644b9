// Rotary position embedding, neon.
#include "kernels/activation/simd_neon.h"
#include "kernels/rope/rope_rows.h"

namespace smepilot {

extern const KernelVariant kNeonRope;

constexpr KernelVariant kNeonRope = rope_variant("rope.f32.f32.f32.1x4.neon.rotate", kIsaNeon, Simd::kWidth, rope_rows);

}  // namespace smepilot
