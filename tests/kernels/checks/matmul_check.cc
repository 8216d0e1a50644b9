#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/abi/half.h"
#include "kernels/abi/layout.h"
#include "kernels/pack/pack_rhs.h"
#include "kernels/reference/dequantize.h"
#include "kernels/reference/operators.h"
#include "kernels/reference/pack_lhs.h"
#include "kernels/reference/quantize.h"
#include "tests/kernels/checks/checks.h"
#include "tests/kernels/support/guarded_buffer.h"

namespace smepilot::test {
namespace {

struct Shape {
  uint32_t m, n, k;
};

// Every awkward m, n and k with a few of the others, up to the variant's limits.
std::vector<Shape> shapes(const KernelVariant& v) {
  const uint32_t limit = v.max_m == 0 ? v.tile.mr : std::min(v.max_m, v.tile.mr);
  const uint32_t block = std::max({traits(v.rhs).block_elems, v.tile.kr, 1u});
  const auto rows = [&](uint32_t m) { return std::min(m, limit); };
  std::vector<Shape> out;
  for (uint32_t m = 1; m <= std::min(limit, 17u); ++m) out.push_back({m, 17, 2 * block});
  for (uint32_t m : {23u, 31u, 32u, 33u, 47u, 48u, 49u, 63u, 64u, 65u, 96u, limit - 1, limit})
    if (m > 17 && m <= limit) out.push_back({m, 33, block});
  // A kernel may take several blocks of quantised weights at a time.
  const uint32_t several = (block == kQ8Block ? 9 : 2) * block;
  for (uint32_t n : {1u, 2u, 15u, 16u, 17u, 31u, 32u, 33u, 47u, 48u, 63u, 64u, 65u, 80u, 130u}) {
    out.push_back({1, n, several});
    out.push_back({rows(5), n, 2 * block});
    out.push_back({rows(16), n, block});
  }
  for (uint32_t k = 1; k <= (block == 1 ? 17u : 9u); ++k) {
    out.push_back({rows(3), 33, k * block});
    if (block == kQ8Block) out.push_back({1, 33, k * block});
  }
  for (uint32_t k : {32u, 63u, 100u, 256u, 512u, 1024u, 2304u})
    if (k % block == 0) out.push_back({rows(2), 18, k});
  if (v.max_m != 0) out.push_back({1, 17, 33u << 10});  // longer than what a kernel may keep for all columns
  out.push_back({limit, 49, 3 * block});
  out.push_back({rows(37), 147, (block > 32 ? 1 : 3) * block});  // several panels of both, and what remains of both
  return out;
}

// Inputs of one case, and the values they stand for.
struct Weights {
  std::vector<std::byte> file;    // [n] rows
  std::vector<float> values;      // [n][k]
  std::vector<float> magnitudes;  // [n][k], |scale * quant| + |minimum|: what rounding errors come from
};

// Where a block of a type with minima has its quants, in bytes.
struct Quants {
  size_t begin, end;
};
Quants quants_of(DType type) {
  switch (type) {
    case DType::kQ4_1:
    case DType::kQ5_1: return {4, traits(type).block_bytes};
    case DType::kQ4_K:
    case DType::kQ5_K: return {16, traits(type).block_bytes};
    case DType::kQ2_K: return {16, 80};
    default: return {0, 0};
  }
}

// kRandom: every bit pattern of quants and scales, random activations. kExtreme: rows of the largest quants of one sign
// and activations of the largest magnitude, so that all products of a sum have their largest size and one sign: what
// overflows narrow sums. kHuge: random activations whose scales are too large for f16.
enum class Values { kRandom, kExtreme, kHuge };

Weights make_weights(DType type, size_t n, size_t k, Values values, reference::Random& random) {
  const size_t row_bytes = file_bytes(type, k);
  Weights w{std::vector<std::byte>(n * row_bytes), std::vector<float>(n * k), std::vector<float>(n * k)};
  std::vector<std::byte> zeroed(row_bytes);
  std::vector<float> minimum(k, 0.0f);
  const Quants quants = quants_of(type);
  for (size_t row = 0; row < n; ++row) {
    std::byte* const bytes = w.file.data() + row * row_bytes;
    if (values == Values::kExtreme)
      reference::quantize_row(type, std::vector<float>(k, row % 2 == 0 ? 1.0f : -1.0f).data(), k, bytes);
    else
      reference::random_row(type, random, k, bytes);
    reference::dequantize_row(type, bytes, k, w.values.data() + row * k);
    if (quants.end != 0) {  // with all quants zero, only the minimum is left
      for (size_t at = 0; at < row_bytes; ++at) {
        const size_t in_block = at % traits(type).block_bytes;
        zeroed[at] = in_block < quants.begin || in_block >= quants.end ? bytes[at] : std::byte{0};
      }
      reference::dequantize_row(type, zeroed.data(), k, minimum.data());
    }
    for (size_t i = 0; i < k; ++i)
      w.magnitudes[row * k + i] = std::fabs(w.values[row * k + i] - minimum[i]) + std::fabs(minimum[i]);
  }
  return w;
}

void check_case(const KernelVariant& v, const Shape& s, Edge edge, Values values, Comparator& comparator) {
  const auto [m, n, k] = s;
  const bool extreme = values == Values::kExtreme, huge = values == Values::kHuge;
  const auto name = [&] {
    return fmt::format("{} m={} n={} k={}{}", v.id, m, n, k, extreme ? " extreme" : huge ? " huge" : "");
  };
  reference::Random random(1 + m + 1000 * n + 1000000ull * k);
  Weights weights = make_weights(v.rhs, n, k, values, random);
  if (v.lhs == DType::kBF16)  // products of bf16: weights of f16 are rounded, too
    for (float& w : weights.values) w = bf16_to_f32(f32_to_bf16(w));
  GuardedBuffer rhs(rhs_bytes(v.rhs, n, k), 64, edge);
  pack_rhs(v.rhs, weights.file.data(), file_bytes(v.rhs, k), n, k, rhs.as<std::byte>());
  rhs.protect_contents();

  std::vector<float> lhs_values(size_t{m} * k);
  for (size_t row = 0; row < m; ++row) {
    const float size = std::ldexp(1.0f, (huge ? 27 : 0) + static_cast<int>(row % 7) - 3);
    random.fill_uniform(lhs_values.data() + row * k, k, -size, size);
    if (extreme) std::fill_n(lhs_values.data() + row * k, k, row % 3 == 0 ? -size : size);
  }
  const bool quantised = is_q8(v.lhs_layout);
  // K-quants read activations of which 256 share a scale, and, beside other consumers, those of which 32 do.
  const uint32_t group = edge == Edge::kEnd ? lhs_q8_group(v.rhs) : kQ8Block;
  if (k >= 2 * group && !extreme) std::fill_n(lhs_values.begin(), group, 0.0f);  // whose scale is zero
  const bool rows = v.lhs_layout == Layout::kRowMajor;
  const size_t pad = m % 2 == 0 ? 0 : 5;  // floats between rows, of both lhs and dst
  GuardedBuffer lhs(rows ? ((k + pad) * (m - 1) + k) * sizeof(float) : lhs_bytes(v.lhs_layout, m, k), rows ? 4 : 64,
                    edge);
  if (quantised) {
    reference::quantize_lhs_q8(lhs_values.data(), k, m, k, lhs.as<std::byte>(), group, v.lhs_layout);
    reference::dequantize_lhs_q8(lhs.as<std::byte>(), m, k, lhs_values.data(), v.lhs_layout);
  } else if (!rows) {
    reference::pack_lhs_float(v.lhs_layout, lhs_values.data(), k, m, k, lhs.as<std::byte>());
    for (float& x : lhs_values) x = reference::rounded_lhs(v.lhs_layout, x);
  } else {
    for (size_t row = 0; row < m; ++row) std::copy_n(lhs_values.data() + row * k, k, lhs.as<float>() + row * (k + pad));
    // A variant that declares 16-bit activations rounds the f32 rows itself.
    if (v.lhs == DType::kBF16)
      for (float& x : lhs_values) x = bf16_to_f32(f32_to_bf16(x));
    if (v.lhs == DType::kF16)
      for (float& x : lhs_values) x = f16_to_f32(f32_to_f16(x));
  }
  lhs.protect_contents();

  GuardedBuffer dst(((n + pad) * (m - 1) + n) * sizeof(float), 4, edge);
  MatmulArgs args{};
  args.lhs = lhs.as<void>();
  args.lhs_stride = rows ? (k + pad) * sizeof(float) : 0;
  args.rhs = rhs.as<void>();
  args.rhs_stride = rhs_planes(v.rhs, k).panel_bytes;
  args.dst = dst.as<float>();
  args.dst_stride = n + pad;
  args.m = m;
  args.n = n;
  args.k = k;
  args.lhs_group = quantised ? group : 0;
  v.matmul(&args);

  const reference::MatmulResult expected = reference::matmul(lhs_values.data(), weights.values.data(), m, n, k);
  const reference::MatmulResult bound = reference::matmul(lhs_values.data(), weights.magnitudes.data(), m, n, k);
  // Roundings of f32 accumulation grow like the square root of their number, which is k for f32 products; quantised
  // blocks of 32 add up exactly as integers and then cost about four roundings each.
  const double roundings = quantised ? 4.0 * k / kQ8Block : k;
  const double unit = kUnitF32 * (4 + std::sqrt(roundings));
  for (size_t row = 0; row < m; ++row)
    for (size_t col = 0; col < n; ++col)
      comparator.compare(expected.dst[row * n + col], static_cast<double>(dst.as<float>()[row * (n + pad) + col]),
                         unit * bound.magnitude[row * n + col],
                         [&] { return fmt::format("{} at [{}][{}]", name(), row, col); });
  if (!dst.intact()) comparator.fail(name() + ": wrote outside dst");
  for (size_t row = 0; row + 1 < m; ++row)
    for (size_t gap = n; gap < n + pad; ++gap)
      if (!std::isnan(dst.as<float>()[row * (n + pad) + gap]))
        comparator.fail(fmt::format("{}: wrote between rows {} and {} of dst", name(), row, row + 1));
}

}  // namespace

void check_matmul(const KernelVariant& v, Comparator& comparator) {
  if (v.lhs_layout != Layout::kRowMajor && v.tile.mr % kPanel != 0)
    comparator.fail(fmt::format("{}: tile.mr is {}, not a multiple of {}", v.id, v.tile.mr, kPanel));
  bool begin = false;
  Sample sample(v);
  for (const Shape& s : shapes(v)) {
    if (!sample.takes_next()) continue;
    check_case(v, s, begin ? Edge::kBegin : Edge::kEnd, Values::kRandom, comparator);
    begin = !begin;
    if (size_t{s.m} * s.n * s.k < 10000)
      check_case(v, s, begin ? Edge::kBegin : Edge::kEnd, Values::kRandom, comparator);
  }
  const uint32_t block = std::max(traits(v.rhs).block_elems, v.tile.kr);
  const uint32_t limit = v.max_m == 0 ? v.tile.mr : std::min(v.max_m, v.tile.mr);
  for (uint32_t m : {1u, 4u, 19u})
    check_case(v, {std::min(m, limit), 18, 3 * block}, Edge::kEnd, Values::kExtreme, comparator);
  if (is_q8(v.lhs_layout))
    for (uint32_t m : {1u, 4u})
      check_case(v, {std::min(m, limit), 70, (block == kQ8Block ? 6 : 1) * block}, Edge::kEnd, Values::kHuge,
                 comparator);
}

}  // namespace smepilot::test
