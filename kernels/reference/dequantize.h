// What the bytes of a weight file mean: the values of a row in any DType, one element at a time. Everything that packs
// or multiplies weights is tested against this.
#pragma once
#include <cstddef>

#include "kernels/abi/layout.h"

namespace smepilot::reference {

// `k` consecutive elements (a multiple of the block) of a GGUF row to f32. The block formats are ggml's. Every value is
// the correctly rounded one, so that any other order of the same operations gives the same bits.
void dequantize_row(DType type, const void* row, size_t k, float* out);

// Quantised activations [m][k] back to f32 rows, dense: out[m][k] = d * q.
void dequantize_lhs_q8(const void* panels, size_t m, size_t k, float* out, Layout layout = kLhsQ8Layout);

}  // namespace smepilot::reference
