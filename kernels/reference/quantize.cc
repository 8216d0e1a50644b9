#include "kernels/reference/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/abi/half.h"
#include "kernels/abi/layout.h"
#include "kernels/base/check.h"

namespace smepilot::reference {
namespace {

void store_u16(uint8_t* p, uint16_t v) {
  std::memcpy(p, &v, sizeof v);
}
float store_f16(uint8_t* p, float v) {
  const uint16_t h = f32_to_f16(v);
  store_u16(p, h);
  return f16_to_f32(h);
}

int quant(float x, float scale, int low, int high) {
  return scale == 0 ? std::clamp(0, low, high) : std::clamp(static_cast<int>(std::lrint(x / scale)), low, high);
}

// The element of largest magnitude, with its sign.
float signed_max(const float* x, int count) {
  return *std::max_element(x, x + count, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
}

void q8_0(const float* x, uint8_t* b) {
  const float d = store_f16(b, std::fabs(signed_max(x, 32)) / 127);
  for (int i = 0; i < 32; ++i) b[2 + i] = static_cast<uint8_t>(quant(x[i], d, -127, 127));
}

void q4_0(const float* x, uint8_t* b) {
  const float d = store_f16(b, signed_max(x, 32) / -8);
  for (int i = 0; i < 16; ++i)
    b[2 + i] = static_cast<uint8_t>((quant(x[i], d, -8, 7) + 8) | (quant(x[16 + i], d, -8, 7) + 8) << 4);
}

void q4_1(const float* x, uint8_t* b) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float d = store_f16(b, (*high - *low) / 15), m = store_f16(b + 2, *low);
  for (int i = 0; i < 16; ++i)
    b[4 + i] = static_cast<uint8_t>(quant(x[i] - m, d, 0, 15) | quant(x[16 + i] - m, d, 0, 15) << 4);
}

// The fifth bits of 32 elements as q5_0 and q5_1 have them.
void put_high_bits(const int q[32], uint8_t* qh) {
  std::memset(qh, 0, 4);
  for (int i = 0; i < 32; ++i) qh[i / 8] = static_cast<uint8_t>(qh[i / 8] | (q[i] >> 4) << (i % 8));
}
void put_nibbles(const int q[32], uint8_t* qs) {
  for (int i = 0; i < 16; ++i) qs[i] = static_cast<uint8_t>((q[i] & 15) | (q[16 + i] & 15) << 4);
}

void q5_0(const float* x, uint8_t* b) {
  const float d = store_f16(b, signed_max(x, 32) / -16);
  int q[32];
  for (int i = 0; i < 32; ++i) q[i] = quant(x[i], d, -16, 15) + 16;
  put_high_bits(q, b + 2);
  put_nibbles(q, b + 6);
}

void q5_1(const float* x, uint8_t* b) {
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float d = store_f16(b, (*high - *low) / 31), m = store_f16(b + 2, *low);
  int q[32];
  for (int i = 0; i < 32; ++i) q[i] = quant(x[i] - m, d, 0, 31);
  put_high_bits(q, b + 4);
  put_nibbles(q, b + 8);
}

void iq4_nl(const float* x, uint8_t* b) {
  const float d = store_f16(b, signed_max(x, 32) / kIq4NlValues[0]);
  int q[32];
  for (int i = 0; i < 32; ++i) {
    const auto distance = [&](int8_t value) { return std::fabs(x[i] - d * static_cast<float>(value)); };
    q[i] = static_cast<int>(std::min_element(kIq4NlValues, kIq4NlValues + 16,
                                             [&](int8_t l, int8_t r) { return distance(l) < distance(r); }) -
                            kIq4NlValues);
  }
  put_nibbles(q, b + 2);
}

// The low two bits of 256 elements as q2_k and q3_k have them.
void put_bit_pairs(const int q[256], uint8_t* qs) {
  std::memset(qs, 0, 64);
  for (int i = 0; i < 256; ++i) {
    uint8_t& byte = qs[i / 128 * 32 + i % 32];
    byte = static_cast<uint8_t>(byte | (q[i] & 3) << (i % 128 / 32 * 2));
  }
}

void q2_k(const float* x, uint8_t* b) {
  float block_scale[16], block_min[16];
  for (int i = 0; i < 16; ++i) {
    const auto [low, high] = std::minmax_element(x + 16 * i, x + 16 * i + 16);
    block_min[i] = std::max(0.0f, -*low);
    block_scale[i] = std::max(0.0f, *high + block_min[i]) / 3;
  }
  const float d = store_f16(b + 80, *std::max_element(block_scale, block_scale + 16) / 15);
  const float dmin = store_f16(b + 82, *std::max_element(block_min, block_min + 16) / 15);
  int q[256];
  for (int i = 0; i < 16; ++i) {
    const int scale = quant(block_scale[i], d, 0, 15), min = quant(block_min[i], dmin, 0, 15);
    b[i] = static_cast<uint8_t>(scale | min << 4);
    for (int j = 16 * i; j < 16 * i + 16; ++j)
      q[j] = quant(x[j] + dmin * static_cast<float>(min), d * static_cast<float>(scale), 0, 3);
  }
  put_bit_pairs(q, b + 16);
}

void q3_k(const float* x, uint8_t* b) {
  float scale[16];
  for (int i = 0; i < 16; ++i) scale[i] = signed_max(x + 16 * i, 16) / -4;
  const float d = store_f16(b + 108, std::fabs(signed_max(scale, 16)) / 31);
  std::memset(b, 0, 32);
  std::memset(b + 96, 0, 12);
  int q[256];
  for (int i = 0; i < 16; ++i) {
    const int s = quant(scale[i], d, -32, 31);
    uint8_t& low = b[96 + i % 8];
    uint8_t& high = b[104 + i % 4];
    low = static_cast<uint8_t>(low | ((s + 32) & 15) << (i < 8 ? 0 : 4));
    high = static_cast<uint8_t>(high | (s + 32) >> 4 << (i / 4 * 2));
    for (int j = 16 * i; j < 16 * i + 16; ++j) {
      q[j] = quant(x[j], d * static_cast<float>(s), -4, 3) + 4;
      b[j % 32] = static_cast<uint8_t>(b[j % 32] | (q[j] >> 2) << (j / 32));
    }
  }
  put_bit_pairs(q, b + 32);
}

void put_q4_k_scales(uint8_t* s, const int scale[8], const int min[8]) {
  for (int i = 0; i < 4; ++i) {
    s[i] = static_cast<uint8_t>(scale[i] | scale[i + 4] >> 4 << 6);
    s[i + 4] = static_cast<uint8_t>(min[i] | min[i + 4] >> 4 << 6);
    s[i + 8] = static_cast<uint8_t>((scale[i + 4] & 15) | (min[i + 4] & 15) << 4);
  }
}

// Scales and minima of both types, and the quants, 0 .. `most`.
void q4_k_or_q5_k(const float* x, int most, uint8_t* b, int q[256]) {
  float block_scale[8], block_min[8];
  for (int i = 0; i < 8; ++i) {
    const auto [low, high] = std::minmax_element(x + 32 * i, x + 32 * i + 32);
    block_min[i] = std::max(0.0f, -*low);
    block_scale[i] = (*high + block_min[i]) / static_cast<float>(most);
  }
  const float d = store_f16(b, std::max(0.0f, *std::max_element(block_scale, block_scale + 8)) / 63);
  const float dmin = store_f16(b + 2, *std::max_element(block_min, block_min + 8) / 63);
  int scale[8], min[8];
  for (int i = 0; i < 8; ++i) {
    scale[i] = quant(block_scale[i], d, 0, 63);
    min[i] = quant(block_min[i], dmin, 0, 63);
  }
  put_q4_k_scales(b + 4, scale, min);
  for (int i = 0; i < 256; ++i) {
    const int block = i / 32;
    q[i] = quant(x[i] + dmin * static_cast<float>(min[block]), d * static_cast<float>(scale[block]), 0, most);
  }
}

void put_q4_k_nibbles(const int q[256], uint8_t* qs) {
  for (int i = 0; i < 128; ++i) {
    const int low = i / 32 * 64 + i % 32;
    qs[i] = static_cast<uint8_t>((q[low] & 15) | (q[low + 32] & 15) << 4);
  }
}

void q4_k(const float* x, uint8_t* b) {
  int q[256];
  q4_k_or_q5_k(x, 15, b, q);
  put_q4_k_nibbles(q, b + 16);
}

void q5_k(const float* x, uint8_t* b) {
  int q[256];
  q4_k_or_q5_k(x, 31, b, q);
  std::memset(b + 16, 0, 32);
  for (int i = 0; i < 256; ++i) b[16 + i % 32] = static_cast<uint8_t>(b[16 + i % 32] | (q[i] >> 4) << (i / 32));
  put_q4_k_nibbles(q, b + 48);
}

void put_q6_k_quants(uint8_t* b, const int q[256]) {
  std::memset(b, 0, 192);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, run = i % 128 / 32, at = i % 32;
    uint8_t& low = b[half * 64 + run % 2 * 32 + at];
    uint8_t& high = b[128 + half * 32 + at];
    low = static_cast<uint8_t>(low | (q[i] & 15) << (run < 2 ? 0 : 4));
    high = static_cast<uint8_t>(high | (q[i] >> 4) << (2 * run));
  }
}

void q6_k(const float* x, uint8_t* b) {
  float scale[16];
  for (int i = 0; i < 16; ++i) scale[i] = signed_max(x + 16 * i, 16) / -32;
  const float d = store_f16(b + 208, std::fabs(signed_max(scale, 16)) / 127);
  int q[256];
  for (int i = 0; i < 16; ++i) {
    const int s = quant(scale[i], d, -128, 127);
    b[192 + i] = static_cast<uint8_t>(s);
    for (int j = 0; j < 16; ++j) q[16 * i + j] = quant(x[16 * i + j], d * static_cast<float>(s), -32, 31) + 32;
  }
  put_q6_k_quants(b, q);
}

template <typename Block>
void blocks(DType type, const float* x, size_t k, uint8_t* row, Block&& block) {
  const DTypeTraits t = traits(type);
  SMEPILOT_DCHECK(k % t.block_elems == 0);
  for (size_t i = 0; i < k / t.block_elems; ++i) block(x + i * t.block_elems, row + i * t.block_bytes);
}

}  // namespace

