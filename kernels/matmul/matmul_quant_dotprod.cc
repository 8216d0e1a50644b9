// Quantised matmul with dot products: see quant_dotprod.h.
#include "kernels/matmul/quant_dotprod.h"

namespace smepilot {
namespace {

template <DType D>
constexpr KernelVariant variant(const char* id) noexcept {
  return matmul_variant(id, kIsaNeon | kIsaDotprod, DType::kQ8, D, kMr, matmul<Sdot<D>>);
}

}  // namespace

extern const KernelVariant kMatmulF32Q8Q8_0Dotprod, kMatmulF32Q8Q4_0Dotprod, kMatmulF32Q8Q4_1Dotprod,
    kMatmulF32Q8Q5_0Dotprod, kMatmulF32Q8Q5_1Dotprod, kMatmulF32Q8Iq4NlDotprod, kMatmulF32Q8Q2_KDotprod,
    kMatmulF32Q8Q3_KDotprod, kMatmulF32Q8Q4_KDotprod, kMatmulF32Q8Q5_KDotprod, kMatmulF32Q8Q6_KDotprod;
constexpr KernelVariant kMatmulF32Q8Q8_0Dotprod = variant<DType::kQ8_0>("matmul.f32.q8.q8_0.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q4_0Dotprod = variant<DType::kQ4_0>("matmul.f32.q8.q4_0.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q4_1Dotprod = variant<DType::kQ4_1>("matmul.f32.q8.q4_1.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q5_0Dotprod = variant<DType::kQ5_0>("matmul.f32.q8.q5_0.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q5_1Dotprod = variant<DType::kQ5_1>("matmul.f32.q8.q5_1.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Iq4NlDotprod = variant<DType::kIQ4_NL>("matmul.f32.q8.iq4_nl.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q2_KDotprod = variant<DType::kQ2_K>("matmul.f32.q8.q2_k.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q3_KDotprod = variant<DType::kQ3_K>("matmul.f32.q8.q3_k.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q4_KDotprod = variant<DType::kQ4_K>("matmul.f32.q8.q4_k.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q5_KDotprod = variant<DType::kQ5_K>("matmul.f32.q8.q5_k.4x16.dotprod.sdot");
constexpr KernelVariant kMatmulF32Q8Q6_KDotprod = variant<DType::kQ6_K>("matmul.f32.q8.q6_k.4x16.dotprod.sdot");

}  // namespace smepilot
