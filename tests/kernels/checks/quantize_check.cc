#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/abi/half.h"
#include "kernels/abi/layout.h"
#include "kernels/reference/quantize.h"
#include "tests/kernels/checks/checks.h"
#include "tests/kernels/support/guarded_buffer.h"

namespace smepilot::test {
namespace {

void check_case(const KernelVariant& v, uint32_t rows, uint32_t k, uint32_t group, Edge edge, Comparator& comparator) {
  const auto name = [&] { return fmt::format("{} rows={} k={} group={}", v.id, rows, k, group); };
  reference::Random random(7 + rows + 100 * k);
  const size_t stride = k + (rows % 2 == 0 ? 0 : 3);
  GuardedBuffer x((stride * (rows - 1) + k) * sizeof(float), 4, edge);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t block = 0; block < k / kQ8Block; ++block) {
      const float size = std::ldexp(1.0f, static_cast<int>(random.bits() % 40) - 20);
      float* const in = x.as<float>() + row * stride + block * kQ8Block;
      random.fill_uniform(in, kQ8Block, -size, size);
      if ((row + block) % 5 == 4) std::fill_n(in, kQ8Block, 0.0f);
      if ((row + block) % 5 == 3) in[(row * 7 + block) % kQ8Block] = -4 * size;  // the extreme, negative, anywhere
    }
  }
  x.protect_contents();
  GuardedBuffer dst(lhs_q8_bytes(rows, k), 64, edge);
  const QuantizeArgs args{x.as<float>(), stride, dst.as<void>(), rows, k, group};
  v.quantize(&args);

  for (size_t block = 0; block < k / kQ8Block; ++block) {
    const std::byte* const base = dst.as<std::byte>() + block * rows * kLhsQ8BlockBytes;
    for (size_t row = 0; row < rows; ++row) {
      const float* const in = x.as<float>() + row * stride + block * kQ8Block;
      const auto where = [&] { return fmt::format("{} row {} block {}", name(), row, block); };
      const auto plane = [&](size_t index, auto* out) {
        std::memcpy(out, base + rows * kQ8Block + index * rows * 4 + row * 4, 4);
      };
      float d, ds, max = 0;
      int32_t n8, n128, n32a, n32b;
      plane(0, &d), plane(1, &ds), plane(2, &n8), plane(3, &n128), plane(4, &n32a), plane(5, &n32b);
      const float* const shared = x.as<float>() + row * stride + block * kQ8Block / group * group;
      for (size_t i = 0; i < group; ++i) max = std::max(max, std::fabs(shared[i]));
      const double scale = static_cast<double>(max) / 127;
      // A scale of one block is rounded to f16, of which the last place of a subnormal is 2^-24.
      const double rounding = group == kQ8Block ? std::max(std::ldexp(scale, -11), std::ldexp(1.0, -25)) : 0;
      comparator.compare(scale, static_cast<double>(d), 2 * kUnitF32 * scale + rounding, where);
      if (group == kQ8Block && static_cast<double>(d) < 65504 && f16_to_f32(f32_to_f16(d)) != d)
        comparator.fail(where() + ": the scale is not an f16");
      int32_t half_sum[2] = {0, 0};
      for (size_t i = 0; i < kQ8Block; ++i) {
        int8_t q;
        std::memcpy(&q, base + lhs_q8_place(v.dst_layout, rows, row, i), 1);
        half_sum[i / 16] += q;
        if (q == -128) comparator.fail(where() + ": -128 is outside the symmetric range");
        // Rounding to nearest, ties either way, with a scale that is itself rounded.
        const double exact = scale == 0 ? 0 : static_cast<double>(in[i]) / scale;
        comparator.compare(exact, q, scale == 0 ? 0 : 0.5 + 4 * 127 * kUnitF32, where);
      }
      const int32_t sum = half_sum[0] + half_sum[1];
      comparator.compare(static_cast<double>(d) * sum, static_cast<double>(ds),
                         2 * kUnitF32 * std::fabs(static_cast<double>(d) * sum), where);
      const int32_t expected[4] = {-8 * sum, -128 * sum, -32 * half_sum[0], -32 * half_sum[1]};
      const int32_t found[4] = {n8, n128, n32a, n32b};
      for (size_t i = 0; i < 4; ++i)
        if (found[i] != expected[i])
          comparator.fail(fmt::format("{}: sum {} is {}, expected {}", where(), i, found[i], expected[i]));
    }
  }
  if (!dst.intact()) comparator.fail(name() + ": wrote outside dst");
}