void quantize_row(DType type, const float* x, size_t k, void* data) {
  auto* row = static_cast<uint8_t*>(data);
  switch (type) {
    case DType::kF32: std::memcpy(row, x, k * sizeof(float)); break;
    case DType::kF16:
      for (size_t i = 0; i < k; ++i) store_u16(row + 2 * i, f32_to_f16(x[i]));
      break;
    case DType::kBF16:
      for (size_t i = 0; i < k; ++i) store_u16(row + 2 * i, f32_to_bf16(x[i]));
      break;
    case DType::kQ8_0: blocks(type, x, k, row, q8_0); break;
    case DType::kQ4_0: blocks(type, x, k, row, q4_0); break;
    case DType::kQ4_1: blocks(type, x, k, row, q4_1); break;
    case DType::kQ5_0: blocks(type, x, k, row, q5_0); break;
    case DType::kQ5_1: blocks(type, x, k, row, q5_1); break;
    case DType::kIQ4_NL: blocks(type, x, k, row, iq4_nl); break;
    case DType::kQ2_K: blocks(type, x, k, row, q2_k); break;
    case DType::kQ3_K: blocks(type, x, k, row, q3_k); break;
    case DType::kQ4_K: blocks(type, x, k, row, q4_k); break;
    case DType::kQ5_K: blocks(type, x, k, row, q5_k); break;
    case DType::kQ6_K: blocks(type, x, k, row, q6_k); break;
    case DType::kQ8:
    case DType::kCount: SMEPILOT_DCHECK(false && "not a file type"); break;
  }
}

