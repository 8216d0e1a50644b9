// f32 rows to the panels that outer products of floats read, with NEON: words of four rows at a time are transposed.
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/quantize/pack_lhs.h"

namespace smepilot {
namespace {

SMEPILOT_INLINE uint16x4_t to_f16(float32x4_t x) noexcept {
  const float32x4_t most = vdupq_n_f32(kMaxF16);
  return vreinterpret_u16_f16(vcvt_f16_f32(vmaxq_f32(vminq_f32(x, most), vnegq_f32(most))));
}

SMEPILOT_INLINE uint16x4_t to_bf16(float32x4_t x) noexcept {
  const uint32x4_t bits = vreinterpretq_u32_f32(x), last = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint16x4_t rounded = vaddhn_u32(bits, vaddq_u32(last, vdupq_n_u32(0x7fff)));
  const uint16x4_t nan = vorr_u16(vshrn_n_u32(bits, 16), vdup_n_u16(0x40));
  return vbsl_u16(vmovn_u32(vceqq_f32(x, x)), rounded, nan);
}

// Four words of a row.
template <DType D>
SMEPILOT_INLINE uint32x4_t words(const float* x) noexcept {
  if constexpr (D == DType::kF32) return vreinterpretq_u32_f32(vld1q_f32(x));
  const float32x4_t low = vld1q_f32(x), high = vld1q_f32(x + 4);
  if constexpr (D == DType::kF16) return vreinterpretq_u32_u16(vcombine_u16(to_f16(low), to_f16(high)));
  return vreinterpretq_u32_u16(vcombine_u16(to_bf16(low), to_bf16(high)));
}

SMEPILOT_INLINE void store(uint32_t* dst, uint32x4_t v, size_t count) noexcept {
  if (count == 4) return vst1q_u32(dst, v);
  if (count >= 2) vst1_u32(dst, vget_low_u32(v));
  if (count == 1) vst1q_lane_u32(dst, v, 0);
  if (count == 3) vst1q_lane_u32(dst + 2, v, 2);
}

// Words w0 .. w3 of rows r .. r + count - 1, of which `steps` exist, to [step][rows].
SMEPILOT_INLINE void put(uint32x4_t w0, uint32x4_t w1, uint32x4_t w2, uint32x4_t w3, uint32_t* dst, size_t rows,
                         size_t count, size_t steps) noexcept {
  const auto pairs = [](uint32x4_t v) noexcept { return vreinterpretq_u64_u32(v); };
  const uint64x2_t a = pairs(vtrn1q_u32(w0, w1)), b = pairs(vtrn2q_u32(w0, w1)), c = pairs(vtrn1q_u32(w2, w3)),
                   d = pairs(vtrn2q_u32(w2, w3));
  store(dst, vreinterpretq_u32_u64(vtrn1q_u64(a, c)), count);
  if (steps > 1) store(dst + rows, vreinterpretq_u32_u64(vtrn1q_u64(b, d)), count);
  if (steps > 2) store(dst + 2 * rows, vreinterpretq_u32_u64(vtrn2q_u64(a, c)), count);
  if (steps > 3) store(dst + 3 * rows, vreinterpretq_u32_u64(vtrn2q_u64(b, d)), count);
}

template <DType D>
void pack(const QuantizeArgs* args) noexcept {
  constexpr uint32_t kStep = 4 * kPackStep<D>;
  const size_t rows = args->rows, whole = args->k / kStep * kStep, rest = args->k - whole;
  for (size_t r = 0; r < rows; r += 4) {
    const size_t count = rows - r < 4 ? rows - r : 4;
    const float *x0 = args->x + r * args->x_stride, *x1 = count > 1 ? x0 + args->x_stride : x0,
                *x2 = count > 2 ? x1 + args->x_stride : x0, *x3 = count > 3 ? x2 + args->x_stride : x0;
    uint32_t* dst = static_cast<uint32_t*>(args->dst) + r;
    if (rows == 1) {  // nothing to transpose
      for (size_t k = 0; k < whole; k += kStep, dst += 4) vst1q_u32(dst, words<D>(x0 + k));
    } else if (count == 4) {
      for (size_t k = 0; k < whole; k += kStep, dst += 4 * rows)
        put(words<D>(x0 + k), words<D>(x1 + k), words<D>(x2 + k), words<D>(x3 + k), dst, rows, 4, 4);
    } else {
      for (size_t k = 0; k < whole; k += kStep, dst += 4 * rows)
        put(words<D>(x0 + k), words<D>(x1 + k), words<D>(x2 + k), words<D>(x3 + k), dst, rows, count, 4);
    }
    if (rest == 0) continue;
    float last[4][kStep] = {};
    const float* x[4] = {x0, x1, x2, x3};
    for (size_t i = 0; i < count; ++i)
      for (size_t k = 0; k < rest; ++k) last[i][k] = x[i][whole + k];
    put(words<D>(last[0]), words<D>(last[1]), words<D>(last[2]), words<D>(last[3]), dst, rows, count,
        (rest + kPackStep<D> - 1) / kPackStep<D>);
  }
}

}  // namespace

extern const KernelVariant kPackF32Neon, kPackF16Neon, kPackBf16Neon;
constexpr KernelVariant kPackF32Neon =
    pack_variant<DType::kF32>("quantize.f32.f32.f32.16x1.neon.trn", kIsaNeon, pack<DType::kF32>);
constexpr KernelVariant kPackF16Neon =
    pack_variant<DType::kF16>("quantize.f16.f32.f32.16x2.neon.fcvtn", kIsaNeon, pack<DType::kF16>);
constexpr KernelVariant kPackBf16Neon =
    pack_variant<DType::kBF16>("quantize.bf16.f32.f32.16x2.neon.addhn", kIsaNeon, pack<DType::kBF16>);

}  // namespace smepilot
