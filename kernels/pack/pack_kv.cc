#include "kernels/pack/pack_kv.h"

#include "kernels/abi/half.h"
#include "kernels/abi/layout.h"

namespace smepilot {
namespace {

uint16_t* key_column(uint16_t* cache, size_t pos, size_t head_dim) noexcept {
  return cache + pos / kPanel * head_dim * kPanel + pos % kPanel;
}

}  // namespace

void pack_key_rows(const float* k, size_t stride, size_t rows, size_t head_dim, size_t pos, uint16_t* cache) noexcept {
  constexpr size_t kChunk = 64;  // converted at once by vectors, then spread to their panel rows
  for (size_t r = 0; r < rows; ++r) {
    uint16_t* column = key_column(cache, pos + r, head_dim);
    for (size_t begin = 0; begin < head_dim; begin += kChunk) {
      const size_t count = head_dim - begin < kChunk ? head_dim - begin : kChunk;
      uint16_t halves[kChunk];
      for (size_t i = 0; i < count; ++i) halves[i] = f32_to_f16(k[r * stride + begin + i]);
      for (size_t i = 0; i < count; ++i) column[(begin + i) * kPanel] = halves[i];
    }
  }
}

void pack_value_rows(const float* v, size_t stride, size_t rows, size_t head_dim, size_t pos,
                     uint16_t* cache) noexcept {
  for (size_t r = 0; r < rows; ++r) {
    uint16_t* dst = cache + (pos + r) * head_dim;
    for (size_t i = 0; i < head_dim; ++i) dst[i] = f32_to_f16(v[r * stride + i]);
  }
}

void unpack_key_rows(const uint16_t* cache, size_t pos, size_t rows, size_t head_dim, float* k) noexcept {
  for (size_t r = 0; r < rows; ++r)
    for (size_t i = 0; i < head_dim; ++i) {
      const size_t p = pos + r;
      k[r * head_dim + i] = f16_to_f32(cache[p / kPanel * head_dim * kPanel + i * kPanel + p % kPanel]);
    }
}

void unpack_value_rows(const uint16_t* cache, size_t pos, size_t rows, size_t head_dim, float* v) noexcept {
  for (size_t i = 0; i < rows * head_dim; ++i) v[i] = f16_to_f32(cache[pos * head_dim + i]);
}

}  // namespace smepilot
