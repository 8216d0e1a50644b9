// How the attention tiles read a KV cache, by its element type. Included by one translation unit per ISA, after its
// simd_*.h header; internal linkage. Layouts: kernels/abi/layout.h.
#pragma once
#include "kernels/abi/half.h"
#include "kernels/abi/layout.h"

namespace smepilot {
namespace {

struct F16Cache {
  static constexpr bool kDirect = true;  // register tiles may read it as it is stored
  static size_t panel_bytes(size_t head_dim) noexcept { return kv_panel_bytes(DType::kF16, head_dim); }

  // One panel of K to f32 [head_dim][16].
  static SMEPILOT_INLINE void stage_keys(const uint8_t* panel, size_t head_dim, float* to) noexcept {
    const auto* k = reinterpret_cast<const uint16_t*>(panel);
    for (size_t i = 0; i < head_dim * kPanel; i += Simd::kWidth) Simd::store(to + i, Simd::load_f16(k + i));
  }

  // Elements d .. d + kCount - 1 of row `row` of a panel of V.
  template <uint32_t kCount>
  static SMEPILOT_INLINE void stage_values(const uint8_t* panel, size_t row, size_t head_dim, size_t d,
                                           float* to) noexcept {
    const auto* v = reinterpret_cast<const uint16_t*>(panel) + row * head_dim + d;
    SMEPILOT_UNROLL for (uint32_t c = 0; c < kCount; c += Simd::kWidth) Simd::store(to + c, Simd::load_f16(v + c));
  }
};

struct Q8Cache {
  static constexpr bool kDirect = false;
  static size_t panel_bytes(size_t head_dim) noexcept { return kv_panel_bytes(DType::kQ8_0, head_dim); }

  static SMEPILOT_INLINE void stage_keys(const uint8_t* panel, size_t head_dim, float* to) noexcept {
    const auto* scales = reinterpret_cast<const uint16_t*>(panel + kv_scale_offset(head_dim));
    for (size_t b = 0; b < head_dim; b += kQ8Block, scales += kPanel)
      for (uint32_t c = 0; c < kPanel; c += Simd::kWidth) {
        const Simd::Vec scale = Simd::load_f16(scales + c),
                        zero = Simd::mul(scale, Simd::set1(-static_cast<float>(kQ8Zero)));
        const uint8_t* q = panel + b * kPanel + c * 4;
        float* at = to + b * kPanel + c;
        for (uint32_t i = 0; i < kQ8Block; i += 4, q += 4 * kPanel, at += 4 * kPanel) {
          Simd::Vec quant[4];
          Simd::load_key_bytes(q, quant);
          SMEPILOT_UNROLL for (uint32_t j = 0; j < 4; ++j)
              Simd::store(at + j * kPanel, Simd::fma(quant[j], scale, zero));
        }
      }
  }

  template <uint32_t kCount>
  static SMEPILOT_INLINE void stage_values(const uint8_t* panel, size_t row, size_t head_dim, size_t d,
                                           float* to) noexcept {
    static_assert(kQ8Block % kCount == 0 || kCount % kQ8Block == 0);
    const auto* scales =
        reinterpret_cast<const uint16_t*>(panel + kv_scale_offset(head_dim)) + row * (head_dim / kQ8Block);
    const auto* v = reinterpret_cast<const int8_t*>(panel) + row * head_dim;
    constexpr uint32_t kStep = kCount < kQ8Block ? kCount : kQ8Block;
    SMEPILOT_UNROLL for (uint32_t at = 0; at < kCount; at += kStep) {
      const Simd::Vec scale = Simd::set1(f16_to_f32(scales[(d + at) / kQ8Block]));
      SMEPILOT_UNROLL for (uint32_t c = at; c < at + kStep; c += Simd::kWidth)
          Simd::store(to + c, Simd::mul(Simd::load_i8(v + d + c), scale));
    }
  }
};

}  // namespace
}  // namespace smepilot
