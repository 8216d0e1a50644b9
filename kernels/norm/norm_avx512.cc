// RMS norm, avx512.
#include "kernels/activation/simd_avx512.h"
#include "kernels/norm/norm_rows.h"

namespace smepilot {

extern const KernelVariant kAvx512Norm;

constexpr KernelVariant kAvx512Norm =
    norm_variant("norm.f32.f32.f32.1x16.avx512.rms", kIsaAvx512, Simd::kWidth, norm_rows);

}  // namespace smepilot
