// Weight formats: the packers and unpackers against the oracle, bit for bit, and the oracle against plain arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <set>
#include <vector>

#include "kernels/abi/half.h"
#include "kernels/pack/pack_kv.h"
#include "kernels/pack/pack_rhs.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/quantize.h"
#include "tests/kernels/support/guarded_buffer.h"

namespace smepilot::test {
namespace {

constexpr DType kWeightTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0,   DType::kQ4_0,
                                  DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kIQ4_NL, DType::kQ2_K,
                                  DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};
static_assert(std::size(kWeightTypes) == static_cast<size_t>(DType::kCount) - 1, "all but the type of activations");

// Decode reads every packed byte once, so a format may not grow much: at most 3 % for rows of 1024 elements and more.
constexpr bool packed_is_no_larger_than_the_file() {
  for (const DType type : kWeightTypes)
    for (size_t k = 1024; k <= 32768; k += 256)
      if (static_cast<double>(rhs_bytes(type, 512, k)) > 1.03 * static_cast<double>(file_bytes(type, 512 * k)))
        return false;
  return true;
}
static_assert(packed_is_no_larger_than_the_file());

// What belongs to a block overlaps nothing else, on a boundary that its loads like, and there is nothing after the last
// one. Where panels are cut into groups, scales come before what they scale, close to it.
TEST(Layout, PlanesDoNotOverlap) {
  for (const DType type : kWeightTypes) {
    const RhsBlockBytes bytes = rhs_block_bytes(type);
    if (bytes.quants == 0) continue;
    for (const size_t k : {256, 512, 768, 1280, 11008}) {
      SCOPED_TRACE(testing::Message() << traits(type).name << " k=" << k);
      const RhsPlanes p = rhs_planes(type, k);
      EXPECT_EQ(p.panel_bytes, (p.used_bytes + 63) / 64 * 64);
      std::vector<int> used(p.used_bytes);
      const auto mark = [&](size_t begin, size_t count, size_t boundary) {
        EXPECT_EQ(begin % boundary, 0u);
        ASSERT_LE(begin + count, p.used_bytes);
        for (size_t i = begin; i < begin + count; ++i) ++used[i];
      };
      for (size_t kb = 0; kb < k / 32; ++kb) {
        mark(p.quants_at(kb), bytes.quants, 64);
        if (bytes.high != 0) mark(p.high_at(kb), bytes.high, 64);
        mark(p.scale_at(kb), bytes.scale, 16);
        if (bytes.min) mark(p.min_at(kb), bytes.scale, 16);
        if (bytes.scale_high && kb % 2 == 0) mark(p.scale_high_at(kb), 16, 16);
        if (bytes.supers > 0 && kb % 8 == 0) mark(p.super_at(kb), 32, 32);
        if (bytes.supers > 1 && kb % 8 == 0) mark(p.super_min_at(kb), 32, 32);
        if (!kRhsGroups) continue;
        EXPECT_LT(p.scale_at(kb), p.quants_at(kb));
        EXPECT_LT(p.quants_at(kb) - p.scale_at(kb), 8192u);
        if (kb > 0) {
          EXPECT_GT(p.quants_at(kb), p.quants_at(kb - 1));
        }
      }
      EXPECT_EQ(std::count_if(used.begin(), used.end(), [](int n) { return n > 1; }), 0);
      // Of the last group, the scales of blocks that are not there.
      EXPECT_LE(static_cast<size_t>(std::count(used.begin(), used.end(), 0)), kRhsGroups ? p.quants : 0);
      EXPECT_EQ(used.back(), 1);
    }
  }
}

class Weights : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(All, Weights, testing::ValuesIn(kWeightTypes),
                         [](const auto& type) { return std::string(traits(type.param).name); });

bool same_bits(const float* a, const float* b, size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}

TEST_P(Weights, UnpackedIsDequantisedBitForBit) {
  const DType type = GetParam();
  const size_t block = traits(type).block_elems;
  for (size_t n : {1, 2, 15, 16, 17, 33, 50}) {
    for (size_t blocks : {1, 2, 3, 17, 35}) {
      const size_t k = blocks * block, row_bytes = file_bytes(type, k), stride = row_bytes + n % 3;
      reference::Random random(n * 1000 + k);
      GuardedBuffer file(stride * (n - 1) + row_bytes, 1, n % 2 == 0 ? Edge::kBegin : Edge::kEnd);
      GuardedBuffer packed(rhs_bytes(type, n, k), 64, Edge::kEnd);
      for (size_t row = 0; row < n; ++row) reference::random_row(type, random, k, file.as<std::byte>() + row * stride);
      file.protect_contents();
      // In two pieces, the later one first, as concurrent workers may.
      const size_t panels = (n + kPanel - 1) / kPanel, middle = panels / 2;
      pack_rhs(type, file.as<std::byte>(), stride, n, k, middle, panels, packed.as<std::byte>());
      pack_rhs(type, file.as<std::byte>(), stride, n, k, 0, middle, packed.as<std::byte>());
      ASSERT_TRUE(packed.intact());

      std::vector<float> expected(k), found(panels * kPanel * k);
      unpack_rhs(type, packed.as<std::byte>(), panels * kPanel, k, found.data(), k);
      for (size_t row = 0; row < n; ++row) {
        reference::dequantize_row(type, file.as<std::byte>() + row * stride, k, expected.data());
        ASSERT_TRUE(same_bits(expected.data(), found.data() + row * k, k))
            << "row " << row << " of " << n << " k=" << k;
      }
      for (size_t i = n * k; i < found.size(); ++i) ASSERT_EQ(found[i], 0.0f) << "columns beyond n hold zero weights";

      // The padding of a panel is zero too, so a cache file holds no stray bytes.
      GuardedBuffer again(packed.size(), 64, Edge::kEnd);
      pack_rhs(type, file.as<std::byte>(), stride, n, k, again.as<std::byte>());
      ASSERT_EQ(std::memcmp(again.as<void>(), packed.as<void>(), packed.size()), 0);
    }
  }
}

TEST_P(Weights, QuantisedIsCloseToTheOriginal) {
  const DType type = GetParam();
  const size_t k = 512;
  reference::Random random(3);
  std::vector<float> x(k), back(k);
  std::vector<std::byte> row(file_bytes(type, k));
  // Largest error per type, relative to the largest magnitude of 1: half a step of its coarsest grid, scales rounded.
  const double bound = type == DType::kF32      ? 0
                       : type == DType::kF16    ? 0x1p-11
                       : type == DType::kBF16   ? 0x1p-8
                       : type == DType::kQ8_0   ? 0.5 / 127 + 1e-3
                       : type == DType::kQ4_0   ? 1.0 / 8 + 1e-3  // the grid has no +8: up to a whole step at that end
                       : type == DType::kQ4_1   ? 1.0 / 15 + 2e-3
                       : type == DType::kQ5_0   ? 1.0 / 16 + 1e-3
                       : type == DType::kQ5_1   ? 1.0 / 31 + 2e-3
                       : type == DType::kIQ4_NL ? 14.0 / 127 + 1e-3  // the largest value is 113, not 127
                       : type == DType::kQ2_K   ? 1.0 / 3 + 2.0 / 15
                       : type == DType::kQ3_K   ? 1.0 / 4 + 1.0 / 31
                       : type == DType::kQ4_K   ? 1.0 / 15 + 2.0 / 63
                       : type == DType::kQ5_K   ? 1.0 / 31 + 2.0 / 63
                                                : 1.0 / 31 + 1.0 / 64;
  for (int round = 0; round < 20; ++round) {
    random.fill_uniform(x.data(), k, -1, 1);
    if (round == 0) std::fill(x.begin(), x.end(), 0.0f);
    reference::quantize_row(type, x.data(), k, row.data());
    reference::dequantize_row(type, row.data(), k, back.data());
    for (size_t i = 0; i < k; ++i) ASSERT_NEAR(x[i], back[i], bound) << i;
  }
}

TEST_P(Weights, RandomRowsAreFiniteAndOfUnitSize) {
  reference::Random random(5);
  std::vector<float> x(2048);
  std::vector<std::byte> row(file_bytes(GetParam(), x.size()));
  reference::random_row(GetParam(), random, x.size(), row.data());
  reference::dequantize_row(GetParam(), row.data(), x.size(), x.data());
  double squares = 0;
  for (float v : x) {
    ASSERT_TRUE(std::isfinite(v));
    squares += static_cast<double>(v * v);
  }
  const double rms = std::sqrt(squares / static_cast<double>(x.size()));
  EXPECT_GT(rms, 0.1);
  EXPECT_LT(rms, 2);
}

// Values that ggml's own Python package computed from random blocks: data/dequantized.py wrote the file.
TEST(WeightFormats, DequantisedAsGgmlDoes) {
  std::ifstream in(SMEPILOT_TEST_DATA "/dequantized.bin", std::ios::binary);
  ASSERT_TRUE(in) << "no data file";
  const auto read = [&in](void* to, size_t bytes) {
    in.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes));
    return static_cast<size_t>(in.gcount()) == bytes;
  };
  std::set<DType> seen;
  for (uint32_t header[2]; read(header, sizeof header);) {  // ggml type, blocks
    const auto* const found = std::find_if(std::begin(kWeightTypes), std::end(kWeightTypes), [&](DType t) {
      return traits(t).gguf_type == static_cast<int32_t>(header[0]);
    });
    ASSERT_NE(found, std::end(kWeightTypes)) << header[0];
    const size_t k = header[1] * traits(*found).block_elems;
    ASSERT_LE(k, 4096u);
    std::vector<std::byte> row(file_bytes(*found, k));
    std::vector<float> expected(k), values(k);
    ASSERT_TRUE(read(row.data(), row.size()) && read(expected.data(), k * sizeof(float))) << traits(*found).name;
    reference::dequantize_row(*found, row.data(), k, values.data());
    for (size_t i = 0; i < k; ++i) ASSERT_EQ(expected[i], values[i]) << traits(*found).name << " " << i;
    seen.insert(*found);
  }
  EXPECT_TRUE(in.eof());
  EXPECT_EQ(seen.size(), 11u) << "q8_0 and all below eight bits";
}

