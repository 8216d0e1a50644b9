// RMS norm, neon.
#include "kernels/activation/simd_neon.h"
#include "kernels/norm/norm_rows.h"

namespace smepilot {

extern const KernelVariant kNeonNorm;

const KernelVariant kNeonNorm = {.id = "norm.f32.f32.f32.1x4.neon.rms",
                                 .op = OpKind::kNorm,
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
                                 .norm = norm_rows};

}  // namespace smepilot
