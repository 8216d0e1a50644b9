// Rotary position embedding, avx512.
#include "kernels/activation/simd_avx512.h"
#include "kernels/rope/rope_rows.h"

namespace smepilot {

extern const KernelVariant kAvx512Rope;

constexpr KernelVariant kAvx512Rope =
    rope_variant("rope.f32.f32.f32.1x16.avx512.rotate", kIsaAvx512, Simd::kWidth, rope_rows);

}  // namespace smepilot
