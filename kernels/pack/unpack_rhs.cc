// Reads packed weights straight from the description in kernels/abi/layout.h, one element at a time: what it shares
// with the packer is only that description.
#include <cstring>

#include "kernels/abi/half.h"
#include "kernels/base/check.h"
#include "kernels/pack/pack_rhs.h"

namespace smepilot {
namespace {

float half_at(const uint8_t* plane, size_t index) noexcept {
  uint16_t h;
  std::memcpy(&h, plane + index * 2, sizeof h);
  return f16_to_f32(h);
}

// Element `e` of a 32-block of nibbles of column `col`.
int nibble_at(const uint8_t* block, size_t col, size_t e) noexcept {
  const NibblePlace place = nibble_place(col, e);
  return block[place.byte] >> place.shift & 15;
}

// Of pairs of bits [2][16][4], and of single bits [16][4].
int pair_at(const uint8_t* block, size_t col, size_t e) noexcept {
  return block[e / 16 * 64 + col * 4 + e % 4] >> (e % 16 / 4 * 2) & 3;
}
int bit_at(const uint8_t* block, size_t col, size_t e) noexcept {
  return block[col * 4 + e % 4] >> (e / 4) & 1;
}

// Index of element k of column `col` where two k lie side by side.
size_t in_pairs(size_t k, size_t col) noexcept {
  return (k / 2 * 16 + col) * 2 + k % 2;
}

float element(DType type, const uint8_t* panel, const RhsPlanes& p, size_t col, size_t k) noexcept {
  const size_t block = k / 32, e = k % 32;
  switch (type) {
    case DType::kF32: {
      float v;
      std::memcpy(&v, panel + (k * 16 + col) * 4, sizeof v);
      return v;
    }
    case DType::kF16: return half_at(panel, kF16Pairs ? in_pairs(k, col) : k * 16 + col);
    case DType::kBF16: {
      uint16_t v;
      std::memcpy(&v, panel + in_pairs(k, col) * 2, sizeof v);
      return bf16_to_f32(v);
    }
    case DType::kQ8_0: {
      const uint8_t byte = panel[p.quants_at(block) + e / 4 * 64 + col * 4 + e % 4];
      const int q = kQ8Zero == 0 ? static_cast<int8_t>(byte) : byte - kQ8Zero;
      return half_at(panel + p.scale_at(block), col) * static_cast<float>(q);
    }
    case DType::kQ4_0: {
      const int q = nibble_at(panel + p.quants_at(block), col, e) - 8;
      return half_at(panel + p.scale_at(block), col) * static_cast<float>(q);
    }
    case DType::kQ4_1: {
      const int q = nibble_at(panel + p.quants_at(block), col, e);
      return half_at(panel + p.scale_at(block), col) * static_cast<float>(q) + half_at(panel + p.min_at(block), col);
    }
    case DType::kQ5_0: {
      const int q = nibble_at(panel + p.quants_at(block), col, e) | bit_at(panel + p.high_at(block), col, e) << 4;
      return half_at(panel + p.scale_at(block), col) * static_cast<float>(q - 16);
    }
    case DType::kQ5_1: {
      const int q = nibble_at(panel + p.quants_at(block), col, e) | bit_at(panel + p.high_at(block), col, e) << 4;
      return half_at(panel + p.scale_at(block), col) * static_cast<float>(q) + half_at(panel + p.min_at(block), col);
    }
    case DType::kIQ4_NL: {
      const int8_t q = kIq4NlValues[nibble_at(panel + p.quants_at(block), col, e)];
      return half_at(panel + p.scale_at(block), col) * static_cast<float>(q);
    }
    case DType::kQ2_K: {
      const int q = pair_at(panel + p.quants_at(block), col, e);
      const int scale_and_min = panel[p.scale_at(block) + e / 16 * 16 + col];
      const float scale = half_at(panel + p.super_at(block), col) * static_cast<float>(scale_and_min & 15);
      const float min = half_at(panel + p.super_min_at(block), col) * static_cast<float>(scale_and_min >> 4);
      return scale * static_cast<float>(q) - min;
    }
    case DType::kQ3_K: {
      const int low = pair_at(panel + p.quants_at(block), col, e);
      const int high = bit_at(panel + p.high_at(block), col, e);
      const size_t half = e / 16;
      const int scale_low = panel[p.scale_at(block) + col] >> (half * 4) & 15;
      const int scale_high = panel[p.scale_high_at(block) + col] >> (block % 2 * 4 + half * 2) & 3;
      return half_at(panel + p.super_at(block), col) *
             static_cast<float>(((scale_low | scale_high << 4) - 32) * (low + 4 * high - 4));
    }
    case DType::kQ4_K:
    case DType::kQ5_K: {
      int q = nibble_at(panel + p.quants_at(block), col, e);
      if (type == DType::kQ5_K) q |= bit_at(panel + p.high_at(block), col, e) << 4;
      const float scale = half_at(panel + p.super_at(block), col) * panel[p.scale_at(block) + col];
      const float min = half_at(panel + p.super_min_at(block), col) * panel[p.min_at(block) + col];
      return scale * static_cast<float>(q) - min;
    }
    case DType::kQ6_K: {
      const int low = nibble_at(panel + p.quants_at(block), col, e);
      const int high = pair_at(panel + p.high_at(block), col, e);
      const auto scale = static_cast<int8_t>(panel[p.scale_at(block) + e / 16 * 16 + col]);
      return half_at(panel + p.super_at(block), col) * static_cast<float>(scale * ((low | high << 4) - 32));
    }
    case DType::kQ8:
    case DType::kCount: SMEPILOT_DCHECK(false && "not a weight type"); break;
  }
  return 0;
}

}  // namespace

void unpack_rhs(DType type, const std::byte* packed, size_t n, size_t k, float* out, size_t out_stride) noexcept {
  for (size_t row = 0; row < n; ++row) unpack_rhs_row(type, packed, row, k, out + row * out_stride);
}

void unpack_rhs_row(DType type, const std::byte* packed, size_t row, size_t k, float* out) noexcept {
  const RhsPlanes planes = rhs_planes(type, k);
  const auto* panel = reinterpret_cast<const uint8_t*>(packed) + row / kPanel * planes.panel_bytes;
  for (size_t i = 0; i < k; ++i) out[i] = element(type, panel, planes, row % kPanel, i);
}

}  // namespace smepilot
