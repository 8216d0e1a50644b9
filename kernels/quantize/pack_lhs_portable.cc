// f32 rows to the panels that outer products of floats read (kLhsF32Panel16, kLhsF16Panel16, kLhsBf16Panel16), with the
// instructions every target has.
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/half.h"
#include "kernels/quantize/pack_lhs.h"

namespace smepilot {
namespace {

template <DType D>
SMEPILOT_INLINE uint32_t word(float a, float b) noexcept {
  if constexpr (D == DType::kF32) return bits_from_float(a);
  if constexpr (D == DType::kBF16) return f32_to_bf16(a) | static_cast<uint32_t>(f32_to_bf16(b)) << 16;
  const auto saturated = [](float x) noexcept { return x > kMaxF16 ? kMaxF16 : x < -kMaxF16 ? -kMaxF16 : x; };
  return f32_to_f16(saturated(a)) | static_cast<uint32_t>(f32_to_f16(saturated(b))) << 16;
}

template <DType D>
void pack(const QuantizeArgs* args) noexcept {
  auto* dst = static_cast<uint32_t*>(args->dst);
  for (uint32_t k = 0; k < args->k; k += kPackStep<D>)
    for (uint32_t r = 0; r < args->rows; ++r) {
      const float* x = args->x + r * args->x_stride + k;
      *dst++ = word<D>(x[0], kPackStep<D> == 2 && k + 1 < args->k ? x[1] : 0.0f);
    }
}

}  // namespace

extern const KernelVariant kPackF32Portable, kPackF16Portable, kPackBf16Portable;
constexpr KernelVariant kPackF32Portable =
    pack_variant<DType::kF32>("quantize.f32.f32.f32.16x1.portable.move", kIsaPortable, pack<DType::kF32>);
constexpr KernelVariant kPackF16Portable =
    pack_variant<DType::kF16>("quantize.f16.f32.f32.16x2.portable.round", kIsaPortable, pack<DType::kF16>);
constexpr KernelVariant kPackBf16Portable =
    pack_variant<DType::kBF16>("quantize.bf16.f32.f32.16x2.portable.round", kIsaPortable, pack<DType::kBF16>);

}  // namespace smepilot