TEST(WeightFormats, BlocksWrittenByHand) {
  // d = 0.5; nibbles: element 0 is 15, element 16 is 1, all others 8
  uint8_t q4_0[18] = {0x00, 0x38};
  std::fill_n(q4_0 + 2, 16, uint8_t{0x88});
  q4_0[2] = 0x1f;
  float out[256];
  reference::dequantize_row(DType::kQ4_0, q4_0, 32, out);
  EXPECT_EQ(out[0], 3.5f);
  EXPECT_EQ(out[16], -3.5f);
  EXPECT_EQ(out[1], 0.0f);

  uint8_t q4_k[144] = {0x00, 0x3c, 0x00, 0x3c};  // d = dmin = 1
  // Blocks 0..3 have scale 1..4 and minimum 5..8; blocks 4..7 have scale 0x11 and minimum 0x22: low nibbles in bytes
  // 8..11, upper two bits on top of bytes 0..3 and 4..7.
  for (int i = 0; i < 4; ++i) {
    q4_k[4 + i] = static_cast<uint8_t>((i + 1) | 1 << 6);
    q4_k[8 + i] = static_cast<uint8_t>((i + 5) | 2 << 6);
    q4_k[12 + i] = 0x21;
  }
  std::fill_n(q4_k + 16, 128, uint8_t{0xa3});  // even blocks hold 3, odd ones 10
  reference::dequantize_row(DType::kQ4_K, q4_k, 256, out);
  for (int block = 0; block < 8; ++block) {
    const int scale = block < 4 ? block + 1 : 0x11, min = block < 4 ? block + 5 : 0x22;
    for (int i = 0; i < 32; ++i)
      ASSERT_EQ(out[block * 32 + i], static_cast<float>(scale * (block % 2 == 0 ? 3 : 10) - min)) << block;
  }

  uint8_t q6_k[210] = {};
  q6_k[209] = 0x3c;                                                          // d = 1
  for (int i = 0; i < 16; ++i) q6_k[192 + i] = static_cast<uint8_t>(i - 8);  // scales -8 .. 7
  q6_k[64 + 32 + 5] = 0x70;     // second half, run 3 (ql+32, high nibble), element 5: low bits 7
  q6_k[128 + 32 + 5] = 3 << 6;  // its high bits: 3
  reference::dequantize_row(DType::kQ6_K, q6_k, 256, out);
  EXPECT_EQ(out[128 + 96 + 5], (0x37 - 32) * 6.0f);  // scale 14 is 6
  EXPECT_EQ(out[0], -32 * -8.0f);
  EXPECT_EQ(out[255], -32 * 7.0f);
}

