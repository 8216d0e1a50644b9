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

// f16 d, u8 qh[4] (bit i of these 32 is bit 4 of element i), u8 qs[16] as in q4_0
void q5_0(const uint8_t* b, float* out) {
  const float d = load_f16(b);
  for (int i = 0; i < 32; ++i) {
    const int low = i < 16 ? b[6 + i] & 15 : b[6 + i - 16] >> 4;
    const int high = b[2 + i / 8] >> (i % 8) & 1;
    out[i] = d * static_cast<float>((low | high << 4) - 16);
  }
}

// f16 d, f16 m, u8 qh[4], u8 qs[16]
void q5_1(const uint8_t* b, float* out) {
  const float d = load_f16(b), m = load_f16(b + 2);
  for (int i = 0; i < 32; ++i) {
    const int low = i < 16 ? b[8 + i] & 15 : b[8 + i - 16] >> 4;
    const int high = b[4 + i / 8] >> (i % 8) & 1;
    out[i] = d * static_cast<float>(low | high << 4) + m;
  }
}

// f16 d, u8 qs[16] as in q4_0, indices of a table of values
void iq4_nl(const uint8_t* b, float* out) {
  const float d = load_f16(b);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kIq4NlValues[b[2 + i] & 15]);
    out[16 + i] = d * static_cast<float>(kIq4NlValues[b[2 + i] >> 4]);
  }
}

// The low two bits of element i of a q2_k or q3_k block: each half of 128 elements has 32 bytes, its four runs of 32
// take bit pairs 0 .. 3 of them.
int bit_pair(const uint8_t* qs, int i) {
  return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

// u8 scales[16] (of 16 elements each, the scale in the low half, the minimum in the high half), u8 qs[64], f16 d,
// f16 dmin
void q2_k(const uint8_t* b, float* out) {
  const float d = load_f16(b + 80), dmin = load_f16(b + 82);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(b[i / 16] & 15), min = dmin * static_cast<float>(b[i / 16] >> 4);
    out[i] = scale * static_cast<float>(bit_pair(b + 16, i)) - min;
  }
}

// u8 hmask[32] (bit r of byte i: whether 4 is not subtracted from element 32r + i), u8 qs[64], u8 scales[12] (low four
// bits of scales 0..7 and 8..15 in the halves of bytes 0..7, high two bits of scales j, 4+j, 8+j, 12+j in byte 8+j),
// f16 d
void q3_k(const uint8_t* b, float* out) {
  const float d = load_f16(b + 108);
  const uint8_t* s = b + 96;
  for (int i = 0; i < 256; ++i) {
    const int at = i / 16;
    const int low = at < 8 ? s[at] & 15 : s[at - 8] >> 4, high = s[8 + at % 4] >> (at / 4 * 2) & 3;
    const int q = bit_pair(b + 32, i) - ((b[i % 32] >> (i / 32) & 1) != 0 ? 0 : 4);
    out[i] = d * static_cast<float>(((low | high << 4) - 32) * q);
  }
}

// f16 d, f16 dmin, u8 scales[12] (eight 6-bit scales and eight 6-bit minima), u8 qs[128]: 32 bytes hold 64 elements,
// the first 32 in the low halves. q5_k has u8 qh[32] before qs: bit r of byte i is bit 4 of element 32r + i.
void q4_k_or_q5_k(const uint8_t* b, const uint8_t* qh, const uint8_t* q, float* out) {
  const float d = load_f16(b), dmin = load_f16(b + 2);
  const uint8_t* s = b + 4;
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
      const int low = block % 2 == 0 ? byte & 15 : byte >> 4, high = qh == nullptr ? 0 : qh[i] >> block & 1;
      out[block * 32 + i] = block_scale * static_cast<float>(low | high << 4) - block_min;
    }
  }
}

void q4_k(const uint8_t* b, float* out) {
  q4_k_or_q5_k(b, nullptr, b + 16, out);
}
void q5_k(const uint8_t* b, float* out) {
  q4_k_or_q5_k(b, b + 16, b + 48, out);
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
    case DType::kQ5_0: blocks(type, row, k, out, q5_0); break;
    case DType::kQ5_1: blocks(type, row, k, out, q5_1); break;
    case DType::kIQ4_NL: blocks(type, row, k, out, iq4_nl); break;
    case DType::kQ2_K: blocks(type, row, k, out, q2_k); break;
    case DType::kQ3_K: blocks(type, row, k, out, q3_k); break;
    case DType::kQ4_K: blocks(type, row, k, out, q4_k); break;
    case DType::kQ5_K: blocks(type, row, k, out, q5_k); break;
    case DType::kQ6_K: blocks(type, row, k, out, q6_k); break;
    case DType::kQ8:
    case DType::kCount: SMEPILOT_DCHECK(false && "not a file type"); break;
  }
}

void dequantize_lhs_q8(const void* panels, size_t m, size_t k, float* out, Layout layout) {
  const auto* base = static_cast<const uint8_t*>(panels);
  for (size_t row = 0; row < m; ++row) {
    const size_t panel = row / kPanel, r = row % kPanel, rows = std::min<size_t>(kPanel, m - panel * kPanel);
    for (size_t block = 0; block < k / kQ8Block; ++block) {
      const uint8_t* b = base + lhs_q8_bytes(panel * kPanel, k) + block * rows * kLhsQ8BlockBytes;
      float d;
      std::memcpy(&d, b + rows * kQ8Block + r * sizeof(float), sizeof d);
      for (size_t i = 0; i < kQ8Block; ++i)
        out[row * k + block * kQ8Block + i] =
            d * static_cast<float>(static_cast<int8_t>(b[lhs_q8_place(layout, rows, r, i)]));
    }
  }
}

}  // namespace smepilot::reference
