// Quantised matmul on an SME unit with SME2: see quant_sme.h.
#include "kernels/matmul/quant_sme.h"

namespace smepilot {

extern const KernelVariant kMatmulF32Q8Q8_0Sme2, kMatmulF32Q8Q4_0Sme2, kMatmulF32Q8Q4_1Sme2, kMatmulF32Q8Q5_0Sme2,
    kMatmulF32Q8Q5_1Sme2, kMatmulF32Q8Iq4NlSme2, kMatmulF32Q8Q2_KSme2, kMatmulF32Q8Q3_KSme2, kMatmulF32Q8Q4_KSme2,
    kMatmulF32Q8Q5_KSme2, kMatmulF32Q8Q6_KSme2;
constexpr KernelVariant kMatmulF32Q8Q8_0Sme2 = variant<DType::kQ8_0>("matmul.f32.q8.q8_0.1vlx2vl.sme2.smopa");
constexpr KernelVariant kMatmulF32Q8Q4_0Sme2 = variant<DType::kQ4_0>("matmul.f32.q8.q4_0.1vlx2vl.sme2.smopa");
constexpr KernelVariant kMatmulF32Q8Q4_1Sme2 = variant<DType::kQ4_1>("matmul.f32.q8.q4_1.1vlx2vl.sme2.smopa");
constexpr KernelVariant kMatmulF32Q8Q5_0Sme2 = variant<DType::kQ5_0>("matmul.f32.q8.q5_0.1vlx2vl.sme2.smopa");
constexpr KernelVariant kMatmulF32Q8Q5_1Sme2 = variant<DType::kQ5_1>("matmul.f32.q8.q5_1.1vlx2vl.sme2.smopa");
constexpr KernelVariant kMatmulF32Q8Iq4NlSme2 = variant<DType::kIQ4_NL>("matmul.f32.q8.iq4_nl.1vlx2vl.sme2.smopa");
constexpr KernelVariant kMatmulF32Q8Q2_KSme2 = variant<DType::kQ2_K>("matmul.f32.q8.q2_k.1vlx2vl.sme2.smopa");
constexpr KernelVariant kMatmulF32Q8Q3_KSme2 = variant<DType::kQ3_K>("matmul.f32.q8.q3_k.1vlx2vl.sme2.smopa");
constexpr KernelVariant kMatmulF32Q8Q4_KSme2 = variant<DType::kQ4_K>("matmul.f32.q8.q4_k.1vlx2vl.sme2.smopa");
constexpr KernelVariant kMatmulF32Q8Q5_KSme2 = variant<DType::kQ5_K>("matmul.f32.q8.q5_k.1vlx2vl.sme2.smopa");
constexpr KernelVariant kMatmulF32Q8Q6_KSme2 = variant<DType::kQ6_K>("matmul.f32.q8.q6_k.1vlx2vl.sme2.smopa");

}  // namespace smepilot
