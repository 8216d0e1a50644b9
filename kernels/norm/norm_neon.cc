// RMS norm, neon.
#include "kernels/activation/simd_neon.h"
#include "kernels/norm/norm_rows.h"

namespace smepilot {

extern const KernelVariant kNeonNorm;

constexpr KernelVariant kNeonNorm = norm_variant("norm.f32.f32.f32.1x4.neon.rms", kIsaNeon, Simd::kWidth, norm_rows);

}  // namespace smepilot
