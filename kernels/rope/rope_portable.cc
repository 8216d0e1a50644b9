// Rotary position embedding, portable.
#include "kernels/activation/simd_portable.h"
#include "kernels/rope/rope_rows.h"

namespace smepilot {

extern const KernelVariant kPortableRope;

constexpr KernelVariant kPortableRope =
    rope_variant("rope.f32.f32.f32.1x4.portable.rotate", kIsaPortable, Simd::kWidth, rope_rows);

}  // namespace smepilot
