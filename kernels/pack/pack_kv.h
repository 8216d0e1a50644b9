// Writes K and V of new tokens into the packed caches of one KV head (Layout::kKvKeyPanel16, kKvValueRow), f32 to f16.
#pragma once
#include <cstddef>
#include <cstdint>

namespace smepilot {

// Rows k[rows][head_dim], stride floats apart, to positions pos .. pos+rows-1 of a key cache [pos/16][head_dim][16].
void pack_key_rows(const float* k, size_t stride, size_t rows, size_t head_dim, size_t pos, uint16_t* cache) noexcept;

// Rows v[rows][head_dim], stride floats apart, to positions pos .. of a value cache [pos][head_dim].
void pack_value_rows(const float* v, size_t stride, size_t rows, size_t head_dim, size_t pos, uint16_t* cache) noexcept;

// Back to f32, [rows][head_dim] dense, from position pos on.
void unpack_key_rows(const uint16_t* cache, size_t pos, size_t rows, size_t head_dim, float* k) noexcept;
void unpack_value_rows(const uint16_t* cache, size_t pos, size_t rows, size_t head_dim, float* v) noexcept;

}  // namespace smepilot
