// RMS norm of rows, written once against the Simd vocabulary. Included by one translation unit per ISA, after its
// simd_*.h header; internal linkage.
//
// The squares are summed in double: the sum is then exact to far below a float's rounding for any row length, and the
// two extra conversions per vector disappear behind the loads.
#pragma once
#include "kernels/abi/describe.h"

namespace smepilot {
namespace {

void norm_rows(const NormArgs* args) noexcept {
  const uint32_t cols = args->cols, whole = cols / Simd::kWidth * Simd::kWidth, rest = cols - whole;
  const float* weight = args->weight;
  for (uint32_t row = 0; row < args->rows; ++row) {
    const float* x = args->x + row * args->x_stride;
    float* dst = args->dst + row * args->dst_stride;
    // Two sums: one chain of additions would wait for itself.
    Simd::SquareSum even, odd;
    uint32_t i = 0;
    for (; i + 2 * Simd::kWidth <= whole; i += 2 * Simd::kWidth) {
      even.add(Simd::load(x + i));
      odd.add(Simd::load(x + i + Simd::kWidth));
    }
    if (i < whole) even.add(Simd::load(x + i));
    if (rest != 0) odd.add(Simd::load_partial(x + whole, rest));

    const double mean = (even.total() + odd.total()) / static_cast<double>(cols);
    const Simd::Vec scale = Simd::set1(static_cast<float>(1.0 / __builtin_sqrt(mean + static_cast<double>(args->eps))));
    for (i = 0; i < whole; i += Simd::kWidth)
      Simd::store(dst + i, Simd::mul(Simd::mul(Simd::load(x + i), scale), Simd::load(weight + i)));
    if (rest != 0) {
      const Simd::Vec v = Simd::mul(Simd::load_partial(x + whole, rest), scale);
      Simd::store_partial(dst + whole, rest, Simd::mul(v, Simd::load_partial(weight + whole, rest)));
    }
  }
}

}  // namespace
}  // namespace smepilot