TEST(Activations, DequantisedIsCloseInEveryPanel) {
  const size_t m = 37, k = 96;
  reference::Random random(11);
  std::vector<float> x(m * k), back(m * k);
  random.fill_uniform(x.data(), x.size(), -2, 2);
  for (const Layout layout : {Layout::kLhsQ8Panel16, Layout::kLhsQ8Panel16K4}) {
    GuardedBuffer panels(lhs_q8_bytes(m, k), 64, Edge::kEnd);
    reference::quantize_lhs_q8(x.data(), k, m, k, panels.as<void>(), kQ8Block, layout);
    ASSERT_TRUE(panels.intact());
    reference::dequantize_lhs_q8(panels.as<void>(), m, k, back.data(), layout);
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], back[i], 2.0 / 127 * (0.5 + 127 * 0x1p-11)) << i;
    // Spelled out, the last row of the last panel, which has five: [5][32] or [8][5][4].
    const auto* const q = panels.as<int8_t>() + lhs_q8_bytes(32, k);
    float d;
    std::memcpy(&d, q + 5 * 32 + 4 * 4, sizeof d);
    for (size_t i = 0; i < 32; ++i)
      ASSERT_EQ(d * static_cast<float>(layout == Layout::kLhsQ8Panel16 ? q[4 * 32 + i] : q[i / 4 * 20 + 16 + i % 4]),
                back[36 * k + i]);
  }
}