// Panels of floats: every element is the nearest one of its type.
void check_floats(const KernelVariant& v, uint32_t rows, uint32_t k, Edge edge, Comparator& comparator) {
  const auto name = [&] { return fmt::format("{} rows={} k={}", v.id, rows, k); };
  const bool f32 = v.dst == DType::kF32, f16 = v.dst == DType::kF16;
  reference::Random random(11 + rows + 100 * k);
  const size_t stride = k + (rows % 2 == 0 ? 0 : 3);
  GuardedBuffer x((stride * (rows - 1) + k) * sizeof(float), 4, edge);
  for (size_t row = 0; row < rows; ++row)
    for (size_t i = 0; i < k; ++i) {
      float& value = x.as<float>()[row * stride + i];
      value = std::ldexp(random.uniform(-1, 1), static_cast<int>(random.bits() % 48) - 30);  // to beyond f16's ends
      if (random.bits() % 4 == 0) value = float_from_bits((bits_from_float(value) & 0xffff0000u) | 0x8000u);  // a tie
      if (random.bits() % 4 == 0) value = float_from_bits((bits_from_float(value) & 0xffffe000u) | 0x1000u);
    }
  x.protect_contents();
  GuardedBuffer dst(lhs_bytes(v.dst_layout, rows, k), 64, edge);
  const QuantizeArgs args{x.as<float>(), stride, dst.as<void>(), rows, k, 0};
  v.quantize(&args);
  for (size_t row = 0; row < rows; ++row)
    for (size_t i = 0; i < (f32 ? k : (k + 1) / 2 * 2); ++i) {
      const float in = i < k ? x.as<float>()[row * stride + i] : 0.0f;
      float expected = in, found;
      if (f32) {
        std::memcpy(&found, dst.as<std::byte>() + (i * rows + row) * 4, 4);
      } else {
        uint16_t half;
        std::memcpy(&half, dst.as<std::byte>() + ((i / 2 * rows + row) * 2 + i % 2) * 2, 2);
        found = f16 ? f16_to_f32(half) : bf16_to_f32(half);
        expected = f16 ? f16_to_f32(f32_to_f16(std::clamp(in, -65504.0f, 65504.0f))) : bf16_to_f32(f32_to_bf16(in));
      }
      const double unit = std::fabs(static_cast<double>(in)) * 0x1p-26;  // less than any distance to a neighbour
      comparator.compare(static_cast<double>(expected), static_cast<double>(found), unit,
                         [&] { return fmt::format("{} row {} element {} ({})", name(), row, i, in); });
    }
  if (!dst.intact()) comparator.fail(name() + ": wrote outside dst");
}

}  // namespace

void check_quantize(const KernelVariant& v, Comparator& comparator) {
  if (!is_q8(v.dst_layout)) {
    for (Edge edge : {Edge::kEnd, Edge::kBegin})
      for (uint32_t rows = 1; rows <= kPanel; ++rows)
        for (uint32_t k : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 15u, 16u, 17u, 100u})
          check_floats(v, rows, k, edge, comparator);
    return;
  }
  for (Edge edge : {Edge::kEnd, Edge::kBegin})
    for (uint32_t rows : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 15u, 16u}) {
      for (uint32_t k : {32u, 64u, 96u, 160u, 256u, 576u}) check_case(v, rows, k, kQ8Block, edge, comparator);
      for (uint32_t k : {256u, 768u}) check_case(v, rows, k, kQ8SuperBlock, edge, comparator);
    }
}

}  // namespace smepilot::test
