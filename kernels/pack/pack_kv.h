// Writes K and V of new tokens into the packed caches of one KV head (Layout::kKvKeyPanel16, kKvValuePanel16), from
// f32 to f16 or Q8_0, and reads them back.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/abi/dtype.h"

namespace smepilot {

// Whether a cache of this type can hold rows of head_dim elements: f16 any multiple of 4, q8_0 whole blocks of 32,
// up to 512 elements.
constexpr bool kv_dtype_fits(DType dtype, size_t head_dim) noexcept {
  return (dtype == DType::kF16 && head_dim % 4 == 0) ||
         (dtype == DType::kQ8_0 && head_dim % 32 == 0 && head_dim <= 512);
}

// Rows k[rows][head_dim], stride floats apart, to positions pos .. pos+rows-1 of a key or value cache. Q8_0: blocks of
// 32 elements with scale max|x| / 127 rounded to f16, values rounded to nearest, as in a GGUF file.
void pack_key_rows(DType dtype, const float* k, size_t stride, size_t rows, size_t head_dim, size_t pos,
                   std::byte* cache) noexcept;
void pack_value_rows(DType dtype, const float* v, size_t stride, size_t rows, size_t head_dim, size_t pos,
                     std::byte* cache) noexcept;

// Back to f32, [rows][head_dim] dense, from position pos on.
void unpack_key_rows(DType dtype, const std::byte* cache, size_t pos, size_t rows, size_t head_dim, float* k) noexcept;
void unpack_value_rows(DType dtype, const std::byte* cache, size_t pos, size_t rows, size_t head_dim,
                       float* v) noexcept;

}  // namespace smepilot
