// SwiGLU and softmax, neon.
#include "kernels/activation/simd_neon.h"
#include "kernels/activation/swiglu_softmax_rows.h"

namespace smepilot {

extern const KernelVariant kNeonSwiglu, kNeonSoftmax;

const KernelVariant kNeonSwiglu = {.id = "swiglu.f32.f32.f32.1x4.neon.exp",
                                   .op = OpKind::kSwiglu,
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
                                   .swiglu = swiglu_rows};

const KernelVariant kNeonSoftmax = {.id = "softmax.f32.f32.f32.1x4.neon.exp",
                                    .op = OpKind::kSoftmax,
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
                                    .softmax = softmax_rows};

}  // namespace smepilot