// Padding and the scales of blocks that a last group does not have are zero, whatever was there before.
TEST(Layout, EveryByteIsWritten) {
  for (const DType type : kWeightTypes) {
    const size_t block = traits(type).block_elems;
    for (const size_t k : {block, 3 * block, 4 * block}) {
      const std::vector<std::byte> file(5 * file_bytes(type, k), std::byte{0x2c});
      std::vector<std::byte> a(rhs_bytes(type, 5, k), std::byte{0x55}), b(a.size(), std::byte{0xaa});
      pack_rhs(type, file.data(), file_bytes(type, k), 5, k, a.data());
      pack_rhs(type, file.data(), file_bytes(type, k), 5, k, b.data());
      EXPECT_EQ(a, b) << traits(type).name << " k=" << k;
    }
  }
}

// Nibbles of a panel, spelled out for both kinds of machine.
TEST(Layout, NibblesOfAPanel) {
  // Element e of column c is (5c + 3e) % 16, in every block.
  std::vector<std::byte> file(16 * 18 * 2), packed(rhs_bytes(DType::kQ4_0, 16, 64));
  const auto value = [](size_t c, size_t e) { return static_cast<unsigned>(5 * c + 3 * e) % 16; };
  for (size_t c = 0; c < 16; ++c)
    for (size_t b = 0; b < 2; ++b)
      for (size_t i = 0; i < 16; ++i)
        file[(c * 2 + b) * 18 + 2 + i] = static_cast<std::byte>(value(c, i) | value(c, 16 + i) << 4);
  pack_rhs(DType::kQ4_0, file.data(), 36, 16, 64, packed.data());
  const RhsPlanes planes = rhs_planes(DType::kQ4_0, 64);
  for (size_t b = 0; b < 2; ++b)
    for (size_t i = 0; i < 4; ++i)
      for (size_t at = 0; at < 64; ++at) {
        unsigned low, high;
        if (kAdjacentNibbles) {  // 128 nibbles [2][16][4], two to a byte
          const auto nibble = [&](size_t n) { return value(n % 64 / 4, n / 64 * 16 + 4 * i + n % 4); };
          low = nibble(2 * at), high = nibble(2 * at + 1);
        } else {  // [16][4] bytes, of both halves of the block
          low = value(at / 4, 4 * i + at % 4), high = value(at / 4, 16 + 4 * i + at % 4);
        }
        ASSERT_EQ(std::to_integer<unsigned>(packed[planes.quants_at(b) + i * 64 + at]), low | high << 4)
            << b << i << at;
      }
}

