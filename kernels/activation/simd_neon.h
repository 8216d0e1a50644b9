// Four floats in a NEON register: the vocabulary that the NEON kernels of attention, norm and activation are written
// in; see simd_portable.h for what each operation promises.
#pragma once
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/abi/compiler.h"

namespace smepilot {
namespace {

struct Simd {
  using Vec = float32x4_t;
  static constexpr uint32_t kWidth = 4;

  static SMEPILOT_INLINE Vec zero() noexcept { return vdupq_n_f32(0); }
  static SMEPILOT_INLINE Vec set1(float x) noexcept { return vdupq_n_f32(x); }
  static SMEPILOT_INLINE Vec load(const float* p) noexcept { return vld1q_f32(p); }
  static SMEPILOT_INLINE void store(float* p, Vec v) noexcept { vst1q_f32(p, v); }
  static SMEPILOT_INLINE Vec load_partial(const float* p, uint32_t n) noexcept {
    Vec v = zero();
    if ((n & 2) != 0) v = vcombine_f32(vld1_f32(p), vdup_n_f32(0));
    if (n == 1) v = vld1q_lane_f32(p, v, 0);
    if (n == 3) v = vld1q_lane_f32(p + 2, v, 2);
    return v;
  }
  static SMEPILOT_INLINE void store_partial(float* p, uint32_t n, Vec v) noexcept {
    if ((n & 2) != 0) vst1_f32(p, vget_low_f32(v));
    if (n == 1) vst1q_lane_f32(p, v, 0);
    if (n == 3) vst1q_lane_f32(p + 2, v, 2);
  }
  static SMEPILOT_INLINE Vec load_f16(const uint16_t* p) noexcept {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
  }
  static SMEPILOT_INLINE Vec load_f16_partial(const uint16_t* p, uint32_t n) noexcept {
    uint16x4_t h = vdup_n_u16(0);
    if (n > 0) h = vld1_lane_u16(p, h, 0);
    if (n > 1) h = vld1_lane_u16(p + 1, h, 1);
    if (n > 2) h = vld1_lane_u16(p + 2, h, 2);
    return vcvt_f32_f16(vreinterpret_f16_u16(h));
  }
  static SMEPILOT_INLINE void load_key_bytes(const uint8_t* p, Vec (&out)[4]) noexcept {
    const int32x4_t x = vreinterpretq_s32_u8(vld1q_u8(p));
    out[0] = vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(x, 24), 24));
    out[1] = vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(x, 16), 24));
    out[2] = vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(x, 8), 24));
    out[3] = vcvtq_f32_s32(vshrq_n_s32(x, 24));
  }
  static SMEPILOT_INLINE Vec load_i8(const int8_t* p) noexcept {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof(four));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(static_cast<uint32_t>(four))))));
  }
  static SMEPILOT_INLINE Vec round_to_f16(Vec v) noexcept { return vcvt_f32_f16(vcvt_f16_f32(v)); }
  static SMEPILOT_INLINE Vec add(Vec a, Vec b) noexcept { return vaddq_f32(a, b); }
  static SMEPILOT_INLINE Vec sub(Vec a, Vec b) noexcept { return vsubq_f32(a, b); }
  static SMEPILOT_INLINE Vec mul(Vec a, Vec b) noexcept { return vmulq_f32(a, b); }
  static SMEPILOT_INLINE Vec div(Vec a, Vec b) noexcept { return vdivq_f32(a, b); }
  static SMEPILOT_INLINE Vec fma(Vec a, Vec b, Vec c) noexcept { return vfmaq_f32(c, a, b); }
  static SMEPILOT_INLINE Vec fnma(Vec a, Vec b, Vec c) noexcept { return vfmsq_f32(c, a, b); }
  // NaN if either is: no less than simd_portable.h promises for a NaN in b.
  static SMEPILOT_INLINE Vec max(Vec a, Vec b) noexcept { return vmaxq_f32(a, b); }
  static SMEPILOT_INLINE Vec min(Vec a, Vec b) noexcept { return vminq_f32(a, b); }
  static SMEPILOT_INLINE float reduce_add(Vec v) noexcept { return vaddvq_f32(v); }
  static SMEPILOT_INLINE float reduce_max(Vec v) noexcept { return vmaxvq_f32(v); }
  static SMEPILOT_INLINE Vec keep_below(Vec v, uint32_t n, Vec fill) noexcept {
    static constexpr uint32_t kLane[4] = {0, 1, 2, 3};
    return vbslq_f32(vcltq_u32(vld1q_u32(kLane), vdupq_n_u32(n)), v, fill);
  }
  static SMEPILOT_INLINE Vec keep_where_greater(Vec a, Vec b, Vec v, Vec fill) noexcept {
    return vbslq_f32(vcgtq_f32(a, b), v, fill);
  }
  static SMEPILOT_INLINE Vec round(Vec x) noexcept { return vrndnq_f32(x); }
  static SMEPILOT_INLINE Vec scale_by_power(Vec x, Vec n) noexcept {
    const int32x4_t i = vcvtq_s32_f32(n), half = vshrq_n_s32(i, 1), bias = vdupq_n_s32(127);
    const int32x4_t a = vshlq_n_s32(vaddq_s32(half, bias), 23);
    const int32x4_t b = vshlq_n_s32(vaddq_s32(vsubq_s32(i, half), bias), 23);
    return vmulq_f32(vmulq_f32(x, vreinterpretq_f32_s32(a)), vreinterpretq_f32_s32(b));
  }
  static SMEPILOT_INLINE Vec to_exponents(Vec x) noexcept { return min(set1(127.0f), max(set1(-125.0f), x)); }
  static SMEPILOT_INLINE Vec scale_normal(Vec x, Vec n) noexcept {
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), vshlq_n_s32(vcvtq_s32_f32(n), 23)));
  }

  struct SquareSum {
    float64x2_t low = vdupq_n_f64(0), high = vdupq_n_f64(0);
    SMEPILOT_INLINE void add(Vec v) noexcept {
      const float64x2_t a = vcvt_f64_f32(vget_low_f32(v)), b = vcvt_high_f64_f32(v);
      low = vfmaq_f64(low, a, a);
      high = vfmaq_f64(high, b, b);
    }
    SMEPILOT_INLINE double total() const noexcept { return vaddvq_f64(vaddq_f64(low, high)); }
  };

  static SMEPILOT_INLINE Vec rotate_pairs(Vec v, const float* c, const float* s) noexcept {
    const float32x2_t c2 = vld1_f32(c), s2 = vld1_f32(s), minus = vneg_f32(s2);
    const Vec cc = vcombine_f32(vzip1_f32(c2, c2), vzip2_f32(c2, c2));
    const Vec ss = vcombine_f32(vzip1_f32(minus, s2), vzip2_f32(minus, s2));
    return vfmaq_f32(vmulq_f32(v, cc), vrev64q_f32(v), ss);
  }
};

}  // namespace
}  // namespace smepilot
