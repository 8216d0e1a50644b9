// SwiGLU and softmax of rows, written once against the Simd vocabulary. Included by one translation unit per ISA, after
// its simd_*.h header; internal linkage.
#pragma once
#include "kernels/abi/describe.h"
#include "kernels/activation/vector_exp.h"

namespace smepilot {
namespace {

SMEPILOT_INLINE Simd::Vec swiglu_vector(Simd::Vec gate, Simd::Vec up) noexcept {
  const Simd::Vec one = Simd::set1(1.0f);
  const Simd::Vec e = vector_exp(Simd::sub(Simd::zero(), gate));
  return Simd::mul(Simd::div(gate, Simd::add(one, e)), up);
}

void swiglu_rows(const SwigluArgs* args) noexcept {
  const uint32_t cols = args->cols, whole = cols / Simd::kWidth * Simd::kWidth;
  for (uint32_t row = 0; row < args->rows; ++row) {
    const float* gate = args->gate + row * args->gate_stride;
    const float* up = args->up + row * args->up_stride;
    float* dst = args->dst + row * args->dst_stride;
    for (uint32_t i = 0; i < whole; i += Simd::kWidth)
      Simd::store(dst + i, swiglu_vector(Simd::load(gate + i), Simd::load(up + i)));
    if (const uint32_t rest = cols - whole; rest != 0) {
      const Simd::Vec g = Simd::load_partial(gate + whole, rest), u = Simd::load_partial(up + whole, rest);
      Simd::store_partial(dst + whole, rest, swiglu_vector(g, u));
    }
  }
}

void softmax_rows(const SoftmaxArgs* args) noexcept {
  const uint32_t cols = args->cols, whole = cols / Simd::kWidth * Simd::kWidth, rest = cols - whole;
  const Simd::Vec lowest = Simd::set1(-__builtin_inff());
  for (uint32_t row = 0; row < args->rows; ++row) {
    float* x = args->x + row * args->stride;
    Simd::Vec largest = lowest;
    for (uint32_t i = 0; i < whole; i += Simd::kWidth) largest = Simd::max(largest, Simd::load(x + i));
    if (rest != 0) largest = Simd::max(largest, Simd::keep_below(Simd::load_partial(x + whole, rest), rest, lowest));
    const Simd::Vec shift = Simd::set1(Simd::reduce_max(largest));

    Simd::Vec sum = Simd::zero();
    for (uint32_t i = 0; i < whole; i += Simd::kWidth) {
      const Simd::Vec e = vector_exp(Simd::sub(Simd::load(x + i), shift));
      Simd::store(x + i, e);
      sum = Simd::add(sum, e);
    }
    if (rest != 0) {
      const Simd::Vec e = vector_exp(Simd::sub(Simd::load_partial(x + whole, rest), shift));
      Simd::store_partial(x + whole, rest, e);
      sum = Simd::add(sum, Simd::keep_below(e, rest, Simd::zero()));
    }

    const Simd::Vec inverse = Simd::set1(1.0f / Simd::reduce_add(sum));
    for (uint32_t i = 0; i < whole; i += Simd::kWidth) Simd::store(x + i, Simd::mul(Simd::load(x + i), inverse));
    if (rest != 0) Simd::store_partial(x + whole, rest, Simd::mul(Simd::load_partial(x + whole, rest), inverse));
  }
}

}  // namespace
}  // namespace smepilot
