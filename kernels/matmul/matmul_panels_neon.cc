// Matmul with f32 and f16 weights and activations of the same type in panels, FMLA by element, f32 accumulation: what
// cores do of a matmul whose other part an SME unit does. A step of four rows is one vector, a row of it a lane. The
// variants with f32 rows come before these: whether activations are rounded to f16 is for a plan to choose.
#include "kernels/matmul/float_panels_neon.h"

namespace smepilot {
namespace {

SMEPILOT_INLINE float32x4_t fma(float32x4_t acc, float32x4_t w, float32x4_t x, int lane) noexcept {
  return lane == 0   ? vfmaq_laneq_f32(acc, w, x, 0)
         : lane == 1 ? vfmaq_laneq_f32(acc, w, x, 1)
         : lane == 2 ? vfmaq_laneq_f32(acc, w, x, 2)
                     : vfmaq_laneq_f32(acc, w, x, 3);
}

SMEPILOT_INLINE float32x4_t load(const uint8_t* p) noexcept {
  return vld1q_f32(reinterpret_cast<const float*>(p));
}

struct F32 {
  static constexpr DType kType = DType::kF32;
  static constexpr Layout kLhs = Layout::kLhsF32Panel16;
  static constexpr size_t kWidened = 0;

  template <bool Widened, int R>
  static SMEPILOT_INLINE void multiply(uint32x4_t x, const uint8_t* weights, float32x4_t (&acc)[R][4]) noexcept {
    const float32x4_t rows = vreinterpretq_f32_u32(x);
    SMEPILOT_UNROLL
    for (int c = 0; c < 4; ++c) {
      const float32x4_t w = load(weights + 16 * c);
      SMEPILOT_UNROLL
      for (int r = 0; r < R; ++r) acc[r][c] = fma(acc[r][c], w, rows, r);
    }
  }
};

struct F16 {
  static constexpr DType kType = DType::kF16;
  static constexpr Layout kLhs = Layout::kLhsF16Panel16;
  static constexpr size_t kWidened = 2 * kPanel * sizeof(float);  // of two k, one after the other
  static_assert(kF16Pairs);

  // Columns 8 h .. 8 h + 7 of two k.
  static SMEPILOT_INLINE void widen_half(const uint8_t* weights, int h, float32x4_t (&first)[2],
                                         float32x4_t (&second)[2]) noexcept {
    const uint16x8_t a = vreinterpretq_u16_u8(vld1q_u8(weights + 32 * h)),
                     b = vreinterpretq_u16_u8(vld1q_u8(weights + 32 * h + 16));
    const float16x8_t even = vreinterpretq_f16_u16(vuzp1q_u16(a, b)), odd = vreinterpretq_f16_u16(vuzp2q_u16(a, b));
    first[0] = vcvt_f32_f16(vget_low_f16(even));
    first[1] = vcvt_high_f32_f16(even);
    second[0] = vcvt_f32_f16(vget_low_f16(odd));
    second[1] = vcvt_high_f32_f16(odd);
  }

  static SMEPILOT_INLINE void widen(const uint8_t* weights, float* out) noexcept {
    SMEPILOT_UNROLL
    for (int h = 0; h < 2; ++h) {
      float32x4_t first[2], second[2];
      widen_half(weights, h, first, second);
      SMEPILOT_UNROLL
      for (int c = 0; c < 2; ++c) {
        vst1q_f32(out + 8 * h + 4 * c, first[c]);
        vst1q_f32(out + kPanel + 8 * h + 4 * c, second[c]);
      }
    }
  }

  template <bool Widened, int R>
  static SMEPILOT_INLINE void multiply(uint32x4_t x, const uint8_t* weights, float32x4_t (&acc)[R][4]) noexcept {
    const float16x8_t rows = vreinterpretq_f16_u32(x);  // both k of a row side by side
    const float32x4_t low = vcvt_f32_f16(vget_low_f16(rows)), high = vcvt_high_f32_f16(rows);
    SMEPILOT_UNROLL
    for (int h = 0; h < 2; ++h) {
      float32x4_t first[2], second[2];
      if constexpr (Widened) {
        SMEPILOT_UNROLL
        for (int c = 0; c < 2; ++c) {
          first[c] = load(weights + 32 * h + 16 * c);
          second[c] = load(weights + kPanel * sizeof(float) + 32 * h + 16 * c);
        }
      } else {
        widen_half(weights, h, first, second);
      }
      SMEPILOT_UNROLL
      for (int c = 0; c < 2; ++c) {
        SMEPILOT_UNROLL
        for (int r = 0; r < R; ++r) {
          float32x4_t& sum = acc[r][2 * h + c];
          sum = fma(sum, first[c], r < 2 ? low : high, r % 2 * 2);
          sum = fma(sum, second[c], r < 2 ? low : high, r % 2 * 2 + 1);
        }
      }
    }
  }
};

}  // namespace

extern const KernelVariant kMatmulF32F32F32PanelsNeon, kMatmulF32F16F16PanelsNeon;
constexpr KernelVariant kMatmulF32F32F32PanelsNeon = variant<F32>("matmul.f32.f32.f32.4x16.neon.fmla_panels", kIsaNeon);
constexpr KernelVariant kMatmulF32F16F16PanelsNeon = variant<F16>("matmul.f32.f16.f16.4x16.neon.fmla_panels", kIsaNeon);

}  // namespace smepilot
