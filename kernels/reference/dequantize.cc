#include "kernels/reference/dequantize.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/abi/half.h"
#include "kernels/abi/layout.h"
#include "kernels/base/check.h"

namespace smepilot::reference {
namespace {

uint16_t load_u16(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

float load_f16(const uint8_t* p) {
  return f16_to_f32(load_u16(p));
}

// f16 d, i8 q[32]
void q8_0(const uint8_t* b, float* out) {
  const float d = load_f16(b);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(b[2 + i]));
}

// f16 d, u8 qs[16]: element i in the low half of byte i, element 16 + i in the high half
void q4_0(const uint8_t* b, float* out) {
  const float d = load_f16(b);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((b[2 + i] & 15) - 8);
    out[16 + i] = d * static_cast<float>((b[2 + i] >> 4) - 8);
  }
}

// f16 d, f16 m, u8 qs[16]
void q4_1(const uint8_t* b, float* out) {
  const float d = load_f16(b), m = load_f16(b + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(b[4 + i] & 15) + m;
    out[16 + i] = d * static_cast<float>(b[4 + i] >> 4) + m;
  }
}

// f16 d, f16 dmin, u8 scales[12] (eight 6-bit scales and eight 6-bit minima), u8 qs[128]: 32 bytes hold 64 elements,
// the first 32 in the low halves
void q4_k(const uint8_t* b, float* out) {
  const float d = load_f16(b), dmin = load_f16(b + 2);
  const uint8_t* s = b + 4;
  const uint8_t* q = b + 16;
  for (int block = 0; block < 8; ++block) {
    int scale, min;
    if (block < 4) {
      scale = s[block] & 63;
      min = s[block + 4] & 63;
    } else {
      scale = (s[block + 4] & 15) | (s[block - 4] >> 6 << 4);
      min = (s[block + 4] >> 4) | (s[block] >> 6 << 4);
    }
    const float block_scale = d * static_cast<float>(scale), block_min = dmin * static_cast<float>(min);
    for (int i = 0; i < 32; ++i) {
      const int byte = q[block / 2 * 32 + i];
      out[block * 32 + i] = block_scale * static_cast<float>(block % 2 == 0 ? byte & 15 : byte >> 4) - block_min;
    }
  }
}

// u8 ql[128], u8 qh[64], i8 scales[16], f16 d. Each half of 128 elements has 64 bytes of low nibbles and 32 bytes of
// high bit pairs; its four runs of 32 take ql low, ql+32 low, ql high, ql+32 high, and bit pairs 0, 1, 2, 3.
void q6_k(const uint8_t* b, float* out) {
  const float d = load_f16(b + 208);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, run = i % 128 / 32, at = i % 32;
    const int low_byte = b[half * 64 + run % 2 * 32 + at];
    const int low = run < 2 ? low_byte & 15 : low_byte >> 4;
    const int high = b[128 + half * 32 + at] >> (2 * run) & 3;
    const auto scale = static_cast<int8_t>(b[192 + i / 16]);
    out[i] = d * static_cast<float>(scale * ((low | high << 4) - 32));
  }
}

template <typename Block>
void blocks(DType type, const uint8_t* row, size_t k, float* out, Block&& block) {
  const DTypeTraits t = traits(type);
  SMEPILOT_DCHECK(k % t.block_elems == 0);
  for (size_t i = 0; i < k / t.block_elems; ++i) block(row + i * t.block_bytes, out + i * t.block_elems);
}

}  // namespace

void dequantize_row(DType type, const void* data, size_t k, float* out) {
  const auto* row = static_cast<const uint8_t*>(data);
  switch (type) {
    case DType::kF32: std::memcpy(out, row, k * sizeof(float)); break;
    case DType::kF16:
      for (size_t i = 0; i < k; ++i) out[i] = load_f16(row + 2 * i);
      break;
    case DType::kBF16:
      for (size_t i = 0; i < k; ++i) out[i] = bf16_to_f32(load_u16(row + 2 * i));
      break;
    case DType::kQ8_0: blocks(type, row, k, out, q8_0); break;
    case DType::kQ4_0: blocks(type, row, k, out, q4_0); break;
    case DType::kQ4_1: blocks(type, row, k, out, q4_1); break;
    case DType::kQ4_K: blocks(type, row, k, out, q4_k); break;
    case DType::kQ6_K: blocks(type, row, k, out, q6_k); break;
    case DType::kQ8:
    case DType::kCount: SMEPILOT_DCHECK(false && "not a file type"); break;
  }
}

void dequantize_lhs_q8(const void* panels, size_t m, size_t k, float* out) {
  const auto* base = static_cast<const uint8_t*>(panels);
  for (size_t row = 0; row < m; ++row) {
    const size_t panel = row / kPanel, r = row % kPanel, rows = std::min<size_t>(kPanel, m - panel * kPanel);
    for (size_t block = 0; block < k / kQ8Block; ++block) {
      const uint8_t* b = base + lhs_q8_bytes(panel * kPanel, k) + block * rows * kLhsQ8BlockBytes;
      float d;
      std::memcpy(&d, b + rows * kQ8Block + r * sizeof(float), sizeof d);
      for (size_t i = 0; i < kQ8Block; ++i)
        out[row * k + block * kQ8Block + i] = d * static_cast<float>(static_cast<int8_t>(b[r * kQ8Block + i]));
    }
  }
}

}  // namespace smepilot::reference
