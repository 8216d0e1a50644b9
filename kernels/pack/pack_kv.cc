#include "kernels/pack/pack_kv.h"

#include <cmath>
#include <cstring>

#include "kernels/abi/half.h"
#include "kernels/abi/layout.h"

namespace smepilot {
namespace {

constexpr size_t kChunk = 64;  // converted at once by vectors, then spread to their panel rows

void store_half(std::byte* to, uint16_t half) noexcept {
  std::memcpy(to, &half, sizeof half);
}
int q8_value(std::byte stored) noexcept {
  return kQ8Zero == 0 ? static_cast<int8_t>(stored) : static_cast<int>(stored) - kQ8Zero;
}
float load_half(const std::byte* from) noexcept {
  uint16_t half;
  std::memcpy(&half, from, sizeof half);
  return f16_to_f32(half);
}

// One block: 32 quants of x, and its scale as f16.
uint16_t quantise_block(const float* x, int8_t* q) noexcept {
  float largest = 0;
  for (size_t i = 0; i < kQ8Block; ++i) {
    const float magnitude = std::fabs(x[i]);
    largest = magnitude > largest ? magnitude : largest;
  }
  const float d = largest / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
  // Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, without a call per element.
  for (size_t i = 0; i < kQ8Block; ++i) q[i] = static_cast<int8_t>((x[i] * inverse + 0x1.8p23f) - 0x1.8p23f);
  return f32_to_f16(d);
}

}  // namespace

void pack_key_rows(DType dtype, const float* k, size_t stride, size_t rows, size_t head_dim, size_t pos,
                   std::byte* cache) noexcept {
  const size_t panel_bytes = kv_panel_bytes(dtype, head_dim);
  for (size_t r = 0; r < rows; ++r) {
    const size_t column = (pos + r) % kPanel;
    const float* x = k + r * stride;
    std::byte* const panel = cache + (pos + r) / kPanel * panel_bytes;
    if (dtype == DType::kQ8_0) {
      std::byte* const scales = panel + kv_scale_offset(head_dim);
      for (size_t b = 0; b < head_dim / kQ8Block; ++b) {
        int8_t q[kQ8Block];
        store_half(scales + (b * kPanel + column) * 2, quantise_block(x + b * kQ8Block, q));
        std::byte* const block = panel + b * kQ8Block * kPanel;
        for (size_t i = 0; i < kQ8Block; i += 4) {
          uint8_t four[4];
          for (size_t j = 0; j < 4; ++j) four[j] = static_cast<uint8_t>(q[i + j] + kQ8Zero);
          std::memcpy(block + i * kPanel + column * 4, four, sizeof four);
        }
      }
      continue;
    }
    auto* const halves = reinterpret_cast<uint16_t*>(panel);
    for (size_t begin = 0; begin < head_dim; begin += kChunk) {
      const size_t count = head_dim - begin < kChunk ? head_dim - begin : kChunk;
      uint16_t converted[kChunk];
      for (size_t i = 0; i < count; ++i) converted[i] = f32_to_f16(x[begin + i]);
      for (size_t i = 0; i < count; ++i) halves[(begin + i) * kPanel + column] = converted[i];
    }
  }
}

void pack_value_rows(DType dtype, const float* v, size_t stride, size_t rows, size_t head_dim, size_t pos,
                     std::byte* cache) noexcept {
  const size_t panel_bytes = kv_panel_bytes(dtype, head_dim);
  for (size_t r = 0; r < rows; ++r) {
    const size_t row = (pos + r) % kPanel;
    const float* x = v + r * stride;
    std::byte* const panel = cache + (pos + r) / kPanel * panel_bytes;
    if (dtype == DType::kQ8_0) {
      const size_t blocks = head_dim / kQ8Block;
      std::byte* const scales = panel + kv_scale_offset(head_dim) + row * blocks * 2;
      auto* const q = reinterpret_cast<int8_t*>(panel + row * head_dim);
      for (size_t b = 0; b < blocks; ++b)
        store_half(scales + b * 2, quantise_block(x + b * kQ8Block, q + b * kQ8Block));
      continue;
    }
    auto* const dst = reinterpret_cast<uint16_t*>(panel) + row * head_dim;
    for (size_t i = 0; i < head_dim; ++i) dst[i] = f32_to_f16(x[i]);
  }
}

void unpack_key_rows(DType dtype, const std::byte* cache, size_t pos, size_t rows, size_t head_dim, float* k) noexcept {
  for (size_t r = 0; r < rows; ++r) {
    const size_t column = (pos + r) % kPanel;
    const std::byte* const panel = cache + (pos + r) / kPanel * kv_panel_bytes(dtype, head_dim);
    const std::byte* const scales = panel + kv_scale_offset(head_dim);
    for (size_t i = 0; i < head_dim; ++i)
      k[r * head_dim + i] = dtype == DType::kQ8_0
                                ? static_cast<float>(q8_value(panel[i / 4 * 64 + column * 4 + i % 4])) *
                                      load_half(scales + (i / kQ8Block * kPanel + column) * 2)
                                : load_half(panel + (i * kPanel + column) * 2);
  }
}

void unpack_value_rows(DType dtype, const std::byte* cache, size_t pos, size_t rows, size_t head_dim,
                       float* v) noexcept {
  for (size_t r = 0; r < rows; ++r) {
    const size_t row = (pos + r) % kPanel;
    const std::byte* const panel = cache + (pos + r) / kPanel * kv_panel_bytes(dtype, head_dim);
    const std::byte* const scales = panel + kv_scale_offset(head_dim);
    for (size_t i = 0; i < head_dim; ++i)
      v[r * head_dim + i] = dtype == DType::kQ8_0
                                ? static_cast<float>(static_cast<int8_t>(panel[row * head_dim + i])) *
                                      load_half(scales + (row * (head_dim / kQ8Block) + i / kQ8Block) * 2)
                                : load_half(panel + (row * head_dim + i) * 2);
  }
}

}  // namespace smepilot
