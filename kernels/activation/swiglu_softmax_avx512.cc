// SwiGLU and softmax, avx512.
#include "kernels/activation/simd_avx512.h"
#include "kernels/activation/swiglu_softmax_rows.h"

namespace smepilot {

extern const KernelVariant kAvx512Swiglu, kAvx512Softmax;

const KernelVariant kAvx512Swiglu = {.id = "swiglu.f32.f32.f32.1x16.avx512.exp",
                                     .op = OpKind::kSwiglu,
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
                                     .swiglu = swiglu_rows};

const KernelVariant kAvx512Softmax = {.id = "softmax.f32.f32.f32.1x16.avx512.exp",
                                      .op = OpKind::kSoftmax,
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
                                      .softmax = softmax_rows};

}  // namespace smepilot
