// RMS norm, avx512.
#include "kernels/activation/simd_avx512.h"
#include "kernels/norm/norm_rows.h"

namespace smepilot {

extern const KernelVariant kAvx512Norm;

const KernelVariant kAvx512Norm = {.id = "norm.f32.f32.f32.1x16.avx512.rms",
                                   .op = OpKind::kNorm,
                                   .isa = kIsaAvx512,
                                   .unit = ExecutionUnit::kCpu,
                                   .dst = DType::kF32,
                                   .lhs = DType::kF32,
                                   .rhs = DType::kF32,
                                   .dst_layout = Layout::kRowMajor,
                                   .lhs_layout = Layout::kRowMajor,
                                   .rhs_layout = Layout::kRowMajor,
                                   .tile = {1, 16, 1},
                                   .max_m = 0,
                                   .norm = norm_rows};

}  // namespace smepilot
