#include <algorithm>
#include <vector>

#include "kernels/reference/operators.h"
#include "kernels/reference/quantize.h"
#include "tests/kernels/checks/checks.h"
#include "tests/kernels/support/guarded_buffer.h"

namespace smepilot::test {
namespace {

struct Case {
  uint32_t rows, heads, head_dim, half;
  bool interleaved;
  Edge edge;
};

void check_case(const KernelVariant& v, const Case& c, Comparator& comparator) {
  const auto name = [&] {
    return fmt::format("{} rows={} heads={} head_dim={} half={} {}", v.id, c.rows, c.heads, c.head_dim, c.half,
                       c.interleaved ? "interleaved" : "halves");
  };
  reference::Random random(5 + c.rows + 10 * c.half + 1000 * c.head_dim);
  const size_t row_elems = size_t{c.heads} * c.head_dim, stride = row_elems + (c.rows % 2 == 0 ? 0 : 6);
  GuardedBuffer x(((c.rows - 1) * stride + row_elems) * sizeof(float), 4, c.edge);
  GuardedBuffer cos_sin(size_t{c.rows} * 2 * c.half * sizeof(float), 4, c.edge);
  for (size_t row = 0; row < c.rows; ++row) {
    random.fill_uniform(x.as<float>() + row * stride, row_elems, -3, 3);
    for (size_t i = 0; i < c.half; ++i) {
      const float angle = random.uniform(-3, 3);
      cos_sin.as<float>()[row * 2 * c.half + i] = std::cos(angle);
      cos_sin.as<float>()[row * 2 * c.half + c.half + i] = std::sin(angle);
    }
  }
  cos_sin.protect_contents();
  const std::vector<float> before(x.as<float>(), x.as<float>() + x.size() / sizeof(float));
  const RopeArgs args{x.as<float>(), cos_sin.as<float>(), stride, c.rows, c.heads, c.head_dim, c.half, c.interleaved};
  v.rope(&args);
  std::vector<double> expected(c.head_dim), magnitude(c.head_dim);
  for (size_t row = 0; row < c.rows; ++row) {
    for (size_t head = 0; head < c.heads; ++head) {
      const size_t at = row * stride + head * c.head_dim;
      reference::rope(before.data() + at, cos_sin.as<float>() + row * 2 * c.half, c.head_dim, c.half, c.interleaved,
                      expected.data(), magnitude.data());
      for (size_t i = 0; i < c.head_dim; ++i)  // elements beyond 2*half must not change at all
        comparator.compare(expected[i], static_cast<double>(x.as<float>()[at + i]),
                           i < 2 * c.half ? 3 * kUnitF32 * magnitude[i] : 0,
                           [&] { return fmt::format("{} at [{}][{}][{}]", name(), row, head, i); });
    }
    for (size_t gap = row_elems; row + 1 < c.rows && gap < stride; ++gap)
      if (!std::isnan(x.as<float>()[row * stride + gap])) comparator.fail(name() + ": wrote between rows");
  }
  if (!x.intact()) comparator.fail(name() + ": wrote outside x");
}

}  // namespace

void check_rope(const KernelVariant& v, Comparator& comparator) {
  for (Edge edge : {Edge::kEnd, Edge::kBegin})
    for (bool interleaved : {true, false})
      for (uint32_t rows : {1u, 2u, 3u})
        for (uint32_t head_dim : {4u, 16u, 20u, 48u, 64u, 80u, 128u}) {
          check_case(v, {rows, rows == 2 ? 1u : 3u, head_dim, head_dim / 2, interleaved, edge}, comparator);
          check_case(v, {rows, 2, head_dim, head_dim > 8 ? head_dim / 2 - 3 : 1, interleaved, edge}, comparator);
          check_case(v, {rows, 2, head_dim, std::max(1u, head_dim / 4), interleaved, edge}, comparator);
        }
}

}  // namespace smepilot::test
