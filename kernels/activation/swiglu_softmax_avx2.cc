// SwiGLU and softmax, avx2.
#include "kernels/activation/simd_avx2.h"
#include "kernels/activation/swiglu_softmax_rows.h"

namespace smepilot {

extern const KernelVariant kAvx2Swiglu, kAvx2Softmax;

const KernelVariant kAvx2Swiglu = {.id = "swiglu.f32.f32.f32.1x8.avx2.exp",
                                   .op = OpKind::kSwiglu,
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
                                   .swiglu = swiglu_rows};

const KernelVariant kAvx2Softmax = {.id = "softmax.f32.f32.f32.1x8.avx2.exp",
                                    .op = OpKind::kSoftmax,
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
                                    .softmax = softmax_rows};

}  // namespace smepilot