void random_row(DType type, Random& random, size_t k, void* data) {
  auto* row = static_cast<uint8_t*>(data);
  if (type <= DType::kBF16) {
    const size_t size = traits(type).block_bytes;
    for (size_t i = 0; i < k; ++i) {
      const float x = random.uniform(-1, 1);
      quantize_row(type, &x, 1, row + i * size);
    }
    return;
  }
  const size_t bytes = file_bytes(type, k);
  for (size_t i = 0; i < bytes; ++i) row[i] = static_cast<uint8_t>(random.bits() >> 32);
  // Every bit pattern of quants and integer scales is valid; the f16 scales must be finite and of the right size.
  const auto scale = [&](float size) {
    const float magnitude = random.uniform(0.5f, 1.5f) / size;
    return random.bits() % 4 == 0 ? -magnitude : magnitude;
  };
  const DTypeTraits t = traits(type);
  for (size_t i = 0; i < k / t.block_elems; ++i) {
    uint8_t* b = row + i * t.block_bytes;
    switch (type) {
      case DType::kQ8_0: store_f16(b, scale(128)); break;
      case DType::kQ4_0: store_f16(b, scale(8)); break;
      case DType::kQ4_1:
        store_f16(b, scale(15));
        store_f16(b + 2, scale(2));
        break;
      case DType::kQ5_0: store_f16(b, scale(16)); break;
      case DType::kQ5_1:
        store_f16(b, scale(31));
        store_f16(b + 2, scale(2));
        break;
      case DType::kIQ4_NL: store_f16(b, scale(127)); break;
      case DType::kQ2_K:
        store_f16(b + 80, scale(3 * 15));
        store_f16(b + 82, scale(2 * 15));
        break;
      case DType::kQ3_K: store_f16(b + 108, scale(4 * 32)); break;
      case DType::kQ4_K:
      case DType::kQ5_K:
        store_f16(b, scale(type == DType::kQ4_K ? 15 * 63 : 31 * 63));
        store_f16(b + 2, scale(2 * 63));
        break;
      case DType::kQ6_K: store_f16(b + 208, scale(32 * 128)); break;
      default: SMEPILOT_DCHECK(false && "not a file type"); break;
    }
  }
}

