// RMS norm, portable.
#include "kernels/activation/simd_portable.h"
#include "kernels/norm/norm_rows.h"

namespace smepilot {

extern const KernelVariant kPortableNorm;

const KernelVariant kPortableNorm = {.id = "norm.f32.f32.f32.1x4.portable.rms",
                                     .op = OpKind::kNorm,
                                     .isa = kIsaPortable,
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
