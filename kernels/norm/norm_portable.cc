// RMS norm, portable.
#include "kernels/activation/simd_portable.h"
#include "kernels/norm/norm_rows.h"

namespace smepilot {

extern const KernelVariant kPortableNorm;

constexpr KernelVariant kPortableNorm =
    norm_variant("norm.f32.f32.f32.1x4.portable.rms", kIsaPortable, Simd::kWidth, norm_rows);

}  // namespace smepilot
