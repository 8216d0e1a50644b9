// Rotary position embedding of rows of heads, written once against the Simd vocabulary. Included by one translation
// unit per ISA, after its simd_*.h header; internal linkage.
#pragma once
#include "kernels/abi/describe.h"

namespace smepilot {
namespace {

// Pairs (2i, 2i+1) of one head.
SMEPILOT_INLINE void rotate_interleaved(float* x, const float* cosine, const float* sine, uint32_t half) noexcept {
  constexpr uint32_t kPairs = Simd::kWidth / 2;
  const uint32_t whole = half / kPairs * kPairs;
  for (uint32_t i = 0; i < whole; i += kPairs)
    Simd::store(x + 2 * i, Simd::rotate_pairs(Simd::load(x + 2 * i), cosine + i, sine + i));
  for (uint32_t i = whole; i < half; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cosine[i] - b * sine[i];
    x[2 * i + 1] = b * cosine[i] + a * sine[i];
  }
}

// Pairs (i, i + half) of one head.
SMEPILOT_INLINE void rotate_halves(float* x, const float* cosine, const float* sine, uint32_t half) noexcept {
  const uint32_t whole = half / Simd::kWidth * Simd::kWidth;
  for (uint32_t i = 0; i < whole; i += Simd::kWidth) {
    const Simd::Vec a = Simd::load(x + i), b = Simd::load(x + half + i);
    const Simd::Vec c = Simd::load(cosine + i), s = Simd::load(sine + i);
    Simd::store(x + i, Simd::fnma(b, s, Simd::mul(a, c)));
    Simd::store(x + half + i, Simd::fma(a, s, Simd::mul(b, c)));
  }
  for (uint32_t i = whole; i < half; ++i) {
    const float a = x[i], b = x[half + i];
    x[i] = a * cosine[i] - b * sine[i];
    x[half + i] = b * cosine[i] + a * sine[i];
  }
}

void rope_rows(const RopeArgs* args) noexcept {
  const uint32_t half = args->half;
  for (uint32_t row = 0; row < args->rows; ++row) {
    const float* cosine = args->cos_sin + static_cast<size_t>(row) * 2 * half;
    const float* sine = cosine + half;
    float* head = args->x + row * args->x_stride;
    for (uint32_t h = 0; h < args->heads; ++h, head += args->head_dim) {
      if (args->interleaved)
        rotate_interleaved(head, cosine, sine, half);
      else
        rotate_halves(head, cosine, sine, half);
    }
  }
}

}  // namespace
}  // namespace smepilot
