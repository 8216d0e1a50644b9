// Matmul with f32, f16 and bf16 weights on an SME unit with SME: see float_sme.h.
#include "kernels/matmul/float_sme.h"

namespace smepilot {

extern const KernelVariant kMatmulF32F32F32Sme, kMatmulF32F16F16Sme, kMatmulF32Bf16Bf16Sme;
constexpr KernelVariant kMatmulF32F32F32Sme = variant<DType::kF32>("matmul.f32.f32.f32.2vlx2vl.sme.fmopa");
constexpr KernelVariant kMatmulF32F16F16Sme = variant<DType::kF16>("matmul.f32.f16.f16.2vlx2vl.sme.fmopa");
constexpr KernelVariant kMatmulF32Bf16Bf16Sme = variant<DType::kBF16>("matmul.f32.bf16.bf16.2vlx2vl.sme.bfmopa");

}  // namespace smepilot