TEST(KvCache, KeysAndValuesComeBackAndNeighboursStay) {
  const size_t head_dim = 20, capacity = 48;
  GuardedBuffer keys(capacity * head_dim * 2, 32, Edge::kEnd), values(capacity * head_dim * 2, 32, Edge::kEnd);
  std::fill_n(keys.as<uint16_t>(), capacity * head_dim, f32_to_f16(7));
  std::fill_n(values.as<uint16_t>(), capacity * head_dim, f32_to_f16(7));
  const size_t rows = 19, pos = 14, stride = head_dim + 3;
  std::vector<float> x(rows * stride);
  reference::Random random(1);
  random.fill_uniform(x.data(), x.size(), -2, 2);
  pack_key_rows(DType::kF16, x.data(), stride, rows, head_dim, pos, keys.as<std::byte>());
  pack_value_rows(DType::kF16, x.data(), stride, rows, head_dim, pos, values.as<std::byte>());
  std::vector<float> k(capacity * head_dim), v(capacity * head_dim);
  unpack_key_rows(DType::kF16, keys.as<std::byte>(), 0, capacity, head_dim, k.data());
  unpack_value_rows(DType::kF16, values.as<std::byte>(), 0, capacity, head_dim, v.data());
  for (size_t t = 0; t < capacity; ++t) {
    for (size_t i = 0; i < head_dim; ++i) {
      const bool written = t >= pos && t < pos + rows;
      const float expected = written ? f16_to_f32(f32_to_f16(x[(t - pos) * stride + i])) : 7.0f;
      ASSERT_EQ(k[t * head_dim + i], expected) << t;
      ASSERT_EQ(v[t * head_dim + i], expected) << t;
      // kKvKeyPanel16 spelled out: [pos/16][head_dim][16]
      ASSERT_EQ(f16_to_f32(keys.as<uint16_t>()[(t / 16 * head_dim + i) * 16 + t % 16]), expected);
    }
  }
}

