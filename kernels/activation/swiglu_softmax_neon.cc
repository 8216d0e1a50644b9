// SwiGLU and softmax, neon.
#include "kernels/activation/simd_neon.h"
#include "kernels/activation/swiglu_softmax_rows.h"

namespace smepilot {

extern const KernelVariant kNeonSwiglu, kNeonSoftmax;

constexpr KernelVariant kNeonSwiglu =
    swiglu_variant("swiglu.f32.f32.f32.1x4.neon.exp", kIsaNeon, Simd::kWidth, swiglu_rows);

constexpr KernelVariant kNeonSoftmax =
    softmax_variant("softmax.f32.f32.f32.1x4.neon.exp", kIsaNeon, Simd::kWidth, softmax_rows);

}  // namespace smepilot
