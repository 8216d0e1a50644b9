// Weights from the rows of a GGUF file to Layout::kRhsPanel16 (see kernels/abi/layout.h), and back for tests.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/abi/layout.h"

namespace smepilot {

// Packs panels [panel_begin, panel_end) of weights [n][k]; several workers may pack disjoint ranges at once.
// file_rows: row 0 of the matrix, rows row_stride_bytes apart, as the file stores them (any alignment).
// k: a multiple of the dtype's block. dst: panel 0, rhs_bytes(type, n, k) in all, 64-byte aligned.
void pack_rhs(DType type, const void* file_rows, size_t row_stride_bytes, size_t n, size_t k, size_t panel_begin,
              size_t panel_end, std::byte* dst) noexcept;

// All of it.
inline void pack_rhs(DType type, const void* file_rows, size_t row_stride_bytes, size_t n, size_t k,
                     std::byte* dst) noexcept {
  pack_rhs(type, file_rows, row_stride_bytes, n, k, 0, (n + kPanel - 1) / kPanel, dst);
}

// The values of packed weights: out[n][k], rows out_stride floats apart. The same bits as reference::dequantize_row of
// the file's rows.
void unpack_rhs(DType type, const std::byte* packed, size_t n, size_t k, float* out, size_t out_stride) noexcept;
// Row `row` of the matrix alone, [k].
void unpack_rhs_row(DType type, const std::byte* packed, size_t row, size_t k, float* out) noexcept;

}  // namespace smepilot