void quantize_lhs_q8(const float* x, size_t x_stride, size_t m, size_t k, void* panels, size_t group, Layout layout) {
  auto* base = static_cast<uint8_t*>(panels);
  for (size_t row = 0; row < m; ++row) {
    const size_t panel = row / kPanel, r = row % kPanel, rows = std::min<size_t>(kPanel, m - panel * kPanel);
    for (size_t block = 0; block < k / kQ8Block; ++block) {
      uint8_t* b = base + lhs_q8_bytes(panel * kPanel, k) + block * rows * kLhsQ8BlockBytes;
      const float* in = x + row * x_stride + block * kQ8Block;
      const size_t group_begin = block * kQ8Block / group * group;
      const float exact = std::fabs(signed_max(x + row * x_stride + group_begin, group)) / 127;
      const float d = group == kQ8Block && exact < 65504 ? f16_to_f32(f32_to_f16(exact)) : exact;
      int32_t half_sum[2] = {0, 0};
      for (size_t i = 0; i < kQ8Block; ++i) {
        const int q = quant(in[i], exact, -127, 127);
        b[lhs_q8_place(layout, rows, r, i)] = static_cast<uint8_t>(q);
        half_sum[i / 16] += q;
      }
      const int32_t sum = half_sum[0] + half_sum[1];
      const float ds = d * static_cast<float>(sum);
      const int32_t sums[] = {-8 * sum, -128 * sum, -32 * half_sum[0], -32 * half_sum[1]};
      uint8_t* plane = b + rows * kQ8Block + r * 4;
      std::memcpy(plane, &d, 4);
      std::memcpy(plane + rows * 4, &ds, 4);
      for (size_t i = 0; i < 4; ++i) std::memcpy(plane + (2 + i) * rows * 4, &sums[i], 4);
    }
  }
}

}  // namespace smepilot::reference
