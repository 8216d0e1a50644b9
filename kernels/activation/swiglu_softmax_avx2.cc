// SwiGLU and softmax, avx2.
#include "kernels/activation/simd_avx2.h"
#include "kernels/activation/swiglu_softmax_rows.h"

namespace smepilot {

extern const KernelVariant kAvx2Swiglu, kAvx2Softmax;

constexpr KernelVariant kAvx2Swiglu =
    swiglu_variant("swiglu.f32.f32.f32.1x8.avx2.exp", kIsaAvx2, Simd::kWidth, swiglu_rows);

constexpr KernelVariant kAvx2Softmax =
    softmax_variant("softmax.f32.f32.f32.1x8.avx2.exp", kIsaAvx2, Simd::kWidth, softmax_rows);

}  // namespace smepilot
