// SwiGLU and softmax, avx512.
#include "kernels/activation/simd_avx512.h"
#include "kernels/activation/swiglu_softmax_rows.h"

namespace smepilot {

extern const KernelVariant kAvx512Swiglu, kAvx512Softmax;

constexpr KernelVariant kAvx512Swiglu =
    swiglu_variant("swiglu.f32.f32.f32.1x16.avx512.exp", kIsaAvx512, Simd::kWidth, swiglu_rows);

constexpr KernelVariant kAvx512Softmax =
    softmax_variant("softmax.f32.f32.f32.1x16.avx512.exp", kIsaAvx512, Simd::kWidth, softmax_rows);

}  // namespace smepilot
