// RMS norm, avx2.
#include "kernels/activation/simd_avx2.h"
#include "kernels/norm/norm_rows.h"

namespace smepilot {

extern const KernelVariant kAvx2Norm;

constexpr KernelVariant kAvx2Norm = norm_variant("norm.f32.f32.f32.1x8.avx2.rms", kIsaAvx2, Simd::kWidth, norm_rows);

}  // namespace smepilot
