// Rotary position embedding, neon.
#include "kernels/activation/simd_neon.h"
#include "kernels/rope/rope_rows.h"

namespace smepilot {

extern const KernelVariant kNeonRope;

const KernelVariant kNeonRope = {.id = "rope.f32.f32.f32.1x4.neon.rotate",
                                 .op = OpKind::kRope,
                                 .isa = kIsaNeon,
                                 .unit = ExecutionUnit::kCpu,
                                 .dst = DType::kF32,
                                 .lhs = DType::kF32,
                                 .rhs = DType::kF32,
                                 .dst_layout = Layout::kRowMajor,
                                 .lhs_layout = Layout::kRowMajor,
                                 .rhs_layout = Layout::kRowMajor,
                                 .tile = {1, 4, 1},
                                 .max_m = 0,
                                 .rope = rope_rows};

}  // namespace smepilot