// q8_0, spelled out: a panel of K is u8 q[head_dim/32][8][16][4] (value + kQ8Zero) and f16 d[head_dim/32][16], a panel
// of V i8 q[16][head_dim] and f16 d[16][head_dim/32].
TEST(KvCache, PanelsOfQ8_0) {
  const size_t head_dim = 64, capacity = 32, rows = 19, pos = 5, panel = 64 * 17;
  ASSERT_EQ(kv_panel_bytes(DType::kQ8_0, head_dim), panel);
  GuardedBuffer keys(kv_bytes(DType::kQ8_0, capacity, head_dim), 64, Edge::kEnd);
  GuardedBuffer values(kv_bytes(DType::kQ8_0, capacity, head_dim), 64, Edge::kEnd);
  std::fill_n(keys.as<uint8_t>(), keys.size(), uint8_t{0x55});
  std::fill_n(values.as<uint8_t>(), values.size(), uint8_t{0x55});
  std::vector<float> x(rows * head_dim);
  reference::Random random(2);
  random.fill_uniform(x.data(), x.size(), -3, 3);
  pack_key_rows(DType::kQ8_0, x.data(), head_dim, rows, head_dim, pos, keys.as<std::byte>());
  pack_value_rows(DType::kQ8_0, x.data(), head_dim, rows, head_dim, pos, values.as<std::byte>());
  ASSERT_TRUE(keys.intact() && values.intact());
  const auto half = [](const uint8_t* p) { return f16_to_f32(static_cast<uint16_t>(p[0] | p[1] << 8)); };
  for (size_t t = 0; t < capacity; ++t)
    for (size_t i = 0; i < head_dim; ++i) {
      const uint8_t* const k = keys.as<uint8_t>() + t / 16 * panel;
      const uint8_t* const v = values.as<uint8_t>() + t / 16 * panel;
      const uint8_t key = k[i / 4 * 64 + t % 16 * 4 + i % 4], value = v[t % 16 * head_dim + i];
      if (t < pos || t >= pos + rows) {
        ASSERT_EQ(key, 0x55) << t;
        ASSERT_EQ(value, 0x55) << t;
        continue;
      }
      const float scale = half(k + 16 * head_dim + (i / 32 * 16 + t % 16) * 2);
      ASSERT_EQ(scale, half(v + 16 * head_dim + (t % 16 * 2 + i / 32) * 2));
      ASSERT_EQ(key, static_cast<uint8_t>(value + kQ8Zero));
      // Half a step, and the scale rounded to f16.
      ASSERT_NEAR(scale * static_cast<float>(static_cast<int8_t>(value)), x[(t - pos) * head_dim + i],
                  scale * (0.5f + 127 * 0x1p-11f) * 1.001f);
    }
}

double half_value(unsigned h) {
  const double sign = h & 0x8000 ? -1 : 1;
  const int exponent = h >> 10 & 31;
  const double mantissa = h & 1023;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  if (exponent == 31) return mantissa == 0 ? sign * HUGE_VAL : std::nan("");
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(Half, EveryValueOfF16) {
  for (unsigned h = 0; h < 0x10000; ++h) {
    const double expected = half_value(h);
    const float found = f16_to_f32(static_cast<uint16_t>(h));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(found)) << h;
      ASSERT_TRUE(std::isnan(f16_to_f32(f32_to_f16(found)))) << h;
      continue;
    }
    ASSERT_EQ(static_cast<double>(found), expected) << h;
    ASSERT_EQ(std::signbit(found), (h & 0x8000) != 0) << h;
    ASSERT_EQ(f32_to_f16(found), h);
  }
}

TEST(Half, RoundsToNearestEven) {
  for (unsigned h = 0; h < 0x7bff; ++h) {
    const float low = f16_to_f32(static_cast<uint16_t>(h)), high = f16_to_f32(static_cast<uint16_t>(h + 1));
    const float middle = low + (high - low) / 2;
    ASSERT_EQ(f32_to_f16(middle), h % 2 == 0 ? h : h + 1);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), h);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), h + 1);
    ASSERT_EQ(f32_to_f16(-std::nextafter(middle, 1e9f)), 0x8000 | (h + 1));
  }
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_f16(1e30f), 0x7c00);
  for (unsigned b : {0x3f80u, 0x3f81u, 0x0001u, 0x7f7eu}) {
    const float low = bf16_to_f32(static_cast<uint16_t>(b));
    const float middle = float_from_bits(bits_from_float(low) + 0x8000u);
    EXPECT_EQ(f32_to_bf16(low), b);
    EXPECT_EQ(f32_to_bf16(middle), b % 2 == 0 ? b : b + 1);
    EXPECT_EQ(f32_to_bf16(std::nextafter(middle, HUGE_VALF)), b + 1);
  }
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(float_from_bits(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(float_from_bits(0x7f800001u)))));
}

}  // namespace
}  // namespace smepilot::test
