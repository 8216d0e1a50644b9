// RMS norm, avx2.
#include "kernels/activation/simd_avx2.h"
#include "kernels/norm/norm_rows.h"

namespace smepilot {

extern const KernelVariant kAvx2Norm;

const KernelVariant kAvx2Norm = {.id = "norm.f32.f32.f32.1x8.avx2.rms",
                                 .op = OpKind::kNorm,
                                 .isa = kIsaAvx2,
                                 .unit = ExecutionUnit::kCpu,
                                 .dst = DType::kF32,
                                 .lhs = DType::kF32,
                                 .rhs = DType::kF32,
                                 .dst_layout = Layout::kRowMajor,
                                 .lhs_layout = Layout::kRowMajor,
                                 .rhs_layout = Layout::kRowMajor,
                                 .tile = {1, 8, 1},
                                 .max_m = 0,
                                 .norm = norm_rows};

}  // namespace smepilot
