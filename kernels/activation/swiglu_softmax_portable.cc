// SwiGLU and softmax, portable.
#include "kernels/activation/simd_portable.h"
#include "kernels/activation/swiglu_softmax_rows.h"

namespace smepilot {

extern const KernelVariant kPortableSwiglu, kPortableSoftmax;

constexpr KernelVariant kPortableSwiglu =
    swiglu_variant("swiglu.f32.f32.f32.1x4.portable.exp", kIsaPortable, Simd::kWidth, swiglu_rows);

constexpr KernelVariant kPortableSoftmax =
    softmax_variant("softmax.f32.f32.f32.1x4.portable.exp", kIsaPortable, Simd::kWidth, softmax_rows);

}  // namespace smepilot
