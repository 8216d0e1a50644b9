// Float panels of activations for tests and benchmarks, element by element as kernels/abi/layout.h describes them.
#pragma once
#include <cstddef>

#include "kernels/abi/layout.h"

namespace smepilot::reference {

// x[m][k], rows x_stride floats apart, to lhs_bytes(layout, m, k) bytes of kLhsF32Panel16, kLhsF16Panel16 or
// kLhsBf16Panel16.
void pack_lhs_float(Layout layout, const float* x, size_t x_stride, size_t m, size_t k, void* panels);

// What such a panel holds of x, as f32.
float rounded_lhs(Layout layout, float x);

}  // namespace smepilot::reference
